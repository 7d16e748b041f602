"""课程：展示的源码就是库里的源码。"""

import inspect
import json

import numpy as np
import pytest

import ppo_lib
from ppo_lib.course import Verdict, chapter_card, show_source, show_table
from ppo_lib.course.card import TIMINGS_FILE
from ppo_lib.course.exercises import FunctionExercise, Mistake, edited, judged


def test_show_source_is_the_library_source():
    shown = show_source(ppo_lib.loss.clipped_objective).data
    assert inspect.getsource(ppo_lib.loss.clipped_objective).rstrip() in shown
    assert "`ppo_lib/loss.py`，第" in shown


def test_show_source_of_a_module_and_of_several_objects():
    shown = show_source(ppo_lib.advantage, ppo_lib.loss.normalize).data
    assert shown.count("```python") == 2 and "def calculate_gae" in shown


def test_show_table_writes_numbers_and_words():
    table = show_table(
        {"步": [1, 2], "r": np.float32([-0.00001, 1.25]), "结论": ["好", "差"]}, 2
    )
    assert table.data.splitlines() == [
        "| 步 | r | 结论 |", "| ---: | ---: | --- |", "| 1 | 0.00 | 好 |", "| 2 | 1.25 | 差 |",
    ]  # fmt: skip
    with pytest.raises(ValueError):
        show_table({"a": [1], "b": [1, 2]})


def test_show_source_of_a_wrapped_method_names_our_file():
    method = ppo_lib.networks.ActorCriticDiscrete.trunk
    assert show_source(method).data.startswith("`ppo_lib/networks/mlp.py`，第")


def test_judged_turns_everything_into_a_verdict():
    @judged
    def check(answer):
        if answer == 1:
            raise Mistake("少了一")
        return f"{1 / answer}"

    assert check(2) == Verdict(True, "0.5") and check(2)
    assert check(1) == Verdict(False, "少了一") and not check(1)
    assert "除以了 0" in check(0).message
    assert "..." in check(...).message and "..." in check({"甲": ...}).message
    assert repr(check(2)) == "通过：0.5" and repr(check(1)).startswith("还不对：")


# ---- 引擎：读者的函数会出的各种意外


def twice(x):
    return 2 * x


def numbers(rng):
    yield (np.float64(3),)
    for n in (2, 4):
        yield (rng.integers(1, 9, n).astype(float),)


check_twice = FunctionExercise(
    "练习 0.0：乘 2",
    twice,
    numbers,
    {"这是平方。": lambda x: x**2},
    "对。",
    returns="同形状的数组",
)


def in_place(x):
    x *= 2
    return x


def broken(x):
    y = x + 1
    return y + missing  # noqa: F821


def endless(x):
    while True:
        pass


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda x: list(np.atleast_1d(x) * 2.0) if np.ndim(x) else 2 * x, "通过：对。"),
        (in_place, "改动了传进来的 x"),
        (lambda anything: anything + anything, "通过：对。"),
        (lambda x: x**2, "这是平方。"),
        (lambda x: -2 * x, "负号"),
        (lambda x: 6 * x, "应有的 3 倍"),
        (lambda x: 6.0 + 0 * np.sum(x), "还不对：x = ["),
        (lambda x: print(2 * x), "把 print 换成 return"),
        (lambda x: twice, "一个函数（忘了调用它？）"),
        (lambda x: np.nan * x, "nan"),
        (lambda x: (2 * x).reshape(-1, 1), "形状应当是 (2,)，你的是 (2, 1)"),
        (lambda x: {"a": 2 * x}, "应当返回同形状的数组"),
        (lambda: 1, "你的函数收 0 个"),
        (lambda x: x["a"], "你的函数第"),
        (broken, "return y + missing"),
        (broken, "名字 missing 没有定义"),
        (lambda x: print(x) + 1, "有一个值是 None：多半是哪个函数没有返回值"),
        (lambda x: -print(x), "有一个值是 None"),
        (lambda x: print(x)[0], "有一个值是 None"),
        (lambda x: print(x).sum(), "有一个值是 None"),
        (lambda x: np.minimun(x, 2 * x), "numpy 没有 minimun 这个属性，是不是 minimum"),
        (endless, "停不下来"),
        (3, "要交的是函数本身"),
        (..., "换成你的代码"),
    ],
)
def test_whatever_a_reader_writes_the_verdict_says_what_it_is(answer, says, monkeypatch):
    monkeypatch.setattr(check_twice, "seconds", 0.5)
    verdict = check_twice(answer)
    assert says in repr(verdict), verdict
    assert verdict.passed == repr(verdict).startswith("通过")


def test_an_edit_must_be_found_exactly_once():
    assert edited(twice, "2 * x", "3 * x")(2) == 6
    with pytest.raises(ValueError, match="0 处"):
        edited(twice, "4 * x", "3 * x")


# ---- 章首的时间 ----


def test_every_chapter_has_its_times():
    from pathlib import Path

    chapters = {path.name[:2] for path in (Path(__file__).parents[1] / "chapters").glob("*.md")}
    assert set(json.loads(TIMINGS_FILE.read_text(encoding="utf-8"))) == chapters


def test_card_admits_what_was_not_measured(monkeypatch, tmp_path):
    timings = tmp_path / "timings.json"
    cpu = {"seconds": 31, "device": "2 个 CPU 核", "date": "2026-01-02"}
    timings.write_text(
        json.dumps({"01": {"read_minutes": 20, "cpu": cpu, "gpu": None}}), encoding="utf-8"
    )
    monkeypatch.setattr("ppo_lib.course.card.TIMINGS_FILE", timings)
    shown = chapter_card("01").data
    assert "20 分钟" in shown and "31 秒" in shown and "GPU 上尚未测量" in shown


# ---- 贯穿第 5 到第 8 章的例子 ----


def test_the_example_shows_every_case_of_the_clip():
    """五步里，四种情形各一次，还有一步在界内；小组件里的数与它相同。"""
    from ppo_lib.course import example as ex
    from ppo_lib.loss import normalize, policy_ratio
    from ppo_lib.widgets import GaeWidget

    advantage, _ = ppo_lib.advantage.calculate_gae(
        *(x[:, None] for x in (ex.REWARD, ex.VALUE, ex.NEXT_VALUE, ex.TERMINATED, ex.TRUNCATED)),
        ex.GAMMA, ex.GAE_LAMBDA,
    )  # fmt: skip
    np.testing.assert_allclose(
        advantage[:, 0], [1.65701, 0.80916, 0.65407, 2.18615, 1.695], atol=1e-5
    )
    good = np.asarray(normalize(advantage[:, 0])) > 0
    ratio = np.asarray(policy_ratio(ex.log_prob(ex.NEW_W), ex.log_prob(ex.OLD_W)))
    above, below = ratio > 1 + ex.CLIP_EPS, ratio < 1 - ex.CLIP_EPS
    assert good.tolist() == [True, False, False, True, True]
    assert above.tolist() == [True, False, True, False, False]
    assert below.tolist() == [False, True, False, True, False]
    np.testing.assert_allclose(ex.log_prob(ex.OLD_W), np.log(0.5), rtol=1e-6)

    widget = GaeWidget()
    assert widget.reward == ex.REWARD.tolist() and widget.value == ex.VALUE.tolist()
    assert (widget.last_value, widget.gamma, widget.gae_lambda, widget.ending_last) == (
        ex.LAST_VALUE, ex.GAMMA, ex.GAE_LAMBDA, "truncated",
    )  # fmt: skip
