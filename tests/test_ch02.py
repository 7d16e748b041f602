"""第 2 章：走廊的三种算法对得上；碗里的优化器与 optax 的相同；几种折扣回报相同。"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ppo_lib.course.ch02 import (
    GAMMA,
    KEY_PROGRAMS,
    RULES,
    RUNGS,
    compile_seconds,
    corridor_values,
    episode_gradients,
    exact_objective,
    fewest_steps,
    ladder,
    learn_corridor,
    one_episode,
    outcomes,
    returns_jax,
    returns_numpy,
    returns_unrolled,
    sample_episodes,
    steps_to_bottom,
    surrogate,
)


def test_values_of_the_corridor():
    middle = 0.75 * GAMMA / (1 - GAMMA**2 / 2)
    np.testing.assert_allclose(corridor_values([0.5] * 3)[1], middle, rtol=1e-5)
    np.testing.assert_allclose(corridor_values([1.0] * 3), [1.62, 1.8, 2.0], rtol=1e-5)
    np.testing.assert_allclose(corridor_values([0.0] * 3), [1.0, 0.9, 0.81], rtol=1e-5)
    np.testing.assert_allclose(corridor_values([1.0, 0.0, 0.5])[:2], [0.0, 0.0], atol=1e-6)


@pytest.mark.slow
def test_sampled_values_and_gradient_agree_with_the_exact_ones():
    theta = jnp.array([0.5, -0.3, 0.2])
    V = corridor_values(jax.nn.sigmoid(theta))
    for start in range(3):
        batch = sample_episodes(jax.random.key(start), theta, 20_000, start=start)
        assert abs(float(batch.future[:, 0].mean() - V[start])) < 0.02
    batch = sample_episodes(jax.random.key(9), theta, 20_000)
    exact = jax.grad(exact_objective)(theta)
    for baseline in (0.0, V[batch.state]):
        estimate = jax.grad(surrogate)(theta, batch, baseline)
        np.testing.assert_allclose(estimate, exact, atol=0.03)
        each = episode_gradients(theta, batch, baseline)
        np.testing.assert_allclose(each.mean(axis=0), estimate, atol=1e-4)


def test_an_episode_is_counted_once_and_discounted_from_its_first_step():
    batch = jax.tree.map(np.asarray, sample_episodes(jax.random.key(0), jnp.zeros(3), 500))
    lengths = (batch.weight > 0).sum(axis=1)
    prize = batch.reward.sum(axis=1)
    assert set(prize) == {1.0, 2.0} and (lengths % 2 == 0).all()
    np.testing.assert_allclose(batch.future[:, 0], prize * GAMMA ** (lengths - 1), rtol=1e-4)


def test_one_episode_carried_to_the_gradient():
    left, right = 0, 1
    there_and_back = one_episode([left, right, right, right])
    assert there_and_back.state.tolist() == [[1, 0, 1, 2]]
    np.testing.assert_allclose(there_and_back.future[0], [1.458, 1.62, 1.8, 2.0], rtol=1e-5)
    gradient = jax.grad(surrogate)(jnp.zeros(3), there_and_back)
    np.testing.assert_allclose(gradient, [0.729, 0, 0.729], atol=1e-5)
    out_left = one_episode([left, left])
    np.testing.assert_allclose(out_left.future[0], [0.9, 1.0], rtol=1e-5)
    for unfinished in ([right], [right, right, right], [left, right]):
        with pytest.raises(ValueError, match="没有正好走完"):
            one_episode(unfinished)


@pytest.mark.slow
@pytest.mark.parametrize("coin", [0.0, 0.5])
def test_every_rung_estimates_the_same_gradient(coin):
    theta = jnp.array([0.5, -0.3, 0.2])
    keys = jax.random.split(jax.random.key(0), 20)
    mean, variance = (np.mean(x, axis=0) for x in zip(*(ladder(k, theta, coin) for k in keys)))
    assert mean.shape == (len(RUNGS), 3) and variance.shape == (len(RUNGS),)
    exact = jax.grad(exact_objective)(theta)
    np.testing.assert_allclose(mean, np.broadcast_to(exact, mean.shape), atol=0.03)
    if coin == 0:  # 走廊只有最后一步有奖励
        np.testing.assert_allclose(variance[0], variance[1], rtol=1e-4)
    assert variance[4] < variance[3] < variance[1]


def test_outcomes():
    assert outcomes(np.array([1.8, 1.3, 0.9, 0.0])).tolist() == [0, 1, 2, 3]


@jax.debug_key_reuse(False)  # vmap 里的 scan，jax 把分好的钥匙误认成用过的
def test_small_steps_learn_and_huge_ones_do_not():
    small, huge = (
        outcomes(learn_corridor(size, num_episodes=4, seeds=40)[:, -1]) for size in (1.0, 100.0)
    )
    assert (small == 0).mean() > 0.9 > (huge == 0).mean()


def test_steps_to_bottom_agrees_with_optax():
    def count(tx, steepness):
        x, where = jnp.ones(2), []
        state = tx.init(x)
        for _ in range(300):
            updates, state = tx.update(x * jnp.array([1.0, steepness]), state)
            x = x + updates
            where.append(float(0.5 * (x[0] ** 2 + steepness * x[1] ** 2)))
        return int(np.flatnonzero(np.array(where) >= 1e-3)[-1]) + 2

    for optimizer, lr, tx in (
        ("sgd", 0.02, optax.sgd),
        ("momentum", 0.02, lambda lr: optax.sgd(lr, momentum=0.9)),
        ("divide", 0.1, lambda lr: optax.adam(lr, b1=0.0)),
        ("adam", 0.1, optax.adam),
    ):
        assert optimizer in RULES
        assert abs(int(steps_to_bottom(optimizer, lr, 10.0)) - count(tx(lr), 10.0)) <= 1


def test_turning_the_bowl_does_not_matter_to_momentum():
    for optimizer in ("sgd", "momentum"):
        straight, turned = (fewest_steps(optimizer, 100.0, angle) for angle in (0.0, np.pi / 4))
        assert straight.shape == (16,)
        np.testing.assert_allclose(straight, turned, atol=3)


def test_three_ways_to_write_returns():
    reward = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float32)
    np.testing.assert_allclose(returns_numpy(reward), jax.vmap(returns_jax)(reward), atol=1e-4)
    np.testing.assert_allclose(returns_unrolled(reward[0]), returns_numpy(reward[0]), atol=1e-4)


@jax.debug_key_reuse(False)
def test_what_a_reused_key_draws_is_as_the_hints_say():
    def drawn(name, seed):
        space = {"jax": jax, "key": jax.random.key(seed)}
        exec(KEY_PROGRAMS[name], space)
        return space

    pairs = [drawn("A", seed) for seed in range(50)]
    assert np.array_equal(*(np.argsort([float(x[v]) for x in pairs]) for v in "xu"))
    assert (E := drawn("E", 0))["x"] == E["y"] and (B := drawn("B", 0))["x"] != B["y"]


def test_compiling_twice_compiles_two_programs(monkeypatch):
    """同样的程序会从编译缓存里取，量到的就不是编译；所以每次都是新的。"""
    texts, compile = [], jax.stages.Lowered.compile

    def record(self):
        texts.append(self.as_text())
        return compile(self)

    monkeypatch.setattr(jax.stages.Lowered, "compile", record)
    assert compile_seconds(returns_jax, 5) > 0 and compile_seconds(returns_jax, 5) > 0
    assert len(set(texts)) == 2
