"""填空和选择的练习：一格一个 ``Number``、``Choice``、``Subset``、``Order`` 或 ``Shape``。

声明编译成一个字典 ``spec``（收哪些值，哪些值是哪种错，别的时候怎样提示）。这里照它判卷；没有内核的页面上，
答题框（widgets/answers.js）照同一个字典判卷。
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ppo_lib.course.exercises.verdict import Mistake, Verdict

COARSE = 2
"""至少写几位有效数字；只写到这么粗也算对，另给出更准的值。"""


def parse_number(raw: Any) -> float:
    """读一个数：数，或者文字（``"0.5"``、``"1/2"``、``"50%"``、``"−3"``）。"""
    if isinstance(raw, (bool, np.bool_)):
        raise Mistake(f"要一个数，{raw} 是真假。")
    if isinstance(raw, str):
        text = re.sub(r"^[约≈~]|[倍次步个分遍条]$", "", re.sub(r"[\s,，]", "", raw)).replace(
            "−", "-"
        )
        percent = text.endswith(("%", "％"))
        try:
            above, _, below = text.rstrip("%％").partition("/")
            return float(above) / float(below or 1) / (100 if percent else 1)
        except (ValueError, ZeroDivisionError):
            raise Mistake(f"“{raw.strip()}” 不是一个数。") from None
    if raw is None:
        raise Mistake("要一个数，你给的是 None：是不是哪个函数没有返回值？")
    try:
        array = np.asarray(raw, float)
    except (TypeError, ValueError):
        raise Mistake(f"要一个数，你给的是 {type(raw).__name__}。") from None
    if array.size != 1:
        raise Mistake(f"要一个数，你给的是 {array.size} 个。")
    if np.isnan(array):
        raise Mistake("NaN 不是一个数。")
    return float(array.reshape(()))


@dataclasses.dataclass(frozen=True)
class Number:
    """填一个数。

    Args:
        value: 正确的数；None 表示填什么都行。
        wrong: 常见的错的数 → 提示。
        hint: 别的数都给的提示。
        tolerance: 相差多少以内算对；0 是要恰好相等。不给时是千分之五。
        ratio: 是不是 0 到 1 的比例（填成百分数时说一声）。
    """

    value: float | None
    wrong: Mapping[float, str] = dataclasses.field(default_factory=dict)
    hint: str = "再算一算。"
    tolerance: float | None = None
    ratio: bool = False

    def spec(self) -> dict:
        """``right`` 和 ``wrong`` 都是区间 [下界, 上界]，先看 right，再依次看 wrong。"""
        if self.value is None:
            return {"kind": "number", "right": [[-1e300, 1e300]], "coarse": [], "wrong": [], "usual": [], "hint": ""}  # fmt: skip
        within = 5e-3 * abs(self.value) if self.tolerance is None else self.tolerance
        coarse = []
        if self.tolerance != 0 and self.value:
            digits = COARSE - 1 - math.floor(math.log10(abs(self.value)))
            coarse = [self.interval(round(self.value, digits), 0)]
        return {
            "kind": "number",
            "value": float(self.value),
            "right": [self.interval(self.value, within)],
            "coarse": coarse,
            "wrong": [[*self.near(x), hint] for x, hint in self.wrong.items() if x != self.value],
            "usual": [[*self.near(x), said] for x, said in self.usual() if x != self.value],
            "hint": self.hint,
        }  # fmt: skip

    def usual(self) -> Iterator[tuple[float, str]]:
        """哪道题都可能的错：错的数，和它与正确的数的关系；数个数的（tolerance 是 0），小的不说倍数。"""
        value, exact = self.value, self.tolerance == 0
        if self.ratio:
            yield 100 * value, "比例写成 0 到 1 之间的数，或者带上百分号。"
            yield 1 - value, "这是余下的那一份。"
        if exact:
            yield value + 1, "多了 1。"
            yield value - 1, "少了 1。"
        if not value:
            return
        yield -value, "符号反了。"
        if not exact:
            yield float(f"{value:.0e}"), f"只写了一位有效数字，太粗了：至少写 {COARSE} 位。"
        if exact and abs(value) < 12:
            return
        for times in (2, 3, 4, 10, 100, 1000):
            yield times * value, f"这是应有的 {times} 倍。"
            yield value / times, f"这是应有的 {times} 分之一。"
        yield 1 / value, "上下颠倒了。"
        yield value * abs(value), "这是应有的平方。"
        yield math.copysign(abs(value) ** 0.5, value), "这是应有的平方根。"

    def near(self, x: float) -> list[float]:
        """错的数 x 的区间：写得粗一点也认，但到不了正确的数。"""
        exact = self.tolerance == 0
        return self.interval(x, 0 if exact else min(1e-2 * abs(x), abs(x - self.value) / 2))

    @staticmethod
    def interval(x: float, within: float) -> list[float]:
        within = max(within, 1e-6 * max(abs(x), 1e-3))
        return [x - within, x + within]


@dataclasses.dataclass(frozen=True)
class Choice:
    """几选一。

    Args:
        value: 正确的选项；None 表示选哪个都行。
        options: 各个选项。
        wrong: 选错的选项 → 提示。
        hint: 没有专门提示的选项，给的提示。
    """

    value: Hashable | None
    options: Sequence[Hashable]
    wrong: Mapping[Hashable, str] = dataclasses.field(default_factory=dict)
    hint: str = "再想一想。"

    def spec(self) -> dict:
        """选项按下标记。"""
        unknown = set(self.wrong) - set(self.options)
        assert not unknown and (self.value is None or self.value in self.options), unknown
        return {
            "kind": "choice",
            "options": [label(x) for x in self.options],
            "right": None if self.value is None else list(self.options).index(self.value),
            "wrong": [
                [i, self.wrong[x]] for i, x in enumerate(self.options) if x in self.wrong
            ],
            "hint": self.hint,
        }


@dataclasses.dataclass(frozen=True)
class Subset:
    """选出几个。

    Args:
        value: 正确的那几个。
        options: 各个选项。
        wrong: 一种错的选法（frozenset）→ 提示。
        extra: 多选了它 → 提示。
        missing: 漏了它 → 提示。
        hint: 别的时候的提示。``{missing}`` 换成漏了几个。
    """

    value: Collection[Hashable]
    options: Sequence[Hashable]
    wrong: Mapping[frozenset, str] = dataclasses.field(default_factory=dict)
    extra: Mapping[Hashable, str] = dataclasses.field(default_factory=dict)
    missing: Mapping[Hashable, str] = dataclasses.field(default_factory=dict)
    hint: str = "再想一想。"

    def spec(self) -> dict:
        """依次看 ``wrong``（整个选法）、``extra``、``missing``，都没有说到就是 ``hint``。"""
        place = {x: i for i, x in enumerate(self.options)}
        rest = frozenset(self.options) - frozenset(self.value)
        wrong = {rest: "反了：你选的恰好是不该选的那几个。"} | dict(self.wrong)
        return {
            "kind": "subset",
            "options": [label(x) for x in self.options],
            "right": sorted(place[x] for x in self.value),
            "wrong": [[sorted(place[x] for x in some), hint] for some, hint in wrong.items()],
            "extra": [[place[x], hint] for x, hint in self.extra.items()],
            "missing": [[place[x], hint] for x, hint in self.missing.items()],
            "hint": self.hint,
        }


@dataclasses.dataclass(frozen=True)
class Order:
    """排次序。rules 是（在前的，在后的，为什么），依次查；全都满足就算对。"""

    items: Sequence[str]
    rules: Sequence[tuple[str, str, str]]

    def spec(self) -> dict:
        """页面上先按文字的次序摆出来，与答案无关。"""
        shown = sorted(self.items)
        return {
            "kind": "order",
            "options": shown,
            "rules": [[shown.index(a), shown.index(b), f"“{a}”应当在“{b}”之前：{why}"] for a, b, why in self.rules],
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Shape:
    """填一个数组的形状，例如 ``(128, 16)``。"""

    value: tuple[int, ...]
    wrong: Mapping[tuple[int, ...], str] = dataclasses.field(default_factory=dict)
    hint: str = "再想一想每一维是什么。"

    def spec(self) -> dict:
        """形状写成整数的列表。"""
        return {
            "kind": "shape",
            "right": list(self.value),
            "wrong": [[list(shape), hint] for shape, hint in self.wrong.items()],
            "usual": [[list(shape), said] for shape, said in self.usual() if shape != tuple(self.value)],
            "hint": self.hint,
        }  # fmt: skip

    def usual(self) -> Iterator[tuple[tuple[int, ...], str]]:
        """哪道题都可能的错：错的形状，和它错在哪里。"""
        right = tuple(self.value)
        for other in itertools.permutations(right):
            yield other, "各维的长度都对，次序反了。"
        yield (*right, 1), "后面多了长度是 1 的一维。"
        yield (math.prod(right),), "个数对，各维却并成了一维。"
        for k, n in enumerate(right):
            before, after = right[:k], right[k + 1 :]
            yield before + after, f"少了第 {k} 维（从 0 数）。"
            for other in (1, n - 1, n + 1):
                yield (*before, other, *after), f"第 {k} 维（从 0 数）不对，别的都对。"


Field = Number | Choice | Subset | Order | Shape


def label(x: Hashable) -> str:
    """选项写成文字；数用最短的写法。"""
    return f"{x:g}" if isinstance(x, float) else str(x)


class AnswerExercise:
    """一道填空或选择的练习；像函数一样调用它，得到 ``Verdict``。

    答案可以依次写成几个参数，也可以写成一个列表或字典；还是 ``...`` 时，得到可以直接填的答题框。

    Args:
        task: 题目，例如 ``"练习 7.1：哪几个样本的导数是 0。"``
        fields: 一格的名字 → 这一格。
        praise: 全对时的一句话。
        wrong: 各格合起来是这一组值（None 是不管）→ 提示；先于各格自己的提示。
    """

    def __init__(
        self,
        task: str,
        fields: Mapping[Hashable, Field],
        praise: str,
        wrong: Sequence[tuple[tuple, str]] = (),
    ):
        self.task, self.fields, self.praise, self.wrong = task, dict(fields), praise, wrong
        self.__doc__ = task

    @functools.cached_property
    def spec(self) -> dict:
        """整道题编译成的字典，只含数、文字、列表和字典。"""
        fields = [{"name": label(name), **field.spec()} for name, field in self.fields.items()]
        return {
            "task": self.task,
            "fields": fields,
            "praise": self.praise,
            "wrong": [
                [
                    [
                        None if x is None else normal(field, x)
                        for field, x in zip(fields, values)
                    ],
                    hint,
                ]
                for values, hint in self.wrong
            ],
        }

    def __call__(self, *answers, **named) -> Verdict:
        try:
            given = self.collect((named,) if named and not answers else (*answers, *named.values()))  # fmt: skip
            if any(is_unwritten(x) for x in given):
                return self.unanswered()
            read = []
            for field, answer in zip(self.spec["fields"], given):
                try:
                    read.append(normal(field, answer))
                except Mistake as mistake:
                    raise Mistake(self.about(field) + str(mistake)) from None
            return judge(self.spec, read)
        except Mistake as mistake:
            return Verdict(False, str(mistake))

    def about(self, field: dict) -> str:
        """有几格时，先说是哪一格。"""
        return f"{field['name']}：" if len(self.fields) > 1 else ""

    def collect(self, answers: tuple) -> list:
        """把答案排成一格一个。"""
        names = list(self.fields)
        if len(answers) == 1 and is_unwritten(answers[0]):
            return [...] * len(names)
        if len(names) == 1 and isinstance(answers[0], Mapping):
            answers = tuple(answers[0].values())
        if len(names) == 1:  # 选几个的，可以不写成集合
            return list(answers) if len(answers) == 1 else [list(answers)]
        if len(answers) == 1 and isinstance(answers[0], Mapping):
            given = {label(key): x for key, x in answers[0].items()}
            wanted = list(map(label, names))
            if len(given) == len(wanted) and not set(given) & set(wanted):
                return list(given.values())  # 用自己的名字作键，次序与题目相同
            unknown, missing = set(given) - set(wanted), set(wanted) - set(given)
            if unknown or missing:
                raise Mistake(
                    f"字典的键应当是 {'、'.join(wanted)}；"
                    + "，".join(
                        f"{word} {'、'.join(sorted(keys))}"
                        for word, keys in (("多了", unknown), ("少了", missing))
                        if keys
                    )
                    + "。"
                )
            return [given[key] for key in wanted]
        if len(answers) == 1 and isinstance(answers[0], (set, frozenset)):
            raise Mistake("集合没有次序；依次写成列表，例如 [1, 2]。")
        if len(answers) == 1 and isinstance(answers[0], str):
            answers = tuple(split_text(answers[0]))
        elif len(answers) == 1 and isinstance(answers[0], Iterable):
            answers = tuple(answers[0])
        if len(answers) != len(names):
            raise Mistake(f"要 {len(names)} 个答案，依次是 {'、'.join(map(label, names))}；你给了 {len(answers)} 个。")  # fmt: skip
        return list(answers)

    def unanswered(self) -> Verdict:
        """还没有填：请读者填，并给出答题框。"""
        from ppo_lib.widgets.answers import AnswerBox

        return Verdict(False, "把 ... 换成你的答案，再运行这一格。", AnswerBox(spec=self.spec))


def is_unwritten(x: Any) -> bool:
    """是 ``...``，或者里面还有 ``...``。"""
    if x is ...:
        return True
    if isinstance(x, Mapping):
        return any(map(is_unwritten, x.values()))
    return isinstance(x, (list, tuple, set)) and any(y is ... for y in x)


def normal(field: dict, raw: Any) -> Any:
    """读者写的 → 判卷用的：数、选项的下标、下标的列表、形状。读不懂就 ``Mistake``。"""
    kind = field["kind"]
    if kind == "number":
        return parse_number(raw) if "value" in field else 0.0
    if kind == "choice":
        return find_option(field, raw)
    if kind == "subset":
        if isinstance(raw, Mapping):  # {选项: 选不选}
            raw = [x for x, chosen in raw.items() if chosen]
        if isinstance(raw, str):
            raw = [raw] if tidy(raw) in map(tidy, field["options"]) else split_text(raw)
        elif not isinstance(raw, Iterable):
            raw = [raw]
        return sorted({find_option(field, x) for x in raw})
    if kind == "order":
        if isinstance(raw, (str, set, frozenset)) or not isinstance(raw, Iterable):
            raise Mistake("写成一个列表，从先到后（集合没有次序）。")
        order = [find_option(field, x) for x in raw]
        if sorted(order) != list(range(len(field["options"]))):
            raise Mistake(
                f"{len(field['options'])} 项各用一次：{'、'.join(field['options'])}。"
            )
        return order
    if isinstance(raw, str):
        raw = [int(n) for n in re.findall(r"\d+", raw)]
    try:
        shape = np.atleast_1d(np.asarray(raw, float))
        if (shape == shape.round()).all():
            return [int(n) for n in shape]
    except (TypeError, ValueError):
        pass
    raise Mistake(f"形状写成整数的元组，例如 (128, 16)；你给的是 {raw!r}。")


def split_text(text: str) -> list[str]:
    """一段文字里的几个答案，用逗号、顿号或空格分开；全是字母的（"ADE"）一个字母一个。"""
    if re.fullmatch(r"[A-Za-z]+", text.strip()):
        return list(text.strip())
    return [x for x in re.split(r"[,，、;；\s]+", text) if x]


def tidy(x: Any) -> str:
    """选项的文字，不计大小写、空格、括号、引号和句号。"""
    return re.sub(r"[\s()（）“”‘’\"'。]", "", str(x)).lower()


def find_option(field: dict, raw: Any) -> int:
    """选项的下标；数按大小认，文字按字认。"""
    options = field["options"]
    if isinstance(raw, (list, tuple)) and len(raw) == 1:
        raw = raw[0]
    same = [i for i, x in enumerate(options) if tidy(x) == tidy(raw)]
    if same:
        return same[0]
    try:
        value = float(raw)
        near = [i for i, x in enumerate(options) if math.isclose(float(x), value, rel_tol=1e-6)]
    except (TypeError, ValueError):
        near = []
    if not near:
        raise Mistake(f"{raw!r} 不在选项里；可以填的是 {'、'.join(options)}。")
    return near[0]


def judge(spec: dict, answers: list) -> Verdict:
    """照 spec 判卷；answers 是各格读好的答案。与 widgets/answers.js 的 judge 逐行对应。"""
    for pattern, hint in spec["wrong"]:
        pairs = zip(spec["fields"], answers, pattern)
        if all(x is None or matches(field, answer, x) for field, answer, x in pairs):
            return Verdict(False, hint)
    hints = [judge_field(*pair) for pair in zip(spec["fields"], answers)]
    if all(hint is None for hint, _ in hints):
        return Verdict(True, spec["praise"] + "".join(note for _, note in hints))
    right = sum(hint is None for hint, _ in hints)
    first = next(i for i, (hint, _) in enumerate(hints) if hint is not None)
    moved = misplaced(spec["fields"], answers, [hint is not None for hint, _ in hints])
    count = f"对了 {right} 个。" if right and len(hints) > 2 else ""
    name = f"{spec['fields'][first]['name']}：" if len(hints) > 1 else ""
    return Verdict(False, count + moved + name + hints[first][0])


def misplaced(fields: list, answers: list, wrong: list[bool]) -> str:
    """不对的几格，填的是不是别的格的答案，只是放错了格：是就说一句。"""
    places = [i for i, bad in enumerate(wrong) if bad]
    left = list(places) if len(places) > 1 else [j for j, bad in enumerate(wrong) if not bad]
    if len({str(field.get("right")) for field in fields}) < len(fields):
        return ""  # 有两格答案相同，说不清是谁的
    owners = []
    for i in places:
        owner = next((j for j in left if fits(fields[j], answers[i], fields[i])), None)
        if owner is None:
            return ""
        left.remove(owner)
        owners.append(fields[owner]["name"])
    names = "、".join(fields[i]["name"] for i in places)
    if len(places) == 1:
        return f"{names} 填的是 {owners[0]} 的答案，那一格已经对了。"
    return f"{names} 这 {len(places)} 格互相放错了：要填的都在，换一换位置。"


def fits(field: dict, answer: Any, like: dict) -> bool:
    """从 like 那一格拿来的答案，放在 field 这一格里对不对；两格要是同一种，填什么都行的不算。"""
    if field["kind"] != like["kind"] or field.get("options") != like.get("options"):
        return False
    owned = "value" in field if field["kind"] == "number" else field.get("right") is not None
    return owned and field["kind"] != "subset" and judge_field(field, answer)[0] is None


def inside(x: float, intervals: list) -> bool:
    """x 在不在其中一个区间里。"""
    return any(low <= x <= high for low, high, *_ in intervals)


def matches(field: dict, answer: Any, pattern: Any) -> bool:
    """一格的答案是不是 pattern；数只要相近。"""
    if field["kind"] == "number":
        return abs(answer - pattern) <= 5e-3 * max(abs(pattern), 1e-3)
    return answer == pattern


def judge_field(field: dict, answer: Any) -> tuple[str | None, str]:
    """一格：（错在哪里，附注）；对了，前一样是 None。"""
    kind = field["kind"]
    if kind == "number":
        if inside(answer, field["right"]):
            return None, ""
        if inside(answer, field["coarse"]):
            return None, f"（更准的是 {field['value']:.4g}。）"
        return first_hint(field, lambda x: x[0] <= answer <= x[1]), ""
    if kind == "order":
        place = {item: i for i, item in enumerate(answer)}
        for before, after, why in field["rules"]:
            if place[before] > place[after]:
                return why, ""
        return None, ""
    if field["right"] is None or answer == field["right"]:
        return None, ""
    if kind != "subset":
        return first_hint(field, lambda x: x[0] == answer), ""
    for some, hint in field["wrong"]:
        if answer == some:
            return hint, ""
    for option, hint in field["extra"]:
        if option in answer and option not in field["right"]:
            return hint, ""
    for option, hint in field["missing"]:
        if option not in answer and option in field["right"]:
            return hint, ""
    missing = len(set(field["right"]) - set(answer))
    return field["hint"].replace("{missing}", str(missing)), ""


def first_hint(field: dict, match) -> str:
    """第一条对得上的提示；没有就是通用的那条，前面说它与正确的是什么关系。"""
    for hint in (x[-1] for x in field["wrong"] if match(x)):
        return hint
    return next((x[-1] for x in field.get("usual", ()) if match(x)), "") + field["hint"]
