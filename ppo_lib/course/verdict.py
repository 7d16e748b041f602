"""练习的检查：不只说对错，还猜一猜错在哪里。

每道题写一个检查函数：答案对就正常返回一句肯定的话，不对就 ``raise Mistake("可能的原因")``。
``checker`` 把它包起来，读者看到的总是一个 ``Verdict``，不会看到一长串报错。
"""

from __future__ import annotations

import functools
from typing import NamedTuple


class Mistake(Exception):
    """答案不对；信息是给读者的提示，说出可能错在哪里。"""


class Verdict(NamedTuple):
    """一次检查的结论。在笔记本里显示成一行。"""

    passed: bool
    message: str

    def __repr__(self) -> str:
        return ("通过：" if self.passed else "还不对：") + self.message


def checker(check):
    """把检查函数变成返回 ``Verdict`` 的函数；答案里抛出的异常也变成提示。

    答案是 ``...``（还没写）时，请读者先写。
    """

    @functools.wraps(check)
    def wrapped(*answers) -> Verdict:
        if any(answer is ... for answer in answers):
            return Verdict(False, "把 ... 换成你的答案，再运行这一格。")
        try:
            return Verdict(True, check(*answers))
        except Mistake as mistake:
            return Verdict(False, str(mistake))
        except Exception as error:
            return Verdict(False, f"运行你的答案时出错了：{type(error).__name__}: {error}")

    return wrapped
