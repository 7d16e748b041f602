"""ppo_lib/diagnostics.py：每个诊断量的手算例子和性质。"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_lib.diagnostics import (
    approx_kl,
    clip_frac,
    cosine_similarity,
    dot,
    explained_variance,
    global_norm,
    masked_mean,
    update_running_grad,
)

A = {"w": jnp.array([[3.0, 0.0], [0.0, 0.0]]), "b": jnp.array([4.0])}
ZERO = jax.tree.map(jnp.zeros_like, A)


def times(c, tree):
    return jax.tree.map(lambda x: c * x, tree)


# ---------------------------------------------------------------- 范数和余弦


def test_norm_and_dot_see_the_tree_as_one_long_vector():
    assert global_norm(A) == 5.0
    assert dot(A, {"w": jnp.ones((2, 2)), "b": jnp.array([-1.0])}) == 3.0 - 4.0
    assert global_norm(ZERO) == 0.0


@pytest.mark.parametrize(
    "b, cosine",
    [
        (A, 1.0),
        (times(0.01, A), 1.0),
        (times(-7.0, A), -1.0),
        (ZERO, 0.0),
        ({"w": jnp.array([[0.0, 2.0], [5.0, 0.0]]), "b": jnp.zeros(1)}, 0.0),  # 正交
        ({"w": jnp.array([[1.0, 0.0], [0.0, 0.0]]), "b": jnp.zeros(1)}, 0.6),
    ],
)
def test_cosine_of_known_angles(b, cosine):
    assert cosine_similarity(A, b) == pytest.approx(cosine, abs=1e-6)
    assert cosine_similarity(b, A) == pytest.approx(cosine, abs=1e-6)


def test_cosine_of_a_diverged_gradient_is_nan_not_zero():
    assert np.isnan(cosine_similarity(times(np.nan, A), A))


def test_cosine_with_zero_is_zero_and_so_is_its_gradient_not_nan():
    assert cosine_similarity(ZERO, ZERO) == 0.0
    b = {"x": jnp.array([1.0, 2.0])}
    assert np.isfinite(jax.grad(lambda c: cosine_similarity(times(c, b), b))(2.0))


@given(st.integers(0, 2**32 - 1))
def test_cosine_lies_between_minus_1_and_1(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 50)).astype(np.float32)
    cosine = float(cosine_similarity(a, b))
    assert cosine == pytest.approx(
        np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5
    )
    assert abs(cosine) <= 1 + 1e-6


# ---------------------------------------------------------------- 滑动梯度


def test_decay_0_keeps_only_the_last_gradient():
    updated = update_running_grad(times(9.0, A), A, 0.0)
    jax.tree.map(np.testing.assert_array_equal, updated, A)


def test_running_gradient_by_hand():
    """衰减 0.5，从 0 起依次看到 4、8、0：2，5，2.5。"""
    running, seen = {"w": jnp.array(0.0)}, []
    for grad in (4.0, 8.0, 0.0):
        running = update_running_grad(running, {"w": jnp.array(grad)}, 0.5)
        seen.append(float(running["w"]))
    assert seen == [2.0, 5.0, 2.5]


def test_comparing_with_an_average_that_contains_the_gradient_raises_the_cosine():
    """所以要先算余弦、再更新：两个独立的随机梯度本来几乎正交。"""
    old, grad = jax.random.normal(jax.random.key(0), (2, 1000))
    honest = cosine_similarity(grad, old)
    biased = cosine_similarity(grad, update_running_grad(old, grad, 0.5))
    assert abs(honest) < 0.1 and biased > 0.6


# ---------------------------------------------------------------- 比率和 KL


def test_clip_frac_counts_both_sides():
    ratio = jnp.array([0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 3.0, 1.0])
    assert clip_frac(ratio, 0.2) == 4 / 8
    assert clip_frac(jnp.ones(5), 0.2) == 0.0
    assert clip_frac(ratio, 10.0) == 0.0


def test_approx_kl_of_the_same_policy_is_exactly_zero():
    log_prob = jnp.log(jnp.array([0.1, 0.9, 1e-8]))
    assert approx_kl(log_prob, log_prob) == 0.0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 3.0))
def test_approx_kl_is_never_negative(seed, scale):
    new, old = np.random.default_rng(seed).normal(size=(2, 20)).astype(np.float32) * scale
    assert approx_kl(new, old) >= 0.0


@pytest.mark.parametrize("new", [[0.4, 0.4, 0.2], [0.48, 0.32, 0.2], [0.6, 0.3, 0.1]])
def test_approx_kl_estimates_kl_of_old_from_new(new):
    """样本出自旧策略；要估的是 KL(旧‖新)，不是 KL(新‖旧)。"""
    old, new = np.array([0.5, 0.3, 0.2]), np.array(new)
    action = jax.random.choice(jax.random.key(0), 3, (200_000,), p=jnp.array(old))
    estimate = float(approx_kl(jnp.log(new)[action], jnp.log(old)[action]))
    assert estimate == pytest.approx((old * np.log(old / new)).sum(), rel=0.03)


def test_approx_kl_keeps_its_precision_for_tiny_changes():
    """直接算 (r - 1) - ln r 会被舍入吃掉；真值约为 ½·(1e-3)²。"""
    assert approx_kl(jnp.array([1e-3]), jnp.zeros(1)) == pytest.approx(0.5e-6, rel=0.05)


# ---------------------------------------------------------------- 解释方差和带掩码的平均


def test_explained_variance_of_a_perfect_a_useless_and_a_wrong_critic():
    target = jnp.array([1.0, 2.0, 3.0, 6.0])
    assert explained_variance(target, target) == 1.0
    assert explained_variance(jnp.full(4, 3.0), target) == 0.0
    assert explained_variance(target + 5.0, target) == 1.0  # 只差一个常数，方差解释得了
    assert explained_variance(-target, target) == pytest.approx(-3.0)  # Var(2x)/Var(x) = 4


def test_explained_variance_by_hand():
    """目标 0、2、4、6 的方差是 5；误差 ±1 的方差是 1。"""
    assert explained_variance(
        jnp.array([1.0, 1.0, 5.0, 5.0]), jnp.array([0.0, 2.0, 4.0, 6.0])
    ) == pytest.approx(0.8)


def test_explained_variance_of_a_constant_target_is_nan():
    assert np.isnan(explained_variance(jnp.array([1.0, 2.0]), jnp.array([3.0, 3.0])))


def test_masked_mean_averages_only_where_the_mask_is_true():
    x, mask = (
        jnp.array([[1.0, 10.0], [5.0, jnp.nan]]),
        jnp.array([[True, False], [True, False]]),
    )
    assert masked_mean(x, mask) == 3.0  # 掩掉的位置即使是 NaN 也不碍事
    assert masked_mean(jnp.array([2, 3]), jnp.array([True, True])) == 2.5


def test_masked_mean_of_nothing_is_nan_not_zero():
    """一个回合也没走完时，return 若报 0，在 MountainCar 上看起来像是最好的成绩。"""
    assert np.isnan(masked_mean(jnp.array([1.0, 2.0]), jnp.array([False, False])))
