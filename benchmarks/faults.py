"""故障注入：训练途中断电、中断、出错、存盘坏掉、磁盘写满、跟踪出事，看丢了什么；再量存盘和跟踪的代价。

    python benchmarks/faults.py                  全部，约四十分钟；表写进 benchmarks/faults.md
    python benchmarks/faults.py --only kill -9   只做名字里有这几个字的
    python benchmarks/faults.py --no-cost        不量代价

每一种故障各注入二十次，在随机的时刻，到真的进程里（``--worker`` 是被折腾的那一个）。算作“挺过”要
同时满足：训练接上（或照常）做完；指标与没有出事时逐位相同；说的话与发生的事相符；跟踪漏掉的能补全。
代价由同一个进程里轮流训练几遍得出。
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import functools
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

from ppo_lib import Diverged, PPOConfig, load_config, load_policy, sweep, train
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
AXES = dict(activation=["relu", "tanh"])
COST_CFG = PPOConfig(env_name="CartPole-v1", total_timesteps=2_000_000, num_seeds=10)
COST_ROUNDS = 5


class Fault(NamedTuple):
    """一种故障：名字，注入一次的函数 (目录, 随机数) -> 是否挺过，挺过的时候丢了什么。"""

    name: str
    inject: object
    lost: str


# ---------------------------------------------------------------- 被折腾的进程


def worker(folder: Path, plan: str) -> None:
    """在自己的进程里（接着）训练 folder 里的那次运行；plan 是要出的事。"""
    cfg = load_config(folder / "cfg.yaml")
    kind, _, number = plan.partition(":")

    def fail(ds) -> None:
        if ds.sizes["update"] >= int(number):
            raise ZeroDivisionError("用户的函数出了错")

    print("start", flush=True)
    if kind == "sweep":
        sweep(cfg, run_dir=folder / "run", resume=True, **AXES, **OPTIONS)
        print("done", flush=True)
        return
    on_chunk = fail if kind == "fail" else None
    run = train(cfg, run_dir=folder / "run", resume=True, on_chunk=on_chunk, **OPTIONS)
    print("done" if run.complete else "interrupted", flush=True)


def start(folder: Path, plan: str = "", environment: dict | None = None, **changes):
    """起一个被折腾的进程，等它开始训练。"""
    folder.mkdir(parents=True, exist_ok=True)
    config = to_yaml(dataclasses.replace(CFG, **changes))
    (folder / "cfg.yaml").write_text(config, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, __file__, "--worker", str(folder), "--plan", plan],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )
    assert process.stdout.readline().strip() == "start", process.stderr.read()
    return process


def finish(folder: Path, plan: str = "") -> str:
    """再起一个进程，把剩下的训练完；返回它的 stderr。"""
    process = start(folder, plan)
    out, err = process.communicate(timeout=300)
    if "done" not in out:
        raise RuntimeError(f"接不上：{err[-500:]}")
    return err


def intact(folder: Path, gold=None) -> bool:
    """目录里的指标与一口气训练的逐位相同。"""
    saved, gold = xr.load_dataset(folder / "run/metrics.nc"), GOLD if gold is None else gold
    return saved.equals(gold) and saved.attrs.get("complete", 1) == 1


def chunks_saved(folder: Path) -> int:
    found = [(folder / "run").glob(f"{part}metrics/*.npz") for part in ("", "activation=*/")]
    return sum(len(list(files)) for files in found)


def random_moment(folder: Path, process: subprocess.Popen, rng) -> None:
    """等到随机的一刻：四次里三次落在训练和存盘的时候，一次落在最开头。"""
    chunks = int(rng.integers(1, 12)) if rng.random() < 0.75 else 0
    deadline = time.monotonic() + 120
    while chunks_saved(folder) < chunks and process.poll() is None:
        assert time.monotonic() < deadline, "等太久了"
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.15))


# ---------------------------------------------------------------- 停下


def kill_9(folder: Path, rng) -> bool:
    process = start(folder)
    random_moment(folder, process, rng)
    process.kill()
    process.communicate()
    finish(folder)
    return intact(folder)


def stopped_by(*numbers: int):
    """发信号（几个就接连发几个）：那一刻要存好，话要说对；然后接得上，一块也不重算。"""

    def inject(folder: Path, rng) -> bool:
        process = start(folder)
        random_moment(folder, process, rng)
        for number in numbers:
            process.send_signal(number)
            time.sleep(rng.uniform(0, 0.02))
        out, err = process.communicate(timeout=60)
        if (folder / "run/policy.npz").exists():
            saved = xr.load_dataset(folder / "run/metrics.nc")
            done = load_policy(folder / "run/policy.npz").update
            truthful = saved.equals(GOLD.isel(update=slice(done))) and "写不进" not in err
            whole = saved.attrs["complete"] == (done == CFG.num_updates)
            said = "done" in out or f"做了 {done} 次更新" in out + err
            if not (truthful and whole and said):
                return False
        finish(folder)
        return intact(folder)

    return inject


def sweep_stopped(folder: Path, rng) -> bool:
    """网格：没有跑完的不会当作结果，接得上。"""
    process = start(folder, "sweep")
    random_moment(folder, process, rng)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    claimed = "done" in out
    if claimed != (folder / "run/metrics.nc").exists():
        return False
    if not claimed and "KeyboardInterrupt" not in err:
        return False
    finish(folder, "sweep")
    return intact(folder, GOLD_GRID)


def user_error(folder: Path, rng) -> bool:
    """on_chunk 出错：错照样抛出，那一刻已经存好。"""
    at = int(rng.integers(1, CFG.num_updates))
    process = start(folder, f"fail:{at}")
    _, err = process.communicate(timeout=60)
    said = "ZeroDivisionError" in err and "run 属性" in err
    done = load_policy(folder / "run/policy.npz").update
    finish(folder)
    return said and at <= done < at + OPTIONS["chunk_updates"] and intact(folder)


def nan(folder: Path, rng) -> bool:
    """学习率大得离谱：要停下，说出是哪里，参数停在还好的时候。"""
    bad = dict(optimizer="sgd", lr=10.0 ** rng.uniform(18, 30), max_grad_norm=1e30)
    cfg = dataclasses.replace(CFG, seed=int(rng.integers(1000)), anneal_lr=False, **bad)
    try:
        train(cfg, run_dir=folder / "run", **OPTIONS)
    except Diverged as error:
        leaves = [np.isfinite(x).all() for x in jax.tree.leaves(error.run.params)]
        return all(leaves) and "种子" in str(error) and (folder / "run/policy.npz").exists()
    return False


# ---------------------------------------------------------------- 存盘


def damaged(how):
    """断电之后，最新的检查点又坏了：退回前一份，坏的那份不删。"""

    def inject(folder: Path, rng) -> bool:
        process = start(folder)
        while len(steps := checkpoints(folder)) < 2 and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate()
        newest = max(checkpoints(folder), key=lambda path: int(path.name))
        how(newest, rng)
        err = finish(folder)
        kept = "坏了" not in err or (folder / "run/unreadable").exists()
        return bool(steps) and kept and intact(folder)

    return inject


def checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("run/checkpoints/*") if path.name.isdigit()]


def biggest(folder: Path) -> Path:
    """装着数组的那个文件；orbax 合并之前的那份（ocdbt.process_0）一样大，坏了也不碍事，不算。"""
    whole = (path for path in folder.rglob("*") if "ocdbt.process_0" not in path.parts)
    files = [path for path in whole if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def tear(checkpoint: Path, rng) -> None:
    file = biggest(checkpoint)
    os.truncate(file, int(file.stat().st_size * rng.uniform(0, 0.99)))


def flip(checkpoint: Path, rng) -> None:
    file = biggest(checkpoint)
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.write_bytes(bytes(content))


def delete(checkpoint: Path, rng) -> None:
    shutil.rmtree(checkpoint)


def unreadable(folder: Path, rng) -> bool:
    """每一份检查点都坏了：停下，说清楚，什么也不动；放回原样就接得上。"""
    process = start(folder)
    while len(checkpoints(folder)) < 2 and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    whole = {file: file.read_bytes() for file in map(biggest, checkpoints(folder))}
    for path in checkpoints(folder):
        tear(path, rng)
    before = files_of(folder / "run")
    _, err = start(folder).communicate(timeout=60)
    said = "一份也读不出来" in err and "什么也没有删" in err
    if not said or files_of(folder / "run") != before:
        return False
    for file, content in whole.items():
        file.write_bytes(content)
    finish(folder)
    return intact(folder)


def files_of(folder: Path) -> dict[Path, bytes]:
    """目录里的文件和内容；锁里的进程号不算。"""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {path: path.read_bytes() for path in files}


def full_disk(folder: Path, rng) -> bool:
    """真的把一个很小的文件系统写满；要 root 才能挂载。"""
    folder.mkdir(parents=True)
    size = f"{int(rng.integers(100, 1000))}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        process = start(folder)
        out, err = process.communicate(timeout=300)
        said = "done" in out or ("写不进" in err and "resume=True" in err)
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        finish(folder)
        return said and intact(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


def can_mount() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount") is not None


# ---------------------------------------------------------------- 别的进程，别的设置


def at_once(folder: Path, rng) -> bool:
    """两个进程同时训练同一个目录：一个做完，另一个说清楚；或者先后做完。"""
    both = [start(folder) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    clear = all("done" in out or "另一次训练用着" in err for out, err in said)
    return any("done" in out for out, _ in said) and clear and intact(folder)


def other_settings(folder: Path, rng) -> bool:
    """断在随机的一刻，换一种 JAX 的设置接着训练，再断，再换回来。"""
    settings = ["JAX_ENABLE_X64", "JAX_DEBUG_NANS", "JAX_DISABLE_JIT"]
    process = start(folder, environment={str(rng.choice(settings)): "1"})
    random_moment(folder, process, rng)
    process.kill()
    process.communicate()
    finish(folder)
    return intact(folder)


def tracker_fault(how: str):
    """真的 W&B（离线）记到随机的一刻，跟踪进程出事；训练要照常，补记要补全。"""

    def inject(folder: Path, rng) -> bool:
        process = start(folder, tracker="wandb", wandb_mode="offline")
        pids = tracker_appears(folder, rng)
        for pid in pids if how == "tree" else pids[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if how == "stop" else signal.SIGKILL)
        out, err = process.communicate(timeout=300)
        replay = subprocess.run(
            [sys.executable, "-m", "ppo_lib", "track", folder / "run"], capture_output=True
        )
        status = json.loads((folder / "run/tracking/status.json").read_text())
        complete = status == {"logged": CFG.num_updates, "finished": True}
        return "done" in out and intact(folder) and replay.returncode == 0 and complete

    return inject


def orphan(folder: Path, rng) -> bool:
    """训练的进程被 kill -9：跟踪进程和它的后代都要在三十秒内走掉。"""
    process = start(folder, tracker="wandb", wandb_mode="offline", total_timesteps=4_000_000)
    family = tracker_appears(folder, rng)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(map(alive, family)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(family) and not any(map(alive, family))


def tracker_appears(folder: Path, rng) -> list[int]:
    """等跟踪进程起来，再过随机的一会儿；返回它和它的后代。"""
    deadline = time.monotonic() + 30
    while not tracker_processes(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 2))
    return tracker_processes(folder)


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


def alive(pid: int) -> bool:
    """一个进程在不在；已经结束、没有人收尸的不算。"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


