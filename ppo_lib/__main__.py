"""命令行：``python -m ppo_lib 键=值 …``。

    python -m ppo_lib total_timesteps=10000 num_seeds=1 num_envs=4
    python -m ppo_lib --multirun beta_1=0.2,0.9
    python -m ppo_lib --help

覆盖、多次运行（``--multirun``）和输出目录都由 Hydra 管；配置的检查和报错由 ppo_lib 管。
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ppo_lib.arguments import prepared
from ppo_lib.batch import CALLBACK, BeforeJobs, resume_arguments, summary
from ppo_lib.config import allowed, by_group, load_config, yaml_value
from ppo_lib.gather import gather
from ppo_lib.jobs import explained, run_alone, run_one, stop
from ppo_lib.progress import put, say
from ppo_lib.run_dir import absolute, lock, numbered
from ppo_lib.tracking import start_tracking

USAGE = """用法：python -m ppo_lib [键=值 …]
      python -m ppo_lib --multirun 键=值1,值2 …
      python -m ppo_lib resume 目录 [键=值 …]
      python -m ppo_lib gather 目录
      python -m ppo_lib track 目录 [键=值 …]

训练一次 PPO，默认配置在 ppo_lib/config_ppo.yaml，就是原指南的那次运行。
结果存进 outputs/日期/时间/（--multirun 存进 multirun/）：
  metrics.nc   每个种子、每次更新的指标，用 xarray.open_dataset 打开
  policy.npz   训练结束时的策略，用 ppo_lib.load_policy 打开
  config.yaml  这次运行的完整配置
  tracking/    W&B（默认离线）、TensorBoard 或 SwanLab 的记录

--multirun 先查全部组合，有不合法的就一个也不开始；训练中有一个出了错，原因写进它的 failed.txt，其余照做。
加上 hydra/launcher=ray 或 hydra/launcher=submitit_slurm，交给 Ray 或 Slurm，见书里的“从笔记本到集群”。
resume 从目录里最新的检查点接着训练，与一口气训练逐位相同；目录可以是 --multirun 的一整批：做完的不再做，
失败的再试。已经做完的，用 total_timesteps=更多的步数 再训练一段。
gather 把一批（或几台机器上的几份）的指标合成一个 xarray 文件：目录下的 metrics.nc。
track 把目录里的指标补记（或改记）进跟踪器，例如 track 目录 tracker=tensorboard。

例子：
  python -m ppo_lib total_timesteps=10000 num_seeds=1 num_envs=4    快速测试
  python -m ppo_lib env_name=CartPole-v1 total_timesteps=500000     学会平衡一根杆
  python -m ppo_lib --multirun beta_1=0.2,0.9                       依次训练两个 beta_1
  python -m ppo_lib resume outputs/日期/时间 total_timesteps=4000000  再训练一段

选项：
  -m, --multirun      逗号隔开的取值各训练一次
  -h, --help          这份说明
  --hydra-help        Hydra 自己的说明（输出目录、启动器插件等）

退出码：0 全部做完；1 出了错，或一批里有没有做完的；130 被 Ctrl-C 停下，已经存好。

