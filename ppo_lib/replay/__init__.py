"""回放：把策略走的一个回合画成动画，放进笔记本、静态页面或 GIF。"""

from ppo_lib.replay.film import Replay, ReplayError, replay

__all__ = ["Replay", "ReplayError", "replay"]
