"""ppo_lib/widgets：网页里算的与 ppo_lib 相同；没有内核的页面上，在真的浏览器里能用。"""

from ppo_lib import PPOConfig  # isort: skip  # 在 jax 之前

import json
import re
import subprocess
import sys
import types
from pathlib import Path

import ipywidgets
import jax
import numpy as np
import pytest
import traitlets
import xarray as xr
from exercise_tables import BLANKS, CHECKS, one_right
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY
from widget_pages import LISTEN, explorer, recorded, static_page, with_kernel

from ppo_lib.advantage import calculate_gae
from ppo_lib.config import TRACED, ConfigError
from ppo_lib.course.ch03 import compilations
from ppo_lib.course.exercises import AnswerExercise, Choice, Number, Order, Shape, Subset
from ppo_lib.course.exercises.answer import judge, parse_number
from ppo_lib.loss import clipped_objective
from ppo_lib.optimizer import adam_step
from ppo_lib.plotting import COLORS
from ppo_lib.recorded import load_grid
from ppo_lib.statistics import iqm
from ppo_lib.widgets import AdamWidget, ClipWidget, GaeWidget, Quiz, ReturnExplorer, train_live
from ppo_lib.widgets.adam import STEPS, fixed_noise
from ppo_lib.widgets.answers import AnswerBox
from ppo_lib.widgets.explorer import pack, unpack

ROOT = Path(__file__).parents[1]
CLASSES = [ClipWidget, GaeWidget, AdamWidget, ReturnExplorer, Quiz, AnswerBox]

QUESTIONS = [
    (
        "A > 0 时，`r` 在哪一侧被裁剪？",
        ["r > 1 + ε", "r < 1 - ε"],
        0,
        ["越过了上界", "A < 0 才是"],
    ),
    ("哪些会断开优势？", ["终止", "截断", "继续"], [0, 1], ["没有以后", "不再看", "接着走"]),
]


def quiz(name: str = "clip") -> Quiz:
    return Quiz(name, QUESTIONS)


# ---- Python 的一半：快 --------------------------------------------------------


@pytest.mark.parametrize("cls", CLASSES)
def test_code_is_self_contained_and_safe_inside_a_script_element(cls):
    code = cls._esm.replace("http://www.w3.org/2000/svg", "")
    assert json.dumps(COLORS) in code and "export default { render }" in code
    for forbidden in ("http", "\nimport ", "import(", "fetch(", "</script", "<!--", "<script"):
        assert forbidden not in code + cls._css
    assert len((cls._esm + cls._css).encode()) < 32_000


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ClipWidget(ratio=2.5), "ratio = 2.5 不合法；允许 0 到 2"),
        (lambda: ClipWidget(clip_eps="0.2"), "应当是一个数"),
        (lambda: ClipWidget(clip_esp=0.2), "是不是 clip_eps？"),
        (lambda: GaeWidget(ending_last="done"), "允许：continue、terminated、truncated"),
        (lambda: GaeWidget(reward=[1.0]), "应当是 5 个"),
        (lambda: AdamWidget(beta_2=0.1), "beta_2 = 0.1 不合法"),
        (lambda: Quiz("", QUESTIONS), "quiz_id"),
        (lambda: Quiz("a", [("问", ["甲"], 0, ["对"])]), "至少要 2 个"),
        (lambda: Quiz("a", [("问", ["甲", "乙"], 2, ["对", "错"])]), "允许 0 到 1"),
        (lambda: Quiz("a", [("问", ["甲", "乙"], 0, ["对"])]), "应当一样多"),
        (lambda: ReturnExplorer(recorded()), "应当是 beta_1, clip_eps, ent_coef, seed, point"),
        (lambda: explorer(start={"lr": 1}), "start 里有 lr"),
    ],
)
def test_mistakes_are_told_in_chinese(make, message):
    with pytest.raises((traitlets.TraitError, TypeError, ValueError), match=message):
        make()


def test_repr_names_the_widget():
    assert repr(ClipWidget()) == "[小组件：裁剪目标]"


def test_noise_is_always_the_same():
    assert fixed_noise() == fixed_noise() and fixed_noise()[0] == [1.764, 0.4]
    assert np.shape(AdamWidget().noise) == (STEPS, 2)


@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=40)
)
def test_packing_round_trip(values):
    packed = pack(np.array(values))
    assert len(packed.data) == 2 * len(values)
    back = unpack(packed, [len(values)])
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    np.testing.assert_allclose(back, values, atol=0.51 * packed.scale, rtol=1e-12)


def test_packing_refuses_infinity_and_keeps_constants_exactly():
    with pytest.raises(ValueError, match="无穷大"):
        pack(np.array([1.0, np.inf]))
    assert unpack(pack(np.full(3, -200.0)), [3]).tolist() == [-200.0] * 3


def test_explorer_packs_the_grid_in_the_order_of_its_axes():
    widget = ReturnExplorer(recorded(), axes=("clip_eps", "beta_1"), start={"beta_1": 0.9})
    values = unpack(pack(recorded()["return"].values), (3, 2, 5, 20)).swapaxes(0, 1)
    packed = (widget.data, widget.scale, widget.offset)
    back = unpack(type(pack(values))(*packed), (2, 3, 5, 20))
    np.testing.assert_allclose(back, values, atol=1.02 * widget.scale)
    assert widget.scale < 0.3  # 五百分的回报，误差不到 0.15 分
    assert widget.chosen == {"clip_eps": 0.1, "beta_1": 0.9} and widget.num_seeds == 5


