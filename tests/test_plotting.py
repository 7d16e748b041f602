"""画图：中文不缺字，明暗页面都看得清，图里的引用都对得上。"""

import re
import warnings

import numpy as np
import pytest
import xarray as xr

from ppo_lib import PPOConfig
from ppo_lib.plotting import LiveCurve, new_figure, plot_metric, plot_run_flow, show
from ppo_lib.plotting.curves import LABELS, forward_fill
from ppo_lib.plotting.style import INK
from ppo_lib.plotting.svg import relative, shorten

NAN = np.nan


def dataset(returns):
    returns = np.asarray(returns, float)
    update = np.arange(1, returns.shape[1] + 1)
    coords = {
        "seed": range(len(returns)),
        "update": update,
        "timesteps": ("update", 2048 * update),
    }
    return xr.Dataset({"return": (("seed", "update"), returns)}, coords)


@pytest.fixture
def no_warnings():
    """matplotlib 缺字时只发警告；这里把警告当错误。"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_every_label_has_its_glyphs(no_warnings):
    fig, ax = new_figure()
    ax.set_title(" ".join(LABELS.values()) + r" 中文与公式 $\beta_1$、$\varepsilon$ 同行")
    show(fig, "全部标签")


def test_a_missing_glyph_is_noticed(no_warnings):
    fig, ax = new_figure()
    ax.set_title("\U00020000")
    with pytest.raises(UserWarning, match="[Gg]lyph"):
        show(fig, "缺字")


def test_run_flow_names_existing_files(no_warnings):
    from pathlib import Path

    import ppo_lib
    from ppo_lib.plotting import flow

    show(plot_run_flow(), "流程")
    for *_, file in flow.OUTER + flow.INNER + flow.BELOW:
        assert (Path(ppo_lib.__file__).parent / file).exists(), file


def test_svg_follows_the_page_colour_and_speaks():
    svg = show(plot_run_flow(), "一次运行的流程 <甲 & 乙>").svg
    assert "currentColor" in svg and INK not in svg
    assert 'role="img" aria-label="一次运行的流程 &lt;甲 &amp; 乙&gt;"' in svg


def test_svg_references_resolve_and_do_not_collide():
    """缺了对应的 id，字就画不出来；两张图的 id 相撞，后一张就会画错。"""
    first, second = show(plot_run_flow(), "甲").svg, show(plot_run_flow(), "乙").svg
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    for svg, own in zip((first, second), ids):
        used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
        assert used and used <= own
    assert not ids[0] & ids[1]


def test_same_figure_gives_the_same_svg():
    assert show(plot_run_flow(), "甲").svg == show(plot_run_flow(), "甲").svg


def test_relative_path_by_hand():
    data = "M 10 20 \nL 12.5 20 \nQ 13 21 14.004 22 \nz\nM 1 1 \nL 0.999 1 \n"
    assert relative(data, 0.01, 0.01) == "M10 20l2.5 0q0.5 1 1.5 2zM1 1l0 0"
    assert relative("M 44 -83 \nC 52 -83 69 723 6400 0 \nz\n", 10, 1) == (
        "M4-8c1 0 3 80 636 8z"
    )
    with pytest.raises(ValueError, match="不认得的命令"):
        relative("M 0 0 A 1 1 0 0 0 1 1", 0.01, 0.01)


def ends(data: str) -> np.ndarray:
    """相对坐标的路径（只有 M 和 l）经过的各点。"""
    numbers = [float(x) for x in re.findall(r"-?[\d.]+", data)]
    return np.cumsum(np.reshape(numbers, (-1, 2)), axis=0)


def test_rounding_does_not_add_up_along_a_line():
    points = np.cumsum(np.full((1000, 2), 1 / 3), axis=0)
    data = "M " + " \nL ".join(f"{x:.6f} {y:.6f}" for x, y in points)
    np.testing.assert_allclose(ends(relative(data, 0.01, 0.01)), points, atol=0.0051)


def test_shortening_keeps_what_is_used():
    svg = (
        '<svg>\n <g id="unused">\n  <!-- 注释 -->\n  <path id="a" d="M 640 0 \nL 0 0 \n" '
        'transform="scale(0.015625)"/>\n <use xlink:href="#a" x="1.23456" y="-0.0001"/>\n'
        " <text>两  空</text></g>\n</svg>"
    )
    assert shorten(svg) == (
        '<svg><g><path id="a" d="M64 0l-64 0" transform="scale(0.15625)"/>'
        '<use xlink:href="#a" x="1.23" y="0"/><text>两  空</text></g></svg>'
    )


def test_a_figure_with_much_text_stays_light():
    assert len(show(plot_run_flow(), "流程").svg) < 70_000


def test_forward_fill_by_hand():
    filled = forward_fill(np.array([[NAN, 1, NAN, NAN, 2], [3, NAN, 4, NAN, NAN]]))
    np.testing.assert_array_equal(filled, [[NAN, 1, 1, 1, 2], [3, 3, 4, 4, 4]])


def test_curve_starts_when_every_seed_has_an_episode():
    ax = plot_metric(dataset([[NAN, 1, 2, NAN], [5, 5, 6, 7]]), draws=20)
    line = ax.lines[-1]  # 最后画的是四分位均值
    np.testing.assert_allclose(line.get_xdata(), np.array([2, 3, 4]) * 0.2048)
    np.testing.assert_allclose(line.get_ydata(), [3, 4, 4.5])
    assert len(ax.lines) == 3 and len(ax.collections) == 1  # 两个种子、一条均值，一条带


def test_curve_of_a_run_without_any_episode_is_empty_not_an_error():
    ax = plot_metric(dataset(np.full((2, 3), NAN)))
    assert all(len(line.get_xdata()) == 0 for line in ax.lines)


def test_live_curve_always_draws_the_last_frame(monkeypatch):
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=2048 * 4)
    live, frames = LiveCurve(cfg, seconds=1e9), []
    monkeypatch.setattr(live, "draw", lambda ds: frames.append(ds.sizes["update"]))
    monkeypatch.setattr(
        "IPython.display.display", lambda *args, **kwargs: type("H", (), {"update": print})()
    )
    live.last_drawn = float("inf")  # 好像刚刚画过
    for updates in (1, 2, 3, 4):
        live(dataset(np.ones((2, updates))))
    assert frames == [4]
