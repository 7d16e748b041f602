"""第 16 章的答案。"""

import jax.numpy as jnp
import numpy as np
from scipy import stats

from ppo_lib.course.ch16 import CHANGES, ORDER
from ppo_lib.loss import normalize
from ppo_lib.statistics import difference_interval, iqm, resampled_differences

KEYS = {
    1: "ent_coef",
    2: "bootstrap_truncation",
    3: "num_envs",
    4: "gamma",
    5: "gae_lambda",
    6: "max_grad_norm",
}
SOURCES = {
    "td_error": "S",
    "calculate_gae": "G16",
    "policy_ratio": "P6",
    "clipped_objective": "P7",
    "ppo_loss": "P9",
    "adam_step": "A1",
}
DIAGNOSIS = {"甲": "ent_coef", "乙": "lr", "丙": "vf_coef"}
GUESS = dict.fromkeys(CHANGES, "看不出差别") | {"lr = 0.0001": "变差"}


def backwards(answers):
    return dict(reversed(answers.items()))


def swapped(one, other):
    order = list(ORDER)
    i, j = order.index(one), order.index(other)
    order[i], order[j] = order[j], order[i]
    return order


# ---------------------------------------------------------------- 14.7


def flat(advantage):
    values = advantage.reshape(-1)
    scaled = (values - values.mean()) / (jnp.sqrt(values.var()) + 1e-5)
    return scaled.reshape(advantage.shape)


def in_numpy(advantage):
    advantage = np.asarray(advantage, float)
    std = advantage.std()
    return np.zeros_like(advantage) if std == 0 else (advantage - advantage.mean()) / std


def in_lists(advantage):
    values = [float(x) for row in advantage for x in row]
    mean = sum(values) / len(values)
    std = (sum((x - mean) ** 2 for x in values) / len(values)) ** 0.5
    return [[(float(x) - mean) / (std + 1e-6) for x in row] for row in advantage]


# ---------------------------------------------------------------- 14.8


def with_loop(ours, base):
    rng = np.random.default_rng(7)
    draws = [
        iqm(rng.choice(ours, len(ours))) - iqm(rng.choice(base, len(base))) for _ in range(2000)
    ]
    return (iqm(ours) - iqm(base), *np.quantile(draws, [0.025, 0.975]))


def from_one_seed(ours, base):
    """每一组各造一个种子相同的随机数发生器。"""

    def draw(x):
        rng = np.random.default_rng(0)
        return np.array([iqm(rng.choice(x, len(x))) for _ in range(2000)])

    low, high = np.quantile(draw(ours) - draw(base), [0.025, 0.975])
    return iqm(ours) - iqm(base), low, high


def from_draws(center):
    """差也由重抽的来。"""

    def compare(ours, base):
        draws = resampled_differences(ours, base, draws=2000)
        return center(draws), *np.quantile(draws, [0.025, 0.975])

    return compare


def with_scipy(ours, base, method="percentile"):
    def difference(ours, base, axis=-1):
        return iqm(ours, axis=axis) - iqm(base, axis=axis)

    rng = np.random.default_rng(0)
    found = stats.bootstrap(
        (ours, base), difference, n_resamples=2000, method=method, random_state=rng
    )
    return [difference(ours, base), *found.confidence_interval]


def with_scipy_default(ours, base):
    return with_scipy(ours, base, method="BCa")


def by_hand(ours, base):
    rng = np.random.default_rng(3)

    def middle(x):  # (..., seeds) → (...)
        cut = x.shape[-1] // 4
        return np.sort(x)[..., cut : x.shape[-1] - cut].mean(-1)

    one, other = (middle(rng.choice(x, (2000, len(x)))) for x in (ours, base))
    draws = np.sort(one - other)
    return middle(ours) - middle(base), draws[50], draws[-50]


def symmetric(ours, base):
    """对称的区间：差加减宽度的一半。"""
    _, low, high = difference_interval(ours, base)
    center, half = iqm(ours) - iqm(base), (high - low) / 2
    return np.array([center, center - half, center + half])


RIGHT = {
    "check_keys": [(KEYS,), (backwards(KEYS),), tuple(KEYS.values())],
    "check_order": [(ORDER,), (tuple(ORDER),), (np.array(ORDER),), tuple(ORDER)],
    "check_sources": [(SOURCES,), (dict(sorted(SOURCES.items())),)],
    "check_diagnosis": [(DIAGNOSIS,), (backwards(DIAGNOSIS),), ("ent_coef", "lr", "vf_coef")],
    "check_predictions": [(GUESS,), (dict.fromkeys(CHANGES, "变好"),)],
    "check_report": [({3, 5, 7, 8, 10},), ([10, 8, 7, 5, 3],), (np.array([3, 5, 7, 8, 10]),)],
    "check_batch_normalize": [normalize, flat, in_numpy, in_lists],
    "check_compare": [with_loop, with_scipy, with_scipy_default, by_hand, symmetric, lambda ours, base: difference_interval(ours, base)],
}  # fmt: skip