def live_dataset(points: int) -> xr.Dataset:
    rows = np.tile(np.arange(points, dtype=float), (2, 1))
    rows[0, 0] = np.nan
    return xr.Dataset(
        {"return": (("seed", "update"), rows)},
        {"timesteps": ("update", np.arange(1, points + 1) * 2048)},
    )


def test_live_training_streams_the_curve():
    seen = []

    def live(values, show):
        assert values == {"beta_1": 0.5, "clip_eps": 0.1}
        show(live_dataset(2))
        show(live_dataset(3))

    widget = explorer(live=live)
    widget.observe(lambda change: seen.append(change["new"]), "live_curve")
    message = {"kind": "train", "values": {"beta_1": 0.5, "clip_eps": 0.1}}
    widget._receive(widget, message, [])
    assert [len(curve["timesteps"]) for curve in seen] == [0, 2, 3, 3]
    assert [curve["done"] for curve in seen] == [False, False, False, True]
    assert seen[-1]["returns"] == [[None, 1.0, 2.0], [0.0, 1.0, 2.0]]
    json.dumps(seen, allow_nan=False)


def test_live_training_tells_what_went_wrong_and_answers_hello():
    def live(values, show):
        raise ConfigError("不合法")

    widget, sent = explorer(live=live), []
    widget.send = sent.append
    widget._receive(widget, {"kind": "hello"}, [])
    assert sent == [{"kind": "hello"}]
    widget.verify({"beta_1": 0.5})
    assert widget.live_curve["error"] == "ConfigError 不合法" and widget.live_curve["done"]


def test_train_live_refuses_static_keys():
    with pytest.raises(ConfigError, match="num_envs 是静态的键"):
        train_live(PPOConfig())({"num_envs": 4}, print)


@pytest.mark.slow
def test_moving_a_slider_and_training_in_the_kernel_compiles_nothing():
    """探索器的“用真的训练验证”：第一点编译过，别的点和接下来的种子一次也不编译。"""
    widget = explorer(live=train_live(TINY))
    widget.verify({"beta_1": 0.5, "clip_eps": 0.1})
    before = compilations()
    for name in TRACED:
        widget.verify({"beta_1": 0.5, "clip_eps": 0.1, name: 0.3})
    widget.verify({"beta_1": 0.5, "clip_eps": 0.1})
    assert widget.live_curve["seeds"] == [100, 101, 102, 103] and widget.live_curve["done"]
    assert compilations() == before


def test_a_second_press_trains_the_next_seeds_and_pools_them(monkeypatch):
    """同一点再按一次是新的种子，与先前的合在一起；换一点从头数；中断的不算数。"""
    trained, stop = [], []

    def fake_train(cfg, progress, on_chunk):
        trained.append((cfg.beta_1, *cfg.seeds))
        rows = np.array([[s, s + 0.5, s + 0.25] for s in cfg.seeds])
        full = xr.Dataset(
            {"return": (("seed", "update"), rows), "entropy": (("seed", "update"), rows)},
            {"seed": list(cfg.seeds), "timesteps": ("update", [10, 20, 30])},
        )
        for updates in (1, 3):
            on_chunk(full.isel(update=slice(updates)))
        return types.SimpleNamespace(metrics=full, interrupted=bool(stop))

    monkeypatch.setattr("ppo_lib.widgets.explorer.train", fake_train)
    widget = explorer(live=train_live(PPOConfig(num_seeds=2)))
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), "live_curve")
    widget.verify({"beta_1": 0.5})
    stop.append(True)
    widget.verify({"beta_1": 0.5})
    stop.clear()
    widget.verify({"beta_1": 0.5})
    widget.verify({"beta_1": 0.9})
    again, other = [(0.5, 102, 103)] * 2, [(0.9, 100, 101)]
    assert trained == [(0.5, 100, 101), *again, *other]
    third = [curve for curve in seen if curve["seeds"] == [100, 101, 102, 103]][-3:]
    assert [curve["timesteps"] for curve in third] == [[10], [10, 20, 30], [10, 20, 30]]
    assert third[-1]["done"] and third[-1]["returns"][2] == [102, 102.5, 102.25]
    assert widget.live_curve["seeds"] == [100, 101]


@pytest.mark.slow
def test_train_live_trains_without_compiling_again():
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=4 * 2048, num_seeds=2)
    live, chunks = train_live(cfg), []
    live({"beta_1": 0.5, "clip_eps": 0.3}, chunks.append)
    first = chunks[-1]["return"].values
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppo_lib.members.make_train", None)  # 再编译就会用到它
        live({"beta_1": 0.9, "clip_eps": 0.3}, chunks.append)
    assert first.shape == (2, 4)
    assert not np.array_equal(first, chunks[-1]["return"].values, equal_nan=True)


# ---- 网页里的数与 ppo_lib 相同：要 Chromium ------------------------------------


CLIP_SETTINGS = [
    (r, a, eps)
    for r, eps in [(1.3, 0.2), (0.7, 0.2), (1.05, 0.1), (0.0, 0.5), (2.0, 0.05), (0.52, 0.5)]
    for a in (1.0, -1.5, 0.0)
]


@pytest.mark.slow
@pytest.mark.parametrize("setting", CLIP_SETTINGS)
def test_clip_agrees_with_the_library(call_js, setting):
    objective = float(clipped_objective(*setting))
    assert call_js(ClipWidget, "clippedObjective", *setting) == pytest.approx(
        objective, abs=1e-5
    )
    gradient = float(jax.grad(clipped_objective)(*setting))
    assert call_js(ClipWidget, "slope", *setting) == pytest.approx(gradient, abs=1e-5)


