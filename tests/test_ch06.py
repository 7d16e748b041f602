"""第 6 章的检查：每道题对的和错的写法；走廊的真值与抽样对得上；写错的 GAE 错在该错的地方。"""

import dataclasses

import numpy as np
import pytest

from ppo_lib.advantage import calculate_gae
from ppo_lib.course import ch06, example
from ppo_lib.course.ch06 import (
    AFTER_STEP_3,
    SIZE,
    WRONG,
    check_my_gae,
    check_my_target,
    check_step_weights,
    check_td_errors,
    corridor_truth,
    expected_gae,
    first_advantages,
    gae_case,
    gae_loop,
    on_example,
    walk,
)
from ppo_lib.rollout import Transition
from ppo_lib.training import make_batch


@pytest.mark.parametrize("answer", [[-0.5, -1, 0], np.array([-0.5, -1.0, 0.0])])
def test_6_1_right(answer):
    assert check_td_errors(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ([-0.5, 1, 0], "不该接上"),
        ([-0.5, -1, -1], "截断：任务没有结束"),
        ([-0.5, 1, -1], "弄反了"),
        ([0, -1, 1], "乘 γ"),
        ([-1, -1, -1], "奖励减价值"),
        ([1.5, 0, 3], "忘了减"),
        ([0.5, 1, 0], "符号反了"),
        ([-0.5, -1, 5], "第 3 步不对"),
        ([1, 2], "三个数"),
        (..., "换成你的答案"),
    ],
)
def test_6_1_wrong(answer, hint):
    verdict = check_td_errors(answer)
    assert not verdict.passed and hint in verdict.message, verdict


def right_backwards(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    advantage, following = np.zeros(len(reward)), 0.0
    for t in reversed(range(len(reward))):
        delta = reward[t] + gamma * next_value[t] * (not terminated[t]) - value[t]
        carry_on = not (terminated[t] or truncated[t])
        following = advantage[t] = delta + gamma * gae_lambda * carry_on * following
    return advantage


def right_by_sums(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    result = []
    for t in range(len(reward)):
        total, weight = 0.0, 1.0
        for k in range(t, len(reward)):
            later = 0.0 if terminated[k] else gamma * next_value[k]
            total += weight * (reward[k] + later - value[k])
            if terminated[k] or truncated[k]:
                break
            weight *= gamma * gae_lambda
        result.append(total)
    return result


def by_library(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    columns = (x[:, None] for x in (reward, value, next_value, terminated, truncated))
    return calculate_gae(*columns, gamma, gae_lambda)[0][:, 0]


@pytest.mark.parametrize("answer", [right_backwards, right_by_sums, by_library])
def test_6_2_right(answer):
    assert check_my_gae(answer).passed


def variant(mask_delta="terminated", cut="both", discount="both", shift=False, forward=False):
    """一种写法：δ 里遮住谁，在哪里断开，递推乘什么。"""

    def gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
        none = np.zeros_like(terminated)
        masks = dict(
            none=none, terminated=terminated, truncated=truncated, both=terminated | truncated
        )
        delta = reward + gamma * next_value * ~masks[mask_delta] - value
        factor = dict(both=gamma * gae_lambda, gamma=gamma, gae_lambda=gae_lambda)[discount]
        carry = ~masks[cut]
        carry = np.append(carry[1:], True) if shift else carry
        if forward:
            return gae_loop(delta[::-1], carry[::-1], factor)[::-1]
        return gae_loop(delta, carry, factor)

    return gae


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (variant("none", "none"), "两处掩码都没有"),
        (variant(cut="none"), "只乘在 δ 上"),
        (variant("none"), "仍接着"),
        (variant("both"), "当成了终止"),
        (variant(cut="terminated"), "只在终止处断开"),
        (variant(cut="truncated"), "只在截断处断开"),
        (variant(discount="gamma"), "没有乘 λ"),
        (variant(discount="gae_lambda"), "没有乘 γ"),
        (variant(forward=True), "方向反了"),
        (variant(shift=True), "错了一步"),
        (lambda r, v, nv, te, tr, g, lam: r + g * nv * ~te - v, "λ = 0"),
        (lambda *x: right_backwards(*x) + x[1], "这是目标"),
        (lambda *x: (right_backwards(*x), right_backwards(*x)), "不要目标"),
        (lambda *x: right_backwards(*x).mean(), "每步一个"),
        (lambda *x: 2 * right_backwards(*x), "第 7 步"),
        (lambda *x: None, "没有返回值"),
        (lambda r: r, "出错"),
    ],
)
def test_6_2_wrong(answer, hint):
    verdict = check_my_gae(answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize(
    "answer",
    [
        lambda lam, n: [(1 - lam) * lam**k for k in range(n - 1)] + [lam ** (n - 1)],
        lambda lam, n: -np.diff(np.append(lam ** np.arange(n), 0.0)),
    ],
)
def test_6_3_right(answer):
    assert check_step_weights(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda lam, n: (1 - lam) * lam ** np.arange(n), "不到 1"),
        (lambda lam, n: lam ** np.arange(n), "δ 的权重"),
        (lambda lam, n: lam ** np.arange(n) / (lam ** np.arange(n)).sum(), "按比例"),
        (lambda lam, n: (1 - lam) * lam ** np.arange(1, n + 1), "指数多了一"),
        (lambda lam, n: [0.512, 0.128, 0.16, 0.2], "次序反了"),
        (lambda lam, n: [0.8, 0.16, 0.032, 0.008], "换了位置"),
        (lambda lam, n: [0.2, 0.16, 0.128, 0.512] if n == 4 else [0.3] * 3, "λ = 1"),
        (lambda lam, n: [0.25] * 4, "拿走剩下的"),
        (lambda lam, n: [1.0], "4 个权重"),
        (lambda lam, n: None, "没有返回值"),
    ],
)
def test_6_3_wrong(answer, hint):
    verdict = check_step_weights(answer)
    assert not verdict.passed and hint in verdict.message, verdict


