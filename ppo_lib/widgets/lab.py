"""实验室的三样：十五次试探、热图、先猜再看。都只用录好的网格，没有内核也能玩。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import traitlets
import xarray as xr

from ppo_lib.config import PPOConfig
from ppo_lib.widgets.base import CourseWidget, page_script, page_style
from ppo_lib.widgets.explorer import AXIS_LABELS, check_dataset, pack

SHORT = {"beta_1": "β₁", "clip_eps": "ε", "ent_coef": "熵", "lr": "lr"}
"""轴在格子旁边的写法；没有列出的照键名写。"""


class Board(NamedTuple):
    """一张网格和怎样画它。"""

    name: str
    label: str  # 给读者看的名字
    runs: xr.Dataset  # 变量 return (*轴, seed, point)，坐标 timesteps
    low: float  # 颜色的两端
    high: float
    line: float  # 过线的分数

    @property
    def axes(self) -> list[str]:
        """轴的名字，依次。"""
        return [dim for dim in self.runs["return"].dims if dim not in ("seed", "point")]

    def spec(self, values: np.ndarray) -> dict[str, Any]:
        """网页要的字典；values 是打包的数组，前几维是各个轴和种子。"""
        return {
            "name": self.name,
            "label": self.label,
            "axes": [
                {
                    "name": axis,
                    "label": AXIS_LABELS.get(axis, axis),
                    "short": SHORT.get(axis, axis),
                    "values": [float(x) for x in self.runs[axis].values],
                }
                for axis in self.axes
            ],
            "num_seeds": self.runs.sizes["seed"],
            "low": self.low,
            "high": self.high,
            "line": self.line,
            **pack(values)._asdict(),
        }


class RandomSearch(NamedTuple):
    """随机搜索的成绩：平均看到的、换了种子的平均，和后者的一百个分位数。"""

    seen: float
    hidden: float
    quantiles: list[float]


class Hunt(NamedTuple):
    """十五次试探里的一张网格。"""

    board: Board
    scores: xr.DataArray  # (*轴, seed)，每次训练的成绩
    random: RandomSearch
    tolerance: float  # 猜测差多少以内算对


class SearchGame(CourseWidget):
    """每次试探看到一个种子；用完之后交出一格，先猜没看过的种子平均多少，再揭晓。

    玩到哪里记在读者自己的 localStorage 里。每张网格第一局的猜测算一分，与页上的 ``Prediction`` 合成
    一个总分，用事件 ``ppo:progress`` 报给数进度的脚本。

    Args:
        guess_id: 总分的编号。
        hunts: 可以找的网格。
        total: 这一页的总分。
        budget: 试探几次。
        most: 一格最多看几个种子；留下的用来揭晓。
    """

    title = "十五次试探"
    _esm = page_script("curves", "grid", "search")
    _css = page_style("lab")

    guess_id = traitlets.Unicode().tag(sync=True)
    total = traitlets.Int().tag(sync=True)
    budget = traitlets.Int().tag(sync=True)
    most = traitlets.Int().tag(sync=True)
    boards = traitlets.List().tag(sync=True)

    def __init__(self, guess_id: str, hunts: Sequence[Hunt], *, total: int, budget: int = 15, most: int = 3):  # fmt: skip
        boards = [
            hunt.board.spec(hunt.scores.transpose(*hunt.board.axes, "seed").values)
            | {
                "random": hunt.random._asdict(),
                "tolerance": hunt.tolerance,
                "start": getattr(PPOConfig(), hunt.board.axes[0]),  # 一开始切在默认的那一片
            }
            for hunt in hunts
        ]
        if any(most >= board["num_seeds"] for board in boards):
            raise ValueError(f"most = {most} 太大；每格至少要留一个种子揭晓。")
        super().__init__(
            guess_id=guess_id, boards=boards, total=total, budget=budget, most=most
        )


class HeatMap(CourseWidget):
    """热图：点一格看它的曲线，两格对比，换一批种子看名次动不动。

    Args:
        boards: 几张网格，用单选切换。
        pins: 网格的名字 → 一开始的 A 和 B，各是 {轴: 取值}。
        fixed: 网格的名字 → 三个轴时一开始固定哪个；A 和 B 在这个轴上应当相同。
    """

    title = "热图"
    _esm = page_script("curves", "grid", "heatmap")
    _css = page_style("lab")

    boards = traitlets.List().tag(sync=True)

    def __init__(
        self,
        boards: Sequence[Board],
        pins: Mapping[str, tuple[dict, dict]],
        fixed: Mapping[str, str] | None = None,
    ):
        super().__init__(
            boards=[
                board.spec(check_dataset(board.runs, board.axes).values)
                | {
                    "timesteps": [int(x) for x in board.runs["timesteps"].values],
                    "pins": [place_of(board, cell) for cell in pins[board.name]],
                    "fixed": (fixed or {}).get(board.name, board.axes[0]),
                }
                for board in boards
            ]
        )


def place_of(board: Board, cell: Mapping[str, float]) -> list[int]:
    """一格在各轴上的下标；没有录过就报错。"""
    places = []
    for axis in board.axes:
        values = board.runs[axis].values.tolist()
        if cell.get(axis) not in values:
            there = "、".join(f"{v:g}" for v in values)
            raise ValueError(f"{axis} = {cell.get(axis)!r} 没有录过；有 {there}。")
        places.append(values.index(cell[axis]))
    return places


class Prediction(CourseWidget):
    """先圈出哪些取值过线，锁定，才看得到结果；猜对一个值得一分，锁定以后不能改。

    Args:
        guess_id: 总分的编号。
        name: 这一处的编号，页上不重复。
        text: 题目。
        scores: (轴, seed)，一个取值一行。
        line: 过线的分数。
        low, high: 纵轴的两端。
        total: 这一页的总分。
        after: 揭晓以后接着说的话。
    """

    title = "先猜，再看"
    _esm = page_script("curves", "grid", "guess")
    _css = page_style("lab")

    guess_id = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    options = traitlets.List().tag(sync=True)
    scores = traitlets.List().tag(sync=True)
    line = traitlets.Float().tag(sync=True)
    low = traitlets.Float().tag(sync=True)
    high = traitlets.Float().tag(sync=True)
    total = traitlets.Int().tag(sync=True)
    after = traitlets.Unicode().tag(sync=True)

    def __init__(self, guess_id: str, name: str, text: str, scores: xr.DataArray, **settings):
        if scores.ndim != 2 or scores.dims[1] != "seed":
            raise ValueError(f"scores 的维是 {', '.join(scores.dims)}；应当是一个轴和 seed。")
        super().__init__(
            guess_id=guess_id,
            name=name,
            text=text,
            options=[f"{x:g}" for x in scores[scores.dims[0]].values],
            scores=scores.values.round(2).tolist(),
            **settings,
        )
