"""Adam 的小组件。"""

from __future__ import annotations

import numpy as np
import traitlets

from ppo_lib.widgets.base import Choice, CourseWidget, Number, page_script, page_style

STEPS = 60

STREAMS = ("constant", "noisy", "turn", "sparse")
"""梯度的来路：恒定、带噪声、第 30 步转向、稀疏。"""


def fixed_noise(steps: int = STEPS) -> list[list[float]]:
    """(steps, 2) 个正态随机数，每次都相同：RandomState 的数列 NumPy 保证不再改。"""
    return np.random.RandomState(0).standard_normal((steps, 2)).round(3).tolist()


class AdamWidget(CourseWidget):
    """一串梯度经过 Adam：一阶矩、二阶矩、偏差修正、步长，和碗形曲面上的路。

    >>> AdamWidget(beta_1=0.0, stream="noisy")

    网页里算的与 ``ppo_lib.optimizer.adam_step`` 相同。beta_2 不小于 0.5：再小，稀疏的梯度会让
    分母接近 0，一步走出图外。
    """

    title = "Adam 的一步一步"
    _esm = page_script("adam")
    _css = page_style("adam")

    beta_1 = Number(0.9, 0.0, 0.99)
    beta_2 = Number(0.999, 0.5, 0.999)
    lr = Number(0.1, 0.01, 0.5)
    stream = Choice("constant", STREAMS)
    step = traitlets.Int(1, min=1, max=STEPS).tag(sync=True)  # 细看哪一步，从 1 数
    noise = traitlets.List(fixed_noise()).tag(sync=True)  # (60, 2)
