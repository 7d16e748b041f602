"""ppo_lib 与几个同类的吞吐量：同一台机器、同一次运行、同样的运算，印一张带比值的表。

    python benchmarks/throughput.py                          # 全部，约 15 分钟；表写进 throughput.md
    python benchmarks/throughput.py --quick --only rejax     # 只看能不能跑
    python benchmarks/throughput.py --only rejax --env Breakout-MinAtar    # 换一个环境，表只印出来
    python benchmarks/throughput.py --out result.json        # 同时把每一次测量写成 JSON

怎么量：
- 负载见 ``peers/workload.py``；每家怎样对应到这份负载、哪里对不齐，写在 ``peers/*.py`` 的开头。
- 每次测量是一个新进程，只用 CPU，不用编译缓存。先训练一遍热身（编译），再计时几遍取中位数；
  一遍的长短由试跑定：不少于 ``--min-seconds`` 秒，整个训练都编译的两家还不少于 2M 步。
- 每一轮里 ppo_lib 和对手成对地挨着跑，下一轮换先后；比值在同一对里算，表里给各轮的中位数和
  [最小, 最大]。绝对速度换一台机器就变，比值才值得引用。
- 用 JAX 的三家都设 ``XLA_FLAGS``（见 ``SCHEDULER_FLAG``）：不设它，vmap 的训练在两核机器上可能卡死，
  而且更慢。ppo_lib 自己的编译选项算作它的一部分，见 ``peers/ours.py``。

对手装在 ``.bench/`` 下各自的虚拟环境里，版本和哈希锁在 ``peers/*.lock``。只有 torch 例外：CPU 版和
CUDA 版的哈希不同，锁住一个就装不了另一个，所以它只钉版本（``TORCH``），由 pip 按你的设置去找。Linux 上
pip 默认会取好几 GB 的 CUDA 版；想要 CPU 版，请先让 pip 找得到它（PIP_FIND_LINKS 或 PIP_EXTRA_INDEX_URL）。

只用标准库，需要 Linux 或 macOS。
"""

from __future__ import annotations

import argparse
import datetime
import difflib
import hashlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import NamedTuple

from peers.workload import BATCH_SIZE, WORKLOAD

ROOT = Path(__file__).resolve().parents[1]
PEERS_DIR = Path(__file__).resolve().parent / "peers"
VENV_DIR = ROOT / ".bench"
TABLE = Path(__file__).with_suffix(".md")
TRIAL_UPDATES = 50
"""试跑的更新次数。"""
ENV_NAME = "CartPole-v1"
TORCH = "torch==2.13.0"
SCHEDULER_FLAG = "--xla_cpu_enable_concurrency_optimized_scheduler=false"


class System(NamedTuple):
    """一个参赛者。"""

    label: str  # 表里的名字
    script: str  # peers/ 下的脚本
    package: str  # 以哪个包的版本为准；空串表示不写版本
    env: str | None  # .bench/ 下的虚拟环境，也是锁文件的名字；None 表示当前解释器
    seeds: tuple[int, ...]  # 会同时训练几个种子
    jitted: bool  # 整个训练都在编译好的程序里


OURS = "ours"
SYSTEMS = {
    OURS: System("ppo_lib", "ours.py", "", None, (1, 10), True),
    "rejax": System("rejax", "rejax_ppo.py", "rejax", "rejax", (1, 10), True),
    "sbx": System("sbx", "sbx_ppo.py", "sbx-rl", "sb3", (1,), False),
    "sb3": System("Stable-Baselines3", "sb3_ppo.py", "stable-baselines3", "sb3", (1,), False),
}
PEERS = tuple(name for name in SYSTEMS if name != OURS)
SEED_COUNTS = SYSTEMS[OURS].seeds


class MeasureError(RuntimeError):
    """一次测量没有得到结果；信息是给人看的中文。"""


# ---------------------------------------------------------------- 虚拟环境


