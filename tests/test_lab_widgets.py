"""实验室的小组件：算的与库相同；一局从头到尾只用键盘；预测锁定了就不改，总分重开网页还在；换种子名次会变。"""

from ppo_lib import PPOConfig  # isort: skip  # noqa: F401  在 jax 之前

import gzip
import itertools
import re

import numpy as np
import pytest
import xarray as xr
from widget_pages import LISTEN

from ppo_lib.course import ch10
from ppo_lib.course.ch10 import TOTAL, heat_map_game, hunts, prediction, random_search
from ppo_lib.statistics import bootstrap_band, difference_interval, iqm
from ppo_lib.widgets import HeatMap, Prediction, SearchGame
from ppo_lib.widgets.lab import Board, Hunt

CLASSES = [SearchGame, HeatMap, Prediction]


# ---- 小的网格 ------------------------------------------------------------------

SCORES = np.array([  # 3 × 2 格，5 个种子；每格每个种子都不同，认得出看到的是哪个
    [[100, 101, 102, 103, 104], [200, 201, 202, 203, 204]],
    [[300, 10, 20, 30, 40], [150, 151, 152, 153, 154]],
    [[110, 111, 112, 113, 114], [160, 161, 162, 163, 164]],
], float)  # fmt: skip


def board(name: str = "small", low: float = 0, high: float = 300) -> Board:
    curve = SCORES[..., None] * np.linspace(0.1, 1, 10)  # 最后一个点就是成绩
    curve = np.concatenate([curve, curve[..., -1:]], axis=-1)
    runs = xr.Dataset(
        {"return": (("beta_1", "lr", "seed", "point"), curve)},
        {"beta_1": [0.0, 0.5, 0.9], "lr": [0.001, 0.004], "seed": range(5),
         "timesteps": ("point", 1000 * np.arange(1, 12))},
    )  # fmt: skip
    return Board(name, f"小网格 {name}", runs, low, high, 155)


def game(budget: int = 3, name: str = "small") -> SearchGame:
    scores = xr.DataArray(SCORES, dims=("beta_1", "lr", "seed"))
    random = random_search(SCORES.reshape(-1, 5), budget)
    return SearchGame("lab", [Hunt(board(name), scores, random, 5)], total=7, budget=budget)


def guess(name: str = "一") -> Prediction:
    scores = xr.DataArray(SCORES[:, 1], {"beta_1": [0.0, 0.5, 0.9]}, ("beta_1", "seed"))
    return Prediction(
        "lab", name, "哪些 β₁ 过 155？", scores, line=155, low=0, high=300, total=7
    )


def heat_map() -> HeatMap:
    pins = (dict(beta_1=0.5, lr=0.001), dict(beta_1=0.0, lr=0.001))
    return HeatMap([board()], {"small": pins})


# ---- 随机搜索的成绩：精确，手算 ---------------------------------------------------


def by_hand(table, budget):
    """每一种取法都做一遍：[(看到的, 没看过的, 概率)]；并列时均分。"""
    table = np.asarray(table, float)
    entries = list(np.ndindex(table.shape))
    draws = list(itertools.combinations(entries, budget))
    found = []
    for draw in draws:
        top = max(table[x] for x in draw)
        best = [x for x in draw if table[x] == top]
        for cell, seed in best:
            rest = np.delete(table[cell], seed).mean()
            found.append((top, rest, 1 / len(draws) / len(best)))
    return np.array(found)


@pytest.mark.parametrize(
    "table, budget",
    [
        ([[1, 0], [5, 3]], 1),
        ([[1, 0], [5, 3]], 2),
        ([[1, 1, 0], [1, 0, 0], [2, 1, 2]], 3),
        ([[4, 4], [4, 4], [4, 4]], 2),
    ],
)
def test_random_search_is_the_enumeration_of_all_draws(table, budget):
    seen, rest, chance = by_hand(table, budget).T
    found = random_search(table, budget)
    assert found.seen == pytest.approx(chance @ seen)
    assert found.hidden == pytest.approx(chance @ rest)
    for x in np.unique(rest):  # 一百个分位数里不超过 x 的个数，就是概率
        share = chance[rest <= x + 1e-9].sum()
        assert abs((np.array(found.quantiles) <= x + 0.006).sum() - 100 * share) <= 1


def test_two_cells_two_seeds_by_hand():
    """四对里取一对：看到 1、0、5、3，没看过的是 0、1、3、5；取两对，最高的是 1、3、3、5、5、5。"""
    assert random_search([[1, 0], [5, 3]], 1)[:2] == pytest.approx((9 / 4, 9 / 4))
    assert random_search([[1, 0], [5, 3]], 2)[:2] == pytest.approx((22 / 6, 19 / 6))


