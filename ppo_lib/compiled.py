"""编译好的程序跟着源码走：库里的函数换了，下次要用时就重新编译。

编译一次要几秒，所以程序按静态的配置缓存。可是在笔记本里，库里的函数会变：读者改了源码而
``%autoreload`` 重新载入了它，或者直接写 ``ppo_lib.training.ppo_loss = my_loss``。缓存若认不出来，
训练用的还是旧的，也不说。
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from ppo_lib._runtime import plain_jax, refuse_after_fork

ROOMS = (
    *("advantage", "diagnostics", "envs", "keys", "loss", "networks.cpu", "networks.mlp"),
    *("optimizer", "policy", "replay.film", "rollout", "training"),
)
"""会编译进程序的那些文件。"""

PLAIN = (int, float, str, tuple, frozenset, dict)
"""常数的类型：它们也会编译进程序。"""

STARTED = time.time()
loaded: dict[str, tuple[float, dict]] = {}  # 模块 → (用着的是文件哪一刻的样子, 它的字节码)
told: set[str] = set()


def compiled_once(make: Callable, maxsize: int = 64) -> Callable:
    """缓存 ``make(静态配置, …)`` 给出的编译好的程序；库里的函数换了，缓存就清空。"""
    cached = functools.lru_cache(maxsize)(make)
    seen: dict[str, object] = {}

    @functools.wraps(make)
    def program(*args):
        nonlocal seen
        if jax.config.jax_disable_jit:
            say_once(
                "JAX_DISABLE_JIT 不管 ppo_lib 的训练：它总是编译了再跑。要一步一步地看里面的数，"
                "请直接调用库里的函数，例如 make_train(cfg).update(state, hyper)。"
            )
        refuse_after_fork()
        warn_if_not_loaded()
        now = dict(in_use())
        if any(now.get(name) != thing for name, thing in seen.items()):  # 后来载入的文件不算
            cached.cache_clear()
        seen = now
        with plain_jax():
            return cached(*args)

    program.cache_info, program.cache_clear = cached.cache_info, cached.cache_clear
    return program


def warn_if_not_loaded() -> None:
    """磁盘上的库改过、却没有载入，就发出警告。"""
    for _, module in rooms():
        if changed := not_loaded(module):
            say_once(
                f"磁盘上的 {Path(module.__file__).name} 改过了（{'、'.join(changed)}），这个进程里用的"
                "还是旧的。请重启内核；在 JupyterLab 里也可以先运行 %load_ext autoreload 和 %autoreload 2，以后改了"
                "会自动载入（Colab 的 IPython 太旧，载入不了它）。"
            )


def rooms() -> Iterator[tuple[str, types.ModuleType]]:
    """已经载入的 ``ROOMS``：(名字, 模块)。"""
    for room in ROOMS:
        if module := sys.modules.get(f"ppo_lib.{room}"):
            yield room, module


def in_use() -> Iterator[tuple[str, object]]:
    """此刻会编译进程序的函数和常数：(全名, 拿来比的东西)。"""
    for room, module in rooms():
        for name, value in vars(module).items():
            if isinstance(value, type):
                for attribute, method in vars(value).items():
                    if callable(method):
                        yield f"{room}.{name}.{attribute}", code_of(method)
            elif callable(value):
                yield f"{room}.{name}", (value, code_of(value))
            elif isinstance(value, PLAIN) and not name.startswith("__"):
                yield f"{room}.{name}", copy.copy(value)  # 字典可以就地改


def code_of(function) -> object:
    """函数的字节码：``%autoreload`` 换的是它，函数还是原来的那个对象。"""
    inner = inspect.unwrap(function) if callable(function) else function
    return getattr(inner, "__code__", function)


def not_loaded(module: types.ModuleType) -> list[str]:
    """文件改过，而用着的还是旧的那些函数。"""
    file, own = Path(module.__file__), dict(own_code(module))
    since, before = loaded.get(module.__name__, (STARTED, own))
    edited = file.stat().st_mtime if file.exists() else since
    if any(own[name] != code for name, code in before.items() if name in own):
        since = edited  # 重新载入过
    loaded[module.__name__] = since, own
    if edited <= since:
        return []
    fresh = dict(codes(compile(file.read_text("utf-8"), str(file), "exec")))
    return [
        name for name, code in own.items() if name in fresh and body(fresh[name]) != body(code)
    ]


def own_code(module: types.ModuleType) -> Iterator[tuple[str, types.CodeType]]:
    """这个文件里定义的函数和方法：(全名, 用着的字节码)。"""
    for value in vars(module).values():
        if getattr(value, "__module__", None) == module.__name__:
            for function in vars(value).values() if isinstance(value, type) else [value]:
                if isinstance(code := code_of(function), types.CodeType):
                    yield code.co_qualname, code


def codes(code: types.CodeType) -> Iterator[tuple[str, types.CodeType]]:
    """一段编译好的源码里的各个函数：(全名, 字节码)。"""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant.co_qualname, constant
            yield from codes(constant)


def body(code: types.CodeType) -> tuple:
    """函数做的事，不管它在第几行、文档怎么写；参数的缺省值不在字节码里，不比。"""
    inner = [body(x) if isinstance(x, types.CodeType) else x for x in code.co_consts]
    has_doc = inner and isinstance(inner[0], str | None)  # 没有写文档的，那里是 None
    return code.co_code, code.co_names, tuple(inner[1:] if has_doc else inner)


def say_once(text: str) -> None:
    """发出警告；同样的话只说一遍。"""
    if text not in told:
        told.add(text)
        warnings.warn(text, RuntimeWarning, stacklevel=6)
