"""命令行的一批训练（``--multirun``）：哪个坏了，都不连累别的。

动手之前，组合全查一遍，有不合法的就一个也不开始。训练中出了错，原因写进它自己目录里的 ``failed.txt``，
接着做下一个。做没做完只从各个目录看，所以任务在哪个进程、哪台机器上做都一样，断了也接得上：
``python -m ppo_lib resume 目录``。
"""

from __future__ import annotations

import itertools
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import ValueType
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from ppo_lib.arguments import PARSER, quoted, readable
from ppo_lib.config import CONFIG_FILE, ConfigError, PPOConfig, load_config
from ppo_lib.jobs import continue_with, explained
from ppo_lib.run_dir import RunDirError, absolute, check_same, latest

CALLBACK = "++hydra.callbacks.ppo_lib._target_=ppo_lib.batch.BeforeJobs"
"""命令行上加的这一句，让 Hydra 在动手之前先叫 ``BeforeJobs``。"""

CONFIG_FLAGS = {"main": "--config-path", "command-line": "--config-dir"}
"""Hydra 记下的配置从哪里来 → 命令行上是哪个选项。"""

LISTED = 8
"""一批里出了问题的任务，最多列出几个。"""


class Job(NamedTuple):
    """一批里的一个任务。"""

    number: int
    label: str  # 它与别的不同的那几个 键=值
    cfg: PPOConfig
    folder: Path

    def __str__(self) -> str:
        return f"#{self.number} {self.label}".strip()


class BeforeJobs(Callback):
    """Hydra 在建任何目录之前叫它：检查配置，占一个别人没有用的目录。"""

    batch: list[Job] = []
    """这一批的任务；不是 --multirun，或者没有开始，就是空的。"""
    folder = Path()
    """这一批的目录。"""

    def on_run_start(self, config: DictConfig, **_) -> None:
        with explained():
            check_composed(config)
            folder = claim(config.hydra.run)
            if (folder / "config.yaml").exists():  # 趁 Hydra 还没有动它的 .hydra/
                sys.exit(
                    f"运行目录：{folder} 里已经有一次运行。{continue_with(folder)}；"
                    "要重新开始，请换一个目录。"
                )

    def on_multirun_start(self, config: DictConfig, **_) -> None:
        if not config.hydra.sweeper._target_.endswith("BasicSweeper"):
            return  # 别的 sweeper（例如调参的）一边做一边决定下一个，不能先查
        with explained():
            config.hydra.overrides.task = pinned(sweep_arguments(config))
            jobs, problems = [], defaultdict(list)
            for number, (label, overrides) in enumerate(expanded(config)):
                job = one_of(config, number, overrides)
                try:
                    jobs.append(
                        Job(
                            number,
                            label,
                            check_composed(job),
                            Path(str(job.hydra.sweep.subdir)),
                        )
                    )
                except ConfigError as error:
                    problems[str(error)].append(f"#{number} {label}".strip())
            refuse(problems, len(jobs))
            folder = claim(config.hydra.sweep)
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")
            jobs = [job._replace(folder=folder / job.folder) for job in jobs]
            check_same_batch(folder, jobs)
            BeforeJobs.batch, BeforeJobs.folder = jobs, folder


def check_composed(config: DictConfig) -> PPOConfig:
    """Hydra 合成的配置 → 检查过的配置。"""
    own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return PPOConfig(**OmegaConf.to_container(own, resolve=True))


def claim(node: DictConfig) -> Path:
    """输出目录 node.dir。它的名字若取自时间，就占一个新的：同一秒开始的第二个，名字后面加 -2。"""
    fresh = "${now:" in OmegaConf.to_container(node, resolve=False)["dir"]
    folder = first = absolute(node.dir)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):
            try:
                folder.mkdir(exist_ok=not fresh)
                break
            except FileExistsError:
                if not fresh:
                    raise
                folder = first.with_name(f"{first.name}-{number}")
    except OSError as error:
        raise RunDirError(f"建不了目录 {folder}：{error}") from None
    node.dir = str(folder)
    return folder


def sweep_arguments(config: DictConfig) -> list[str]:
    """一批里各个 键=取值：配置文件里的在前，命令行上的在后。"""
    params = OmegaConf.to_container(config.hydra.sweeper).get("params") or {}
    return [f"{k}={v}" for k, v in params.items()] + task_arguments(config)


def task_arguments(config: DictConfig) -> list[str]:
    """命令行上不属于 Hydra 的那些 键=取值。"""
    return OmegaConf.to_container(config.hydra.overrides.task, resolve=False)


def pinned(arguments: list[str]) -> list[str]:
    """把 range(…)、shuffle(…) 之类都写成定下来的取值，接着做时还是这几个、这个次序。"""
    result = []
    for one in PARSER.parse_overrides(arguments):
        if one.is_discrete_sweep() and one.value_type != ValueType.GLOB_CHOICE_SWEEP:
            values = list(one.sweep_string_iterator())
            if not values:
                raise ConfigError(f"{one.input_line!r} 里一个取值也没有。")
            result.append(readable(f"{one.get_key_element()}={','.join(values)}"))
        else:
            result.append(one.input_line)
    return result


