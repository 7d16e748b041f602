"""第 13 章：探针和病例真的坏在该坏的地方；参考答案的导数与差分一致。"""

import jax
import numpy as np
import pytest

from ppo_lib.advantage import calculate_gae
from ppo_lib.course.ch07 import collect_one_batch
from ppo_lib.course.ch13 import (
    CASES,
    CAUGHT,
    CORRECT,
    LEARNS,
    PROBES,
    check_masked_entropy,
    fit_critic,
    gae_in_numpy,
    make_project,
    masked_entropy,
    passes,
    run_probe,
    run_python,
    show_error,
)
from ppo_lib.course.experiment import patched
from ppo_lib.recorded import load_runs

# ---------------------------------------------------------------- 病例


def test_the_recorded_cases_are_the_cases():
    runs = load_runs("ch13_cases")
    assert list(runs.variant.values) == ["正常", *CASES, CORRECT] and runs.sizes["seed"] == 10
    assert float(runs["clip_frac"].sel(variant="甲").max()) == 0
    assert float(runs["approx_kl"].sel(variant="丁").max()) < 1e-6


# ---------------------------------------------------------------- 练习的参考答案


def entropy_of_the_possible(logits):
    """把选不了的动作（logit 是 -∞）直接去掉以后的熵，float64。"""
    logits = np.asarray(logits, np.float64)
    logits = logits[np.isfinite(logits)]
    p = np.exp(logits - logits.max())
    p = p[p > 0] / p.sum()
    return -(p * np.log(p)).sum()


@pytest.mark.parametrize("case", check_masked_entropy.cases)
def test_the_masked_entropy_and_its_gradient_agree_with_finite_differences(case):
    (logits,) = case
    assert float(masked_entropy(logits)) == pytest.approx(
        entropy_of_the_possible(logits), abs=1e-5
    )
    grad = np.asarray(jax.grad(masked_entropy)(logits))
    for i, step in enumerate(0.01 * np.eye(len(logits))):
        x = np.asarray(logits, np.float64)
        after, before = entropy_of_the_possible(x + step), entropy_of_the_possible(x - step)
        assert grad[i] == pytest.approx((after - before) / 0.02, abs=1e-3)


def test_both_right_gaes_agree():
    rng = np.random.default_rng(0)
    reward, value, next_value = rng.normal(size=(3, 7, 3))
    terminated, truncated = rng.random((2, 7, 3)) < 0.2
    inputs = reward, value, next_value, terminated, truncated, 0.9, 0.8
    for one, other in zip(gae_in_numpy(*inputs), calculate_gae(*inputs)):
        np.testing.assert_allclose(one, other, atol=1e-5)


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
