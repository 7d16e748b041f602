"""判法写成一个函数的练习：答案既不是一个值，也没有一份参考答案可以逐个输入去比时用它。"""

from __future__ import annotations

import functools
from collections.abc import Callable

from ppo_lib.course.exercises.answer import is_unwritten
from ppo_lib.course.exercises.running import SECONDS, describe_error, is_empty, limited
from ppo_lib.course.exercises.verdict import Mistake, Verdict


def judged(judge: Callable[..., str] | None = None, *, seconds: float = SECONDS):
    """把 ``judge`` 变成检查：它返回一句肯定的话，或者抛出 ``Mistake("可能的原因")``。

    没有写的答案、停不下来的（超过 seconds 秒）和抛出别的异常的，也都变成一句中文的 ``Verdict``。
    """
    if judge is None:
        return functools.partial(judged, seconds=seconds)

    @functools.wraps(judge)
    def check(*answers) -> Verdict:
        if any(is_unwritten(x) or callable(x) and is_empty(x) for x in answers):
            return Verdict(False, "把 ... 换成你的答案，再运行这一格。")

        def verdict() -> Verdict:
            try:
                return Verdict(True, judge(*answers))
            except Mistake:
                raise
            except Exception as error:
                function = next((x for x in answers if callable(x)), None)
                return Verdict(False, describe_error(error, function))

        return limited(verdict, seconds)

    return check
