"""第 14 章的检查：每道题两种对的写法，和几种错的写法应得的提示。"""

import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib.course.ch14 import (
    CHANGES,
    ORDER,
    check_batch_normalize,
    check_compare,
    check_diagnosis,
    check_keys,
    check_order,
    check_predictions,
    check_printed,
    check_sources,
    judge_predictions,
)
from ppo_lib.course.comparison import compare
from ppo_lib.statistics import difference_interval, iqm

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


def fails(verdict, hint):
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize("answer", [KEYS, dict(reversed(KEYS.items()))])
def test_14_1_right(answer):
    assert check_keys(answer).passed


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({4: "gae_lambda", 5: "gamma"}, "打折"),
        ({1: "gamma", 4: "ent_coef"}, "随机"),
        ({3: "max_grad_norm", 6: "num_envs"}, "形状"),
        ({2: "gamma", 4: "bootstrap_truncation"}, "超时"),
        ({6: "clip_eps"}, "不在题目"),
    ],
)
def test_14_1_wrong(change, hint):
    fails(check_keys(KEYS | change), hint)


def test_14_1_incomplete():
    fails(check_keys({1: "ent_coef"}), "都要填")


@pytest.mark.parametrize("answer", [ORDER, tuple(ORDER)])
def test_14_2_right(answer):
    assert check_order(answer).passed


@pytest.mark.parametrize(
    ("swap", "hint"),
    [
        (("采样", "优势"), "之前"),
        (("优势", "小批次"), "打乱"),
        (("缩短梯度", "优化器"), "Adam"),
        (("价值", "优势"), "V"),
    ],
)
def test_14_2_wrong(swap, hint):
    order = list(ORDER)
    i, j = map(order.index, swap)
    order[i], order[j] = order[j], order[i]
    fails(check_order(order), hint)


def test_14_2_incomplete():
    fails(check_order(ORDER[:-1]), "各用一次")


@pytest.mark.parametrize("answer", [SOURCES, dict(sorted(SOURCES.items()))])
def test_14_3_right(answer):
    assert check_sources(answer).passed


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"policy_ratio": "P7", "clipped_objective": "P6"}, "policy_ratio 不是"),
        ({"td_error": "G16", "calculate_gae": "S"}, "td_error 不是"),
        ({"adam_step": "P9"}, "adam_step 不是"),
        ({"ppo_loss": "7"}, "不是给出的代号"),
    ],
)
def test_14_3_wrong(change, hint):
    fails(check_sources(SOURCES | change), hint)


@pytest.mark.parametrize("answer", [DIAGNOSIS, dict(reversed(DIAGNOSIS.items()))])
def test_14_4_right(answer):
    assert check_diagnosis(answer).passed


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"甲": "lr"}, "熵"),
        ({"乙": "clip_eps"}, "没有动过"),
        ({"丙": "gae_lambda"}, "Critic"),
    ],
)
def test_14_4_wrong(change, hint):
    fails(check_diagnosis(DIAGNOSIS | change), hint)


@pytest.mark.parametrize("answer", [GUESS, dict.fromkeys(CHANGES, "变好")])
def test_14_5_right(answer):
    assert check_predictions(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (GUESS | {"gamma = 0.9": "不变"}, "只能填"),
        ({"gamma = 0.9": "变好"}, "都要猜"),
        (dict.fromkeys(CHANGES, "看不出差别"), "等于没有猜"),
    ],
)
def test_14_5_wrong(answer, hint):
    fails(check_predictions(answer), hint)


def test_predictions_are_judged_by_the_interval_of_the_difference():
    rng = np.random.default_rng(0)
    scores = {"默认": rng.normal(200, 20, 10)}
    for name, mean in zip(CHANGES, (100, 200, 201, 199, 300)):
        scores[name] = rng.normal(mean, 20, 10)
    found = [row[2] for row in judge_predictions(GUESS, scores)]
    assert found[0] == "变差" and found[4] == "变好" and "看不出差别" in found[1:4]


def test_predictions_are_judged_together():
    """差刚刚显得出来的一种：单独比是“变好”，五种一起比，修正后看不出差别。"""
    base = np.arange(10.0)
    scores = {"默认": base} | {name: base + 0.1 for name in CHANGES}
    scores["update_epochs = 4"] = base + 3.75
    alone = compare({"一种": (scores["update_epochs = 4"], base)})["一种"]
    assert alone.verdict == "变好"
    assert judge_predictions(GUESS, scores)[-1][2] == "看不出差别"


@pytest.mark.parametrize("answer", [(1, 0, 1), (jnp.float32(1), np.float32(-1e-6), 0.9999)])
def test_14_6_right(answer):
    assert check_printed(*answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((0.0, 0, 1), "取指数"),
        ((1.3, 0, 1), "处处相同"),
        ((1, 4.2, 1), "平均应当是 0"),
        ((1, 0, 7.0), "标准差应当是 1"),
        ((..., 0, 1), "换成你的答案"),
    ],
)
def test_14_6_wrong(answer, hint):
    fails(check_printed(*answer), hint)


def flat(a):
    values = a.reshape(-1)
    return ((values - values.mean()) / (jnp.sqrt(values.var()) + 1e-8)).reshape(a.shape)


@pytest.mark.parametrize("answer", [lambda a: (a - a.mean()) / (a.std() + 1e-8), flat])
def test_14_7_right(answer):
    assert check_batch_normalize(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda a: (a - a.mean(0)) / (a.std(0) + 1e-8), "每个环境"),
        (lambda a: (a - a.mean(1, keepdims=True)) / (a.std(1, keepdims=True) + 1e-8), "每一步"),
        (lambda a: a - a.mean(), "没有除以"),
        (lambda a: a / a.std(), "没有减"),
        (lambda a: (a - a.mean()) / a.var(), "方差"),
        (lambda a: (a - a.mean()) / a.std(), "NaN"),
        (lambda a: ((a - a.mean()) / a.std()).reshape(-1), "形状"),
        (lambda a: None, "没有返回值"),
        (lambda a: a * 0, "减去整批"),
    ],
)
def test_14_7_wrong(answer, hint):
    fails(check_batch_normalize(answer), hint)


def with_loop(ours, base):
    rng = np.random.default_rng(7)
    draws = [
        iqm(rng.choice(ours, len(ours))) - iqm(rng.choice(base, len(base))) for _ in range(2000)
    ]
    return (iqm(ours) - iqm(base), *np.quantile(draws, [0.025, 0.975]))


def one_sided(ours, base):
    difference, low, high = difference_interval(ours, base)
    return difference, difference - (difference - low) / 3, difference + (high - difference) / 3


@pytest.mark.slow
@pytest.mark.parametrize("answer", [difference_interval, with_loop])
def test_14_8_right(answer):
    assert check_compare(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda a, b: difference_interval(b, a), "正负反了"),
        (lambda a, b: (a.mean() - b.mean(), -1e3, 1e3), "平均值"),
        (one_sided, "太窄"),
        (lambda a, b: (difference_interval(a, b)[0], -500.0, 500.0), "太宽"),
        (lambda a, b: (difference_interval(a, b)[0], 900.0, 901.0), "之间"),
        (lambda a, b: difference_interval(a, b)[0], "出错"),
        (lambda a, b: None, "三个数"),
    ],
)
def test_14_8_wrong(answer, hint):
    fails(check_compare(answer), hint)
