"""故障注入：训练途中断电、中断、存盘坏掉、磁盘写满、跟踪出事，看丢了什么；再量存盘和跟踪的代价。

    python benchmarks/faults.py                  全部，约十分钟；表写进 benchmarks/faults.md
    python benchmarks/faults.py --only kill -9   只做名字里有这几个字的
    python benchmarks/faults.py --no-cost        不量代价

每一种故障都注入到真的进程里（``--worker`` 是被折腾的那一个）。算作“挺过”要同时满足：训练接上
（或照常）做完；指标与没有出事时逐位相同；跟踪漏掉的能补全。代价由同一个进程里轮流训练几遍得出。
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppo_lib import Diverged, PPOConfig, load_config, train
from ppo_lib.config import to_yaml

TABLE = Path(__file__).with_name("faults.md")
CFG = PPOConfig(
    env_name="CartPole-v1",
    total_timesteps=400_000,
    num_seeds=2,
    tracker="none",
)
"""被折腾的训练：195 次更新，十几块，每块存一份检查点。"""
OPTIONS = dict(progress=False, chunk_updates=16, checkpoint_every=1)
COST_CFG = PPOConfig(env_name="CartPole-v1", total_timesteps=2_000_000, num_seeds=10)
COST_ROUNDS = 5


class Fault(NamedTuple):
    """一种故障：名字，注入几次，注入一次的函数 (目录, 第几次) -> 是否挺过。"""

    name: str
    times: int
    inject: object
    lost: str  # 挺过的时候，丢了什么


# ---------------------------------------------------------------- 被折腾的进程


def worker(folder: Path) -> None:
    """在自己的进程里（接着）训练 folder 里的那次运行。"""
    cfg = load_config(folder / "cfg.yaml")
    print("start", flush=True)
    run = train(cfg, run_dir=folder / "run", resume=True, **OPTIONS)
    print("interrupted" if run.interrupted else "done", flush=True)


def start(folder: Path, **changes) -> subprocess.Popen:
    """起一个被折腾的进程，等它开始训练。"""
    folder.mkdir(parents=True, exist_ok=True)
    config = to_yaml(CFG) if not changes else to_yaml(PPOConfig(**vars(CFG) | changes))
    (folder / "cfg.yaml").write_text(config, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, __file__, "--worker", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().strip() == "start", process.stderr.read()
    return process


def finish(folder: Path) -> str:
    """再起一个进程，把剩下的训练完；返回它的 stderr。"""
    process = start(folder)
    out, err = process.communicate(timeout=300)
    if "done" not in out:
        raise RuntimeError(f"接不上：{err[-500:]}")
    return err


def intact(folder: Path) -> bool:
    """目录里的指标与一口气训练的逐位相同。"""
    import xarray as xr

    saved = xr.load_dataset(folder / "run/metrics.nc")
    return all(np.array_equal(saved[name], GOLD[name], equal_nan=True) for name in GOLD)


def chunks_saved(folder: Path) -> int:
    return len(list((folder / "run/metrics").glob("*.npz")))


def wait_for_chunk(folder: Path, n: int, process: subprocess.Popen) -> None:
    """等到存下了 n 块。"""
    deadline = time.monotonic() + 120
    while chunks_saved(folder) < n and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


# ---------------------------------------------------------------- 各种故障


def kill_9(folder: Path, i: int) -> bool:
    """随机的一刻 kill -9（编译时、训练时、存盘时都可能）。"""
    rng = np.random.default_rng(i)
    process = start(folder)
    if i % 4:  # 四次里三次落在训练和存盘的时候，一次落在最开头
        wait_for_chunk(folder, int(rng.integers(1, 12)), process)
    time.sleep(rng.uniform(0, 0.15))
    process.kill()
    process.communicate()
    finish(folder)
    return intact(folder)


def ctrl_c(folder: Path, i: int) -> bool:
    """SIGINT：应当存好、正常退出，再接上。"""
    process = start(folder)
    wait_for_chunk(folder, 2 + i, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    if "interrupted" not in out and "done" not in out:
        return False
    finish(folder)
    return intact(folder)


def damaged(how):
    """断电之后，最新的检查点又坏了。"""

    def inject(folder: Path, i: int) -> bool:
        process = start(folder)
        wait_for_chunk(folder, 4 + i, process)
        process.kill()
        process.communicate()
        saved = [p for p in (folder / "run/checkpoints").iterdir() if p.name.isdigit()]
        how(max(saved, key=lambda path: int(path.name)), i)
        finish(folder)
        return intact(folder)

    return inject


def biggest(folder: Path) -> Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def tear(checkpoint: Path, i: int) -> None:
    file = biggest(checkpoint)
    os.truncate(file, file.stat().st_size * (i + 1) // 7)


def flip(checkpoint: Path, i: int) -> None:
    file = biggest(checkpoint)
    content = bytearray(file.read_bytes())
    content[len(content) * (i + 1) // 7] ^= 0x10
    file.write_bytes(bytes(content))


def delete(checkpoint: Path, i: int) -> None:
    shutil.rmtree(checkpoint)


def full_disk(folder: Path, i: int) -> bool:
    """真的把一个很小的文件系统写满；要 root 才能挂载。"""
    folder.mkdir(parents=True)
    size = f"{500 + 100 * i}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        process = start(folder)
        _, err = process.communicate(timeout=300)
        said = "写不进" in err and "resume=True" in err
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        finish(folder)
        return said and intact(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


def can_mount() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount") is not None


def nan(folder: Path, i: int) -> bool:
    """学习率大得离谱：要停下，说出是哪里，参数停在还好的时候。"""
    cfg = PPOConfig(
        **vars(CFG)
        | dict(
            seed=i, optimizer="sgd", lr=10.0 ** (20 + i), max_grad_norm=1e30, anneal_lr=False
        )
    )
    try:
        train(cfg, run_dir=folder / "run", **OPTIONS)
    except Diverged as error:
        leaves = [np.isfinite(x).all() for x in _leaves(error.run.params)]
        return all(leaves) and "种子" in str(error) and (folder / "run/policy.npz").exists()
    return False


def _leaves(tree):
    for value in tree.values():
        yield from _leaves(value) if isinstance(value, dict) else [value]


def tracker_fault(how):
    """真的 W&B（离线）记到一半，跟踪进程出事；训练要照常，补记要补全。"""

    def inject(folder: Path, i: int) -> bool:
        process = start(folder, tracker="wandb", wandb_mode="offline")
        wait_for_chunk(folder, 1, process)
        deadline = time.monotonic() + 30
        while not (pids := tracker_processes(folder)) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3 * i)
        for pid in pids if how == "tree" else pids[:1]:
            try:
                os.kill(pid, signal.SIGSTOP if how == "stop" else signal.SIGKILL)
            except ProcessLookupError:
                pass
        out, err = process.communicate(timeout=300)
        replay = subprocess.run(
            [sys.executable, "-m", "ppo_lib", "track", folder / "run"], capture_output=True
        )
        status = json.loads((folder / "run/tracking/status.json").read_text())
        complete = status == {"logged": CFG.num_updates, "finished": True}
        return "done" in out and intact(folder) and replay.returncode == 0 and complete

    return inject


def tracker_processes(folder: Path) -> list[int]:
    """跟踪进程和它的后代的进程号，它自己在最前面。"""
    result = subprocess.run(
        ["pgrep", "-f", f"worker.py {folder / 'run'}"], capture_output=True, text=True
    )
    pids = [int(pid) for pid in result.stdout.split()]
    for pid in list(pids):
        below = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
        pids += [int(child) for child in below.stdout.split()]
    return pids


FAULTS = [
    Fault(
        "kill -9，随机的时刻", 20, kill_9, "无；最后一份检查点之后的那几块重新算，结果逐位相同"
    ),
    Fault("Ctrl-C（SIGINT）", 5, ctrl_c, "无"),
    Fault("断电，且最新的检查点被截断", 5, damaged(tear), "无；退回前一份检查点"),
    Fault("断电，且最新的检查点改了一个比特", 5, damaged(flip), "无；退回前一份检查点"),
    Fault("断电，且最新的检查点被删", 3, damaged(delete), "无；退回前一份检查点"),
    Fault("磁盘写满", 5, full_disk, "无；腾出空间后接上"),
    Fault("出现 NaN 或无穷大", 5, nan, "无；停在最后一份完好的状态"),
    Fault("跟踪进程被 kill -9", 5, tracker_fault("kill"), "无；漏记的补上"),
    Fault("跟踪进程连同 W&B 的后台服务被 kill -9", 3, tracker_fault("tree"), "无；漏记的补上"),
    Fault(
        "跟踪进程停住不动（SIGSTOP）",
        2,
        tracker_fault("stop"),
        "无；等一分钟后放弃，漏记的补上",
    ),
]


# ---------------------------------------------------------------- 代价


def measure_cost() -> tuple[dict[str, list[float]], list[float]]:
    """轮流训练：什么也不存、存盘、存盘并跟踪。返回 ({做法: 各轮的训练秒数}, 跟踪收尾的秒数)。"""
    import dataclasses

    ways = {
        "plain": None,
        "checkpoints": dataclasses.replace(COST_CFG, tracker="none"),
        "tracking": COST_CFG,
    }
    seconds, tails = {name: [] for name in ways}, []
    train(dataclasses.replace(COST_CFG, total_timesteps=100_000), progress=False)  # 编译
    for round_ in range(COST_ROUNDS):
        names = list(ways)[round_ % 3 :] + list(ways)[: round_ % 3]
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                begin = time.perf_counter()
                if ways[name] is None:
                    run = train(COST_CFG, progress=False)
                else:
                    run = train(ways[name], progress=False, run_dir=Path(folder) / "run")
                total = time.perf_counter() - begin
            seconds[name].append(run.run_seconds)
            if name == "tracking":
                tails.append(total - run.run_seconds)
    return seconds, tails


def cost_lines() -> list[str]:
    seconds, tails = measure_cost()
    plain = seconds["plain"]

    def ratio(name):
        each = [x / y - 1 for x, y in zip(seconds[name], plain)]
        return f"{statistics.median(each):+.1%}（各轮 {min(each):+.1%} 到 {max(each):+.1%}）"

    return [
        "",
        "## 存盘和跟踪的代价",
        "",
        f"CartPole-v1，{COST_CFG.num_seeds} 个种子 × {COST_CFG.total_timesteps / 1e6:g}M 步，"
        f"{COST_ROUNDS} 轮，每轮三种做法轮流；训练时间与同一轮里什么也不存的相比。",
        "",
        "| 做法 | 训练时间（秒，中位数） | 多花 |",
        "|---|---|---|",
        f"| 什么也不存 | {statistics.median(plain):.1f} | |",
        f"| 存盘：每块存指标，每 5 块存检查点 | {statistics.median(seconds['checkpoints']):.1f} | {ratio('checkpoints')} |",
        f"| 存盘，并离线记进 W&B | {statistics.median(seconds['tracking']):.1f} | {ratio('tracking')} |",
        "",
        f"跟踪进程优先级最低，训练时让着训练；训练做完之后，写文件和等它记完另要 {statistics.median(tails):.1f} 秒"
        f"（{min(tails):.1f} 到 {max(tails):.1f}）。",
    ]


# ---------------------------------------------------------------- 命令行


def run_faults(only: str) -> list[str]:
    lines = ["| 故障 | 注入 | 挺过 | 丢了什么 |", "|---|---|---|---|"]
    for fault in FAULTS:
        if only not in fault.name:
            continue
        if fault.inject is full_disk and not can_mount():
            lines.append(f"| {fault.name} | 没有做（要 root 才能挂载小的文件系统） | | |")
            continue
        survived = 0
        for i in range(fault.times):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    survived += fault.inject(Path(folder) / "job", i)
                except Exception as error:
                    print(f"  第 {i} 次没有挺过：{error}", file=sys.stderr)
        lost = fault.lost if survived == fault.times else "见运行时的输出"
        lines.append(f"| {fault.name} | {fault.times} | {survived} | {lost} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    global GOLD
    parser = argparse.ArgumentParser(description="注入故障，看丢了什么")
    parser.add_argument("--only", default="", help="只做名字里有这几个字的")
    parser.add_argument("--no-cost", action="store_true", help="不量存盘和跟踪的代价")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        warnings.simplefilter("default")
        # 从 shell 的后台启动时，SIGINT 会被忽略，而且传给子进程
        signal.signal(signal.SIGINT, signal.default_int_handler)
        worker(args.worker)
        return

    GOLD = train(CFG, progress=False).metrics
    lines = run_faults(args.only)
    if not args.no_cost:
        lines += cost_lines()
    if args.only:
        return
    date = datetime.date.today().isoformat()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    head = [
        "# 故障与代价",
        "",
        f"由 `python benchmarks/faults.py` 写出，{date}，{platform.system()} {platform.machine()}，{cores} 核。"
        "“挺过”指训练接上（或照常）做完，指标与没有出事时逐位相同，跟踪漏记的也补全了。",
        "",
    ]
    TABLE.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
