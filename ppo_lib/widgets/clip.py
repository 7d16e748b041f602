"""裁剪目标的小组件。"""

from __future__ import annotations

from ppo_lib.widgets.base import CourseWidget, Number, page_script, page_style


class ClipWidget(CourseWidget):
    """裁剪目标随概率比的变化，和此刻的梯度。

    >>> ClipWidget(advantage=-1.0, ratio=0.7)

    网页里算的与 ``ppo_lib.loss.clipped_objective`` 相同。
    """

    title = "裁剪目标"
    _esm = page_script("clip")
    _css = page_style("clip")

    ratio = Number(1.3, 0.0, 2.0)  # 概率比 r
    advantage = Number(1.0, -2.0, 2.0)  # 优势 A
    clip_eps = Number(0.2, 0.05, 0.5)  # ε
