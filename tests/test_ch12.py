"""第 12 章：奖励整形的性质、逐轮淘汰的预算、比较的误报。"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import sweep
from ppo_lib.course import ch10, ch12
from ppo_lib.course.experiment import patched
from ppo_lib.statistics import difference_interval


def test_halving_uses_the_budget_that_the_page_names():
    used = []

    class Counting(np.ndarray):
        def mean(self, **kw):
            used.append(len(self))
            return np.asarray(self).mean(**kw)

    assert ch12.halve(np.zeros((14, 5)).view(Counting))[1] == 3 and sum(used) == 24


def test_searching_among_equals_is_worth_nothing_and_among_unequals_much():
    noise = np.random.default_rng(0).normal(size=(200, 5))
    seen, later = ch10.search(noise, cells=24, seeds=1, trials=300)
    assert seen > 1.5 and abs(later) < 0.2
    apart = noise + 100 * np.arange(200)[:, None]
    seen, later = ch12.search_by_halving(apart, cells=14, trials=300)
    assert seen == pytest.approx(later, abs=1) and later > 17_000


def test_false_alarms_of_a_real_difference():
    """同一份配置时误报少；两组完全分开时，差的区间不含 0。"""
    scores = np.random.default_rng(0).normal(size=60)
    assert 0.01 < ch12.false_alarms(scores, trials=60) < 0.25
    assert difference_interval(scores[:10] + 9, scores[10:20])[1] > 0


def test_holm_holds_the_alarms_of_a_family_of_useless_changes():
    scores = np.random.default_rng(0).normal(size=100)
    raw, adjusted = ch12.family_alarms(scores, trials=80)
    assert raw > 0.15 > adjusted


def test_every_change_is_compared_once():
    found = ch12.all_differences()
    assert {task: len(rows) for task, rows in found.items()} == {
        "CartPole": 14,
        "MountainCar": 10,
    }
    assert found["CartPole"]["lr = 0.05"].verdict == "变好"


@pytest.mark.parametrize(
    ("shaping", "expected"),
    [
        (ch12.position_potential_shaping, (-100.0, 0.0)),
        (ch12.energy_keep_terminal_from_the_top, (-100.0, 0.0)),
        (ch12.energy_from_the_valley, (0.0, 100.0)),
        (ch12.constant_shaping, (-100.0, -100.0)),
    ],
)
def test_the_matched_shapings_have_the_same_range(shaping, expected):
    """γ = 1、从谷底到坡顶（都静止）：多出的奖励就是两处势之差；终止时按各自的约定。"""

    class State:
        def __init__(self, position):
            self.position, self.velocity = jnp.float32(position), jnp.float32(0)

    valley, top = State(-np.pi / 6), State(np.pi / 6)
    low, high = expected
    assert float(shaping(valley, top, jnp.bool_(False), 1.0)) == pytest.approx(
        high - low, abs=1e-3
    )
    last = high if shaping is ch12.energy_keep_terminal_from_the_top else 0
    assert float(shaping(valley, top, jnp.bool_(True), 1.0)) == pytest.approx(
        last - low, abs=1e-3
    )


@pytest.mark.slow
def test_the_replaced_shaping_reaches_the_training():
    """换上的整形进得了训练，出来时恢复原样；报告的回报不受影响。"""
    cfg = dataclasses.replace(
        ch12.GUIDE, total_timesteps=8192, num_seeds=1, reward_shaping="position"
    )
    with patched(ch12.replaced_shaping(ch12.energy_itself)):
        hacked = sweep(cfg, progress=False)
    with patched(ch12.WITH_REWARD):
        plain = sweep(cfg, progress=False)
    assert float(hacked["learning_reward"].min()) > float(plain["learning_reward"].max())
    assert np.allclose(plain["learning_reward"], -1, atol=1e-3)
    assert np.nanmax(hacked["return"]) == -200
    assert "learning_reward" not in sweep(cfg, progress=False)


def test_shaping_telescopes():
    """一段不终止的路上，打折的和只看首尾；终止时只看起点。"""
    from ppo_lib.envs import energy_potential, energy_shaping

    class State:
        def __init__(self, position, velocity):
            self.position, self.velocity = jnp.float32(position), jnp.float32(velocity)

    path = [State(*point) for point in ch12.LOOP]
    potential = [float(energy_potential(state)) - 100 for state in path]
    for ends in (False, True):
        total = sum(
            0.99**t
            * float(energy_shaping(path[t], path[t + 1], jnp.bool_(ends and t == 3), 0.99))
            for t in range(4)
        )
        last = 0.0 if ends else 0.99**4 * potential[-1]
        assert total == pytest.approx(last - potential[0], abs=1e-3)
