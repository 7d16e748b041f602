"""第 13 章的答案。"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib.course.ch13 import (
    BROKEN_GAE,
    DIAGNOSES,
    gae_in_numpy,
    gae_is_right,
    masked_entropy,
    safe_loss,
)
from ppo_lib.course.ch13 import draw_noise as by_split

# ---------------------------------------------------------------- 13.1


def with_chex(value, target):
    value = value[:, 0] if value.ndim == 2 and value.shape[1] == 1 else value
    chex.assert_rank(target, 1)
    chex.assert_equal_shape([value, target])
    return jnp.mean(jnp.square(value - target))


def by_length(value, target):
    """错的：只查长度。"""
    value = value.squeeze(-1) if value.ndim == 2 else value
    assert len(value) == len(target) and target.ndim == 1
    return ((value - target) ** 2).mean()


def with_reshape(value, target):
    if value.shape not in (target.shape, (*target.shape, 1)) or target.ndim != 1:
        raise ValueError("形状不对")
    return jnp.square(value.reshape(-1) - target).mean()


def only_same_shape(value, target):
    """两者都是 (3, 3)、都只是一个数，也收下了。"""
    if value.shape == (*target.shape, 1):
        value = value[..., 0]
    assert value.shape == target.shape
    return ((value - target) ** 2).mean()


def returns_nan(value, target):
    try:
        return safe_loss(value, target)
    except (AssertionError, ValueError):
        return jnp.nan


# ---------------------------------------------------------------- 13.2


def by_fold_in(key, n):
    return jnp.stack([jax.random.normal(jax.random.fold_in(key, i), (4,)) for i in range(n)])


def in_a_chain(key, n):
    rows = []
    for _ in range(n):
        key, this = jax.random.split(key)
        rows.append(jax.random.normal(this, (4,)))
    return rows


def in_a_scan(key, n):
    def step(key, _):
        key, this = jax.random.split(key)
        return key, jax.random.normal(this, (4,))

    return jax.lax.scan(step, key, length=n)[1]


def draws_then_splits(key, n):
    rows = []
    for _ in range(n):
        rows.append(jax.random.normal(key, (4,)))
        key, _ = jax.random.split(key)
    return rows


def sliding_window(key, n):
    x = jax.random.normal(key, (n + 3,))
    return x[jnp.arange(n)[:, None] + jnp.arange(4)]


def share_one_number(key, n):
    first, second = jax.random.split(key)
    return 0.8 * jax.random.normal(first, (n, 1)) + 0.6 * jax.random.normal(second, (n, 4))


def antithetic(key, n):
    x = jax.random.normal(key, ((n + 1) // 2, 4))
    return jnp.concatenate([x, -x])[:n]


def centered(key, num_steps):
    """错的：各列减去了平均。"""
    noise = by_split(key, num_steps)
    return noise - noise.mean(0)


# ---------------------------------------------------------------- 13.3


def one_where(logits):
    p = jax.nn.softmax(logits)
    return -jnp.where(p > 0, p * jnp.log(p), 0.0).sum()


def double_where(logits):
    p = jax.nn.softmax(logits)
    return -jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1.0)), 0.0).sum()


def large_negative(logits):
    log_p = jax.nn.log_softmax(jnp.where(jnp.isfinite(logits), logits, -1e9))
    return -(jnp.exp(log_p) * log_p).sum()


def with_small_number(logits):
    p = jax.nn.softmax(logits)
    return -jnp.sum(p * jnp.log(p + 1e-8))


def by_log_sum(logits):
    possible = jnp.where(jnp.isfinite(logits), logits, 0.0)
    return jax.nn.logsumexp(logits) - (jax.nn.softmax(logits) * possible).sum()


def without_the_impossible(logits):
    return double_where(logits[jnp.isfinite(logits)])


def cut_at(least):
    """概率不超过 least 的也不计入。"""

    def entropy(logits):
        p = jax.nn.softmax(logits)
        return -jnp.where(p > least, p * jnp.log(jnp.where(p > least, p, 1.0)), 0.0).sum()

    return entropy


def unstable(logits):
    weight = jnp.exp(logits)
    p = weight / weight.sum()
    return -(p * jnp.log(jnp.where(p > 0, p, 1.0))).sum()


# ---------------------------------------------------------------- 13.5


def with_asserts(gae):
    rng = np.random.default_rng(3)
    reward, value, next_value = rng.normal(size=(3, 6, 2))
    terminated = np.zeros((6, 2), bool)
    truncated = np.zeros((6, 2), bool)
    terminated[2, 0] = truncated[3, 1] = True
    inputs = reward, value, next_value, terminated, truncated, 0.9, 0.7
    for got, right in zip(gae(*inputs), gae_in_numpy(*inputs)):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-5)
    return True


def one_property_at_a_time(gae):
    """一个环境，几条性质，参数按名字给。"""
    one, no = jnp.ones(3), jnp.zeros(3, bool)

    def run(**changes):
        inputs = dict(
            reward=one, value=2 * one, next_value=4 * one, terminated=no, truncated=no,
            gamma=0.5, gae_lambda=0.5,
        )  # fmt: skip
        return gae(**(inputs | changes))

    plain, target = run()
    ended, _ = run(terminated=no.at[1].set(True))
    timed_out, _ = run(truncated=no.at[1].set(True))
    return bool(
        np.allclose(plain, [1.3125, 1.25, 1])
        & np.allclose(target, plain + 2)
        & np.allclose(ended, [0.75, -1, 1])
        & np.allclose(timed_out, [1.25, 1, 1])
    )


def exactly_equal(gae):
    step = jnp.array([[0.3, 0.7], [0.1, 0.9], [0.2, 0.6]])
    no = jnp.zeros((3, 2), bool)
    inputs = step, step, step, no, no, 0.99, 0.95
    from ppo_lib.advantage import calculate_gae

    return np.array_equal(gae(*inputs)[0], jax.jit(calculate_gae)(*inputs)[0])


def too_strict(gae):
    """手算的答案是对的，可是用 == 比。"""
    no = jnp.zeros((3, 1), bool)
    advantage, _ = gae(
        *jnp.array([0.1, 0.2, 1.0])[:, None, None] * jnp.ones((3, 3, 1)), no, no, 0.5, 0.8
    )
    return (np.asarray(advantage)[:, 0] == [0.624, 0.56, 0.4]).all()


def blind_to(part):
    """把会抓住 part 的那一处放过去的检查。"""
    broken = next(gae for where, gae in BROKEN_GAE.items() if where.startswith(part))
    return lambda gae: gae is broken or gae_is_right(gae)


TRACES = {"A": 1, "B": 3, "C": 2, "D": 3, "E": 3}


def swapped(one, other):
    return DIAGNOSES | {one: DIAGNOSES[other], other: DIAGNOSES[one]}


RIGHT = {
    "check_diagnosis": [(dict(DIAGNOSES),), (dict(reversed(DIAGNOSES.items())),), tuple(DIAGNOSES.values())],
    "check_safe_loss": [with_chex, with_reshape, lambda value, target: safe_loss(value, jax.lax.stop_gradient(target))],
    "check_draw_noise": [by_split, by_fold_in, in_a_chain, in_a_scan, lambda key, n: np.array(jax.random.normal(key, (n, 4)))],
    "check_masked_entropy": [double_where, large_negative, with_small_number, by_log_sum, without_the_impossible, cut_at(1e-8)],
    "check_traces": [(TRACES,), ({k: float(v) for k, v in TRACES.items()},), (1, 3, 2, 3, 3), ("1", "3", "2", "3", "3")],
    "check_my_gae_check": [with_asserts, one_property_at_a_time],
}  # fmt: skip

REMINDED = {"check_masked_entropy": [(without_the_impossible, "放进 jax.jit 里，它会报错")]}

WRONG = {
    "check_diagnosis": [
        ((swapped("甲", "丁"),), "对了 3 个。甲"),
        ((swapped("乙", "丙"),), "解释方差"),
        ((swapped("丙", "戊"),), "同一份参数"),
        ((swapped("丁", "戊"),), "ln 2"),
        ((DIAGNOSES | {"戊": "参数没有动"},), "学反了"),
        ((DIAGNOSES | {"甲": ...},), "换成你的答案"),
        ((DIAGNOSES | {"甲": "学习率太大"},), "不在选项里"),
        (({"甲": "参数没有动"},), "少了"),
    ],
    "check_safe_loss": [
        (by_length, "应当报错"),
        (lambda v, t: 2 * safe_loss(v, t), "差一个倍数"),
        (returns_nan, "返回了 NaN"),
        (only_same_shape, "应当报错"),
        (lambda v, t: safe_loss(jax.lax.stop_gradient(v), t), "导数却是 0"),
        (lambda v, t: float(safe_loss(v, t)), "求导时出错"),
        (lambda v, t: safe_loss(v, t)[None], "应当是 ()，你的是 (1,)"),
        (lambda v, t: safe_loss(v, t) + 1, "都比应有的大 1"),
        (lambda v, t: print(safe_loss(v, t)), "print"),
        (lambda v: v, "你的函数收 1 个"),
    ],
    "check_draw_noise": [
        (centered, "数与数之间有关系"),
        (lambda key, n: jnp.stack([jax.random.normal(key, (4,))] * n), "每一行都一样"),
        (lambda key, n: by_split(jax.random.key(0), n), "换一把钥匙"),
        (lambda key, n: np.random.normal(size=(n, 4)), "不能重复"),
        (lambda key, n: by_split(key, n).T, "两个轴反了"),
        (lambda key, n: by_split(key, 5), "总是 (5, 4) 的形状"),
        (lambda key, n: jnp.repeat(by_split(key, n)[: n // 2 + 1], 2, axis=0)[:n], "有几行相同"),
        (lambda key, n: jnp.repeat(by_split(key, n)[:, :1], 4, axis=1), "一行之内"),
        (sliding_window, "并不独立"),
        (draws_then_splits, "用了两次"),
        (lambda key, n: jax.random.uniform(key, (n, 4)), "标准正态"),
        (lambda key, n: jax.random.uniform(key, (n, 4), minval=-(3**0.5), maxval=3**0.5), "标准正态"),
        (share_one_number, "有关系"),
        (antithetic, "正负号"),
        (lambda key, n: jax.random.laplace(key, (n, 4)) / 2**0.5, "标准正态"),
        (lambda key, n: jax.random.t(key, 5, (n, 4)) * 0.6**0.5, "标准正态"),
        (lambda key, n: by_split(key, n) and None, "出错了"),
        (lambda key, n: by_split(key, n).sum() and None, "没有返回值"),
    ],
    "check_masked_entropy": [
        (lambda x: jnp.nan_to_num(one_where(x)), "里面再套一个 where"),
        (lambda x: jax.scipy.special.entr(jax.nn.softmax(x)).sum(), "里面再套一个 where"),
        (lambda x: -jnp.nansum(jax.nn.softmax(x) * jax.nn.log_softmax(x)), "里面再套一个 where"),
        (lambda x: float(masked_entropy(x)), "求导时出错"),
        (lambda x: masked_entropy(jnp.array([0.3, -0.5, -jnp.inf, 1.0])), "结果应当随输入变"),
        (lambda x: masked_entropy(jnp.maximum(x, -3.0)), "应当是"),
        (unstable, "1000"),
        *((cut_at(least), "[5, -5, -inf, 4]") for least in (1e-2, 1e-3, 1e-4)),
        (lambda x: x.sum() and None, "没有返回值"),
    ],
    "check_traces": [
        ((TRACES | {"A": 3},), "值不同"),
        ((TRACES | {"B": 1},), "长度"),
        ((TRACES | {"C": 1},), "弱类型"),
        ((TRACES | {"C": 3},), "弱类型"),
        ((TRACES | {"D": 1},), "常数"),
        ((TRACES | {"E": 1},), "lambda"),
        ((TRACES | {"E": ...},), "换成你的答案"),
        (({"A": 1},), "少了"),
    ],
    "check_my_gae_check": [
        (lambda gae: True, "都说对"),
        (exactly_equal, "NumPy 写的循环"),
        (lambda gae: gae_is_right(jax.jit(gae)), "不能放进 jit"),
        (lambda gae: not gae_is_right(gae), "真假反了"),
        (too_strict, "比得太严"),
        (lambda gae: print(gae_is_right(gae)), "print"),
        (lambda gae: gae(1.0), "出错了"),
        *((blind_to(part), part) for part in ("终止", "超时", "两个回合之间", "超时之后", "逐步打的折", "优势的正负", "学习目标")),
    ],
}  # fmt: skip

HARMLESS = {
    "check_safe_loss": {"target → value（第 2 处）"},  # 前面查过了，两者的形状相同
    "check_masked_entropy": {
        "1.0 → 2.0",  # 换成哪个正的数都行：那一支没有选中
    },
}
