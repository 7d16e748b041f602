"""第 2 章的检查：走廊的三种算法对得上，每道题两种对的写法，和几种错的写法应得的提示。"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ppo_lib.course.ch02 import (
    GAMMA,
    RULES,
    RUNGS,
    check_batch_returns,
    check_my_surrogate,
    check_one_percent,
    check_values,
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


# ---------------------------------------------------------------- 练习

LAST = 1 / (1 - 0.405)


@pytest.mark.parametrize(
    "answer",
    [
        [1.36, 1.51, 1.68],
        np.linalg.solve(
            np.eye(3) - 0.9 * np.array([[0, 1, 0], [0, 0, 1], [0, 0.5, 0]]), [0, 0, 1.0]
        ),
    ],
)
def test_2_1_right(answer):
    assert check_values(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ([2, 2, 2], "折扣"),
        ([1.68, 1.51, 1.36], "次序"),
        ([1.62, 1.8, 2.0], "总向右"),
        ([0.81, 0.9, 1.0], "不是白走"),
        (2 * LAST * np.array([0.81, 0.9, 1]), "乘 ½"),
        (np.array([0.81, 0.9, 1]) / 0.55, "两次 γ"),
        (np.array([0.81, 0.9, 1]) / 0.19, "也要乘 ½"),
        ([0, 0, LAST], "V(2) 对了"),
        ([1, 2, 3], "三个方程"),
        ([1.36, 1.51], "三个数"),
        (..., "换成你的答案"),
    ],
)
def test_2_1_wrong(answer, hint):
    verdict = check_values(answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize("answer", [(0.955, 459), (0.01**0.01, np.int64(459))])
def test_2_2_right(answer):
    assert check_one_percent(*answer).passed


@pytest.mark.parametrize(
    ("gamma", "steps", "hint"),
    [
        (0.99, 459, "离 1% 还远"),
        (0.01, 459, "要剩下的比例"),
        (1.047, 459, "不能大于 1"),
        (0.9, 459, "100 次方是"),
        (0.955, 458, "往上取整"),
        (0.955, 458.2, "往上取整"),
        (0.955, 100, "0.366"),
        (0.955, 44, "取对数"),
        ("0.955", 459, "引号"),
        (0.955, ..., "换成你的答案"),
    ],
)
def test_2_2_wrong(gamma, steps, hint):
    verdict = check_one_percent(gamma, steps)
    assert not verdict.passed and hint in verdict.message, verdict


def by_loop(log_prob, future, weight, baseline):
    total = 0.0
    for i in range(len(log_prob)):
        for t in range(log_prob.shape[1]):
            total += weight[i, t] * log_prob[i, t] * (future[i, t] - baseline[i, t])
    return total / len(log_prob)


@pytest.mark.parametrize(
    "answer", [lambda lp, f, w, b: (w * lp * (f - b)).sum(axis=1).mean(), by_loop]
)
def test_2_3_right(answer):
    assert check_my_surrogate(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda lp, f, w, b: -(w * lp * (f - b)).sum(1).mean(), "负号"),
        (lambda lp, f, w, b: (w * lp * (f - b)).mean(), "有长有短"),
        (lambda lp, f, w, b: (w * lp * (f - b)).sum(), "回合也加起来"),
        (lambda lp, f, w, b: (lp * (f - b)).sum(1).mean(), "忘了乘 weight"),
        (lambda lp, f, w, b: (w * lp * f).sum(1).mean(), "忘了减基线"),
        (lambda lp, f, w, b: (w * lp * (f + b)).sum(1).mean(), "不是加上"),
        (lambda lp, f, w, b: (w * jnp.exp(lp) * (f - b)).sum(1).mean(), "对数概率"),
        (lambda lp, f, w, b: (w * (lp * f - b)).sum(1).mean(), "次序错了"),
        (lambda lp, f, w, b: (w * lp * (f - b)).sum(1), "求平均"),
        (lambda lp, f, w, b: w * lp * (f - b), "标量"),
        (lambda lp, f, w, b: 0.0, "逐步算"),
        (lambda lp, f, w, b: None, "没有返回值"),
    ],
)
def test_2_3_wrong(answer, hint):
    verdict = check_my_surrogate(answer)
    assert not verdict.passed and hint in verdict.message, verdict


def one_return(reward, gamma):
    return (gamma ** jnp.arange(len(reward)) * reward).sum()


def nested(reward, gammas):
    inner = jax.vmap(one_return, in_axes=(0, None))
    return jax.vmap(inner, in_axes=(None, 0))(reward, gammas)


def broadcast(reward, gammas):
    return (gammas[:, None, None] ** jnp.arange(reward.shape[1]) * reward).sum(axis=-1)


@pytest.mark.parametrize("answer", [nested, broadcast])
def test_2_4_right(answer):
    assert check_batch_returns(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda r, g: nested(r, g).T, "反了"),
        (jax.vmap(one_return), "None"),
        (lambda r, g: jax.vmap(one_return, (0, None))(r, g[1]), "再套一次"),
        (lambda r, g: one_return(r[0], g[0]), "一个数"),
        (lambda r, g: r, "形状应当是"),
        (lambda r, g: None, "没有返回值"),
    ],
)
def test_2_4_wrong(answer, hint):
    verdict = check_batch_returns(answer)
    assert not verdict.passed and hint in verdict.message, verdict


def test_compiling_twice_compiles_two_programs(monkeypatch):
    """同样的程序会从编译缓存里取，量到的就不是编译；所以每次都是新的。"""
    texts, compile = [], jax.stages.Lowered.compile

    def record(self):
        texts.append(self.as_text())
        return compile(self)

    monkeypatch.setattr(jax.stages.Lowered, "compile", record)
    assert compile_seconds(returns_jax, 5) > 0 and compile_seconds(returns_jax, 5) > 0
    assert len(set(texts)) == 2
