"""训练场：没有内核的页面里真的训练；按钮、滑块、出错时的话。"""

from ppo_lib import PPOConfig  # isort: skip  # 在 jax 之前

import gzip
import re

import pytest
from engine_calls import call, create
from widget_pages import explorer, static_page, with_kernel

from book.tools.extension.slim import set_engine_aside
from ppo_lib.config import ConfigError
from ppo_lib.widgets import ReturnExplorer, TrainWidget, train_live
from ppo_lib.widgets.in_page import trainable
from ppo_lib.widgets.train import SLIDERS

SHORT = PPOConfig(env_name="CartPole-v1", total_timesteps=30 * 2048, num_seeds=2, lr=2e-3)
COVER = PPOConfig(
    env_name="CartPole-v1", total_timesteps=60_000, num_envs=8, update_epochs=4, num_seeds=2
)  # 首页的
LONG = PPOConfig(env_name="CartPole-v1", total_timesteps=4000 * 2048, num_seeds=2)


# ---- Python 的一半 ------------------------------------------------------------


def test_code_is_self_contained_and_light():
    code = TrainWidget._esm.replace("http://www.w3.org/2000/svg", "")
    for forbidden in ("http", "\nimport ", "import(", "fetch(", "</script", "<!--", "<script"):
        assert forbidden not in code + TrainWidget._css
    assert len(gzip.compress(code.encode())) < 16_000
    assert len(gzip.compress(TrainWidget().engine.encode())) < 40_000  # 按了“训练”才去取


