"""PPO 的损失：裁剪目标、价值损失、熵。

下面的函数都对一批样本逐个算，形状 (batch,)；平均放在最后的 ``ppo_loss`` 里。
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ppo_lib.config import Hyperparams
from ppo_lib.diagnostics import approx_kl, clip_frac


class Minibatch(NamedTuple):
    """一个小批次，每个字段第一维是 batch。"""

    obs: jax.Array  # (batch, obs_dim)
    action: jax.Array  # (batch,)
    log_prob: jax.Array  # (batch,) 采样时的对数概率
    value: jax.Array  # (batch,) 采样时的 V
    advantage: jax.Array  # (batch,)
    target: jax.Array  # (batch,) Critic 的学习目标


def policy_ratio(log_prob, old_log_prob):
    """概率比 r = π_θ(a|s) / π_old(a|s)，由对数概率之差取指数得到。

    出处：Schulman et al. (2017), *Proximal Policy Optimization Algorithms*，第 3 节。
    """
    return jnp.exp(log_prob - old_log_prob)


def clipped_objective(ratio, advantage, clip_eps):
    """裁剪目标 min(r·A, clip(r, 1-ε, 1+ε)·A)。它要被**最大化**。

    A > 0 时只在 r > 1+ε 一侧裁剪，A < 0 时只在 r < 1-ε 一侧；裁剪处梯度为 0。
    出处：Schulman et al. (2017)，式 (7)。
    """
    clipped_ratio = jnp.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps)
    return jnp.minimum(ratio * advantage, clipped_ratio * advantage)


def value_loss(value, target):
    """价值损失 ½(V - 目标)²。"""
    return 0.5 * (value - target) ** 2


def clipped_value_loss(value, old_value, target, clip_eps):
    """裁剪的价值损失：V 离开采样时的值超过 ε 的部分不再带来好处。

    出处：Huang et al. (2022)，第 9 条。
    """
    clipped_value = old_value + jnp.clip(value - old_value, -clip_eps, clip_eps)
    return jnp.maximum(value_loss(value, target), value_loss(clipped_value, target))


def entropy_bonus(pi):
    """策略的熵 H(π(·|s))，单位 nat；均匀时最大，为 ln(num_actions)。"""
    return pi.entropy()


def normalize(advantage):
    """减均值、除标准差；全部相等时分母不是 0，所以不会得到 NaN。"""
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8)


def ppo_loss(
    params,
    batch: Minibatch,
    hyper: Hyperparams,
    *,
    network,
    advantage_norm: str,
    clip_value: bool,
):
    """总损失 -L_CLIP + c₁·L_VF - c₂·S，要被**最小化**。

    出处：Schulman et al. (2017)，式 (9)，整体取负号。

    Returns:
        (损失, 诊断量的字典)，每一项都是标量。
    """
    pi, value = network.apply(params, batch.obs)
    log_prob = pi.log_prob(batch.action)
    ratio = policy_ratio(log_prob, batch.log_prob)
    advantage = normalize(batch.advantage) if advantage_norm == "minibatch" else batch.advantage

    actor_loss = -clipped_objective(ratio, advantage, hyper.clip_eps).mean()
    if clip_value:
        critic_loss = clipped_value_loss(
            value, batch.value, batch.target, hyper.clip_eps
        ).mean()
    else:
        critic_loss = value_loss(value, batch.target).mean()
    entropy = entropy_bonus(pi).mean()
    total = actor_loss + hyper.vf_coef * critic_loss - hyper.ent_coef * entropy

    return total, {
        "actor_loss": actor_loss,
        "value_loss": critic_loss,
        "entropy": entropy,
        "clip_frac": clip_frac(ratio, hyper.clip_eps),
        "approx_kl": approx_kl(log_prob, batch.log_prob),
    }
