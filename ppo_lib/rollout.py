"""采样：用当前的策略与 num_envs 个并行环境各走 num_steps 步。"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_lib.config import Hyperparams
from ppo_lib.envs import Environment, Step
from ppo_lib.networks.cpu import in_chunks


class EnvCarry(NamedTuple):
    """并行环境此刻的样子，从一次更新传到下一次更新。"""

    obs: jax.Array  # (num_envs, obs_dim)
    state: Any  # 环境自己的状态，每个叶子 (num_envs, ...)
    episode_return: jax.Array  # (num_envs,) 这一回合到此刻的回报，未整形
    episode_length: jax.Array  # (num_envs,) 这一回合到此刻的步数


class Transition(NamedTuple):
    """一段经验。每个字段前两维是 (num_steps, num_envs)。"""

    obs: jax.Array  # (..., obs_dim) 选动作时看到的观测
    action: jax.Array
    log_prob: jax.Array  # 选这个动作的对数概率，按采样时的参数
    value: jax.Array  # V(obs)
    next_value: jax.Array  # V(这一步到达的观测)，重置之前
    reward: jax.Array  # 用来学习的奖励（可能整形过）
    terminated: jax.Array  # bool
    truncated: jax.Array  # bool


class EpisodeEnds(NamedTuple):
    """走完的回合。没有回合在这一步结束的位置，数值没有意义，要用 ended 挑选。"""

    ended: jax.Array  # (num_steps, num_envs) bool
    episode_return: jax.Array  # (num_steps, num_envs)
    episode_length: jax.Array  # (num_steps, num_envs)


NETWORK_ROWS = 512
"""在 CPU 上，Critic 一次算多少行；再多就会动用线程池，反而慢（见 networks/cpu.py）。"""

DRAW_ROWS = 256
"""在 CPU 上，一次为多少个环境抽随机数；道理同上。"""

BLOCK_ROWS = 64
"""在 CPU 上，多少行里没有一步超时，就跳过这一块；块小，跳过的多。"""


def reset_envs(key, env: Environment, num_envs: int) -> EnvCarry:
    """num_envs 个环境都从头开始。"""
    obs, state = jax.vmap(env.reset)(jax.random.split(key, num_envs))
    return EnvCarry(obs, state, jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32))


def where_ended(ended, fresh, current):
    """结束了的环境换成新的一回合，其余不动。ended (num_envs,)，树的叶子 (num_envs, ...)。"""

    def choose(new, old):
        mask = ended.reshape(ended.shape + (1,) * (old.ndim - ended.ndim))
        return jnp.where(mask, new, old).astype(old.dtype)

    return jax.tree.map(choose, fresh, current)


def draw_step(key, env: Environment, num_envs: int):
    """一步要用的随机数：抽动作的噪声、走一步的钥匙、备好的新回合的开头；叶子第一维是 num_envs。"""
    keys = jax.random.split(key, 1 + 2 * num_envs)
    noise_key, step_keys, reset_keys = keys[0], keys[1 : 1 + num_envs], keys[1 + num_envs :]
    noise = jax.random.gumbel(noise_key, (num_envs, env.num_actions))
    return noise, step_keys, jax.vmap(env.reset)(reset_keys)


def collect_rollout(
    params,
    carry: EnvCarry,
    key,
    hyper: Hyperparams,
    *,
    network,
    env: Environment,
    num_steps: int,
) -> tuple[EnvCarry, Transition, EpisodeEnds]:
    """采样 num_steps × num_envs 步。

    分两段：先走，后评。走的时候只用 Actor；Critic 对每一步的评价，等走完以后对整批
    观测算出，同样的数，快得多。全部随机数也在走之前一次抽好：

    - 动作用 Gumbel-max 抽：argmax(logits + 噪声) 正好服从 softmax(logits)；
    - 每一步都备好一个新回合的开头，哪个环境结束了就换上去。
    """
    num_envs = carry.obs.shape[0]
    draws = in_chunks(
        jax.vmap(lambda key: draw_step(key, env, num_envs)),
        jax.random.split(key, num_steps),
        max(1, DRAW_ROWS // num_envs),
    )

    def one_step(carry: EnvCarry, inputs):
        noise_t, step_keys_t, fresh_start = inputs
        pi, _ = network.apply(params, carry.obs)
        action = jnp.argmax(pi.logits + noise_t, axis=-1)  # (num_envs,)
        log_prob = pi.log_prob(action)
        step = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            step_keys_t, carry.state, action, hyper
        )

        ended = step.terminated | step.truncated
        episode_return = carry.episode_return + step.reward
        episode_length = carry.episode_length + 1
        obs, state = where_ended(ended, fresh_start, (step.obs, step.state))
        next_carry = EnvCarry(
            obs,
            state,
            jnp.where(ended, 0.0, episode_return),
            jnp.where(ended, 0, episode_length),
        )
        ends = EpisodeEnds(ended, episode_return, episode_length)
        # 记下的是 carry.obs，动作是看着它选的；step.obs 是走完之后才看到的。
        return next_carry, (carry.obs, action, log_prob, step._replace(state=None), ends)

    carry, (obs, action, log_prob, step, ends) = jax.lax.scan(one_step, carry, draws)

    def critic(obs):
        return network.apply(params, obs)[1]

    value = in_chunks(critic, obs, max(1, NETWORK_ROWS // num_envs))
    next_value = values_after(step, carry.obs, value, critic)
    transition = Transition(
        obs,
        action,
        log_prob,
        value,
        next_value,
        step.shaped_reward,
        step.terminated,
        step.truncated,
    )
    return carry, transition, ends


def values_after(step: Step, last_obs, value, critic):
    """V(s_{t+1})，(num_steps, num_envs)，s_{t+1} 是第 t 步到达的、重置之前的状态。

    多数时候它就是下一行的 V(s_{t+1})，不必再算。只有超时的那些步，下一行已经是新的一回合，
    要另算；几步一块，没有超时的块整个跳过（vmap 时两支都会算）。（真的结束的步上它不起作用，不必管。）
    """
    following = jnp.concatenate([value[1:], critic(last_obs)[None]])

    def one_block(inputs):
        obs, truncated, following = inputs
        return jax.lax.cond(
            truncated.any(),
            lambda: jnp.where(truncated, critic(obs), following),
            lambda: following,
        )

    inputs = (step.obs, step.truncated, following)
    return in_chunks(one_block, inputs, max(1, BLOCK_ROWS // last_obs.shape[0]))
