"""写一个函数的练习：一份参考答案，许多组输入，几种写错的函数。

读者的函数与参考答案在每一组输入上都相同（需要时连导数也相同）才算对。与某个写错的函数在**每一组**
输入上都相同，才说是那种错；都不是，就看读者的结果与应有的有没有一个处处成立的关系（``relations``），是不是
参考答案把哪个输入用错了（``misuse``）；否则给出最小的一组不对的输入，应当是多少、得到了多少。
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib.course.exercises.misuse import misuses
from ppo_lib.course.exercises.relations import (
    Sample,
    containers,
    leaves,
    loosely,
    mislabeled,
    part_relation,
    trait,
    where_wrong,
)
from ppo_lib.course.exercises.running import (
    SECONDS,
    Outcome,
    describe_error,
    is_empty,
    limited,
    run,
    wrong_signature,
)
from ppo_lib.course.exercises.sameness import Close, SameShape, as_array, explain, show
from ppo_lib.course.exercises.verdict import Mistake, Verdict

UNWRITTEN = (
    "把 ... 换成你的代码，再运行这一格。"
    "（网页上不能运行代码：在 Colab 或自己的电脑上打开这一章，见《如何使用》。）"
)


PRINTED = 2000
"""读者的函数打印的，最多转给他看多少个字。"""


class FunctionExercise:
    """一道写函数的练习；像函数一样调用它，得到 ``Verdict``。

    Args:
        task: 题目，例如 ``"练习 7.2：写出裁剪目标。"``
        reference: 参考答案。它的参数名会出现在给读者的话里；它抛异常的输入，读者的函数也该抛。
        inputs: ``inputs(rng)`` 给出许多组参数（元组）：先是边界的，再是随机的，形状和常数都要换。
            同一个种子给出同样的输入；每次调用都用一份拷贝。
        wrong: 提示 → 写错的函数。
        praise: 全对时的一句话。
        returns: 应当返回什么，用在形状不对时。
        outputs: 返回几样时，各自的名字。
        gradients: 对第几个参数（从 0 数）的导数也要对；参数和结果是浮点的 JAX 数组。
        rules: 提示 → ``rule(function)``，另外的要求，不成立就不对。没有唯一答案的题（随机数）全靠它。
        remarks: 提示 → 同样的函数，不成立也算对，只是提醒。
        close: 多近算相同。
        jax_arrays: 把 inputs 里 NumPy 的数组换成 JAX 的。
        describe: 一组输入怎样说给读者；不给时写出全部的数。
        seconds: 最多跑多久，秒。
    """

    def __init__(
        self,
        task: str,
        reference: Callable,
        inputs: Callable[[np.random.Generator], Iterable[tuple]],
        wrong: Mapping[str, Callable],
        praise: str,
        *,
        returns: str = "",
        outputs: Sequence[str] = (),
        gradients: tuple[int, ...] = (),
        rules: Mapping[str, Callable[[Callable], bool]] | None = None,
        remarks: Mapping[str, Callable[[Callable], bool]] | None = None,
        close: Callable[[Any, Any], bool] | None = None,
        jax_arrays: bool = False,
        describe: Callable[[tuple], str] | None = None,
        seconds: float = SECONDS,
    ):
        self.task, self.reference, self.inputs, self.wrong = task, reference, inputs, wrong
        self.praise, self.returns, self.outputs = praise, returns, tuple(outputs)
        self.gradients, self.close = gradients, close or Close()
        self.rules, self.remarks, self.jax_arrays = rules or {}, remarks or {}, jax_arrays
        self.describe, self.seconds = describe, seconds
        self.names = list(inspect.signature(reference).parameters)
        self.seed, self.__doc__ = 0, task

    def with_seed(self, seed: int) -> FunctionExercise:
        """同一道题，换一批随机的输入；种子不变就还是它自己，跑过的不再跑。"""
        if seed == self.seed:
            return self
        other = copy.copy(self)
        for computed in (
            "cases",
            "expected",
            "expected_gradients",
            "misuses",
            "tried",
            "known",
        ):
            other.__dict__.pop(computed, None)
        other.seed = seed
        return other

    @functools.cached_property
    def cases(self) -> list[tuple]:
        """检查用的各组输入，从小到大。"""
        cases = sorted(self.inputs(np.random.default_rng(self.seed)), key=total_size)
        if self.jax_arrays:
            cases = [tuple(jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in case) for case in cases]  # fmt: skip
        return cases

    @functools.cached_property
    def expected(self) -> list[Outcome]:
        """参考答案在各组输入上的结果。"""
        return [run(self.reference, case) for case in self.cases]

    @property
    def mistakes(self) -> Mapping[str, Callable]:
        """认得的各种错：提示 → 写错的函数。"""
        return self.wrong

    @functools.cached_property
    def misuses(self) -> Mapping[str, Callable]:
        """把输入用错了的参考答案：提示 → 函数；答案不止一个、近不近另有判法的题没有。"""
        exact = type(self.close) is Close and max(self.close.rtol, self.close.atol) < 0.1
        return misuses(self.reference, self.names, self.cases) if exact else {}

    @functools.cached_property
    def tried(self) -> dict[tuple[Callable, int], Outcome]:
        """写错的函数在第几组输入上的结果。"""
        return {}

    @functools.cached_property
    def known(self) -> set[Callable]:
        """声明里写错的函数，和把输入用错了的。"""
        return {*self.mistakes.values(), *self.misuses.values()}

    def outcome(self, function: Callable, i: int) -> Outcome:
        """function 在第 i 组输入上的结果；认得的写错的函数，跑过的不再跑。"""
        if function not in self.known:
            return run(function, self.cases[i])
        if (function, i) not in self.tried:
            self.tried[function, i] = run(function, self.cases[i])
        return self.tried[function, i]

    def __call__(self, function: Callable) -> Verdict:
        if function is ... or is_empty(function):
            return Verdict(False, UNWRITTEN)
        if not callable(function):
            return Verdict(False, "要交的是函数本身，不是调用它的结果：括号里只写函数的名字。")
        if complaint := wrong_signature(function, self.names):
            return Verdict(False, complaint)
        return limited(lambda: self.judge(function), self.seconds)

    def judge(self, function: Callable) -> Verdict:
        """值、导数、另外的要求，依次查。"""
        outcomes = [self.outcome(function, i) for i in range(len(self.cases))]
        if printed := next((x.printed for x in outcomes if x.printed), ""):
            print(printed[:PRINTED], end="")  # 第一组有打印的输入，别的不重复
        right = [self.agree(*pair) for pair in zip(outcomes, self.expected)]
        if not all(right):
            raise Mistake(self.named(outcomes) or self.complain(function, outcomes, right))
        if self.gradients:
            self.check_gradients(function)
        for hint, rule in self.rules.items():
            if not holds(rule, function):
                raise Mistake(hint)
        notes = [hint for hint, remark in self.remarks.items() if not holds(remark, function)]
        if changed := sorted({self.names[i] for o in outcomes for i in o.changed}):
            notes.append(f"提醒：你的函数改动了传进来的 {'、'.join(changed)}，调用它的人不会料到。")  # fmt: skip
        return Verdict(True, "".join([self.praise, *notes]))

    def agree(self, got: Outcome, expected: Outcome) -> bool:
        """两个结果是不是相同；都抛了异常也算相同。"""
        if expected.error is not None or got.error is not None:
            return expected.error is not None and got.error is not None
        return self.close(got.value, expected.value)

    def named(self, outcomes: list[Outcome]) -> str | None:
        """与哪一种写错的函数在每一组输入上都相同；没有就是 None。"""
        if all(outcome.error is not None for outcome in outcomes):
            return None  # 处处抛异常，看不出是哪种错
        for hint, wrong in self.mistakes.items():
            if self.behaves_like(wrong, outcomes):
                return hint
        return self.named_by_form(outcomes)

    def behaves_like(self, function: Callable, outcomes: list[Outcome]) -> bool:
        """写错的 function 在每一组输入上的结果，是不是都与 outcomes 相同。"""
        return all(self.agree(got, self.outcome(function, i)) for i, got in enumerate(outcomes))

    def named_by_form(self, outcomes: list[Outcome]) -> str | None:
        """任何题目都可能犯的错：差一个负号，差一个倍数，次序反了……不看是什么题。"""
        close = Close() if isinstance(self.close, SameShape) else self.close
        if any((a.error is None) != (b.error is None) for a, b in zip(outcomes, self.expected)):
            return None
        right = [x.value for x in self.expected if x.error is None]
        got = [x.value for x, b in zip(outcomes, self.expected) if b.error is None]
        if said := mislabeled(got, right) or containers(got, right, self.outputs, close):
            return said
        if not (samples := self.samples(outcomes)):
            return None
        if said := part_relation(samples, close):
            return said
        if any(s.got.shape != s.right.shape for some in samples.values() for s in some):
            return None
        return self.misused(outcomes) or part_relation(samples, close, loosely)

    def misused(self, outcomes: list[Outcome]) -> str | None:
        """结果（几样的，是不对的那几样）与哪一种把输入用错了的处处相同；没有就是 None。"""
        places = [i for i, x in enumerate(self.expected) if x.error is None][::-1]  # 大的先看
        wrong = set().union(*(self.apart(outcomes[i], self.expected[i]) for i in places))
        found = {}  # 哪几样 → 一句话
        for text, f in self.misuses.items():
            left = set(wrong)
            for i in places:
                if left:
                    left -= self.apart(outcomes[i], self.outcome(f, i), left)
            found.setdefault(frozenset(left), text)
            if left == wrong:
                break
        most = max(found, key=len, default=())
        name = "" if most == {""} else f"“{'”、“'.join(sorted(most))}”不对："
        return name + found[most] if most else None

    def apart(self, got: Outcome, other: Outcome, everything: Iterable = ("",)) -> set[str]:
        """两个结果里，哪几样不同；拆不成一样一样，就算 everything 都不同。"""
        pairs = leaves(got.value, other.value, self.outputs) if other.error is None else None
        return set(everything) if pairs is None else {k for k, x in pairs.items() if not self.close(*x)}  # fmt: skip

    def samples(self, outcomes: list[Outcome]) -> dict[str, list[Sample]]:
        """各样结果 → 各组输入上的（输入，你的，应有的）；有一组说不成数组，就是空的。"""
        found: dict[str, list[Sample]] = {}
        for case, got, expected in zip(self.cases, outcomes, self.expected):
            if expected.error is not None:
                continue
            for name, pair in (leaves(got.value, expected.value, self.outputs) or {"": (None, 0)}).items():  # fmt: skip
                arrays = tuple(map(as_array, pair))
                if any(x is None for x in arrays):
                    return {}
                found.setdefault(name, []).append(Sample(dict(zip(self.names, case)), *arrays))
        return found

    def complain(self, function: Callable, outcomes: list[Outcome], right: list[bool]) -> str:
        """没有认出是哪种错：说最小的一组不对的输入。"""
        wrong = [i for i, ok in enumerate(right) if not ok]
        # 只有一个数的例子看不出轴和形状，有别的就不拿它来说
        first = next((i for i in wrong if total_size((self.expected[i].value,)) > 1), wrong[0])
        got, expected, case = outcomes[first], self.expected[first], self.cases[first]
        if got.error is not None:
            text = describe_error(got.error, function)
        elif expected.error is not None:
            return f"{self.when(case)}应当报错，你的函数却返回了 {show(got.value)}。"
        elif got.value is None and got.printed:
            return "你的函数把结果打印了出来，却没有返回它：把 print 换成 return。"
        elif got.value is None:
            when = "" if all(o.value is None for o in outcomes) else self.when(case)
            return f"{when}你的函数没有返回值。最后用 return 交出结果。"
        elif got.value is ...:
            return "函数里还有 ... 没有换成你的代码。"
        else:
            text = explain(got.value, expected.value, self.close, self.returns, self.outputs)
        return f"{self.when(case)}{text}{self.places(outcomes)}{self.split(right)}"

    def places(self, outcomes: list[Outcome]) -> str:
        """只有一样结果时，不对的位置有什么共同。"""
        samples = self.samples(outcomes) if isinstance(self.close, Close) else {}
        return where_wrong(samples[""], self.close.near) if set(samples) == {""} else ""

    def when(self, case: tuple) -> str:
        """“……时，”：一组输入写成一行；函数不写，没有可写的就什么也不说。"""
        shown = (
            self.describe(case)
            if self.describe is not None
            else "、".join(
                f"{n} = {show(x)}" for n, x in zip(self.names, case) if not callable(x)
            )
        )
        return f"{shown} 时，" if shown else ""

    def split(self, right: list[bool]) -> str:
        """有的输入对、有的不对时，看是不是某一个常数分开了它们：它多半写死了。"""
        if sum(right) < 2:
            return ""
        found = []
        for name, column in zip(self.names, zip(*self.cases)):
            good = {scalar(x) for x, ok in zip(column, right) if ok}
            bad = {scalar(x) for x, ok in zip(column, right) if not ok}
            if len(good) == 1 and not good & bad and None not in good:
                found.append(f"；对的那几组 {name} 都是 {next(iter(good)):g}，不对的都不是")
        text = found[0] if len(found) == 1 else trait(self.cases, self.names, right)
        return f"（{len(right)} 组输入里对了 {sum(right)} 组{text}。）"

    def check_gradients(self, function: Callable) -> None:
        """值都对之后，再比导数。"""
        got = [self.gradient(function, case) for case in self.cases]
        right = self.expected_gradients
        if all(map(self.agree, got, right)):
            return
        for hint, f in self.mistakes.items():
            same = all(
                self.agree(g, self.gradient(f, case)) for g, case in zip(got, self.cases)
            )
            if same and self.behaves_like(f, self.expected):
                raise Mistake(hint)
        first = [self.agree(*pair) for pair in zip(got, right)].index(False)
        if got[first].error is not None:
            raise Mistake("值都对；求导时出错。" + describe_error(got[first].error, function))
        names = tuple(f"对 {self.names[i]} 的导数" for i in self.gradients)
        if not any(np.any(x) for x in jax.tree.leaves(got[first].value)):
            raise Mistake(
                f"值都对，{'、'.join(names)}却是 0：中间用了 stop_gradient，或者变成了 NumPy 的数。"
            )
        text = explain(got[first].value, right[first].value, self.close, "", names)
        raise Mistake(f"值都对，导数不对。{self.when(self.cases[first])}{text}")

    @functools.cached_property
    def expected_gradients(self) -> list[Outcome]:
        """参考答案在各组输入上的导数。"""
        return [self.gradient(self.reference, case) for case in self.cases]

    def gradient(self, function: Callable, case: tuple) -> Outcome:
        """结果加权求和以后，对 ``gradients`` 里各个参数的导数（元组）。"""

        def total(*args):
            result = jnp.asarray(function(*args))
            return (
                result * (1.5 + jnp.cos(jnp.arange(result.size)).reshape(result.shape))
            ).sum()

        return run(jax.grad(total, self.gradients), case)


def total_size(case: tuple) -> int:
    """一组输入（或几样结果）一共多少个数。"""
    return sum(
        total_size(tuple(x)) if isinstance(x, (tuple, list)) else int(np.size(x))
        for x in case
        if not callable(x)
    )


def scalar(x: Any):
    """单个的数就是它自己，别的是 None。"""
    return x if isinstance(x, (int, float)) else None


def holds(rule: Callable[[Callable], bool], function: Callable) -> bool:
    """一条要求成不成立；抛了异常就是不成立。"""
    outcome = run(lambda: rule(function), ())  # 函数不拷贝：打分时它在另一个进程里
    return outcome.error is None and bool(outcome.value)
