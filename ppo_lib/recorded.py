"""录下的结果：太久、读者的机器等不起的实验，跑一次存进 book/data/，页面和滑块从那里读。

有两种文件，曲线都缩成几十个点，附上来历：配置、命令、设备、日期、花了多久、哪一次提交。

- grid_*.npz：一个超参数网格的学习曲线，由 benchmarks/record_grid.py 录制；
- runs_*.npz：一个实验的几种做法，各几个种子、几个指标，由 benchmarks/record_runs.py 录制。
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from pathlib import Path

import jax
import numpy as np
import xarray as xr

from ppo_lib._version import __version__

IN_PACKAGE = Path(__file__).with_name("data")  # 装成包时，book/data 在这里（见 pyproject.toml）
DATA_DIR = IN_PACKAGE if IN_PACKAGE.exists() else Path(__file__).parents[1] / "book/data"
MISSING = np.iinfo(np.int16).min
"""16 位整数里代表 NaN 的那个数。"""


def provenance(command: str, **more) -> dict:
    """来历：命令、设备、日期、版本、哪一次提交，加上 more。"""
    git = ["git", "-C", str(Path(__file__).parents[1]), "rev-parse", "--short", "HEAD"]
    return dict(
        command=command,
        device=jax.devices()[0].device_kind,
        cores=os.cpu_count(),
        date=datetime.date.today().isoformat(),
        commit=subprocess.run(git, capture_output=True, text=True).stdout.strip(),
        ppo_lib=__version__,
        jax=jax.__version__,
        **more,
    )


# ---------------------------------------------------------------- 超参数网格


def thin(returns: xr.DataArray, points: int) -> xr.DataArray:
    """把 (…, update) 的指标缩成 (…, point)：更新分成 points 段，各段里不是 NaN 的求平均。"""
    assert points <= returns.sizes["update"], "点比更新还多"
    edges = np.linspace(0, returns.sizes["update"], points + 1).astype(int)
    parts = [
        returns.isel(update=slice(low, high)).mean("update", skipna=True)
        for low, high in zip(edges[:-1], edges[1:])
    ]
    ends = returns["timesteps"].values[edges[1:] - 1]
    return xr.concat(parts, "point").assign_coords(timesteps=("point", ends))


def save_grid(returns: xr.DataArray, path: Path, scale: float, provenance: dict) -> None:
    """存一个网格。returns (各个轴, seed, point)，存成 round(回报 × scale) 的 16 位整数。"""
    values = np.round(returns.values * scale)
    assert np.nanmax(np.abs(values)) < -MISSING, "scale 太大，16 位整数装不下"
    coords = {name: returns[name].values for name in returns.dims if name != "point"}
    np.savez_compressed(
        path,
        dims=np.array(returns.dims),
        values=np.where(np.isnan(values), MISSING, values).astype(np.int16),
        scale=scale,
        timesteps=returns["timesteps"].values,
        provenance=json.dumps(provenance, ensure_ascii=False),
        **{f"coord_{name}": x for name, x in coords.items()},
    )


def load_grid(name: str | Path) -> xr.Dataset:
    """读一个录下的网格，例如 ``load_grid("cartpole")``；也可以给文件的路径。

    Returns:
        变量 ``return``，维 (各个轴, seed, point)，坐标 timesteps (point,)；来历在 ``.attrs`` 里。

    Raises:
        FileNotFoundError: 没有这份记录；信息里列出有哪些。
    """
    with np.load(find("grid", name)) as file:
        values = file["values"].astype(np.float32)
        values[file["values"] == MISSING] = np.nan
        dims = [str(dim) for dim in file["dims"]]
        coords = {dim: file[f"coord_{dim}"] for dim in dims if dim != "point"}
        coords["timesteps"] = ("point", file["timesteps"])
        attrs = json.loads(str(file["provenance"]))
        return xr.Dataset({"return": (dims, values / float(file["scale"]))}, coords, attrs)


def find(kind: str, name: str | Path) -> Path:
    """一份记录的路径；没有就列出有哪些。"""
    path = Path(name) if str(name).endswith(".npz") else DATA_DIR / f"{kind}_{name}.npz"
    if not path.exists():
        there = sorted(p.stem.removeprefix(f"{kind}_") for p in DATA_DIR.glob(f"{kind}_*.npz"))
        raise FileNotFoundError(
            f"没有名为 {name!r} 的记录；有的是：{'、'.join(there) or '（一份也没有）'}。"
        )
    return path


# ---------------------------------------------------------------- 几种做法的对比


def save_runs(runs: xr.Dataset, path: Path, provenance: dict) -> None:
    """存一个实验。runs 的每个指标是 (variant, seed, point)，留四位有效数字；坐标 timesteps (variant, point)。"""
    np.savez_compressed(
        path,
        variant=runs["variant"].values.astype(str),
        seed=runs["seed"].values,
        timesteps=runs["timesteps"].transpose("variant", "point").values,
        provenance=json.dumps(provenance, ensure_ascii=False),
        **{
            f"metric_{name}": four_digits(x.transpose("variant", "seed", "point").values)
            for name, x in runs.data_vars.items()
        },
    )


def four_digits(values: np.ndarray) -> np.ndarray:
    """舍入到四位有效数字的 float32：尾数只留 13 位，其余是 0，压缩得下去。"""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(1 << 9)) & np.uint32(0xFFFFFC00)).view(np.float32)
    return np.where(np.isfinite(values), rounded, np.float32(np.nan))


def load_runs(name: str | Path) -> xr.Dataset:
    """读一个录下的实验，例如 ``load_runs("ch09_three_changes")``；也可以给文件的路径。

    Returns:
        每个指标是 (variant, seed, point)，坐标 timesteps (variant, point)；来历在 ``.attrs`` 里。

    Raises:
        FileNotFoundError: 没有这份记录；信息里列出有哪些。
    """
    with np.load(find("runs", name)) as file:
        metrics = {
            key.removeprefix("metric_"): (("variant", "seed", "point"), file[key])
            for key in file.files
            if key.startswith("metric_")
        }
        coords = {
            "variant": file["variant"],
            "seed": file["seed"],
            "timesteps": (("variant", "point"), file["timesteps"]),
        }
        return xr.Dataset(metrics, coords, json.loads(str(file["provenance"])))
