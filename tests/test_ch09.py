"""第 9 章的检查：每道题两种对的写法，和几种错的写法应得的提示；看 Critic 时走的就是库里的训练。"""

import itertools

import numpy as np
import pytest
import xarray as xr

from ppo_lib import PPOConfig, train
from ppo_lib.course.ch09 import (
    EXPERIMENTS,
    SOLVED_KEYS,
    check_arrival_rate,
    check_learning_rates,
    check_necessary,
    check_values,
    clock_share,
    make_split_network,
    watch_critic,
)
from ppo_lib.envs import make_env
from ppo_lib.optimizer import annealed_lr


@pytest.mark.parametrize(
    "answer",
    [
        (-100, -86.6),
        (-1 / (1 - 0.99), -sum(0.99**k for k in range(200))),
        (np.float32(-100), np.float32(-86.602)),
    ],
)
def test_9_1_right(answer):
    assert check_values(*answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((100, 86.6), "负号"),
        ((-200, -86.6), "不打折"),
        ((-86.6, -86.6), "还有以后"),
        ((-99, -86.6), "解出来"),
        ((-100, -100), "只加 200 项"),
        ((-100, -200), "忘了打折"),
        ((-100, -13.4), "尾巴"),
        ((-100, -86.467), "少加了一项"),
        ((-100, -50), "等比数列"),
        ((-100, ...), "换成你的答案"),
    ],
)
def test_9_1_wrong(answer, hint):
    verdict = check_values(*answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize(
    "answer",
    [
        (0.004 * (1 - 200 / 976), 0.004 * (1 - 200 / 488)),
        (annealed_lr(4e-3, 200, 976), annealed_lr(4e-3, 200, 488)),
        (0.00318, 0.002361),
    ],
)
def test_9_2_right(answer):
    assert check_learning_rates(*answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((0.002361, 0.00318), "写反"),
        ((4e-3, 4e-3), "没有退火"),
        ((0.004 * (1 - 199 / 976), 0.004 * (1 - 199 / 488)), "差了一次"),
        ((0.00318, 0.00318), "不该相同"),
        ((0.004 * 200 / 976, 0.004 * 200 / 488), "方向反了"),
        ((0.004 * (1 - 200 / 2e6), 0.004 * (1 - 200 / 1e6) * 1.0), "没有退火"),
        ((1.0, 2.0), "先算更新次数"),
        ((..., ...), "换成你的答案"),
    ],
)
def test_9_2_wrong(answer, hint):
    verdict = check_learning_rates(*answer)
    assert not verdict.passed and hint in verdict.message, verdict


def by_switching_off(scores, line):
    everything = frozenset(SOLVED_KEYS)
    return {key for key in SOLVED_KEYS if scores[everything - {key}] < line}


def by_looking_at_pairs(scores, line):
    found = []
    for on, score in scores.items():
        if len(on) == 2 and score < line:
            found += set(SOLVED_KEYS) - on
    return found


@pytest.mark.parametrize("answer", [by_switching_off, by_looking_at_pairs])
def test_9_3_right(answer):
    assert check_necessary(answer).passed