def test_the_explorer_knows_what_the_page_can_train():
    cfg = PPOConfig(env_name="CartPole-v1", num_seeds=3)
    assert explorer(live=train_live(cfg, 200)).in_page == {
        "config": trainable(cfg),
        "first_seed": 200,
        "num_seeds": 3,
    }
    assert explorer(live=train_live(PPOConfig(shared_trunk=True))).in_page == {}
    assert explorer(live=print).in_page == explorer().in_page == {}


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(env_name="Breakout-MinAtar"), "env_name = 'Breakout-MinAtar' 在网页里没有"),
        (dict(shared_trunk=True), "shared_trunk 在网页里只能是默认值 False"),
        (dict(obs_scaling="bounds"), "obs_scaling"),
        (dict(reward_shaping="energy"), "reward_shaping"),
        (dict(hidden_sizes=(8, 8, 8, 8)), "1 到 3 个"),
        (dict(hidden_sizes=(300,)), "[1, 256] 内的整数"),
    ],
)
def test_what_the_page_cannot_train_is_refused(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        trainable(PPOConfig(**changes))


def test_sliders_stop_at_allowed_values_in_order():
    for name, values in SLIDERS.items():
        assert values == sorted(set(values))
        for value in values:
            PPOConfig(**{name: value})


# ---- 网页的一半：要 Chromium ----------------------------------------------------


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def words(page) -> str:
    return page.locator(".sentence").first.inner_text()


def wait_for_words(page, text: str) -> str:
    page.wait_for_function(
        "text => document.querySelector('.sentence').textContent.includes(text)", arg=text, timeout=60_000
    )  # fmt: skip
    return words(page)


def lines(page) -> list[str]:
    """回报图里的曲线。"""
    return (
        page.get_by_label("回报随环境步数的变化")
        .first.locator("path")
        .evaluate_all("all => all.map((path) => path.getAttribute('d'))")
    )


def train_to_the_end(page, told: str = "训练完了") -> list[str]:
    press(page, "训练")
    wait_for_words(page, told)
    page.wait_for_timeout(300)  # 最后一次重画
    return lines(page)


@pytest.mark.slow
def test_training_with_the_keyboard_ends_with_a_score_and_repeats_bit_for_bit(open_widgets):
    page = open_widgets(TrainWidget(SHORT))
    assert words(page) == "还没有训练。"
    page.get_by_role("button", name="训练", exact=True).focus()
    page.keyboard.press("Enter")
    told = wait_for_words(page, "训练完了")
    assert (
        "2 个种子里，" in told
        and "第 30 次更新，共 30 次" in page.locator(".how-far").inner_text()
    )
    page.wait_for_timeout(300)
    first = lines(page)
    assert len(first) == 4  # 带、两条细线、四分位均值
    again = train_to_the_end(page)
    assert again[1:] == first  # 先前的那条留着，淡淡的；新的与它逐位相同
    assert again[0] == first[-1]


@pytest.mark.slow
def test_the_curve_is_the_engines(open_widgets, in_node):
    cfg = PPOConfig(**trainable(SHORT) | dict(total_timesteps=8 * 2048), num_seeds=1)
    page = open_widgets(TrainWidget(cfg))
    curve = train_to_the_end(page)[-1]
    heights = [float(point.split(" ")[1]) for point in curve[1:].split("L")]
    rows = in_node([create(cfg), *[call("update")] * 8])
    returns = [row["return"] for row in rows]
    bottom, top = 260 - 38, 26  # addAxes 的边距；0 分在底，500 分在顶
    expected = [bottom - x / 500 * (bottom - top) for x in returns]
    assert heights == pytest.approx(expected, abs=0.051)


@pytest.mark.slow
def test_pause_one_update_and_restart(open_widgets):
    page = open_widgets(TrainWidget(LONG))
    progress = page.locator(".how-far")
    press(page, "一次更新")
    page.wait_for_function(
        "() => document.querySelector('.how-far').textContent.startsWith('第 1 次')"
    )
    assert "停在第 1 次更新：到这里，最近的平均回报是 " in words(page)
    dots = page.get_by_label("回报随环境步数的变化").locator("circle")
    assert dots.count() == 3  # 两个种子和四分位均值：一个点的线看不见
    assert dots.last.bounding_box()["width"] >= 5
    assert page.get_by_label("熵随环境步数的变化").locator("circle").count() == 1
    assert "“一次更新”：收一批经验，学完就停" in page.locator(".buttons .help").inner_text()
    press(page, "继续")
    page.wait_for_function(
        "() => /^第 [2-9]/.test(document.querySelector('.how-far').textContent)"
    )
    press(page, "暂停")
    page.wait_for_timeout(500)
    stopped = progress.inner_text()
    page.wait_for_timeout(500)
    assert progress.inner_text() == stopped and "停在第" in words(page) and dots.count() == 0
    press(page, "重来")
    assert words(page) == "还没有训练。" and "2 个种子，每个" in progress.inner_text()


@pytest.mark.slow
def test_a_hopeless_setting_ends_in_an_explanation_and_the_page_lives_on(open_widgets):
    cfg = PPOConfig(
        **trainable(LONG) | dict(lr=10.0, max_grad_norm=1e30, optimizer="sgd"), num_seeds=2
    )
    page = open_widgets(TrainWidget(cfg))
    press(page, "训练")
    assert "参数已经发散" in wait_for_words(page, "常见的原因是 lr 太大")
    slider = page.get_by_role("slider", name="学习率 lr", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "0.0001"
    press(page, "训练")
    wait_for_words(page, "正在训练")
    page.wait_for_function(
        "() => /^第 [1-9]/.test(document.querySelector('.how-far').textContent)"
    )


@pytest.mark.slow
@pytest.mark.parametrize("low, high, flat", [(-99.3, -99.1, True), (-99, -60, False)])
def test_a_flat_value_plane_looks_flat(browser, low, high, flat):
    """最高和最低的一格，颜色差多少。"""
    page = browser.new_page()
    colors = page.evaluate(
        """async ([code, plane]) => {
          const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
          const canvas = Object.assign(document.createElement("canvas"), { width: 2, height: 1 });
          (await import(url)).paintPlane(canvas, plane);
          return [0, 1].map((x) => [...canvas.getContext("2d").getImageData(x, 0, 1, 1).data]);
        }""",
        [TrainWidget._esm, [[low, high]]],
    )
    page.close()
    apart = max(abs(a - b) for a, b in zip(*colors))
    assert apart < 20 if flat else apart > 100


@pytest.mark.slow
def test_the_critics_beta_1_is_linked_until_it_is_unlocked(open_widgets):
    page = open_widgets(TrainWidget(SHORT))
    critic = page.get_by_role("slider", name="Critic 的 β₁", exact=True)
    assert not critic.is_visible()
    page.get_by_label("Critic 另用一个 β₁").check()
    assert critic.get_attribute("aria-valuetext") == "0.9"
    critic.focus()
    page.keyboard.press("End")
    assert critic.get_attribute("aria-valuetext") == "0.999"
    beta_1 = page.get_by_role("slider", name="β₁", exact=True)
    assert beta_1.get_attribute("aria-valuetext") == "0.9"
    page.get_by_label("Critic 另用一个 β₁").uncheck()
    assert not critic.is_visible()


@pytest.mark.slow
def test_a_pinned_run_stays_beside_the_next_and_says_what_differs(open_widgets):
    page = open_widgets(TrainWidget(SHORT))
    first = train_to_the_end(page)
    press(page, "钉住这条")
    slider = page.get_by_role("slider", name="β₁", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    assert "β₁ = 0.9：" in page.locator(".runs li").inner_text()
    second = train_to_the_end(page)
    assert first[-1] in second and second[-1] != first[-1]
    press(page, "取下")
    assert page.locator(".runs li").count() == 0


@pytest.mark.slow
def test_sliders_take_effect_in_the_middle_and_static_ones_wait(open_widgets):
    page = open_widgets(TrainWidget(LONG))
    press(page, "训练")
    wait_for_words(page, "正在训练")
    page.get_by_role("slider", name="每批学几遍", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert "每批学几遍要按“重来”再训练才换上" in words(page)
    page.get_by_label("MountainCar").check()
    assert words(page) == "还没有训练。"
    assert page.get_by_role("img", name="Critic 的 V").is_visible()


@pytest.mark.slow
def test_a_result_says_which_settings_it_belongs_to(open_widgets):
    page = open_widgets(TrainWidget(SHORT))
    epochs = page.get_by_role("slider", name="每批学几遍", exact=True)
    train_to_the_end(page)
    assert "原来的设置" not in words(page) and "动过" not in words(page)
    epochs.focus()
    page.keyboard.press("ArrowRight")
    assert "滑块后来动过，要再训练" in words(page)
    train_to_the_end(page)
    assert "与这一页原来的设置不同的：每批学几遍 =" in words(page) and "动过" not in words(page)


@pytest.mark.slow
def test_a_slider_moved_on_the_way_is_told(open_widgets):
    page = open_widgets(TrainWidget(SHORT))
    press(page, "一次更新")
    wait_for_words(page, "停在第 1 次更新")
    page.get_by_role("slider", name="β₁", exact=True).focus()
    page.keyboard.press("Home")
    press(page, "继续")
    assert "训练的途中动过滑块，前后不是同一种设置" in wait_for_words(page, "训练完了")


@pytest.mark.slow
def test_fresh_seeds_give_another_curve_and_the_first_stays(open_widgets):
    page = open_widgets(TrainWidget(SHORT))
    first = train_to_the_end(page)
    press(page, "换种子")
    assert (
        words(page)
        == f"下一次训练用种子 {'、'.join(str(s + len(SHORT.seeds)) for s in SHORT.seeds)}。"
    )
    second = train_to_the_end(page)
    assert first[-1] in second and second[-1] != first[-1]


@pytest.mark.slow
def test_a_link_speaks_to_one_of_two_training_grounds(open_widgets):
    page = open_widgets(TrainWidget(SHORT), TrainWidget(PPOConfig(env_name="MountainCar-v0")))
    page.evaluate("() => (location.hash = '#train?home=CartPole-v1&lr=0.1')")
    page.wait_for_function(
        "() => document.querySelector('.sentence').textContent.includes('照链接里的')"
    )
    rates = page.get_by_role("slider", name="学习率 lr", exact=True)
    assert [rates.nth(i).get_attribute("aria-valuetext") for i in (0, 1)] == ["0.1", "0.004"]


HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.mark.slow
def test_a_hidden_tab_stops_training(open_widgets):
    page = open_widgets(TrainWidget(LONG))
    progress = page.locator(".how-far")
    press(page, "训练")
    page.wait_for_function(
        "() => /^第 [1-9]/.test(document.querySelector('.how-far').textContent)"
    )
    page.evaluate(HIDE, True)
    page.wait_for_timeout(500)
    stopped = progress.inner_text()
    page.wait_for_timeout(500)
    assert progress.inner_text() == stopped
    page.evaluate(HIDE, False)
    page.wait_for_function(
        "before => document.querySelector('.how-far').textContent !== before", arg=stopped
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 375])
def test_it_fits_a_phone_and_moves_little_when_asked(open_widgets, width):
    cfg = PPOConfig(**trainable(LONG) | dict(env_name="MountainCar-v0"), num_seeds=1)
    page = open_widgets(TrainWidget(cfg), width=width, reduced_motion="reduce")
    press(page, "训练")
    page.wait_for_function(
        "() => /^第 [1-9]/.test(document.querySelector('.how-far').textContent)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".plane").scroll_into_view_if_needed()  # 看不见的时候不演
    page.wait_for_function(
        "/[0-9][.][0-9] 到/.test(document.querySelector('.plane').textContent)"
    )
    moves = page.evaluate(
        """() => new Promise((resolve) => {
          const stage = document.querySelector(".stage svg");
          let moves = 0;
          new MutationObserver(() => moves++).observe(stage, { childList: true });
          setTimeout(() => resolve(moves), 2000);
        })"""
    )
    assert moves <= 5  # 每秒两次，不是三十次


@pytest.mark.slow
def test_a_browser_without_wasm_is_told_so_and_keeps_the_recorded_curves(open_widgets):
    without = """
      const RealBlob = Blob;
      window.Blob = class extends RealBlob {
        constructor(parts, options) { super(["globalThis.WebAssembly = undefined;", ...parts], options); }
      };
    """
    page = open_widgets(TrainWidget(SHORT), verified(), prepare=without)
    press(page, "训练")
    assert "不支持 WebAssembly" in wait_for_words(page, "没有训练成")
    assert "不支持 WebAssembly" in verify(page, "不能在网页里训练。")
    assert page.locator(".ppo-widget").nth(1).locator(".chart path").count() > 5


@pytest.mark.slow
def test_a_page_that_forbids_workers_is_told_so(open_widgets):
    forbid = "window.Worker = class { constructor() { throw new Error('refused'); } };"
    page = open_widgets(TrainWidget(SHORT), prepare=forbid)
    press(page, "训练")
    assert "开不了 Worker" in wait_for_words(page, "没有训练成")


# ---- 链接 -----------------------------------------------------------------------


def follow_link(page, link: str) -> None:
    """新打开一页，不是同一页里换 #。"""
    page.goto("about:blank")
    page.goto(link)
    page.locator(".ppo-widget .sentence").wait_for()


@pytest.mark.slow
def test_a_link_opens_to_the_same_settings_and_the_same_curve_bit_for_bit(open_widgets):
    cfg = PPOConfig(
        **trainable(SHORT) | dict(num_steps=64, hidden_sizes=(32,)), num_seeds=2, seed=7
    )
    page = open_widgets(TrainWidget(cfg))
    page.get_by_label("Critic 另用一个 β₁").check()
    page.get_by_role("slider", name="学习率 lr", exact=True).focus()
    page.keyboard.press("ArrowRight")
    first = train_to_the_end(page)
    press(page, "复制链接")
    wait_for_words(page, "复制")
    link = page.evaluate("location.href")
    assert "seeds=%5B7%2C8%5D" in link and "lr=0.004" in link and "num_steps=64" in link
    follow_link(page, link)
    assert words(page) == "设置和种子都照链接里的，按“训练”。"
    lr = page.get_by_role("slider", name="学习率 lr", exact=True)
    assert lr.get_attribute("aria-valuetext") == "0.004"
    assert page.get_by_label("Critic 另用一个 β₁").is_checked()
    assert train_to_the_end(page) == first


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken, told",
    [
        ("lr=fast", 'lr = "fast"'),
        ("env_name=Pong", 'env_name = "Pong"'),
        ("nothing=1", "nothing = 1"),
        ("critic_beta_1=x", "critic_beta_1"),
        ("seeds=[]", "seeds = []"),
        ("seeds=[-1]", "seeds = [-1]"),
    ],
)
def test_a_link_that_makes_no_sense_changes_nothing(open_widgets, broken, told):
    page = open_widgets(TrainWidget(SHORT))
    page.evaluate("hash => (location.hash = hash)", f"#train?{broken}")
    assert told in wait_for_words(page, "看不懂，用的是这一页原来的设置")
    lr = page.get_by_role("slider", name="学习率 lr", exact=True)
    assert lr.get_attribute("aria-valuetext") == "0.002"


@pytest.mark.slow
def test_a_link_with_a_forbidden_value_ends_in_an_explanation(open_widgets):
    page = open_widgets(TrainWidget(SHORT))
    page.evaluate("() => (location.hash = '#train?gamma=2')")
    wait_for_words(page, "照链接里的")
    press(page, "训练")
    assert "gamma = 2 不合法" in wait_for_words(page, "没有训练成")


# ---- 封面上小的一种 --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "width, cfg, learned, end",
    [(1100, COVER, 2, "它学会了"), (390, SHORT, 0, "它还没有学会")],
)
def test_the_compact_one_shows_the_agent_the_button_and_the_curve(
    open_widgets,
    width,
    cfg,
    learned,
    end,
):
    page = open_widgets(TrainWidget(cfg, compact=True), width=width)
    assert page.get_by_role("button").count() == 1  # 别的都折起来
    caption = page.locator(".help").first
    assert caption.inner_text() == "杆子要靠推小车才立得住；它现在还不会。"
    assert {"500", "475，算学会"} <= set(page.locator(".chart text").all_text_contents())
    assert not page.get_by_role("slider", name="学习率 lr", exact=True).is_visible()
    press(page, "训练")
    assert caption.inner_text() == "杆子要靠推小车才立得住；它正在学。"
    wait_for_words(page, f"2 次训练里有 {learned} 次学会了")
    page.wait_for_timeout(300)
    assert caption.inner_text() == f"杆子要靠推小车才立得住；{end}。" and len(lines(page)) == 4
    page.get_by_text("自己拨一拨").click()
    assert page.get_by_role("slider", name="学习率 lr", exact=True).is_visible()
    assert page.get_by_role("img", name="熵随环境步数的变化").locator("path").count() == 1
    page.get_by_label("MountainCar").check()
    assert "上得了山；它现在还不会" in caption.inner_text()
    assert "−130，算学会" in page.locator(".chart text").all_text_contents()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# ---- 引擎另存为一个文件 -----------------------------------------------------------


@pytest.mark.slow
def test_the_engine_is_fetched_once_and_only_when_it_is_needed(open_file, tmp_path):
    """做成书以后的样子，从磁盘打开：没有按就不取，两个小组件只取一次。"""
    (tmp_path / "_static").mkdir()
    html = static_page(TrainWidget(SHORT), verified())
    html = html.replace("<html ", '<html data-content_root="./" ', 1)
    html = set_engine_aside(html, tmp_path / "_static")
    assert len(html) < 150_000
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    page = open_file(path)
    asked = []
    page.on("request", lambda r: "_static/engine-" in r.url and asked.append(r.url))
    page.locator(".ppo-widget").nth(1).wait_for()
    page.wait_for_timeout(300)
    assert asked == []
    assert "种子 100 到 101" in verify(page)
    train_to_the_end(page)
    assert len(asked) == 1


@pytest.mark.slow
def test_a_missing_engine_is_told(browser, tmp_path):
    widget = TrainWidget(SHORT)
    widget.engine = "engine-00000000.js"
    path = tmp_path / "page.html"
    path.write_text(static_page(widget), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.locator(".ppo-widget").wait_for()
    press(page, "训练")
    assert "没有取到训练引擎" in wait_for_words(page, "没有训练成")
    page.close()


# ---- 途中 -----------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_serious_while_it_trains(open_widgets, axe_script):
    """训练途中，axe-core 挑不出严重的毛病：滑块、按钮、状态、图。"""
    page = open_widgets(TrainWidget(LONG), verified(total_timesteps=10_000_000))
    press(page, "训练")
    press(page, "用真的训练验证")
    page.wait_for_function("/^第 [1-9]/.test(document.querySelector('.how-far').textContent)")
    page.evaluate(axe_script)
    violations = page.evaluate("axe.run('.ppo-widget', {resultTypes: ['violations']})")
    serious = [v for v in violations["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == [], [(v["id"], v["nodes"][0]["html"]) for v in serious]
    assert "正在训练" in words(page)


@pytest.mark.slow
def test_training_without_a_finished_episode_says_so(open_widgets):
    """一个回合也没有走完：没有分数，不是 0 分。"""
    cfg = PPOConfig(env_name="Acrobot-v1", total_timesteps=2048, num_seeds=2)
    page = open_widgets(TrainWidget(cfg), explorer(live=train_live(cfg)))
    press(page, "训练")
    assert "还没有走完的回合" in wait_for_words(page, "训练完了")
    assert "一个回合也没有走完" in verify(page)


@pytest.mark.slow
def test_the_explorer_rests_while_the_tab_is_hidden(open_widgets):
    page = open_widgets(verified(total_timesteps=10_000_000))
    curve = page.locator(".chart path[stroke-dasharray]")
    press(page, "用真的训练验证")
    curve.last.wait_for(state="attached")
    page.evaluate(HIDE, True)
    page.wait_for_timeout(700)
    stopped = curve.last.get_attribute("d")
    page.wait_for_timeout(700)
    assert curve.last.get_attribute("d") == stopped
    page.evaluate(HIDE, False)
    page.wait_for_function(
        "d => [...document.querySelectorAll('.chart path[stroke-dasharray]')].at(-1).getAttribute('d') !== d",
        arg=stopped,
    )


# ---- 探索器：“用真的训练验证”，没有内核 -------------------------------------------


def verified(**changes) -> ReturnExplorer:
    """按下去训练三次更新，两个种子。"""
    short = dict(env_name="CartPole-v1", total_timesteps=3 * 2048, num_seeds=2)
    return explorer(live=train_live(PPOConfig(**short | changes)), start={"beta_1": 0.5})


def note(page) -> str:
    return page.locator(".live [role=status]").inner_text()


def verify(page, ends_with: str = "合在一起算") -> str:
    press(page, "用真的训练验证")
    page.wait_for_function(
        "text => document.querySelector('.live [role=status]').textContent.endsWith(text)",
        arg=ends_with,
        timeout=60_000,
    )
    return note(page)


@pytest.mark.slow
def test_the_explorer_trains_fresh_seeds_in_the_page_and_pools_them(open_widgets, in_node):
    page = open_widgets(verified())
    assert note(page) == "按一下，在选的这一点从头训练"
    first, second = verify(page), verify(page)
    assert "在 β₁ = 0.5，裁剪范围 ε = 0.1 网页里训练了" in first
    assert "种子 100 到 101，2 个种子最后" in first
    assert "种子 100 到 103，4 个种子最后" in second
    page.get_by_role("slider", name="β₁", exact=True).focus()
    page.keyboard.press("End")
    other = verify(page)
    assert "在 β₁ = 0.9" in other and "种子 100 到 101，2 个种子" in other

    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=3 * 2048, beta_1=0.5, clip_eps=0.1)
    runs = [in_node([create(cfg, seed), *[call("update")] * 3]) for seed in (100, 101)]
    last = sum(run[-1]["return"] for run in runs) / 2
    assert f"平均回报是 {last:.1f}" in first


@pytest.mark.slow
def test_the_explorer_explains_a_setting_that_blows_up_and_can_be_stopped(open_widgets):
    page = open_widgets(verified(lr=10.0, optimizer="sgd", max_grad_norm=1e30))
    told = verify(page, "lr 太大。")
    assert "没有训练完：种子 10" in told and "参数已经发散" in told
    assert page.get_by_role("button", name="用真的训练验证").is_enabled()
    page = open_widgets(verified(total_timesteps=10_000_000))
    press(page, "用真的训练验证")
    page.wait_for_function("document.querySelector('.live').textContent.includes('越画越长')")
    press(page, "停下")
    assert "没有训练完：中途停下了" in note(page)


@pytest.mark.slow
def test_with_a_kernel_the_reader_chooses_where_to_train(open_widgets):
    page = open_widgets(verified())
    assert not page.get_by_label("内核里").is_visible()
    sent = with_kernel(
        page,
        verified(),
        """
        listeners["msg:custom"].forEach((f) => f({ kind: "hello" }));
        el.querySelector(".live button").click();
        el.querySelector("input[value=page]").click();
        model.set("live_curve", {});
        el.querySelector(".live button").click();
        return sent.map((message) => message.kind);
        """,
    )
    assert sent == ["hello", "train"]
    there = page.locator("#kernel .live [role=status]")
    page.wait_for_function(
        "document.querySelector('#kernel .live').textContent.includes('网页里训练了')"
    )
    assert "种子 100 到 101" in there.inner_text()
