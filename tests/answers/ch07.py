"""第 7 章的答案。"""

import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib.course.ch07 import CASES
from ppo_lib.loss import clipped_objective


def by_cases(ratio, advantage, eps):
    bound = jnp.where(advantage > 0, 1 + eps, 1 - eps)
    over = jnp.where(advantage > 0, ratio > bound, ratio < bound)
    return jnp.where(over, bound, ratio) * advantage


def as_a_list(ratio, advantage, eps):
    return jnp.stack([clipped_objective(r, a, eps) for r, a in zip(ratio, advantage)])


def in_python(ratio, advantage, eps):
    slopes = []
    for r, a in zip(ratio, advantage):
        past = r > 1 + eps if a > 0 else r < 1 - eps
        slopes.append(0 if past else float(a))
    return slopes


zero_slope = {
    i for i, case in enumerate(CASES, 1) if jax.grad(clipped_objective)(*case, 0.2) == 0
}


def dual_clip(r, a, e):
    """两头都裁的变体：A < 0 时，目标不低于 3A。"""
    return jnp.where(a < 0, jnp.maximum(clipped_objective(r, a, e), 3 * a), clipped_objective(r, a, e))  # fmt: skip


RIGHT = {
    "check_zero_gradient": [({1, 4},), ([4, 1],), (np.array([1, 4]),), (zero_slope,), (["1", "4"],)],
    "check_my_objective": [clipped_objective, by_cases, as_a_list],
    "check_my_slope": [in_python, jax.vmap(jax.grad(clipped_objective), (0, 0, None))],
    "check_kl_estimate": [
        lambda new, old: jnp.expm1(new - old).mean() - (new - old).mean(),
        lambda new, old: float(np.mean(np.expm1(np.asarray(new - old)) - np.asarray(new - old))),
    ],
}  # fmt: skip

WRONG = {
    "check_zero_gradient": [
        (({1},), "漏了 1 个"),
        ((set(),), "漏了 2 个"),
        (({1, 4, 5},), "之内"),
        (({1, 2},), "r > 1+ε 的两个"),
        (({3, 4},), "r < 1-ε 的两个"),
        (({1, 3},), "A > 0 只有一侧"),
        (({2, 4},), "A < 0 只有一侧"),
        (({1, 2, 4},), "较小的是 -1.5"),
        (({0, 3},), "不在选项里"),
        ((3,), "较小的是 0.7"),
        ((...,), "换成你的答案"),
    ],
    "check_my_objective": [
        (lambda r, a, e: clipped_objective(r, a, 2 * e), "clip_eps 大了一倍"),
        (lambda r, a, e: clipped_objective(r, a, 0.2), "clip_eps 都是 0.2"),
        (dual_clip, "应当是"),
        (lambda r, a, e: jax.lax.stop_gradient(clipped_objective(r, a, e)), "stop_gradient"),
        (lambda r, a, e: np.asarray(clipped_objective(np.asarray(r), a, e)), "求导"),
        (lambda r, a, e: r.sum() and None, "没有返回值"),
        (lambda r, a: r, "你的函数收 2 个"),
    ],
    "check_my_slope": [
        (lambda r, a, e: r.slope, "没有 slope 这个属性"),
        (
            lambda r, a, e: jnp.where(jnp.where(a > 0, r > 1 + e, r < 1 / (1 + e)), 0.0, a),
            "应当是",
        ),
        (
            lambda r, a, e: jnp.where(jnp.where(a > 0, r > 1 + e**2, r < 1 - e), 0.0, a),
            "应当是",
        ),
        (lambda r, a, e: a[0], "形状"),
    ],
    "check_kl_estimate": [
        (lambda new, old: new - old, "一个数"),
        (lambda new, old: 0.0, "不管输入是什么"),
        (lambda new, old: print(new), "print"),
    ],
}

HARMLESS = {
    "check_my_slope": {
        # A = 0 时导数是 0，两支都对；恰好在界上时导数没有定义，输入里没有这样的样本
        "advantage > 0 → advantage >= 0",
        "ratio > 1 + clip_eps → ratio >= 1 + clip_eps",
        "ratio < 1 - clip_eps → ratio <= 1 - clip_eps",
    }
}
