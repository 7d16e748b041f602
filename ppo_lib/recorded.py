"""录下的结果：太久、读者的机器等不起的实验，跑一次存进 book/data/，页面和滑块从那里读。

一个文件是一个超参数网格的学习曲线。每条曲线缩成几十个点，存成 16 位整数，附上来历：
配置、命令、设备、日期、花了多久、哪一次提交。由 benchmarks/record_grid.py 录制。
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr

IN_PACKAGE = Path(__file__).with_name("data")  # 装成包时，book/data 在这里（见 pyproject.toml）
DATA_DIR = IN_PACKAGE if IN_PACKAGE.exists() else Path(__file__).parents[1] / "book/data"
MISSING = np.iinfo(np.int16).min
"""16 位整数里代表 NaN 的那个数。"""


def thin(returns: xr.DataArray, points: int) -> xr.DataArray:
    """把 (…, update) 的回报缩成 (…, point)：更新分成 points 段，各段里有回合结束的更新求平均。"""
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
    path = Path(name) if str(name).endswith(".npz") else DATA_DIR / f"grid_{name}.npz"
    if not path.exists():
        there = "、".join(p.stem.removeprefix("grid_") for p in DATA_DIR.glob("grid_*.npz"))
        raise FileNotFoundError(
            f"没有名为 {name!r} 的记录；有的是：{there or '（一份也没有）'}。"
        )
    with np.load(path) as file:
        values = file["values"].astype(np.float32)
        values[file["values"] == MISSING] = np.nan
        dims = [str(dim) for dim in file["dims"]]
        coords = {dim: file[f"coord_{dim}"] for dim in dims if dim != "point"}
        coords["timesteps"] = ("point", file["timesteps"])
        attrs = json.loads(str(file["provenance"]))
        return xr.Dataset({"return": (dims, values / float(file["scale"]))}, coords, attrs)
