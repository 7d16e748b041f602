"""命令行：``python -m ppo_lib 键=值 …``。

    python -m ppo_lib total_timesteps=10000 num_seeds=1 num_envs=4
    python -m ppo_lib --multirun beta_1=0.2,0.9
    python -m ppo_lib --help

覆盖、多次运行（``--multirun``）和输出目录都由 Hydra 管；配置的检查和报错由 ppo_lib 管。
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ppo_lib.config import (
    CONFIG_FILE,
    FIELDS,
    ConfigError,
    PPOConfig,
    allowed,
    by_group,
    check_keys,
    checked,
    load_config,
    parse_overrides,
    yaml_value,
)
from ppo_lib.experiment import Diverged, Run, train
from ppo_lib.run_dir import RunDirError
from ppo_lib.tracking import start_tracking

USAGE = """用法：python -m ppo_lib [键=值 …]
      python -m ppo_lib --multirun 键=值1,值2 …
      python -m ppo_lib resume 目录
      python -m ppo_lib track 目录 [键=值 …]

训练一次 PPO，默认配置在 ppo_lib/config_ppo.yaml，就是原指南的那次运行。
结果存进 outputs/日期/时间/（--multirun 存进 multirun/）：
  metrics.nc   每个种子、每次更新的指标，用 xarray.open_dataset 打开
  policy.npz   训练结束时的策略，用 ppo_lib.load_policy 打开
  config.yaml  这次运行的完整配置
  tracking/    W&B（默认离线）、TensorBoard 或 SwanLab 的记录

resume 从目录里最新的检查点接着训练，与一口气训练逐位相同。
track 把目录里的指标补记（或改记）进跟踪器，例如 track 目录 tracker=tensorboard。

例子：
  python -m ppo_lib total_timesteps=10000 num_seeds=1 num_envs=4    快速测试
  python -m ppo_lib env_name=CartPole-v1 total_timesteps=500000     学会平衡一根杆
  python -m ppo_lib --multirun beta_1=0.2,0.9                       依次训练两个 beta_1

选项：
  -m, --multirun      逗号隔开的取值各训练一次
  -h, --help          这份说明
  --hydra-help        Hydra 自己的说明（输出目录、启动器插件等）

键（默认值；允许的取值）："""


def help_text() -> str:
    """``--help`` 的全文，键的说明从 PPOConfig 的字段里来。"""
    lines = [USAGE]
    for group, fields in by_group():
        lines.append(f"\n  [{group}]")
        for field in fields:
            lines.append(f"  {field.name} = {yaml_value(field.default)}")
            lines.append(f"      {field.metadata['help']}（{allowed(field)}）")
    return "\n".join(lines)


HYDRA_FLAGS_WITH_VALUE = {
    *("--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun"),
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
}
"""Hydra 自己的、后面跟一个值的选项。"""


def check_arguments(arguments: list[str]) -> None:
    """在 Hydra 之前检查 键=值：它对写错的键给出的报错是英文，也不提示最接近的键。

    Raises:
        ConfigError: 有不认识的键，看不懂的参数，或没有 --multirun 却写了几个取值。
    """
    multirun = {"-m", "--multirun"} & set(arguments)
    for before, argument in zip([None, *arguments], arguments):
        if argument.startswith(("-", "+", "~", "hydra.", "hydra/")):
            continue  # Hydra 自己的语法
        if before in HYDRA_FLAGS_WITH_VALUE:
            continue
        key, equals, value = argument.partition("=")
        if not equals:
            parse_overrides([argument])  # 报错
        check_keys([key])
        if "," not in value or set(value) & set("[](){}'\""):
            continue  # 一个取值，或 Hydra 的 range(…)、choice(…) 之类
        for one in value.split(","):  # 训练第一个之前，先看看每个取值是否合法
            checked(FIELDS[key], parse_overrides([f"{key}={one}"])[key])
        if not multirun:
            raise ConfigError(
                f"{argument!r} 里有几个取值：要各训练一次，请加上 --multirun；"
                f"要写成一个列表，请加方括号 {key}=[{value}]。"
            )


def report(run: Run, folder: Path) -> str:
    """训练完打印的几行。"""
    returns = run.metrics["return"]
    last = returns.isel(update=slice(-max(1, returns.sizes["update"] // 10), None))
    per_seed = last.mean("update").values
    lines = [
        f"编译 {run.compile_seconds:.1f} 秒，训练 {run.run_seconds:.1f} 秒（{run.steps_per_second / 1e3:.0f} 千步/秒）"
    ]
    if np.isfinite(per_seed).any():
        lines.append(
            f"最后十分之一更新的回报，{len(per_seed)} 个种子：平均 {np.nanmean(per_seed):.1f}，"
            f"最低 {np.nanmin(per_seed):.1f}，最高 {np.nanmax(per_seed):.1f}"
        )
    else:
        lines.append("最后十分之一的更新里没有回合结束，没有回报可报")
    return "\n".join([*lines, f"结果在 {folder}"])


@hydra.main(
    version_base="1.3", config_path=str(CONFIG_FILE.parent), config_name=CONFIG_FILE.stem
)
def run_one(cfg: DictConfig) -> None:
    """Hydra 的一个任务：训练一次。"""
    folder = Path(HydraConfig.get().runtime.output_dir)
    logging.getLogger("absl").setLevel(logging.WARNING)  # Hydra 放出了 orbax 存盘的细节
    try:
        train_and_report(PPOConfig(**OmegaConf.to_container(cfg, resolve=True)), folder)
    except ConfigError as error:
        sys.exit(f"配置错误：{error}")


def train_and_report(cfg: PPOConfig, folder: Path, resume: bool = False) -> None:
    """训练，存进目录，打印结果；发散、写不进目录时，退出码不是 0。"""
    try:
        run = train(cfg, run_dir=folder, resume=resume)
    except Diverged as error:
        print(report(error.run, folder))
        sys.exit(str(error))
    except RunDirError as error:
        sys.exit(f"运行目录：{error}")
    print(report(run, folder))
    if run.interrupted:
        sys.exit(f"被 Ctrl-C 停下了，已存好；接着训练：python -m ppo_lib resume {folder}")


def resume_command(arguments: list[str]) -> None:
    """``python -m ppo_lib resume 目录``。"""
    if len(arguments) != 1:
        sys.exit("用法：python -m ppo_lib resume 目录")
    folder = Path(arguments[0])
    train_and_report(load_config(folder / "config.yaml"), folder, resume=True)


def track_command(arguments: list[str]) -> None:
    """``python -m ppo_lib track 目录 [键=值 …]``：把已有的指标从头记一遍。"""
    if not arguments:
        sys.exit("用法：python -m ppo_lib track 目录 [键=值 …]")
    folder = Path(arguments[0]).resolve()
    cfg = load_config(folder / "config.yaml", arguments[1:])
    tracking = start_tracking(folder, cfg, follow=False)
    if tracking is None:
        sys.exit(f"没有记录：tracker = {cfg.tracker!r}，wandb_mode = {cfg.wandb_mode!r}。")
    complete, message = tracking.wait(cfg.num_updates)
    print(message)
    if not complete:
        sys.exit(1)


COMMANDS = {"resume": resume_command, "track": track_command}


def main() -> None:
    """命令行的入口。"""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(help_text())
        return
    try:
        if arguments and arguments[0] in COMMANDS:
            COMMANDS[arguments[0]](arguments[1:])
            return
        check_arguments(arguments)
    except ConfigError as error:
        sys.exit(f"配置错误：{error}")
    run_one()


if __name__ == "__main__":
    main()
