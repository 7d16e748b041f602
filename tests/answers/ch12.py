"""第 12 章的答案。"""

import jax.numpy as jnp
import numpy as np

from ppo_lib.course import ch12
from ppo_lib.statistics import holm

closed_loops = {i for i, shaping in ch12.SHAPINGS.items() if abs(ch12.loop_sum(shaping)) < 1e-9}


def shaping_in_python(potential, next_potential, terminated, gamma):
    steps = zip(potential, next_potential, terminated)
    return [float(-p if ended else gamma * q - p) for p, q, ended in steps]


def by_index(table):
    alive, k = list(range(len(table))), 0
    while len(alive) > 1:
        k += 1
        alive.sort(key=lambda i: -sum(table[i, :k]))
        alive = alive[: len(alive) // 2]
    return alive[0]


def by_rows(table):
    rows = np.c_[np.arange(len(table)), table]
    for k in range(1, table.shape[1] + 1):
        if len(rows) == 1:
            break
        rows = rows[rows[:, 1 : k + 1].mean(axis=1).argsort()[::-1][: len(rows) // 2]]
    return rows[0, 0]


def holm_in_python(p_values):
    left, worst, adjusted = len(p_values), 0.0, {}
    for i in sorted(range(len(p_values)), key=lambda i: p_values[i]):
        worst = max(worst, left * p_values[i])
        adjusted[i] = min(worst, 1.0)
        left -= 1
    return [adjusted[i] for i in range(len(p_values))]


def holm_by_rank(p_values):
    p = jnp.asarray(p_values)
    smaller = (p[None, :] <= p[:, None]).sum(1)  # 名次，从 1 数
    scaled = p * (len(p) + 1 - smaller)
    return jnp.minimum(1, jnp.where(p[None, :] <= p[:, None], scaled[None, :], 0).max(1))


RIGHT = {
    "check_potential_based": [({1, 3, 5},), ([5, 3, 1],), (np.array([1, 3, 5]),), (closed_loops,)],
    "check_my_shaping": [
        lambda p, q, ended, gamma: gamma * jnp.where(ended, 0.0, q) - p,
        lambda p, q, ended, gamma: gamma * q * (1 - np.asarray(ended)) - p,
        lambda p, q, ended, gamma: jnp.where(ended, -p, gamma * q - p),
        shaping_in_python,
    ],
    "check_halving": [by_index, by_rows, lambda table: ch12.halve(table)[0]],
    "check_biased_cosine": [((1 - 0.9**2) ** 0.5,), (0.436,), (0.44,), (jnp.sqrt(0.19),), ("43.6%",), (0.43,)],
    "check_my_holm": [holm_in_python, holm_by_rank],
}  # fmt: skip


def keeps_a_list(table):
    alive, k = np.arange(len(table)), 0
    while len(alive) > 1:
        k += 1
        alive = alive[np.argsort(-table[alive, :k].mean(axis=1))][: len(alive) // 2]
    return alive


WRONG = {
    "check_potential_based": [
        (({1, 2, 3, 5},), "来回走"),
        (({1, 3, 4, 5},), "没有减去出发的"),
        (({1, 3},), "任何函数"),
        (({1, 5},), "同一个函数"),
        (({3, 5},), "Φ = x"),
        (({0},), "不在选项里"),
        ((...,), "换成你的答案"),
    ],
    "check_my_shaping": [
        (lambda p, q, e, g: jnp.where(e, 0.0, 0.9 * q) - p, "gamma 都是 0.9"),
        (lambda p, q, e, g: p * 0, "结果应当随输入变"),
        (lambda p, q, e, g: potential_sum(p, q, e, g), "potential_sum 没有定义"),  # noqa: F821
        (lambda p, q, e, g: p.sum() and None, "没有返回值"),
        (lambda p, q: p, "你的函数收 2 个"),
    ],
    "check_halving": [
        (lambda table: np.argmax(table.sum(1)), "全部种子"),
        (lambda table: table[:, :3].mean(1).argmax(), "应当是"),
        (lambda table: table.mean(1), "应当是一个数"),
        (lambda table: 99, "不管输入是什么"),
        (lambda table: print(table[0]), "print"),
        (lambda table: by_index(table[:14, :1].repeat(4, 1)), "第一个种子"),
        (keeps_a_list, "应当是 ()，你的是 (1,)"),
        (lambda table: by_index(sorted(table.tolist())), "出错"),
    ],
    "check_biased_cosine": [
        ((0,), "先算余弦"),
        ((0.229,), "长度之比"),
        ((0.14,), "0.99"),
        ((-0.436,), "符号反了"),
        ((0.7,), "在 0.1 和 1 之间"),
        ((0.99,), "几乎就是"),
        ((0.1 / 0.9,), "一样长"),
        ((0.1 / 0.19,), "再开方"),
        ((0.0229,), "不是乘"),
        ((4.36,), "内积是 0.1"),
        ((2.29,), "上下颠倒"),
    ],
    "check_my_holm": [
        (lambda p: p * len(p), "Bonferroni"),
        (lambda p: np.sort(p) * np.arange(len(p), 0, -1), "应当是"),
        (lambda p: 1 - (1 - p) ** len(p), "Šidák"),
        (lambda p: holm(p)[0], "形状"),
        (lambda p: holm(p).tolist()[::-1], "次序倒过来了"),
        (lambda p: p.sort(), "没有返回值"),
    ],
}

HARMLESS = {
    "check_halving": {
        # 各格都是 k 个种子，和与平均排出的次序相同
        "table[alive, :k].mean → table[alive, :k].sum",
        # n // -2 是 -⌈n/2⌉，order[:-⌈n/2⌉] 也是留下 ⌊n/2⌋ 个
        "2 → -2",
        # 没有一样的成绩，稳不稳定都一样
        "np.argsort(-table[alive, :k].mean(axis=1), kind='stable') → np.argsort(-table[alive, :k].mean(axis=1))",
    }
}
