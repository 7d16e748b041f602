"""读者的结果与应有的结果是什么关系，不对的又都在哪里：说的是看到的事实，不猜是怎样写错的。

一个关系在**每一组**输入上都成立，才说出来：“都是应有的相反数”“比应有的多了一个 value”“次序倒过来了”。
"""

from __future__ import annotations

import itertools
import math
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
    "次序倒过来了：沿第一维从后往前": lambda e: e[::-1],
    "错后了一位：第一维上，每个数都该往前挪一格": lambda e: np.roll(e, 1, 0),
    "错前了一位：第一维上，每个数都该往后挪一格": lambda e: np.roll(e, -1, 0),
    "两个轴反了：你的是应有的转置": lambda e: e.T,
}
REDUCTIONS = {"求和": np.sum, "求平均": np.mean, "取最大": np.max}


class Sample(NamedTuple):
    """一组输入（名字 → 参数），结果里的一样，和应有的；后两样是 float64 的数组。"""

    inputs: dict[str, Any]
    got: np.ndarray
    right: np.ndarray


Relation = tuple[str, Callable[[Sample], Any]]
"""（一句话，有这种关系的话 got 该是多少；None 是这一组谈不上）。"""


def relation(
    samples: Sequence[Sample], close: Close, find: Callable | None = None
) -> str | None:
    """在每一组输入上都成立的关系，一句话；没有就是 None。close 太宽（几分之内都算对）时，这里收紧。

    find 给出可能的关系；不给就是说得准的那些。
    """
    close = Close(min(close.rtol, 1e-3), min(close.atol, 1e-3))
    if not all(s.got.size and s.right.size for s in samples):
        return None

    def holds_everywhere(f: Callable) -> bool:
        with np.errstate(all="ignore"):
            return all((x := f(s)) is not None and close(s.got, x) for s in samples)

    reshaped = any(s.got.shape != s.right.shape for s in samples)
    find = find or (reshapings if reshaped else same_shape)
    return next((text for text, f in find(samples) if holds_everywhere(f)), None)


def same_shape(samples: Sequence[Sample]) -> Iterator[Relation]:
    """形状相同时可能的关系，先说简单的。"""
    got, right = (np.concatenate([x.ravel() for x in s]) for s in list(zip(*samples))[1:])
    got, right = got[np.isfinite(right)], right[np.isfinite(right)]
    if not np.isfinite(got).all() or not right.any():
        return
    yield "差一个负号：每一组输入上，你的都是应有的相反数。", lambda s: -s.right
    if len(samples) > 2 and np.ptp(right) > 0 == np.ptp(got):
        yield (
            f"不管输入是什么，你的函数都给出 {got[0]:.6g}：结果应当随输入变。",
            lambda s: s.got,
        )
    if len(np.unique(right.round(6))) > 2:
        factor, more = got @ right / (right @ right), np.mean(got - right)
        if factor and abs(factor - 1) > 0.05:
            yield f"差一个倍数：每一组输入上，你的都是应有的 {factor:.4g} 倍。", lambda s: factor * s.right  # fmt: skip
        if abs(more) > 1e-3:
            sign = "大" if more > 0 else "小"
            yield f"差一个常数：每一组输入上，你的都比应有的{sign} {abs(more):.4g}。", lambda s: s.right + more  # fmt: skip
        for text, f in FORMS.items():
            yield f"每一组输入上，你的都是{text}。", lambda s, f=f: f(s.right)
    if any(s.right.ndim and len(s.right) > 1 for s in samples):
        for text, f in ORDERS.items():
            yield f"数都对，{text}。", lambda s, f=f: f(s.right) if s.right.ndim else s.right
    yield from with_inputs(samples)


def loosely(samples: Sequence[Sample]) -> Iterator[Relation]:
    """说得没有那么准的：换了次序，每一组里差一个倍数、一个数；别的都说不出时才说。"""
    if any(s.got.shape != s.right.shape or not np.isfinite(s.got).all() for s in samples):
        return
    yield "数都对，次序不对：各个数不在自己的位置上。", reordered
    telling = [s for s in samples if len(np.unique(s.right.round(6))) > 2]
    if sum(not np.allclose(s.got, s.right, 1e-3, 1e-4) for s in telling) > 2:
        yield "每一组里，你的与应有的都成正比：多除（乘）了一个数，或者除数（倍数）不对。", proportional  # fmt: skip
        yield "每一组里，你的与应有的都只差同一个数：多加（减）了一个数，或者加（减）的数不对。", shifted  # fmt: skip


