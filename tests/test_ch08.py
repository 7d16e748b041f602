"""第 8 章：改动过的优化器改的正是说的那一处；拆开的一步合起来就是一步。"""

import dataclasses
import types

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from mutants import mutants

from ppo_lib import PPOConfig
from ppo_lib.course import ch08
from ppo_lib.course.ch08 import (
    CHANGES,
    PATCHES,
    check_my_adam,
    correction_factor,
    gradient_metrics_with_shares,
    split_one_update,
    without_bias_correction,
)
from ppo_lib.optimizer import adam_step, make_optimizer


@pytest.mark.slow
def test_every_mutant_of_adam_step_is_caught():
    """练习 8.1 的参考答案是库里的 adam_step；改坏它的任何一处，也查得出。"""

    def positional(step):
        return lambda p, g, m, v, t, lr, a, b, e: step(p, g, m, v, t, lr=lr, beta_1=a, beta_2=b, eps=e)  # fmt: skip

    assert check_my_adam(positional(adam_step))
    assert not [
        change for change, step in mutants(adam_step) if check_my_adam(positional(step))
    ]


def test_8_4_agrees_with_optax():
    """五种改动真的走一遍。"""

    def path(scale=lambda t: 1.0, lr=0.1, bound=None):
        optimizer = optax.adam(lr, eps=1e-20)
        w, state = jnp.array([3.0, -1.0]), None
        state = optimizer.init(w)
        for t in range(1, 21):
            grad = scale(t) * jnp.array([1.0, 4.0]) * w
            if bound:
                grad = grad * bound / jnp.linalg.norm(grad)
            updates, state = optimizer.update(grad, state)
            w = w + updates
        return np.asarray(w)

    assert np.allclose(path(), path(lambda t: 10.0), rtol=1e-4)
    assert np.allclose(path(bound=1.0), path(bound=0.1), rtol=1e-4)
    assert not np.allclose(path(), path(lr=1.0), rtol=1e-2)
    assert not np.allclose(path(), path(lambda t: 10.0 if t == 5 else 1.0), rtol=1e-2)


# ---------------------------------------------------------------- 改动过的优化器


def some_gradients(n):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=3), jnp.float32) for _ in range(n)]


def walk(optimizer, n=30):
    param = jnp.zeros(3)
    state = optimizer.init(param)
    for grad in some_gradients(n):
        updates, state = optimizer.update(grad, state)
        param = param + updates
    return np.asarray(param)


def hyper(**keys):
    return PPOConfig(max_grad_norm=1e9, **keys).hyperparams()


def test_without_bias_correction_is_the_guides_formula():
    param, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    for g in map(np.asarray, some_gradients(30)):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        param = param - 0.01 * m / (np.sqrt(v) + 1e-8)
    np.testing.assert_allclose(
        walk(without_bias_correction("adam", 0.01, hyper())), param, rtol=1e-4
    )


def test_rmsprop_is_adam_with_beta_1_zero_and_no_bias_correction():
    np.testing.assert_allclose(
        walk(without_bias_correction("adam", 0.01, hyper(beta_1=0.0))),
        walk(make_optimizer("rmsprop", 0.01, hyper())),
        rtol=1e-4,
    )


def test_the_correction_factor_is_the_ratio_of_steps():
    assert correction_factor(1, 0.9) == pytest.approx(np.sqrt(0.001) / 0.1)
    assert correction_factor(10**6, 0.9) == pytest.approx(1.0)


def test_resetting_t_only_multiplies_the_learning_rate():
    """归零 t 的路，与不归零、学习率乘 f(t)/f(T) 的路相同。"""
    reset = scaled = (jnp.zeros(3),) * 3
    for T, grad in enumerate(some_gradients(20), start=1):
        t = (T - 1) % 4 + 1
        ratio = correction_factor(t, 0.9) / correction_factor(T, 0.9)
        reset = adam_step(reset[0], grad, *reset[1:], t, lr=0.1)
        scaled = adam_step(scaled[0], grad, *scaled[1:], T, lr=0.1 * ratio)
    np.testing.assert_allclose(reset[0], scaled[0], rtol=1e-4)


def test_shares_of_the_actor_by_hand():
    grad = {
        "params": {"actor_0": {"w": jnp.array([3.0, 0.0])}, "critic_0": jnp.array([0.0, 4.0])}
    }
    optimizer = make_optimizer("adam", 0.1, hyper())
    _, opt_state = optimizer.update(grad, optimizer.init(grad))
    metrics = gradient_metrics_with_shares(grad, grad, opt_state)
    assert metrics["actor_grad_share"] == pytest.approx(9 / 25)
    assert metrics["actor_step_share"] == pytest.approx(1 / 2, rel=1e-4)  # 第一步只看正负


@pytest.mark.parametrize(
    ("replacement", "kept"), [("learn_from_zero_time", True), ("learn_from_scratch", False)]
)
def test_what_each_reset_resets(monkeypatch, replacement, kept):
    monkeypatch.setattr(ch08, "learn", lambda state, *rest: state.opt_state)
    cfg = PPOConfig()
    optimizer = make_optimizer("adam", 0.1, cfg.hyperparams())
    params = {"w": jnp.ones(2)}
    _, opt_state = optimizer.update(params, optimizer.init(params))

    class State(types.SimpleNamespace):
        def _replace(self, **new):
            return State(**{**vars(self), **new})

    _, scale, _ = getattr(ch08, replacement)(
        State(opt_state=opt_state), None, None, None, cfg, None
    )
    assert scale.count == 0 and opt_state[1].count == 1
    assert bool(scale.mu["w"].any()) == bool(scale.nu["w"].any()) == kept


def test_patches_name_variants_that_exist():
    assert set(PATCHES) <= set(CHANGES)
    for experiment in ch08.EXPERIMENTS.values():
        for changes in experiment.variants.values():
            dataclasses.replace(experiment.base, **changes)


@pytest.mark.slow
def test_the_halves_of_a_step_make_the_step():
    """没有动量时，整步就是梯度的那一半；每一步从上一步走到的地方开始。"""
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=20_000, num_seeds=1)
    split = split_one_update(cfg, 1, (0.0, 0.9), 1)
    assert split.sizes == {"beta_1": 2, "seed": 1, "step": 8, "sample": 2048}
    assert float(np.abs(split["log_ratio"][:, :, 0]).max()) < 1e-5
    np.testing.assert_array_equal(split["log_ratio"][:, :, 1:], split["moved"][:, :, :-1])
    none, some = split.isel(seed=0, beta_1=0), split.isel(seed=0, beta_1=1)
    np.testing.assert_allclose(none["by_gradient"], none["moved"], atol=1e-5)
    np.testing.assert_allclose(none["by_momentum"], none["log_ratio"], atol=1e-5)
    halves = (some["by_momentum"] - some["log_ratio"]) + (
        some["by_gradient"] - some["log_ratio"]
    )
    whole = some["moved"] - some["log_ratio"]
    assert float(np.abs(halves - whole).mean()) < 0.2 * float(np.abs(whole).mean())
    assert ((split["actor_share"] >= 0) & (split["actor_share"] <= 1)).all()
