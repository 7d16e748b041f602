"""成员：许多个种子 × 超参数，怎么摆到机器上一起训练。

只编译一个程序，训练所有成员。成员怎么摆，看机器：

- **CPU**：程序一次训练一个成员；几个核就有几个线程，各自从队列里领成员。小网络的矩阵太小，
  ``vmap`` 在 CPU 上反而慢，而且这样一来，一个成员的结果与同伴是谁、有几个毫无关系；
- **GPU / TPU**：程序用 ``vmap`` 一次训练所有成员，均分给本机的各个设备。一个设备上一批的大小取整到 16、32、64……，空位用重复的成员填上：
  那里多几个成员几乎不多花时间，少编译一次却省下近十秒；成员的结果也就不随同伴的个数而变，只要
  取整到同样的大小。几个设备的程序与一个设备的不是同一个，差在最后几位的舍入。一批装不进设备的内存，
  就分成同样大小的几批，一块一块地轮着做；没有轮到的，状态放在主机的内存里。

编译好的程序里没有回调。主机这边的循环一块一块地调用它，每一块之间查有没有 NaN，再交给各个
``Observer`` 去显示进度、存盘和画图；随时可以用 Ctrl-C 停下。块的长短不影响结果。
"""

from __future__ import annotations

import functools
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from ppo_lib._runtime import compiler_options, plain_jax
from ppo_lib.compiled import compiled_once
from ppo_lib.config import ConfigError, Hyperparams, PPOConfig, check_int
from ppo_lib.interrupts import Interrupts
from ppo_lib.memory import device_bytes, usable_bytes, warn_if_too_many
from ppo_lib.training import CHUNK, make_train

ALWAYS_FINITE = ("actor_loss", "value_loss", "entropy", "grad_norm")
"""训练正常时总是有限的指标；其余的有时本来就是 NaN（例如没有回合结束时的回报）。"""


MEMBERS = P("members")
"""叶子的第一维是成员，分给各个设备。"""


class Sick(NamedTuple):
    """一个成员的训练发散了。"""

    member: int
    metric: str  # 最先不是有限数的指标
    update: int  # 从第几次更新起（从 1 数）


class Observer:
    """训练的旁观者：每一块之后看一眼，停下以后收尾。子类改写用得着的。"""

    def chunk(self, members: Members) -> None:
        """做完了一块：到第 ``members.done`` 次更新，这一块的指标是 ``members.rows``。"""

    def stopped(self, members: Members) -> None:
        """停下了：做完，被 Ctrl-C 停下，发散，或者出了错；一块也没有做完时不叫它。"""

    def close(self) -> None:
        """放开占着的东西；出了别的错也会调用。"""


