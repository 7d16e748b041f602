"""第 6 章：练习里的数分得出各种错；走廊的真值与抽样对得上；写错的 GAE 错在该错的地方。"""

import dataclasses
import re

import numpy as np
import pytest

from ppo_lib.advantage import calculate_gae
from ppo_lib.course import ch06, example
from ppo_lib.course.ch06 import (
    AFTER_STEP_3,
    BUGS,
    FOUND,
    SIZE,
    WRONG,
    bug_advantage,
    bug_hints,
    check_td_errors,
    corridor_truth,
    expected_gae,
    first_advantages,
    on_example,
    walk,
)
from ppo_lib.rollout import Transition
from ppo_lib.training import make_batch

# ---------------------------------------------------------------- 练习


def test_no_two_mistakes_of_6_1_give_the_same_number():
    fields = check_td_errors.spec["fields"]
    assert [len(field["wrong"]) for field in fields] == [7, 4, 7]
    for field in fields:
        intervals = sorted(x[:2] for x in [*field["right"], *field["wrong"]])
        assert all(a[1] < b[0] for a, b in zip(intervals, intervals[1:]))


@pytest.mark.parametrize("table", FOUND)
def test_a_table_of_6_3_fits_exactly_one_of_the_offered_mistakes(table):
    shown = bug_advantage(table, BUGS[FOUND[table]]).round(2)
    others = {"对的": calculate_gae} | BUGS
    fits = {name for name, gae in others.items() if np.abs(bug_advantage(table, gae) - shown).max() < 0.1}  # fmt: skip
    assert fits == {FOUND[table]}


@pytest.mark.parametrize("table", FOUND)
def test_a_hint_of_6_3_names_a_row_that_tells_the_two_apart(table):
    shown = bug_advantage(table, BUGS[FOUND[table]])
    hints = bug_hints(table)
    assert set(hints) == set(BUGS) - {FOUND[table]}
    for name, hint in hints.items():
        row = int(re.search(r"第 (\d) 行", hint)[1]) - 1
        if "只错在截断处" in hint:
            assert abs(bug_advantage(table, calculate_gae) - shown)[row] > 0.1
        assert abs(bug_advantage(table, BUGS[name]) - shown)[row] > 0.1


# ---------------------------------------------------------------- 走廊


def test_the_exact_values_satisfy_the_bellman_equation():
    V, Q = corridor_truth(0.99)
    np.testing.assert_allclose(V, Q.mean(axis=1))
    assert Q[-1, 1] == 1 and Q[0, 0] == 0 and (np.diff(V) > 0).all()
    V, _ = corridor_truth(1.0)  # 不打折时，到达右端的概率是 格数 / (SIZE + 1)
    np.testing.assert_allclose(V, np.arange(1, SIZE + 1) / (SIZE + 1))


def test_a_perfect_critic_gives_the_true_advantage_for_every_lambda():
    V, Q = corridor_truth(0.99)
    for gae_lambda in (0.0, 0.5, 1.0):
        np.testing.assert_allclose(
            expected_gae(V, 0.99, gae_lambda), Q - V[:, None], atol=1e-12
        )


def test_sampled_advantages_agree_with_their_exact_expectation():
    walks, critic = walk(200), np.linspace(1, -1, SIZE)
    assert walks.terminated[-1].mean() > 0.999
    for gae_lambda in (0.0, 0.9, 1.0):
        sampled = first_advantages(critic, walks, 0.99, gae_lambda)
        error = sampled.mean(axis=2) - expected_gae(critic, 0.99, gae_lambda)
        standard_error = sampled.std(axis=2) / np.sqrt(200) + 1e-5
        assert (np.abs(error) < 5 * standard_error).all()


# ---------------------------------------------------------------- 写错的掩码


def test_without_endings_only_the_end_of_the_rollout_can_differ():
    right = on_example(truncated=example.TRUNCATED & False)
    for name, gae in WRONG.items():
        np.testing.assert_allclose(
            on_example(gae, truncated=example.TRUNCATED & False), right, err_msg=name
        )


def test_each_mistake_shows_after_step_3():
    right = on_example(terminated=AFTER_STEP_3)
    for name in ("没有掩码", "没有遮住 V", "没有断开优势", "错一步"):
        assert not np.allclose(on_example(WRONG[name], terminated=AFTER_STEP_3), right), name


def test_one_lambda_for_the_advantage_another_for_the_target():
    columns = [
        np.asarray(x)[:, None]
        for x in (
            example.REWARD,
            example.VALUE,
            example.NEXT_VALUE,
            example.TERMINATED,
            example.TRUNCATED,
        )
    ]
    advantage, target = ch06.gae_apart(1.0, 0.0)(*columns, 0.99, 0.95)  # 0.95 不用
    np.testing.assert_array_equal(advantage, calculate_gae(*columns, 0.99, 1.0)[0])
    np.testing.assert_array_equal(target, calculate_gae(*columns, 0.99, 0.0)[1])


def test_the_critics_error_in_gae():
    """Â 多出来的是 -b(s) + γ(1-λ) Σ (γλ)^k b，与解方程得到的期望相同。"""
    V, Q = corridor_truth(0.99)
    b = np.random.default_rng(3).normal(size=SIZE)
    move = (np.eye(SIZE, k=1) + np.eye(SIZE, k=-1)) / 2
    for gae_lambda in (0.0, 0.5, 1.0):
        ahead = np.linalg.solve(np.eye(SIZE) - 0.99 * gae_lambda * move, b)
        extra = -b[:, None] + 0.99 * (1 - gae_lambda) * ch06.next_values(ahead)
        np.testing.assert_allclose(
            expected_gae(V + b, 0.99, gae_lambda), Q - V[:, None] + extra
        )


def test_experiments_are_well_formed():
    for experiment in ch06.EXPERIMENTS.values():
        assert set(experiment.patches) <= set(experiment.variants)
        assert experiment.points <= experiment.base.num_updates


def test_the_config_key_treats_timeouts_as_ends_in_the_same_way():
    """``bootstrap_truncation=False`` 与“截断当终止”是同一回事。"""

    column = {
        name: np.asarray(getattr(example, name.upper()), float)[:, None]
        for name in ("obs", "action", "value", "next_value", "reward")
    }
    ends = dict(
        terminated=example.TERMINATED[:, None],
        truncated=(AFTER_STEP_3 | example.TRUNCATED)[:, None],
    )
    rollout = Transition(log_prob=column["obs"], **column, **ends)
    cfg = dataclasses.replace(ch06.CARTPOLE, bootstrap_truncation=False)
    batch = make_batch(rollout, cfg.hyperparams(), cfg)
    by_hand = on_example(WRONG["截断当终止"], truncated=ends["truncated"][:, 0])
    np.testing.assert_allclose(batch.advantage[:, 0], by_hand, rtol=1e-5)
