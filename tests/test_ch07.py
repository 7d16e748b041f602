"""第 7 章：别的“不要走太远”；拆开来看的更新就是库里的更新。"""

import dataclasses

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import PPOConfig
from ppo_lib.course import ch07
from ppo_lib.course.ch07 import CASES, watch_one_update
from ppo_lib.course.experiment import patched
from ppo_lib.loss import Minibatch, ppo_loss
from ppo_lib.training import make_train

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
