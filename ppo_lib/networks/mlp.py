"""Actor-Critic 网络：两个头，一个给出动作的分布，一个给出状态的价值。"""

from __future__ import annotations

import distrax
import flax.linen as nn
import jax
import numpy as np
from flax.linen.initializers import orthogonal

from ppo_lib.networks.cpu import dot_general

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh}


def dense(width: int, gain: float, name: str) -> nn.Dense:
    """一个全连接层：正交初始化的权重（乘以 gain）和从 0 开始的偏置。

    乘法用完整的 float32：GPU 上缺省的 TF32 只留三位有效数字，网络这么小，也快不了多少。
    """
    return nn.Dense(
        width,
        kernel_init=orthogonal(gain),
        precision="highest",
        dot_general=dot_general,
        name=name,
    )


class ActorCriticDiscrete(nn.Module):
    """离散动作的 Actor-Critic 多层感知机。

    输入 obs (..., obs_dim)，输出 (pi, value)：pi 是 num_actions 个动作上的分类分布，
    value 的形状是 (...)。

    初始化用正交矩阵：隐藏层增益 √2，策略头 0.01（开始时几乎均匀），价值头 1。
    出处：Huang et al. (2022), *The 37 Implementation Details of PPO*，第 2 条。
    """

    num_actions: int
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    shared_trunk: bool = False

    def trunk(self, x: jax.Array, name: str) -> jax.Array:
        """几个隐藏层：(..., obs_dim) → (..., hidden_sizes[-1])。"""
        for i, width in enumerate(self.hidden_sizes):
            x = ACTIVATIONS[self.activation](dense(width, np.sqrt(2), f"{name}_{i}")(x))
        return x

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[distrax.Categorical, jax.Array]:
        if self.shared_trunk:
            actor = critic = self.trunk(obs, "shared")
        else:
            actor, critic = self.trunk(obs, "actor"), self.trunk(obs, "critic")
        logits = dense(self.num_actions, 0.01, "actor_head")(actor)
        value = dense(1, 1.0, "critic_head")(critic)
        return distrax.Categorical(logits=logits), value.squeeze(-1)
