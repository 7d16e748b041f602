"""ppo_lib/advantage.py：手算的例子，NumPy 的两重循环，λ 的两个极端，两种结束的区别。"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_lib.advantage import calculate_gae, td_error


def column(*values):
    """一个环境的一列，(num_steps, 1)。"""
    return jnp.array(values, jnp.float32)[:, None]


# ---------------------------------------------------------------- 手算的五步
# γ = λ = 0.5，每个数都能用二进制精确表示，所以要求一点不差。

REWARD = column(1, 0, 2, -1, 4)
VALUE = column(2, 1, 3, 0, 2)


def five_steps(last_value, terminated=(), truncated=()):
    """V(s_{t+1}) 就是下一步的 V，最后一步另给；返回 (优势, 目标) 两列数。"""
    ends = [
        column(*[t in where for t in range(5)]).astype(bool)
        for where in (terminated, truncated)
    ]
    next_value = jnp.concatenate([VALUE[1:], column(last_value)])
    advantage, target = calculate_gae(REWARD, VALUE, next_value, *ends, 0.5, 0.5)
    return advantage[:, 0].tolist(), target[:, 0].tolist()


def test_five_steps_that_end_for_good():
    """δ = (1+½·1-2, 0+½·3-1, 2+½·0-3, -1+½·2-0, 4-2) = (-½, ½, -1, 0, 2)，Â_t = δ_t + ¼·Â_{t+1}。"""
    advantage, target = five_steps(last_value=8, terminated=[4])
    assert advantage == [-0.4296875, 0.28125, -0.875, 0.5, 2.0]
    assert target == [1.5703125, 1.28125, 2.125, 0.5, 4.0]


def test_five_steps_that_time_out():
    """最后一步仍接上 V = 8：δ_4 = 4 + ½·8 - 2 = 6，其余的 δ 不变。"""
    advantage, _ = five_steps(last_value=8, truncated=[4])
    assert advantage == [-0.4140625, 0.34375, -0.625, 1.5, 6.0]


def test_five_steps_still_under_way():
    """这一段完了、回合没完：与超时一样接上 V。"""
    assert five_steps(last_value=8) == five_steps(last_value=8, truncated=[4])


def test_an_ending_in_the_middle():
    """第 2 步真的结束：δ_2 = 2 - 3 = -1；第 3、4 步是另一回合，不影响前三步。"""
    advantage, _ = five_steps(last_value=8, terminated=[2])
    assert advantage == [-0.5 + 0.25 * 0.25, 0.5 - 0.25, -1.0, 1.5, 6.0]


def test_treating_a_timeout_as_terminal_changes_the_advantage():
    """原指南的代码把两种结束当一种；这里 V(s') = 8 的后半程就此丢掉。"""
    timed_out, _ = five_steps(last_value=8, truncated=[4])
    treated_as_terminal, _ = five_steps(last_value=8, terminated=[4])
    assert timed_out[-1] - treated_as_terminal[-1] == 0.5 * 8


# ---------------------------------------------------------------- NumPy 的两重循环


def gae_by_loops(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """照定义写：Â_t = Σ_k (γλ)^k δ_{t+k}，加到这一回合的结尾为止。双精度。"""
    num_steps, num_envs = reward.shape
    advantage = np.zeros((num_steps, num_envs))
    for e in range(num_envs):
        for t in range(num_steps):
            weight = 1.0
            for k in range(t, num_steps):
                bootstrap = 0.0 if terminated[k, e] else gamma * next_value[k, e]
                advantage[t, e] += weight * (reward[k, e] + bootstrap - value[k, e])
                if terminated[k, e] or truncated[k, e]:
                    break
                weight *= gamma * gae_lambda
    return advantage


@st.composite
def experience(draw):
    """一段随机的经验，两种结束混在一起；next_value 与 value 无关，任何数都可以。"""
    shape = draw(st.sampled_from([(1, 1), (6, 3), (17, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    reward, value, next_value = rng.normal(size=(3, *shape)).astype(np.float32) * 10
    share = draw(st.sampled_from([0.0, 0.2, 0.6]))
    kind = rng.choice(3, p=[1 - share, share / 2, share / 2], size=shape)
    return reward, value, next_value, kind == 1, kind == 2


unit = st.floats(0, 1, width=32)
compiled = jax.jit(calculate_gae)


@settings(deadline=None)
@given(data=experience(), gamma=unit, gae_lambda=unit)
def test_agrees_with_the_definition_in_loops(data, gamma, gae_lambda):
    advantage, target = compiled(*data, gamma, gae_lambda)
    np.testing.assert_allclose(
        advantage, gae_by_loops(*data, gamma, gae_lambda), rtol=1e-4, atol=1e-3
    )
    np.testing.assert_array_equal(target, advantage + data[1])


@settings(deadline=None)
@given(data=experience(), gamma=unit)
def test_lambda_0_is_the_td_error(data, gamma):
    reward, value, next_value, terminated, _ = data
    advantage, _ = compiled(*data, gamma, 0.0)
    np.testing.assert_allclose(
        advantage,
        reward + gamma * np.where(terminated, 0, next_value) - value,
        rtol=1e-5,
        atol=1e-4,
    )


@settings(deadline=None)
@given(data=experience(), gamma=unit)
def test_lambda_1_is_the_monte_carlo_return_minus_the_value(data, gamma):
    """目标就是回报：一回合里奖励的折扣和，超时处、以及这一段的末尾接上 V。

    只有一条轨迹里 V(s_{t+1}) 就是下一步的 V 时，中间的 V 才两两消掉。
    """
    reward, value, next_value, terminated, truncated = data
    ended = terminated | truncated
    next_value[:-1] = np.where(ended[:-1], next_value[:-1], value[1:])
    expected = np.zeros(reward.shape)
    for e in range(reward.shape[1]):
        tail = next_value[-1, e]
        for t in reversed(range(len(reward))):
            if terminated[t, e]:
                tail = 0.0
            elif truncated[t, e]:
                tail = next_value[t, e]
            tail = expected[t, e] = reward[t, e] + gamma * tail
    _, target = compiled(reward, value, next_value, terminated, truncated, gamma, 1.0)
    np.testing.assert_allclose(target, expected, rtol=1e-4, atol=1e-3)


# ---------------------------------------------------------------- 结束挡住什么


@settings(deadline=None)
@given(
    data=experience(),
    where=st.integers(0, 100),
    kind=st.sampled_from(["terminated", "truncated"]),
)
def test_nothing_after_an_ending_reaches_back_before_it(data, where, kind):
    reward, value, next_value, terminated, truncated = data
    t = where % len(reward)
    terminated[t], truncated[t] = kind == "terminated", kind == "truncated"
    before, _ = compiled(*data, 0.99, 0.95)
    reward[t + 1 :] += 100
    value[t + 1 :] -= 50
    next_value[t + 1 :] *= -3
    terminated[t + 1 :] ^= True
    after, _ = compiled(*data, 0.99, 0.95)
    np.testing.assert_array_equal(before[: t + 1], after[: t + 1])


def test_next_value_counts_at_a_timeout_and_not_at_a_real_end():
    yes, no = jnp.array([[True]]), jnp.array([[False]])
    args = column(1.0), column(0.5)
    for next_value in (0.0, 7.0):
        terminated, _ = calculate_gae(*args, column(next_value), yes, no, 0.9, 0.95)
        truncated, _ = calculate_gae(*args, column(next_value), no, yes, 0.9, 0.95)
        assert terminated[0, 0] == 0.5
        assert truncated[0, 0] == pytest.approx(0.5 + 0.9 * next_value)


def test_environments_do_not_mix():
    rng = np.random.default_rng(0)
    data = [*rng.normal(size=(3, 9, 4)).astype(np.float32), *(rng.random((2, 9, 4)) < 0.1)]
    together, _ = compiled(*data, 0.99, 0.95)
    for e in range(4):
        alone, _ = compiled(*[x[:, e : e + 1] for x in data], 0.99, 0.95)
        np.testing.assert_allclose(together[:, e : e + 1], alone, rtol=1e-6)


def test_a_perfect_critic_has_no_advantage():
    """每步奖励 1、永不结束：V = 1/(1-γ) 处处正确，优势处处为 0。"""
    ones, false = jnp.ones((20, 2)), jnp.zeros((20, 2), bool)
    advantage, target = calculate_gae(ones, 10 * ones, 10 * ones, false, false, 0.9, 0.95)
    np.testing.assert_allclose(advantage, 0, atol=1e-5)
    np.testing.assert_allclose(target, 10, rtol=1e-6)


def test_td_error_by_hand():
    assert td_error(1.0, 2.0, 10.0, False, 0.9) == pytest.approx(1 + 9 - 2)
    assert td_error(1.0, 2.0, 10.0, True, 0.9) == -1.0
