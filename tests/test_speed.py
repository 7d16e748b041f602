"""ppo_lib 没有变慢：与照常见写法写的 PPO 在同一个进程里轮流训练，比 CPU 时间。

写下门槛时（2026 年 11 月，两个核，忙的时候），一个种子是 3.7 到 4.2 倍，十个种子是 3.9 到 4.1 倍：比值掉了
三成多就不过。
"""

from ppo_lib import PPOConfig, train  # isort: skip  # 在 jax 之前

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import plain_scan
import pytest

ROUNDS = 3


def cpu_seconds(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@pytest.mark.slow
@pytest.mark.parametrize("seeds, updates, least", [(1, 60, 2.5), (10, 20, 2.8)])
@jax.debug_key_reuse(False)  # vmap 里的 scan，它会误报
def test_a_plain_scan_takes_longer(seeds, updates, least, fully_optimized):
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=updates * 2048, num_seeds=seeds)
    plain = plain_scan.make_train(updates)
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
@jax.debug_key_reuse(False)
def test_the_plain_scan_learns():
    """它做的确实是同样的事：回合越来越长，一步里结束的比例越来越小。"""
    ended = plain_scan.make_train(60)(jnp.arange(2))  # (seed, update)
    assert (ended[:, -5:].mean(axis=1) < 0.3 * ended[:, 0]).all()