NOTHING = "无；逐位相同"
FAULTS = [
    Fault("kill -9", kill_9, "无；最后一份检查点之后的那几块重新算，结果逐位相同"),
    Fault("Ctrl-C（SIGINT）", stopped_by(signal.SIGINT), NOTHING),
    Fault("接连三次 Ctrl-C", stopped_by(*[signal.SIGINT] * 3), NOTHING),
    Fault("SIGTERM", stopped_by(signal.SIGTERM), NOTHING),
    Fault("断线（SIGHUP）", stopped_by(signal.SIGHUP), NOTHING),
    Fault("网格中途 Ctrl-C", sweep_stopped, NOTHING),
    Fault("on_chunk 出错", user_error, NOTHING),
    Fault("出现 NaN 或无穷大", nan, "无；停在最后一份完好的状态"),
    Fault("断电，且最新的检查点被截断", damaged(tear), "无；退回前一份检查点，坏的留着"),
    Fault("断电，且最新的检查点改了一个比特", damaged(flip), "无；退回前一份检查点，坏的留着"),
    Fault("断电，且最新的检查点被删", damaged(delete), "无；退回前一份检查点"),
    Fault("断电，且检查点全都坏了", unreadable, "无；报错，什么也不动"),
    Fault("磁盘写满", full_disk, "无；腾出空间后接上"),
    Fault("两个进程同时用一个目录", at_once, NOTHING),
    Fault("断电，换一种 JAX 的设置", other_settings, NOTHING),
    Fault("跟踪进程被 kill -9", tracker_fault("kill"), "无；漏记的补上"),
    Fault("跟踪进程连同 W&B 的后台服务被 kill -9", tracker_fault("tree"), "无；漏记的补上"),
    Fault("跟踪进程停住不动（SIGSTOP）", tracker_fault("stop"), "无；不再等它，漏记的补上"),
    Fault("训练的进程被 kill -9 之后的跟踪进程", orphan, "无；没有留下没人管的进程"),
]


