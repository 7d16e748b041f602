"""在网页里训练的小组件共同的底子：引擎，和引擎认得的配置。"""

from __future__ import annotations

import traitlets

from ppo_lib.config import ConfigError, PPOConfig
from ppo_lib.envs import GOAL
from ppo_lib.widgets import engine
from ppo_lib.widgets.base import CourseWidget, page_script


def trainable(cfg: PPOConfig) -> dict:
    """配置里引擎认得的键；别的键要是改过，引擎做不到，就报错。

    Raises:
        ConfigError: 环境不是网页里有的三个，或改了网页里没有的键（例如 reward_shaping）。
    """
    if cfg.env_name not in GOAL:
        raise ConfigError(
            f"env_name = {cfg.env_name!r} 在网页里没有；允许的取值：{', '.join(GOAL)}。"
        )
    plain = PPOConfig()
    for name in ("shared_trunk", "obs_scaling", "reward_shaping"):
        if getattr(cfg, name) != getattr(plain, name):
            raise ConfigError(f"{name} 在网页里只能是默认值 {getattr(plain, name)!r}。")
    if len(cfg.hidden_sizes) > 3 or max(cfg.hidden_sizes) > engine.LARGEST_LAYER:
        raise ConfigError(
            f"hidden_sizes = {cfg.hidden_sizes!r} 在网页里不行；允许的取值："
            f"{engine.key_spec('hidden_sizes')['allowed']}。"
        )
    return {name: getattr(cfg, name) for name in engine.KEYS}


def training_script(*names: str) -> str:
    """同 ``page_script``，前面加上分派 Worker 的部分。引擎自己不在里面，见 ``InPageTraining.engine``。"""
    return f"{engine.read('pool.js')}\n{page_script('curves', *names)}"


class InPageTraining(CourseWidget):
    """能在网页里训练的小组件。

    引擎（Worker 的全部脚本）是一个同步的量，一页上几个小组件共用一份。做成网页时它另存为
    ``_static`` 里的一个文件，按了“训练”才去取（book/tools/extension/slim.py）。
    """

    engine = traitlets.Unicode(engine.worker_script()).tag(sync=True)
