"""小组件共同的底子：网页代码从文件读来，数的范围用中文报错。"""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import anywidget
import traitlets

from ppo_lib.plotting import COLORS

HERE = Path(__file__).parent


def page_script(*names: str) -> str:
    """一个小组件的全部脚本：颜色、共用的部分、names 里的几个文件。不 import 别的文件，到处能用。"""
    files = ["common.js", *(f"{name}.js" for name in names)]
    parts = [f"const COLORS = {json.dumps(COLORS)};"]
    parts += [(HERE / file).read_text(encoding="utf-8") for file in files]
    return "\n".join(parts)


def page_style(name: str) -> str:
    """一个小组件的全部样式：共用的部分，加上它自己的部分。"""
    own = HERE / f"{name}.css"
    common = (HERE / "common.css").read_text(encoding="utf-8")
    return common + (own.read_text(encoding="utf-8") if own.exists() else "")


class Number(traitlets.Float):
    """有范围的数；与网页同步。"""

    def __init__(self, default: float, low: float, high: float):
        super().__init__(default)
        self.low, self.high = low, high
        self.tag(sync=True)

    def validate(self, obj, value):
        """不在范围里就用中文报错。"""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise traitlets.TraitError(f"{self.name} = {value!r} 不合法；应当是一个数。")
        if not self.low <= value <= self.high:
            raise traitlets.TraitError(
                f"{self.name} = {value!r} 不合法；允许 {self.low:g} 到 {self.high:g}。"
            )
        return float(value)


class Choice(traitlets.Unicode):
    """几选一；与网页同步。"""

    def __init__(self, default: str, allowed: tuple[str, ...]):
        super().__init__(default)
        self.allowed = allowed
        self.tag(sync=True)

    def validate(self, obj, value):
        """不在列表里就用中文报错。"""
        if value not in self.allowed:
            raise traitlets.TraitError(
                f"{self.name} = {value!r} 不合法；允许：{'、'.join(self.allowed)}。"
            )
        return value


class CourseWidget(anywidget.AnyWidget):
    """课程的小组件。子类给出 ``title``，和由 ``page_script``、``page_style`` 读来的代码。

    同一份代码在 JupyterLab、Colab 和没有内核的静态页面上运行；静态页面由
    book/static/widgets.js 扶起来。
    """

    title = ""

    def __init__(self, **settings):
        known = self.trait_names()
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"是不是 {near[0]}？" if near else ""
                raise TypeError(f"{type(self).__name__} 没有 {name} 这一项。{hint}")
        super().__init__(**settings)

    def __repr__(self) -> str:
        return f"[小组件：{self.title}]"
