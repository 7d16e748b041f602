"""两个快写法，只为 CPU 上的速度，不改变数学；初读可以跳过。

两处慢的原因相同：XLA 的 CPU 后端为几十微秒的活去惊动线程池，等线程醒来比算还久。

- **权重的梯度** xᵀg：这种“左边转置”的乘法走一条总要用线程池的路。先把转置按行优先真的写进
  内存，再做普通的乘法，就避开了它（批次 512、宽 64 时快三倍）。见 ``matmul``。
- **大批次**：一次送进几千行，乘法就会分给线程池。切成几百行一块就不会。见 ``in_chunks``。
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint


@jax.custom_vjp
def matmul(x, kernel):
    """(batch, n_in) @ (n_in, n_out) → (batch, n_out)。"""
    return x @ kernel


def _forward(x, kernel):
    return x @ kernel, (x, kernel)


def _backward(residuals, g):
    x, kernel = residuals
    if x.shape[1] <= g.shape[1]:  # 抄写窄的那个：xᵀg = (gᵀx)ᵀ
        return g @ kernel.T, written_transpose(x) @ g
    return g @ kernel.T, jax.lax.optimization_barrier(written_transpose(g) @ x).T


def written_transpose(x):
    """真的写进内存的 xᵀ。规定了 x 此处的布局，XLA 就不能把转置并回乘法里。"""
    return with_layout_constraint(x.T, Layout(major_to_minor=(1, 0)))


matmul.defvjp(_forward, _backward)


def dot_general(x, kernel, dimension_numbers, precision=None, preferred_element_type=None):
    """给 ``flax.linen.Dense(dot_general=...)`` 用：x (..., n_in)，kernel (n_in, n_out)。"""
    if jax.default_backend() != "cpu":
        return jax.lax.dot_general(
            x, kernel, dimension_numbers, precision, preferred_element_type
        )
    y = matmul(x.reshape(-1, x.shape[-1]), kernel)
    return jnp.reshape(y, (*x.shape[:-1], kernel.shape[-1]))


CHUNK_ROWS = 512
"""一块最多多少行；再多，XLA 就会动用线程池。"""


def in_chunks(f, x):
    """算 f(x)，但沿第一维切成几块依次送进 f。

    x 是数组或数组的树，叶子 (num_steps, num_envs, ...)；f 对前两维逐个计算，输出的前两维不变。
    """
    num_steps, num_envs = jax.tree.leaves(x)[0].shape[:2]
    if jax.default_backend() != "cpu" or num_steps * num_envs <= CHUNK_ROWS:
        return f(x)
    steps = max(
        d
        for d in range(1, num_steps + 1)
        if num_steps % d == 0 and (d == 1 or d * num_envs <= CHUNK_ROWS)
    )
    chunks = jax.tree.map(
        lambda leaf: leaf.reshape(num_steps // steps, steps, *leaf.shape[1:]), x
    )
    y = jax.lax.map(f, chunks)
    return jax.tree.map(lambda leaf: leaf.reshape(num_steps, *leaf.shape[2:]), y)