GAE_SETTINGS = [
    (gamma, lam, third, last)
    for gamma, lam in [(0.99, 0.95), (0.9, 0.0), (1.0, 1.0), (0.0, 0.5)]
    for third, last in [
        ("continue", "continue"),
        ("terminated", "truncated"),
        ("truncated", "terminated"),
    ]
]


@pytest.mark.slow
@pytest.mark.parametrize("gamma, lam, third, last", GAE_SETTINGS)
def test_gae_agrees_with_the_library(call_js, gamma, lam, third, last):
    widget = GaeWidget()
    endings = ["continue", "continue", third, "continue", last]
    value = np.array(widget.value)
    column = lambda xs: np.asarray(xs)[:, None]  # noqa: E731
    advantage, target = calculate_gae(
        column(widget.reward),
        column(value),
        column([*value[1:], widget.last_value]),
        column([kind == "terminated" for kind in endings]),
        column([kind == "truncated" for kind in endings]),
        gamma,
        lam,
    )
    ours = call_js(
        GaeWidget, "gae", widget.reward, widget.value, widget.last_value, endings, gamma, lam
    )
    np.testing.assert_allclose(ours["advantage"], advantage[:, 0], atol=1e-5)
    np.testing.assert_allclose(ours["target"], target[:, 0], atol=1e-5)
    for start in range(5):  # 权重 × δ 加起来正是优势
        weight = call_js(GaeWidget, "weights", endings, start, gamma, lam)
        assert np.dot(weight, ours["delta"]) == pytest.approx(
            ours["advantage"][start], abs=1e-9
        )


ADAM_SETTINGS = [
    (kind, beta_1, beta_2, lr)
    for kind in ("constant", "noisy", "turn", "sparse")
    for beta_1, beta_2, lr in [(0.9, 0.999, 0.1), (0.0, 0.5, 0.01), (0.99, 0.95, 0.3)]
]


@pytest.mark.slow
@pytest.mark.parametrize("kind, beta_1, beta_2, lr", ADAM_SETTINGS)
def test_adam_agrees_with_the_library(call_js, kind, beta_1, beta_2, lr):
    noise, options = fixed_noise(), {"beta1": beta_1, "beta2": beta_2, "lr": lr}
    stream = call_js(AdamWidget, "gradientStream", kind, noise)
    assert len(stream) == STEPS
    ours = call_js(AdamWidget, "adamTrace", stream, options)
    param = mu = nu = np.zeros(())
    settings = dict(lr=lr, beta_1=beta_1, beta_2=beta_2)
    with jax.enable_x64(True):
        for t, (grad, row) in enumerate(zip(stream, ours), 1):
            before = float(param)
            param, mu, nu = adam_step(param, grad, mu, nu, t, **settings)
            found = [row["param"], row["m"], row["v"], row["change"]]
            np.testing.assert_allclose(found, [param, mu, nu, param - before], atol=1e-5)


def bowl_gradient(kind, t, position, noise):
    """碗的梯度，照着说明另写一遍；t 从 1 数。"""
    bottom = np.array([1.2, -0.6]) if kind == "turn" and t >= 30 else np.zeros(2)
    grad = np.array([1.0, 8.0]) * (position - bottom)
    if kind == "noisy":
        grad += 1.5 * noise[t - 1]
    return grad * (0.0 if kind == "sparse" and (t - 1) % 6 else 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["constant", "noisy", "turn", "sparse"])
def test_the_path_on_the_bowl_is_adams(call_js, kind):
    noise = np.array(fixed_noise())
    options = {"beta1": 0.8, "beta2": 0.99, "lr": 0.2}
    path = call_js(AdamWidget, "bowlPath", kind, noise.tolist(), options)
    param, mu, nu = np.array([-2.4, 1.2]), np.zeros(2), np.zeros(2)
    assert path[0] == param.tolist()
    with jax.enable_x64(True):
        for t in range(1, STEPS + 1):
            grad = bowl_gradient(kind, t, param, noise)
            param, mu, nu = map(
                np.asarray, adam_step(param, grad, mu, nu, t, lr=0.2, beta_1=0.8, beta_2=0.99)
            )
            np.testing.assert_allclose(path[t], param, atol=1e-5)


@pytest.mark.slow
def test_the_bowl_is_called_by_its_name(open_widgets):
    page = open_widgets(AdamWidget())
    assert "“碗里的路”是同一种梯度" in page.locator(".help").inner_text()
    bowl = page.get_by_role("img", name="碗形曲面上的路")
    assert "碗里的路（竖轴是参数 2）" in bowl.locator("text").all_text_contents()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 4, 5, 10])
def test_statistics_agree_with_the_library(call_js, count):
    scores = np.random.default_rng(count).normal(size=count)
    assert call_js(ReturnExplorer, "iqm", scores.tolist()) == pytest.approx(iqm(scores))
    for q in (0.025, 0.5, 0.975):
        found = call_js(ReturnExplorer, "quantile", scores.tolist(), q)
        assert found == pytest.approx(np.quantile(scores, q))


# ---- 没有内核的页面 -----------------------------------------------------------


def picture(page, place=0):
    """第几个小组件的全部图画成什么样。"""
    charts = page.locator(".ppo-widget").nth(place).locator(".chart svg")
    charts.first.locator("path").first.wait_for(state="attached")
    return charts.evaluate_all("all => all.map((svg) => svg.innerHTML).join()")


def sentence(page, place=0):
    return page.locator(".ppo-widget").nth(place).locator(".sentence").inner_text()


