"""诊断量：不参与学习，只告诉我们学习在发生什么。"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def dot(a, b):
    """两棵同构的树按元素相乘再求和，一个标量。"""
    return sum(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)))


def global_norm(tree):
    """把整棵树看成一个长向量的二范数。"""
    return jnp.sqrt(dot(tree, tree))


def cosine_similarity(a, b):
    """两棵树看成长向量时夹角的余弦，[-1, 1]；有一个是零向量时记 0。"""
    norms = global_norm(a) * global_norm(b)
    return jnp.where(norms == 0, 0.0, dot(a, b) / jnp.where(norms == 0, 1.0, norms))


def update_running_grad(running_grad, grad, decay):
    """滑动梯度 decay·旧 + (1-decay)·新；decay = 0 就是只记上一个梯度。

    要先用旧的滑动梯度算余弦，再更新：拿梯度和已经含有它的平均去比，余弦会偏高。
    """
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, running_grad, grad)


def clip_frac(ratio, clip_eps):
    """比率落在 [1-ε, 1+ε] 之外的样本占比。"""
    return jnp.mean(jnp.abs(ratio - 1.0) > clip_eps)


def approx_kl(log_prob, old_log_prob):
    """KL(π_old ‖ π_θ) 的无偏、非负估计：平均 (r - 1) - ln r。

    出处：Schulman (2020), *Approximating KL Divergence*，k₃ 估计。
    """
    log_ratio = log_prob - old_log_prob
    return jnp.mean(jnp.expm1(log_ratio) - log_ratio)


def explained_variance(value, target):
    """Critic 解释了目标的多少方差：1 - Var(目标 - V) / Var(目标)；1 最好，0 等于只猜平均值。"""
    variance = jnp.var(target)
    return jnp.where(
        variance > 0,
        1.0 - jnp.var(target - value) / jnp.where(variance > 0, variance, 1.0),
        jnp.nan,
    )


def masked_mean(x, mask):
    """mask 为真处的平均；一个也没有时是 NaN，不是 0。"""
    count = mask.sum()
    return jnp.where(count > 0, jnp.sum(jnp.where(mask, x, 0)) / jnp.maximum(count, 1), jnp.nan)
