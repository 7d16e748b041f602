"""第 5 章：写错的程序错在该错的地方；回合怎样结束；边训练边评估不碍着训练。"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import PPOConfig, train
from ppo_lib.course.ch05 import (
    ARRIVED,
    DRAWN_STEPS,
    DRAWN_TERMINATED,
    DRAWN_TRUNCATED,
    TERMINATED,
    TRUNCATED,
    VALUE,
    how_ended,
    late_observations,
    make_endless_cartpole,
    plot_next_values,
    same_key_every_step,
    same_key_forever,
    same_noise_every_step,
    same_start_every_step,
    train_and_evaluate,
    values_after_reset,
)
from ppo_lib.envs import Step, make_env
from ppo_lib.rollout import EpisodeEnds, Transition, values_after

CARTPOLE = PPOConfig(env_name="CartPole-v1")

# ---------------------------------------------------------------- 写错的程序


def test_late_observations_are_the_next_rows():
    rows = jnp.arange(6.0).reshape(3, 2, 1)
    rollout = Transition(rows, *[jnp.zeros((3, 2))] * 7)
    late_rows = late_observations(rollout, jnp.full((2, 1), 9.0)).obs
    np.testing.assert_array_equal(late_rows[..., 0], [[2, 3], [4, 5], [9, 9]])


@jax.debug_key_reuse(False)  # 故意重用
def test_reused_keys_draw_the_same_numbers_every_step():
    keys = jax.random.split(jax.random.key(3), 6)
    draw = jax.vmap(lambda key: jax.random.normal(key, (2,)))
    every_step, forever = (
        same(draw, keys, 4) for same in (same_key_every_step, same_key_forever)
    )
    np.testing.assert_array_equal(every_step, np.tile(draw(keys[:1]), (6, 1)))
    np.testing.assert_array_equal(forever, np.tile(draw(jax.random.key(0)[None]), (6, 1)))
    values = jnp.arange(6.0)  # 不是钥匙的，照常算
    np.testing.assert_array_equal(same_key_every_step(lambda x: 2 * x, values, 4), 2 * values)


@jax.debug_key_reuse(False)
def test_noise_and_starts_are_held_apart():
    keys = jax.random.split(jax.random.key(4), 6)

    def draw(key):
        parts = jax.random.split(key, 3)
        return tuple(jax.random.normal(part, (2,)) for part in parts)

    usual = jax.vmap(draw)(keys)
    for same, held in ((same_noise_every_step, 0), (same_start_every_step, 2)):
        for i, (now, before) in enumerate(zip(same(jax.vmap(draw), keys, 4), usual)):
            np.testing.assert_array_equal(
                now, np.tile(before[:1], (6, 1)) if i == held else before
            )
    values = jnp.arange(6.0)  # 不是钥匙的，照常算
    np.testing.assert_array_equal(same_noise_every_step(lambda x: 2 * x, values, 4), 2 * values)


def test_values_after_reset_differ_only_at_timeouts():
    step = Step(ARRIVED[:, None], None, None, None, TERMINATED[:, None], TRUNCATED[:, None])
    args = (step, jnp.array([0.9]), jnp.asarray(VALUE)[:, None], lambda x: x)
    differs = np.asarray(values_after(*args) != values_after_reset(*args))[:, 0]
    np.testing.assert_array_equal(differs, TRUNCATED)


# ---------------------------------------------------------------- 回合怎样结束


def cartpole_steps(start, action):
    """从 start (x, x_dot, theta, theta_dot) 走一步：看到的观测和 Step。"""
    env = make_env(CARTPOLE)
    _, state = env.reset(jax.random.key(0))
    state = state.replace(**dict(zip(("x", "x_dot", "theta", "theta_dot"), start)))
    return jnp.array(start), env.step(jax.random.key(1), state, action, CARTPOLE.hyperparams())


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ((0.0, 0.0, 0.2, 1.0), dict(fell=1, left_track=0, on_the_right=0)),
        ((2.39, 1.0, 0.0, 0.0), dict(fell=0, left_track=1, on_the_right=1)),
        ((-2.39, -1.0, 0.0, 0.0), dict(fell=0, left_track=1, on_the_right=0)),
        ((2.39, 1.0, 0.2, 1.0), dict(fell=1, left_track=0, on_the_right=0)),
        ((0.0, 0.0, 0.0, 0.0), dict(fell=0, left_track=0, on_the_right=0)),
    ],
)
def test_how_ended_agrees_with_the_environment(start, expected):
    obs, step = cartpole_steps(start, 1)
    assert bool(step.terminated) == (expected["fell"] + expected["left_track"] == 1)
    fields = [obs] + [jnp.zeros(())] * 5 + [step.terminated, step.truncated]
    rollout = Transition(*[jnp.asarray(x)[None, None] for x in fields])
    ends = EpisodeEnds(rollout.terminated, *[jnp.ones((1, 1))] * 2)
    counts = how_ended(ends, rollout, "CartPole-v1")
    assert {name: int(counts[name]) for name in expected} == expected and counts[
        "timed_out"
    ] == 0
    assert np.isclose(counts["farthest"], abs(step.obs[0]), atol=1e-5)


def test_without_edges_only_a_fallen_pole_or_500_steps_end():
    env = make_endless_cartpole(CARTPOLE)
    _, state = env.reset(jax.random.key(0))

    def step(**changes):
        return env.step(jax.random.key(1), state.replace(**changes), 1, CARTPOLE.hyperparams())

    far = step(x=50.0, x_dot=0.0)
    assert not far.terminated and far.reward == 1 and far.obs[0] == 50
    assert step(theta=0.3).terminated and step(time=499).truncated


def test_the_drawn_rollout_shows_both_ends_and_an_ending_in_the_last_row():
    plot_next_values()
    assert DRAWN_TERMINATED and DRAWN_TRUNCATED and not DRAWN_TERMINATED & DRAWN_TRUNCATED
    assert DRAWN_STEPS - 1 in {t for t, _ in DRAWN_TERMINATED}


@pytest.mark.slow
def test_training_is_untouched_by_the_evaluations_in_between():
    cfg = PPOConfig(
        env_name="CartPole-v1", total_timesteps=20 * 64, num_envs=4, num_steps=16, num_seeds=2
    )
    runs = train_and_evaluate(cfg, progress=False)
    np.testing.assert_array_equal(runs["return"], train(cfg, progress=False).metrics["return"])
    evaluated = np.isfinite(runs["evaluated"].values)
    np.testing.assert_array_equal(np.flatnonzero(evaluated.all(axis=0)) + 1, [8, 16, 20])
    assert (evaluated.any(axis=0) == evaluated.all(axis=0)).all()
