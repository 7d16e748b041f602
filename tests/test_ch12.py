"""第 12 章的检查：每道题至少两种对的写法，错的写法得到说中原因的提示；整形和滑动梯度的性质。"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import sweep
from ppo_lib.course import ch12
from ppo_lib.course.ch12 import (
    check_biased_cosine,
    check_honest_best,
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


def one_line(seen, fresh):
    return seen.mean(axis=1).argmax(), fresh[seen.mean(axis=1).argmax()].mean()


def by_loop(seen, fresh):
    averages = [sum(row) / len(row) for row in seen]
    best = averages.index(max(averages))
    return [best, float(np.mean(fresh[best]))]


@pytest.mark.parametrize("answer", [one_line, by_loop])
def test_12_3_right(answer):
    verdict = check_honest_best(answer)
    assert verdict.passed and "诅咒" in verdict.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda s, f: (s.mean(1).argmax(), s.mean(1).max()), "偏高"),
        (lambda s, f: (f.mean(1).argmax(), f.mean(1).max()), "用新种子来挑"),
        (
            lambda s, f: (
                np.c_[s, f].mean(1).argmax(),
                f[np.c_[s, f].mean(1).argmax()].mean(),
            ),
            "用上了新种子",
        ),
        (lambda s, f: (s.max(1).argmax(), f[s.max(1).argmax()].mean()), "最好的一个种子"),
        (lambda s, f: (s.mean(1).argmin(), f[s.mean(1).argmin()].mean()), "最差"),
        (
            lambda s, f: (
                s.mean(1).argmax(),
                np.r_[s[s.mean(1).argmax()], f[s.mean(1).argmax()]].mean(),
            ),
            "混进了",
        ),
        (lambda s, f: (s.mean(1).argmax(), 0.0), "格挑对了"),
        (lambda s, f: s.mean(1).argmax(), "两样"),
        (lambda s, f: None, "没有返回值"),
    ],
)
def test_12_3_wrong(answer, hint):
    verdict = check_honest_best(answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize(
    "answer", [np.sqrt(1 - 0.81), 0.436, jnp.sqrt(0.19), ch12.noise_cosines(0.9)[1]]
)
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


def test_noise_has_no_direction_but_looks_as_if_it_had():
    before, after = ch12.noise_cosines(0.9)
    assert abs(before) < 0.01 and abs(after - np.sqrt(1 - 0.81)) < 0.01


def test_false_alarms_of_a_real_difference():
    """同一份配置时误报少；两组完全分开时，差的带不含 0。"""
    scores = np.random.default_rng(0).normal(size=60)
    assert 0.01 < ch12.false_alarms(scores, trials=60) < 0.25
    assert difference_interval(scores[:10] + 9, scores[10:20])[1] > 0


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
