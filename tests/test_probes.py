"""探针环境（``ppo_lib.course.probes``）：小到答案可以写出来。学出来的价值和策略要等于写出来的答案。

想法出自 Andy Jones (2021), *Debugging RL, Without the Agonizing Pain*。每个探针只查一件事，
所以哪一个失败，就知道去哪里找。最后几个测试把 ppo_lib 故意弄坏，看探针抓不抓得住。
"""

import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import training
from ppo_lib.course.ch13 import learn_probe, passes, run_probe
from ppo_lib.course.probes import ANSWERS

pytestmark = pytest.mark.slow

GAMMA, CYCLE = 0.5, 4  # 探针的折扣因子；Endless 每 4 步超时一次


@pytest.mark.parametrize("name", ANSWERS)
def test_the_library_climbs_the_whole_ladder(name):
    kind, answer = ANSWERS[name]
    value, prob = learn_probe(name)
    near = 0.02 if kind == "V" and name != "EndlessCue-probe" else 0.05
    np.testing.assert_allclose(value if kind == "V" else prob, [answer] * 2, atol=near)


def test_a_timeout_treated_as_terminal_learns_the_value_of_what_is_left_of_the_cycle():
    """k 步后就没有了：V = (1 - γ^k) / (1 - γ)，k 是到超时还剩的步数。"""
    value = run_probe("Endless-probe", bootstrap_truncation=False)
    left = CYCLE - np.arange(CYCLE)
    np.testing.assert_allclose(value, [(1 - GAMMA**left) / (1 - GAMMA)] * 2, atol=0.02)


# ---------------------------------------------------------------- 探针自己抓得住错吗


def test_a_flipped_objective_fails_the_action_probe(monkeypatch):
    original = training.ppo_loss

    def flipped(params, batch, hyper, **options):
        return original(params, batch._replace(advantage=-batch.advantage), hyper, **options)

    monkeypatch.setattr(training, "ppo_loss", flipped)
    assert not passes("TwoActions-probe")


def break_gae(monkeypatch, change):
    """calculate_gae 收到的 (terminated, next_value) 换成 change(terminated, truncated, value, next_value)。"""
    original = training.calculate_gae

    def broken(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
        terminated, next_value = change(terminated, truncated, value, next_value)
        return original(reward, value, next_value, terminated, truncated, gamma, gae_lambda)

    monkeypatch.setattr(training, "calculate_gae", broken)


def test_a_lost_done_mask_fails_the_delayed_reward_probe(monkeypatch):
    break_gae(
        monkeypatch,
        lambda terminated, truncated, value, next_value: (terminated & False, next_value),
    )
    assert not passes("DelayedReward-probe")


def test_no_bootstrap_between_steps_fails_the_delayed_reward_probe(monkeypatch):
    break_gae(
        monkeypatch,
        lambda terminated, truncated, value, next_value: (terminated, 0 * next_value),
    )
    assert not passes("DelayedReward-probe")


def test_bootstrapping_from_the_next_episode_fails_the_cue_probe(monkeypatch):
    """超时处接 V(下一行)：下一行已经是新的一回合。"""

    def next_row(terminated, truncated, value, next_value):
        return terminated, jnp.concatenate([value[1:], next_value[-1:]])

    break_gae(monkeypatch, next_row)
    assert not passes("EndlessCue-probe")
