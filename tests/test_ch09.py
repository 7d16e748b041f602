"""第 9 章：八种组合齐全；换一半激活函数的网络换对了；看 Critic 时走的就是库里的训练。"""

import itertools

import numpy as np
import pytest
import xarray as xr

from ppo_lib import PPOConfig, train
from ppo_lib.course.ch09 import (
    EXPERIMENTS,
    clock_share,
    make_split_network,
    watch_critic,
)
from ppo_lib.envs import make_env


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
