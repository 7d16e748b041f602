"""没有认出是哪种错时，引擎说看到的关系：每一组输入上都成立才说；对的答案、认得出的错，都轮不到它。"""

import numpy as np
import pytest

from ppo_lib.course.exercises import AnswerExercise, FunctionExercise, Number, Shape
from ppo_lib.course.exercises.relations import Sample, relation
from ppo_lib.course.exercises.sameness import Close


def grow(x, flag, scale):
    return scale * x + 1 + flag


def two(x, scale):
    return x + scale, x.sum()


def inputs(rng):
    for n in (2, 3, 4, 5):
        x = rng.normal(size=(n,))
        yield x, np.arange(n) % 3 == 0, float(n) / 2


ONE = FunctionExercise(
    "一样结果",
    grow,
    inputs,
    {"忘了加 1。": lambda x, f, s: s * x + f},
    "对。",
    returns="一串数",
)
TWO = FunctionExercise(
    "两样结果", two, lambda rng: ((x, s) for x, _, s in inputs(rng)), {}, "对。", outputs=("位置", "和"),
)  # fmt: skip
TABLE = FunctionExercise(
    "一张表", lambda x: np.outer(x, x + 2), lambda rng: ((x,) for x, *_ in inputs(rng)), {}, "对。"
)  # fmt: skip
HALF = FunctionExercise("一半对", lambda x, flag: x.sum(), lambda rng: ((x, flag & (i % 2 > 0)) for i, (x, flag, _) in enumerate(inputs(rng))), {}, "对。")  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y, x, f, s: -y, "应有的相反数"),
        (lambda y, x, f, s: 2.5 * y, "应有的 2.5 倍"),
        (lambda y, x, f, s: y + 3, "比应有的大 3"),
        (lambda y, x, f, s: 1 - y, "1 减去应有的"),
        (lambda y, x, f, s: 1 / y, "倒数"),
        (lambda y, x, f, s: y**2, "平方"),
        (lambda y, x, f, s: np.exp(y), "指数"),
        (lambda y, x, f, s: y[::-1], "倒过来"),
        (lambda y, x, f, s: np.roll(y, 1), "错后了一位"),
        (lambda y, x, f, s: np.sort(y), "次序不对"),
        (lambda y, x, f, s: x, "x 原样返回"),
        (lambda y, x, f, s: y + x, "多了一个 x"),
        (lambda y, x, f, s: y - s, "少了一个 scale"),
        (lambda y, x, f, s: y * s, "乘 scale"),
        (lambda y, x, f, s: y / len(x), "除以 x 第 0 维的长度"),
        (lambda y, x, f, s: y * 0 + 7, "都给出 7"),
        (lambda y, x, f, s: y[:, None], "长度是 1 的那一维"),
        (lambda y, x, f, s: y.sum(), "多求和了一次"),
        (lambda y, x, f, s: np.tile(y, (3, 1)), "沿第 0 维求平均，就是应有的"),
        (lambda y, x, f, s: np.ones(6), "总是 (6,) 的形状"),
        (lambda y, x, f, s: (y, "还有"), "第 1 样就是要的"),
        (lambda y, x, f, s: y + f, "多了一个 flag"),
        (lambda y, x, f, s: np.where(f, y + x**2, y), "不对的都在 flag 为真的位置，别处都对"),
        (lambda y, x, f, s: grow(x, f, s**2), "scale 先平方了"),
        (lambda y, x, f, s: grow(x, f, 2 * s), "多了一个 x × scale"),
        (lambda y, x, f, s: grow(x, f, 1), "scale 处处是 1，没有用到"),
        (lambda y, x, f, s: grow(x, ~f, s), "flag 的真假弄反了"),
        (lambda y, x, f, s: grow(np.roll(x, 1), f, s), "x 用的是前一步的"),
        (lambda y, x, f, s: grow(0 * x + x[0], f, s), "x 只用了第一份"),
        (lambda y, x, f, s: y * len(x) ** 3, "都成正比"),
        (lambda y, x, f, s: y + len(x) ** 3, "都只差同一个数"),
        (lambda y, x, f, s: y - 1, "忘了加 1"),  # 认得出的错，提示不变
        (lambda y, x, f, s: y + 0.1 * x**3, "应当是"),
    ],
)
def test_a_relation_that_holds_everywhere_is_said(change, said):
    verdict = ONE(lambda x, flag, scale: change(grow(x, flag, scale), x, flag, scale))
    assert not verdict and said in verdict.message, verdict


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x, scale: two(x, scale)[::-1], "次序不对：依次是位置、和"),
        (lambda x, scale: x + scale, "你只返回了“位置”"),
        (lambda x, scale: {"a": x + scale, "b": x.sum()}, "不是字典"),
        (lambda x, scale: (x + scale, -x.sum()), "“和”不对，别的都对：差一个负号"),
        (lambda x, scale: (x, 0), "“位置”不对：你把传进来的 x 原样返回了"),
    ],
)
def test_parts(answer, said):
    verdict = TWO(answer)
    assert not verdict and said in verdict.message, verdict


