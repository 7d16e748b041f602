"""ppo_lib/rollout.py：记下的经验照着重走一遍要对得上；超时、抽样、随机数。"""

import ppo_lib  # noqa: F401  # isort: skip  # 在 gymnax 之前：它一 import 就启动 JAX 的后端

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control import cartpole, mountain_car

from ppo_lib.config import PPOConfig
from ppo_lib.envs import make_env
from ppo_lib.networks import ActorCriticDiscrete
from ppo_lib.rollout import collect_rollout, reset_envs, where_ended


@functools.cache
def setting(env_name, num_steps, num_envs, fixed_policy=False, **keys):
    """(环境, 网络, 超参数, 编译好的 collect_rollout)；同样的设置只编译一次。"""
    cfg = PPOConfig(env_name=env_name, num_envs=num_envs, num_minibatches=1, **keys)
    env = make_env(cfg)
    network = FixedPolicy() if fixed_policy else ActorCriticDiscrete(env.num_actions, (8,))
    collect = jax.jit(
        functools.partial(collect_rollout, network=network, env=env, num_steps=num_steps)
    )
    return env, network, cfg.hyperparams(), collect


class Rollout:
    """采样一次，连同采样所用的一切；数组都转成 NumPy。"""

    def __init__(self, env_name, num_steps, num_envs=3, key=None, time=0, **keys):
        self.env_name, self.num_steps, self.num_envs = env_name, num_steps, num_envs
        self.env, self.network, self.hyper, self.collect = setting(
            env_name, num_steps, num_envs, **keys
        )
        carry = reset_envs(jax.random.key(7), self.env, num_envs)
        self.params = self.network.init(jax.random.key(8), carry.obs)
        # 时钟拨到快超时的地方，短短几步就能看到超时
        self.before = carry._replace(
            state=carry.state.replace(time=jnp.full_like(carry.state.time, time))
        )
        key = jax.random.key(0) if key is None else key
        result = self.collect(self.params, self.before, key, self.hyper)
        self.after, self.rollout, self.ends = jax.tree.map(np.asarray, result)
        self.policy_and_value = jax.jit(self.network.apply)

    def critic(self, obs):
        return np.asarray(self.policy_and_value(self.params, jnp.asarray(obs))[1])


class FixedPolicy:
    """不看观测，总是同样的 logits。"""

    probs = np.array([0.6, 0.3, 0.1])

    def init(self, key, obs):
        return {}

    def apply(self, params, obs):
        logits = jnp.broadcast_to(
            jnp.log(self.probs) + 2.0, (*obs.shape[:-1], 3)
        )  # 加常数不改变分布
        return distrax.Categorical(logits=logits), jnp.zeros(obs.shape[:-1])


def state_at_start(env_name, obs):
    """这个观测对应的、刚重置好的状态（观测没有缩放时）。"""
    if env_name == "CartPole-v1":
        x, x_dot, theta, theta_dot = map(jnp.float32, obs)
        return cartpole.EnvState(x=x, x_dot=x_dot, theta=theta, theta_dot=theta_dot, time=0)
    return mountain_car.EnvState(
        position=jnp.float32(obs[0]), velocity=jnp.float32(obs[1]), time=0
    )


@functools.cache
def cartpole_rollout():
    return Rollout("CartPole-v1", num_steps=60, num_envs=4)  # 均匀的策略二十来步就倒


@functools.cache
def car_rollout():
    return Rollout("MountainCar-v0", num_steps=30, time=190)  # 第 10 步超时，之后是新的一回合


ROLLOUTS = {"terminated": cartpole_rollout, "truncated": car_rollout}


# ---------------------------------------------------------------- 重走一遍


