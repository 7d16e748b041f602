"""第 11 章：病历和检查名副其实；含着自己的余弦有底；报警器只看前一半、不看回报。"""

import jax
import numpy as np
import pytest

from ppo_lib.course.ch11 import (
    CHECKS,
    EXAM,
    EXPERIMENTS,
    FAULTS,
    NAMES,
    VITALS,
    cosine_with_average,
    losses_in_one_update,
    recomputed_gradients,
    try_alarm,
)
from ppo_lib.course.experiment import patched
from ppo_lib.recorded import load_runs


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


@pytest.mark.slow
def test_recomputed_log_probs_keep_the_gradient_only_when_the_old_ones_are_cut():
    kept, gone = recomputed_gradients()
    assert kept > 0.01 and gone == 0