REMINDED = {
    "check_batch_normalize": [
        (lambda a: jnp.nan_to_num((a - a.mean()) / a.std()), "把 NaN 换成了 0"),
        (lambda a: jnp.where(a.std() > 0, (a - a.mean()) / a.std(), 0), "把 NaN 换成了 0"),
    ]
}

WRONG = {
    "check_keys": [
        ((KEYS | {4: "gae_lambda", 5: "gamma"},), "打折"),
        ((KEYS | {1: "gamma", 4: "ent_coef"},), "随机"),
        ((KEYS | {3: "max_grad_norm", 6: "num_envs"},), "形状"),
        ((KEYS | {2: "num_envs", 3: "bootstrap_truncation"},), "超时"),
        ((KEYS | {6: "clip_eps"},), "不在选项里"),
        (({1: "ent_coef"},), "少了"),
    ],
    "check_order": [
        ((swapped("采样", "优势"),), "之前"),
        ((swapped("优势", "小批次"),), "打乱"),
        ((swapped("缩短梯度", "优化器"),), "Adam"),
        ((swapped("价值", "优势"),), "V"),
        ((ORDER[:-1],), "各用一次"),
        ((set(ORDER),), "集合没有次序"),
        ((frozenset(ORDER),), "集合没有次序"),
    ],
    "check_sources": [
        ((SOURCES | {"policy_ratio": "P7", "clipped_objective": "P6"},), "policy_ratio：不是"),
        ((SOURCES | {"td_error": "G16", "calculate_gae": "S"},), "td_error：不是"),
        ((SOURCES | {"adam_step": "P9"},), "adam_step：不是"),
        ((SOURCES | {"ppo_loss": "7"},), "不在选项里"),
    ],
    "check_diagnosis": [
        ((DIAGNOSIS | {"甲": "lr"},), "熵"),
        ((DIAGNOSIS | {"乙": "clip_eps"},), "没有动过"),
        ((DIAGNOSIS | {"丙": "gae_lambda"},), "Critic"),
        ((DIAGNOSIS | {"乙": "learning_rate"},), "不在选项里"),
    ],
    "check_predictions": [
        ((GUESS | {"gamma = 0.9": "不变"},), "不在选项里"),
        (({"gamma = 0.9": "变好"},), "少了"),
        ((GUESS | {"gamma = 0.9": ...},), "换成你的答案"),
        ((dict.fromkeys(CHANGES, "看不出差别"),), "等于没有猜"),
    ],
    "check_report": [
        (({3, 5, 7, 8},), "几处"),
        (({3, 5, 8, 10},), "哪一个区间"),
        (({3, 5, 6, 7, 8, 10},), "各自重抽"),
        (({4, 5, 7, 8, 10},), "同样的种子"),
        ((3,), "种子"),
        (({11},), "不在选项里"),
    ],
    "check_batch_normalize": [
        (lambda a: ((a - a.mean()) / a.std()).reshape(-1), "形状"),
        (lambda a: (a - a.mean(0)) / a.std(0), "应当是 0"),
        (lambda a: a * 0, "不管输入是什么"),
        (lambda a: 2 * normalize(a), "2 倍"),
        (lambda a: a.sum() and None, "没有返回值"),
    ],
    "check_compare": [
        (lambda ours, base: (difference_interval(ours, base)[0], -500.0, 500.0), "下界"),
        (lambda ours, base: difference_interval(ours, base)[0], "你只返回了“差”"),
        (lambda ours, base: difference_interval(ours, base)[1:], "少了差"),
        (lambda ours, base: (iqm(ours) - iqm(base), 900.0, 901.0), "下界"),
        (from_one_seed, "随机数发生器"),
        *((from_draws(center), "差不用重抽") for center in (np.mean, np.median)),
        (lambda ours, base: print(difference_interval(ours, base)), "print"),
        (lambda ours: difference_interval(ours, ours), "你的函数收 1 个"),
    ],
}  # fmt: skip

HARMLESS = {
    "check_batch_normalize": {
        # 一样小；全部相等时，0 除以它还是 0
        "1e-08 → -1e-08",
        "advantage.std() + 1e-08 → advantage.std() - 1e-08",
    }
}
