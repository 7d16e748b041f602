"""课程里的实验：几种做法，各训练几个种子，比一比。

每章的实验写在它自己的文件里（``ppo_lib/course/ch09.py`` 的 ``EXPERIMENTS``）。重的实验由
benchmarks/record_runs.py 录进 book/data/，页面上读录下的结果；读者也可以当场重跑：

>>> runs = load_runs("ch09_three_changes")              # 录下的
>>> runs = run_experiment(EXPERIMENTS["three_changes"])  # 当场跑
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import xarray as xr

import ppo_lib.course
from ppo_lib.config import PPOConfig
from ppo_lib.experiment import sweep
from ppo_lib.recorded import thin


class Experiment(NamedTuple):
    """一个实验：共同的配置，和几种做法各自改动的键。"""

    base: PPOConfig
    variants: Mapping[str, Mapping[str, Any]]  # 做法的名字 → 改动的键
    metrics: tuple[str, ...] = ("return",)  # 留下哪些指标
    points: int = 50  # 每条曲线留几个点
    patches: Mapping[str, Mapping[str, Callable]] = {}
    """做法的名字 → {库里函数的全名: 换上的函数}，例如 ``{"ppo_lib.training.calculate_gae": f}``。"""


@contextlib.contextmanager
def patched(replacements: Mapping[str, Callable]):
    """暂时换掉库里的几个函数，做出“写错了”的训练程序；出来时恢复原样。

    编译好的程序跟着源码走（见 compiled.py），所以换过的和没换过的各编译各的。
    """
    with contextlib.ExitStack() as stack:
        for name, function in replacements.items():
            stack.enter_context(mock.patch(name, function))
        yield


def run_variant(experiment: Experiment, variant: str, **changes) -> xr.Dataset:
    """训练一种做法。changes 再改几个键，例如 ``num_seeds=1``。

    Returns:
        选定的指标，维 (seed, point)，坐标 timesteps (point,)。
    """
    cfg = dataclasses.replace(experiment.base, **experiment.variants[variant] | changes)
    with patched(experiment.patches.get(variant, {})):
        metrics = sweep(cfg, progress=False)
    thinned = {name: thin(metrics[name], experiment.points) for name in experiment.metrics}
    return xr.Dataset(thinned).transpose("seed", "point")


def run_experiment(experiment: Experiment, **changes) -> xr.Dataset:
    """依次训练每一种做法；每做完一种，打印它的名字和用时。

    Returns:
        选定的指标，维 (variant, seed, point)，坐标 timesteps (variant, point)。
    """
    runs = []
    for variant in experiment.variants:
        start = time.perf_counter()
        runs.append(run_variant(experiment, variant, **changes))
        print(f"{variant}：{time.perf_counter() - start:.0f} 秒")
    names = xr.DataArray(np.array(list(experiment.variants)), dims="variant", name="variant")
    return xr.concat(runs, names, coords="all", compat="equals").transpose(
        "variant", "seed", "point"
    )


def all_experiments() -> dict[str, Experiment]:
    """各章的实验，和 β₁ 的研究：``"ch09_three_changes"`` → Experiment。"""
    found = {}
    for module in pkgutil.iter_modules(ppo_lib.course.__path__):
        if re.fullmatch(r"ch\d\d|beta1", module.name):
            chapter = importlib.import_module(f"ppo_lib.course.{module.name}")
            for name, experiment in getattr(chapter, "EXPERIMENTS", {}).items():
                found[f"{module.name}_{name}"] = experiment
    return found
