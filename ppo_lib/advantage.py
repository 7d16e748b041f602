"""优势：把一段经验里的奖励和价值，变成“比预期好多少”。"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def td_error(reward, value, next_value, terminated, gamma):
    """时序差分误差（TD error）δ_t = r_t + γ·V(s_{t+1}) - V(s_t)；真的结束时没有以后，V(s_{t+1}) 记 0。

    各参数形状相同。出处：Sutton & Barto (2018), 式 (6.5)。
    """
    return reward + gamma * next_value * (1.0 - terminated) - value


def calculate_gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """广义优势估计（GAE）。

    从后往前递推 Â_t = δ_t + γλ·Â_{t+1}，遇到一回合的结尾就断开。两种结尾的区别只在 δ_t：

    - terminated：以后没有奖励了，不接 V(s_{t+1})；
    - truncated：只是不再看下去，仍然接上 V(s_{t+1})。

    出处：Schulman et al. (2016), *High-Dimensional Continuous Control Using GAE*，式 (16)。

    Args:
        reward: (num_steps, num_envs) 奖励。
        value: (num_steps, num_envs) V(s_t)。
        next_value: (num_steps, num_envs) V(s_{t+1})，s_{t+1} 是这一步到达的、重置之前的状态。
        terminated: (num_steps, num_envs) bool，这一步之后真的结束。
        truncated: (num_steps, num_envs) bool，这一步之后超时。
        gamma: 折扣因子。
        gae_lambda: λ；0 得到 δ_t；1 得到蒙特卡洛回报减 V(s_t)，没走完的部分用 V 接上。

    Returns:
        (advantage, target)，形状都是 (num_steps, num_envs)；target = advantage + value
        是 Critic 的学习目标。
    """
    delta = td_error(reward, value, next_value, terminated, gamma)
    carry_on = 1.0 - (terminated | truncated)

    def backwards(next_advantage, step):
        delta_t, carry_on_t = step  # (num_envs,)
        advantage_t = delta_t + gamma * gae_lambda * carry_on_t * next_advantage
        return advantage_t, advantage_t

    _, advantage = jax.lax.scan(
        backwards, jnp.zeros_like(delta[0]), (delta, carry_on), reverse=True
    )
    return advantage, advantage + value