键（默认值；允许的取值）："""


LAUNCHERS = str(Path(__file__).parent / "launchers")
"""Hydra 在 ``sys.path`` 的各个 hydra_plugins 里找启动器，这里面是 ppo_lib 自己的。"""


def help_text() -> str:
    """``--help`` 的全文，键的说明从 PPOConfig 的字段里来。"""
    lines = [USAGE]
    for group, fields in by_group():
        lines.append(f"\n  [{group}]")
        for field in fields:
            lines.append(f"  {field.name} = {yaml_value(field.default)}")
            lines.append(f"      {field.metadata['help']}（{allowed(field)}）")
    return "\n".join(lines)


def train_command(arguments: list[str]) -> None:
    """``python -m ppo_lib [键=值 …]``：交给 Hydra；``--multirun`` 的，做完后说一说各个怎样了。"""
    if LAUNCHERS not in sys.path:
        sys.path.append(LAUNCHERS)
    sys.argv[1:] = [CALLBACK, *prepared(arguments)]
    BeforeJobs.batch = []
    code = 0
    try:
        run_one()
    except KeyboardInterrupt:
        if not BeforeJobs.batch:
            raise
        code = 130
    except SystemExit as error:
        if not BeforeJobs.batch:
            raise
        code = error.code
    if BeforeJobs.batch:
        whole, text = summary(BeforeJobs.batch, BeforeJobs.folder)
        say(text)
        if code or not whole:
            sys.exit(code or 1)


def resume_command(arguments: list[str]) -> None:
    """``python -m ppo_lib resume 目录 [键=值 …]``。"""
    if not arguments:
        sys.exit("用法：python -m ppo_lib resume 目录 [total_timesteps=更多的步数]")
    folder, changes = absolute(arguments[0]), arguments[1:]
    if (folder / "multirun.yaml").exists():
        train_command(resume_arguments(folder, changes))
    else:
        cfg = load_config(folder / "config.yaml", changes)
        run_alone(lambda: cfg, folder, resume=True)


def gather_command(arguments: list[str]) -> None:
    """``python -m ppo_lib gather 目录``：各个目录的指标合成一个文件。"""
    if len(arguments) != 1:
        sys.exit("用法：python -m ppo_lib gather 目录")
    sizes = gather(arguments[0]).sizes
    shape = " × ".join(f"{name} {size}" for name, size in sizes.items())
    say(f"合成了一个，{shape}：{absolute(arguments[0]) / 'metrics.nc'}")


def track_command(arguments: list[str]) -> None:
    """``python -m ppo_lib track 目录 [键=值 …]``：把已有的指标从头记一遍。"""
    if not arguments:
        sys.exit("用法：python -m ppo_lib track 目录 [键=值 …]")
    folder = absolute(arguments[0])
    cfg = load_config(folder / "config.yaml", arguments[1:])
    with closing(lock(folder)):  # 正训练着的，跟踪进程也在记
        tracking = start_tracking(folder, cfg, follow=False)
        if tracking is None:
            sys.exit(f"没有记录：tracker = {cfg.tracker!r}，wandb_mode = {cfg.wandb_mode!r}。")
        recorded = max((end for end, _ in numbered(folder / "metrics")), default=0)
        try:
            complete, message = tracking.wait(recorded)
        except KeyboardInterrupt:
            stop(tracking.give_up(recorded, "没有等它记完")[1], 130)
    say(message)
    if not complete:
        sys.exit(1)


COMMANDS = {"resume": resume_command, "gather": gather_command, "track": track_command}


# ---------------------------------------------------------------- 终端


@contextmanager
def terminal():
    """终端是什么样子都不要紧：不认得中文、已经关上、写不进去，训练照常，退出码照旧。"""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # 关着的 0、1、2 号不能让给数据文件
        pass
    os.close(spare)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(
                encoding=speaks_chinese(stream.encoding or "utf-8"), errors="replace"
            )
    logging.raiseExceptions = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "被 Ctrl-C 停下了")  # 命令行自己会说
        warnings.showwarning = lambda message, *_: put(sys.stderr, f"警告：{message}\n")
        try:
            yield
        except KeyboardInterrupt:
            stop("被 Ctrl-C 停下了。", 130)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    try:
                        stream.flush()
                    except OSError:  # 读的人走了，或磁盘满了：剩下的话不说了
                        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def speaks_chinese(encoding: str) -> str:
    """这种编码，它写不了中文时是 UTF-8。"""
    try:
        "训练".encode(encoding)
    except UnicodeEncodeError:
        return "utf-8"
    return encoding


def main() -> None:
    """命令行的入口。"""
    arguments = sys.argv[1:]
    with terminal(), explained():
        if {"-h", "--help"} & set(arguments):
            say(help_text())
        elif arguments and arguments[0] in COMMANDS:
            COMMANDS[arguments[0]](arguments[1:])
        else:
            train_command(arguments)


if __name__ == "__main__":
    main()