class Members:
    """一组共用一个已编译程序的成员，和它们此刻的状态。

    ``states`` 是各次调用的状态：threads 方式下一个成员一份，vmap 方式下一批一份，第一维是
    ``batch``，末尾可能有填空位的。通常只有一批；有几批（``cut``）时，是 NumPy 数组，不占设备的内存。
    ``done`` 是 ``states`` 已经做完的更新次数；``rows`` 是最近一块的指标，``table`` 里是到此为止
    ``recorded`` 次更新的全部指标（发散的那一块也在里面，它不算 ``done``）。
    """

    def __init__(self, cfg: PPOConfig, seeds: np.ndarray, hyper: Hyperparams, parallel: str):
        self.cfg, self.size = cfg, len(seeds)
        vmap = choose_parallel(parallel) == "vmap"
        start = time.perf_counter()
        self.batch = fitting_batch(cfg.static(), self.size) if vmap else None
        self.programs = compiled_programs(cfg.static(), self.batch)
        self.compile_seconds = time.perf_counter() - start
        if not vmap:
            warn_if_too_many(self.programs.memory, self.size, cfg.num_updates)
        self.run_seconds = 0.0

        inputs = np.asarray(seeds, np.int32), jax.tree.map(np.float32, hyper)
        with plain_jax():
            inputs = jax.device_put(self.split(inputs))
            self.hypers = [hyper for _, hyper in inputs]
            self.cut = vmap and len(inputs) > 1
            self.states = []
            for each in inputs:
                state = self.programs.init(*each)
                self.keys = jax.tree.map(only_keys, state)  # 各份的相同
                self.states.append(self.settle(state))
        self.done = self.begin = self.recorded = 0
        self.rows: dict[str, np.ndarray] = {}  # {指标名: (members, 这块的更新次数)}
        self.table: dict[str, np.ndarray] = {}  # {指标名: (members, num_updates)}
        self.sick: dict[int, Sick] = {}
        self.extended_at: list[int] = []  # 在第几次更新之后加长过
        self.interrupted = False
        self.interrupts = Interrupts()
        threads = 1 if vmap else min(self.size, available_cores())
        self.pool = ThreadPoolExecutor(threads)

    def run(
        self,
        lengths: list[int],
        observers: Sequence[Observer] = (),
        stop_when_sick: bool = True,
    ) -> None:
        """一块一块地训练；每一块做完、状态和指标都记下之后，依次告诉各个旁观者。

        停下的原因有四种：做完了；Ctrl-C 或 SIGTERM（``interrupted``）；有成员发散（``sick``）而
        stop_when_sick 为真，这时状态留在发散之前的那一块；训练或旁观者出了错。不管哪一种，旁观者都
        照样收尾，出的错最后再抛出去。

        Raises:
            KeyboardInterrupt: 一块也没有做完，就被停下了。
        """
        error = None
        with self.interrupts:
            try:
                error = self.train(lengths, observers, stop_when_sick)
                for observer in observers if self.recorded else ():
                    try:
                        observer.stopped(self)
                    except Exception as late:  # 一个收不了尾，别的照样收尾
                        error = error or late
            finally:
                for observer in observers:
                    observer.close()
            if self.interrupts.deadly is None:
                self.pool.shutdown()  # 正做着的任务做完，线程才走
            self.interrupted |= self.interrupts.pending is not None
        if error is not None:
            raise error

    def train(
        self, lengths: list[int], observers: Sequence[Observer], stop_when_sick: bool
    ) -> BaseException | None:
        """``run`` 的循环；出的错（和一块也没有做完时的 KeyboardInterrupt）不抛出，返回。"""
        start = time.perf_counter()
        chunks = self.chunks(lengths)
        try:
            for _ in lengths:
                with self.interrupts.allowed():
                    states, rows = next(chunks)
                self.record(rows)
                if self.sick and stop_when_sick:
                    break
                self.states, self.done = states, self.recorded
                for observer in observers:
                    observer.chunk(self)
        except KeyboardInterrupt as stop:
            self.interrupted = True
            if not self.done:
                return stop
        except BaseException as error:
            return error
        finally:
            chunks.close()
            self.run_seconds = time.perf_counter() - start

    def record(self, rows: dict[str, np.ndarray]) -> None:
        """记下一块指标。"""
        end = self.recorded + rows["return"].shape[1]
        self.find_sick(rows)
        for name, x in rows.items():
            if name not in self.table:
                self.table[name] = np.empty((self.size, self.cfg.num_updates), x.dtype)
            self.table[name][:, self.recorded : end] = x
        self.rows, self.recorded = rows, end

    def chunks(self, lengths: list[int]) -> Iterator[tuple[list, dict[str, np.ndarray]]]:
        """一块一块地训练，每一块交出 (各份状态, {指标名: (members, 这块的更新次数)})。

        总有下一块的任务排在队里，所以一块快结束时没有核闲着等别人。
        """
        pool = self.pool
        waiting: deque[list[Future]] = deque()
        tasks = [pool.submit(lambda state=state: (state, None)) for state in self.states]
        try:
            for n in lengths:
                tasks = [pool.submit(self.advance, i, n, task) for i, task in enumerate(tasks)]
                waiting.append(tasks)
                if len(waiting) > 1:
                    yield gather(waiting.popleft())
            while waiting:
                yield gather(waiting.popleft())
        finally:  # 中途停下时，还没轮到的任务不再做，正做着的不等：存盘要紧
            pool.shutdown(wait=False, cancel_futures=True)

    def advance(self, i: int, n: int, previous: Future):
        """第 i 份状态再做 n 次更新。previous 是它的上一块，先排队，所以一定先做完。"""
        state, _ = previous.result()
        own = self.size - i * (self.batch or 0)  # 从这一份起，还有几个成员；再后面是填空位的
        with plain_jax():  # 设置是各个线程自己的
            state = jax.tree.map(from_plain, state, self.keys)
            state, metrics = self.programs.run_chunk(state, self.hypers[i], np.int32(n))
            state = self.settle(state)
        rows = {name: np.asarray(x).reshape(-1, CHUNK)[:own, :n] for name, x in metrics.items()}
        return state, rows

    def settle(self, state):
        """一份状态放到下一块用：分成几批的，放回主机的内存。"""
        return jax.tree.map(to_plain, state) if self.cut else state

    def find_sick(self, rows: dict[str, np.ndarray]) -> None:
        """看一块指标，记下新发散的成员。"""
        finite = np.stack([np.isfinite(rows[name]) for name in ALWAYS_FINITE], axis=-1)
        for member in np.flatnonzero(~finite.all(axis=(1, 2))):
            if member not in self.sick:
                update, metric = np.argwhere(~finite[member])[0]
                self.sick[int(member)] = Sick(
                    int(member), ALWAYS_FINITE[metric], int(self.recorded + update + 1)
                )

    def metrics(self) -> dict[str, np.ndarray]:
        """到此为止的指标，{指标名: (members, 更新次数)}；不复制，所以只许读。"""
        views = {name: x[:, : self.recorded] for name, x in self.table.items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    def params(self) -> Any:
        """此刻的网络参数，NumPy 数组，每个叶子的第一维是成员。"""
        return self.join([jax.tree.map(np.asarray, state.params) for state in self.states])

    def snapshot(self) -> Any:
        """此刻全部成员的状态，NumPy 数组，每个叶子的第一维是成员。"""
        return self.join([jax.tree.map(to_plain, state) for state in self.states])

    def restore(self, snapshot, done: int, metrics: dict[str, np.ndarray]) -> None:
        """从 ``snapshot`` 接着训练。"""
        self.states = self.split(snapshot)
        self.record(metrics)
        self.done = self.begin = done

    def split(self, tree) -> list:
        """全部成员的树（叶子第一维是成员）→ 各次调用的树；vmap 方式下填满最后一批。"""
        if self.batch is None:
            return [take(tree, i) for i in range(self.size)]
        starts = range(0, self.size, self.batch)
        full = len(starts) * self.batch
        tree = jax.tree.map(lambda x: np.resize(x, (full, *x.shape[1:])), tree)
        return [take(tree, slice(start, start + self.batch)) for start in starts]

    def join(self, trees: list) -> Any:
        """``split`` 的反面：各次调用的树 → 全部成员的树。"""
        if self.batch is None:
            return stack(trees)
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)
        return take(whole, slice(self.size))


