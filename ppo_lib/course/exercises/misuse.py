"""把输入用错了：没有用到 gamma，该用 beta_2 的地方用了 beta_1，两个标志弄反了……不看是什么题。

一种用错就是一个写错的函数：参考答案拿到换过的输入。读者的结果与它在每一组输入上都相同，才这样说。
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

SAID = "每一组输入上，你的都与“{}”时应有的相同。"

Change = tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]
"""（一句话，一组输入里换掉的：名字 → 换成的）。"""


def misuses(
    reference: Callable, names: Sequence[str], cases: Sequence[tuple]
) -> dict[str, Callable]:
    """提示 → 把输入用错了的参考答案。"""

    def fed(change: Callable) -> Callable:
        def wrong(*args):
            given = dict(zip(names, args))
            return reference(*(given | change(given)).values())

        return wrong

    columns = dict(zip(names, zip(*cases)))
    return {SAID.format(text): fed(change) for text, change in changes(columns)}


def changes(columns: dict[str, tuple]) -> Iterator[Change]:
    """能怎样换，先说简单的；columns：名字 → 各组输入里的。"""
    kinds, seen = {name: kind(column) for name, column in columns.items()}, set()
    for name in columns:
        for text, f in ALONE[kinds[name]].items():
            yield text.format(name), lambda x, n=name, f=f: {n: f(x[n])}
        if kinds[name] in ("真假", "数") and any(np.ndim(x) for x in columns[name]):
            for text, f in ALONG.items():
                yield text.format(name), lambda x, n=name, f=f: {n: f(x[n]) if np.ndim(x[n]) else x[n]}  # fmt: skip
    for a, b in itertools.permutations(columns, 2):
        if kinds[a] != kinds[b] or kinds[a] in ("", "元组"):
            continue
        shapes = [(np.shape(x), np.shape(y)) for x, y in zip(columns[a], columns[b])]
        if all(x == y for x, y in shapes):
            yield f"该用 {a} 的地方用了 {b}", lambda x, a=a, b=b: {a: x[b]}
            if kinds[a] == "真假":
                yield f"{a} 里混进了 {b}", lambda x, a=a, b=b: {a: x[a] | x[b]}
            if (b, a) in seen:
                yield f"{b} 和 {a} 用反了", lambda x, a=a, b=b: {a: x[b], b: x[a]}
            seen.add((a, b))
        elif all(y == () for _, y in shapes):
            yield f"{a} 先乘了 {b}", lambda x, a=a, b=b: {a: x[a] * x[b]}
        if kinds[a] == "数" and all(y for _, y in shapes):
            yield f"该用 {a} 的地方用了 {b} 的平均", lambda x, a=a, b=b: {a: 0 * x[a] + x[b].mean()}  # fmt: skip


def kind(column: tuple) -> str:
    """一个参数是哪一种：真假、数、整数、几个数的元组；别的是空的，不去换它。"""
    if all(type(x) is tuple and all(isinstance(n, (int, float)) for n in x) for x in column):
        return "元组"
    if not all(isinstance(x, (np.ndarray, jax.Array, bool, int, float)) for x in column):
        return ""
    kinds = {np.asarray(x).dtype.kind if not is_key(x) else "" for x in column}
    return {"b": "真假", "i": "整数", "f": "数"}.get(kinds.pop() if len(kinds) == 1 else "", "")


def is_key(x: Any) -> bool:
    """是随机数的钥匙。"""
    return isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


ALONE = {
    "真假": {
        "{0} 总是假，没有用到": lambda x: x & False,
        "{0} 的真假弄反了": lambda x: x ^ True,
    },
    "数": {
        "{0} 处处是 1，没有用到": lambda x: x * 0 + 1,
        "{0} 处处是 0，没有用到": lambda x: x * 0,
        "{0} 差一个负号": lambda x: -x,
        "{0} 大了一倍": lambda x: 2 * x,
        "{0} 小了一半": lambda x: x / 2,
        "{0} 先平方了": lambda x: x * x,
        "{0} 先取了绝对值": abs,
        "{0} 和 1 - {0} 弄反了": lambda x: 1 - x,
    },
    "整数": {"{0} 少 1": lambda x: x - 1, "{0} 多 1": lambda x: x + 1},
    "元组": {
        "只用了 {0} 的第一个": lambda x: x[:1],
        "只用了 {0} 的最后一个": lambda x: x[-1:],
        "{0} 少了最后一个": lambda x: x[:-1],
    },
    "": {},
}
ALONG = {
    "{0} 只用了第一份，别的都当成与它相同": lambda x: x[:1] + 0 * x if x.dtype != bool else x[:1] | x & False,
    "{0} 从后往前倒过来了": lambda x: x[::-1],
    "{0} 用的是前一步的": lambda x: np.roll(x, 1, 0),
    "{0} 用的是后一步的": lambda x: np.roll(x, -1, 0),
}  # fmt: skip
