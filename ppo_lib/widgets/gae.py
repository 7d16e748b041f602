"""广义优势估计的小组件。"""

from __future__ import annotations

import traitlets

from ppo_lib.widgets.base import Choice, CourseWidget, Number, page_script, page_style

ENDINGS = ("continue", "terminated", "truncated")
"""一步之后：继续、终止、截断。"""


class GaeWidget(CourseWidget):
    """课程一直用的那个五步的例子：γ、λ 和结尾怎样改变每一步的优势。

    >>> GaeWidget(gae_lambda=0.0, ending_last="terminated")

    网页里算的与 ``ppo_lib.advantage.calculate_gae`` 相同。第 3 步若是截断，到达的状态的
    价值取 ``value[3]``，与继续时相同，好看清截断只断开后面的优势。
    """

    title = "广义优势估计（GAE）"
    _esm = page_script("gae")
    _css = page_style("gae")

    reward = traitlets.List([1.0, 0.0, -1.0, 0.0, 2.0]).tag(sync=True)  # (5,)
    value = traitlets.List([0.5, 0.4, 0.6, 0.2, 0.8]).tag(sync=True)  # (5,) V(s_t)
    last_value = traitlets.Float(0.5).tag(sync=True)  # 最后一步到达的状态的 V
    gamma = Number(0.99, 0.0, 1.0)
    gae_lambda = Number(0.95, 0.0, 1.0)
    ending_step_3 = Choice("continue", ENDINGS)
    ending_last = Choice("truncated", ENDINGS)
    step = traitlets.Int(1, min=1, max=5).tag(sync=True)  # 展开写出哪一步的优势，从 1 数

    @traitlets.validate("reward", "value")
    def _five_numbers(self, proposal):
        """例子总是五步。"""
        if len(proposal["value"]) != 5:
            name, count = proposal["trait"].name, len(proposal["value"])
            raise traitlets.TraitError(f"{name} 有 {count} 个数，不合法；应当是 5 个。")
        return [float(x) for x in proposal["value"]]
