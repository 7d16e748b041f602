"""实验：许多个成员（种子 × 超参数）一起训练，结果放进 ``xarray``。

只编译一个程序，训练所有成员。成员怎么摆到机器上，看机器：

- **CPU**：程序一次训练一个成员；几个核就有几个线程，各自从队列里领成员。小网络的矩阵太小，
  ``vmap`` 在 CPU 上反而慢，而且这样一来，一个成员的结果与同伴是谁、有几个毫无关系；
- **GPU / TPU**：程序用 ``vmap`` 一次训练所有成员。

编译好的程序里没有回调。主机这边的循环一块一块地调用它：每一块之间更新进度、把指标交给
``on_chunk``。块的长短不影响结果。
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from ppo_lib._runtime import compiler_options
from ppo_lib._version import __version__
from ppo_lib.config import (
    FIELDS,
    TRACED,
    ConfigError,
    Hyperparams,
    PPOConfig,
    check_keys,
    checked,
    to_yaml,
)
from ppo_lib.progress import Progress
from ppo_lib.training import CHUNK, make_train

UNITS = {
    "episode_length": "步",
    "episodes_ended": "回合",
    "goals_reached": "次",
    "entropy": "nat",
    "approx_kl": "nat",
}


@dataclasses.dataclass
class Run:
    """一次训练的结果。"""

    config: PPOConfig
    metrics: xr.Dataset  # 维 (seed, update)
    params: Any  # 网络参数，每个叶子的第一维是 seed
    compile_seconds: float  # 花在编译上的时间；用的是已有的程序时接近 0
    run_seconds: float  # 花在训练上的时间

    @property
    def steps_per_second(self) -> float:
        """所有种子合计，每秒与环境交互多少步。"""
        steps = self.config.num_updates * self.config.batch_size * self.config.num_seeds
        return steps / self.run_seconds


def train(
    cfg: PPOConfig,
    *,
    progress: bool = True,
    chunk_updates: int | None = None,
    on_chunk: Callable[[xr.Dataset], None] | None = None,
    parallel: str = "auto",
) -> Run:
    """按配置训练 ``cfg.num_seeds`` 个种子。

    Args:
        cfg: 配置。
        progress: 是否显示进度（每秒步数、剩余时间、当前回报）。
        chunk_updates: 主机循环每一块做几次更新，1 到 256；缺省时约为总数的 1/20，不少于 16。不影响结果。
        on_chunk: 每一块之后调用一次，参数是到此刻为止的指标 (seed, update)。
        parallel: ``"auto"`` 按机器选；``"threads"`` 成员分给各个核；``"vmap"`` 合成一个批。

    Returns:
        ``Run``；``run.metrics["return"]`` 在没有回合结束的更新上是 NaN。

    Raises:
        ConfigError: 配置不合法，在编译之前抛出。
    """
    lengths = chunk_lengths(cfg.num_updates, chunk_updates)
    members = Members(
        cfg, np.asarray(cfg.seeds), stack([cfg.hyperparams()] * cfg.num_seeds), parallel
    )

    def to_dataset(metrics: dict[str, np.ndarray]) -> xr.Dataset:
        return as_dataset(cfg, metrics, {"seed": np.asarray(cfg.seeds)}, (cfg.num_seeds,))

    on_metrics = None if on_chunk is None else lambda metrics: on_chunk(to_dataset(metrics))
    metrics = members.run(lengths, progress, on_metrics)
    dataset = to_dataset(metrics).assign_attrs(
        compile_seconds=members.compile_seconds, run_seconds=members.run_seconds
    )
    return Run(cfg, dataset, members.params(), members.compile_seconds, members.run_seconds)


def sweep(
    cfg: PPOConfig,
    *,
    progress: bool = True,
    chunk_updates: int | None = None,
    parallel: str = "auto",
    **axes: Sequence,
) -> xr.Dataset:
    """在超参数的网格上训练，网格的每一点 ``cfg.num_seeds`` 个种子。

    动态的键（lr、beta_1、clip_eps……）一起编译成一个程序；静态的键（activation、num_envs……）
    每个取值编译一个。

    >>> ds = sweep(cfg, beta_1=[0.0, 0.9], ent_coef=[0.003, 0.05])
    >>> ds["return"].dims
    ('beta_1', 'ent_coef', 'seed', 'update')

    Returns:
        维 (各个轴按写的次序, seed, update) 的指标。

    Raises:
        ConfigError: 有不认识的键，或某个取值不合法，在编译之前抛出。
    """
    axes = check_axes(cfg, axes)
    static = {name: values for name, values in axes.items() if name not in TRACED}
    traced = {name: values for name, values in axes.items() if name in TRACED}
    parts = [
        sweep_traced(point, traced, chunk_updates, progress, parallel)
        for point in grid(cfg, static)
    ]
    seconds = {
        name: sum(part.attrs[name] for part in parts)
        for name in ("compile_seconds", "run_seconds")
    }
    joined = join_static(parts, static).transpose(*axes, "seed", "update")
    return joined.assign_attrs(config=to_yaml(cfg), **seconds)


def sweep_traced(
    cfg: PPOConfig,
    axes: dict[str, list],
    chunk_updates: int | None,
    progress: bool,
    parallel: str,
) -> xr.Dataset:
    """动态的轴张成的网格，只编译一个程序。"""
    lengths = chunk_lengths(cfg.num_updates, chunk_updates)
    configs = grid(cfg, axes)
    hyper = stack([c.hyperparams() for c in configs for _ in cfg.seeds])
    members = Members(cfg, np.tile(cfg.seeds, len(configs)), hyper, parallel)
    metrics = members.run(lengths, progress)
    coords = {name: np.asarray(values) for name, values in axes.items()}
    coords["seed"] = np.asarray(cfg.seeds)
    shape = (*map(len, axes.values()), cfg.num_seeds)
    return as_dataset(cfg, metrics, coords, shape).assign_attrs(
        compile_seconds=members.compile_seconds, run_seconds=members.run_seconds
    )


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
        if FIELDS[name].metadata["kind"] == "run":
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


# ---------------------------------------------------------------- 成员


class Members:
    """一组共用一个已编译程序的成员，和它们此刻的状态。

    ``states`` 是各次调用的状态：threads 方式下一个成员一份，vmap 方式下所有成员合成一份。
    """

    def __init__(self, cfg: PPOConfig, seeds: np.ndarray, hyper: Hyperparams, parallel: str):
        self.cfg, self.size = cfg, len(seeds)
        self.batched = choose_parallel(parallel) == "vmap"
        start = time.perf_counter()
        self.programs = compiled_programs(cfg.static(), self.size if self.batched else None)
        self.compile_seconds = time.perf_counter() - start
        self.run_seconds = 0.0

        inputs = np.asarray(seeds, np.int32), jax.tree.map(np.float32, hyper)
        inputs = [inputs] if self.batched else [take(inputs, i) for i in range(self.size)]
        inputs = jax.device_put(inputs)
        self.hypers = [hyper for _, hyper in inputs]
        self.states = [self.programs.init(seed, hyper) for seed, hyper in inputs]

    def run(self, lengths: list[int], progress: bool, on_metrics=None) -> dict[str, np.ndarray]:
        """一块一块地训练到底，返回 {指标名: (members, num_updates)}。"""
        rows = []
        start = time.perf_counter()
        with Progress(self.cfg, self.size, enabled=progress) as bar:
            for row in self.chunks(lengths):
                rows.append(row)
                bar.update(row["return"])
                if on_metrics is not None:
                    on_metrics(concatenate(rows))
        self.run_seconds = time.perf_counter() - start
        return concatenate(rows)

    def chunks(self, lengths: list[int]) -> Iterator[dict[str, np.ndarray]]:
        """一块一块地训练，每一块交出 {指标名: (members, 这块的更新次数)}。

        总有下一块的任务排在队里，所以一块快结束时没有核闲着等别人。
        """
        pool = ThreadPoolExecutor(min(len(self.states), available_cores()))
        waiting: deque[list[Future]] = deque()
        previous = [None] * len(self.states)
        try:
            for n in lengths:
                previous = [
                    pool.submit(self.advance, i, n, previous[i])
                    for i in range(len(self.states))
                ]
                waiting.append(previous)
                if len(waiting) > 1:
                    yield self.collect(waiting.popleft())
            while waiting:
                yield self.collect(waiting.popleft())
        finally:  # 中途停下（Ctrl-C，或 on_chunk 出错）时，还没轮到的任务不再做
            pool.shutdown(cancel_futures=True)

    def advance(self, i: int, n: int, previous: Future | None):
        """第 i 份状态再做 n 次更新。previous 是它的上一块，先排队，所以一定先做完。"""
        state = self.states[i] if previous is None else previous.result()[0]
        state, metrics = self.programs.run_chunk(state, self.hypers[i], jnp.int32(n))
        rows = {name: np.asarray(x).reshape(-1, CHUNK)[:, :n] for name, x in metrics.items()}
        return state, rows

    def collect(self, futures: list[Future]) -> dict[str, np.ndarray]:
        """等一块里所有的成员做完：记下状态，把指标沿成员拼起来。"""
        results = [future.result() for future in futures]
        self.states = [state for state, _ in results]
        return {
            name: np.concatenate([rows[name] for _, rows in results]) for name in results[0][1]
        }

    def params(self) -> Any:
        """网络参数，每个叶子的第一维是成员。"""
        params = [state.params for state in self.states]
        return params[0] if self.batched else stack(params)


def choose_parallel(parallel: str) -> str:
    """``auto`` 在 CPU 上是 threads，在加速器上是 vmap。"""
    if parallel not in ("auto", "threads", "vmap"):
        raise ConfigError(
            f"parallel = {parallel!r} 不合法；允许的取值：auto | threads | vmap。"
        )
    if parallel != "auto":
        return parallel
    return "threads" if jax.default_backend() == "cpu" else "vmap"


def available_cores() -> int:
    """这个进程可以用的核数。"""
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


def chunk_lengths(total: int, chunk: int | None) -> list[int]:
    """把 total 次更新切成每块 chunk 次，最后一块是余数。

    None 表示大约切成 20 块，但一块不少于 16 次：太短的块，进出程序的时间就显得多了。
    """
    if chunk is None:
        chunk = min(CHUNK, max(16, total // 20))
    if not (isinstance(chunk, int) and 1 <= chunk <= CHUNK):
        raise ConfigError(
            f"chunk_updates = {chunk!r} 不合法；允许的取值：[1, {CHUNK}] 内的整数。"
        )
    return [min(chunk, total - done) for done in range(0, total, chunk)]


# ---------------------------------------------------------------- 编译


class Programs(NamedTuple):
    """两个编译好的程序。"""

    init: Any  # (seed, Hyperparams) -> TrainState
    run_chunk: Any  # (TrainState, Hyperparams, n) -> (TrainState, metrics)


@functools.lru_cache(maxsize=64)
def compiled_programs(static_cfg: PPOConfig, batch: int | None) -> Programs:
    """编译一次训练 batch 个成员的程序（None 表示一个成员，不带成员维）。

    同样的静态配置只编译一次；种子、超参数、总步数、块的长短都是输入，改动它们不会再编译。
    编译提前做完，这样编译的时间和训练的时间分得开。
    """
    fns = make_train(static_cfg)
    init, run_chunk, shape = fns.init, fns.run_chunk, ()
    if batch is not None:
        init, run_chunk, shape = (
            jax.vmap(init),
            jax.vmap(run_chunk, in_axes=(0, 0, None)),
            (batch,),
        )
    seed = jax.ShapeDtypeStruct(shape, jnp.int32)
    hyper = Hyperparams(*[jax.ShapeDtypeStruct(shape, jnp.float32)] * len(Hyperparams._fields))
    state = jax.eval_shape(init, seed, hyper)
    compile = functools.partial(jax.jit, compiler_options=compiler_options())
    return Programs(
        compile(init).lower(seed, hyper).compile(),
        compile(run_chunk).lower(state, hyper, jax.ShapeDtypeStruct((), jnp.int32)).compile(),
    )


# ---------------------------------------------------------------- 数组


def stack(trees: list) -> Any:
    """几棵同构的树叠成一棵，叶子多出第一维。"""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *trees)


def take(tree, i: int) -> Any:
    """取出每个叶子的第 i 行。"""
    return jax.tree.map(lambda x: x[i], tree)


def concatenate(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """几块指标沿更新次数拼起来。"""
    return {name: np.concatenate([row[name] for row in rows], axis=1) for name in rows[0]}


def as_dataset(
    cfg: PPOConfig, metrics: dict[str, np.ndarray], coords: dict, shape: tuple
) -> xr.Dataset:
    """{指标名: (members, update)} → 带名字的数组，维是 coords 的键再加 update。"""
    dims = (*coords, "update")
    updates = next(iter(metrics.values())).shape[1]
    data = {name: (dims, x.reshape(*shape, updates)) for name, x in sorted(metrics.items())}
    update = np.arange(1, updates + 1)
    coords = coords | {"update": update, "timesteps": ("update", update * cfg.batch_size)}
    attrs = {
        "config": to_yaml(cfg),
        "ppo_lib": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
    dataset = xr.Dataset(data, coords, attrs)
    for name, unit in UNITS.items():
        dataset[name].attrs["units"] = unit
    return dataset
