"""统计：四分位均值和自助置信带。"""

import numpy as np
import pytest

from ppo_lib.statistics import bootstrap_band, iqm


def test_iqm_by_hand():
    """八个数：去掉最低两个和最高两个，平均 2、3、4、5。"""
    assert iqm(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_iqm_ignores_one_wild_seed():
    scores = np.array([10.0, 10, 10, 10, -1000])
    assert iqm(scores) == 10


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
