"""几台机器一起训练一个配置（``jax.distributed`` 的几个进程）：各自训练一段种子。

成员之间什么也不传，所以每台机器是一次单独的训练，存在自己的目录，断了自己接着做；做完用
``python -m ppo_lib gather`` 合起来，与一台机器做的逐位相同。一台机器里的几个设备，见 members.py。
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import orbax.checkpoint as ocp

from ppo_lib.config import ConfigError, PPOConfig, to_yaml
from ppo_lib.experiment import Run, train
from ppo_lib.files import write_atomically

WEEK = 7 * 24 * 3600 * 1000
"""各个进程最多等多少毫秒。"""


def share(cfg: PPOConfig) -> PPOConfig:
    """这个进程分到的那一段种子；各个进程的个数至多差一。

    Raises:
        ConfigError: 种子比进程少。
    """
    processes = jax.process_count()
    if cfg.num_seeds < processes:
        raise ConfigError(
            f"num_seeds = {cfg.num_seeds} 不合法；有 {processes} 个进程，至少要 {processes} 个种子。"
        )
    own = np.array_split(cfg.seeds, processes)[jax.process_index()]
    return dataclasses.replace(cfg, seed=int(own[0]), num_seeds=len(own))


def train_share(cfg: PPOConfig, run_dir: str | Path, **options) -> Run:
    """训练这个进程的那一段种子，存进 ``run_dir/进程的号``；别的进程也做完（或出了错）才返回。

    在 import ppo_lib 之前先 ``jax.distributed.initialize()``；没有，就只有一个进程，号是 0。

    Args:
        cfg: 全部种子的配置，各个进程给同样的。
        run_dir: 各台机器都看得到的目录。
        options: ``train`` 的其余参数。
    """
    mine, folder = share(cfg), Path(run_dir) / str(jax.process_index())
    if jax.process_index() == 0:  # gather 由它知道一共有哪些种子
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder.parent / "config.yaml", to_yaml(cfg).encode())
    try:
        # orbax 要几个进程合存一份；这里各存各的
        with mock.patch.multiple(jax, process_index=lambda: 0, process_count=lambda: 1):
            return train(mine, run_dir=folder, **options)
    finally:  # 一个先走，jax.distributed 会把别的也停下
        ocp.multihost.get_barrier_sync_fn()(key="train_share", timeout_ms=WEEK)
