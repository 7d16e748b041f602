"""练习：每道题是一份声明，一个引擎检查所有的题。

写函数的题是 ``FunctionExercise``，填空和选择的题是 ``AnswerExercise``，别的用 ``judged``。
都像函数一样调用，得到 ``Verdict``：

>>> check_my_objective(my_objective)
通过：界内界外都对。
"""

from ppo_lib.course.exercises.answer import (
    AnswerExercise,
    Choice,
    Number,
    Order,
    Shape,
    Subset,
)
from ppo_lib.course.exercises.edits import edited
from ppo_lib.course.exercises.function import FunctionExercise
from ppo_lib.course.exercises.judged import judged
from ppo_lib.course.exercises.verdict import Mistake, Verdict

__all__ = [
    "AnswerExercise",
    "Choice",
    "FunctionExercise",
    "Mistake",
    "Number",
    "Order",
    "Shape",
    "Subset",
    "Verdict",
    "edited",
    "judged",
]
