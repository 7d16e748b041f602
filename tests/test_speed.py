"""ppo_lib 没有变慢：与照常见写法写的 PPO 在同一个进程里轮流训练，比 CPU 时间。

写下门槛时（2026 年 11 月，两个核，忙的时候）五轮是 3.7 到 4.2 倍、4.2 到 5.2 倍：慢了三分之一就不过。
"""

from ppo_lib import PPOConfig, train  # isort: skip  # 在 jax 之前

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import plain_scan
import pytest

UPDATES, ROUNDS = 60, 3


def cpu_seconds(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@pytest.mark.slow
@pytest.mark.parametrize("seeds, least", [(1, 2.5), (10, 2.8)])
def test_a_plain_scan_takes_longer(seeds, least, fully_optimized):
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=UPDATES * 2048, num_seeds=seeds)
    plain = plain_scan.make_train(UPDATES)
    runs = {
        "ppo_lib": lambda: train(cfg, progress=False),
        "plain": lambda: jax.block_until_ready(plain(jnp.arange(seeds))),
    }
    for run in runs.values():
        run()  # 编译
    ratios = []
    for _ in range(ROUNDS):
        spent = {name: cpu_seconds(run) for name, run in runs.items()}
        ratios.append(spent["plain"] / spent["ppo_lib"])
    print(f"{seeds} 个种子：{np.round(ratios, 2)}")
    assert statistics.median(ratios) > least


@pytest.mark.slow
def test_the_plain_scan_learns():
    """它做的确实是同样的事：回合越来越长，一步里结束的比例越来越小。"""
    ended = plain_scan.make_train(60)(jnp.arange(2))  # (seed, update)
    assert (ended[:, -5:].mean(axis=1) < 0.3 * ended[:, 0]).all()