def prepare(env: str | None) -> str:
    """建好（或沿用）一个对手的虚拟环境，返回其解释器的路径。"""
    if env is None:
        return sys.executable
    folder, lock = VENV_DIR / env, PEERS_DIR / f"{env}.lock"
    python, stamp = str(folder / "bin" / "python"), folder / "installed"
    wanted = hashlib.sha256(lock.read_bytes() + TORCH.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python

    say(f"建虚拟环境 .bench/{env}，按 {lock.name} 安装……")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    _install_step([sys.executable, "-m", "venv", "--clear", str(folder)])
    # 锁文件是完整的（torch 除外），所以不必解析依赖；最后由 pip check 核对。
    _install_step([*pip, "install", "-qq", "--no-deps", "--require-hashes", "-r", str(lock)])
    if env == "sb3":
        _install_step([*pip, "install", "-qq", TORCH])
    _install_step([*pip, "check"])
    stamp.write_text(wanted)
    return python


def _install_step(command: list[str]) -> None:
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode:
        raise SystemExit(f"安装失败（退出码 {done.returncode}）：{' '.join(command)}")


# ---------------------------------------------------------------- 一次测量


def measure(
    name: str, env_name: str, num_seeds: int, steps: int, repeat: int, timeout: float
) -> dict:
    """在新进程里量一次。

    Args:
        steps: 每个种子、每一遍的步数。
        repeat: 热身之后计时几遍。
        timeout: 秒。

    Returns:
        peers/workload.py 的 ``main`` 印出的那些键。

    Raises:
        MeasureError: 超时、退出码不为 0，或者输出读不懂。
    """
    system = SYSTEMS[name]
    command = [
        prepare(system.env),
        str(PEERS_DIR / system.script),
        f"--env={env_name}",
        f"--seeds={num_seeds}",
        f"--steps={steps}",
        f"--repeat={repeat}",
    ]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=worker_environ(name),
            timeout=timeout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except subprocess.TimeoutExpired:
        raise MeasureError(f"超过 {timeout:g} 秒没有跑完") from None
    if done.returncode:
        raise MeasureError(f"退出码 {done.returncode}\n{done.stderr[-2000:]}")
    return parse_result(done.stdout)


def worker_environ(name: str) -> dict[str, str]:
    """测量进程的环境变量：只用 CPU，不用编译缓存，关掉会卡死的调度器。"""
    inherited = {
        k: v
        for k, v in os.environ.items()
        if k not in ("PYTHONPATH", "PYTHONHOME", "JAX_COMPILATION_CACHE_DIR")
    }
    return inherited | {
        "PYTHONPATH": str(ROOT) if name == OURS else "",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {SCHEDULER_FLAG}".strip(),
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }


def parse_result(stdout: str) -> dict:
    """取标准输出最后一行的 JSON（前面可能有库自己印的东西）。"""
    lines = stdout.strip().splitlines()
    try:
        result = json.loads(lines[-1])
        if result["steps_per_second"] > 0:
            return result
    except (IndexError, ValueError, KeyError, TypeError):
        pass
    raise MeasureError(f"读不懂测量进程的输出：{lines[-1:]}")


# ---------------------------------------------------------------- 一次比较


def steps_per_seed(num_seeds: int, rate: float, min_seconds: float, min_steps: int) -> int:
    """一遍该跑多长，每个种子的步数：够 min_seconds 秒、够 min_steps 步（各种子合计），取整到更新。

    Args:
        rate: 试跑得到的速度，各种子合计，步/秒。
    """
    total = max(min_steps, 1.2 * min_seconds * rate)  # 试跑很短，偏慢，留两成余地
    return math.ceil(total / num_seeds / BATCH_SIZE) * BATCH_SIZE


def find_lengths(runs: list[tuple[str, int]], args) -> dict[tuple[str, int], int]:
    """每个 (参赛者, 种子数) 试跑一次，定下一遍的步数；试跑失败的不在结果里。"""
    lengths = {}
    for name, num_seeds in runs:
        try:
            trial = measure(
                name, args.env, num_seeds, TRIAL_UPDATES * BATCH_SIZE, 1, args.timeout
            )
        except MeasureError as error:
            say(f"试跑 {name}，{num_seeds} 个种子：失败，{error}")
            continue
        min_steps = args.min_steps if SYSTEMS[name].jitted else 0
        lengths[name, num_seeds] = steps_per_seed(
            num_seeds, trial["steps_per_second"], args.min_seconds, min_steps
        )
        say(
            f"试跑 {name}，{num_seeds} 个种子：{trial['steps_per_second']:,.0f} 步/秒，"
            f"一遍取 {num_seeds} × {lengths[name, num_seeds]:,} 步"
        )
    return lengths


def compare(pairs: list[tuple[str, int]], args) -> list[dict]:
    """跑完全部轮次。

    Args:
        pairs: (对手, 种子数)；每一对在每一轮里都与 ppo_lib 挨着各量一次。

    Returns:
        每次测量一条记录：round、peer（属于哪一对）、system、num_seeds、steps，
        以及测量结果的各键；没量成的只有 ``error``。
    """
    runs = sorted(
        {(name, n) for peer, n in pairs for name in (OURS, peer)},
        key=lambda run: (run[1], list(SYSTEMS).index(run[0])),
    )
    lengths = find_lengths(runs, args)
    records = []
    for round_ in range(args.rounds):
        for peer, num_seeds in pairs:
            for name in (OURS, peer) if round_ % 2 == 0 else (peer, OURS):
                record = dict(round=round_, peer=peer, system=name, num_seeds=num_seeds)
                try:
                    if (name, num_seeds) not in lengths:
                        raise MeasureError("试跑就没有成功")
                    record["steps"] = lengths[name, num_seeds]
                    record |= measure(
                        name, args.env, num_seeds, record["steps"], args.repeat, args.timeout
                    )
                    outcome = f"{record['steps_per_second']:,.0f} 步/秒"
                except MeasureError as error:
                    record["error"] = str(error)
                    outcome = f"失败，{error}"
                say(f"第 {round_ + 1}/{args.rounds} 轮，{name}，{num_seeds} 个种子：{outcome}")
                records.append(record)
    return records


# ---------------------------------------------------------------- 汇总与打印


def ratios(records: list[dict], peer: str, num_seeds: int) -> list[float]:
    """(轮,) ppo_lib 的速度 / 对手的速度，只在同一轮的同一对里相除；有一方没量成的轮跳过。"""
    speed = {
        (r["round"], r["system"]): r["steps_per_second"]
        for r in records
        if r["peer"] == peer and r["num_seeds"] == num_seeds and "error" not in r
    }
    return [
        speed[round_, OURS] / speed[round_, peer]
        for round_, system in sorted(speed)
        if system == peer and (round_, OURS) in speed
    ]


def summarise(records: list[dict], peers: tuple[str, ...]) -> list[dict]:
    """每个 (种子数, 参赛者) 一行：各项的中位数，和比值 (中位数, 最小, 最大)；没有的是 None。"""
    rows = []
    for num_seeds in SEED_COUNTS:
        if not any(num_seeds in SYSTEMS[peer].seeds for peer in peers):
            continue  # 没有对手会，ppo_lib 也就没有量
        for name in (OURS, *peers):
            done = [
                r
                for r in records
                if r["system"] == name and r["num_seeds"] == num_seeds and "error" not in r
            ]
            row = dict(
                system=name, num_seeds=num_seeds, supported=num_seeds in SYSTEMS[name].seeds
            )
            for key in ("steps_per_second", "compile_seconds", "peak_mb"):
                row[key] = statistics.median(r[key] for r in done) if done else None
            row["version"] = done[0]["versions"].get(SYSTEMS[name].package) if done else None
            found = ratios(records, name, num_seeds) if name != OURS else []
            row["ratio"] = (statistics.median(found), min(found), max(found)) if found else None
            rows.append(row)
    return rows


HEADER = ("参赛者", "种子", "步/秒", "ppo_lib 快几倍", "首次/s", "峰值内存/MB")
NOTES = """\
步/秒：环境步数，各种子合计，热身之后，各轮的中位数。
ppo_lib 快几倍：ppo_lib 的步/秒除以它的步/秒，逐轮相除，中位数 [最小, 最大]。
首次：第一遍训练比之后多花的秒数，几乎全是编译（SB3 不编译，是 PyTorch 的首次准备）。
峰值内存：整个进程，含解释器和库。步/秒一栏的 -：它没有同时训练几个种子的写法。"""


def render(rows: list[dict]) -> str:
    """``summarise`` 的结果 → 对齐的文字表。"""
    cells = [HEADER]
    for row in rows:
        label = SYSTEMS[row["system"]].label + (f" {row['version']}" if row["version"] else "")
        if row["steps_per_second"] is None:
            missing = "失败" if row["supported"] else "-"
            cells.append((label, str(row["num_seeds"]), missing, "-", "-", "-"))
            continue
        ratio = "%.2f [%.2f, %.2f]" % row["ratio"] if row["ratio"] else "-"
        cells.append(
            (
                label,
                str(row["num_seeds"]),
                f"{row['steps_per_second']:,.0f}",
                ratio,
                f"{row['compile_seconds']:.1f}",
                f"{row['peak_mb']:,.0f}",
            )
        )
    widths = [max(map(display_width, column)) for column in zip(*cells)]
    lines = []
    for line in cells:
        padding = [" " * (width - display_width(cell)) for cell, width in zip(line, widths)]
        first, *rest = line
        lines.append(
            "  ".join([first + padding[0], *(p + c for p, c in zip(padding[1:], rest))])
        )
    lines.insert(1, "-" * display_width(lines[0]))
    return "\n".join(lines)


def as_markdown(text: str, rounds: int) -> str:
    """印出的文字 → ``throughput.md`` 的内容。"""
    head = f"# 与同类比速度\n\n由 `python benchmarks/throughput.py` 写出，{rounds} 轮。"
    return f"{head}\n\n```text\n{text}\n```\n"


def display_width(text: str) -> int:
    """等宽字体里占几列；汉字和全角标点占两列。"""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def machine_facts() -> dict:
    """这台机器和此刻：CPU 型号、核数、一分钟负载、系统、Python、日期。"""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return dict(
        cpu=model,
        cores=cores,
        load=round(os.getloadavg()[0], 2),
        system=platform.system(),
        python=platform.python_version(),
        date=datetime.date.today().isoformat(),
    )


def describe(machine: dict, env_name: str, records: list[dict]) -> str:
    """表上方的几行：机器、日期、负载、各家的版本。"""
    lines = [
        "{cpu}，{cores} 核，开始时负载 {load}；{system}，Python {python}；{date}".format(
            **machine
        ),
        "PPO，{env_name}，{num_envs} 个环境 × {num_steps} 步，{update_epochs} 遍 × {num_minibatches} 个小批次，"
        "策略和价值各一个 {hidden_sizes} 网络，只用 CPU".format(env_name=env_name, **WORKLOAD),
    ]
    versions = {r["system"]: r["versions"] for r in records if "error" not in r}
    for name, found in versions.items():
        packages = "，".join(f"{package} {version}" for package, version in found.items())
        lines.append(f"  {SYSTEMS[name].label}: {packages}")
    return "\n".join(lines)


# ---------------------------------------------------------------- 命令行


def say(message: str) -> None:
    """进度，写到标准错误。"""
    print(message, file=sys.stderr, flush=True)


def parse_only(text: str) -> tuple[str, ...]:
    """``"rejax,sb3"`` → 对手的名字，次序按 SYSTEMS。"""
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in PEERS:
            near = difflib.get_close_matches(name, PEERS, n=1, cutoff=0.4)
            hint = f"最接近的是 {near[0]!r}；" if near else ""
            raise argparse.ArgumentTypeError(
                f"没有名为 {name!r} 的对手；{hint}可以写：{', '.join(PEERS)}"
            )
    return tuple(name for name in PEERS if name in wanted)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """命令行参数；``--quick`` 只改没有写明的那些。"""
    parser = argparse.ArgumentParser(
        description="ppo_lib 与 rejax、sbx、Stable-Baselines3 的吞吐量，一张带比值的表。"
    )
    parser.add_argument(
        "--quick", action="store_true", help="一轮，一遍，很短：只看能不能跑，数字不作数"
    )
    parser.add_argument(
        "--env", default=ENV_NAME, help=f"环境（默认 {ENV_NAME}；sbx 和 SB3 没有 MinAtar）"
    )
    parser.add_argument(
        "--only",
        type=parse_only,
        default=PEERS,
        metavar="NAMES",
        help=f"只比这些对手，逗号隔开（{', '.join(PEERS)}）",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="把全部测量写成 JSON")
    parser.add_argument("--rounds", type=int, help="几轮（默认 3）")
    parser.add_argument("--repeat", type=int, help="每次测量，热身之后计时几遍（默认 3）")
    parser.add_argument("--min-seconds", type=float, help="一遍至少几秒（默认 3）")
    parser.add_argument(
        "--min-steps", type=int, help="整个训练都编译的两家，一遍至少几步（默认 2,000,000）"
    )
    parser.add_argument(
        "--timeout", type=float, default=600, help="一次测量最多几秒（默认 600）"
    )
    args = parser.parse_args(argv)
    defaults = (
        dict(rounds=1, repeat=1, min_seconds=0.5, min_steps=200_000)
        if args.quick
        else dict(rounds=3, repeat=3, min_seconds=3.0, min_steps=2_000_000)
    )
    for key, value in defaults.items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    return args


def main(argv: list[str] | None = None) -> int:
    """返回退出码：有一次测量没量成就是 1。"""
    args = parse_args(argv)
    for name in (OURS, *args.only):
        prepare(SYSTEMS[name].env)
    machine = machine_facts()
    if machine["load"] > 0.25 * machine["cores"]:
        say(f"注意：机器不空闲（一分钟负载 {machine['load']}），结果会晃动。")

    pairs = [(peer, n) for n in SEED_COUNTS for peer in args.only if n in SYSTEMS[peer].seeds]
    records = compare(pairs, args)
    rows = summarise(records, args.only)
    text = "\n\n".join([describe(machine, args.env, records), render(rows), NOTES])
    print(text)
    failed = any("error" in r for r in records)
    if (args.only, args.env) == (PEERS, ENV_NAME) and not args.quick and not failed:
        TABLE.write_text(as_markdown(text, args.rounds), encoding="utf-8")
        say(f"写好了 {TABLE.name}")
    if args.out:
        settings = {
            k: getattr(args, k) for k in ("rounds", "repeat", "min_seconds", "min_steps")
        }
        report = dict(
            machine=machine,
            workload=WORKLOAD | {"env_name": args.env},
            settings=settings,
            summary=rows,
            measurements=records,
        )
        args.out.write_text(
            json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
        say(f"写好了 {args.out}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
