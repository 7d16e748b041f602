"""比较两组种子，下结论：差有多大，区间含不含 0；几组一起比，按 Holm 修正；成绩到了头，不比；几个比较画成森林图。"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ppo_lib.plotting import COLORS
from ppo_lib.statistics import holm, iqm, resampled_differences

BOUNDS = {"CartPole 的满分": 500, "MountainCar 的最低分": -200, "Acrobot 的最低分": -500}
"""最后的成绩的上限和下限：两组都在那里时，差永远是 0，不说明两种做法一样。"""


class Comparison(NamedTuple):
    """一个比较：四分位均值之差（ours - base）、它的 95% 置信区间、（修正后的）p 值。"""

    difference: float
    low: float
    high: float
    p: float

    @property
    def verdict(self) -> str:
        """变好、变差，或看不出差别。"""
        return "看不出差别" if self.p >= 0.05 else "变好" if self.difference > 0 else "变差"

    def __str__(self) -> str:
        return "{:+z.0f} [{:+z.0f}, {:+z.0f}]".format(*self)  # z：不写 -0


def compare(pairs: Mapping[str, tuple]) -> dict[str, Comparison]:
    """几个比较一起做：{名字: (ours, base)}，两组各是每个种子的成绩 (seeds,)。

    区间是每个比较自己的 95%；结论（``verdict``）按 Holm 修正过，所以区间刚刚不含 0 的，结论可以仍是
    看不出差别。只有一个比较时，两者一致。两组都顶着满分（或都在最低分）时发出警告。
    """
    found, p_values = [], []
    for name, (ours, base) in pairs.items():
        bound = shared_bound(ours, base)
        if bound:
            warnings.warn(
                f"{name}：两组都在 {bound}，这个成绩分不出它们。最后的成绩，就换成整段的 whole_run_scores；"
                "整段的也在那里，就是都没有学会，或者一开头就满分。",
                RuntimeWarning,
                stacklevel=2,
            )
        draws = resampled_differences(ours, base)  # (draws,)
        tail = min((draws <= 0).mean(), (draws >= 0).mean())
        p_values.append(min(1, 2 * max(tail, 1 / len(draws))))
        low, high = np.quantile(draws, [0.025, 0.975])
        found.append((float(iqm(ours) - iqm(base)), float(low), float(high)))
    return {
        name: Comparison(*interval, float(p))
        for name, interval, p in zip(pairs, found, holm(p_values))
    }


def shared_bound(ours, base) -> str | None:
    """两组中间的一半种子是不是都到了同一个头（平均差不到百分之一）；是的话，它叫什么。"""
    for name, bound in BOUNDS.items():
        if all(iqm(abs(np.asarray(x) - bound)) <= abs(bound) / 100 for x in (ours, base)):
            return name
    return None


def conclude(low: float, high: float) -> str:
    """只有一个比较时，由差的 95% 置信区间下结论：变好、变差，或看不出差别。"""
    return "变好" if low > 0 else "变差" if high < 0 else "看不出差别"


VERDICT_STYLE = {
    "变好": ("^", COLORS[2]),
    "变差": ("v", COLORS[1]),
    "看不出差别": ("o", "gray"),
}
"""森林图里的记号：除了颜色，形状也不同。"""


def draw_forest(ax, comparisons: Mapping[str, Comparison]) -> None:
    """森林图：一行一个比较，点是差，线是 95% 置信区间，0 处一条竖线；从上往下。"""
    for y, comparison in enumerate(comparisons.values()):
        marker, color = VERDICT_STYLE[comparison.verdict]
        ax.plot([comparison.low, comparison.high], [y, y], color=color, linewidth=2)
        ax.plot(comparison.difference, y, marker, color=color, markersize=6)
    ax.axvline(0, color="gray", linestyle="--", linewidth=1)
    ax.set_yticks(range(len(comparisons)), list(comparisons))
    ax.set_ylim(len(comparisons) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
