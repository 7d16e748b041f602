"""录制超参数网格，每一点几个种子，存进 book/data/grid_*.npz。

    python benchmarks/record_grid.py cartpole           # beta_1 × clip_eps × ent_coef
    python benchmarks/record_grid.py mountain_car
    python benchmarks/record_grid.py cartpole_lr        # beta_1 × lr
    python benchmarks/record_grid.py mountain_car_lr

一个 beta_1 录完就存下（_build/grid/），断了再运行一次，从没有录的那个接着录。有 GPU 就用 GPU。

grid_cartpole_again.npz 是 2026-11-30 用第一条命令重录、再改名的：第 10 章拿它与第一次录的比。
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path

import xarray as xr

from ppo_lib import PPOConfig, sweep
from ppo_lib.config import to_yaml
from ppo_lib.recorded import DATA_DIR, provenance, save_grid, thin

ROOT = Path(__file__).resolve().parents[1]
POINTS = 25
BETA_1 = [0.0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999]
CLIP_EPS = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5]
LR = [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2]
CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=5)
MOUNTAIN_CAR = PPOConfig(activation="tanh", total_timesteps=1_000_000, num_seeds=5)
GRIDS = {
    "cartpole": dict(
        config=CARTPOLE,
        axes=dict(
            beta_1=BETA_1, clip_eps=CLIP_EPS, ent_coef=[0.0, 0.003, 0.01, 0.03, 0.1, 0.3]
        ),
        scale=60,
    ),
    "mountain_car": dict(
        config=MOUNTAIN_CAR,
        axes=dict(
            beta_1=BETA_1, clip_eps=CLIP_EPS, ent_coef=[0.003, 0.01, 0.03, 0.05, 0.08, 0.15]
        ),
        scale=100,
    ),
    "cartpole_lr": dict(config=CARTPOLE, axes=dict(beta_1=BETA_1, lr=LR), scale=60),
    "mountain_car_lr": dict(
        config=dataclasses.replace(MOUNTAIN_CAR, ent_coef=0.05),
        axes=dict(beta_1=BETA_1, lr=LR),
        scale=100,
    ),
}


def record(name: str) -> None:
    """录一个网格。"""
    grid = GRIDS[name]
    cfg, axes = grid["config"], grid["axes"]
    folder = ROOT / "_build/grid" / name
    folder.mkdir(parents=True, exist_ok=True)
    for beta_1 in axes["beta_1"]:
        file = folder / f"{beta_1}.nc"
        if file.exists():
            continue
        start = time.perf_counter()
        ds = sweep(cfg, **axes | {"beta_1": [beta_1]})
        part = thin(ds["return"], POINTS).transpose(..., "seed", "point")
        part.attrs["seconds"] = time.perf_counter() - start
        part.to_netcdf(file.with_suffix(".tmp"), engine="h5netcdf")
        os.replace(file.with_suffix(".tmp"), file)
    parts = [xr.load_dataarray(folder / f"{beta_1}.nc") for beta_1 in axes["beta_1"]]
    seconds = sum(float(part.attrs["seconds"]) for part in parts)
    DATA_DIR.mkdir(exist_ok=True)
    save_grid(
        xr.concat(parts, "beta_1"),
        DATA_DIR / f"grid_{name}.npz",
        grid["scale"],
        provenance(
            f"python benchmarks/record_grid.py {name}",
            config=to_yaml(cfg),
            seconds=round(seconds),
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="录制超参数网格")
    parser.add_argument("name", choices=GRIDS)
    name = parser.parse_args().name
    record(name)
    path = DATA_DIR / f"grid_{name}.npz"
    print(json.dumps(dict(path=str(path.relative_to(ROOT)), bytes=path.stat().st_size)))


if __name__ == "__main__":
    main()