def proportional(sample: Sample) -> np.ndarray:
    """right 乘一个倍数，尽量接近 got。"""
    _, got, right = sample
    return right * ((got * right).sum() / (right * right).sum() if right.any() else 1)


def shifted(sample: Sample) -> np.ndarray:
    """right 加一个数，尽量接近 got。"""
    return sample.right + (sample.got - sample.right).mean()


def reordered(sample: Sample) -> np.ndarray | None:
    """got 只是把 right 的数换了次序，就给出 got；来来去去就几个数的，碰巧也会这样，不算。"""
    got, right = (np.sort(x, axis=None) for x in sample[1:])
    few = 2 * len(np.unique(right)) <= right.size
    return None if few or not np.allclose(got, right, 1e-4, 1e-5) else sample.got


def with_inputs(samples: Sequence[Sample]) -> Iterator[Relation]:
    """与某个输入有关的：原样返回，多加、少加了它（或两个输入的积），多乘、少乘了它或它的长度。"""
    arrays = {name: [as_array(s.inputs[name]) for s in samples] for name in samples[0].inputs}
    arrays = {name: some for name, some in arrays.items() if not any(x is None for x in some)}
    fits = [name for name, some in arrays.items() if all(x.shape in ((), s.right.shape) for x, s in zip(some, samples))]  # fmt: skip
    for name in fits:
        yield f"你把传进来的 {name} 原样返回了。", lambda s, n=name: as_array(s.inputs[n])
        yield from scaled(name, lambda s, n=name: as_array(s.inputs[n]))
    for term in [*((name,) for name in fits), *itertools.combinations(fits, 2)]:
        label, product = " × ".join(term), lambda s, t=term: math.prod(as_array(s.inputs[n]) for n in t)  # fmt: skip
        yield (
            f"每一组输入上，你的都比应有的多了一个 {label}。",
            lambda s, f=product: s.right + f(s),
        )
        yield (
            f"每一组输入上，你的都比应有的少了一个 {label}。",
            lambda s, f=product: s.right - f(s),
        )
    for name, some in arrays.items():
        for k in range(min(x.ndim for x in some)):
            if len({x.shape[k] for x in some}) > 1:
                yield from scaled(f"{name} 第 {k} 维的长度", lambda s, n=name, k=k: np.shape(s.inputs[n])[k])  # fmt: skip


def scaled(label: str, factor: Callable[[Sample], Any]) -> Iterator[Relation]:
    """多乘了一个 factor，或多除了一个。"""
    yield f"每一组输入上，你的都是应有的乘 {label}。", lambda s: s.right * factor(s)
    yield f"每一组输入上，你的都是应有的除以 {label}。", lambda s: s.right / factor(s)


def reshapings(samples: Sequence[Sample]) -> Iterator[Relation]:
    """形状不同时可能的关系。"""
    _, got, right = next((s for s in samples if s.right.size > 1), samples[0])
    yield f"数都对；形状应当是 {right.shape}，你的是 {got.shape}：长度是 1 的那一维多了或少了。", squeezed  # fmt: skip
    yield "数都对，两个轴反了：你的是应有的转置。", lambda s: s.right.T
    yield "数都对，形状却摊平了。", lambda s: s.right.ravel()
    for word, reduce in REDUCTIONS.items():
        for axis in (None, 0, 1):
            along = "" if axis is None else f"沿第 {axis} 维"
            yield f"别的都对，最后多{along}{word}了一次。", lambda s, r=reduce, a=axis: r(s.right, a) if s.right.ndim > (a or 0) else None  # fmt: skip
            yield f"差最后一步：把你的结果{along}{word}，就是应有的。", lambda s, r=reduce, a=axis: unreduced(s, r, a)  # fmt: skip
    shapes, wanted = ({x.shape for x in side} for side in list(zip(*samples))[1:])
    if len(shapes) == 1 < len(wanted) and shapes != {()} and len(samples) > 2:
        yield f"不管输入是什么，你的结果总是 {shapes.pop()} 的形状；它应当随输入变。", lambda s: s.got  # fmt: skip