def test_the_curse_of_random_search_on_the_real_grids():
    for hunt in hunts():
        assert hunt.random.seen > hunt.random.hidden + 10
    assert hunts()[1].scores.dims == ("clip_eps", "ent_coef", "seed")


def test_the_total_counts_every_value_once():
    boxes = [prediction("lab", which) for which in ch10.PREDICTIONS]
    assert sum(len(box.options) for box in boxes) + len(hunts()) == TOTAL <= 100
    assert all(box.total == TOTAL for box in boxes)


def test_mistakes_are_told_in_chinese():
    with pytest.raises(ValueError, match="beta_1 = 0.7 没有录过；有 0、0.5、0.9"):
        HeatMap([board()], {"small": (dict(beta_1=0.7, lr=0.001),) * 2})
    with pytest.raises(ValueError, match="至少要留一个种子"):
        SearchGame("lab", [], total=1) and SearchGame("lab", hunts(), total=1, most=5)
    with pytest.raises(ValueError, match="应当是一个轴和 seed"):
        Prediction("lab", "一", "问", xr.DataArray(np.zeros((2, 2)), dims=("a", "b")))


@pytest.mark.parametrize("cls", CLASSES)
def test_code_is_self_contained_and_light(cls):
    code = cls._esm.replace("http://www.w3.org/2000/svg", "")
    for forbidden in ("http", "\nimport ", "import(", "fetch(", "</script", "<!--", "<script"):
        assert forbidden not in code + cls._css
    assert len(gzip.compress((code + cls._css).encode())) < 14_500


# ---- 网页里算的与库相同 ----------------------------------------------------------


@pytest.mark.slow
def test_intervals_are_the_librarys(call_js):
    rng = np.random.default_rng(0)
    for n in (3, 5):
        a, b = rng.normal(300, 50, n), rng.normal(260, 80, n)
        pairs = call_js(HeatMap, "resamples", a.tolist())
        assert sum(chance for _, chance in pairs) == pytest.approx(1)
        mean = sum(x * chance for x, chance in pairs)
        draws = iqm(np.random.default_rng(1).choice(a, (n, 20_000)))
        assert mean == pytest.approx(draws.mean(), abs=1)
        expected = bootstrap_band(a, draws=20_000)
        assert call_js(HeatMap, "band", a.tolist()) == pytest.approx(expected, abs=5)
        ours = call_js(HeatMap, "difference", a.tolist(), b.tolist())
        assert ours == pytest.approx(difference_interval(a, b), abs=4)


@pytest.mark.slow
def test_every_seed_of_a_cell_is_dealt_once_and_games_differ(call_js):
    orders = [
        call_js(SearchGame, "deal", seed, cell, 5) for seed in range(20) for cell in (0, 7)
    ]
    assert all(sorted(order) == list(range(5)) for order in orders)
    firsts = [order[0] for order in orders]
    assert len({tuple(order) for order in orders}) > 20 and set(firsts) == set(range(5))


@pytest.mark.slow
def test_ties_count_half_and_ranks_share(call_js):
    assert call_js(SearchGame, "beaten", [1, 2, 2, 3], 2) == 50
    assert call_js(HeatMap, "ranks", [5, 7, 7, 1]) == [3, 1, 1, 4]
    assert call_js(HeatMap, "placesOf", [8, 6, 6], 145) == [4, 0, 1]
    assert call_js(HeatMap, "cellOf", [8, 6, 6], [4, 0, 1]) == 145


# ---- 玩一局 --------------------------------------------------------------------


@pytest.mark.slow
def test_figures_on_every_shade_are_readable(call_js):
    """热图上的字，与任何一种底色的对比都不低于 4.5。"""

    def luminance(rgb):
        x = np.array(rgb) / 255
        return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]  # fmt: skip

    for level in np.linspace(0, 1, 201):
        style = call_js(HeatMap, "shade", float(level))
        light = luminance([int(x) for x in re.findall(r"\d+", style["background"])])
        text = luminance([0] * 3 if style["color"] == "#000" else [255] * 3)
        assert (max(light, text) + 0.05) / (min(light, text) + 0.05) >= 4.5, level


