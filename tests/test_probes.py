"""探针环境：小到答案可以写出来。学出来的价值和策略要等于写出来的答案。

想法出自 Andy Jones (2021), *Debugging RL, Without the Agonizing Pain*。每个探针只查一件事，
所以哪一个失败，就知道去哪里找。最后几个测试把 ppo_lib 故意弄坏，看探针抓不抓得住。
"""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces

from ppo_lib import PPOConfig, members, train, training
from ppo_lib.envs import make_env
from ppo_lib.training import make_network

pytestmark = pytest.mark.slow

GAMMA = 0.5
CYCLE = 4


@struct.dataclass
class State(environment.EnvState):
    cue: jax.Array


class Probe(environment.Environment):
    """探针的骨架：走 length 步后结束；cue 是每一回合开头抽的 ±1。"""

    length, num_actions = 1, 2

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=1000)

    def reset_env(self, key, params):
        state = State(time=jnp.int32(0), cue=jax.random.rademacher(key, (), jnp.float32))
        return self.get_obs(state), state

    def step_env(self, key, state, action, params):
        reward = self.reward(state, action)
        state = state.replace(time=state.time + 1)
        return self.get_obs(state), state, reward, self.is_terminated(state, params), {}

    def is_terminated(self, state, params):
        return state.time >= self.length

    def get_obs(self, state, params=None, key=None):
        return jnp.zeros(1)

    def action_space(self, params):
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params):
        return spaces.Box(-1.0, 1.0, (1,))


class ConstantReward(Probe):
    """一步，观测总是 0，奖励总是 1。查：价值损失和优化器。"""

    num_actions = 1

    def reward(self, state, action):
        return jnp.float32(1.0)


class RewardIsObs(Probe):
    """一步，观测是 ±1，奖励等于观测。查：价值随观测而变。"""

    num_actions = 1

    def get_obs(self, state, params=None, key=None):
        return state.cue[None]

    def reward(self, state, action):
        return state.cue


class DelayedReward(Probe):
    """两步，观测是 0、1，奖励只在第二步。查：折扣，和结束处不接后面的价值。"""

    num_actions, length = 1, 2

    def get_obs(self, state, params=None, key=None):
        return jnp.float32(state.time)[None]

    def reward(self, state, action):
        return jnp.float32(state.time == 1)


class TwoActions(Probe):
    """一步，动作 1 得 1 分，动作 0 得 0 分。查：优势和策略损失的正负。"""

    def reward(self, state, action):
        return jnp.float32(action == 1)


class MatchObs(Probe):
    """一步，观测 +1 时动作 1 对，-1 时动作 0 对，对了得 1 分。查：观测、动作、优势没有错位。"""

    def get_obs(self, state, params=None, key=None):
        return state.cue[None]

    def reward(self, state, action):
        return jnp.float32((action == 1) == (state.cue > 0))


class Endless(Probe):
    """永不结束，每步 1 分，每 CYCLE 步超时一次；观测是这一圈走到哪里。查：截断处接上价值。"""

    num_actions, length = 1, 10**9

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=CYCLE)

    def get_obs(self, state, params=None, key=None):
        return jax.nn.one_hot(state.time % CYCLE, CYCLE)

    def observation_space(self, params):
        return spaces.Box(0.0, 1.0, (CYCLE,))

    def reward(self, state, action):
        return jnp.float32(1.0)


class EndlessCue(Endless):
    """同上，但每一步的奖励是这一回合的 ±1。查：截断处接的是**到达的**状态，不是新一回合的开头。"""

    def get_obs(self, state, params=None, key=None):
        return state.cue[None]

    def observation_space(self, params):
        return spaces.Box(-1.0, 1.0, (1,))

    def reward(self, state, action):
        return state.cue


PROBES = {
    f"{cls.__name__}-probe": cls
    for cls in (
        ConstantReward,
        RewardIsObs,
        DelayedReward,
        TwoActions,
        MatchObs,
        Endless,
        EndlessCue,
    )
}


@pytest.fixture(scope="module", autouse=True)
def registered_probes():
    """只在这个文件的测试期间登记探针。"""
    for name, cls in PROBES.items():
        gymnax.register(name, cls)
    yield
    for name in PROBES:
        gymnax.registered_envs.remove(name)
        gymnax.registration._registry.pop(name)


