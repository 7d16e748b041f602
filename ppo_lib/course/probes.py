"""探针环境：小到答案可以写出来。每个只查一件事，由低到高排成梯子。

第 13 章拿它查库，第 14 章拿它查读者自己写的 PPO。想法出自 Andy Jones (2021),
*Debugging RL, Without the Agonizing Pain*。
"""

from __future__ import annotations

import contextlib

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces


@struct.dataclass
class ProbeState(environment.EnvState):
    cue: jax.Array  # () 这一回合开头抽的 +1 或 -1


class Probe(environment.Environment):
    """探针环境的骨架：走 length 步后结束，cue 是每一回合开头抽的 ±1；观测默认是 0。"""

    length, num_actions = 1, 1

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=1000)

    def reset_env(self, key, params):
        state = ProbeState(jnp.int32(0), jax.random.rademacher(key, (), jnp.float32))
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
    """一步，观测总是 0，得 1 分：V 是 1。"""

    def reward(self, state, action):
        return jnp.float32(1.0)


class RewardIsObs(Probe):
    """观测是 +1 或 -1，奖励等于观测，走一步就结束：V 等于观测。"""

    def get_obs(self, state, params=None, key=None):
        return state.cue[None]

    def reward(self, state, action):
        return state.cue


class DelayedReward(Probe):
    """两步，观测是第几步，只有第二步得 1 分：V 依次是 γ 和 1。"""

    length = 2

    def get_obs(self, state, params=None, key=None):
        return jnp.float32(state.time)[None]

    def reward(self, state, action):
        return jnp.float32(state.time == 1)


class TwoActions(Probe):
    """一步，观测总是 0，动作 1 得 1 分，动作 0 得 0 分：策略应当选 1。"""

    num_actions = 2

    def reward(self, state, action):
        return jnp.float32(action == 1)


class MatchObs(Probe):
    """一步，观测 +1 时动作 1 得 1 分，-1 时动作 0 得 1 分：策略应当看着观测选。"""

    num_actions = 2

    def get_obs(self, state, params=None, key=None):
        return state.cue[None]

    def reward(self, state, action):
        return jnp.float32((action == 1) == (state.cue > 0))


class Endless(Probe):
    """每步 1 分，永不结束，每 4 步超时一次；观测是这一圈的第几步。V 处处是 1/(1-γ)。"""

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=4)

    def is_terminated(self, state, params):
        return jnp.bool_(False)

    def get_obs(self, state, params=None, key=None):
        return jax.nn.one_hot(state.time % 4, 4)

    def observation_space(self, params):
        return spaces.Box(0.0, 1.0, (4,))

    def reward(self, state, action):
        return jnp.float32(1.0)


class EndlessCue(Endless):
    """同上，但每步的奖励是这一回合的 ±1：V(1) = 1/(1-γ)，V(-1) = -1/(1-γ)。"""

    def get_obs(self, state, params=None, key=None):
        return state.cue[None]

    def observation_space(self, params):
        return spaces.Box(-1.0, 1.0, (1,))

    def reward(self, state, action):
        return state.cue


class Flicker(EndlessCue):
    """同上，但提示每一步重新抽：走一步也要用钥匙。不在梯子里。"""

    def step_env(self, key, state, action, params):
        cue = jax.random.rademacher(key, (), jnp.float32)
        return super().step_env(key, state.replace(cue=cue), action, params)


SIGNS = [[1.0], [-1.0]]
PROBES = {
    "ConstantReward-probe": (ConstantReward, [[0.0]]),
    "RewardIsObs-probe": (RewardIsObs, SIGNS),
    "DelayedReward-probe": (DelayedReward, [[0.0], [1.0]]),
    "Endless-probe": (Endless, np.eye(4)),
    "EndlessCue-probe": (EndlessCue, SIGNS),
    "TwoActions-probe": (TwoActions, [[0.0]]),
    "MatchObs-probe": (MatchObs, SIGNS),
}
"""梯子，由低到高：探针的名字 → (类, 要看的观测 (n, obs_dim))。"""

ANSWERS = {
    "ConstantReward-probe": ("V", [1.0]),
    "RewardIsObs-probe": ("V", [1.0, -1.0]),
    "DelayedReward-probe": ("V", [0.5, 1.0]),
    "Endless-probe": ("V", [2.0] * 4),
    "EndlessCue-probe": ("V", [2.0, -2.0]),
    "TwoActions-probe": ("动作 1 的概率", [1.0]),
    "MatchObs-probe": ("动作 1 的概率", [1.0, 0.0]),
}
"""γ = 0.5 时的答案：看 V，还是看选动作 1 的概率；各个观测处应当是多少。"""


NEAR = 0.05
"""学到的与答案差不到它，就算过。"""


@contextlib.contextmanager
def registered(name: str, probe: type[Probe] | None = None):
    """暂时把一个探针登记成 gymnax 的环境；不给 probe 就是梯子里的那一级。"""
    gymnax.register(name, probe or PROBES[name][0])
    try:
        yield
    finally:
        gymnax.registered_envs.remove(name)
        gymnax.registration._registry.pop(name)