@pytest.mark.slow
@pytest.mark.parametrize("ending", ROLLOUTS)
def test_replaying_the_recorded_actions_gives_the_recorded_experience(ending):
    """用 Python 循环一步一步走：从记下的观测出发，做记下的动作，回合结束就从下一行的观测重新开始。"""
    run = ROLLOUTS[ending]()
    step = jax.jit(
        lambda state, action: run.env.step(jax.random.key(0), state, action, run.hyper)
    )
    rollout, num_ended = run.rollout, 0
    for e in range(run.num_envs):
        state = jax.tree.map(lambda x: x[e], run.before.state)
        length, episode_return = 0, 0.0
        np.testing.assert_array_equal(rollout.obs[0, e], run.before.obs[e])
        for t in range(run.num_steps):
            s = step(state, rollout.action[t, e])
            length, episode_return = length + 1, episode_return + float(s.reward)
            assert rollout.reward[t, e] == s.shaped_reward
            assert (
                rollout.terminated[t, e] == s.terminated
                and rollout.truncated[t, e] == s.truncated
            )
            assert run.ends.episode_length[t, e] == length
            assert run.ends.episode_return[t, e] == pytest.approx(episode_return)
            over = bool(s.terminated or s.truncated)
            assert run.ends.ended[t, e] == over
            following = rollout.obs[t + 1, e] if t + 1 < run.num_steps else run.after.obs[e]
            if over:
                assert rollout.terminated[t, e] == (ending == "terminated")
                assert not np.allclose(following, s.obs)  # 换上了新的开头
                state, length, episode_return = state_at_start(run.env_name, following), 0, 0.0
                num_ended += 1
            else:
                np.testing.assert_allclose(following, s.obs, rtol=1e-5, atol=1e-6)
                state = s.state
        assert run.after.episode_length[e] == length
        assert run.after.episode_return[e] == pytest.approx(episode_return)
        np.testing.assert_allclose(
            np.array(jax.tree.leaves(state.replace(time=0))),
            np.array(
                jax.tree.leaves(jax.tree.map(lambda x: x[e], run.after.state).replace(time=0))
            ),
            rtol=1e-5,
        )
    assert num_ended >= run.num_envs


