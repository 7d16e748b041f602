"""统计：一次训练的成绩怎样算，几个种子的成绩怎样合成一个数和一个区间。

出处：Agarwal et al. (2021), *Deep Reinforcement Learning at the Edge of the Statistical Precipice*。
"""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

# ---------------------------------------------------------------- 一次训练的成绩


def final_scores(runs: xr.Dataset, metric: str = "return") -> xr.DataArray:
    """最后的成绩：最后十分之一的平均，去掉最后一维（point 或 update）：(variant, seed, point) → (variant, seed)。

    十分之一不是整数时，最早的那一个只算零头：25 个点的最后十分之一是两个半。这样，同一次训练
    缩成多少个点，成绩都差不多。中途停下的训练，最后十分之一不是真的最后，会发出警告。
    """
    if runs.attrs.get("complete", 1) == 0:
        warnings.warn(
            "这是中途停下的训练，算的是停下之前的十分之一。", RuntimeWarning, stacklevel=2
        )
    along = along_training(runs, metric)
    index = xr.DataArray(np.arange(runs.sizes[along]), dims=along)
    length = (
        runs.coords.get("timesteps", index).notnull().sum(along)
    )  # 几种做法长短不一时，短的后面是 NaN
    age = length - 1 - index  # 最后一个是 0
    weights = (length / 10 - age).clip(0, 1).where(age >= 0, 0)
    return runs[metric].weighted(weights).mean(along)


def whole_run_scores(runs: xr.Dataset, metric: str = "return") -> xr.DataArray:
    """整段的成绩：从头到尾的平均，也就是学习曲线下的面积；去掉最后一维。

    几种做法最后都满分（或都没有学会）时，最后的成绩分不出它们；学得早的，整段的成绩高。
    """
    return runs[metric].mean(along_training(runs, metric))


def along_training(runs: xr.Dataset, metric: str) -> str:
    """沿着训练的那一维：录下的曲线是 point，训练的指标是 update。"""
    return "point" if "point" in runs[metric].dims else "update"


# ---------------------------------------------------------------- 几个种子合成一个数


def iqm(scores, axis: int = 0):
    """四分位均值（interquartile mean）：去掉最高和最低的各四分之一，平均剩下的。

    四分之一取整数个：10 个种子各去掉 2 个，3 个以内一个也不去。比平均值不怕个别种子失手，
    比中位数用到的数据多。
    """
    scores = np.moveaxis(np.asarray(scores), axis, 0)
    cut = len(scores) // 4
    return np.sort(scores, axis=0)[cut : len(scores) - cut].mean(axis=0)


def bootstrap_band(
    scores, statistic=iqm, level: float = 0.95, draws: int = 2000, seed: int = 0
):
    """自助法（bootstrap）置信区间：对种子有放回地重抽 draws 次，取统计量的两个分位数。

    给的是曲线，就每个点一个区间，连起来是置信带。种子少时它偏窄：平均值的 95% 区间，真实的覆盖率在 5 个种子时约 84%，10 个时约 90%；
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


def difference_interval(
    ours, base, level: float = 0.95, draws: int = 20_000, seed: int = 0
) -> tuple[float, float, float]:
    """两组种子的四分位均值之差，和它的自助置信区间：两组各自有放回地重抽。

    Args:
        ours, base: 每个种子的成绩，(seeds,)；两组的个数可以不同。

    Returns:
        (差, 下界, 上界)，差 = ours - base。
    """
    differences = resampled_differences(ours, base, draws, seed)
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return float(iqm(ours) - iqm(base)), float(low), float(high)


def resampled_differences(ours, base, draws: int = 20_000, seed: int = 0) -> np.ndarray:
    """重抽 draws 次得到的四分位均值之差，(draws,)。"""
    rng = np.random.default_rng(seed)
    ours, base = np.asarray(ours), np.asarray(base)
    return iqm(rng.choice(ours, (len(ours), draws))) - iqm(rng.choice(base, (len(base), draws)))


def holm(p_values) -> np.ndarray:
    """Holm 修正：几个比较一起做时，修正后的 p 值，次序不变。

    按从小到大排，最小的乘 m，次小的乘 m-1，……，再让后面的不小于前面的。修正后仍小于 0.05 的才算：
    这样，所有比较里哪怕只错一个的机会也不超过 5%。

    出处：Holm (1979), *A Simple Sequentially Rejective Multiple Test Procedure*。
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    scaled = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty_like(scaled)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted
