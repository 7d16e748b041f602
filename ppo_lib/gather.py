"""一次实验分在许多个目录里做（一批任务，几台机器）：把各个目录的指标合成一个文件。

只看目录，所以在哪里做的、断过几次，都不要紧：同样的实验，合出的文件逐字节相同。少一个、多一个都不合。
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import xarray as xr

from ppo_lib.batch import expanded, saved_batch
from ppo_lib.config import FIELDS, PPOConfig, load_config, to_yaml
from ppo_lib.experiment import join_static
from ppo_lib.run_dir import RunDirError, absolute, write_netcdf

OWN_SECONDS = ("compile_seconds", "run_seconds")
"""断没断过，这两项不同；合起来的文件里不记。"""


def gather(folder: str | Path) -> xr.Dataset:
    """folder 下面各个目录的指标合成一个，写进 ``folder/metrics.nc``。

    各个目录的配置里不同的键（记录用的不算）成为轴，次序同 PPOConfig 的字段，取值的次序同目录；
    种子不同的沿 ``seed`` 接起来。属性 ``config`` 是第一个目录的配置。

    Raises:
        RunDirError: 有的没有做完，有的不见了或者有两份，所以张不成一个网格。
    """
    folder = absolute(folder)
    parts = {path: load_config(path / "config.yaml") for path in parts_of(folder)}
    axes = axes_of(list(parts.values()))
    check_whole(folder, parts, axes)

    points: dict[tuple, list[xr.Dataset]] = {}
    for path, cfg in parts.items():
        metrics = xr.load_dataset(path / "metrics.nc", engine="h5netcdf")
        for name in OWN_SECONDS:
            del metrics.attrs[name]
        points.setdefault(point_of(cfg, axes), []).append(metrics)
    rows = [
        xr.concat(points[point], "seed", combine_attrs="drop_conflicts").sortby("seed")
        for point in itertools.product(*axes.values())
    ]
    first = next(iter(parts.values()))
    joined = join_static(rows, axes).transpose(*axes, ..., "seed", "update")
    joined = joined.assign_attrs(config=to_yaml(first))
    write_netcdf(joined, folder / "metrics.nc")
    return joined


def parts_of(folder: Path) -> list[Path]:
    """folder 下面各次运行的目录；名字是数的，按数的次序。"""
    found = [path.parent for path in folder.glob("[!.]*/config.yaml")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def axes_of(configs: list[PPOConfig]) -> dict[str, list]:
    """哪些键不同，各有哪些取值，按出现的次序；记录用的键和种子不算。"""
    values = {
        name: list(dict.fromkeys(getattr(cfg, name) for cfg in configs))
        for name, field in FIELDS.items()
        if field.metadata["kind"] != "log" and name not in ("seed", "num_seeds")
    }
    return {name: found for name, found in values.items() if len(found) > 1}


def point_of(cfg: PPOConfig, axes: dict[str, list]) -> tuple:
    """一份配置在网格上的哪一点。"""
    return tuple(getattr(cfg, name) for name in axes)


def check_whole(folder: Path, parts: dict[Path, PPOConfig], axes: dict[str, list]) -> None:
    """每一点、每个种子正好有一份，都做完了；不然就报错，说出是哪些。"""
    if not parts:
        raise RunDirError(f"{folder} 下面没有一次运行的目录。")
    unfinished = [path.name for path, cfg in parts.items() if not finished(path, cfg)]
    if (folder / "multirun.yaml").exists():
        there = len(expanded(saved_batch(folder)))
        if len(parts) < there:
            unfinished.append(f"还没有开始的 {there - len(parts)} 个")
    if unfinished:
        raise RunDirError(f"{folder} 里有没有做完的：{'、'.join(unfinished)}。")
    counts = Counter(
        (point_of(cfg, axes), seed) for cfg in parts.values() for seed in cfg.seeds
    )
    whole = folder / "config.yaml"  # train_share 写的
    seeds = load_config(whole).seeds if whole.exists() else sorted({s for _, s in counts})
    wanted = itertools.product(itertools.product(*axes.values()), seeds)
    wrong = [(point, seed) for point, seed in wanted if counts[point, seed] != 1]
    if wrong:
        point, seed = wrong[0]
        where = "、".join(f"{k}={v}" for k, v in [*zip(axes, point), ("seed", seed)])
        raise RunDirError(
            f"{folder} 里的各个目录张不成一个网格：{where} 有 {counts[wrong[0]]} 份，应当是 1 份"
            f"（这样的一共 {len(wrong)} 处）。请把同一次实验的目录，不多不少，放在一起。"
        )


def finished(path: Path, cfg: PPOConfig) -> bool:
    """一次运行的目录里，指标是不是全的。"""
    if not (path / "metrics.nc").exists():
        return False
    with xr.open_dataset(path / "metrics.nc", engine="h5netcdf") as metrics:
        return bool(metrics.attrs["complete"]) and metrics.sizes["update"] == cfg.num_updates
