"""运行读者写的函数：出了错、停不下来、只打印不返回、改了输入，都说得出来。"""

from __future__ import annotations

import contextlib
import copy
import difflib
import dis
import inspect
import io
import linecache
import re
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from ppo_lib.course.exercises.verdict import Mistake, Verdict

SECONDS = 40.0
"""一次检查最多跑多久，秒。"""


class TimeUp(BaseException):
    """时间到了。不是 Exception，读者的 ``except Exception`` 接不住它。"""


class Outcome(NamedTuple):
    """函数在一组输入上的结果：返回的东西，或者抛出的异常。"""

    value: Any = None
    error: BaseException | None = None
    printed: str = ""
    changed: tuple[int, ...] = ()  # 哪几个参数（数组）被它改动了


@contextlib.contextmanager
def time_limit(seconds: float):
    """超过 seconds 秒就抛出 ``TimeUp``。不在主线程，或系统没有闹钟（Windows）时，不限时。"""
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "setitimer"
    ):
        yield
        return

    def ring(*_):
        raise TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limited(judge: Callable[[], Verdict], seconds: float) -> Verdict:
    """限时运行 judge；``Mistake`` 和超时都变成 ``Verdict``。"""
    try:
        with time_limit(seconds), jax.debug_key_reuse(False):  # 两份答案要用同一把钥匙来比
            return judge()
    except Mistake as mistake:
        return Verdict(False, str(mistake))
    except TimeUp:
        text = "多半有停不下来的循环；机器正忙的话，再试一次。"
        return Verdict(False, f"跑了 {seconds:.0f} 秒还没有结束：{text}")


def run(function: Callable, inputs: tuple) -> Outcome:
    """在 inputs 的一份拷贝上调用 function；异常和打印都收起来。"""
    given = copy.deepcopy(inputs)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 空的平均之类，结果里看得出来
            value, error = function(*given), None
    except (Exception, SystemExit) as caught:
        value, error = None, caught
    changed = tuple(i for i, pair in enumerate(zip(given, inputs)) if was_changed(*pair))
    return Outcome(value, error, printed.getvalue(), changed)


def was_changed(now: Any, before: Any) -> bool:
    """一个参数是不是被改动了；看得出的有数组、xarray 和字典。"""
    if isinstance(before, np.ndarray):
        return not np.array_equal(now, before, equal_nan=before.dtype.kind == "f")
    if isinstance(before, (xr.DataArray, xr.Dataset)):
        return not before.identical(now)
    return isinstance(before, dict) and set(now) != set(before)


def is_empty(function: Callable) -> bool:
    """函数体是不是还只有 ``...``（或 pass、文档字符串）。"""
    if not hasattr(function, "__code__"):
        return False
    steps = [x for x in dis.get_instructions(function) if x.opname not in ("RESUME", "NOP")]
    returns_a_constant = {x.opname for x in steps} <= {
        "LOAD_CONST",
        "RETURN_VALUE",
        "RETURN_CONST",
    }
    return returns_a_constant and any(x.argval is None for x in steps if "CONST" in x.opname)


def wrong_signature(function: Callable, names: list[str]) -> str | None:
    """函数收不下题目给的参数时，说一句；收得下就返回 None。"""
    try:
        inspect.signature(function).bind(*names)
    except TypeError:
        takes = len(inspect.signature(function).parameters)
        return (
            f"题目给你的函数 {len(names)} 个参数：{'、'.join(names)}；你的函数收 {takes} 个。"
        )
    except ValueError:
        pass  # 内建的函数没有签名可看
    return None


def describe_error(error: BaseException, function: Callable | None) -> str:
    """用中文说一个异常：读者的哪一行，什么错；原文跟在后面。答案不是函数时 function 是 None。"""
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    place = ""
    if code is not None:
        frames = [
            (frame.f_code.co_filename, line)
            for frame, line in traceback.walk_tb(error.__traceback__)
        ]
        lines = [line for name, line in frames if name == code.co_filename]
        if lines:
            source = linecache.getline(code.co_filename, lines[-1]).strip()
            place = f"第 {lines[-1]} 行" + (f"（{source}）" if source else "")
    original = str(error).strip().splitlines()
    detail = f"（{type(error).__name__}：{original[0][:160]}）" if original else ""
    return f"你的{'函数' if function else '答案'}{place}出错了：{meaning(error)}{detail}"


UNKNOWN_NAME = (
    "No variable named|not a valid dimension or coordinate|do(es)? not exist. Expected one or more|"
    "not found in (array|DataArray|Dataset) dimensions|cannot be found in this|is not a variable or dimension"
)