def expanded(config: DictConfig) -> list[tuple[str, list[str]]]:
    """一批任务，每个是 (与别的不同的 键=值, 全部 键=值)；与 Hydra 自己的展开相同。"""
    hydra = GlobalHydra.instance()
    parser = type(PARSER).create(hydra.config_loader() if hydra.is_initialized() else None)
    overrides = parser.parse_overrides(task_arguments(config))
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    varies = [len(set(column)) > 1 for column in zip(*jobs)]
    return [(" ".join(itertools.compress(job, varies)), job) for job in jobs]


def one_of(config: DictConfig, number: int, overrides: list[str]) -> DictConfig:
    """一批里第 number 个任务的配置。"""
    job = GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
    with open_dict(job):
        job.hydra.job.num = job.hydra.job.id = number
    return job


def refuse(problems: dict[str, list[str]], good: int) -> None:
    """有不合法的组合（原因 → 哪几个），就列出来，整批都不开始。"""
    bad = sum(map(len, problems.values()))
    if problems:
        lines = [f"  {shortened(who)}：{why}" for why, who in problems.items()]
        raise ConfigError(
            f"这一批 {good + bad} 个里有 {bad} 个不合法，一个也没有开始：\n" + "\n".join(lines)
        )


def shortened(items: list[str]) -> str:
    """列出几个任务，太多的只列前几个。"""
    more = f" 等 {len(items)} 个" if len(items) > LISTED else ""
    return "、".join(items[:LISTED]) + more


def check_same_batch(folder: Path, jobs: list[Job]) -> None:
    """目录里已有一批：这一批要接得上它。"""
    if not (folder / "multirun.yaml").exists():
        return
    count = len(expanded(saved_batch(folder)))
    if len(jobs) < count:
        raise RunDirError(
            f"{folder} 里那一批有 {count} 个，现在是 {len(jobs)} 个，不能接着做；请换一个目录。"
        )
    for job in jobs:
        if (job.folder / "config.yaml").exists():
            check_same(load_config(job.folder / "config.yaml"), job.cfg, job.folder)


# ---------------------------------------------------------------- 做完之后

DONE, FAILED, STOPPED, WAITING = "做完", "失败", "停在途中", "没有开始"


def outcome(job: Job) -> tuple[str, str]:
    """从任务的目录看它怎样了：(做完、失败、停在途中或没有开始, 为什么)。"""
    reason, done = job.folder / "failed.txt", latest(job.folder)
    if reason.exists():
        why = re.split("[。\n]", reason.read_text("utf-8"), maxsplit=1)[0]
        return FAILED, f"{why}（详见 {reason}）"
    if done == job.cfg.num_updates and (job.folder / "metrics.nc").exists():
        return DONE, ""
    return (
        (STOPPED, f"第 {done} 次更新，共 {job.cfg.num_updates} 次") if done else (WAITING, "")
    )


def summary(jobs: list[Job], folder: Path) -> tuple[bool, str]:
    """(是否全部做完, 一批做完之后打印的几行)。"""
    groups = defaultdict(list)
    for job in jobs:
        state, why = outcome(job)
        groups[state].append(f"{job}：{why}" if why else str(job))
    counts = "，".join(
        f"{state} {len(groups[state])} 个"
        for state in (DONE, FAILED, STOPPED, WAITING)
        if groups[state]
    )
    lines = [f"这一批 {len(jobs)} 个：{counts}。都在 {folder}"]
    for state in (FAILED, STOPPED):
        lines += [f"  {state} {one}" for one in groups[state][:LISTED]]
    if groups[WAITING]:
        lines.append(f"  {WAITING} {shortened(groups[WAITING])}")
    whole = len(groups[DONE]) == len(jobs)
    return whole, "\n".join(lines if whole else [*lines, continue_with(folder)])


# ---------------------------------------------------------------- 接着做


def saved_batch(folder: Path) -> DictConfig:
    """Hydra 存下的，folder 里那一批的配置。"""
    file = folder / "multirun.yaml"
    try:
        saved = OmegaConf.load(file)
        saved.hydra.overrides.task  # noqa: B018 —— 缺了它，也算读不出来
    except Exception as error:  # YAML 的语法错误有许多种
        raise ConfigError(f"{file} 读不出来：{error}") from None
    return saved


def resume_arguments(folder: Path, changes: list[str]) -> list[str]:
    """接着做 folder 里那一批，交给 Hydra 的参数。"""
    saved = OmegaConf.to_container(saved_batch(folder), resolve=False)["hydra"]
    ours = ("hydra.sweep.dir=", CALLBACK)
    kept = [a for a in saved["overrides"]["hydra"] if not a.startswith(ours)]
    options = ["--config-name", saved["job"]["config_name"]]
    for source in saved["runtime"]["config_sources"]:  # 用户自己的配置文件夹
        flag = CONFIG_FLAGS.get(source["provider"])
        if flag and source["path"] != str(CONFIG_FILE.parent):
            options += [flag, source["path"]]
    where = f"hydra.sweep.dir={quoted(str(folder))}"
    return ["--multirun", *options, *kept, *saved["overrides"]["task"], *changes, where]