SLIDERS = [
    (ClipWidget, "概率比 r", "r = 1.31"),
    (ClipWidget, "优势 A", "A = 1.10"),
    (ClipWidget, "裁剪范围 ε", "ε = 0.21"),
    (GaeWidget, "折扣因子 γ", None),
    (GaeWidget, "GAE 的 λ", None),
    (GaeWidget, "细看哪一步", "第 2 步的优势"),
    (AdamWidget, "一阶矩的 β₁", None),
    (lambda: AdamWidget(beta_2=0.9, step=2), "二阶矩的 β₂", None),
    (AdamWidget, "学习率 lr", None),
    (AdamWidget, "细看哪一步", "第 2 步："),
    (explorer, "β₁", "β₁ = 0.5"),
    (explorer, "裁剪范围 ε", "裁剪范围 ε = 0.2"),
]


@pytest.mark.slow
@pytest.mark.parametrize("make, label, words", SLIDERS)
def test_arrow_keys_move_a_slider_and_stay_inside(open_widgets, make, label, words):
    widget = make()
    page = open_widgets(widget)
    page.evaluate(
        "window.leaked = []; document.addEventListener('keydown', e => leaked.push(e.key))"
    )
    before = picture(page), sentence(page)
    slider = page.get_by_role("slider", name=label, exact=True)
    spoken = slider.get_attribute("aria-valuetext")
    slider.focus()
    page.keyboard.press("ArrowRight")
    if "γ" in label:  # 0.99 再往右是 1，往左也看得见
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
    after = picture(page), sentence(page)
    assert before[0] != after[0] and before[1] != after[1]
    assert slider.get_attribute("aria-valuetext") != spoken
    assert words is None or words in after[1]
    assert page.evaluate("leaked") == []
    page.keyboard.press("Control+ArrowRight")
    assert "ArrowRight" in page.evaluate("leaked")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings, words, cell",
    [
        (dict(ratio=1.3, advantage=1.0), "再提高这个动作的概率，没有好处", "r > 1 + ε"),
        (dict(ratio=0.7, advantage=1.0), "优势不指向的一侧，不裁剪", "r ≤ 1 + ε"),
        (dict(ratio=0.7, advantage=-1.0), "再降低这个动作的概率，没有好处", "r < 1 − ε"),
        (dict(ratio=1.3, advantage=-1.0), "降低这个动作的概率还有好处", "r ≥ 1 − ε"),
        (dict(ratio=1.2, advantage=1.0), "没有越过 1 + ε = 1.20", "r ≤ 1 + ε"),
        (dict(advantage=0.0), "优势是 0", None),
    ],
)
def test_clip_says_which_case_it_is(open_widgets, settings, words, cell):
    page = open_widgets(ClipWidget(**settings))
    assert words in sentence(page)
    here = page.locator(".cases [aria-current=true]").all_inner_texts()
    assert here == ([f"● {cell}"] if cell else [])
    stopped = "梯度为 0" in sentence(page)
    assert stopped == ("没有好处" in words or cell is None)


@pytest.mark.slow
def test_gae_endings_change_the_numbers(open_widgets):
    page = open_widgets(GaeWidget())
    rows = page.locator("tbody tr")
    assert "用 V(s′)" not in sentence(page) and "第 5 步之后截断" in sentence(page)
    before = rows.nth(0).inner_text()
    third = page.get_by_role("group", name="第 3 步之后")
    third.get_by_label("截断").check()
    truncated = rows.nth(2).inner_text().split()
    assert rows.nth(0).inner_text() != before and truncated[4] == "−1.402"
    third.get_by_label("终止").focus()
    third.get_by_label("终止").check()
    terminated = rows.nth(2).inner_text().split()
    assert terminated[3:5] == ["不接", "−1.600"] and "以后没有奖励" in sentence(page)
    assert "断开" in picture(page)


@pytest.mark.slow
def test_adam_streams_change_the_picture(open_widgets):
    page = open_widgets(AdamWidget(step=30))
    seen = {picture(page)}
    for name in ("带噪声", "第 30 步转向", "稀疏"):
        page.get_by_label(name).check()
        seen.add(picture(page))
    assert len(seen) == 4


@pytest.mark.slow
def test_explorer_says_nearest_and_how_many_seeds(open_widgets):
    dataset = recorded()
    widget = explorer(start={"beta_1": 0.8}, caption="CartPole-v1，2 核 CPU，3 分钟")
    page = open_widgets(widget)
    text = sentence(page)
    assert "β₁ 要的是 0.8，最近的记录值是 0.9" in text and "5 个种子" in text
    last = dataset["return"].sel(beta_1=0.9, clip_eps=0.1).isel(point=slice(-2, None))
    scores = last.mean("point").values
    told = re.search(r"平均回报是 ([\d.]+)，四分位均值 ([\d.]+)", text).groups()
    atol = widget.scale / 2 + 0.05  # 打包的误差，加上只写一位小数
    np.testing.assert_allclose(
        list(map(float, told)), [scores.mean(), iqm(scores)], atol=atol, rtol=0
    )
    assert page.locator(".caption").inner_text() == widget.caption
    assert page.get_by_role("button").count() == 0
    slider = page.get_by_role("slider", name="β₁")
    assert slider.get_attribute("max") == "2"
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert "最近的记录值" not in sentence(page) and "β₁ = 0.5" in sentence(page)


