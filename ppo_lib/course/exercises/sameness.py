"""两个结果是不是相同；不同时，用中文说清楚差在哪里。

几样结果写成元组，逐样比；字典逐键比（多出的键不管）；一串数、数组、xarray 都当作数组，形状相同、数也相近才算相同。
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import xarray as xr


class Close:
    """多近算相同。"""

    def __init__(self, rtol: float = 1e-4, atol: float = 1e-5):
        self.rtol, self.atol = rtol, atol

    def __call__(self, got: Any, expected: Any) -> bool:
        """got 与 expected 是不是相同；两边都是 NaN 的位置算相同。"""
        if expected is None:
            return got is None
        if isinstance(expected, tuple):
            parts = as_parts(got, len(expected))
            return parts is not None and all(map(self, parts, expected))
        if isinstance(fields(expected), dict):
            got, expected = fields(got), fields(expected)
            same_keys = isinstance(got, dict) and set(got) >= set(expected)
            return same_keys and all(self(got[key], x) for key, x in expected.items())
        if isinstance(expected, (set, frozenset)):
            return as_set(got) == set(expected)
        if isinstance(expected, str):
            return isinstance(got, str) and got == expected
        got, expected = as_array(got), as_array(expected)
        if got is None or expected is None:
            return False
        return got.shape == expected.shape and bool(self.near(got, expected).all())  # fmt: skip

    def near(self, got: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """逐个位置：够不够近。"""
        return np.isclose(got, expected, self.rtol, self.atol, equal_nan=True)


class SameShape(Close):
    """只比形状：没有唯一答案的题（随机数），别的由规则来查。"""

    def near(self, got: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """形状相同就够了。"""
        return np.ones(got.shape, bool)


def as_array(x: Any) -> np.ndarray | None:
    """变成 float64 的数组；变不成（没有返回值、长短不一的列表、文字、复数……）就是 None。"""
    try:
        array = np.asarray(x)
    except (TypeError, ValueError):
        return None
    return array.astype(float) if array.dtype.kind in "biuf" else None


def as_parts(x: Any, count: int) -> list | None:
    """变成 count 样东西；不是这么多样就是 None。"""
    if not isinstance(x, (tuple, list)) and np.ndim(x) == 0:
        return None
    return list(x) if len(x) == count else None


def fields(x: Any) -> Any:
    """dataclass（例如环境的状态）变成字典，别的不动。"""
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {field.name: getattr(x, field.name) for field in dataclasses.fields(x)}
    return x


def as_set(x: Any) -> set | None:
    """变成集合；变不成就是 None。"""
    try:
        return set(x)
    except TypeError:
        return None


def show(x: Any) -> str:
    """一个参数或结果写成一行：不大的数组写出全部的数，大的只写形状。"""
    if isinstance(x, (str, dict, set, frozenset)) or x is None:
        return repr(x)
    if isinstance(x, tuple):
        return "(" + "，".join(map(show, x)) + ("，)" if len(x) == 1 else ")")
    if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return "一把钥匙" if x.shape == () else f"{x.shape} 把钥匙"
    if isinstance(x, xr.DataArray):
        return f"({'、'.join(map(str, x.dims))}) {show(x.values)}"
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        return repr(x) if len(repr(x)) < 80 else f"{repr(x)[:80]}……"
    if array.size > 24:
        return f"形状 {array.shape} 的数组"
    return np.array2string(
        array, separator=", ", max_line_width=10**6, formatter={"float_kind": lambda v: f"{v:.4g}"}
    ).replace("\n", "")  # fmt: skip


def show_pair(expected: float, got: float) -> tuple[str, str]:
    """两个不同的数，写到看得出不同为止。"""
    for digits in (4, 6, 9, 17):
        pair = f"{expected:.{digits}g}", f"{got:.{digits}g}"
        if pair[0] != pair[1]:
            break
    return pair


def explain(got: Any, expected: Any, close: Close, returns: str, names: tuple[str, ...]) -> str:
    """got 为什么不是 expected，一句话。returns 是应当返回什么，names 是几样结果各自的名字。"""
    if isinstance(expected, tuple):
        parts = as_parts(got, len(expected))
        if parts is None:
            return (
                f"应当返回 {len(expected)} 样：{'、'.join(names)}；你返回的是{describe(got)}。"
            )
        names = names or [f"第 {i} 样" for i in range(1, len(parts) + 1)]
        for name, part, right in zip(names, parts, expected):
            if not close(part, right):
                return f"“{name}”不对。" + explain(part, right, close, "", ())
    if isinstance(fields(expected), dict):
        got, expected = fields(got), fields(expected)
        if not isinstance(got, dict) or not set(got) >= set(expected):
            missing = set(expected) - set(got if isinstance(got, dict) else ())
            return f"应当返回字典，少了 {'、'.join(sorted(map(str, missing)))}。"
        key = next(key for key, x in expected.items() if not close(got[key], x))
        return f"“{key}”不对。" + explain(got[key], expected[key], close, "", ())
    if isinstance(expected, str) and not isinstance(got, str):
        return f"应当返回文字，例如 {expected!r}；你返回的是{describe(got)}。"
    if isinstance(expected, (set, frozenset, str)):
        return f"应当是 {show(expected)}，你的是 {show(got) if as_set(got) is not None else describe(got)}。"  # fmt: skip
    result, right = as_array(got), as_array(expected)
    if result is None:
        return f"应当返回{returns or '数或数组'}；你返回的是{describe(got)}。"
    if result.shape != right.shape:
        return explain_shape(result, right, returns)
    wrong = ~close.near(result, right)
    if (np.isnan(result) & ~np.isnan(right)).any():
        wrong &= np.isnan(result)
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    should, is_ = show_pair(float(right[place]), float(result[place]))
    where = f"下标 [{', '.join(map(str, place))}] 处" if place else ""
    return f"{where}应当是 {should}，你的是 {is_}。"


def explain_shape(result: np.ndarray, right: np.ndarray, returns: str) -> str:
    """形状不对时的一句话。"""
    text = f"形状应当是 {right.shape}，你的是 {result.shape}"
    if right.shape == ():
        text = f"应当是一个数，你的形状是 {result.shape}"
    text += f"。要返回的是{returns}。" if returns else "。"
    if result.shape == () and right.ndim:
        return text + "是不是求和、平均或取最大时，把该留的轴也归掉了？"
    if result.ndim >= 2 and result.shape == right.shape[::-1]:
        return text + "是不是有两个轴反了？"
    if result.size == right.size and right.squeeze().shape == result.squeeze().shape:
        return text + "长度是 1 的那一维多了或少了。"
    if right.ndim and result.shape == (*right.shape, right.shape[-1]):
        return (
            text
            + "可能有 (n,) 和 (n, 1) 广播到了一起，或者取下标时写了 x[:, i]，每一行都取遍了。"
        )
    if result.ndim > right.ndim:
        return text + "是不是有一个轴还没有求和、求平均？"
    return text


def describe(x: Any) -> str:
    """不是数也不是数组的东西，是什么。"""
    if x is None:
        return "None"
    if isinstance(x, str):
        return f"文字 {x[:20]!r}"
    if isinstance(x, (tuple, list)) and any(y is None for y in x):
        return f"{len(x)} 样东西，里面有 None"
    if isinstance(x, (tuple, list)):
        return f"{len(x)} 样东西" if isinstance(x, tuple) else f"{len(x)} 项的列表"
    if isinstance(x, (bool, np.bool_)):
        return "真" if x else "假"
    if isinstance(x, (int, float, np.generic)):
        return f"一个数 {x:g}"
    if hasattr(x, "shape"):
        return f"形状 {tuple(x.shape)} 的数组"
    if callable(x):
        return "一个函数（忘了调用它？）"
    return f"{type(x).__name__}"