# ---------------------------------------------------------------- 代价


def measure_cost() -> tuple[dict[str, list[float]], list[float]]:
    """轮流训练：什么也不存、存盘、存盘并跟踪。返回 ({做法: 各轮的训练秒数}, 跟踪收尾的秒数)。"""
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


def survives(fault: Fault, i: int) -> bool:
    """注入第 i 次，看是否挺过。"""
    with tempfile.TemporaryDirectory() as folder:
        try:
            if fault.inject(Path(folder) / "job", np.random.default_rng(i)):
                return True
            why = "查出来不对"
        except Exception as error:
            why = repr(error)
    print(f"  {fault.name}，第 {i} 次没有挺过：{why}", file=sys.stderr, flush=True)
    return False


def run_faults(only: str, times: int, jobs: int) -> list[str]:
    lines = ["| 故障 | 注入 | 挺过 | 丢了什么 |", "|---|---|---|---|"]
    for fault in FAULTS:
        if only not in fault.name:
            continue
        if fault.inject is full_disk and not can_mount():
            lines.append(f"| {fault.name} | 没有做（要 root 才能挂载小的文件系统） | | |")
            continue
        with ThreadPoolExecutor(jobs) as pool:
            survived = sum(pool.map(functools.partial(survives, fault), range(times)))
        lost = fault.lost if survived == times else "见运行时的输出"
        lines.append(f"| {fault.name} | {times} | {survived} | {lost} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    global GOLD, GOLD_GRID
    parser = argparse.ArgumentParser(description="注入故障，看丢了什么")
    parser.add_argument("--only", default="", help="只做名字里有这几个字的")
    parser.add_argument("--times", type=int, default=20, help="每一种故障注入几次")
    parser.add_argument("--jobs", type=int, default=2, help="几个一起做")
    parser.add_argument("--no-cost", action="store_true", help="不量存盘和跟踪的代价")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plan", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        warnings.simplefilter("default")
        # 从 shell 的后台（或 nohup）启动时，信号会被忽略，而且传给子进程
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        worker(args.worker, args.plan)
        return

    GOLD = train(CFG, progress=False).metrics
    GOLD_GRID = sweep(CFG, progress=False, **AXES)
    lines = run_faults(args.only, args.times, args.jobs)
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
