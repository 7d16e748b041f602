"""读者的结果与应有的结果是什么关系，不对的又都在哪里：说的是看到的事实，不猜是怎样写错的。

一个关系在**每一组**输入上都成立，才说出来：“都是应有的相反数”“比应有的多了 value”“次序倒过来了”。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppo_lib.course.exercises.sameness import Close, as_array, as_parts, fields

FORMS = {
    "1 减去应有的": lambda e: 1 - e,
    "应有的倒数": lambda e: 1 / e,
    "应有的平方": np.square,
    "应有的平方根": np.sqrt,
    "应有的指数": np.exp,
    "应有的自然对数": np.log,
    "应有的绝对值": np.abs,
}
ORDERS = {
    "数都对，次序倒过来了：沿第一维从后往前": lambda e: e[::-1],
    "数都对，错后了一位：第一维上，每个数都该往前挪一格": lambda e: np.roll(e, 1, 0),
    "数都对，错前了一位：第一维上，每个数都该往后挪一格": lambda e: np.roll(e, -1, 0),
    "数都对，两个轴反了：你的是应有的转置": lambda e: e.T,
}
REDUCTIONS = {"求和": np.sum, "求平均": np.mean, "取最大": np.max}


class Sample(NamedTuple):
    """一组输入（名字 → 参数），结果里的一样，和应有的，都是 float64 的数组。"""

    inputs: dict[str, Any]
    got: np.ndarray
    right: np.ndarray


def relation(samples: Sequence[Sample], close: Close) -> str | None:
    """一句话：在每一组输入上都成立的关系；没有就是 None。"""

    def everywhere(f: Callable[[Sample], Any]) -> bool:
        with np.errstate(all="ignore"):
            return all(f(s) is not None and close(s.got, f(s)) for s in samples)

    if any(s.got.shape != s.right.shape for s in samples):
        said = next((text for text, f in reshapings(samples) if everywhere(f)), None)
        shapes, wanted = ({x.shape for x in side} for side in list(zip(*samples))[1:])
        if (
            said is None
            and len(shapes) == 1 < len(wanted)
            and shapes != {()}
            and len(samples) > 2
        ):
            said = f"不管输入是什么，你的结果总是 {shapes.pop()} 的形状；它应当随输入变。"
        return said
    got, right = (
        np.concatenate([np.ravel(x) for x in side]) for side in list(zip(*samples))[1:]
    )
    known = np.isfinite(right)
    got, right = got[known], right[known]
    if not np.isfinite(got).all() or not right.any():
        return None
    if everywhere(lambda s: -s.right):
        return "差一个负号：每一组输入上，你的都是应有的相反数。"
    if len(samples) > 2 and np.ptp(got) == 0 and np.ptp(right) > 0:
        return f"不管输入是什么，你的函数都给出 {got[0]:.6g}：结果应当随输入变。"
    if len(np.unique(right.round(6))) > 2:
        factor, offset = got @ right / (right @ right), np.mean(got - right)
        if factor and abs(factor - 1) > 0.05 and everywhere(lambda s: factor * s.right):
            return f"差一个倍数：每一组输入上，你的都是应有的 {factor:.4g} 倍。"
        if abs(offset) > 1e-3 and everywhere(lambda s: s.right + offset):
            return f"差一个常数：每一组输入上，你的都比应有的{'大' if offset > 0 else '小'} {abs(offset):.4g}。"  # fmt: skip
        for text, f in FORMS.items():
            if everywhere(lambda s: f(s.right)):
                return f"每一组输入上，你的都是{text}。"
    if any(s.right.ndim and len(s.right) > 1 for s in samples):
        for text, f in ORDERS.items():
            if everywhere(lambda s: f(s.right) if s.right.ndim else s.right):
                return f"{text}。"
        if all(close(np.sort(s.got, axis=None), np.sort(s.right, axis=None)) for s in samples):
            return "数都对，次序不对：各个数不在自己的位置上。"
    return next((text for text, f in with_inputs(samples) if everywhere(f)), None)


def with_inputs(samples: Sequence[Sample]) -> Iterator[tuple[str, Callable]]:
    """与某个输入有关的关系：（一句话，由一组输入算出的数）。"""
    for name in samples[0].inputs:
        columns = {name: lambda s, n=name: as_array(s.inputs[n])}
        for k in range(max(np.ndim(columns[name](s)) for s in samples) if all(columns[name](s) is not None for s in samples) else 0):  # fmt: skip
            columns[f"{name} 第 {k} 维的长度"] = lambda s, n=name, k=k: float(np.shape(s.inputs[n])[k])  # fmt: skip
        for label, column in columns.items():
            if not all(fits(column, s) for s in samples):
                continue
            if column is columns[name]:
                yield f"你把传进来的 {name} 原样返回了。", column
                yield f"每一组输入上，你的都比应有的多了一个 {name}。", lambda s, c=column: s.right + c(s)  # fmt: skip
                yield f"每一组输入上，你的都比应有的少了一个 {name}。", lambda s, c=column: s.right - c(s)  # fmt: skip
            if len({float(np.sum(column(s))) for s in samples}) > 1:
                yield f"每一组输入上，你的都是应有的乘 {label}。", lambda s, c=column: s.right * c(s)  # fmt: skip
                yield f"每一组输入上，你的都是应有的除以 {label}。", lambda s, c=column: s.right / c(s)  # fmt: skip


def fits(column: Callable, sample: Sample) -> bool:
    """这个输入是一个数，或者形状与结果相同。"""
    try:
        x = column(sample)
    except (IndexError, TypeError):
        return False
    return x is not None and np.shape(x) in ((), sample.right.shape)


def reshapings(samples: Sequence[Sample]) -> Iterator[tuple[str, Callable]]:
    """形状不对、数却有关系的：（一句话，由一组输入算出的数）。"""
    right, got = samples[-1].right.shape, samples[-1].got.shape
    shapes = f"例如应当是 {right}，你的是 {got}"
    yield f"数都对，形状不对（{shapes}）：长度是 1 的那一维多了或少了。", lambda s: s.right.reshape(s.got.shape) if s.got.squeeze().shape == s.right.squeeze().shape else None  # fmt: skip
    yield "数都对，两个轴反了：你的是应有的转置。", lambda s: s.right.T
    yield "数都对，形状却摊平了。", lambda s: s.right.ravel()
    for word, reduce in REDUCTIONS.items():
        for axis in (None, 0, 1):
            along = "" if axis is None else f"沿第 {axis} 维"
            yield f"别的都对，最后多{along}{word}了一次。", lambda s, r=reduce, a=axis: r(s.right, a) if s.right.ndim > (a or 0) else None  # fmt: skip
            yield f"差最后一步：把你的结果{along}{word}，就是应有的。", lambda s, r=reduce, a=axis: undone(r, s, a)  # fmt: skip


def undone(reduce: Callable, sample: Sample, axis: int | None) -> np.ndarray | None:
    """got 归约以后恰好是 right，就给出 got。"""
    if sample.got.ndim <= (axis or 0):
        return None
    less = reduce(sample.got, axis)
    return sample.got if less.shape == sample.right.shape and np.allclose(less, sample.right, 1e-4, 1e-5) else None  # fmt: skip


# ---------------------------------------------------------------- 几样结果


def leaves(
    got: Any, right: Any, names: Sequence[str], label: str = ""
) -> dict[str, tuple] | None:
    """几样结果拆成一样一样：名字 → （你的，应有的）；样数或键对不上就是 None。"""
    if isinstance(right, tuple):
        parts = as_parts(got, len(right))
        pairs = parts and list(zip(names or map(str, range(1, len(right) + 1)), parts, right))
    elif isinstance(fields(right), dict):
        got, right = fields(got), fields(right)
        full = isinstance(got, dict) and set(got) >= set(right)
        pairs = [(str(key), got[key], right[key]) for key in right] if full else None
    else:
        return {label: (got, right)}
    found = [leaves(g, r, (), name) for name, g, r in pairs or ()]
    return {k: x for one in found for k, x in one.items()} if pairs and None not in found else None  # fmt: skip


def containers(
    got: Sequence, right: Sequence, names: Sequence[str], close: Close
) -> str | None:
    """返回的几样有没有放错：次序不对，多了，少了。got、right 一组输入一个。"""
    if not isinstance(right[0], tuple):
        for i in range(3):
            if all(isinstance(g, (tuple, list)) and len(g) > max(i, 1) and close(g[i], r) for g, r in zip(got, right)):  # fmt: skip
                return f"只要返回一样；你返回了 {len(got[0])} 样，第 {i + 1} 样就是要的。"
        return None
    n = len(right[0])
    names = names or [f"第 {i} 样" for i in range(1, n + 1)]
    for i, name in enumerate(names):
        if all(close(g, r[i]) for g, r in zip(got, right)):
            return f"你只返回了“{name}”；要 {n} 样：{'、'.join(names)}。"
    if any(as_parts(g, n) is None for g in got):
        return None
    place = [
        [j for j in range(n) if all(close(g[i], r[j]) for g, r in zip(got, right))]
        for i in range(n)
    ]
    if all(place) and len({p[0] for p in place}) == n:
        return f"几样都算对了，次序不对：依次是{'、'.join(names)}。"
    return None


def part_relation(samples: dict[str, Sequence[Sample]], close: Close) -> str | None:
    """几样结果里不对的那几样，与应有的是什么关系；samples：名字 → 各组输入上的。"""
    wrong = [k for k, some in samples.items() if not all(close(s.got, s.right) for s in some)]
    for name in wrong:
        others = (k for k in samples if k != name)
        swapped = next((k for k in others if all(close(s.got, t.right) for s, t in zip(samples[name], samples[k]))), None)  # fmt: skip
        said = f"你放的是“{swapped}”应有的。" if swapped else relation(samples[name], close)
        if said:
            rest = "，别的都对" if len(wrong) == 1 and len(samples) > 1 else ""
            return f"“{name}”不对{rest}：{said}" if len(samples) > 1 else said
    return None


# ---------------------------------------------------------------- 不对的在哪里


def where_wrong(samples: Sequence[Sample], near: Callable) -> str:
    """不对的位置有什么共同：都在某个输入为真、为负……的位置；看不出就是空的。"""
    if any(s.got.shape != s.right.shape or not s.right.ndim for s in samples):
        return ""
    best, text = 0.5, ""
    for name in samples[0].inputs:
        for word, test in PLACES.items():
            hits = wrong = total = 0
            for s in samples:
                x = as_array(s.inputs[name])
                if x is None or not x.ndim or x.shape != s.right.shape[: x.ndim] or (word == "真") != is_bool(s.inputs[name]):  # fmt: skip
                    break
                place = test(x).reshape(x.shape + (1,) * (s.right.ndim - x.ndim)) & np.ones(s.right.shape, bool)  # fmt: skip
                bad = ~near(s.got, s.right)
                if (bad & ~place).any():
                    break
                hits, wrong, total = hits + place.sum(), wrong + bad.sum(), total + place.size
            else:
                if wrong > 1 and hits < total and wrong / hits > best:
                    best, text = (
                        wrong / hits,
                        f"（不对的都在 {name} 为{word}的位置，别处都对。）",
                    )
    return text


PLACES = {
    "真": lambda x: x > 0,
    "正": lambda x: x > 0,
    "负": lambda x: x < 0,
    " 0 ": lambda x: x == 0,
}


def is_bool(x: Any) -> bool:
    """是真假的数组。"""
    return np.asarray(x).dtype.kind == "b"


TRAITS = {
    "里都有真": lambda x: is_bool(x) and np.any(x),
    "全是假": lambda x: is_bool(x) and not np.any(x),
    "里都有 NaN": lambda x: np.isnan(x).any(),
    "里都有无穷大": lambda x: np.isinf(x).any(),
    "里都有相等的数": lambda x: np.ndim(x) == 1 and np.size(x) > len(np.unique(x)),
    "都只有一个数": lambda x: np.ndim(x) > 0 and np.size(x) == 1,
    "都是二维的": lambda x: np.ndim(x) == 2,
    "都是 0": lambda x: not np.any(x),
}


def trait(cases: Sequence[tuple], names: Sequence[str], right: Sequence[bool]) -> str:
    """什么样的输入恰好分开了对的和不对的；看不出，或不止一种就是空的。"""
    if min(sum(right), len(right) - sum(right)) < 2:
        return ""
    found = [
        f"；不对的那几组，{name} {text}，对的都不是"
        for name, column in zip(names, zip(*cases))
        if all(as_array(x) is not None for x in column)
        for text, test in TRAITS.items()
        if all(test(x) != ok for x, ok in zip(column, right))
    ]
    return found[0] if len(found) == 1 else ""
