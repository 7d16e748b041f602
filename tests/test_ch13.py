"""第 13 章的检查：每道题两种对的写法，和几种错的写法应得的提示；探针和病例真的坏在该坏的地方。"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib.course.ch07 import collect_one_batch
from ppo_lib.course.ch13 import (
    CASES,
    CAUGHT,
    CORRECT,
    DIAGNOSES,
    LEARNS,
    PROBES,
    TRACES,
    check_diagnosis,
    check_draw_noise,
    check_masked_entropy,
    check_safe_loss,
    check_traces,
    fit_critic,
    make_project,
    passes,
    run_probe,
    run_python,
    show_error,
)
from ppo_lib.course.experiment import patched
from ppo_lib.recorded import load_runs

# ---------------------------------------------------------------- 会诊


def test_the_diagnosis_is_right():
    assert check_diagnosis(dict(DIAGNOSES)).passed
    assert check_diagnosis(dict(reversed(DIAGNOSES.items()))).passed


def swapped(one, other):
    return DIAGNOSES | {one: DIAGNOSES[other], other: DIAGNOSES[one]}


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (swapped("甲", "丁"), "对了 3 个。病例甲"),
        (swapped("乙", "丙"), "解释方差"),
        (swapped("丙", "戊"), "同一份参数"),
        (swapped("丁", "戊"), "ln 2"),
        (DIAGNOSES | {"戊": "参数没有动"}, "学反了"),
        (DIAGNOSES | {"甲": ...}, "还有病例没有填"),
        (DIAGNOSES | {"甲": "学习率太大"}, "没有“学习率太大”"),
        ({"甲": "参数没有动"}, "五个病例各填一个"),
        (..., "换成你的答案"),
    ],
)
def test_the_diagnosis_is_wrong(answer, hint):
    verdict = check_diagnosis(answer)
    assert not verdict.passed and hint in verdict.message, verdict


def test_the_recorded_cases_are_the_cases():
    runs = load_runs("ch13_cases")
    assert list(runs.variant.values) == ["正常", *CASES, CORRECT] and runs.sizes["seed"] == 10
    assert float(runs["clip_frac"].sel(variant="甲").max()) == 0
    assert float(runs["approx_kl"].sel(variant="丁").max()) < 1e-6


# ---------------------------------------------------------------- 13.1


def with_assert(value, target):
    value = value[:, 0] if value.ndim == 2 else value
    assert value.shape == target.shape
    return ((value - target) ** 2).mean()


def with_reshape(value, target):
    if value.size != target.size or target.ndim != 1:
        raise ValueError("形状不对")
    return jnp.mean(jnp.square(value.reshape(target.shape) - target))


@pytest.mark.parametrize("answer", [with_assert, with_reshape])
def test_13_1_right(answer):
    assert check_safe_loss(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda v, t: ((v - t) ** 2).mean(), "广播成了 (batch, batch)"),
        (lambda v, t: ((v.squeeze() - t) ** 2).mean(), "没有报错"),
        (lambda v, t: ((v - t) ** 2).sum(), "求了和"),
        (lambda v, t: (v - t) ** 2, "求平均"),
        (lambda v, t: 0.5 * ((v - t) ** 2).mean(), "应当是"),
        (lambda v, t: None, "没有返回值"),
        (lambda v: v, "出错"),
    ],
)
def test_13_1_wrong(answer, hint):
    verdict = check_safe_loss(answer)
    assert not verdict.passed and hint in verdict.message, verdict


# ---------------------------------------------------------------- 13.2


def by_split(key, n):
    return jax.vmap(lambda k: jax.random.normal(k, (4,)))(jax.random.split(key, n))


def by_fold_in(key, n):
    return jnp.stack([jax.random.normal(jax.random.fold_in(key, i), (4,)) for i in range(n)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer", [by_split, by_fold_in, lambda key, n: jax.random.normal(key, (n, 4))]
)
def test_13_2_right(answer):
    assert check_draw_noise(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda key, n: jnp.stack([jax.random.normal(key, (4,))] * n), "每一行都一样"),
        (lambda key, n: by_split(jax.random.key(0), n), "换一把钥匙"),
        (lambda key, n: np.random.normal(size=(n, 4)), "不能重复"),
        (lambda key, n: by_split(key, n).T, "形状"),
        (lambda key, n: jnp.repeat(by_split(key, n)[:3], 2, axis=0)[:n], "有几行相同"),
        (
            lambda key, n: jax.random.normal(key, (n + 3,))[jnp.arange(n)[:, None] + jnp.arange(4)],
            "不独立",
        ),
        (
            lambda key, n: jax.random.uniform(key, (n, 4)),
            "标准正态",
        ),
        (lambda key, n: None, "没有返回值"),
    ],
)  # fmt: skip
def test_13_2_wrong(answer, hint):
    verdict = check_draw_noise(answer)
    assert not verdict.passed and hint.replace("不独立", "并不独立") in verdict.message, verdict


# ---------------------------------------------------------------- 13.3


def single_where(logits):
    p = jax.nn.softmax(logits)
    return -jnp.where(p > 0, p * jnp.log(p), 0.0).sum()


def double_where(logits):
    p = jax.nn.softmax(logits)
    return -jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1.0)), 0.0).sum()


def large_negative(logits):
    log_p = jax.nn.log_softmax(jnp.where(jnp.isfinite(logits), logits, -1e9))
    return -(jnp.exp(log_p) * log_p).sum()


@pytest.mark.parametrize("answer", [double_where, large_negative])
def test_13_3_right(answer):
    assert check_masked_entropy(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (single_where, "里面再套一个 where"),
        (lambda x: jnp.nan_to_num(single_where(x)), "里面再套一个 where"),
        (lambda x: -(jax.nn.softmax(x) * jax.nn.log_softmax(x)).sum(), "0 × (-∞)"),
        (lambda x: -double_where(x), "符号反了"),
        (lambda x: double_where(jnp.where(jnp.isfinite(x), x, 0.0)), "概率必须是 0"),
        (lambda x: jax.lax.stop_gradient(double_where(x)), "差分"),
        (lambda x: None, "没有返回值"),
    ],
)
def test_13_3_wrong(answer, hint):
    verdict = check_masked_entropy(answer)
    assert not verdict.passed and hint in verdict.message, verdict


# ---------------------------------------------------------------- 13.4


@pytest.mark.parametrize(
    "answer", [{"A": 1, "B": 3, "C": 2, "D": 3, "E": 3}, {k: float(v) for k, v in TRACES.items()}]
)  # fmt: skip
def test_13_4_right(answer):
    assert check_traces(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (TRACES | {"A": 3}, "值不同"),
        (TRACES | {"B": 1}, "长度"),
        (TRACES | {"C": 1}, "弱类型"),
        (TRACES | {"C": 3}, "弱类型"),
        (TRACES | {"D": 1}, "常数"),
        (TRACES | {"E": 1}, "lambda"),
        (TRACES | {"E": ...}, "还没有填"),
        ({"A": 1}, "各填一个次数"),
    ],
)
def test_13_4_wrong(answer, hint):
    verdict = check_traces(answer)
    assert not verdict.passed and hint in verdict.message, verdict


# ---------------------------------------------------------------- 页面用的函数


def test_show_error_prints_the_type_and_no_address(capsys):
    show_error(jax.jit(lambda x: 1 if x > 0 else 0), 1.0)
    text = capsys.readouterr().out
    assert text.startswith("TracerBoolConversionError") and "http" not in text
    assert __file__ not in text


def test_scripts_find_modules_next_to_themselves(tmp_path):
    make_project(tmp_path)
    assert run_python("ppo_discrete.py", folder=tmp_path) == "找到了"
    assert "ModuleNotFoundError" in run_python("algos/ppo_discrete.py", folder=tmp_path)
    found = run_python("algos/ppo_discrete.py", folder=tmp_path, pythonpath=str(tmp_path))
    assert found == "找到了"


@pytest.mark.slow
def test_the_broadcast_loss_learns_the_mean_on_the_probe():
    np.testing.assert_allclose(run_probe("RewardIsObs-probe"), [[1, -1]] * 2, atol=0.02)
    with patched(CASES["乙"]):
        np.testing.assert_allclose(run_probe("RewardIsObs-probe"), 0, atol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "level"),
    [(case, level) for case in CASES for level in (range(1, 8) if case != "丁" else (1,))],
)
def test_the_ladder_catches_what_the_page_says(case, level):
    with patched(CASES[case]):
        assert passes(list(PROBES)[level - 1]) == (level not in CAUGHT[case])


@pytest.mark.slow
def test_a_critic_alone_learns_a_frozen_rollout_unless_its_loss_broadcasts():
    batch = collect_one_batch(LEARNS, update=0).batch
    assert fit_critic(LEARNS, batch)[-1] > 0.4
    with patched(CASES["乙"]):
        assert abs(fit_critic(LEARNS, batch)[-1]) < 0.05