@pytest.mark.slow
def test_the_page_unpacks_what_python_packed(call_js):
    values = np.array([[1.5, np.nan, -200.0], [0.0, 499.9, 12.0]])
    packed = pack(values)
    back = call_js_unpack(call_js, packed)
    wanted = unpack(packed, [6])
    assert [x is None for x in back] == np.isnan(wanted).tolist()
    np.testing.assert_allclose([np.nan if x is None else x for x in back], wanted)


def call_js_unpack(call_js, packed) -> list:
    """网页里的 unpack；NaN 变成 None。"""
    code = ReturnExplorer._esm + (
        "\nexport const unpackList = (list, scale, offset) => Array.from("
        "unpack({ data: new DataView(Uint8Array.from(list).buffer), scale, offset }),"
        " (x) => (Number.isNaN(x) ? null : x));"
    )
    module = type("Module", (), {"_esm": code})
    return call_js(module, "unpackList", list(packed.data), packed.scale, packed.offset)


@pytest.mark.slow
@pytest.mark.parametrize(
    "value, text",
    [
        (2.5e-4, "2.5×10⁻⁴"),
        (1e-3, "1×10⁻³"),
        (1.6e-2, "1.6×10⁻²"),
        (0, "0"),
        (-3e12, "−3×10¹²"),
    ],
)
def test_small_values_are_written_with_a_power_of_ten(call_js, value, text):
    assert call_js(ReturnExplorer, "scientific", value) == text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cartpole_lr", "mountain_car_lr"])