@pytest.mark.slow
def test_nothing_serious_in_the_lab(open_widgets, axe_script):
    page = open_widgets(heat_map(), game(), guess())
    page.evaluate(axe_script)
    found = page.evaluate("axe.run('.ppo-widget', {resultTypes: ['violations']})")
    rules = "axe.run('.ppo-widget', {runOnly: ['label-content-name-mismatch'], rules: {'label-content-name-mismatch': {enabled: true}}})"
    found = found["violations"] + page.evaluate(rules)["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []  # fmt: skip


def words(page) -> str:
    return page.locator(".sentence").first.inner_text()


@pytest.mark.slow
def test_a_whole_search_with_the_keyboard_alone(open_widgets):
    page = open_widgets(game(), prepare=LISTEN)
    assert words(page) == "还剩 3 次。"
    page.locator(".cells button[tabindex='0']").focus()
    at = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(at) == "β₁ 0.9，lr 0.001：没试过"
    page.keyboard.press("ArrowDown")  # 下一行：β₁ 0.5
    page.keyboard.press("Enter")
    first = page.evaluate(at)
    assert first.startswith("β₁ 0.5，lr 0.001：看过 1 个种子，平均")
    page.keyboard.press("Enter")
    seen = float(page.evaluate(at).split("平均 ")[1])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # 到了边上不动
    assert "lr 0.004" in page.evaluate(at)
    page.keyboard.press("Enter")
    assert "用完了" in words(page)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert "没有试过的不能交" in words(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")  # 交出看过两个种子的一格
    assert "先猜，再揭晓" in words(page)
    rest = (SCORES[1, 0].sum() - 2 * seen) / 3
    page.keyboard.type(f"{rest + 4:.1f}")  # 焦点已经在猜的框里
    page.keyboard.press("Enter")
    told = words(page)
    assert f"没给你看的 3 个种子平均 {rest:.0f}" in told and "得一分" in told
    assert "记录里最好的是 β₁ 0，lr 0.004，五个种子的四分位均值 202" in told
    assert "你胜过其中的" in told and page.locator(".chart circle").count() == 5 + 5 + 100
    assert page.evaluate("document.activeElement.textContent") == "再来一局"
    latest = {"kind": "guess", "id": "lab", "done": 1, "correct": 1, "total": 7}
    assert page.evaluate("heard.at(-1)") == latest
    page.reload()  # 揭晓了的一局和总分都还在
    page.wait_for_function("window.heard?.length > 0")
    assert words(page) == told and page.evaluate("heard.at(-1)") == latest
    page.get_by_role("button", name="再来一局").click()
    assert words(page) == "还剩 3 次。"


@pytest.mark.slow
def test_a_cell_keeps_seeds_for_the_end_and_only_the_first_game_scores(open_widgets):
    page = open_widgets(game(budget=4), prepare=LISTEN)
    cell = page.get_by_role("button", name="β₁ 0，lr 0.001")
    for points in ("0", "102"):  # 第一局猜得离谱，第二局猜中
        for _ in range(4):
            cell.click()
        assert "看过 3 个种子了" in words(page) and "还剩 1 次" in words(page)
        page.get_by_role("button", name="β₁ 0.9，lr 0.001").click()
        page.get_by_role("button", name="交这一格：β₁ 0，lr 0.001").click()
        page.get_by_role("spinbutton").fill(points)
        page.get_by_role("button", name="锁定，揭晓").click()
        page.get_by_role("button", name="再来一局").wait_for()
        if points == "0":
            assert "不得分" in words(page)
            page.get_by_role("button", name="再来一局").click()
    assert "得一分" in words(page)
    assert page.evaluate("[heard.at(-1).done, heard.at(-1).correct]") == [1, 0]
    assert "2 局下来" in page.locator(".ppo-widget .help").last.inner_text()


@pytest.mark.slow
def test_a_game_in_the_middle_survives_a_reload(open_widgets):
    page = open_widgets(game())
    cell = page.get_by_role("button", name="β₁ 0.5，lr 0.001")
    cell.click()
    before = cell.get_attribute("aria-label")
    page.reload()
    page.wait_for_function("document.querySelector('.sentence')?.textContent === '还剩 2 次。'")
    assert cell.get_attribute("aria-label") == before


# ---- 预测：锁定 -----------------------------------------------------------------


@pytest.mark.slow
def test_a_prediction_locks_scores_and_stays(open_widgets):
    page = open_widgets(guess("一"), guess("二"), prepare=LISTEN)
    first = page.locator(".ppo-widget").first
    assert first.locator(".chart").is_hidden()
    first.get_by_role("button", name="0", exact=True).focus()
    page.keyboard.press("Enter")
    first.get_by_role("button", name="0.5", exact=True).click()
    first.get_by_role("button", name="0.5", exact=True).click()  # 反悔
    first.get_by_role("button", name="锁定，看结果").click()
    told = first.locator(".sentence").inner_text()
    assert "3 个值猜对 2 个" in told and "过线的是 0、0.9" in told  # 152、162：0.5 没过
    assert first.locator(".chart").is_visible()
    for score in page.locator(".score").all():  # 两处的总分一起变
        assert score.inner_text() == "预测的总分：2 分；锁定了 7 分里的 3 分。"
    picks = first.locator(".picks button")
    assert picks.nth(2).get_attribute("aria-label") == "0.9：过线，猜错了"
    picks.nth(2).click(force=True)  # 锁定以后点也不改
    assert first.locator(".sentence").inner_text() == told
    assert picks.nth(2).get_attribute("aria-pressed") == "false"
    page.reload()
    page.wait_for_function("window.heard?.length >= 2")
    assert first.locator(".sentence").inner_text() == told
    assert page.evaluate("heard.at(-1)") == {
        "kind": "guess", "id": "lab", "done": 3, "correct": 2, "total": 7,
    }  # fmt: skip


# ---- 热图：两格对比，换种子 --------------------------------------------------------


def curves(page) -> list[str]:
    paths = page.locator(".chart svg path")
    paths.first.wait_for(state="attached")
    return paths.evaluate_all("all => all.map((path) => path.getAttribute('stroke') + path.getAttribute('d'))")  # fmt: skip


@pytest.mark.slow
def test_two_pinned_cells_are_compared(open_widgets):
    page = open_widgets(heat_map())
    a, b = SCORES[1, 0], SCORES[0, 0]
    gap, low, high = difference_interval(a, b)
    told = words(page)
    assert "A：β₁ 0.5，lr 0.001，30。B：β₁ 0，lr 0.001，102。" in told
    assert f"A 减 B 是 −{-gap:.0f}" in told and "看不出差别" in told and low < 0 < high
    before = curves(page)
    assert len(before) == 12  # 两格各五条细线、一条粗线
    page.get_by_label("B（橙，虚线）").check()
    page.get_by_role("button", name="β₁ 0.9，lr 0.004").click()
    assert "B：β₁ 0.9，lr 0.004，162。" in words(page)
    after = curves(page)
    assert after[:6] == before[:6] and after[6:] != before[6:]
    held = page.locator(".cells [aria-pressed=true]").all()
    assert [x.locator(".sign").inner_text() for x in held] == ["B●", "A○"]
    edge = "x => (({ borderStyle, borderColor }) => [borderStyle, borderColor])(getComputedStyle(x))"
    edges = [x.evaluate(edge) for x in held]
    assert edges == [
        ["dashed", "rgb(213, 94, 0)"],
        ["solid", "rgb(0, 114, 178)"],
    ]  # 与图例、曲线相同


@pytest.mark.slow
def test_other_seeds_flip_the_ranks(open_widgets):
    """β₁ 0.5、lr 0.001 的一格，抽到种子 0 就有 300，第一；抽不到就垫底。"""
    page = open_widgets(heat_map(), prepare="Math.random = () => window.next ?? 0;")
    shuffle = page.get_by_role("button", name="换种子")
    assert shuffle.is_disabled()
    page.get_by_label("1", exact=True).check()
    top = page.locator(".ranking tbody tr").first
    assert "β₁ 0.5，lr 0.001" in top.inner_text() and "没有区间" in words(page)
    page.evaluate("window.next = 0.9")
    shuffle.click()
    cells = top.locator("th, td").all_inner_texts()
    assert cells == ["β₁ 0，lr 0.004", "204.0", "1", "2", "1"]
    told = page.locator(".ranking").inner_text
    assert "这一批是种子 4。看过 2 批，当过第一的有 2 格。" in told()
    for _ in range(3):  # 五个种子里取一个，只有五种取法，不重复
        shuffle.click()
    assert "看过 5 批" in told() and "各种取法都看过了。" in told() and shuffle.is_disabled()


# ---- 手机、读屏、暗色 --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 320])
def test_the_lab_fits_a_phone(open_widgets, width):
    page = open_widgets(
        ch10.search_game("lab"), heat_map_game(), prediction("lab", "三"), width=width
    )
    page.get_by_label("CartPole：β₁、lr").check()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in page.locator(".ppo-widget button:visible").all():
        assert control.bounding_box()["height"] >= 36
    spill = page.locator(".cells button").evaluate_all(
        "all => all.filter((b) => b.scrollWidth > b.clientWidth + 1).length"
    )
    assert spill == 0


@pytest.mark.slow
def test_grids_are_grids_with_one_stop_for_tab(open_widgets):
    page = open_widgets(ch10.search_game("lab"), heat_map_game())
    assert page.get_by_role("grid").count() == 2
    for grid in page.get_by_role("grid").all():
        assert grid.locator("button[tabindex='0']").count() == 1
        rows = grid.get_by_role("row").count()
        assert rows > 6 and grid.get_by_role("rowheader").count() == rows - 1
        unnamed = grid.locator("button").evaluate_all(
            "all => all.filter((b) => !b.ariaLabel).length"
        )
        assert unnamed == 0
