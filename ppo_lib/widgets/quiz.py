"""小测验。"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import traitlets

from ppo_lib.widgets.base import CourseWidget, page_script, page_style


class Question(NamedTuple):
    """一道题。正确的选项有几个时是多选题。"""

    text: str
    options: Sequence[str]
    correct: int | Sequence[int]  # 正确选项的下标，从 0 数
    explanations: Sequence[str]  # 每个选项一句解释


def check_question(place: int, question) -> dict:
    """查一道题写得全不全，变成网页要的字典；place 从 1 数，只用来报错。"""
    question = Question(**question) if isinstance(question, dict) else Question(*question)
    single = isinstance(question.correct, int)
    correct = [question.correct] if single else sorted(question.correct)
    count = len(question.options)
    if count < 2:
        raise ValueError(f"第 {place} 题只有 {count} 个选项；至少要 2 个。")
    if len(question.explanations) != count:
        raise ValueError(
            f"第 {place} 题有 {count} 个选项、{len(question.explanations)} 句解释；应当一样多。"
        )
    if not correct or not all(0 <= i < count for i in correct):
        raise ValueError(
            f"第 {place} 题的 correct = {question.correct!r} 不合法；允许 0 到 {count - 1}。"
        )
    return {
        "text": question.text,
        "options": list(question.options),
        "correct": correct,
        "multiple": not single,
        "explanations": list(question.explanations),
    }


class Quiz(CourseWidget):
    """几道选择题，答了就看到每个选项的解释。

    >>> Quiz("clip", [("A > 0 时哪一侧裁剪？", ["r > 1 + ε", "r < 1 - ε"], 0, ["对", "那是 A < 0"])])

    correct 是一个下标时单选，是列表时多选。文字里的 ``反引号`` 显示成代码。答案留在读者自己的
    localStorage 里，按页面和 quiz_id 分开；变动时在网页上发出事件 ``ppo:progress``。
    """

    title = "小测验"
    _esm = page_script("quiz")
    _css = page_style("quiz")

    quiz_id = traitlets.Unicode().tag(sync=True)
    questions = traitlets.List().tag(sync=True)

    def __init__(self, quiz_id: str, questions: Sequence, **settings):
        if not quiz_id or not questions:
            raise ValueError("小测验要有一个 quiz_id，和至少一道题。")
        checked = [check_question(i, question) for i, question in enumerate(questions, 1)]
        super().__init__(quiz_id=quiz_id, questions=checked, **settings)