def learn(cls, obs, **changes):
    """训练两个种子；返回各观测处的 V (seed, obs) 和动作概率 (seed, obs, action)。"""
    cfg = PPOConfig(
        **dict(
            env_name=f"{cls.__name__}-probe",
            total_timesteps=300 * 8 * 10,
            num_seeds=2,
            num_envs=8,
            num_steps=10,
            hidden_sizes=(16,),
            update_epochs=4,
            num_minibatches=2,
            shuffle="samples",
            lr=1e-2,
            gamma=GAMMA,
            ent_coef=0.0,
        )
        | changes
    )
    run = train(cfg, progress=False)
    network = make_network(cfg, make_env(cfg))
    pi, value = jax.vmap(network.apply, in_axes=(0, None))(
        run.params, jnp.asarray(obs, jnp.float32)
    )
    return np.asarray(value), np.asarray(jax.nn.softmax(pi.logits))


def check_constant_reward():
    value, _ = learn(ConstantReward, [[0.0]])
    np.testing.assert_allclose(value, 1.0, atol=0.02)


def check_reward_is_obs():
    value, _ = learn(RewardIsObs, [[1.0], [-1.0]])
    np.testing.assert_allclose(value, [[1.0, -1.0]] * 2, atol=0.02)


def check_delayed_reward():
    value, _ = learn(DelayedReward, [[0.0], [1.0]])
    np.testing.assert_allclose(value, [[GAMMA, 1.0]] * 2, atol=0.02)


def check_two_actions():
    value, probs = learn(TwoActions, [[0.0]])
    assert (probs[:, 0, 1] > 0.95).all(), probs
    np.testing.assert_allclose(value, 1.0, atol=0.05)


def check_match_obs():
    _, probs = learn(MatchObs, [[1.0], [-1.0]])
    assert (probs[:, 0, 1] > 0.95).all() and (probs[:, 1, 0] > 0.95).all(), probs


def check_endless():
    value, _ = learn(Endless, np.eye(CYCLE))
    np.testing.assert_allclose(value, 1 / (1 - GAMMA), atol=0.02)


def check_endless_cue():
    value, _ = learn(EndlessCue, [[1.0], [-1.0]])
    np.testing.assert_allclose(value, [[1 / (1 - GAMMA), -1 / (1 - GAMMA)]] * 2, atol=0.05)


CHECKS = [
    check_constant_reward,
    check_reward_is_obs,
    check_delayed_reward,
    check_two_actions,
    check_match_obs,
    check_endless,
    check_endless_cue,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_probe(check):
    check()


def test_a_timeout_treated_as_terminal_learns_the_value_of_what_is_left_of_the_cycle():
    """k 步后就没有了：V = (1 - γ^k) / (1 - γ)，k 是到超时还剩的步数。"""
    value, _ = learn(Endless, np.eye(CYCLE), bootstrap_truncation=False)
    left = CYCLE - np.arange(CYCLE)
    np.testing.assert_allclose(value, [(1 - GAMMA**left) / (1 - GAMMA)] * 2, atol=0.02)


# ---------------------------------------------------------------- 探针自己抓得住错吗


@pytest.fixture
def breakable(monkeypatch):
    """弄坏训练里的一个函数；编译过的程序前后都清掉。"""
    members.compiled_programs.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    members.compiled_programs.cache_clear()


def test_a_flipped_objective_fails_the_action_probe(breakable):
    original = training.ppo_loss

    def flipped(params, batch, hyper, **options):
        return original(params, batch._replace(advantage=-batch.advantage), hyper, **options)

    breakable.setattr(training, "ppo_loss", flipped)
    with pytest.raises(AssertionError):
        check_two_actions()


def break_gae(breakable, change):
    """calculate_gae 收到的 (terminated, next_value) 换成 change(terminated, truncated, value, next_value)。"""
    original = training.calculate_gae

    def broken(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
        terminated, next_value = change(terminated, truncated, value, next_value)
        return original(reward, value, next_value, terminated, truncated, gamma, gae_lambda)

    breakable.setattr(training, "calculate_gae", broken)


def test_a_lost_done_mask_fails_the_delayed_reward_probe(breakable):
    break_gae(
        breakable,
        lambda terminated, truncated, value, next_value: (terminated & False, next_value),
    )
    with pytest.raises(AssertionError):
        check_delayed_reward()


def test_no_bootstrap_between_steps_fails_the_delayed_reward_probe(breakable):
    break_gae(
        breakable, lambda terminated, truncated, value, next_value: (terminated, 0 * next_value)
    )
    with pytest.raises(AssertionError):
        check_delayed_reward()


def test_bootstrapping_from_the_next_episode_fails_the_cue_probe(breakable):
    """超时处接 V(下一行)：下一行已经是新的一回合。"""

    def next_row(terminated, truncated, value, next_value):
        return terminated, jnp.concatenate([value[1:], next_value[-1:]])

    break_gae(breakable, next_row)
    with pytest.raises(AssertionError):
        check_endless_cue()
