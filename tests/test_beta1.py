"""β₁ 的研究：改动过的 Adam 走得对，学习率是按计划挑的，各个实验的条件是配好的。"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from ppo_lib import PPOConfig
from ppo_lib.course import beta1
from ppo_lib.course.beta1_update import branch, near_the_bound, pushed
from ppo_lib.diagnostics import global_norm
from ppo_lib.statistics import bootstrap_band, difference_interval, iqm
from ppo_lib.training import layers, make_train

HYPER = PPOConfig(beta_1=0.9, max_grad_norm=1e9).hyperparams()
GRADIENTS = np.random.default_rng(0).normal(size=(3 * beta1.STEPS, 4)).astype(np.float32)


def path(make_optimizer):
    """三次更新走过的参数，(24, 4)。"""
    optimizer = make_optimizer("adam", 0.1, HYPER)
    param = jnp.zeros(4)
    state, walked = optimizer.init(param), []
    for grad in GRADIENTS:
        updates, state = optimizer.update(jnp.asarray(grad), state)
        param = param + updates
        walked.append(param)
    return np.array(walked)


def test_adam_rel_equals_its_control_step_by_step():
    rel, control = (
        path(beta1.changed_adam(change))
        for change in (beta1.restart_time, beta1.follow_restarts)
    )
    np.testing.assert_allclose(rel, control, rtol=1e-4, atol=1e-6)
    plain = path(beta1.make_optimizer)
    np.testing.assert_allclose(rel[: beta1.STEPS], plain[: beta1.STEPS], rtol=1e-5)
    assert np.abs(rel - plain)[beta1.STEPS :].max() > 0.01


def test_forgetting_momentum_by_hand():
    """每次更新的 m 只平均这次更新的梯度，偏差修正从 1 数起；v 一直平均下去。"""
    walked, param, mu, nu = [], np.zeros(4), np.zeros(4), np.zeros(4)
    for T, grad in enumerate(GRADIENTS, start=1):
        i = (T - 1) % beta1.STEPS + 1
        mu = 0.9 * mu * (i > 1) + 0.1 * grad
        nu = 0.999 * nu + 0.001 * grad**2
        param = param - 0.1 * (mu / (1 - 0.9**i)) / np.sqrt(nu / (1 - 0.999**T))
        walked.append(param)
    forgetful = path(beta1.changed_adam(beta1.forget_momentum))
    np.testing.assert_allclose(forgetful, walked, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("scores, expected", [
    ({1: 0.0, 2: 5.0, 4: 3.0}, None),  # 不在边上
    ({1: 0.0, 2: 3.0, 4: 5.0}, 8),
    ({1: 5.0, 2: 3.0, 4: 0.0}, 0.5),
    ({1: 0.0, 2: 3.0, 4: 5.0, 8: 6.0}, 16),
    ({1: 0.0, 2: 3.0, 4: 5.0, 8: 6.0, 16: 7.0}, None),  # 已经加了两格
])  # fmt: skip
def test_when_the_table_of_learning_rates_grows(scores, expected):
    assert beta1.next_lr(scores, (1, 2, 4)) == expected


TUNED = [
    (task, method)
    for task in beta1.TASKS
    for method in beta1.methods_of(task)
    if beta1.tuned_lr(task, method)
]


@pytest.mark.parametrize("task, method", TUNED)
def test_learning_rates_were_chosen_as_planned(task, method):
    asked = beta1.METHODS[method].lr
    scores = beta1.tuning_scores(task, method)
    assert set(asked) <= set(scores) and beta1.next_lr(scores, asked) is None
    assert scores[beta1.tuned_lr(task, method)] == max(scores.values())


@pytest.mark.parametrize("task", beta1.AGAIN)
def test_the_second_round_tries_every_rate_with_every_method(task):
    for method in beta1.again_methods(task):
        scores = beta1.tuning_scores(task, method, "retune")
        assert set(scores) == set(beta1.AGAIN_LR)
        assert scores[beta1.tuned_lr(task, method, "retune")] == max(scores.values())


@pytest.mark.parametrize("task", beta1.TASKS)
def test_tuning_and_reporting_never_share_a_seed(task):
    configs = [
        of(task)
        for of in (
            beta1.tuning_config,
            beta1.retuning_config,
            beta1.report_config,
            beta1.again_config,
        )
    ]
    seeds = [seed for cfg in configs for seed in cfg.seeds]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 1000


@pytest.mark.parametrize("task, total", [("cartpole", 1536), ("space_invaders", 512)])
@pytest.mark.parametrize("way", "甲乙丙")
@pytest.mark.parametrize("steps", beta1.STEPS_PER_UPDATE)
def test_total_optimizer_steps_are_held_fixed(task, total, way, steps):
    base = beta1.report_config(task)
    cfg = dataclasses.replace(base, **beta1.e2_keys(way, steps, task))
    assert cfg.update_epochs * cfg.num_minibatches == steps
    assert cfg.num_updates * steps == total
    data, epochs, minibatch = {
        "甲": (16 * steps, 2, 32),
        "乙": (128, steps / 4, 32),
        "丙": (128, 2, 256 / steps),
    }[way]
    assert (cfg.num_steps, cfg.update_epochs) == (data, epochs)
    assert cfg.batch_size / cfg.num_minibatches == minibatch * base.num_envs


@pytest.mark.slow
def test_the_branch_with_the_training_beta_1_is_the_librarys_update():
    """用训练的 β₁ 的那一支，走的就是库里的一次更新；没有动量的那一支，动量推的是 0。"""
    cfg = PPOConfig(
        env_name="CartPole-v1", num_envs=4, num_steps=16, total_timesteps=640, hidden_sizes=(8,)
    )
    seen = branch(cfg, update=3, beta_1s=(0.0, cfg.beta_1), seeds=[7]).isel(seed=0, step=-1)
    program, hyper = make_train(cfg), cfg.hyperparams()
    state = program.init(7, hyper)
    for _ in range(3):
        state, _ = program.update(state, hyper)
    after, _ = program.update(state, hyper)
    moved = jax.tree.map(jnp.subtract, after.params, state.params)
    for owner in ("actor", "critic"):
        expected = global_norm(layers(moved, owner))
        assert seen[f"{owner}_moved"][1] == pytest.approx(float(expected), rel=1e-3)
        assert seen[f"{owner}_momentum"][0] == 0 < seen[f"{owner}_momentum"][1]
        assert seen[f"{owner}_gradient"][0] == pytest.approx(float(seen[f"{owner}_moved"][0]))


def test_the_two_sides_of_the_bound_by_hand():
    """ε = 0.2：1.22 和 0.78 刚过边界，1.18 和 0.82 快到了，其余的远；往外的推动才算正的。"""
    ratio = np.array([1.22, 0.78, 1.18, 0.82, 1.0, 1.4, 0.78])
    advantage = np.array([1.0, -2.0, 3.0, -1.0, 1.0, 1.0, 1.0])
    push = np.array([0.1, 0.2, 0.4, -0.8, 9.0, 9.0, 9.0])
    seen = near_the_bound(ratio, advantage, {"momentum": push}, 0.2)
    assert (seen["outside_count"], seen["inside_count"]) == (2, 2)
    assert seen["outside_momentum"] == pytest.approx(0.1 - 0.2)
    assert seen["inside_momentum"] == pytest.approx(0.4 + 0.8)


def test_a_side_with_too_few_samples_is_left_out():
    dims = ("seed", "beta_1", "step")
    many, few = np.full((1, 1, 2), 10), np.full((1, 1, 2), 9)
    seen = xr.Dataset({"inside_count": (dims, many), "outside_count": (dims, many),
                       "outside_gradient": (dims, np.full((1, 1, 2), 3.0))})  # fmt: skip
    assert pushed(seen, "outside", "gradient").item() == pytest.approx(0.3)
    assert np.isnan(pushed(seen.assign(inside_count=(dims, few)), "outside", "gradient").item())


def test_errors_of_a_line_and_of_groups_by_hand():
    assert beta1.monotone_error([1, 2, 3, 4], [1, 2, 3, 4]) == pytest.approx(
        np.sqrt(2) / 2
    )  # 两头各外推错 1，中间不错
    assert beta1.monotone_error([1, 2, 3, 4], [4, 3, 2, 1]) > 1  # 反着走的，配不上
    assert beta1.group_error(["a", "a", "b", "b"], [1.0, 3.0, 5.0, 5.0]) == pytest.approx(
        np.sqrt(2)
    )


def test_chance_of_winning_counts_ties_half():
    assert beta1.chance_of_winning([500, 500], [500]) == 0.5
    assert beta1.chance_of_winning([3, 1], [2, 2]) == 0.5
    assert beta1.chance_of_winning([3, 2], [1, 2]) == pytest.approx(7 / 8)


def test_the_yardstick_is_resampled_with_the_rest(monkeypatch):
    """归一的 1 拿不准，差的区间就宽；0 和 1 都准，就与没有归一的区间成比例。"""
    rng = np.random.default_rng(0)
    ours, sure, unsure = 3 + rng.normal(size=30), np.full(30, 2.0), 2 + rng.normal(size=30)

    def measured(base):
        tables = {"e0": {"不学": np.zeros(10)}, "e1": {beta1.BASE: base}}
        monkeypatch.setattr(beta1, "scores", lambda part, task: tables[part])
        return beta1.relative("cartpole", ours), beta1.relative("cartpole", ours, sure)

    own, other = measured(sure)
    assert own == pytest.approx(other) and own[0] == pytest.approx((iqm(ours) - 2) / 2)
    difference = difference_interval(ours, sure)
    np.testing.assert_allclose(own, np.divide(difference, 2), atol=0.02)
    wider, _ = measured(unsure)
    assert wider[2] - wider[1] > 1.5 * (own[2] - own[1])


def test_pooling_resamples_inside_each_task_and_what_sets_0_and_1(monkeypatch):
    """两个任务各自没有起伏：合起来也没有；混在一起重抽，却会有。归一用的 1 有起伏，就跟着有。"""

    def measured(base):
        monkeypatch.setattr(
            beta1, "scores", lambda part, task: {"不学": np.zeros(10), beta1.BASE: base}
        )
        return beta1.pooled_interval(groups)

    groups = {"cartpole": np.full(30, 1.0), "mountain_car": np.full(30, 5.0)}
    assert measured(np.full(30, 5.0)) == pytest.approx((0.6, 0.6, 0.6))
    low, high = bootstrap_band(np.concatenate([x / 5 for x in groups.values()]))
    assert high - low > 0.1
    _, low, high = measured(np.linspace(3, 7, 30))
    assert high - low > 0.1
