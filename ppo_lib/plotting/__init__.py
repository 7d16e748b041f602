"""画图：全书一种样子，中文标签，明暗两种页面都看得清。"""

from ppo_lib.plotting.curves import LiveCurve, plot_metric
from ppo_lib.plotting.dashboard import dashboard, dashboard_alt
from ppo_lib.plotting.flow import plot_run_flow
from ppo_lib.plotting.style import COLORS, new_figure, show, use_style

__all__ = [
    "COLORS",
    "LiveCurve",
    "dashboard",
    "dashboard_alt",
    "new_figure",
    "plot_metric",
    "plot_run_flow",
    "show",
    "use_style",
]
