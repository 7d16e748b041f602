"""第 11 章的检查：每道题两种对的写法，和几种错的写法应得的提示；病历和检查名副其实。"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib.course.ch11 import (
    CHECKS,
    EXAM,
    EXPERIMENTS,
    FAULTS,
    NAMES,
    RATIO,
    TARGET,
    VITALS,
    V,
    check_by_hand,
    check_exam,
    check_masked_mean,
    check_running,
    cosine_with_average,
    losses_in_one_update,
    recomputed_gradients,
    try_alarm,
)
from ppo_lib.course.experiment import patched
from ppo_lib.diagnostics import clip_frac, explained_variance, masked_mean
from ppo_lib.recorded import load_runs

RIGHT = {"K": "explained_variance", "L": "approx_kl", "M": "value_loss"}


@pytest.mark.parametrize("answer", [RIGHT, dict(reversed(RIGHT.items()))])
def test_11_1_right(answer):
    assert check_exam(answer).passed


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"K": "return"}, "不说是什么病"),
        ({"K": "value_loss"}, "只猜平均值"),
        ({"L": "entropy"}, "最左边"),
        ({"M": "grad_norm"}, "不超过 9"),
        ({"M": "explained_variance"}, "不超过 9"),
        ({"L": "kl"}, "不在七个指标里"),
        ({"L": ...}, "还没有填"),
    ],
)
def test_11_1_wrong(change, hint):
    verdict = check_exam(RIGHT | change)
    assert not verdict.passed and hint in verdict.message, verdict


def test_11_1_incomplete():
    assert "K、L、M" in check_exam({"K": "entropy"}).message
    assert "K、L、M" in check_exam("explained_variance").message


@pytest.mark.parametrize("answer", [(3 / 6, 1 / 6, 0.75), (np.float32(0.5), 0.167, 3 / 4)])
def test_11_2_right(answer):
    assert check_by_hand(*answer).passed


def test_11_2_agrees_with_the_library():
    assert np.isclose(clip_frac(RATIO, 0.2), 3 / 6)
    assert np.isclose(explained_variance(V, TARGET), 0.75)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((3, 1 / 6, 0.75), "除以 6"),
        ((1 / 6, 1 / 6, 0.75), "不看优势"),
        ((2 / 6, 1 / 6, 0.75), "两侧"),
        ((5 / 6, 1 / 6, 0.75), "都在界内"),
        ((0.9, 1 / 6, 0.75), "数一数"),
        ((3 / 6, 3 / 6, 0.75), "往回拉"),
        ((3 / 6, 2 / 6, 0.75), "那张表"),
        ((3 / 6, 1 / 6, -1.5), "平方的平均"),
        ((3 / 6, 1 / 6, 0.25), "用 1 去减"),
        ((3 / 6, 1 / 6, 0.8), "目标的方差"),
        ((3 / 6, 1 / 6, 0.1), "先算误差"),
        ((3 / 6, ..., 0.75), "换成你的答案"),
    ],
)
def test_11_2_wrong(answer, hint):
    verdict = check_by_hand(*answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize(
    "answer",
    [
        masked_mean,
        lambda x, mask: jnp.where(mask.any(), (x * mask).sum() / mask.sum(), jnp.nan),
        lambda x, mask: jnp.sum(x, where=mask) / mask.sum(),
        lambda x, mask: x[mask].mean() if mask.any() else jnp.nan,
    ],
)
def test_11_3_right(answer):
    assert check_masked_mean(answer).passed


def test_11_3_says_when_it_cannot_be_compiled():
    verdict = check_masked_mean(lambda x, mask: x[mask].mean() if mask.any() else jnp.nan)
    assert verdict.passed and "编译" in verdict.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda x, mask: x.mean(), "全部位置"),
        (lambda x, mask: jnp.where(mask, x, 0).mean(), "除以 4"),
        (lambda x, mask: jnp.where(mask, x, 0).sum(), "没有除以个数"),
        (lambda x, mask: jnp.where(mask, x, 0).sum() / jnp.maximum(mask.sum(), 1), "满分"),
        (lambda x, mask: jnp.where(mask.any(), 15.0, -1.0), "应当是 NaN"),
        (lambda x, mask: jnp.where(mask, x, 0), "要一个数"),
        (lambda x, mask: None, "没有返回值"),
        (lambda x: x, "出错"),
    ],
)
def test_11_3_wrong(answer, hint):
    verdict = check_masked_mean(answer)
    assert not verdict.passed and hint in verdict.message.replace("还没有除以", "没有除以"), (
        verdict
    )


def by_hand(running, grad, decay):
    norms = np.sqrt((running**2).sum() * (grad**2).sum())
    return (0.0 if norms == 0 else (running * grad).sum() / norms), grad + decay * (
        running - grad
    )


def with_norm(running, grad, decay):
    a, b = np.linalg.norm(running), np.linalg.norm(grad)
    cosine = running @ grad / (a * b) if a and b else 0.0
    return float(cosine), decay * running + (1 - decay) * grad


@pytest.mark.parametrize("answer", [by_hand, with_norm])
def test_11_4_right(answer):
    assert check_running(answer).passed


def included(running, grad, decay):
    new = decay * running + (1 - decay) * grad
    return with_norm(new, grad, decay)[0], new


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (included, "先更新、再比"),
        (lambda r, g, d: (r @ g, d * r + (1 - d) * g), "没有除以"),
        (lambda r, g, d: (by_hand(r, g, d)[0], g), "两项都要有"),
        (lambda r, g, d: (by_hand(r, g, d)[0], d * g + (1 - d) * r), "乘错了"),
        (lambda r, g, d: (-by_hand(r, g, d)[0], by_hand(r, g, d)[1]), "内积"),
        (lambda r, g, d: by_hand(r, g, d)[0], "两样"),
        (
            lambda r, g, d: (
                r @ g / np.float64(np.linalg.norm(r)) / np.linalg.norm(g),
                by_hand(r, g, d)[1],
            ),
            "0 除以 0",
        ),
        (lambda r, g, d: None, "没有返回值"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_11_4_wrong(answer, hint):
    verdict = check_running(answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_average_that_contains_the_gradient_has_a_floor(decay):
    noise = np.random.default_rng(1).normal(size=(300, 2000))
    biased = cosine_with_average(noise, decay, include=True)
    assert biased[0] == pytest.approx(1) and np.isclose(
        biased[100:].mean(), np.sqrt(1 - decay**2), atol=0.01
    )
    honest = cosine_with_average(noise, decay, include=False)
    assert honest[0] == 0 and abs(honest[100:].mean()) < 0.01


def test_every_case_has_a_name_and_a_check():
    assert set(CHECKS) == set(FAULTS) == set("ABCDEFGHIJ")
    assert set(NAMES) == set(FAULTS) | set(EXAM)
    assert set(VITALS) < set(EXPERIMENTS["zoo"].metrics)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FAULTS))
def test_checks_pass_in_the_library_and_fail_in_the_fault(name):
    assert CHECKS[name]()
    with patched(FAULTS[name]):
        assert not CHECKS[name]()


def test_alarm_sees_half_of_training_and_no_return():
    zoo = load_runs("ch11_zoo")
    seen = []

    def alarm(m):
        seen.append(m)
        return m["grad_norm"].max() > 1e4

    share = try_alarm(alarm, zoo)
    assert share["J"] == 1 and share["健康"] == 0
    assert "return" not in seen[0] and seen[0]["approx_kl"].shape == (12,)


@pytest.mark.slow
def test_first_step_of_an_update():
    steps = losses_in_one_update(EXPERIMENTS["zoo"].base, update=1)
    assert steps["actor_loss"].shape == (8,)
    assert abs(steps["actor_loss"][0]) < 1e-6 and abs(steps["approx_kl"][0]) < 1e-6
    assert np.abs(steps["actor_loss"][1:]).max() > 1e-6


def test_library_functions_are_restored():
    import ppo_lib.loss

    before = ppo_lib.loss.clipped_objective
    with patched(FAULTS["A"]):
        assert ppo_lib.loss.clipped_objective is not before
    assert ppo_lib.loss.clipped_objective is before
    assert jax.grad(before)(1.0, 1.0, 0.2) > 0


def test_recomputed_log_probs_keep_the_gradient_only_when_the_old_ones_are_cut():
    kept, gone = recomputed_gradients()
    assert kept > 0.01 and gone == 0
