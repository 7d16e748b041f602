"""实验：训练许多个种子和超参数，结果放进 ``xarray``，需要时边训练边存盘。

成员怎么摆到机器上，见 members.py；存到哪里，见 run_dir.py。训练途中要做的别的事（存盘、跟踪、显示
进度、留下几份参数、叫用户的函数），各是一个旁观者，每一块之后依次轮到。
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import signal
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from ppo_lib._version import __version__
from ppo_lib.config import (
    FIELDS,
    TRACED,
    ConfigError,
    PPOConfig,
    check_int,
    check_keys,
    checked,
    to_yaml,
)
from ppo_lib.members import Members, Observer, Sick, chunk_lengths, stack
from ppo_lib.policy import Policy, save_policy
from ppo_lib.progress import Progress, say
from ppo_lib.run_dir import RunDir, absolute, latest, opened, write_netcdf, writing
from ppo_lib.tracking import Tracking, start_tracking

UNITS = {
    "episode_length": "步",
    "episodes_ended": "回合",
    "goals_reached": "次",
    "entropy": "nat",
    "approx_kl": "nat",
}


CHECKPOINT_EVERY = 5
"""每几块存一份检查点。"""


@dataclasses.dataclass(repr=False)
class Run:
    """一次训练的结果。"""

    config: PPOConfig
    metrics: xr.Dataset  # 维 (seed, update)
    params: Any  # 网络参数，每个叶子的第一维是 seed
    compile_seconds: float  # 花在编译上的时间；用的是已有的程序时接近 0
    run_seconds: float  # 花在训练上的时间（接着训练时，只算这一次的）
    snapshots: dict[int, Any] = dataclasses.field(
        default_factory=dict
    )  # {更新次数: 当时的参数}
    interrupted: bool = False  # 是不是被 Ctrl-C 停下的
    update: int = 0  # params 是做完多少次更新之后的
    resumed_from: int = 0  # 接着训练时，从第几次更新之后开始

    @property
    def complete(self) -> bool:
        """要做的更新是不是都做完了。"""
        return self.update == self.config.num_updates

    @property
    def steps_per_second(self) -> float:
        """所有种子合计，每秒与环境交互多少步；没有训练（接着训练时已经做完了）就是 NaN。"""
        updates = self.metrics.sizes["update"] - self.resumed_from
        steps = updates * self.config.batch_size * self.config.num_seeds
        return steps / self.run_seconds if steps else float("nan")

    def policy(self, update: int | None = None) -> Policy:
        """最后的策略；或者 ``snapshots`` 里留下的，训练途中第 update 次更新之后的策略。"""
        if update is None:
            return Policy.from_run(self)
        if update not in self.snapshots:
            kept = "、".join(map(str, self.snapshots)) or "没有"
            raise ConfigError(f"update = {update!r} 不合法；留下了策略的更新次数：{kept}。")
        return Policy(self.config, self.snapshots[update], self.config.seeds, update)

    def __repr__(self) -> str:
        cfg, total = self.config, self.config.num_updates
        whole = "" if self.complete else f"，共 {total} 次，没有做完"
        return (
            f"Run({cfg.env_name}，{cfg.num_seeds} 个种子，{self.update} 次更新{whole}；"
            f"编译 {self.compile_seconds:.1f} 秒，训练 {self.run_seconds:.1f} 秒)"
        )


class Diverged(RuntimeError):
    """训练发散了：出现了 NaN 或无穷大。``run`` 是到此为止的结果，参数停在发散之前。"""

    def __init__(self, message: str, run: Run):
        super().__init__(message)
        self.run = run

    def __reduce__(self):
        return type(self), (str(self), self.run)


def train(
    cfg: PPOConfig,
    *,
    progress: bool = True,
    chunk_updates: int | None = None,
    on_chunk: Callable[[xr.Dataset], None] | None = None,
    parallel: str = "auto",
    run_dir: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> Run:
    """按配置训练 ``cfg.num_seeds`` 个种子。

    按 Ctrl-C（或笔记本的停止按钮）停下时，发出警告，返回已经训练的部分，``run.interrupted`` 为真。
    on_chunk 出了错，或者存不了盘，异常照样抛出，已经训练的部分在异常的 ``run`` 属性里。有 run_dir
    时，不管怎样停下（包括 SIGTERM），停下的那一刻都先存好。

    Args:
        cfg: 配置。
        progress: 是否显示进度（每秒步数、剩余时间、当前回报）。
        chunk_updates: 主机循环每一块做几次更新，1 到 256；缺省时约为总数的 1/20，不少于 16。不影响结果。
        on_chunk: 每一块之后调用一次，参数是到此刻为止的指标 (seed, update)。
        parallel: ``"auto"`` 按机器选；``"threads"`` 成员分给各个核；``"vmap"`` 合成一批，设备的内存装不下就分成几批。
        run_dir: 边训练边存进这个目录：指标、检查点、最后的策略，见 run_dir.py；并按配置的 tracker
            记进 W&B 等处，见 tracking/。
        resume: run_dir 里已有一次运行时，从它最新的检查点接着训练；结果与一口气训练逐位相同。
            total_timesteps 可以比那次的大：多训练一段，学习率怎样退火，见 run_dir.py 的 ``extend``。
        checkpoint_every: 每几块存一份检查点。

    Returns:
        ``Run``；``run.metrics["return"]`` 在没有回合结束的更新上是 NaN。

    Raises:
        ConfigError: 配置或参数不合法，在编译之前抛出。
        RunDirError: run_dir 用不了（已有别的运行，配置不同，另一个进程正在用，写不进去，读不出来）。
        Diverged: 训练中出现 NaN 或无穷大；``.run`` 是到此为止的结果。
    """
    check_options(chunk_updates, run_dir, resume, checkpoint_every)
    dataset = functools.partial(as_dataset, cfg, {"seed": np.asarray(cfg.seeds)})
    with opened(run_dir, cfg, resume=resume) as folder:
        hyper = stack([cfg.hyperparams()] * cfg.num_seeds)
        members = Members(cfg, np.asarray(cfg.seeds), hyper, parallel)
        if folder is not None:
            folder.continue_with(members)
        lengths = chunk_lengths(cfg.num_updates - members.done, chunk_updates)
        snapshots = Snapshots(snapshot_updates(lengths, members.done))
        observers = [Progress(members, enabled=progress), snapshots]
        if folder is not None:
            tracking = start_tracking(folder.path, cfg) if lengths else None
            observers += [Keeper(folder, checkpoint_every, dataset), PolicyKeeper(folder.path)]
            observers += [Tracked(tracking, progress)] if tracking else []
        if on_chunk is not None:
            observers += [Caller(on_chunk, dataset)]

        def result() -> Run:
            return Run(
                cfg,
                dataset(members).copy(deep=True),  # 训练时的是只读的
                members.params(),
                members.compile_seconds,
                members.run_seconds,
                snapshots.kept,
                members.interrupted,
                members.done,
                members.begin,
            )

        try:
            members.run(lengths, observers)
        except BaseException as error:
            if members.recorded:
                error.run = result()
                error.add_note(
                    f"{explain_stop(members, folder)}到此为止的结果在这个异常的 run 属性里。"
                )
            raise
        if members.sick:
            sick = list(members.sick.values())
            raise Diverged(explain_divergence(cfg, sick, members.done), result())
        if members.interrupted:
            warnings.warn(
                f"被 Ctrl-C 停下了：{explain_stop(members, folder)}",
                RuntimeWarning,
                stacklevel=2,
            )
        return result()


def check_options(chunk_updates, run_dir, resume: bool, checkpoint_every: int) -> None:
    """``train`` 和 ``sweep`` 共有的参数，不合法就趁早报错。"""
    chunk_lengths(1, chunk_updates)
    check_int("checkpoint_every", checkpoint_every, 1)
    if resume and run_dir is None:
        raise ConfigError(
            "resume = True 不合法；没有 run_dir，不知道接着哪一次训练。允许的取值：False，或者写上 run_dir。"
        )


def explain_stop(members: Members, folder: RunDir | None) -> str:
    """停在哪里，存下了没有。"""
    done = f"做了 {members.done} 次更新，共 {members.cfg.num_updates} 次"
    if folder is None:
        return f"{done}。"
    return f"{done}；存到了第 {latest(folder.path)} 次，在 {folder.path}，用 resume=True 接着训练。"


# ---------------------------------------------------------------- 旁观者


class Snapshots(Observer):
    """留下途中几次更新之后的参数。"""

    def __init__(self, wanted: set[int]):
        self.wanted = wanted
        self.kept: dict[int, Any] = {}

    def chunk(self, members: Members) -> None:
        if members.done in self.wanted:
            self.kept[members.done] = members.params()


def snapshot_updates(lengths: list[int], done: int) -> set[int]:
    """留下哪几次更新之后的策略：第一块之后、一半左右、最后。"""
    ends = done + np.cumsum(lengths)
    return {int(ends[0]), int(ends[(len(ends) - 1) // 2]), int(ends[-1])} if lengths else set()


class Keeper(Observer):
    """存进运行的目录：每一块的指标，每几块一份检查点，停下时的全部指标。

    Args:
        folder: 存到哪里。
        every: 每几块存一份检查点。
        dataset: 怎样把指标做成 xarray。
    """

    def __init__(self, folder: RunDir, every: int, dataset: Callable[[Members], xr.Dataset]):
        self.folder, self.every, self.dataset = folder, every, dataset
        self.chunks, self.saved = 0, None

    def chunk(self, members: Members) -> None:
        self.folder.save_metrics(members.done, members.rows)
        self.chunks, self.saved = self.chunks + 1, members.done
        if self.chunks % self.every == 0 or members.done == members.cfg.num_updates:
            self.folder.save_state(members.done, members.snapshot())

    def stopped(self, members: Members) -> None:
        if self.saved != members.done > members.begin:  # 上一次没有存成，再试一次
            self.folder.save_metrics(members.done, members.rows)
        if members.done:
            self.folder.save_state(members.done, members.snapshot())
        self.folder.finish(self.dataset(members))
        if members.interrupts.deadly is not None:
            say(
                f"收到 {signal.Signals(members.interrupts.deadly).name}：{explain_stop(members, self.folder)}"
            )


class PolicyKeeper(Observer):
    """停下时把策略存进运行的目录。"""

    def __init__(self, path: Path):
        self.path = path

    def stopped(self, members: Members) -> None:
        policy = Policy(members.cfg, members.params(), members.cfg.seeds, members.done)
        with writing(self.path):
            save_policy(policy, self.path / "policy.npz")


class Tracked(Observer):
    """跟踪的进程自己读运行的目录；停下之后等它记完，说出记在哪里，漏了就发出警告。"""

    def __init__(self, tracking: Tracking, progress: bool):
        self.tracking, self.progress = tracking, progress

    def stopped(self, members: Members) -> None:
        if members.interrupts.deadly is not None:  # 进程就要结束，不等了；它自己会收尾
            return
        try:
            with members.interrupts.allowed():
                complete, message = self.tracking.wait(members.done)
        except KeyboardInterrupt:  # 训练已经存好，只是不等跟踪了
            complete, message = self.tracking.give_up(members.done, "没有等它记完")
        if not complete:
            warnings.warn(message, RuntimeWarning, stacklevel=4)
        elif self.progress:
            say(message)

    def close(self) -> None:
        self.tracking.close()


class Caller(Observer):
    """把到此刻为止的指标交给用户的函数。"""

    def __init__(self, on_chunk: Callable[[xr.Dataset], None], dataset):
        self.on_chunk, self.dataset = on_chunk, dataset

    def chunk(self, members: Members) -> None:
        with members.interrupts.allowed():
            self.on_chunk(self.dataset(members))


def explain_divergence(cfg: PPOConfig, sick: list[Sick], done: int) -> str:
    """训练发散时说的话：哪个指标、第几次更新、哪些种子，可以试什么。"""
    first = min(sick, key=lambda one: one.update)
    seeds = "、".join(str(cfg.seeds[one.member]) for one in sick)
    advice = [f"减小学习率 lr（现在是 {cfg.lr:g}）"]
    if cfg.max_grad_norm > 1:
        advice.append(f"减小梯度范数的上限 max_grad_norm（现在是 {cfg.max_grad_norm:g}）")
    if cfg.adam_eps < 1e-8:
        advice.append(f"加大 adam_eps（现在是 {cfg.adam_eps:g}）")
    if cfg.optimizer == "sgd" or cfg.beta_2 < 0.9:
        advice.append("换回 optimizer=adam、beta_2=0.999")
    if cfg.reward_shaping != "none" and cfg.shaping_scale > 1:
        advice.append(f"减小 shaping_scale（现在是 {cfg.shaping_scale:g}）")
    return (
        f"训练发散了：第 {first.update} 次更新起 {first.metric} 不再是有限的数"
        f"（种子 {seeds}）。最后一份完好的状态在第 {done} 次更新之后，已经留下。"
        f"可以试：{'；'.join(advice)}。"
    )


def sweep(
    cfg: PPOConfig,
    *,
    progress: bool = True,
    chunk_updates: int | None = None,
    parallel: str = "auto",
    run_dir: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int = CHECKPOINT_EVERY,
    **axes: Sequence,
) -> xr.Dataset:
    """在超参数的网格上训练，网格的每一点 ``cfg.num_seeds`` 个种子。

    动态的键（lr、beta_1、clip_eps……）一起编译成一个程序；静态的键（activation、num_envs……）
    每个取值编译一个。其余的参数与 ``train`` 的相同；静态的键每个取值存在 run_dir 里自己的目录，
    例如 ``activation=relu``。

    >>> ds = sweep(cfg, beta_1=[0.0, 0.9], ent_coef=[0.003, 0.05])
    >>> ds["return"].dims
    ('beta_1', 'ent_coef', 'seed', 'update')

    Returns:
        维 (各个轴按写的次序, seed, update) 的指标。

    Raises:
        ConfigError: 有不认识的键，或某个取值不合法，在编译之前抛出。
        RunDirError: run_dir 用不了（已有别的运行，配置不同，另一个进程正在用，写不进去，读不出来）。
        KeyboardInterrupt: 被 Ctrl-C 停下：没有跑完的网格不会当作结果返回。
    """
    axes = check_axes(cfg, axes)
    static = {name: values for name, values in axes.items() if name not in TRACED}
    traced = {name: values for name, values in axes.items() if name in TRACED}
    check_options(chunk_updates, run_dir, resume, checkpoint_every)
    lengths = functools.partial(chunk_lengths, chunk=chunk_updates)
    points, parts = grid(cfg, static), []
    try:
        for point in points:
            with opened(static_path(run_dir, point, static), point, resume, traced) as folder:
                parts.append(
                    sweep_traced(
                        point, traced, lengths, progress, parallel, folder, checkpoint_every
                    )
                )
    except KeyboardInterrupt as stop:
        folders = [absolute(static_path(run_dir, p, static)) for p in points] if run_dir else []
        saved = "没有存下。"
        if any(map(latest, folders)):
            saved = f"已经存进 {absolute(run_dir)}，用 resume=True 接着训练。"
        raise KeyboardInterrupt(
            f"网格没有跑完就停下了：{len(points)} 个程序做完了 {len(parts)} 个；{stop}{saved}"
        ) from None
    seconds = {
        name: sum(part.attrs[name] for part in parts)
        for name in ("compile_seconds", "run_seconds")
    }
    joined = join_static(parts, static).transpose(*axes, "seed", "update")
    joined = joined.assign_attrs(config=to_yaml(cfg), **seconds)
    if run_dir is not None:
        write_netcdf(joined, absolute(run_dir) / "metrics.nc")
    return joined


def static_path(run_dir, point: PPOConfig, static: Iterable[str]) -> Path | None:
    """静态的键取这一组值时，存进哪个目录。"""
    if run_dir is None:
        return None
    label = ",".join(f"{name}={axis_label(getattr(point, name))}" for name in static)
    return Path(run_dir) / label


def sweep_traced(
    cfg: PPOConfig,
    axes: dict[str, list],
    lengths: Callable[[int], list[int]],
    progress: bool,
    parallel: str,
    folder: RunDir | None,
    checkpoint_every: int,
) -> xr.Dataset:
    """动态的轴张成的网格，只编译一个程序。"""
    configs = grid(cfg, axes)
    hyper = stack([c.hyperparams() for c in configs for _ in cfg.seeds])
    members = Members(cfg, np.tile(cfg.seeds, len(configs)), hyper, parallel)
    coords = {name: np.asarray(values) for name, values in axes.items()}
    dataset = functools.partial(as_dataset, cfg, coords | {"seed": np.asarray(cfg.seeds)})
    if folder is not None:
        folder.continue_with(members)
    observers: list[Observer] = [Progress(members, enabled=progress)]
    if folder is not None:
        observers += [Keeper(folder, checkpoint_every, dataset)]
    members.run(lengths(cfg.num_updates - members.done), observers, stop_when_sick=False)
    if members.interrupted:
        raise KeyboardInterrupt(
            f"停下的那一个做了 {members.done} 次更新，共 {cfg.num_updates} 次。"
        )
    for one in members.sick.values():
        point, seed = divmod(one.member, cfg.num_seeds)
        changed = {name: getattr(configs[point], name) for name in axes}
        warnings.warn(
            f"网格上 {changed} 的种子 {cfg.seeds[seed]} 发散了：第 {one.update} 次更新起"
            f" {one.metric} 不再是有限的数。其余的照常训练。",
            RuntimeWarning,
            stacklevel=3,
        )
    return dataset(members).copy(deep=True)


def join_static(parts: list[xr.Dataset], axes: dict[str, list]) -> xr.Dataset:
    """静态的轴一点一个结果，按 ``grid`` 的次序给出；沿各个轴拼成一个。

    轴若改变了更新次数（例如 num_envs），短的在后面补 NaN，timesteps 也多出这一维。
    """
    for name, values in reversed(axes.items()):
        index = xr.DataArray(list(map(axis_label, values)), dims=name, name=name)
        rows = [parts[i : i + len(values)] for i in range(0, len(parts), len(values))]
        parts = [
            xr.concat(
                row,
                dim=index,
                data_vars="all",
                coords="different",
                compat="equals",
                join="outer",
                combine_attrs="drop_conflicts",
            )
            for row in rows
        ]
    return parts[0]


def check_axes(cfg: PPOConfig, axes: dict[str, Sequence]) -> dict[str, list]:
    """网格的每个轴都是列表、每一点都合法；返回按 PPOConfig 的规则转好类型的轴。"""
    check_keys(axes)
    checked_axes = {}
    for name, values in axes.items():
        if FIELDS[name].metadata["kind"] in ("run", "log"):
            raise ConfigError(
                f"{name} 不能作网格的轴；要改变种子，请在配置里写 seed 和 num_seeds。"
            )
        if (
            isinstance(values, str)
            or not isinstance(values, (Sequence, np.ndarray))
            or len(values) == 0
        ):
            raise ConfigError(
                f"{name} = {values!r} 不合法；网格的轴应当是非空的列表，例如 {name}=[…]。"
            )
        plain = [v.item() if isinstance(v, np.generic) else v for v in values]
        checked_axes[name] = [checked(FIELDS[name], value) for value in plain]
    grid(cfg, checked_axes)
    return checked_axes


def grid(cfg: PPOConfig, axes: dict[str, Sequence]) -> list[PPOConfig]:
    """网格上每一点的配置，最后一个轴变得最快。"""
    return [
        dataclasses.replace(cfg, **dict(zip(axes, point)))
        for point in itertools.product(*axes.values())
    ]


def axis_label(value) -> Any:
    """静态取值作坐标时的写法；列表写成 64x64。"""
    return "x".join(map(str, value)) if isinstance(value, tuple) else value


def as_dataset(cfg: PPOConfig, coords: dict[str, np.ndarray], members: Members) -> xr.Dataset:
    """到此刻为止的指标，成带名字的数组；维是 coords 的键再加 update。"""
    metrics = members.metrics()  # {指标名: (members, update)}
    dims, shape = (*coords, "update"), tuple(map(len, coords.values()))
    updates = next(iter(metrics.values())).shape[1]
    data = {name: (dims, x.reshape(*shape, updates)) for name, x in sorted(metrics.items())}
    update = np.arange(1, updates + 1)
    coords = coords | {"update": update, "timesteps": ("update", update * cfg.batch_size)}
    attrs = {
        "config": to_yaml(cfg),
        "ppo_lib": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "complete": int(members.done == members.cfg.num_updates),  # 0：中途停下的，只是一部分
        "compile_seconds": members.compile_seconds,
        "run_seconds": members.run_seconds,
    }
    if members.extended_at:  # 在第几次更新之后加长过，见 RunDir.extend
        attrs["extended_at"] = members.extended_at
    dataset = xr.Dataset(data, coords, attrs)
    for name, unit in UNITS.items():
        dataset[name].attrs["units"] = unit
    return dataset
