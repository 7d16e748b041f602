"""一次检查的结论。"""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Verdict:
    """一次检查的结论；当作真假用时，通过为真，所以可以写 ``assert check_…(…)``。

    没有填的填空题还带着 ``box``：在笔记本里显示成可以直接填的答题框。
    """

    passed: bool
    message: str
    box: Any = None

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return ("通过：" if self.passed else "还不对：") + self.message

    def _repr_mimebundle_(self, **options):
        if self.box is None:
            return {"text/plain": repr(self)}
        return self.box._repr_mimebundle_(**options)


class Mistake(Exception):
    """答案不对；信息是给读者的提示，说出可能错在哪里。"""
