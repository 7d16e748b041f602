"""活多了，用时和内存怎样跟着长。CartPole-v1，默认配置。

    python benchmarks/scaling.py           许多种子一起训练有多快：在这台机器上量，印出来
    python benchmarks/scaling.py --save    写进 book/data/scaling.json；请在有 GPU 的机器上
    python benchmarks/scaling.py --growth  种子 1 到 1000、环境 16 到 16384、网格 1 到 1000 个点，各要多少 CPU 时间、
                                           多占多少内存；约六分钟，写进 book/data/growth.json（Linux）；机器不空的，加 --busy

有 GPU 时，前两个在同一台机器的 CPU 上也量。各用一个新的进程，编译的时间不算在内。书里那份 scaling.json 是在
GPU 上的一批取整到 2 的幂之前、用同样的 train 调用量的。
"""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path

SIZES = {  # 后端 → (种子个数, 每个种子的步数)
    "gpu": ((1, 500_000), (10, 500_000), (1000, 200_000)),
    "cpu": ((1, 500_000), (10, 500_000), (160, 200_000)),
}

GROWTH = {  # 什么多了 → {多少: 做几次更新}；小的多做几次，量得准
    "seeds": {1: 800, 10: 100, 100: 32, 1000: 8},
    "envs": {16: 800, 64: 200, 256: 50, 1024: 16, 4096: 4, 16384: 2},
    "envs, 512 rows": {1024: 16, 4096: 4, 16384: 2},  # 小批次照旧是 512 行，所以切成更多份
    "members": {1: 800, 10: 100, 100: 32, 1000: 8},
}


def measure(backend: str) -> list[dict]:
    """在这个进程里量一个后端。"""
    import jax

    from ppo_lib import PPOConfig, train

    cores = f"{os.cpu_count()} 个 CPU 核"
    rows = []
    for seeds, steps in SIZES[backend]:
        cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=steps, num_seeds=seeds)
        run = train(cfg, progress=False)
        rows.append(
            dict(
                device=cores if backend == "cpu" else jax.devices()[0].device_kind,
                seeds=seeds,
                updates=cfg.num_updates,
                steps_per_second=round(run.steps_per_second),
                run_seconds=round(run.run_seconds, 2),
                jax=jax.__version__,
                date=datetime.date.today().isoformat(),
            )
        )
    return rows


def grow(kind: str, size: int) -> dict:
    """在这个进程里量一种活的一个大小：每 2048 步的 CPU 毫秒（两遍里小的），多占的内存 MB（第一遍）。"""
    from ppo_lib import PPOConfig, sweep, train

    num_envs = size if kind.startswith("envs") else 16
    seeds = size if kind == "seeds" else 1

    def once(updates: int):
        cfg = PPOConfig(
            env_name="CartPole-v1",
            num_envs=num_envs,
            num_seeds=seeds,
            num_minibatches=num_envs // 4 if kind.endswith("512 rows") else 4,
            total_timesteps=updates * num_envs * 128,
        )
        if kind == "members":
            rates = [4e-3 * 0.999**i for i in range(size)]
            return sweep(cfg, progress=False, lr=rates)
        return train(cfg, progress=False).metrics

    updates = GROWTH[kind][size]
    once(1)  # 编译
    before = memory("VmRSS")
    times, peaks = [], []
    for _ in range(2):
        Path("/proc/self/clear_refs").write_text("5")  # 最高水位从这里重新记
        used = cpu_seconds()
        once(updates)
        times.append(cpu_seconds() - used)
        peaks.append(memory("VmHWM", trim=False) - before)
    units = updates * size / (16 if kind.startswith("envs") else 1)
    return dict(
        size=size, updates=updates, ms=round(1e3 * min(times) / units, 3), mb=round(peaks[0], 1)
    )


def memory(what: str, trim: bool = True) -> float:
    """这个进程此刻（VmRSS）或最多时（VmHWM）占的 MB；先把空着的还给系统。"""
    if trim:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(re.search(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def cpu_seconds() -> float:
    """这个进程到此刻用了几秒的 CPU。"""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def in_a_new_process(backend: str, *arguments: str) -> list[dict]:
    """在新的进程里量；JAX 用哪个后端，要在它启动之前定好。"""
    env = os.environ | {"JAX_PLATFORMS": "cpu" if backend == "cpu" else "cuda"}
    command = [sys.executable, __file__, *(arguments or ("--backend", backend))]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def save(name: str, found) -> None:
    """写进 book/data。"""
    from ppo_lib.recorded import DATA_DIR

    text = json.dumps(found, ensure_ascii=False, indent=1)
    (DATA_DIR / name).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    if "--backend" in sys.argv:
        print(json.dumps(measure(sys.argv[-1]), ensure_ascii=False))
        return
    if "--one" in sys.argv:
        print(json.dumps(grow(sys.argv[-2], int(sys.argv[-1]))))
        return
    if "--growth" in sys.argv:
        found = {
            "command": "python benchmarks/scaling.py --growth",
            "date": datetime.date.today().isoformat(),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "busy": "--busy" in sys.argv,
        }
        for kind, sizes in GROWTH.items():
            found[kind] = []
            for size in sizes:
                found[kind].append(in_a_new_process("cpu", "--one", kind, str(size)))
                print(kind, found[kind][-1], flush=True)
        save("growth.json", found)
        return
    import jax

    backends = ["cpu"] if jax.default_backend() == "cpu" else ["gpu", "cpu"]
    rows = [row for backend in backends for row in in_a_new_process(backend)]
    print(json.dumps(rows, ensure_ascii=False, indent=1))
    if "--save" in sys.argv:
        save("scaling.json", rows)


if __name__ == "__main__":
    main()
