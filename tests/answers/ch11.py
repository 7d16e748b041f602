"""第 11 章的答案。"""

import jax.numpy as jnp
import numpy as np

from ppo_lib.course.ch11 import ADVANTAGE, RATIO, TARGET, V
from ppo_lib.diagnostics import (
    clip_frac,
    cosine_similarity,
    explained_variance,
    masked_mean,
    update_running_grad,
)
from ppo_lib.loss import clipped_objective

EXAM = {"K": "explained_variance", "L": "approx_kl", "M": "value_loss"}


def flat_fraction():
    """把比例稍稍挪动，裁剪目标不变的样本占多少。"""
    moved = clipped_objective(RATIO + 1e-3, ADVANTAGE, 0.2)
    return float((moved == clipped_objective(RATIO, ADVANTAGE, 0.2)).mean())


def one_by_one(x, mask):
    chosen = [float(a) for a, m in zip(np.ravel(x), np.ravel(mask)) if m]
    return sum(chosen) / len(chosen) if chosen else float("nan")


def running_in_place(running, grad, decay):
    cosine = running @ grad / (np.linalg.norm(running) * np.linalg.norm(grad) + 1e-12)
    running *= decay
    running += (1 - decay) * grad
    return cosine, running


def running_in_jax(running, grad, decay):
    running, grad = jnp.asarray(running), jnp.asarray(grad)
    return cosine_similarity(running, grad), update_running_grad(running, grad, decay)


def as_lists(old, new, d):
    dot, a, b = (sum(x * y for x, y in zip(*pair)) for pair in ((old, new), (old, old), (new, new)))  # fmt: skip
    cosine = dot / (a * b) ** 0.5 if a and b else 0
    return [cosine, [d * x + (1 - d) * y for x, y in zip(old, new)]]


def updated_in_place_too_early(running, grad, decay):
    running *= decay
    running += (1 - decay) * grad
    return running_in_place(running, grad, 1.0)


def without_guard(running, grad, decay):
    with np.errstate(invalid="ignore"):
        cosine = running @ grad / np.linalg.norm(running) / np.linalg.norm(grad)
    return cosine, grad + decay * (running - grad)


def half_guarded(running, grad, decay):
    if not running.any():
        return 0.0, (1 - decay) * grad
    return without_guard(running, grad, decay)


def guarded_below(smallest=0.0, added=0.0):
    """两个长度的乘积不超过 smallest 就记 0；分母上再加 added。"""

    def step(running, grad, decay):
        norms = np.linalg.norm(running) * np.linalg.norm(grad)
        cosine = running @ grad / (norms + added) if norms > smallest else 0.0
        return cosine, decay * running + (1 - decay) * grad

    return step


RIGHT = {
    "check_exam": [(EXAM,), (dict(reversed(EXAM.items())),), tuple(EXAM.values())],
    "check_by_hand": [
        (3 / 6, 1 / 6, 0.75),
        (np.float32(0.5), 0.167, 3 / 4),
        ("50%", "1/6", "75%"),
        ([0.5, 0.17, 0.75],),
        (clip_frac(RATIO, 0.2), flat_fraction(), explained_variance(V, TARGET)),
    ],
    "check_masked_mean": [
        masked_mean,
        lambda x, mask: jnp.where(mask.any(), (x * mask).sum() / mask.sum(), jnp.nan),
        lambda x, mask: jnp.sum(x, where=mask) / mask.sum(),
        lambda x, mask: jnp.nanmean(jnp.where(mask, x, jnp.nan)),
        lambda x, mask: x[mask].mean() if mask.any() else jnp.nan,
        one_by_one,
    ],
    "check_running": [running_in_place, running_in_jax, as_lists, guarded_below(1e-8, 1e-8)],
}

REMINDED = {
    "check_masked_mean": [
        (lambda x, mask: x[mask].mean() if mask.any() else jnp.nan, "进不了编译的程序")
    ]
}

WRONG = {
    "check_exam": [
        ((EXAM | {"K": "return"},), "不说是什么病"),
        ((EXAM | {"K": "value_loss"},), "只猜平均值"),
        ((EXAM | {"K": "grad_norm"},), "只猜平均值"),
        ((EXAM | {"L": "entropy"},), "最左边"),
        ((EXAM | {"M": "grad_norm"},), "不超过 9"),
        ((EXAM | {"M": "explained_variance"},), "不超过 9"),
        ((EXAM | {"L": "kl"},), "不在选项里"),
        ((EXAM | {"L": ...},), "换成你的答案"),
        (({"K": "entropy"},), "少了 L、M"),
        (("explained_variance",), "要 3 个答案"),
    ],
    "check_by_hand": [
        ((3, 1 / 6, 0.75), "除以 6"),
        ((50, 1 / 6, 0.75), "百分号"),
        ((0.9, 1 / 6, 0.75), "数一数"),
        ((3 / 6, 4 / 6, 0.75), "那张表"),
        ((3 / 6, 16.67, 0.75), "百分号"),
        ((3 / 6, 1 / 6, 0.1), "先算误差"),
        ((3 / 6, ..., 0.75), "换成你的答案"),
        (("一半", 1 / 6, 0.75), "不是一个数"),
    ],
    "check_masked_mean": [
        (lambda x, mask: jnp.where(mask, x, 0).sum() / (mask.sum() + 1e-8), "满分"),
        (lambda x, mask: x[mask].mean() if mask.sum() > 0 else None, "None"),
        (lambda x, mask: jnp.where(mask.any(), masked_mean(x, mask), -1.0), "应当是 nan"),
        (lambda x, mask: jnp.where(mask, x, 0), "一个数"),
        (lambda x, mask: sum(x[mask].tolist()) / len(x[mask]), "除以了 0"),
        (lambda x, mask: x.sum() and None, "没有返回值"),
        (lambda x: x, "收 1 个"),
    ],
    "check_running": [
        (updated_in_place_too_early, "先更新、再比"),
        (without_guard, "0 除以 0"),
        (half_guarded, "这一个梯度也可能是"),
        *((guarded_below(x), "你的是 0") for x in (1e-3, 3e-4)),
        *((guarded_below(added=x), "余弦”不对") for x in (1e-3, 1e-6)),
        (lambda r, g, d: (running_in_jax(r, g, d)[0], 0.5 * r + 0.5 * g), "各一半"),
        (lambda r, g, d: (running_in_jax(r, g, d)[0], 0.9 * r + 0.1 * g), "decay 都是 0.9"),
        (lambda r, g, d: (np.float64(r @ g > 0), d * r + (1 - d) * g), "余弦”不对"),
        (lambda r, g, d: running_in_jax(r, g, d)[0], "只返回了余弦"),
        (lambda r, g, d: r.sum() and None, "应当返回 2 样"),
    ],
}

HARMLESS = {}
