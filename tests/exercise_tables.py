"""几个测试文件共用的：各章练习的检查，和它们在 tests/answers 里的答案。"""

import importlib
from pathlib import Path

from ppo_lib.course.exercises import AnswerExercise, FunctionExercise

NUMBERS = [path.stem for path in sorted(Path(__file__).parent.glob("answers/ch*.py"))]
CHECKS, RIGHT, REMINDED, WRONG, HARMLESS = {}, {}, {}, {}, {}
for number in NUMBERS:
    chapter = importlib.import_module(f"ppo_lib.course.{number}")
    answers = importlib.import_module(f"answers.{number}")
    found = {
        f"{number}.{name}": x for name, x in vars(chapter).items() if name.startswith("check_")
    }
    CHECKS |= found
    for table in ("RIGHT", "REMINDED", "WRONG", "HARMLESS"):
        globals()[table].update(
            {f"{number}.{k}": x for k, x in getattr(answers, table, {}).items()}
        )

FUNCTIONS = [name for name, x in CHECKS.items() if isinstance(x, FunctionExercise)]
BLANKS = [name for name, x in CHECKS.items() if isinstance(x, AnswerExercise)]


def one_right(field):
    """一格的一个对的答案。"""
    if field["kind"] == "number":
        return field.get("value", 0.0)
    if field["kind"] == "order":
        return by_rules(field)
    return 0 if field["right"] is None else field["right"]


def by_rules(field):
    """满足全部规则的一个次序。"""
    left, order = list(range(len(field["options"]))), []
    while left:
        free = [x for x in left if not any(b == x and a in left for a, b, _ in field["rules"])]
        order.append(free[0])
        left.remove(free[0])
    return order