WEIGHTED = FunctionExercise(
    "两个系数", lambda x, a, b: (a * x + (1 - a), b * x**2 + (1 - b)), lambda rng: ((x, n / 9, n / 7) for x, _, n in inputs(rng)), {}, "对。", outputs=("一阶", "二阶"),
)  # fmt: skip


def test_the_part_where_an_input_is_misused():
    verdict = WEIGHTED(lambda x, a, b: (a * x + (1 - a), a * x**2 + (1 - a)))
    assert "“二阶”不对" in verdict.message and "该用 b 的地方用了 a" in verdict.message, verdict
    verdict = WEIGHTED(lambda x, a, b: WEIGHTED.reference(x, b, a))
    assert "“a 和 b 用反了”" in verdict.message, verdict


def test_swapped_words():
    grade = FunctionExercise(
        "文字", lambda x: "高" if x > 1 else "中" if x > 0 else "低", lambda rng: ((n / 2,) for n in range(-3, 6)), {}, "对。"
    )  # fmt: skip
    verdict = grade(lambda x: "高" if x > 0 else "低")
    assert "应当是“中”的，你都答了“高”；别的都对" in verdict.message, verdict
    assert "应当返回文字" in grade(lambda x: 1).message


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (
            ([3, 4, 1], 0.25, 60),
            "对了 2 个。形状：第 2 维（从 0 数）不对，别的都对。再想一想。",
        ),
        (([4, 3, 2], 0.25, 60), "各维的长度都对，次序反了。再想一想。"),
        (([24], 0.25, 60), "个数对，各维却并成了一维"),
        (([3, 4, 2], 0.5, 60), "比例：这是应有的 2 倍。再算一算。"),
        (([3, 4, 2], 0.75, 60), "比例：这是余下的那一份。再算一算。"),
        (([3, 4, 2], 0.25, 61), "个数：多了 1。再算一算。"),
        (([3, 4, 2], 60, 0.25), "比例、个数 这 2 格互相放错了"),
    ],
)
def test_what_a_wrong_blank_is_to_the_right_one(answers, said):
    fields = {"形状": Shape((3, 4, 2), hint="再想一想。"), "比例": Number(0.25, ratio=True), "个数": Number(60, tolerance=0)}  # fmt: skip
    verdict = AnswerExercise("几格", fields, "对。")(*answers)
    assert not verdict and said in verdict.message, verdict


def test_a_blank_that_takes_any_number_owns_no_answer():
    both = AnswerExercise("两格", {"甲": Number(4.0), "乙": Number(None)}, "对。")
    assert "乙" not in both(0, 7).message and both(4, 7)


def test_transposed_tables_and_traits_of_the_inputs():
    assert "转置" in TABLE(lambda x: np.outer(x, x + 2).T).message
    verdict = HALF(lambda x, flag: x.sum() + 10 * flag.any())
    assert "不对的那几组，flag 里都有真" in verdict.message, verdict


def test_nothing_is_said_of_unrelated_numbers():
    rng = np.random.default_rng(0)
    for n in range(200):
        samples = [
            Sample({"a": x, "b": float(k)}, rng.normal(size=3), rng.normal(size=3))
            for k, x in enumerate(rng.normal(size=(4, 3)))
        ]
        assert relation(samples, Close()) is None, n
