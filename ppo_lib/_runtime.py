"""进程级的准备：绕开 JAX 在少核 CPU 上的死锁，打开编译缓存，import 得快一些。

JAX 0.10 的 CPU 后端默认用一种按“并发度”排序的调度器。在只有两个核的机器上，一段被
``vmap`` 的训练可能永远停在 ``block_until_ready``。关掉它就不再死锁，而且更快。
这里关两次：

1. 环境变量 ``XLA_FLAGS``：护住进程里的**所有**程序，但必须在 JAX 的后端启动之前设好；
2. ``compiler_options()``：随 ppo_lib 自己的每个编译请求一起递交，与 import 的次序无关。
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import sys
import types
import warnings

import jax
import platformdirs

SCHEDULER_FLAG = "--xla_cpu_enable_concurrency_optimized_scheduler=false"

COMPILER_OPTIONS = {
    # 一个成员只用一个核；几个成员由 members.py 用几个线程并排放到几个核上。
    "xla_cpu_multi_thread_eigen": False,
    # 有 AVX-512 的机器上用满 512 位的寄存器；没有的机器上这一项不起作用。
    "xla_cpu_prefer_vector_width": 512,
    # 在 GPU 上不逐个试哪种矩阵乘法最快：这么小的网络，训练的速度不变，编译省下四成。
    "xla_gpu_autotune_level": 0,
}
"""与调度器无关的编译选项；名字里没有这台机器后端的，不起作用。"""

SAFE_SCHEDULER = (
    {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"},
    {"xla_cpu_enable_concurrency_optimized_scheduler": False},
)
"""同一个开关在新、旧 XLA 里的名字。新的 XLA 还认得旧名字，却不再理它，所以新的在前。"""


@functools.cache
def compiler_options() -> dict:
    """ppo_lib 编译每个程序时递交的 XLA 选项，包括这一版 XLA 认得的调度器开关。"""
    for scheduler in SAFE_SCHEDULER:
        try:
            jax.jit(lambda: 0, compiler_options=scheduler).lower().compile()
        except jax.errors.JaxRuntimeError:  # 这一版没有这个选项
            continue
        return COMPILER_OPTIONS | scheduler
    return COMPILER_OPTIONS


def backend_started() -> bool:
    """JAX 的后端是否已经启动（启动后再改 ``XLA_FLAGS`` 就不起作用了）。"""
    from jax._src import xla_bridge  # JAX 没有公开的查询函数

    return xla_bridge.backends_are_initialized()


def disable_hanging_scheduler() -> None:
    """把 ``SCHEDULER_FLAG`` 写进 ``XLA_FLAGS``；来不及时发出中文警告。"""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_enable_concurrency_optimized_scheduler" in flags:
        return  # 用户自己定过，尊重他
    if backend_started() and jax.default_backend() == "cpu":
        warnings.warn(
            "JAX 的 CPU 后端在 import ppo_lib 之前就已启动，XLA_FLAGS 来不及改了。"
            "ppo_lib 自己的训练程序不受影响；你自己写的 vmap 训练在少核机器上可能卡住不动。"
            "请重启 Python（或内核），并把 import ppo_lib 放在第一行。",
            RuntimeWarning,
            stacklevel=4,  # 指着用户写 import ppo_lib 的那一行
        )
        return
    os.environ["XLA_FLAGS"] = f"{flags} {SCHEDULER_FLAG}".strip()


def enable_compilation_cache() -> None:
    """把 JAX 的持久编译缓存放进用户自己的缓存目录；用户已经设过就不动。"""
    if jax.config.jax_compilation_cache_dir is None:
        cache_dir = platformdirs.user_cache_path("ppo_lib") / "jax"
        jax.config.update("jax_compilation_cache_dir", str(cache_dir))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def keep_lapack_to_one_thread() -> None:
    """初始化网络的 QR 分解，JAX 交给 SciPy 里的 OpenBLAS：矩阵大些，它就叫醒几个线程，做完还空转着等。

    机器忙的时候，MinAtar 的一次短训练因此多花一倍的 CPU 时间。它载入时读一次环境变量，这时只许它用一个
    线程；NumPy 自己的那份已经载入，不受影响。用户设过就不动。
    """
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        importlib.import_module("scipy.linalg.cython_lapack")
        del os.environ["OPENBLAS_NUM_THREADS"]


class Later(types.ModuleType):
    """代替一个还没有载入的模块；第一次取它里面的东西时才载入。"""

    def __getattr__(self, name: str):
        if name.startswith("__"):  # import 的机制自己要看的，不算用到
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def import_gymnax() -> None:
    """载入 gymnax，但不连带载入画图的库：它的几个环境一 import 就要，却只有画图时才用，占 import 的一成半。"""
    drawing = {"seaborn", "matplotlib.pyplot"} - sys.modules.keys()
    sys.modules.update({name: Later(name) for name in drawing})
    try:
        importlib.import_module("gymnax")
    finally:
        for name in drawing:
            del sys.modules[name]


PLAIN_JAX = {
    "enable_x64": False,
    "disable_jit": False,
    "debug_nans": False,  # 没有回合结束时，回报本来就是 NaN
    "debug_key_reuse": False,  # vmap 里的 scan，它会误报
    "numpy_dtype_promotion": "standard",
    "numpy_rank_promotion": "allow",
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
}
"""会改变结果、或让程序编译不成的 JAX 设置，和 ppo_lib 的程序要的值。JAX_RANDOM_SEED_OFFSET 不在内：它没有上下文，设了就是换一批种子。"""


@contextlib.contextmanager
def plain_jax():
    """这里面不受用户的 JAX 设置（JAX_ENABLE_X64、JAX_DISABLE_JIT……）影响。

    那些设置管用户自己的程序；训练的程序在哪里都一样，所以结果逐位相同，在一种设置下存的检查点，
    在另一种下也读得回来。
    """
    with contextlib.ExitStack() as stack:
        for name, value in PLAIN_JAX.items():
            home = jax if hasattr(jax, name) else jax.experimental  # 旧的 JAX 里有的在后者
            stack.enter_context(getattr(home, name)(value))
        yield


@contextlib.contextmanager
def garbage_later():
    """import 的时候不回收垃圾：那时造出的上百万个对象都要一直留着，边造边查，要多花四分之一的时间。

    出来时冻结它们，以后的回收也不再查。
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def refuse_after_fork() -> None:
    """从 JAX 已经启动的进程里 fork 出来的，再用 JAX 会永远停住；在这样的进程里训练，报错。"""
    if forked:
        raise RuntimeError(
            "这个进程是从 JAX 已经启动的进程里 fork 出来的，在这里训练会停住不动。请用 spawn 开进程："
            'ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))。'
        )


forked = False


def after_fork() -> None:
    global forked
    forked = backend_started()


def prepare() -> None:
    """``import ppo_lib`` 时调用一次。"""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_fork)
    disable_hanging_scheduler()
    keep_lapack_to_one_thread()
    enable_compilation_cache()
