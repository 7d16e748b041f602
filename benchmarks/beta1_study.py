"""β₁ 的研究，录进 book/data/；计划和每个实验要回答什么，见 benchmarks/beta1_plan.md。

    python benchmarks/beta1_study.py                    列出有哪些
    python benchmarks/beta1_study.py tune cartpole      挑学习率：每种做法 × 每个学习率
    python benchmarks/beta1_study.py retune cartpole    第二、三轮挑学习率
    python benchmarks/beta1_study.py e1 cartpole        录一个实验在一个任务上的报告

一种做法录完就存下（_build/beta1/），断了再运行一次，从没有录的那个接着录。有 GPU 就用 GPU。
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

from ppo_lib import sweep
from ppo_lib.config import PPOConfig, to_yaml
from ppo_lib.course import beta1
from ppo_lib.course.experiment import all_experiments, patched, run_variant
from ppo_lib.recorded import DATA_DIR, provenance, save_grid, save_runs, thin
from ppo_lib.statistics import iqm

PARTS = Path(__file__).resolve().parents[1] / "_build/beta1"
POINTS = 20


def kept(name: str, make) -> xr.Dataset:
    """``make()`` 的结果；做过一次的从 _build/beta1/ 读。"""
    file = PARTS / f"{name}.nc"
    if not file.exists():
        start = time.perf_counter()
        part = make()
        part.attrs["seconds"] = time.perf_counter() - start
        file.parent.mkdir(parents=True, exist_ok=True)
        part.to_netcdf(file.with_suffix(".tmp"), engine="h5netcdf")
        os.replace(file.with_suffix(".tmp"), file)
        print(f"{name}：{part.attrs['seconds']:.0f} 秒", flush=True)
    return xr.load_dataset(file, engine="h5netcdf")


# ---------------------------------------------------------------- 挑学习率


def by_lr(cfg: PPOConfig, method: beta1.Method, lrs) -> xr.Dataset:
    """一种做法在几个学习率上的回报：return (lr, seed, point)。"""
    with patched(method.patches):
        runs = sweep(dataclasses.replace(cfg, **method.changes), lr=list(lrs), progress=False)
    return thin(runs["return"], POINTS).transpose("lr", "seed", "point").to_dataset()


def tune_method(task: str, name: str, method: beta1.Method) -> xr.Dataset:
    """一种做法的表；最好的在边上就加一格。"""
    cfg = beta1.tuning_config(task)
    table = kept(f"tune/{task}/{name}", lambda: by_lr(cfg, method, method.lr))
    while True:
        means = table["return"].mean("point").fillna(-np.inf)  # 发散的排在最后
        scores = dict(zip(table["lr"].values.tolist(), iqm(means.values, axis=1).tolist()))
        lr = beta1.next_lr(scores, method.lr)
        if lr is None:
            return table
        more = kept(f"tune/{task}/{name}，lr = {lr:g}", lambda lr=lr: by_lr(cfg, method, [lr]))
        table = xr.concat([table, more], "lr", combine_attrs="drop").sortby("lr")


def tune(task: str) -> None:
    """挑一个任务的学习率，存进 ``tune_任务.npz``；没有试的（做法，学习率）是 NaN。"""
    start = time.perf_counter()
    methods = beta1.methods_of(task).items()
    tables = {name: tune_method(task, name, method) for name, method in methods}
    save_tuning("tune", task, tables, beta1.tuning_config(task), time.perf_counter() - start)


def retune(task: str) -> None:
    """第二、三轮：每种做法试满 ``AGAIN_LR``，存进 ``retune_任务.npz``。"""
    cfg = beta1.retuning_config(task)
    tables = {
        name: kept(f"retune/{task}/{name}", lambda how=how: by_lr(cfg, how, beta1.AGAIN_LR))
        for name, how in beta1.again_methods(task).items()
    }
    seconds = sum(float(table.attrs["seconds"]) for table in tables.values())
    save_tuning("retune", task, tables, cfg, seconds)


def save_tuning(file: str, task: str, tables: dict, cfg: PPOConfig, seconds: float) -> None:
    """几种做法的表合成一份，存进 ``file_任务.npz``；timesteps 是第一种的（改步数的，总步数略有不同）。"""
    names = xr.DataArray(list(tables), dims="method", name="method")
    first, *rest = tables.values()
    rest = [table.assign_coords(timesteps=first["timesteps"]) for table in rest]
    grid = xr.concat([first, *rest], names, join="outer", combine_attrs="drop")
    save_grid(
        grid["return"].transpose("method", "lr", "seed", "point"),
        DATA_DIR / f"{file}_{task}.npz",
        300 if beta1.is_minatar(task) else 60,
        provenance(
            f"python benchmarks/beta1_study.py {file} {task}",
            config=to_yaml(cfg),
            seconds=round(seconds),
        ),
    )


# ---------------------------------------------------------------- 报告


def report(name: str) -> None:
    """录一个实验，存进 ``runs_beta1_*.npz``。"""
    experiment = all_experiments()[name]
    parts = [
        kept(f"{name}/{variant}", lambda variant=variant: run_variant(experiment, variant))
        for variant in experiment.variants
    ]
    seconds = sum(float(part.attrs["seconds"]) for part in parts)
    names = xr.DataArray(list(experiment.variants), dims="variant", name="variant")
    save_runs(
        xr.concat(parts, names, coords="all", compat="equals", combine_attrs="drop"),
        DATA_DIR / f"runs_{name}.npz",
        provenance(
            f"python benchmarks/beta1_study.py {name.removeprefix('beta1_').replace('_', ' ', 1)}",
            config=to_yaml(experiment.base),
            variants={key: repr(dict(x)) for key, x in experiment.variants.items()},
            seconds=round(seconds),
        ),
    )


def main() -> None:
    match sys.argv[1:]:
        case ["tune", task] if task in beta1.TASKS:
            tune(task)
        case ["retune", task] if task in beta1.AGAIN:
            retune(task)
        case [part, task] if f"beta1_{part}_{task}" in all_experiments():
            report(f"beta1_{part}_{task}")
        case _:
            names = [name.removeprefix("beta1_") for name in all_experiments()]
            tunes = [f"tune {task}" for task in beta1.TASKS]
            tunes += [f"retune {task}" for task in beta1.AGAIN]
            sys.exit("有这些：\n" + "\n".join(tunes + names))


if __name__ == "__main__":
    main()