def right_target(reward, next_value, terminated, truncated, gamma, gae_lambda):
    target, following = np.zeros(len(reward)), next_value[-1]
    for t in reversed(range(len(reward))):
        if truncated[t]:
            following = next_value[t]
        later = (1 - gae_lambda) * next_value[t] + gae_lambda * following
        following = target[t] = reward[t] + gamma * later * (not terminated[t])
    return target


def target_from_advantage(reward, next_value, terminated, truncated, gamma, gae_lambda):
    """中间的 V(s) 取什么都一样，只要与上一步的 V(s') 对得上。"""
    value = np.append(0.0, next_value[:-1])
    args = (reward, value, next_value, terminated, truncated, gamma, gae_lambda)
    return right_backwards(*args) + value


@pytest.mark.parametrize("answer", [right_target, target_from_advantage])
def test_6_4_right(answer):
    assert check_my_target(answer).passed


def target_variant(
    swap=False, skip_last=False, skip_truncated=False, mask="terminated", mix=None
):
    def target(reward, next_value, terminated, truncated, gamma, gae_lambda):
        masks = dict(
            terminated=terminated, both=terminated | truncated, none=terminated & False
        )
        w = mix if mix is not None else 1 - gae_lambda if swap else gae_lambda
        following = 0.0 if skip_last else next_value[-1]
        result = np.zeros(len(reward))
        for t in reversed(range(len(reward))):
            if truncated[t] and not skip_truncated:
                following = next_value[t]
            later = (1 - w) * next_value[t] + w * following
            following = result[t] = reward[t] + gamma * later * ~masks[mask][t]
        return result

    return target


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (target_variant(swap=True), "换了位置"),
        (target_variant(skip_last=True), "最后一步后面没有目标"),
        (target_variant(skip_truncated=True), "下一回合"),
        (target_variant(skip_truncated=True, skip_last=True), "都要整个用"),
        (target_variant(mask="both"), "当成了终止"),
        (target_variant(mask="none"), "没有以后"),
        (target_variant(mix=0.0), "λ = 0"),
        (target_variant(mix=1.0), "λ = 1"),
        (lambda *x: right_target(*x) - gae_case()[1], "这是优势"),
        (lambda *x: right_target(*x) + 1, "第 7 步"),
        (lambda *x: 0.0, "每步一个"),
        (lambda *x: None, "没有返回值"),
    ],
)
def test_6_4_wrong(answer, hint):
    verdict = check_my_target(answer)
    assert not verdict.passed and hint in verdict.message, verdict


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
