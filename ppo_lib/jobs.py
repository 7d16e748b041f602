"""命令行的一次训练：Hydra 的一个任务，做完（或没有做完）时说的话。"""

from __future__ import annotations

import contextlib
import logging
import math
import shlex
import sys
import traceback
from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ppo_lib.config import CONFIG_FILE, ConfigError, PPOConfig
from ppo_lib.experiment import Diverged, Run, train
from ppo_lib.progress import put, say
from ppo_lib.run_dir import RunDirError, latest
from ppo_lib.statistics import final_scores


@hydra.main(
    version_base="1.3", config_path=str(CONFIG_FILE.parent), config_name=CONFIG_FILE.stem
)
def run_one(config: DictConfig) -> None:
    """Hydra 的一个任务：训练一次。"""
    logging.getLogger("absl").setLevel(logging.WARNING)  # Hydra 放出了 orbax 存盘的细节
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    run = run_alone if hydra_config.mode == RunMode.RUN else run_in_batch
    run(lambda: PPOConfig(**OmegaConf.to_container(config, resolve=True)), folder)


# ---------------------------------------------------------------- 一次训练


def train_and_report(cfg: PPOConfig, folder: Path, resume: bool) -> Run:
    """训练，存进目录，打印结果；发散时也打印，再抛出。"""
    try:
        run = train(cfg, run_dir=folder, resume=resume)
    except Diverged as error:
        say(report(error.run, folder))
        raise
    say(report(run, folder))
    return run


def run_alone(make_config, folder: Path, resume: bool = False) -> None:
    """训练一次；没有做完，退出码就不是 0。"""
    with explained(folder):
        try:
            run = train_and_report(make_config(), folder, resume)
        except KeyboardInterrupt:
            done = latest(folder)
            kept = f"存到了第 {done} 次更新，还在" if done else "第一块还没有做完，没有可存的"
            stop(f"被 Ctrl-C 停下了：{kept}；{continue_with(folder)}", 130)
    if run.complete:
        (folder / "failed.txt").unlink(missing_ok=True)  # 它若是一批里的，这次补上了
    elif run.interrupted:
        stop(f"被 Ctrl-C 停下了，已存好；{continue_with(folder)}", 130)


def run_in_batch(make_config, folder: Path) -> None:
    """训练一批里的一个：做过的接着做；出了什么错都写进 failed.txt，不往外抛。

    Raises:
        KeyboardInterrupt: 被 Ctrl-C 停下；已经存好。
    """
    reason = folder / "failed.txt"
    try:
        reason.unlink(missing_ok=True)
        run = train_and_report(make_config(), folder, resume=True)
    except Exception as error:
        known = isinstance(error, (ConfigError, Diverged, RunDirError))
        why = str(error) if known else f"{type(error).__name__}：{error}"
        details = "" if known else "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            reason.write_text(f"{why}\n\n{details}", encoding="utf-8", errors="replace")
        put(sys.stderr, f"失败：{why}\n")
    else:
        if run.interrupted:
            raise KeyboardInterrupt


def report(run: Run, folder: Path) -> str:
    """训练完打印的几行。"""
    lines = []
    if not run.complete:
        lines.append(f"没有做完：停在第 {run.update} 次更新，共 {run.config.num_updates} 次")
    elif run.resumed_from == run.update:
        lines.append("先前已经做完，没有再训练")
    speed = run.steps_per_second
    per_second = f"（{speed / 1e3:.0f} 千步/秒）" if math.isfinite(speed) else ""
    lines.append(
        f"编译 {run.compile_seconds:.1f} 秒，训练 {run.run_seconds:.1f} 秒{per_second}"
    )
    per_seed = final_scores(run.metrics.drop_attrs(deep=False)).values  # 没有做完，上面说过了
    if np.isfinite(per_seed).any():
        lines.append(
            f"最后十分之一更新的回报，{len(per_seed)} 个种子：平均 {np.nanmean(per_seed):.1f}，"
            f"最低 {np.nanmin(per_seed):.1f}，最高 {np.nanmax(per_seed):.1f}"
        )
    else:
        lines.append("最后十分之一的更新里没有回合结束，没有回报可报")
    return "\n".join([*lines, f"结果在 {folder}"])


# ---------------------------------------------------------------- 说给人听


@contextlib.contextmanager
def explained(folder: Path | None = None):
    """认得的错误在这里变成一行中文，退出码 1。"""
    try:
        yield
    except ConfigError as error:
        sys.exit(f"配置错误：{error}")
    except HydraException as error:
        sys.exit(f"配置错误：Hydra 说：{error}")
    except RunDirError as error:
        command = f"命令行上，{continue_with(folder)}" if folder and error.resumable else ""
        sys.exit(f"运行目录：{error}{command}")
    except Diverged as error:
        sys.exit(str(error))


def continue_with(folder: Path) -> str:
    """接着训练的命令，可以照抄。"""
    return f"接着训练：python -m ppo_lib resume {shlex.quote(str(folder))}"


def stop(message: str, code: int) -> None:
    """在 stderr 上说一行，以 code 退出。"""
    put(sys.stderr, f"{message}\n")
    sys.exit(code)
