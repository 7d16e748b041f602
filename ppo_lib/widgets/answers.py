"""答题框：填空和选择的练习，不用内核也能填、能查。"""

from __future__ import annotations

import traitlets

from ppo_lib.widgets.base import CourseWidget, page_script, page_style


class AnswerBox(CourseWidget):
    """一道填空或选择的练习。spec 由 ``AnswerExercise.spec`` 给出。

    填的答案留在读者自己的 localStorage 里，按页面和题目分开；答对了在网页上发出事件
    ``ppo:progress``，那道练习就勾上。
    """

    title = "答题框"
    _esm = page_script("answers")
    _css = page_style("answers")

    spec = traitlets.Dict().tag(sync=True)