def intersection(scores, line):
    return set.intersection(*[set(on) for on, score in scores.items() if score >= line])


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda scores, line: set(SOLVED_KEYS) - by_switching_off(scores, line), "反了"),
        (lambda scores, line: {k for k in SOLVED_KEYS if scores[frozenset({k})] >= line}, "充分"),
        (lambda scores, line: {k for k in SOLVED_KEYS if scores[frozenset({k})] < line}, "只打开它一个"),
        (intersection, "交集"),
        (lambda scores, line: {"activation"}, "只关掉它"),
        (lambda scores, line: None, "没有返回值"),
        (lambda scores: set(), "出错"),
    ],
)  # fmt: skip
def test_9_3_wrong(answer, hint):
    verdict = check_necessary(answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize(
    "answer",
    [
        lambda evaluation: 1 - evaluation.episodes["truncated"].mean("episode"),
        lambda evaluation: (~evaluation.episodes["truncated"].values).mean(axis=1),
    ],
)
def test_9_4_right(answer):
    assert check_arrival_rate(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda e: e.episodes["truncated"].mean("episode"), "反了"),
        (lambda e: (e.episodes["return"] > -200).mean("episode"), "恰好在第 200 步"),
        (lambda e: (~e.episodes["truncated"]).sum("episode"), "除以回合数"),
        (lambda e: 1 - float(e.episodes["truncated"].mean()), "每个种子一个数"),
        (lambda e: 1 - e.episodes["truncated"].mean("seed"), "沿种子"),
        (lambda e: ~e.episodes["truncated"], "形状"),
        (lambda e: np.zeros(3), "真是超时"),
        (lambda e: None, "没有返回值"),
    ],
)
def test_9_4_wrong(answer, hint):
    verdict = check_arrival_rate(answer)
    assert not verdict.passed and hint in verdict.message, verdict


def test_the_factorial_has_all_eight_combinations():
    variants = EXPERIMENTS["three_changes"].variants.values()
    assert len({tuple(sorted(x.items())) for x in variants}) == 8
    keys = ("activation", "ent_coef", "bootstrap_truncation")
    assert all(set(x) == set(keys) for x in variants)
    tried = {tuple(x[key] for key in keys) for x in variants}
    assert tried == set(itertools.product(("relu", "tanh"), (0.003, 0.05), (False, True)))


def test_clock_share_by_hand():
    only_time = xr.DataArray(np.tile(np.arange(4.0)[:, None], (1, 3)), dims=("step", "env"))
    only_env = xr.DataArray(np.tile(np.arange(3.0), (4, 1)), dims=("step", "env"))
    assert clock_share(only_time) == pytest.approx(1)
    assert clock_share(only_env) == pytest.approx(0)
    assert float(clock_share(only_time + only_env)) == pytest.approx(1.25 / (1.25 + 2 / 3))


def test_split_network_splits():
    """activation 归 Critic；Actor 用另一种。偏置为 0 的 tanh 网络是奇函数，relu 的不是。"""
    import jax

    for activation in ("tanh", "relu"):
        cfg = PPOConfig(activation=activation)
        network = make_split_network(cfg, make_env(cfg))
        obs = np.array([0.4, 0.1], np.float32)
        params = network.init(jax.random.key(0), obs)
        (pi, value), (mirrored_pi, mirrored) = (network.apply(params, x) for x in (obs, -obs))
        assert np.isclose(value, -mirrored, atol=1e-6) == (activation == "tanh")
        odd = np.allclose(pi.logits + mirrored_pi.logits, pi.logits.mean() * 2, atol=1e-6)
        assert odd == (activation == "relu")


@pytest.mark.slow
def test_watching_does_not_change_training():
    """停下来看 Critic 的训练，与 train 的训练逐位相同。"""
    cfg = PPOConfig(activation="tanh", total_timesteps=20_480, num_seeds=2, num_envs=4)
    watched = watch_critic(cfg, [10, cfg.num_updates], seeds=cfg.seeds)
    run = train(cfg, progress=False)
    assert watched["goals"].sel(update=cfg.num_updates).values.tolist() == (
        run.metrics["goals_reached"].sum("update").values.tolist()
    )
    assert (watched["visits"].sum(("position", "velocity")).values == np.array([10, cfg.num_updates]) * cfg.batch_size).all()  # fmt: skip
    policy = run.policy()
    import jax

    from ppo_lib.training import make_network

    network = make_network(cfg, make_env(cfg))
    obs = np.array([watched["position"][9], watched["velocity"][14]], np.float32)
    for i in range(2):
        params = jax.tree.map(lambda x, i=i: x[i], policy.params)
        here = watched["value"].isel(seed=i, update=-1, position=9, velocity=14)
        assert np.isclose(network.apply(params, obs)[1], here, rtol=1e-5)
