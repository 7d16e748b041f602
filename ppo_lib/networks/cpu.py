"""几个快写法，只为 CPU 上的速度，不改变数学；初读可以跳过。

慢的原因都一样：XLA 的 CPU 后端为几十微秒的活去惊动线程池，等线程醒来比算还久，而且程序从此换到
另一个核上接着跑，缓存全凉了。

- **权重的梯度** xᵀg：这种“左边转置”的乘法走一条总要用线程池的路。先把转置按行优先真的写进
  内存，再做普通的乘法，就避开了它（批次 512、宽 64 时快三倍）。见 ``matmul``。
- **大的一步**：一次算几千行，就会分给线程池。切成小块就不会。见 ``in_chunks``。
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


def in_chunks(f, x, size: int):
    """算 f(x)，但沿第一维切成几块依次送进 f，每块最多 size 行；不在 CPU 上时不切。

    x 是数组或数组的树，叶子 (n, ...)；f 对第一维逐个计算，输出的第一维也是 n。
    """
    n = len(jax.tree.leaves(x)[0])
    if jax.default_backend() != "cpu" or n <= size:
        return f(x)
    size = max(d for d in range(1, size + 1) if n % d == 0)
    chunks = jax.tree.map(lambda leaf: leaf.reshape(n // size, size, *leaf.shape[1:]), x)
    return jax.tree.map(lambda leaf: leaf.reshape(n, *leaf.shape[2:]), jax.lax.map(f, chunks))
