"""第 7 章的检查：每道题两种对的写法，和几种错的写法应得的提示；拆开来看的更新就是库里的更新。"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import PPOConfig
from ppo_lib.course.ch07 import (
    CASES,
    check_kl_estimate,
    check_my_objective,
    check_total_loss,
    check_zero_gradient,
    watch_one_update,
)
from ppo_lib.loss import clipped_objective
from ppo_lib.training import make_train


@pytest.mark.parametrize("answer", [{1, 4}, [4, 1], np.array([1, 4])])
def test_7_1_right(answer):
    assert check_zero_gradient(answer).passed


def test_7_1_agrees_with_the_derivative():
    slopes = [jax.grad(clipped_objective)(r, a, 0.2) for r, a in CASES]
    assert check_zero_gradient({i for i, slope in enumerate(slopes, 1) if slope == 0}).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({1, 2, 3, 4}, "较小者"),
        ({2, 3}, "反了"),
        ({5, 6}, "反了"),
        ({1}, "漏了一个"),
        ({1, 4, 5}, "之内"),
        ({1, 2}, "较小的是哪一个"),
        ({0, 3}, "1 到 6"),
        (..., "换成你的答案"),
        (3, "出错"),
    ],
)
def test_7_1_wrong(answer, hint):
    verdict = check_zero_gradient(answer)
    assert not verdict.passed and hint in verdict.message, verdict


def by_cases(ratio, advantage, eps):
    bound = jnp.where(advantage > 0, 1 + eps, 1 - eps)
    over = jnp.where(advantage > 0, ratio > bound, ratio < bound)
    return jnp.where(over, bound, ratio) * advantage


@pytest.mark.parametrize("answer", [clipped_objective, by_cases])
def test_7_2_right(answer):
    assert check_my_objective(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, a, e: -clipped_objective(r, a, e), "负号"),
        (lambda r, a, e: r * a, "不裁剪"),
        (lambda r, a, e: jnp.clip(r, 1 - e, 1 + e) * a, "只用了裁剪"),
        (lambda r, a, e: jnp.maximum(r * a, jnp.clip(r, 1 - e, 1 + e) * a), "较大者"),
        (lambda r, a, e: jnp.minimum(r, 1 + e) * a, "再乘 A"),
        (lambda r, a, e: jnp.minimum(r * a, jnp.clip(r * a, 1 - e, 1 + e)), "要裁剪的是 r"),
        (lambda r, a, e: clipped_objective(r, a, e).mean(), "平均"),
        (lambda r, a, e: clipped_objective(r, a, 2 * e), "应当是"),
        (lambda r, a, e: None, "没有返回值"),
        (lambda r, a: r, "出错"),
    ],
)
def test_7_2_wrong(answer, hint):
    verdict = check_my_objective(answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize(
    "answer",
    [
        lambda objective, value_loss, entropy, vf_coef, ent_coef: (
            -objective + vf_coef * value_loss - ent_coef * entropy
        ),
        lambda **x: (
            -(x["objective"] - x["vf_coef"] * x["value_loss"] + x["ent_coef"] * x["entropy"])
        ),
    ],
)
def test_7_3_right(answer):
    assert check_total_loss(answer).passed


@pytest.mark.parametrize(
    ("signs", "hint"),
    [
        ((1, 1, -1), "带负号"),
        ((-1, 1, 1), "熵的符号反了"),
        ((1, -1, 1), "最大化的目标"),
        ((-1, -1, -1), "价值损失的符号反了"),
        ((-1, 1, 0), "忘了熵"),
        ((0, 1, 0), "想要变大还是变小"),
    ],
)
def test_7_3_wrong(signs, hint):
    def total(objective, value_loss, entropy, vf_coef, ent_coef):
        return (
            signs[0] * objective
            + signs[1] * vf_coef * value_loss
            + signs[2] * ent_coef * entropy
        )

    verdict = check_total_loss(total)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize(
    "answer",
    [
        lambda new, old: (jnp.exp(new - old) - 1 - (new - old)).mean(),
        lambda new, old: float(
            np.mean(np.expm1(np.asarray(new - old)) - np.asarray(new - old))
        ),
    ],
)
def test_7_4_right(answer):
    assert check_kl_estimate(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda new, old: (old - new).mean(), "k₁"),
        (lambda new, old: (new - old).mean(), "符号反了"),
        (lambda new, old: ((new - old) ** 2 / 2).mean(), "k₂"),
        (lambda new, old: (jnp.exp(old - new) - 1 - (old - new)).mean(), "颠倒"),
        (lambda new, old: jnp.expm1(new - old).mean(), "少减了"),
        (lambda new, old: jnp.exp(new - old) - 1 - (new - old), "求平均"),
        (lambda new, old: new - old, "沿样本求平均"),
        (lambda new, old: None, "没有返回值"),
        (lambda new, old: 0.0, "最后求平均"),
    ],
)
def test_7_4_wrong(answer, hint):
    verdict = check_kl_estimate(answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.slow
def test_watching_an_update_does_not_change_it():
    """一步一停地做完，与编译成一个程序做完，界外样本的平均比例相同。"""
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=20_000, update_epochs=3)
    watched = watch_one_update(cfg, update=2, seed=1)
    assert watched.sizes == {"step": 13, "sample": 2048}
    assert float(np.abs(watched["log_ratio"][0]).max()) < 1e-5

    program, hyper = make_train(cfg), dataclasses.replace(cfg, seed=1).hyperparams()
    state = jax.jit(program.init)(1, hyper)
    _, metrics = jax.jit(program.run_chunk)(state, hyper, 3)
    moved = np.asarray(watched["log_ratio"])
    # 各个小批次合起来正好是整批，所以走完一遍时的近似 KL，与训练中报的是同一个量级
    kl = (np.expm1(moved) - moved).mean(axis=1)
    assert kl[:-1].min() * 0.5 <= float(metrics["approx_kl"][2]) <= kl.max() * 2