def test_the_learning_rate_grid_is_explored_with_two_sliders(open_widgets, name):
    """记录好的 β₁ × lr 网格：键盘走遍 lr 的每一个值，念出来的、写出来的、画出来的都跟着变。"""
    grid = load_grid(name)
    page = open_widgets(
        ReturnExplorer(grid, axes=("beta_1", "lr"), start={"beta_1": 0.9, "lr": 3e-3})
    )
    assert page.get_by_role("slider").count() == 2
    assert "学习率 lr 要的是 3×10⁻³，最近的记录值是 2×10⁻³" in sentence(page)
    slider = page.get_by_role("slider", name="学习率 lr", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    shown, pictures = [], set()
    for _ in grid["lr"].values:
        shown.append(slider.get_attribute("aria-valuetext"))
        assert f"β₁ = 0.9，学习率 lr = {shown[-1]}。" in sentence(page)
        pictures.add(picture(page))
        page.keyboard.press("ArrowRight")
    assert shown == [
        "2.5×10⁻⁴", "5×10⁻⁴", "1×10⁻³", "2×10⁻³", "4×10⁻³", "8×10⁻³", "1.6×10⁻²",
    ]  # fmt: skip
    assert len(pictures) > 3  # MountainCar 的几个 lr 都是 −200，画得一样
    assert "最近的记录值" not in sentence(page)
    beside = page.locator(".slider").nth(1)
    value = beside.locator(".value")
    assert value.evaluate("v => v.scrollWidth <= v.clientWidth || v.clientWidth === 0")
    assert value.evaluate("v => v.getClientRects().length") == 1  # 不折行


@pytest.mark.slow
def test_explorer_without_a_kernel_disables_the_button_but_shows_what_was_trained(open_widgets):
    trained = explorer(live=lambda values, show: show(live_dataset(3)))
    trained.verify({"beta_1": 0.5, "clip_eps": 0.1})
    page = open_widgets(explorer(live=print), trained)
    for i, words in enumerate(
        ["没有内核，这里只有记录", "。在 β₁ = 0.5，裁剪范围 ε = 0.1 内核里训练了"]
    ):
        row = page.locator(".live").nth(i)
        assert row.get_by_role("button", name="用真的训练验证").is_disabled()
        assert words in row.get_by_role("status").inner_text()
    assert COLORS[1] in picture(page, 1) and COLORS[1] not in picture(page, 0)


@pytest.mark.slow
def test_explorer_with_a_kernel_asks_for_training(open_widgets):
    """内核的一半由 Python 里的 verify 测过；这里只看网页这一半说什么、送什么。"""
    result = with_kernel(
        open_widgets(ClipWidget()),
        explorer(live=print),
        """
        const button = el.querySelector("button"), note = el.querySelector(".live [role=status]");
        const seen = [], look = () => seen.push([button.disabled, note.textContent]);
        look();
        listeners["msg:custom"].forEach((f) => f({ kind: "hello" }));
        look();
        button.click();
        look();
        model.set("live_curve", { values: sent[1].values, seeds: [100, 101], timesteps: [1, 2], returns: [[null, 2], [1, 3]], done: false });
        look();
        model.set("live_curve", { ...state.live_curve, done: true, seconds: 1.5 });
        look();
        return { sent, seen };
        """,
        chosen={"beta_1": 0.8, "clip_eps": 0.2},
    )
    values = {"beta_1": 0.9, "clip_eps": 0.2}
    assert result["sent"] == [{"kind": "hello"}, {"kind": "train", "values": values}]
    disabled, notes = zip(*result["seen"])
    assert disabled == (True, False, True, True, False)
    assert notes[0] == "没有内核，这里只有记录" and "按一下" in notes[1] and "编译" in notes[2]
    assert "正在 β₁ = 0.9" in notes[3]
    assert "训练了 1.5 秒：种子 100 到 101，2 个种子最后十分之一的平均回报是 2.5" in notes[4]
    assert "再按一次，换接下来的种子" in notes[4]


@pytest.mark.slow
def test_two_widgets_are_independent_and_two_views_are_one(open_widgets):
    first, second = ClipWidget(), ClipWidget(ratio=0.5)
    page = open_widgets(first, second, first)
    before = [sentence(page, i) for i in range(3)]
    assert before[0] == before[2] != before[1]
    page.get_by_role("slider", name="优势 A").nth(0).focus()
    page.keyboard.press("ArrowLeft")
    after = [sentence(page, i) for i in range(3)]
    assert after[1] == before[1] and after[0] == after[2] != before[0]
    ids = page.locator(".ppo-widget [id]").evaluate_all("all => all.map((e) => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_boxes_hold_widgets(open_file, tmp_path):
    box = ipywidgets.VBox([ClipWidget(), ipywidgets.HBox([GaeWidget(), quiz()])])
    path = tmp_path / "box.html"
    path.write_text(static_page(box), encoding="utf-8")
    page = open_file(path)
    page.locator(".ppo-widget").nth(2).wait_for()
    assert page.locator(".ppo-widget").count() == 3


@pytest.mark.slow
def test_a_broken_widget_does_not_stop_the_others(browser, tmp_path):
    broken = ClipWidget()
    broken._esm = "export default { render() { throw new Error('坏了') } }"
    path = tmp_path / "page.html"
    path.write_text(static_page(broken, GaeWidget()), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.locator(".ppo-widget").wait_for()
    assert "没有画出来：坏了" in page.locator(".ppo-widget-view").first.inner_text()
    page.close()


MODULE_FORMS = {
    "对象": "export default { initialize({ model }) { model.set('seen', 1) }, "
    "render({ model, el }) { el.textContent = `画了 ${model.get('seen')}` } }",
    "函数": "export default async () => ({ render({ el }) { el.textContent = '画了' } })",
    "旧的写法": "export function render({ el }) { el.textContent = '画了' }",
}


@pytest.mark.slow
@pytest.mark.parametrize("form", MODULE_FORMS)
def test_runtime_knows_every_form_of_module(open_file, tmp_path, form):
    widget = ClipWidget()
    widget._esm = MODULE_FORMS[form]
    path = tmp_path / "page.html"
    path.write_text(static_page(widget), encoding="utf-8")
    page = open_file(path)
    page.wait_for_function(
        "document.querySelector('.ppo-widget-view').innerText.includes('画了')"
    )


def everything():
    return [ClipWidget(), GaeWidget(), AdamWidget(), explorer(live=print), quiz()]


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 320])
def test_widgets_fit_a_phone_and_are_big_enough_to_touch(open_widgets, width):
    page = open_widgets(*everything(), width=width, device_scale_factor=3)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    controls = page.locator(".slider input, .radios label, .option label, .ppo-widget button")
    shown = controls.filter(visible=True).all()  # 没有内核时，探索器不问在哪里训练
    assert len(shown) > 10
    for control in shown:
        assert control.bounding_box()["height"] >= 36
    outside = page.locator(".chart text").evaluate_all(
        "(all, width) => all.map((t) => t.getBoundingClientRect())"
        ".filter((b) => b.left < -1 || b.right > width + 1).length",
        width,
    )
    assert outside == 0


@pytest.mark.slow
def test_dark_page_gives_light_ink(open_widgets):
    page = open_widgets(*everything())
    root = page.locator(".ppo-widget").first
    text = page.locator(".chart text").first
    assert root.evaluate("r => r.style.colorScheme") == "light"
    light = text.evaluate("t => getComputedStyle(t).fill")
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_timeout(300)
    assert text.evaluate("t => getComputedStyle(t).fill") == "rgb(221, 221, 221)" != light
    assert root.evaluate("r => r.style.colorScheme") == "dark"
    accents = page.locator("input").evaluate_all(
        "all => all.map((i) => getComputedStyle(i).accentColor)"
    )
    assert set(accents) == {"rgb(86, 180, 233)"}  # 亮的蓝配深的滑轨
    thin = page.locator(".thin").evaluate_all(
        "all => all.map((t) => getComputedStyle(t).strokeOpacity)"
    )
    assert len(thin) > 5 and set(thin) == {"1"}


@pytest.mark.slow
def test_every_control_has_a_name_and_every_picture_a_label(open_widgets):
    page = open_widgets(*everything())
    unnamed = page.locator(".ppo-widget input").evaluate_all(
        "all => all.filter((i) => !i.labels.length || !i.labels[0].innerText.trim()).length"
    )
    assert unnamed == 0
    pictures = page.locator(".chart svg[role=img]")
    assert pictures.count() == 8
    assert all(p.get_attribute("aria-label") for p in pictures.all())
    for i in range(5):
        assert page.locator(".ppo-widget").nth(i).locator("[aria-live=polite]").count() >= 1


# ---- 正文里的表：book.css -------------------------------------------------------

WORDS = ["看不出差别", "样本太少了", "一次更新之内不变"]


def table(columns: int) -> str:
    cells = [
        f"<td>+5%（-0% 到 +12%），<span>{WORDS[i % 3]}</span></td>" for i in range(columns)
    ]
    head = "<th>做法</th>" * columns
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody><tr>{''.join(cells)}</tr></tbody></table>"
    )


