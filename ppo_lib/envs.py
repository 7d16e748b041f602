"""环境：把 gymnax 的环境包成两个纯函数 reset 和 step。

与直接用 gymnax 有三处不同，每一处都有原因：

- step **不自动重置**：它如实返回这一步到达的状态，重置由 rollout.py 来做，
  这样“走到了哪里”和“下一步从哪里开始”不会混在一起；
- **terminated**（真的结束）和 **truncated**（只是超时）分开返回；
- 观测摊平成一维，可以缩放；奖励可以整形，而报告的回报永远是未整形的。
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
from gymnax.environments import spaces

from ppo_lib.config import ConfigError, Hyperparams, PPOConfig

GOAL = {"CartPole-v1": "truncated", "MountainCar-v0": "terminated", "Acrobot-v1": "terminated"}
"""在这些环境里，哪一种结束算“达到目标”；其他环境没有这个概念。"""

UNBOUNDED = 1e6
"""观测空间的界超过它，就当作没有界（CartPole 的速度界是 3.4e38）。"""


class Step(NamedTuple):
    """环境走一步的结果，单个环境。"""

    obs: jax.Array  # (obs_dim,) 这一步到达的观测，重置之前
    state: Any  # 环境自己的状态
    reward: jax.Array  # () 环境给的奖励
    shaped_reward: jax.Array  # () 用来学习的奖励；不整形时就是 reward
    terminated: jax.Array  # () bool，真的结束
    truncated: jax.Array  # () bool，超时


class Environment(NamedTuple):
    """一个环境的两个纯函数和它的几个尺寸。"""

    name: str
    obs_dim: int
    num_actions: int
    reset: Any  # key -> (obs (obs_dim,), state)
    step: Any  # (key, state, action (), Hyperparams) -> Step


def make_env(cfg: PPOConfig) -> Environment:
    """按配置造环境。

    Raises:
        ConfigError: 环境的动作是连续的，或它要下载的数据下载不了（MNISTBandit）。
    """
    try:
        env, params = gymnax.make(cfg.env_name)
    except OSError as error:
        raise ConfigError(
            f"env_name = {cfg.env_name!r} 第一次使用时要下载数据，没有成功：{error}。"
        ) from None
    if not isinstance(env.action_space(params), spaces.Discrete):
        raise ConfigError(f"env_name = {cfg.env_name!r} 的动作是连续的，这里只支持离散动作。")
    observe = make_observe(env.observation_space(params), cfg.obs_scaling)
    shaping = SHAPING[cfg.reward_shaping]

    def reset(key):
        obs, state = env.reset_env(key, params)
        return observe(obs), state

    def step(key, state, action, hyper: Hyperparams) -> Step:
        obs, next_state, reward, terminated, _ = env.step_env(key, state, action, params)
        reward = jnp.asarray(reward, jnp.float32)
        terminated = jnp.asarray(terminated, bool)
        truncated = env.is_truncated(next_state, params) & ~terminated
        bonus = hyper.shaping_scale * shaping(state, next_state, terminated, hyper.gamma)
        return Step(observe(obs), next_state, reward, reward + bonus, terminated, truncated)

    obs_dim = jax.eval_shape(reset, jax.random.key(0))[0].size
    return Environment(cfg.env_name, obs_dim, env.num_actions, reset, step)


# ---------------------------------------------------------------- 观测


def make_observe(space, scaling: str):
    """返回函数：原始观测（任意形状）→ (obs_dim,) 的 float32。

    ``scaling="bounds"`` 时，上下界都有限的分量线性映射到 [-1, 1]，其余分量不动。
    """
    if scaling == "none":
        return flatten
    leaves = jax.tree.leaves(space.spaces) if hasattr(space, "spaces") else [space]
    low, high = (jnp.concatenate(parts) for parts in zip(*map(bounds, leaves)))
    bounded = (jnp.abs(low) < UNBOUNDED) & (jnp.abs(high) < UNBOUNDED) & (high > low)
    center = jnp.where(bounded, (high + low) / 2, 0.0)
    half_width = jnp.where(bounded, (high - low) / 2, 1.0)
    return lambda obs: (flatten(obs) - center) / half_width


def bounds(space) -> tuple[jax.Array, jax.Array]:
    """一个观测空间摊平后各分量的 (下界, 上界)。"""
    if isinstance(space, spaces.Discrete):  # 取值 0 … n-1 的一个整数
        return jnp.zeros(1), jnp.full(1, space.n - 1.0)
    return tuple(
        jnp.ravel(jnp.broadcast_to(bound, space.shape)).astype(jnp.float32)
        for bound in (space.low, space.high)
    )


def flatten(obs) -> jax.Array:
    """把一个观测（数组，或几个数组的树）摊平成一维 float32。"""
    return jnp.concatenate([jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(obs)])


# ---------------------------------------------------------------- 奖励整形（MountainCar）


def no_shaping(state, next_state, terminated, gamma):
    """不整形。"""
    return 0.0


def position_shaping(state, next_state, terminated, gamma):
    """原指南的写法 0.01·(x' - x)。它不是 γΦ(s') - Φ(s) 的形式，不保证最优策略不变。"""
    return 0.01 * (next_state.position - state.position)


def energy_potential(state):
    """势函数 Φ：MountainCar 的机械能，缩放成谷底静止为 0、坡顶静止为 100，动能另加。

    重力项 0.0025·cos(3x) 对应的势能是 (0.0025/3)·sin(3x)，再加动能 ½v²。
    """
    highest = 0.0025 / 3
    energy = highest * jnp.sin(3 * state.position) + 0.5 * state.velocity**2
    return 100.0 * (energy + highest) / (2 * highest)


def energy_shaping(state, next_state, terminated, gamma):
    """势函数整形 γΦ(s') - Φ(s)，以坡顶静止为零点，终止状态的 Φ 取 0：最优策略不变。

    终止之后没有下一步把加上的势减回来，所以那里必须取 0。
    出处：Ng, Harada & Russell (1999), *Policy Invariance under Reward Transformations*，定理 1。
    """
    potential = energy_potential(state) - 100.0
    next_potential = jnp.where(terminated, 0.0, energy_potential(next_state) - 100.0)
    return gamma * next_potential - potential


def energy_shaping_keep_terminal(state, next_state, terminated, gamma):
    """常见的写法：谷底为零点，终止状态的 Φ 也照算。等于到达时多给一大笔奖励，不再保证最优策略不变。"""
    return gamma * energy_potential(next_state) - energy_potential(state)


SHAPING = {
    "none": no_shaping,
    "position": position_shaping,
    "energy": energy_shaping,
    "energy_keep_terminal": energy_shaping_keep_terminal,
}