def unknown_in_xarray(error: BaseException) -> str | None:
    """xarray 里没有这个名字或取值：没有的是什么，可以用的有哪些；不是这种错就是 None。"""
    text = str(error)
    if axis := re.search(r"not all values found in index '(.*?)'", text):
        wanted = (
            f" {error.__cause__.args[0]!r} 这个取值" if error.__cause__ else "你要的某个取值"
        )
        return f"{axis[1]} 里没有{wanted}；{allowed(map(repr, index_values(error)))}"
    if not re.search(UNKNOWN_NAME, text):
        return None
    missing, *others = re.split("one of|one or more of|include|dimensions ", text)
    names = [re.findall("'.*?'", part) for part in (missing, *others[-1:])]
    return f"没有 {'、'.join(names[0])} 这个名字。{allowed(*names[1:])}"


def allowed(names: Iterable[str] = ()) -> str:
    """可以用的有哪些，一句话；不知道就什么也不说。"""
    shown = list(names)
    return (
        f"可以用的有 {'、'.join(shown[:10])}{'……' if len(shown) > 10 else ''}。"
        if shown
        else ""
    )


def index_values(error: BaseException) -> list:
    """xarray 按取值没有找到时，那一维有哪些取值：在它查找的那一层里。"""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(searched := frame.f_locals.get("self"), xr.indexes.PandasIndex):
            return searched.index.tolist()
    return []


def meaning(error: BaseException) -> str:
    """一种异常是什么意思。"""
    text = str(error)
    if isinstance(error, NameError):
        name = error.name or re.search(r"'(.*?)'", text)[1]  # UnboundLocalError 没有 name
        return f"名字 {name} 没有定义，或者用在了赋值之前。"
    if isinstance(error, (jax.errors.TracerArrayConversionError, jax.errors.TracerBoolConversionError)):  # fmt: skip
        return "求导或编译时，这里要的是具体的数，拿到的是占位的符号：用 jnp 代替 NumPy，用 jnp.where 代替 if。"
    if isinstance(error, jax.errors.JAXTypeError):
        return "编译或求导时，这里要的是具体的数，拿到的是占位的符号。"
    if isinstance(error, ZeroDivisionError):
        return "除以了 0。"
    if unknown := unknown_in_xarray(error):
        return unknown
    if isinstance(error, KeyError):
        return f"没有 {error.args[0]!r} 这个键。" if error.args else "没有这个键。"
    if isinstance(error, IndexError):
        return "下标超出了范围。"
    if "NoneType" in text:
        return "有一个值是 None：多半是哪个函数没有返回值。"
    if isinstance(error, AttributeError):
        owner = getattr(error.obj, "__name__", type(error.obj).__name__)
        near = difflib.get_close_matches(error.name or "", dir(error.obj), 1)
        return (
            f"{owner} 没有 {error.name} 这个属性"
            + "".join(f"，是不是 {x}" for x in near)
            + "。"
        )
    if isinstance(error, RecursionError):
        return "函数一直调用自己，没有停下。"
    if isinstance(error, MemoryError):
        return "要的内存太多。"
    if isinstance(error, AssertionError):
        return "有一个 assert 没有成立。"
    if "broadcast" in text or "incompatible shapes" in text:
        return "两个数组的形状合不到一起。"
    if "truth value of an array" in text.lower():
        return "一整个数组没有真假：条件写 jnp.where 或 &、|、~，逐个取小写 jnp.minimum。"
    if "bitwise_xor" in text or "for ^" in text:
        return "次方写 **，不写 ^。"
    if "unhashable" in text:
        return "列表和集合不能作字典的键、集合的元素：写成元组或 frozenset。"
    if "unsupported operand" in text or "bad operand" in text:
        return "这两样东西不能这样运算；有一样是树（参数、环境的状态）的话，用 jax.tree.map。"
    if "not callable" in text:
        return "它不是函数，不能调用：要函数的地方，只写函数的名字，不写调用它的结果。"
    if "not subscriptable" in text:
        return "它不能取下标；它是树（环境的状态、参数）的话，用 jax.tree.map(lambda x: x[t], 树)。"
    if type(error).__name__ == "ScopeParamShapeError":
        return "送进网络的数组形状不对：多半是前面哪一步把观测的形状弄错了。"
    if text.startswith("vmap "):
        return "vmap 的 in_axes 与数组的轴对不上。"
    if isinstance(error, ModuleNotFoundError):
        return f"这里没有装 {error.name} 这个包。"
    if "JAX arrays are immutable" in text:
        return "JAX 的数组不能就地改动：用 x = x.at[i].set(…) 得到一个新的。"
    if isinstance(error, TypeError) and "argument" in text:
        return "参数的个数或类型不对。"
    if isinstance(error, TypeError):
        return "这里的类型或形状不对。"
    if isinstance(error, ValueError):
        return "值不合要求。"
    return "出现了意外的错误。"
