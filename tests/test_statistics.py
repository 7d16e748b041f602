"""统计：一次训练的成绩，四分位均值，自助置信区间，差的区间，Holm 修正；比较和它的结论。"""

import warnings

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from ppo_lib.course.comparison import compare, conclude
from ppo_lib.statistics import (
    bootstrap_band,
    difference_interval,
    final_scores,
    holm,
    iqm,
    whole_run_scores,
)


def curve(values, along="point"):
    return xr.Dataset({"return": (("seed", along), [values])})


def test_the_last_tenth_of_25_points_is_two_and_a_half():
    values = np.r_[np.zeros(22), 1.0, 10.0, 100.0]
    assert final_scores(curve(values)).item() == pytest.approx((0.5 * 1 + 10 + 100) / 2.5)


def test_fewer_than_ten_points_give_the_last_one():
    assert final_scores(curve([1.0, 2, 7], "update")).item() == pytest.approx(7)


def test_points_without_episodes_are_left_out():
    values = np.r_[np.zeros(28), np.nan, 6.0]
    assert final_scores(curve(values)).item() == 3  # 最后三个点里的两个
    assert whole_run_scores(curve([np.nan, 1.0, 5.0])).item() == 3


def test_a_thinned_run_has_the_score_of_the_run():
    """一千次更新缩成 20、24、25、48 个点，成绩不变；取整的十分之一做不到。"""
    run = curve(np.linspace(0, 1000, 1000) ** 1.5, "update")
    for points in (20, 24, 25, 48):
        edges = np.linspace(0, 1000, points + 1).astype(int)
        means = [run["return"].values[0, a:b].mean() for a, b in zip(edges[:-1], edges[1:])]
        thinned = final_scores(curve(means)).item()
        assert thinned == pytest.approx(final_scores(run).item(), rel=0.005)


def test_iqm_by_hand():
    """八个数：去掉最低两个和最高两个，平均 2、3、4、5。"""
    assert iqm(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_iqm_ignores_one_wild_seed():
    scores = np.array([10.0, 10, 10, 10, -1000])
    assert iqm(scores) == 10


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_iqm_is_scipys_trimmed_mean_of_arrays_and_of_named_arrays(axis):
    scores = np.random.default_rng(0).normal(size=(10, 7))
    expected = scipy.stats.trim_mean(scores, 0.25, axis=axis)
    for given in (scores, scores.tolist(), xr.DataArray(scores, dims=("seed", "point"))):
        np.testing.assert_allclose(iqm(given, axis=axis), expected)


def test_iqm_keeps_the_other_axes():
    assert iqm(np.ones((10, 7))).shape == (7,)


def test_band_of_equal_scores_has_no_width():
    low, high = bootstrap_band(np.full(5, 3.0))
    assert low == high == 3


def test_band_of_two_scores_is_known():
    """0 和 1：重抽的平均是 0、½、1，概率 ¼、½、¼；95% 的带是 [0, 1]，40% 的带缩成 ½。"""
    scores = np.array([0.0, 1.0])
    assert bootstrap_band(scores, np.mean) == (0, 1)
    assert bootstrap_band(scores, np.mean, level=0.4) == (0.5, 0.5)


@pytest.mark.parametrize("num_seeds, coverage", [(5, 0.84), (10, 0.90), (30, 0.94)])
def test_band_covers_the_true_mean_as_often_as_its_docstring_says(num_seeds, coverage):
    """从已知分布抽 400 组，数一数有多少组的 95% 带盖住了真值：种子少时不到 95%。"""
    rng = np.random.default_rng(1)
    groups = rng.normal(5.0, 2.0, (400, num_seeds))
    bands = [
        bootstrap_band(group, np.mean, draws=400, seed=i) for i, group in enumerate(groups)
    ]
    covered = np.mean([low <= 5 <= high for low, high in bands])
    assert covered == pytest.approx(coverage, abs=0.045)


def test_band_narrows_with_more_seeds():
    rng = np.random.default_rng(2)
    width = [
        np.subtract(*reversed(bootstrap_band(rng.normal(size=n), np.mean))) for n in (5, 500)
    ]
    assert width[1] < width[0] / 3


def test_band_of_curves_has_the_shape_of_a_curve():
    low, high = bootstrap_band(np.random.default_rng(3).normal(size=(10, 20)), draws=50)
    assert low.shape == high.shape == (20,) and (low <= high).all()


def test_difference_interval_of_known_groups():
    """两组各两个数，重抽只有几种结果：差是 -1、-½、0、½、1 之类，95% 的区间到两头。"""
    assert difference_interval([10.0, 11.0], [0.0, 1.0]) == (10, 9, 11)
    assert difference_interval([3.0] * 5, [1.0] * 4) == (2, 2, 2)


def test_holm_by_hand():
    """Holm (1979)：0.01 × 4、0.02 × 3、0.03 × 2、0.5 × 1；后面的不小于前面的。"""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1, 1] and holm([]).size == 0


@pytest.mark.slow
def test_many_comparisons_of_equal_groups_rarely_find_a_difference():
    """二十个比较，两组都出自同一个分布：各管各的区间总有误报，修正之后一批里几乎没有。"""
    rng = np.random.default_rng(0)
    families = [
        compare({str(i): rng.normal(200, 20, (2, 20)) for i in range(20)}) for _ in range(20)
    ]
    alone = [sum(conclude(c.low, c.high) != "看不出差别" for c in f.values()) for f in families]
    corrected = [sum(c.verdict != "看不出差别" for c in f.values()) for f in families]
    assert sum(alone) >= 15 and np.mean(np.array(corrected) > 0) <= 0.25


def test_a_clear_difference_is_found_with_its_sign():
    rng = np.random.default_rng(1)
    high, low = rng.normal(300, 20, 10), rng.normal(200, 20, 10)
    found = compare({"甲": (high, low), "乙": (low, high), "丙": (low, low + 1)})
    assert [c.verdict for c in found.values()] == ["变好", "变差", "看不出差别"]
    assert found["甲"][:3] == difference_interval(high, low)


@pytest.mark.parametrize("bound, name", [(500, "满分"), (-200, "最低分")])
def test_groups_at_a_bound_are_not_compared_in_silence(bound, name):
    at = np.full(10, bound) * (1 - 0.002 * np.arange(10) / 10)
    with pytest.warns(RuntimeWarning, match=f"甲.*{name}.*whole_run_scores"):
        compare({"甲": (at, at)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare({"甲": (at, at * 0.8)})
