"""训练场：在网页里真的训练 PPO，有没有内核都一样。"""

from __future__ import annotations

import traitlets

from ppo_lib.config import PPOConfig
from ppo_lib.widgets.base import page_style
from ppo_lib.widgets.in_page import InPageTraining, trainable, training_script

SLIDERS = {
    "lr": [1e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 0.016, 0.03, 0.1, 1.0, 10.0],
    "beta_1": [0.0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999],
    "critic_beta_1": [0.0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999],
    "clip_eps": [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0],
    "ent_coef": [0.0, 0.001, 0.003, 0.01, 0.03, 0.05, 0.1],
    "gamma": [0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0],
    "gae_lambda": [0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0],
    "update_epochs": [1, 2, 3, 4, 6, 8],
}
"""每个滑块停在哪些值上。故意留了会出事的：lr = 10，gamma = 1。"""


class TrainWidget(InPageTraining):
    """拨好滑块，按“训练”：几个种子一起训练，曲线一边练一边画，旁边是正在学的智能体。

    >>> TrainWidget(PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=4))

    训练在网页的 Worker 里进行，用 ``ppo_lib.widgets.engine``；它与 ppo_lib 逐个函数核对过，但随机数
    不同，同一个种子的曲线与 ``train(cfg)`` 的不同，分布相同。

    Args:
        cfg: 一开始的配置；种子是 cfg.seeds。
        compact: 小的一种，封面用：先看智能体和曲线，滑块和指标折起来。
    """

    title = "训练场"
    _esm = training_script("train")
    _css = page_style("train")

    config = traitlets.Dict().tag(sync=True)  # 键 → 值，滑块改它
    sliders = traitlets.Dict(SLIDERS).tag(sync=True)
    seeds = traitlets.List().tag(sync=True)
    compact = traitlets.Bool().tag(sync=True)

    def __init__(self, cfg: PPOConfig | None = None, *, compact: bool = False):
        cfg = cfg or PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=4)
        super().__init__(config=trainable(cfg), seeds=list(cfg.seeds), compact=compact)