def squeezed(sample: Sample) -> np.ndarray | None:
    """right 添上或去掉长度是 1 的维，变成 got 的形状；变不成就是 None。"""
    _, got, right = sample
    return right.reshape(got.shape) if got.squeeze().shape == right.squeeze().shape else None


def unreduced(sample: Sample, reduce: Callable, axis: int | None) -> np.ndarray | None:
    """got 归约以后恰好是 right，就给出 got。"""
    _, got, right = sample
    if got.ndim <= (axis or 0) or reduce(got, axis).shape != right.shape:
        return None
    return got if np.allclose(reduce(got, axis), right, 1e-4, 1e-5) else None


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


def mislabeled(got: Sequence, right: Sequence) -> str | None:
    """答文字的：每次该答甲时都答了乙，别的都对，就说是哪两个。"""
    if not all(isinstance(x, str) for x in (*got, *right)):
        return None
    wrong = {(r, g) for g, r in zip(got, right) if g != r}
    kept = {r for g, r in zip(got, right) if g == r}
    if len(wrong) == 1 and not kept & {r for r, _ in wrong}:
        (should, said) = wrong.pop()
        return f"应当是“{should}”的，你都答了“{said}”；别的都对。"
    return None


def containers(
    got: Sequence, right: Sequence, names: Sequence[str], close: Close
) -> str | None:
    """返回的几样有没有放错：次序不对，多了，少了。got、right 一组输入一个。"""
    if not isinstance(right[0], tuple):
        for i in range(3):
            if all(isinstance(g, (tuple, list)) and len(g) > max(i, 1) and close(g[i], r) for g, r in zip(got, right)):  # fmt: skip
                return f"只要返回一样；你返回了 {len(got[0])} 样，第 {i + 1} 样就是要的。"
        return None
    names = names or [f"第 {i} 样" for i in range(1, len(right[0]) + 1)]
    for i, name in enumerate(names):
        if all(close(g, r[i]) for g, r in zip(got, right)):
            return f"你只返回了“{name}”；要 {len(names)} 样：{'、'.join(names)}。"
    if not all(isinstance(g, (tuple, list, dict)) and len(g) == len(got[0]) for g in got):
        return None
    parts = [list(g.values()) if isinstance(g, dict) else g for g in got]
    place = [
        next(
            (
                j
                for j in range(len(names))
                if all(close(p[i], r[j]) for p, r in zip(parts, right))
            ),
            None,
        )
        for i in range(len(parts[0]))
    ]
    if None in place or len(set(place)) < len(place):
        return None
    if missing := [name for j, name in enumerate(names) if j not in place]:
        return f"你返回的 {len(place)} 样都对，少了{'、'.join(missing)}。"
    if isinstance(got[0], dict):
        return f"几样都算对了；要返回元组，不是字典：依次是{'、'.join(names)}。"
    return f"几样都算对了，次序不对：依次是{'、'.join(names)}。"


def part_relation(
    samples: dict[str, Sequence[Sample]], close: Close, find: Callable | None = None
) -> str | None:
    """几样结果里不对的那几样，与应有的是什么关系；samples：名字 → 各组输入上的。"""
    wrong = [k for k, some in samples.items() if not all(close(s.got, s.right) for s in some)]
    for name in wrong:
        others = (k for k in samples if k != name)
        swapped = next((k for k in others if all(close(s.got, t.right) for s, t in zip(samples[name], samples[k]))), None)  # fmt: skip
        said = (
            f"你放的是“{swapped}”应有的。" if swapped else relation(samples[name], close, find)
        )
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
    "都不止一个数": lambda x: np.size(x) > 1,
    "都是二维的": lambda x: np.ndim(x) == 2,
    "都是 0": lambda x: not is_bool(x) and not np.any(x),
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