@pytest.mark.slow
@pytest.mark.parametrize("ending", ROLLOUTS)
def test_log_prob_and_value_are_those_of_the_recorded_observation(ending):
    run = ROLLOUTS[ending]()
    for t in range(run.num_steps):
        pi, value = run.policy_and_value(run.params, run.rollout.obs[t])
        np.testing.assert_allclose(
            run.rollout.log_prob[t], pi.log_prob(run.rollout.action[t]), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(run.rollout.value[t], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_log_prob_and_value_are_right_when_evaluated_in_chunks():
    """40 × 32 行分成几块评价，同样要对得上。"""
    run = Rollout("CartPole-v1", num_steps=40, num_envs=32)
    pi, value = run.policy_and_value(run.params, run.rollout.obs)
    np.testing.assert_allclose(run.rollout.value, value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        run.rollout.log_prob, pi.log_prob(run.rollout.action), rtol=1e-4, atol=1e-5
    )


# ---------------------------------------------------------------- next_value


def test_next_value_at_ordinary_steps_is_the_value_of_the_next_row():
    run = cartpole_rollout()
    rollout = run.rollout
    following = np.concatenate([rollout.value[1:], run.critic(run.after.obs)[None]])
    ordinary = ~(rollout.terminated | rollout.truncated)
    assert ordinary[-1].any()
    np.testing.assert_allclose(
        rollout.next_value[ordinary], following[ordinary], rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [30, 10])  # 超时在当中，和在最后一行
def test_next_value_at_a_timeout_is_the_value_of_the_final_observation(num_steps):
    """超时的那一步接 V(真正到达的观测)，不是 V(新一回合的开头)。"""
    run = Rollout("MountainCar-v0", num_steps=num_steps, time=190, obs_scaling="bounds")
    rollout = run.rollout
    assert rollout.truncated[9].all() and rollout.truncated.sum() == run.num_envs
    for e in range(run.num_envs):
        obs = rollout.obs[9, e] * [0.9, 0.07] + [-0.3, 0.0]  # 缩放的反变换
        state = mountain_car.EnvState(
            position=jnp.float32(obs[0]), velocity=jnp.float32(obs[1]), time=199
        )
        final = run.env.step(jax.random.key(0), state, rollout.action[9, e], run.hyper)
        assert final.truncated
        assert rollout.next_value[9, e] == pytest.approx(float(run.critic(final.obs)), abs=1e-4)
        fresh = rollout.obs[10, e] if num_steps > 10 else run.after.obs[e]
        assert abs(rollout.next_value[9, e] - run.critic(fresh)) > 1e-3
    following = np.concatenate([rollout.value[1:], run.critic(run.after.obs)[None]])
    ordinary = ~rollout.truncated
    np.testing.assert_allclose(
        rollout.next_value[ordinary], following[ordinary], rtol=1e-5, atol=1e-6
    )


# ---------------------------------------------------------------- 回合


@pytest.mark.slow
def test_a_whole_mountain_car_episode_is_200_steps_and_returns_minus_200():
    run = Rollout("MountainCar-v0", num_steps=201, num_envs=2)
    assert (
        run.ends.ended.sum() == 2
        and run.ends.ended[199].all()
        and run.rollout.truncated[199].all()
    )
    assert (run.ends.episode_length[199] == 200).all() and (
        run.ends.episode_return[199] == -200
    ).all()
    assert (run.after.episode_length == 1).all() and (run.after.episode_return == -1).all()


@pytest.mark.slow
def test_reported_return_is_not_shaped_but_the_reward_to_learn_from_is():
    run = Rollout("MountainCar-v0", 12, 16, time=190, reward_shaping="energy")
    assert (run.ends.episode_return[9] == -10).all()
    assert (run.rollout.reward != -1).all()


@pytest.mark.slow
def test_episodes_go_on_from_one_rollout_to_the_next():
    run = cartpole_rollout()
    _, rollout, ends = run.collect(run.params, run.after, jax.random.key(3), run.hyper)
    np.testing.assert_array_equal(rollout.obs[0], run.after.obs)
    np.testing.assert_array_equal(ends.episode_length[0], run.after.episode_length + 1)


def test_where_ended_swaps_only_the_ended_rows_and_keeps_the_types():
    fresh = {"a": jnp.zeros((3, 2)), "b": jnp.zeros(3)}
    current = {"a": jnp.ones((3, 2), jnp.float32), "b": jnp.ones(3, jnp.int32)}
    mixed = where_ended(jnp.array([True, False, True]), fresh, current)
    np.testing.assert_array_equal(mixed["a"], [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(mixed["b"], [0, 1, 0])
    assert mixed["b"].dtype == jnp.int32


# ---------------------------------------------------------------- 随机数


@functools.cache
def fixed_policy_rollout():
    return Rollout("MountainCar-v0", 250, 64, fixed_policy=True).rollout  # (250, 64)


def chi_square(counts, expected):
    return ((counts - expected) ** 2 / expected).sum()


@pytest.mark.slow
def test_sampled_actions_follow_softmax_of_the_logits():
    action = fixed_policy_rollout().action
    counts = np.bincount(action.ravel(), minlength=3)
    assert chi_square(counts, action.size * FixedPolicy.probs) < 13.8  # 自由度 2 的 0.999 分位


@pytest.mark.parametrize(
    "first, second",
    [
        (np.s_[:-1], np.s_[1:]),  # 相邻的两步
        (np.s_[:, :-1], np.s_[:, 1:]),  # 相邻的两个环境
    ],
)
def test_actions_of_neighbouring_steps_and_environments_are_independent(first, second):
    action = fixed_policy_rollout().action
    pairs = 3 * action[first].ravel() + action[second].ravel()
    expected = pairs.size * np.outer(FixedPolicy.probs, FixedPolicy.probs).ravel()
    assert (
        chi_square(np.bincount(pairs, minlength=9), expected) < 26.1
    )  # 自由度 8 的 0.999 分位


def test_log_prob_of_the_fixed_policy_is_the_log_of_its_probabilities():
    rollout = fixed_policy_rollout()
    np.testing.assert_allclose(
        rollout.log_prob, np.log(FixedPolicy.probs)[rollout.action], rtol=1e-5
    )


def test_the_same_key_gives_the_same_experience_bit_for_bit():
    again = Rollout("CartPole-v1", num_steps=60, num_envs=4)
    jax.tree.map(np.testing.assert_array_equal, cartpole_rollout().rollout, again.rollout)
    jax.tree.map(np.testing.assert_array_equal, cartpole_rollout().after, again.after)


def test_another_key_gives_other_actions_from_the_same_start():
    other = Rollout("CartPole-v1", num_steps=60, num_envs=4, key=jax.random.key(1))
    np.testing.assert_array_equal(cartpole_rollout().rollout.obs[0], other.rollout.obs[0])
    assert 0.3 < (cartpole_rollout().rollout.action != other.rollout.action).mean() < 0.7


def test_every_new_episode_starts_somewhere_else():
    """各环境的起点，和每次重置的起点，都不相同。"""
    run = Rollout("MountainCar-v0", 12, 16, time=190, reward_shaping="energy")
    starts = np.concatenate([run.before.obs[:, 0], run.rollout.obs[10, :, 0]])
    assert len(np.unique(starts)) == 32
    run = cartpole_rollout()
    after_end = run.rollout.obs[1:][run.ends.ended[:-1]]
    assert len(np.unique(after_end[:, 0])) == len(after_end) >= 4
    assert np.abs(after_end).max() <= 0.05
