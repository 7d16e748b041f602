"""第 8 章的答案。"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from ppo_lib.optimizer import adam_step


class Adam(NamedTuple):
    param: Any
    mu: Any
    nu: Any


def by_keywords(param, grad, mu, nu, t, lr, beta_1, beta_2, eps):
    return Adam(
        *adam_step(param, grad, mu, nu, t, lr=lr, beta_1=beta_1, beta_2=beta_2, eps=eps)
    )


def factored(w, g, m, v, step, rate, b1, b2, small):
    m = m + (1 - b1) * (g - m)
    v = v + (1 - b2) * (g * g - v)
    scale = (1 - b2**step) ** 0.5
    return [w - rate * scale / (1 - b1**step) * m / (v**0.5 + small * scale), m, v]


def by_optax(param, grad, mu, nu, t, lr, beta_1, beta_2, eps):
    optimizer = optax.adam(lr, beta_1, beta_2, eps)
    state = optax.ScaleByAdamState(jnp.asarray(t - 1), mu, nu), optax.EmptyState()
    updates, (after, _) = optimizer.update(grad, state)
    return param + updates, after.mu, after.nu


def in_numpy(param, grad, mu, nu, t, lr, beta_1, beta_2, eps):
    param, grad, mu, nu = (np.array(x, float) for x in (param, grad, mu, nu))
    mu *= beta_1
    mu += (1 - beta_1) * grad
    nu = np.average([nu, grad**2], axis=0, weights=[beta_2, 1 - beta_2])
    param -= lr * mu / (1 - np.power(beta_1, t)) / (np.sqrt(nu / (1 - beta_2**t)) + eps)
    return param, mu, nu


def halves_by_difference(grad, mu, nu, *rest):
    zero = jnp.zeros_like(grad)
    whole, by_gradient = (by_keywords(zero, grad, m, nu, *rest).param for m in (mu, zero))
    return [whole - by_gradient, by_gradient]


def halves_by_share(grad, mu, nu, *rest):
    grad, mu, nu = (np.asarray(x, float) for x in (grad, mu, nu))
    whole, mixed, _ = in_numpy(0 * grad, grad, mu, nu, *rest)
    share = np.where(mixed == 0, 0.0, rest[2] * mu / np.where(mixed == 0, 1.0, mixed))
    return share * whole, (1 - share) * whole


RIGHT = {
    "check_my_adam": [by_keywords, factored, by_optax, in_numpy],
    "check_first_step": [(5,), ((1 - 0.9) / np.sqrt(1 - 0.9996),), ("5.0",), ([5.0],)],
    "check_memory": [(0.43, 0.75), (0.9**8, 0.1**0.125), ("43%", 0.75), ([0.4305, 0.7499],)],
    "check_same_path": [({1, 2, 5},), ([5, 2, 1],), (np.array([1, 2, 5]),)],
    "check_halves": [halves_by_difference, halves_by_share],
}

WRONG = {
    "check_my_adam": [
        (lambda p, g, m, v, t, lr, a, b, e: adam_step(p, g, m, v, t, lr=lr), "应当是"),
        (lambda p, g, m, v, t, *rest: by_keywords(p, g, m, v, 3, *rest), "应当是"),
        (lambda p, g, m, v, *rest: (p, 0.9 * m + 0.1 * g, v), "param 原样返回"),
        (lambda p, g, m, v, *rest: (p, (m + g).sum(), v), "param 原样返回"),
        (lambda p, *rest: (p, p), "应当返回 3 样：新的参数、一阶矩、二阶矩"),
        (lambda *everything: everything.sort() and None, "出错"),
        (lambda p: p, "题目给你的函数 9 个参数"),
        (..., "换成你的代码"),
    ],
    "check_first_step": [
        ((3,), "比 1 大、不到 10"),
        ((-5,), "符号"),
        (((1 - 0.9) / np.sqrt(0.9996),), "它的系数不是 1"),
        ((0.004 * 5,), "不乘学习率"),
        ((0.9 / 0.02,), "分子用了 β₁：m 从 0"),
        ((25,), "再开方"),
        ((0.002,), "不是乘"),
        ((500,), "1 - √β₂"),
        ((2500,), "1/(1 - β₂)"),
        ((...,), "换成你的答案"),
    ],
    "check_memory": [
        ((0.57, 0.75), "自己的 8 个"),
        ((0.3, 0.3), "剩多少"),
        ((43, 0.75), "0 到 1"),
        ((0.43, 0.92), "减半"),
        ((0.43, 0.99), "九成"),
        ((0.43, 0.5), "8 次方"),
        ((..., 0.75), "换成你的答案"),
    ],
    "check_same_path": [
        (({1, 2, 3, 5},), "学习率"),
        (({1, 2, 4, 5},), "只放大一步"),
        (({1, 2},), "加一个常数"),
        (({2, 5},), "m 乘 10"),
        (({1, 5},), "十分之一"),
        (({0},), "不在选项里"),
        ((...,), "换成你的答案"),
    ],
    "check_halves": [
        (lambda g, m, *rest: (m, g), "动量推的”不对"),
        (lambda *x: tuple(-y for y in halves_by_difference(*x)), "方向反了"),
        (lambda *x: halves_by_difference(*x)[1], "你只返回了“梯度推的”"),
    ],
}

HARMLESS = {}
