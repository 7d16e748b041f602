"""把一批任务（``--multirun``）交给 Ray：``hydra/launcher=ray``。

一个任务只是一份配置和一个目录，做没做完从目录看（见 batch.py）。所以 Ray 在哪台机器上做它、中途死了换
一台再做，都一样：从检查点接着训练，结果逐位相同。各台机器要看得到同一个目录，装着同样的 ppo_lib。

Slurm 用现成的插件 hydra-submitit-launcher，这里不用写什么。两样都不随 ppo_lib 安装，见
requirements-cluster.in。
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from ppo_lib.batch import check_composed, one_of
from ppo_lib.config import ConfigError
from ppo_lib.jobs import explained, run_in_batch
from ppo_lib.progress import put

PATIENCE = 60
"""按了 Ctrl-C，至多等各个任务多少秒，让它们存好。"""


class RayLauncher(BasicLauncher):
    """一个任务是 Ray 的一个 task；做它的进程死了，Ray 换一个再做。

    Args:
        init: ``ray.init`` 的参数。空着时，连上这台机器所在的集群；没有集群，就在本机开一个。
        remote: ``ray.remote`` 的参数。num_cpus 空着时，一个任务有几个种子就要几个核，至多一台机器那么多。
    """

    def __init__(self, init: dict, remote: dict):
        super().__init__()
        self.init, self.remote = dict(init), dict(remote)

    def launch(self, job_overrides, initial_job_idx: int) -> list:
        with explained():
            ray = import_ray()
            connection = connect(ray, self.init)
        with connection:
            jobs = [
                one_of(self.config, number, list(overrides))
                for number, overrides in enumerate(job_overrides, initial_job_idx)
            ]
            tasks = [self.submit(ray, job) for job in jobs]
            try:
                for job, task in zip(jobs, tasks):
                    try:
                        ray.get(task)
                    except ray.exceptions.RayError as error:  # 别的照做；它停在哪里，最后会说
                        put(sys.stderr, f"#{job.hydra.job.num} 没有做完，Ray 说：{error}\n")
            except KeyboardInterrupt:
                for task in tasks:
                    ray.cancel(task)
                ray.wait(tasks, num_returns=len(tasks), timeout=PATIENCE)
                raise
        return []

    def submit(self, ray, job: DictConfig):
        """把一个任务交给 Ray。"""
        cfg, folder = check_composed(job), Path(job.hydra.sweep.dir, job.hydra.sweep.subdir)
        most = max(node["Resources"].get("CPU", 0) for node in ray.nodes())
        asked = {name: value for name, value in self.remote.items() if value is not None}
        options = {"num_cpus": min(cfg.num_seeds, most)} | asked
        return ray.remote(**options)(run_in_batch).remote(lambda: cfg, folder)


def import_ray():
    """载入 Ray。

    Raises:
        ConfigError: 没有装 Ray。
    """
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "hydra/launcher=ray 要用 Ray，这里没有装。在仓库里运行："
            ".venv/bin/python -m pip install --no-deps -r requirements-cluster.lock"
        ) from None
    return ray


def connect(ray, init: dict):
    """连上集群，或者在本机开一个；出来时断开，本机开的也关上。

    Raises:
        ConfigError: 连不上，或者开不起来。
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # 不替 Ray 的作者收集用法
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "os.fork")  # 它开的进程里不用 JAX
            return ray.init(**init)
    except Exception as error:
        raise ConfigError(f"Ray 连不上，或者开不起来：{error}") from None


ConfigStore.instance().store(
    group="hydra/launcher",
    name="ray",
    node={
        "_target_": f"{__name__}.{RayLauncher.__name__}",
        "init": {},
        "remote": {"num_cpus": None, "num_gpus": 0, "max_retries": 3},
    },
)