@pytest.mark.slow
def test_a_wide_table_on_a_phone_keeps_words_whole_and_scrolls_by_itself(open_file, tmp_path):
    css = (ROOT / "book/static/book.css").read_text(encoding="utf-8")
    path = tmp_path / "table.html"
    path.write_text(
        "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<style>{css}</style><article class=bd-article>{table(2)}{table(6)}</article>",
        encoding="utf-8",
    )
    page = open_file(path, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    narrow, wide = page.locator("table").all()
    scrolls = "t => t.scrollWidth > t.clientWidth"
    assert wide.evaluate(scrolls) and not narrow.evaluate(scrolls)
    lines = wide.locator("span").evaluate_all(
        "all => all.map((s) => s.getClientRects().length)"
    )
    assert lines == [1] * 6


# ---- 小测验 -------------------------------------------------------------------


@pytest.mark.slow
def test_quiz_explains_counts_and_remembers(open_widgets):
    page = open_widgets(quiz(), prepare=LISTEN)
    page.wait_for_function("heard.length === 1")
    first, second = page.locator(".question").nth(0), page.locator(".question").nth(1)
    answer = first.get_by_role("button")
    assert answer.is_disabled() and first.locator(".why:visible").count() == 0
    assert first.locator("legend code").inner_text() == "r"
    first.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowDown")  # 选中第二个
    answer.click()
    assert first.locator(".why:visible").all_inner_texts() == [
        "对：越过了上界",
        "你选的，不对：A < 0 才是",
    ]
    assert "没有答对" in first.get_by_role("status").inner_text()
    second.get_by_role("checkbox", name="终止").check()
    second.get_by_role("checkbox", name="截断").check()
    second.get_by_role("button").click()
    assert "答对了" in second.get_by_role("status").inner_text()
    latest = {"kind": "quiz", "id": "clip", "done": 2, "correct": 1, "total": 2}
    assert page.evaluate("heard.at(-1)") == latest
    page.reload()
    page.wait_for_function("window.heard?.length === 1")
    assert page.evaluate("heard") == [latest]
    assert sentence(page) == "共 2 题，答了 2 题，答对 1 题。"
    assert page.locator(".why:visible").count() == 5
    page.get_by_role("button", name="再答一次").first.click()
    assert page.evaluate("heard.at(-1).done") == 1
    assert page.locator(".question").first.locator("input:checked").count() == 0


@pytest.mark.slow
def test_quiz_says_right_once(open_widgets):
    reasons = ["对。一", "对，二", "对", "对的是前三个"]
    page = open_widgets(Quiz("right", [("问", list("甲乙丙丁"), [0, 1, 2], reasons)]))
    page.get_by_role("checkbox", name="甲").check()
    page.get_by_role("button").click()
    told = ["你选的，对：一", "对：二", "对", "不对：对的是前三个"]
    assert page.locator(".why").all_inner_texts() == told


@pytest.mark.slow
def test_two_quizzes_keep_their_answers_apart(open_widgets):
    page = open_widgets(quiz("a"), quiz("b"))
    page.get_by_role("radio").first.check()
    page.get_by_role("button").first.click()
    page.reload()
    page.locator(".ppo-widget").nth(1).locator(".question").first.wait_for()
    assert "答了 1 题" in sentence(page, 0) and "答了 0 题" in sentence(page, 1)


# ---- 答题框 -------------------------------------------------------------------

MIXED = AnswerExercise(
    "练习 3.1：几种空格",
    {
        "更新次数": Number(130, {131: "多了一次。"}, tolerance=0),
        "比例": Number(0.4305, {0.5: "不是一半。"}, ratio=True),
        "形状": Shape((128, 16), {(16, 128): "两维反了。"}),
        "哪一个": Choice("乙", ["甲", "乙"], {"甲": "甲不对。"}),
        "哪几个": Subset({0.1, 0.3}, [0.1, 0.2, 0.3], extra={0.2: "0.2 不是。"}, hint="漏了 {missing} 个。"),
        "次序": Order(["先", "中", "后"], [("先", "中", "先有它。"), ("中", "后", "再有它。")]),
    },
    "都对。",
)  # fmt: skip


def fill(page, **texts):
    """填几格文字。"""
    for name, text in texts.items():
        page.get_by_label(name, exact=True).fill(text)


def check_box(page):
    page.get_by_role("button", name="检查").click()
    return page.get_by_role("status").inner_text()


@pytest.mark.slow
def test_an_answer_box_judges_keeps_and_reports(open_widgets):
    page = open_widgets(AnswerBox(spec=MIXED.spec), prepare=LISTEN)
    assert check_box(page) == "还不对：更新次数还没有填。"
    fill(page, 更新次数="一百三")
    assert check_box(page) == "还不对：更新次数：“一百三” 不是一个数。"
    fill(page, 更新次数="131", 比例="0.43", 形状="(128, 16)")
    page.get_by_label("哪一个").select_option("乙")
    page.get_by_role("checkbox", name="0.1").check()
    assert check_box(page) == "还不对：对了 3 个。更新次数：多了一次。"
    fill(page, 更新次数="130")
    assert check_box(page) == "还不对：对了 4 个。哪几个：漏了 1 个。"
    page.get_by_role("checkbox", name="0.3").check()
    page.reload()  # 填过的还在
    page.get_by_role("button", name="检查").wait_for()
    assert page.get_by_label("更新次数").input_value() == "130"
    assert check_box(page) == "还不对：对了 5 个。次序：“先”应当在“中”之前：先有它。"
    assert page.evaluate("heard") == []
    page.get_by_role("button", name="上移先").click()
    assert check_box(page) == "通过：都对。"
    assert page.evaluate("heard") == [{"kind": "exercise", "id": "3.1", "done": True}]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_boxes_of_a_form_line_up(open_widgets, width):
    names = ["γ", "更新次数", "把折扣因子改成 0.9 以后，第一步的优势变成多少（保留三位小数）"]
    fields = {name: Number(1) for name in names} | {"哪一个": Choice("乙", ["甲", "乙"])}
    page = open_widgets(
        AnswerBox(spec=AnswerExercise("练习 9.9：对齐", fields, "对。").spec), width=width
    )
    boxes = [x.bounding_box() for x in page.locator(".blank :is(input, select)").all()]
    labels = [x.bounding_box() for x in page.locator(".blank span").all()]
    assert len({box["x"] for box in boxes}) == 1 and len({box["width"] for box in boxes}) == 1
    assert (
        min(box["width"] for box in boxes) >= 100
        and boxes[0]["x"] >= labels[2]["x"] + labels[2]["width"]
    )
    tops = [box["y"] for box in boxes]
    assert tops == sorted(set(tops))
    page.get_by_text("更新次数").click()  # 点名字也选中框
    assert page.evaluate("document.activeElement.tagName") == "INPUT"
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_an_answer_box_needs_only_the_keyboard(open_widgets):
    one = AnswerExercise("练习 9.9：一个数", {"γ": Number(0.5, ratio=True)}, "对。")
    page = open_widgets(AnswerBox(spec=one.spec))
    page.keyboard.press("Tab")
    page.keyboard.type("50%")
    page.keyboard.press("Enter")
    assert page.get_by_role("status").inner_text() == "通过：对。"


def garbage(field):
    """一格里随便什么，读好了的样子。"""
    if field["kind"] == "number":
        return st.floats(-1e4, 1e4)
    if field["kind"] == "shape":
        return st.lists(st.integers(0, 200), min_size=1, max_size=3)
    places = range(len(field["options"]))
    if field["kind"] == "choice":
        return st.sampled_from(places)
    if field["kind"] == "subset":
        return st.sets(st.sampled_from(places), min_size=1).map(sorted)
    return st.permutations(places)


@pytest.mark.slow
@given(st.data())
def test_the_page_judges_as_python_does(call_js, data):
    """书里每一道填空题，随便什么答案（或者一半是对的），两边说的话一样。"""
    spec = data.draw(st.sampled_from([MIXED.spec, *(CHECKS[name].spec for name in BLANKS)]))
    answers = [
        one_right(field) if data.draw(st.booleans()) else data.draw(garbage(field))
        for field in spec["fields"]
    ]
    verdict = judge(spec, answers)
    assert call_js(AnswerBox, "judge", spec, answers) == [verdict.passed, verdict.message]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["0.5", " 1/2", "50%", "50 ％", "−3", "-.5", "1e-3", "1,000", "2，000"]
)
def test_the_page_reads_numbers_as_python_does(call_js, text):
    assert call_js(AnswerBox, "parseNumber", text) == parse_number(text)


