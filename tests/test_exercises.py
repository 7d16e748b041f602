"""练习的检查：每道题查得出自己列的错，也查得出机械地改坏的参考答案；对的写法，哪种风格都收。

各章的答案在 tests/answers/chNN.py。
"""

import functools
import re

import numpy as np
import pytest
from exercise_tables import (
    BLANKS,
    CHECKS,
    FUNCTIONS,
    HARMLESS,
    REMINDED,
    RIGHT,
    WRONG,
    by_rules,
    one_right,
)
from mutants import mutants

from ppo_lib.course.exercises.answer import judge

SLOW = ("ch14", "ch16.check_compare", "ch12.check_halving")
"""要训练的，要重抽几千次的，改坏了会一直循环的。"""


def each(pairs):
    """一题（或一题的第几个答案）一个参数。"""
    return [
        pytest.param(*pair, marks=pytest.mark.slow if pair[0].startswith(SLOW) else ())
        for pair in pairs
    ]


def places(table):
    """表里的每一个答案：（题，第几个）。"""
    return each((name, i) for name, some in table.items() for i in range(len(some)))


each_function = pytest.mark.parametrize("name", each((name,) for name in FUNCTIONS))


def try_answer(name, answer):
    """填空题的答案是一组参数，写函数的是一个函数。"""
    return CHECKS[name](*answer) if isinstance(answer, tuple) else CHECKS[name](answer)


def test_every_check_has_two_styles_of_right_answers_and_no_table_names_another():
    assert {name for name, some in RIGHT.items() if len(some) >= 2} == set(CHECKS)
    assert set(WRONG) <= set(CHECKS) and set(HARMLESS) <= set(FUNCTIONS)
    assert {name for name in FUNCTIONS if CHECKS[name].remarks} == set(REMINDED)


@pytest.mark.parametrize(("name", "i"), places(RIGHT))
def test_right_answers_pass(name, i):
    verdict = try_answer(name, RIGHT[name][i])
    assert verdict, verdict


def test_named_answers_go_by_their_names():
    named = dict(丢掉的步数=160, 更新次数=130, 参数动的次数=1560, 小批次的大小=192)
    assert CHECKS["ch03.check_plan"](**named)


@pytest.mark.parametrize(("name", "i"), places(REMINDED))
def test_right_answers_with_a_flaw_pass_with_a_reminder(name, i):
    answer, reminder = REMINDED[name][i]
    verdict = try_answer(name, answer)
    assert verdict and reminder in verdict.message, verdict


@pytest.mark.parametrize(("name", "i"), places(WRONG))
def test_wrong_answers_get_their_hint(name, i):
    answer, hint = WRONG[name][i]
    verdict = try_answer(name, answer)
    assert not verdict and hint in verdict.message, verdict


@functools.cache
def seeded(name, seed):
    """换了种子的题，只做一道：参考答案和声明的错在上面的结果，几个测试都用。"""
    return CHECKS[name].with_seed(seed)


@pytest.mark.slow
@each_function
def test_the_reference_passes_on_other_inputs_too(name):
    exercise = CHECKS[name]
    assert exercise(exercise.reference).message.startswith(exercise.praise)
    for seed in range(1, 4):
        other = seeded(name, seed)
        assert all(other(answer) for answer in [other.reference, *RIGHT[name]])


@pytest.mark.slow
@each_function
def test_every_declared_mistake_is_named(name):
    for seed in (0, 1):
        exercise = seeded(name, seed)
        for hint, wrong in exercise.mistakes.items():
            verdict = exercise(wrong)
            assert not verdict and verdict.message == hint, (hint, verdict)


@each_function
@pytest.mark.parametrize(
    "returned",
    [
        None,
        "文字",
        {},
        {"a": 1},
        set(),
        [],
        [1, [2]],
        (np.ones(2), np.ones((3, 1))),
        1j,
        object(),
        len,
    ],
)
def test_whatever_comes_back_there_is_a_verdict(name, returned):
    verdict = CHECKS[name](lambda *args: returned)
    assert not verdict and re.search("[一-鿿]", verdict.message), verdict


@pytest.mark.slow
@each_function
def test_every_mutant_is_caught(name, monkeypatch):
    exercise = CHECKS[name]
    monkeypatch.setattr(exercise, "seconds", 5.0)
    monkeypatch.setattr(exercise, "named", lambda outcomes: "认不认得出，是别的测试的事。")
    survivors = {change for change, mutant in mutants(exercise.reference) if exercise(mutant)}
    assert survivors == HARMLESS.get(name, set())


@pytest.mark.parametrize("name", BLANKS)
def test_every_blank_s_wrong_values_get_their_hint(name):
    spec = CHECKS[name].spec
    right = [one_right(field) for field in spec["fields"]]
    assert judge(spec, right).message == spec["praise"]
    for i, field in enumerate(spec["fields"]):
        for wrong, hint in wrong_values(field):
            verdict = judge(spec, [*right[:i], wrong, *right[i + 1 :]])
            assert not verdict and hint in verdict.message, (wrong, verdict)
    for pattern, hint in spec["wrong"]:
        filled = [r if x is None else x for r, x in zip(right, pattern)]
        verdict = judge(spec, filled)
        assert not verdict and verdict.message == hint, (pattern, verdict)


def wrong_values(field):
    """一格里声明过的错的答案，和它们的提示。"""
    if field["kind"] == "number":
        for low, high, hint in field["wrong"]:
            yield (low + high) / 2, hint
    elif field["kind"] == "order":
        right = by_rules(field)
        for a, b, _ in field["rules"]:
            i, j = right.index(a), right.index(b)
            swapped = list(right)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            yield swapped, ""
    elif field["kind"] == "subset":
        yield from field["wrong"]
        for x, hint in field["extra"]:
            yield sorted({*field["right"], x}), hint
        for x, hint in field["missing"]:
            yield sorted({*field["right"]} - {x}), hint
    else:
        yield from field["wrong"]