def gather(tasks: list[Future]) -> tuple[list, dict[str, np.ndarray]]:
    """等一块里所有的成员做完，把指标沿成员拼起来。"""
    states, rows = zip(*[task.result() for task in tasks])
    return list(states), {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def choose_parallel(parallel: str) -> str:
    """``auto`` 在 CPU 上是 threads，在加速器上是 vmap。"""
    if parallel not in ("auto", "threads", "vmap"):
        raise ConfigError(
            f"parallel = {parallel!r} 不合法；允许的取值：auto | threads | vmap。"
        )
    if parallel != "auto":
        return parallel
    return "threads" if jax.default_backend() == "cpu" else "vmap"


def batch_size(members: int) -> int:
    """vmap 在一个设备上的一批多大：CPU 上正好；GPU 上取整到 16、32、64……中第一个装得下的。"""
    if jax.default_backend() == "cpu":
        return members
    return max(16, 1 << (members - 1).bit_length())


def whole_batch(members: int) -> int:
    """vmap 的各个设备合起来一批多大：成员均分给各个设备，每个设备的一批是 ``batch_size``。"""
    devices = jax.local_device_count()
    return devices * batch_size(-(-members // devices))


def fitting_batch(static_cfg: PPOConfig, members: int) -> int:
    """一批多大：全部成员一批；设备的内存装不下，就分成同样大小的几批，批数尽量少。

    Raises:
        ConfigError: 一个成员一批，也装不下。
    """
    whole = whole_batch(members)
    needed, usable = (
        device_bytes(compiled_programs(static_cfg, whole).memory),
        usable_bytes(),
    )
    for parts in range(1, members + 1):
        batch = whole_batch(-(-members // parts))
        if needed * batch <= usable * whole:
            return batch
    raise ConfigError(
        f"设备的内存装不下：{batch} 个成员一批，大约要 {needed * batch / whole / 1e9:.2g} GB，"
        f"可以用的只有 {usable / 1e9:.2g} GB。请减小 num_envs、num_steps 或 hidden_sizes。"
    )


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
    check_int("chunk_updates", chunk, 1, CHUNK)
    return [min(chunk, total - done) for done in range(0, total, chunk)]


# ---------------------------------------------------------------- 编译


class Programs(NamedTuple):
    """两个编译好的程序，和第二个占多少内存。"""

    init: Any  # (seed, Hyperparams) -> TrainState
    run_chunk: Any  # (TrainState, Hyperparams, n) -> (TrainState, metrics)
    memory: Any  # run_chunk.memory_analysis()；问一次要三十毫秒


@compiled_once
def compiled_programs(static_cfg: PPOConfig, batch: int | None) -> Programs:
    """编译一次训练 batch 个成员的程序（None 表示一个成员，不带成员维）。

    同样的静态配置只编译一次；种子、超参数、总步数、块的长短都是输入，改动它们不会再编译。
    编译提前做完，这样编译的时间和训练的时间分得开。
    """
    fns = make_train(static_cfg)
    init, run_chunk, shape = fns.init, fns.run_chunk, ()
    if batch is not None:
        init = over_devices(jax.vmap(init), in_specs=MEMBERS)
        run_chunk = over_devices(
            jax.vmap(run_chunk, in_axes=(0, 0, None)), in_specs=(MEMBERS, MEMBERS, P())
        )
        shape = (batch,)
    seed = jax.ShapeDtypeStruct(shape, jnp.int32)
    hyper = Hyperparams(*[jax.ShapeDtypeStruct(shape, jnp.float32)] * len(Hyperparams._fields))
    jit = functools.partial(jax.jit, compiler_options=compiler_options())
    init, run_chunk = jit(init), jit(run_chunk)
    state = jax.eval_shape(init, seed, hyper)
    with ThreadPoolExecutor(1) as pool:  # XLA 编译 init 时，这个线程已经在追踪 run_chunk
        compiled_init = pool.submit(plain_jax()(init.lower(seed, hyper).compile))
        length = jax.ShapeDtypeStruct((), jnp.int32)
        compiled_chunk = run_chunk.lower(state, hyper, length).compile()
    return Programs(compiled_init.result(), compiled_chunk, compiled_chunk.memory_analysis())


def over_devices(function, in_specs):
    """按成员分给本机的各个设备：每个设备算自己那几个，设备之间什么也不传；只有一个设备时也是这样。"""
    mesh = Mesh(np.array(jax.local_devices()), ("members",))
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=MEMBERS, check_vma=False
    )


# ---------------------------------------------------------------- 数组


def stack(trees: list) -> Any:
    """几棵同构的树叠成一棵，叶子多出第一维。"""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *trees)


def take(tree, i: int | slice) -> Any:
    """取出每个叶子的第 i 行；i 是切片时，取出那几行。"""
    return jax.tree.map(lambda x: x[i], tree)


def to_plain(x) -> np.ndarray:
    """变成 NumPy 数组；随机数的钥匙变成它的几个整数。"""
    return np.asarray(jax.random.key_data(x) if is_key(x) else x)


def from_plain(x, key):
    """``to_plain`` 的反面；key 是 ``only_keys`` 给出的。别的数组，编译好的程序自己会放到设备上。"""
    if is_key(key) and not is_key(x):
        return jax.random.wrap_key_data(x, impl=jax.random.key_impl(key))
    return x


def only_keys(x):
    """钥匙留着，别的换成 0：记下哪些叶子是钥匙。"""
    return x if is_key(x) else np.zeros(())


def is_key(x) -> bool:
    """是不是随机数的钥匙。"""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
