"""随机数的钥匙：与 ``jax.random`` 的逐位相同，在 CPU 上快几倍；初读可以跳过。

JAX 的随机数由 threefry 算法生成：两个数，二十轮加、移位、异或。在 CPU 上，JAX 把这二十轮编译成
一个循环，每圈都把所有的数读写一遍内存。这里把它们一轮一轮写开，XLA 就能合成一趟，数始终留在寄存器里。
写法经 ``jax.extend.random`` 登记，所以 ``jax.random`` 的函数照常使用，得到的数也一个不差。
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl, threefry_prng_impl

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def make_key(seed) -> jax.Array:
    """一把钥匙，() 的钥匙数组；种子相同，抽出的数就与 ``jax.random.key(seed)`` 的相同。"""
    return jax.random.key(seed, impl=UNROLLED if jax.default_backend() == "cpu" else None)


def threefry(key, x0, x1):
    """Threefry-2×32，二十轮：用钥匙 (2,) 打乱一对对计数，全是 uint32，形状不变。

    出处：Salmon et al. (2011), *Parallel Random Numbers: As Easy as 1, 2, 3*。
    """
    parts = key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(PARITY)
    x0, x1 = x0 + parts[0], x1 + parts[1]
    for group in range(1, 6):
        for bits in ROTATIONS[(group - 1) % 2]:
            x0 = x0 + x1
            x1 = x0 ^ (x1 << bits | x1 >> (32 - bits))
        x0 = x0 + parts[group % 3]
        x1 = x1 + parts[(group + 1) % 3] + jnp.uint32(group)
    return x0, x1


def split(key, shape):
    """钥匙 (2,) 分成 shape 把新的，(*shape, 2)。

    栅栏把新的钥匙真的写进内存：不然用钥匙再生成的一层层 threefry 会并成一个核，式子成倍地长，
    jax 0.11 编译五分钟也编译不完。
    """
    count = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    new = jnp.stack(threefry(key, jnp.zeros_like(count), count), axis=-1)
    return jax.lax.optimization_barrier(new)


def random_bits(key, bit_width: int, shape):
    """形状 shape 的随机整数，每个 bit_width 位。"""
    if bit_width != 32:
        return threefry_prng_impl.random_bits(key, bit_width, shape)
    count = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    x0, x1 = threefry(key, jnp.zeros_like(count), count)
    return x0 ^ x1


def fold_in(key, data):
    """由钥匙 (2,) 和一个整数派生出新的钥匙，(2,)。"""
    return jnp.stack(threefry(key, jnp.uint32(0), data.astype(jnp.uint32)))


UNROLLED = define_prng_impl(
    key_shape=threefry_prng_impl.key_shape,
    seed=threefry_prng_impl.seed,
    split=split,
    random_bits=random_bits,
    fold_in=fold_in,
    name="threefry2x32_unrolled",
    tag="fry",
)
