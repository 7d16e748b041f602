"""学习曲线：许多种子合成一条线和一条带。"""

from __future__ import annotations

import time

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ppo_lib.config import PPOConfig
from ppo_lib.plotting.style import COLORS, new_figure, show
from ppo_lib.statistics import bootstrap_band, iqm

LABELS = {
    "return": "回报",
    "episode_length": "回合长度（步）",
    "actor_loss": "策略损失",
    "value_loss": "价值损失",
    "entropy": "熵（nat）",
    "grad_norm": "梯度范数",
    "mu_norm": "一阶矩的范数",
    "nu_norm": "二阶矩的范数",
    "cosine_similarity": "梯度余弦相似度",
    "clip_frac": "裁剪比例",
    "approx_kl": "近似 KL（nat）",
    "explained_variance": "解释方差",
    "learning_rate": "学习率",
    "episodes_ended": "走完的回合（个）",
    "goals_reached": "到达目标（次）",
}
LABELS |= {
    f"{owner.lower()}_{name}": f"{owner} 的{LABELS[name]}"
    for owner in ("Actor", "Critic")
    for name in ("grad_norm", "mu_norm", "nu_norm", "cosine_similarity")
}
"""指标名 → 图上的中文标签。"""

STEPS_LABEL = "每个种子的环境步数（万步）"
"""横轴的标签。"""


def forward_fill(values: np.ndarray) -> np.ndarray:
    """(seed, update) 里的 NaN 换成它前面最近的一个数；开头的 NaN 不动。"""
    index = np.where(np.isfinite(values), np.arange(values.shape[1]), 0)
    return np.take_along_axis(values, np.maximum.accumulate(index, axis=1), axis=1)


def plot_metric(
    dataset: xr.Dataset,
    metric: str = "return",
    ax: Axes | None = None,
    *,
    color: str = COLORS[0],
    label: str | None = None,
    seeds: bool = True,
    draws: int = 500,
) -> Axes:
    """画一个指标随环境步数的变化：四分位均值为线，95% 自助置信带为面，各个种子为细线。

    Args:
        dataset: ``train`` 的 ``run.metrics``，维 (seed, update)。NaN 处沿用前一次的值。
        metric: 指标名。
        seeds: 是否画出每个种子。
    """
    ax = new_figure()[1] if ax is None else ax
    values = forward_fill(dataset[metric].transpose("seed", "update").values)  # (seed, update)
    steps = dataset["timesteps"].values / 1e4
    started = np.isfinite(values).all(axis=0)  # 所有种子都有了第一个回合之后
    steps, values = steps[started], values[:, started]
    if seeds:
        ax.plot(steps, values.T, color=color, linewidth=0.5, alpha=0.35)
    if len(steps):
        low, high = bootstrap_band(values, draws=draws)
        ax.fill_between(steps, low, high, color=color, alpha=0.25, linewidth=0)
        ax.plot(steps, iqm(values), color=color, label=label)
    ax.set(xlabel=STEPS_LABEL, ylabel=LABELS.get(metric, metric))
    return ax


class LiveCurve:
    """边训练边画的曲线：``train(cfg, on_chunk=LiveCurve(cfg))``。

    训练结束时停在最后一帧，所以静态页面上看到的就是完整的曲线。
    """

    def __init__(self, cfg: PPOConfig, metric: str = "return", seconds: float = 0.7):
        self.cfg, self.metric, self.seconds = cfg, metric, seconds
        self.handle, self.last_drawn = None, 0.0

    def __call__(self, dataset: xr.Dataset) -> None:
        """收到到此刻为止的指标；离上一帧太近就跳过，最后一帧总要画。"""
        from IPython.display import display

        finished = dataset.sizes["update"] == self.cfg.num_updates
        if not finished and time.perf_counter() - self.last_drawn < self.seconds:
            return
        picture = self.draw(dataset)
        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)
        self.last_drawn = time.perf_counter()

    def draw(self, dataset: xr.Dataset):
        """一帧。"""
        fig, ax = new_figure()
        plot_metric(dataset, self.metric, ax)
        num_seeds = dataset.sizes["seed"]
        ax.set_xlim(0, self.cfg.num_updates * self.cfg.batch_size / 1e4)
        ax.set_title(
            f"{self.cfg.env_name}，{num_seeds} 个种子：线为四分位均值，带为 95% 置信带，细线为各个种子"
        )
        return show(
            fig,
            f"{self.cfg.env_name} 的{LABELS.get(self.metric, self.metric)}随训练步数的变化，{num_seeds} 个种子",
        )
