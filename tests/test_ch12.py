"""第 12 章的检查：每道题至少两种对的写法，错的写法得到说中原因的提示；整形和滑动梯度的性质。"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import sweep
from ppo_lib.course import ch10, ch12
from ppo_lib.course.ch12 import (
    check_biased_cosine,
    check_halving,
    check_my_shaping,
    check_potential_based,
)
from ppo_lib.course.experiment import patched
from ppo_lib.statistics import difference_interval


@pytest.mark.parametrize("answer", [{1, 3, 5}, [5, 3, 1], np.array([1, 3, 5])])
def test_12_1_right(answer):
    assert check_potential_based(answer).passed


def test_12_1_agrees_with_the_loop():
    closed = {i for i, shaping in ch12.SHAPINGS.items() if abs(ch12.loop_sum(shaping)) < 1e-12}
    assert check_potential_based(closed).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({2, 4}, "反了"),
        ({1, 2, 3, 5}, "来回走"),
        ({1, 3, 4, 5}, "没有减去出发的"),
        ({1, 3}, "任何函数"),
        ({1, 5}, "同一个函数"),
        ({3, 5}, "Φ = x"),
        ({0}, "1 到 5"),
        (..., "换成你的答案"),
    ],
)
def test_12_1_wrong(answer, hint):
    verdict = check_potential_based(answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize(
    "answer",
    [
        lambda p, q, ended, gamma: gamma * jnp.where(ended, 0.0, q) - p,
        lambda p, q, ended, gamma: gamma * q * (1 - np.asarray(ended)) - p,
        lambda p, q, ended, gamma: jnp.where(ended, -p, gamma * q - p),
    ],
)
def test_12_2_right(answer):
    assert check_my_shaping(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda p, q, e, g: g * q - p, "取 0"),
        (lambda p, q, e, g: q * ~e - p, "忘了乘 γ"),
        (lambda p, q, e, g: q - p, "也没有取 0"),
        (lambda p, q, e, g: p - g * q * ~e, "符号反了"),
        (lambda p, q, e, g: q * ~e - g * p, "乘错了地方"),
        (lambda p, q, e, g: g * (q * ~e - p), "前一个不乘"),
        (lambda p, q, e, g: (g * q - p) * ~e, "整项"),
        (lambda p, q, e, g: g * q * e - p, "反了"),
        (lambda p, q, e, g: (g * q - p).sum(), "形状"),
        (lambda p, q, e, g: p * 0, "逐步算"),
        (lambda p, q, e, g: None, "没有返回值"),
        (lambda p, q: p, "出错"),
    ],
)
def test_12_2_wrong(answer, hint):
    verdict = check_my_shaping(answer)
    assert not verdict.passed and hint in verdict.message, verdict


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


@pytest.mark.parametrize("answer", [by_index, by_rows, lambda table: ch12.halve(table)[0]])
def test_12_3_right(answer):
    assert check_halving(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (ch12.WRONG_HALVINGS[0][0], "留反了"),
        (ch12.WRONG_HALVINGS[1][0], "不只用新加的"),
        (ch12.WRONG_HALVINGS[2][0], "全部种子"),
        (lambda t: t[:, 0].argmax(), "第一个种子"),
        (lambda t: np.argmax(t.sum(1)), "全部种子"),
        (ch12.WRONG_HALVINGS[4][0], "原来的编号"),
        (lambda t: t.mean(1), "不是一串"),
        (lambda t: 99, "0 到 13"),
        (lambda t: 0, "应当剩下"),
        (lambda t: None, "没有返回值"),
    ],
)
def test_12_3_wrong(answer, hint):
    verdict = check_halving(answer)
    assert not verdict.passed and hint in verdict.message, verdict


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


@pytest.mark.parametrize("answer", [np.sqrt(1 - 0.81), 0.436, jnp.sqrt(0.19)])
def test_12_4_right(answer):
    assert check_biased_cosine(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (0, "先算余弦"),
        (0.1, "系数"),
        (0.9, "衰减率"),
        (1, "衰减率是 0"),
        (0.19, "开方"),
        (0.229, "长度之比"),
        (0.7, "平方和"),
    ],
)
def test_12_4_wrong(answer, hint):
    verdict = check_biased_cosine(answer)
    assert not verdict.passed and hint in verdict.message, verdict


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
