"""统计：几个种子的成绩怎样合成一个数和一条带。

出处：Agarwal et al. (2021), *Deep Reinforcement Learning at the Edge of the Statistical Precipice*。
"""

from __future__ import annotations

import numpy as np
from scipy import stats


def iqm(scores, axis: int = 0):
    """四分位均值（interquartile mean）：去掉最高和最低的各四分之一，平均剩下的。

    四分之一取整数个：10 个种子各去掉 2 个，3 个以内一个也不去。比平均值不怕个别种子失手，
    比中位数用到的数据多。
    """
    return stats.trim_mean(scores, 0.25, axis=axis)


def bootstrap_band(
    scores, statistic=iqm, level: float = 0.95, draws: int = 2000, seed: int = 0
):
    """自助法（bootstrap）置信带：对种子有放回地重抽 draws 次，取统计量的两个分位数。

    种子少时它偏窄：平均值的 95% 带，真实的覆盖率在 5 个种子时约 84%，10 个时约 90%；
    所有种子成绩相同时宽度是 0，那不等于没有误差。

    Args:
        scores: (seeds, ...) 每个种子的成绩。
        statistic: 沿 axis=0 把种子合成一个数的函数，例如 ``iqm`` 或 ``np.mean``。

    Returns:
        (下界, 上界)，形状是 scores 去掉第一维。
    """
    scores = np.asarray(scores)
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(scores), size=(len(scores), draws))
    resampled = statistic(scores[picks], axis=0)  # (draws, ...)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