# ---- 从笔记本到网页 -----------------------------------------------------------

NOTEBOOK = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
---

# 小组件

```{code-cell} ipython3
import sys
import types
sys.path.insert(0, TESTS)
from test_widgets import everything
clip, gae, adam, explore, quiz = everything()
clip
```
"""
CELL = "\n```{code-cell} ipython3\n%s\n```\n"

CONF = """\
extensions = ["myst_nb"]
html_theme = "sphinx_book_theme"
html_static_path = [%r]
html_context = {"default_mode": "auto"}
html_css_files = ["book.css"]
html_js_files = ["widgets.js"]
nb_ipywidgets_js = {}
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
language = "zh_CN"
"""


def notebook_text() -> str:
    tests = repr(str(Path(__file__).parent))
    cells = "".join(CELL % name for name in ("gae", "adam", "explore", "quiz"))
    return NOTEBOOK.replace("TESTS", tests) + cells


@pytest.mark.slow
def test_executed_notebook_carries_the_state():
    import jupytext
    import nbclient

    notebook = jupytext.reads(notebook_text(), fmt="md:myst")
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    shown = [
        output["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    assert len(shown) == 5
    for model_id, cls in zip(shown, CLASSES):
        assert states[model_id]["state"]["_esm"] == cls._esm
    [buffer] = states[shown[3]]["buffers"]
    assert list(buffer["path"]) == ["data"] and buffer["encoding"] == "base64"


@pytest.fixture(scope="module")
def sphinx_page(tmp_path_factory):
    """myst-nb 真的做出来的一页，五个小组件都在上面；设置与 _config.yml 相同。"""
    folder = tmp_path_factory.mktemp("sphinx")
    (folder / "index.md").write_text(notebook_text(), encoding="utf-8")
    (folder / "conf.py").write_text(CONF % str(ROOT / "book/static"), encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", str(folder), str(folder / "html")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "html/index.html"


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_by_myst_nb_is_alive_without_a_kernel(open_file, sphinx_page, width, scheme):
    page = open_file(sphinx_page, width=width, color_scheme=scheme)
    page.wait_for_function("document.querySelectorAll('.ppo-widget').length === 5")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    before = sentence(page)
    page.get_by_role("slider", name="概率比 r").focus()
    page.keyboard.press("ArrowLeft")
    assert sentence(page) != before
    assert "四分位均值" in sentence(page, 3)
    colors = page.locator(".ppo-widget").evaluate_all(
        "all => [...new Set(all.map((r) => r.style.colorScheme))]"
    )
    assert colors == [scheme]
    backdrop = page.locator(".ppo-widget").first.evaluate(
        """element => {
          for (let e = element; e; e = e.parentElement) {
            const color = getComputedStyle(e).backgroundColor;
            if (color !== "rgba(0, 0, 0, 0)") return color.match(/\\d+/g).slice(0, 3).map(Number);
          }
        }"""
    )
    assert (max(backdrop) < 80) == (scheme == "dark")  # 暗的页面上没有白的垫子
