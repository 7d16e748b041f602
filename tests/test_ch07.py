"""第 7 章的检查：每道题两种对的写法，和几种错的写法应得的提示；拆开来看的更新就是库里的更新。"""

import dataclasses

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import PPOConfig
from ppo_lib.course import ch07
from ppo_lib.course.ch07 import (
    CASES,
    check_kl_estimate,
    check_my_objective,
    check_total_loss,
    check_zero_gradient,
    watch_one_update,
)
from ppo_lib.course.experiment import patched
from ppo_lib.loss import Minibatch, clipped_objective, ppo_loss
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


# ---------------------------------------------------------------- 别的“不要走太远”


def small_batch():
    rng = np.random.default_rng(7)
    old_logits = rng.normal(size=(64, 2))
    action = rng.integers(0, 2, 64)
    old_log_prob = np.log(np.exp(old_logits) / np.exp(old_logits).sum(1, keepdims=True))
    zero = np.zeros(64, np.float32)
    obs = np.asarray(old_logits, np.float32)
    log_prob = old_log_prob[np.arange(64), action].astype(np.float32)
    return Minibatch(obs, action, log_prob, zero, rng.normal(size=64).astype(np.float32), zero)


class Shifted:
    """策略的 logits 是观测加上一个参数；价值恒为 0。"""

    def apply(self, params, obs):
        return distrax.Categorical(logits=obs + params), jnp.zeros(obs.shape[:-1])


OPTIONS = dict(network=Shifted(), advantage_norm="minibatch", clip_value=False)


def test_the_penalty_is_beta_times_the_kl_on_the_unclipped_objective():
    batch, params = small_batch(), jnp.array([0.7, -0.4])
    hyper = PPOConfig().hyperparams()
    plain, metrics = ppo_loss(params, batch, hyper._replace(clip_eps=ch07.UNCLIPPED), **OPTIONS)
    for beta in (0.0, 1.0, 3.0):
        loss, _ = ch07.penalized_loss(params, batch, hyper._replace(clip_eps=beta), **OPTIONS)
        np.testing.assert_allclose(loss, plain + beta * metrics["approx_kl"], rtol=1e-5)


def test_the_penalty_pulls_back():
    """β 很大时，损失的最低处在旧策略：那里梯度只剩目标的那一份，离开后 KL 的梯度指回去。"""
    batch, away = small_batch(), jnp.array([0.5, -0.5])
    hyper = PPOConfig().hyperparams()._replace(clip_eps=100.0)
    slope = jax.grad(lambda p: ch07.penalized_loss(p, batch, hyper, **OPTIONS)[0])(away)
    assert slope @ away > 0


@pytest.mark.parametrize(
    ("kl", "factor"), [(0.016, 2), (0.0149, 1), (0.01, 1), (0.0067, 1), (0.0066, 0.5)]
)
def test_beta_doubles_when_too_far_and_halves_when_too_near(kl, factor):
    assert float(ch07.adapted(jnp.asarray(3.0), kl, 0.01)) == 3 * factor


def test_clip_alone_has_no_gradient_on_either_side():
    slopes = [jax.grad(ch07.clip_alone)(r, a, 0.2) for r, a in CASES]
    assert [bool(slope == 0) for slope in slopes] == [True] * 4 + [False] * 2


def test_experiments_are_well_formed():
    for experiment in ch07.EXPERIMENTS.values():
        assert set(experiment.patches) <= set(experiment.variants)
        assert experiment.points <= experiment.base.num_updates


@pytest.mark.slow
def test_the_adaptive_penalty_carries_beta_from_update_to_update():
    cfg = PPOConfig(env_name="CartPole-v1", num_envs=4, num_steps=16, update_epochs=4)
    hyper = cfg.hyperparams()
    with patched(ch07.adaptive(1e-9)):  # 目标小到总是走得太远
        program = make_train(cfg)
        state = jax.jit(program.init)(0, hyper)
        betas = [float(state.running_grad[1])]
        update = jax.jit(program.update)
        for _ in range(3):
            state, _ = update(state, hyper)
            betas.append(float(state.running_grad[1]))
    assert betas == [1, 2, 4, 8]


@pytest.mark.slow
def test_the_same_update_without_clipping_starts_from_the_same_place():
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=20_000, update_epochs=2)
    ours = watch_one_update(cfg, update=2, seed=1)
    free = watch_one_update(cfg, update=2, seed=1, clip_eps=ch07.UNCLIPPED)
    np.testing.assert_array_equal(ours["advantage"], free["advantage"])
    np.testing.assert_array_equal(ours["log_ratio"][:2], free["log_ratio"][:2])  # 第一步不裁剪
    assert not np.array_equal(ours["log_ratio"][-1], free["log_ratio"][-1])


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
