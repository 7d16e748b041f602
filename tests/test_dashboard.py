"""仪表盘：该有的格都有，次序不变，几次训练分得清，每个种子认得出。"""

import warnings
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from ppo_lib import PPOConfig, sweep, train
from ppo_lib.plotting import COLORS, dashboard, dashboard_alt, show
from ppo_lib.plotting.curves import LABELS, STEPS_LABEL
from ppo_lib.plotting.dashboard import (
    LABEL_GAP,
    MAX_POINTS,
    PANELS,
    spread,
    thin,
    wants_log_scale,
)

NAN = np.nan

# 五十次更新、很小的网络；一次更新 128 步，CartPole 总有回合走完。
TINY = dict(
    env_name="CartPole-v1",
    num_envs=8,
    num_steps=16,
    hidden_sizes=(8,),
    num_minibatches=2,
    update_epochs=1,
    total_timesteps=50 * 128,
    num_seeds=3,
)


def tiny(**changes):
    return train(PPOConfig(**TINY | changes), progress=False)


@pytest.fixture(scope="module")
def run():
    return tiny()


@pytest.fixture(scope="module")
def other():
    return tiny(beta_1=0.5)


@pytest.fixture(scope="module")
def eight():
    return tiny(num_seeds=8, seed=4)


@pytest.fixture(autouse=True)
def clean():
    """缺字、没有数的平均，matplotlib 和 NumPy 都只发警告；这里把警告当错误。画过的图都关掉。"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    plt.close("all")


def titles(fig):
    return [ax.get_title(loc="left") for ax in fig.axes]


def panel(fig, metric):
    return fig.axes[titles(fig).index(LABELS[metric])]


def drawn(ax):
    """一格里真正画出来的线。"""
    return [line for line in ax.lines if len(line.get_xdata())]


def legend_names(fig):
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


def words(ax):
    return [text.get_text() for text in ax.texts]


def assert_draws(fig, alt="仪表盘"):
    """画得出来（不缺字），得到的 SVG 读得懂；返回画好的图。"""
    picture = show(fig, alt)
    assert ElementTree.fromstring(picture.svg).attrib["aria-label"] == alt
    return picture


# ---------------------------------------------------------------- 有哪些格


@pytest.mark.slow
def test_panels_are_all_there_and_in_order(run):
    fig = dashboard(run)
    assert titles(fig) == [LABELS[metric] for metric in PANELS]
    assert PANELS[0] == "return" and PANELS[-1] == "learning_rate" and len(PANELS) == 13
    assert all(drawn(ax) and len(ax.collections) == 1 for ax in fig.axes)  # 一线一带
    assert_draws(fig)


@pytest.mark.slow
def test_every_metric_of_a_run_has_a_chinese_label(run):
    assert set(run.metrics.data_vars) <= set(LABELS)
    fig = dashboard(run, metrics=list(run.metrics.data_vars))
    assert len(fig.axes) == len(run.metrics.data_vars)
    assert_draws(fig)


@pytest.mark.slow
def test_a_metric_that_is_all_nan_is_left_out():
    sgd = tiny(optimizer="sgd")
    assert LABELS["nu_norm"] not in titles(dashboard(sgd))
    assert LABELS["mu_norm"] in titles(dashboard(sgd))


@pytest.mark.slow
def test_a_metric_that_only_one_run_has_is_drawn_for_that_run(run):
    without = run.metrics.assign(nu_norm=run.metrics["nu_norm"] * NAN)
    ax = panel(dashboard(without, run), "nu_norm")
    assert [to_hex(line.get_color()) for line in drawn(ax)] == [COLORS[1]]


def test_chosen_metrics_keep_their_order(run):
    chosen = ["entropy", "return"]
    assert titles(dashboard(run, metrics=chosen)) == [LABELS[m] for m in chosen]
    assert titles(dashboard(run, metrics="entropy")) == [LABELS["entropy"]]


def test_the_line_is_the_one_that_plot_metric_draws(run):
    from ppo_lib.plotting import plot_metric

    ax = plot_metric(run.metrics, "entropy", seeds=False)
    (line,), (same,) = drawn(ax), drawn(panel(dashboard(run), "entropy"))
    np.testing.assert_array_equal(line.get_xydata(), same.get_xydata())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_the_lowest_panel_of_each_column_names_the_steps(run, count):
    fig = dashboard(run, metrics=list(PANELS[:count]))
    named = [ax.get_xlabel() == STEPS_LABEL for ax in fig.axes]
    assert named == [i >= count - 3 for i in range(count)]


# ---------------------------------------------------------------- 比较


@pytest.mark.slow
def test_two_runs_share_the_axes_and_the_legend_names_the_key_that_differs(run, other):
    fig = dashboard(run, other)
    assert titles(fig) == [LABELS[metric] for metric in PANELS]
    assert legend_names(fig) == ["beta_1=0.9", "beta_1=0.5"]
    for ax in fig.axes:
        assert [to_hex(line.get_color()) for line in drawn(ax)] == COLORS[:2]
    assert "CartPole-v1，3 个种子" in fig.legends[0].get_title().get_text()
    assert_draws(fig)


def test_one_run_needs_no_legend(run):
    fig = dashboard(run)
    assert not fig.legends
    assert fig.get_suptitle().startswith("CartPole-v1，3 个种子：")


def test_several_keys_that_differ_are_all_named(run):
    fig = dashboard(run, tiny(beta_1=0.5, num_seeds=2))
    assert legend_names(fig) == ["beta_1=0.9，num_seeds=3", "beta_1=0.5，num_seeds=2"]
    assert "分别 3 个和 2 个种子" in fig.legends[0].get_title().get_text()


def test_given_labels_are_used_and_equal_runs_are_numbered(run):
    assert legend_names(dashboard(run, run, labels=["甲", "乙"])) == ["甲", "乙"]
    assert legend_names(dashboard(run, run)) == ["第 1 次", "第 2 次"]
    assert legend_names(dashboard(run, labels=["甲"])) == ["甲"]


def test_points_of_a_sweep_are_named_by_their_coordinates():
    ds = sweep(PPOConfig(**TINY), beta_1=[0.0, 0.9], progress=False)
    fig = dashboard(*(ds.sel(beta_1=beta) for beta in (0.0, 0.9)))
    assert legend_names(fig) == ["beta_1=0.0", "beta_1=0.9"]


def test_updates_without_timesteps_are_left_out(run):
    """网格的轴改变了更新次数时，短的在后面补 NaN。"""
    steps = run.metrics["timesteps"]
    short = run.metrics.assign_coords(timesteps=steps.where(steps["update"] <= 25))
    ax = panel(dashboard(run, short), "entropy")
    assert [len(line.get_xdata()) for line in drawn(ax)] == [50, 25]


# ---------------------------------------------------------------- 每个种子


@pytest.mark.slow
def test_seeds_labels_every_seed(eight):
    fig = dashboard(eight, seeds=True)
    for ax in fig.axes:
        assert sorted(words(ax), key=int) == [str(seed) for seed in range(4, 12)]
        pens = [(to_hex(line.get_color()), line.get_linestyle()) for line in drawn(ax)]
        assert len(set(pens)) == 8  # 颜色只有六种，第七条起换线型
        assert [colour for colour, _ in pens] == COLORS + COLORS[:2]
        assert not ax.collections
    assert_draws(fig)


def test_a_label_has_the_colour_of_its_seed(eight):
    ax = panel(dashboard(eight, seeds=True), "entropy")
    for text in ax.texts:
        assert to_hex(text.get_color()) == COLORS[(int(text.get_text()) - 4) % len(COLORS)]


def test_a_label_points_to_the_end_of_its_line(eight):
    ax = panel(dashboard(eight, seeds=True), "entropy")
    last = eight.metrics["entropy"].isel(update=-1)
    for text in ax.texts:
        np.testing.assert_allclose(text.xy[1], last.sel(seed=int(text.get_text())), rtol=1e-6)


@pytest.mark.slow
def test_labels_do_not_overlap(eight):
    fig = dashboard(eight, eight, labels=["甲", "乙"], seeds=True)
    for ax in fig.axes:
        places = [text.get_position() for text in ax.texts]
        assert len(places) == 16
        for column in {x for x, _ in places}:
            heights = sorted(y for x, y in places if x == column)
            assert min(np.diff(heights)) >= LABEL_GAP - 1e-9
            assert 0 <= heights[0] and heights[-1] <= 1
    assert_draws(fig)


def test_seeds_of_two_runs_keep_the_colour_of_their_run(run, other):
    ax = panel(dashboard(run, other, seeds=True), "entropy")
    colours = [to_hex(line.get_color()) for line in drawn(ax)]
    assert colours == [COLORS[0]] * 3 + [COLORS[1]] * 3


def test_a_seed_without_any_number_is_not_labelled(run):
    returns = run.metrics["return"].copy()
    returns[1] = NAN
    ax = panel(dashboard(run.metrics.assign({"return": returns}), seeds=True), "return")
    assert sorted(words(ax)) == ["0", "2"]


@pytest.mark.parametrize(
    "heights, expected",
    [
        ([0.2, 0.5, 0.9], [0.2, 0.5, 0.9]),  # 不挤就不动
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.5, 0.5, 0.5], [0.4, 0.5, 0.6]),
        ([-0.1, 0.0], [0.0, 0.1]),  # 不出格
        ([1.0, 1.0], [0.9, 1.0]),
        ([0.1, 0.5, 0.52], [0.1, 0.46, 0.56]),
    ],
)
def test_spread_by_hand(heights, expected):
    np.testing.assert_allclose(spread(heights, 0.1), expected, atol=1e-12)


# ---------------------------------------------------------------- 对数轴，很长的训练


def test_log_scale_for_nu_norm_and_wide_positive_ranges(run):
    fig = dashboard(run)
    assert panel(fig, "nu_norm").get_yscale() == "log"
    assert panel(fig, "learning_rate").get_yscale() == "linear"  # 退火到最后很小，仍画直线
    assert wants_log_scale("value_loss", np.geomspace(1, 1e4, 50))
    assert not wants_log_scale("value_loss", np.geomspace(1, 50, 50))
    assert not wants_log_scale("value_loss", np.append(np.geomspace(1, 1e4, 50), 0.0))
    assert not wants_log_scale("value_loss", -np.geomspace(1, 1e4, 50))


@pytest.mark.slow
def test_ticks_of_a_log_axis_are_short_and_few(run):
    """不到两个数量级写成 0.01、0.02、0.05，更宽写成 10 的幂；小刻度不写字。"""
    narrow = run.metrics["nu_norm"] * 0 + np.geomspace(0.004, 0.08, 50)
    for values, expected in [(narrow, {"0.01", "0.02"}), (narrow**4, {"10^{-8}", "10^{-6}"})]:
        ax = panel(dashboard(run.metrics.assign(nu_norm=values)), "nu_norm")
        ax.figure.canvas.draw()
        shown = " ".join(label.get_text() for label in ax.get_yticklabels())
        assert all(text in shown for text in expected), shown
        assert len(shown.split()) <= 8
        assert not any(label.get_text() for label in ax.get_yticklabels(minor=True))


@pytest.mark.slow
def test_a_long_run_is_averaged_over_neighbouring_updates(run):
    long = tiny(total_timesteps=128 * (2 * MAX_POINTS + 1), num_seeds=2)
    short = thin(long.metrics)
    assert short.sizes["update"] == -(-(2 * MAX_POINTS + 1) // 3)
    for name in ("entropy", "timesteps"):
        whole, means = long.metrics[name], short[name]
        np.testing.assert_allclose(means[..., 0], whole[..., :3].mean("update"), rtol=1e-6)
        np.testing.assert_allclose(means[..., -1], whole[..., 300:].mean("update"), rtol=1e-6)
    fig = dashboard(long)
    assert "3 次更新的平均" in fig.get_suptitle()
    assert_draws(fig)
    assert thin(run.metrics) is run.metrics


@pytest.mark.slow
def test_one_seed_and_one_update_draw():
    assert_draws(dashboard(tiny(num_seeds=1)))
    assert_draws(dashboard(tiny(num_seeds=1, total_timesteps=128), seeds=True))


# ---------------------------------------------------------------- 说明与报错


def test_alt_says_the_final_return_of_each_run(run, other):
    last = run.metrics["return"].isel(update=slice(-5, None)).mean("update")
    assert f"平均回报 {float(last.mean()):.4g}" in dashboard_alt(run)  # 三个种子，一个也不去掉
    said = dashboard_alt(run, other)
    assert "beta_1=0.9：平均回报" in said and "beta_1=0.5：平均回报" in said
    silent = run.metrics.assign({"return": run.metrics["return"] * NAN})
    assert "还没有走完的回合" in dashboard_alt(silent)


def test_no_run_is_an_error():
    with pytest.raises(ValueError, match="没有可画的训练"):
        dashboard()


def test_a_list_of_runs_is_an_error_that_says_how(run):
    with pytest.raises(ValueError, match="list 不是训练的结果.*逐个写出"):
        dashboard([run, run])


def test_an_unknown_metric_gets_the_nearest(run):
    with pytest.raises(ValueError, match="没有名为 'entrpy' 的指标。最接近的是 'entropy'"):
        dashboard(run, metrics=["return", "entrpy"])


def test_the_number_of_labels_must_match(run):
    with pytest.raises(ValueError, match="labels 有 1 个名字，训练却有 2 次"):
        dashboard(run, run, labels=["甲"])


def test_a_sweep_must_be_narrowed_to_one_point(run):
    grid = run.metrics.expand_dims(beta_1=[0.5, 0.9], ent_coef=[0.003])
    with pytest.raises(ValueError, match=r"\.sel\(beta_1=0\.5, ent_coef=0\.003\)"):
        dashboard(grid)


def test_a_single_seed_must_keep_its_dimension(run):
    with pytest.raises(ValueError, match=r"缺少 seed.*\.sel\(seed=\[0\]\)"):
        dashboard(run.metrics.sel(seed=0))
    assert_draws(dashboard(run.metrics.sel(seed=[0])))


@pytest.mark.slow
def test_only_nan_is_an_error():
    with pytest.raises(ValueError, match="nu_norm 在这些结果里没有一个数"):
        dashboard(tiny(optimizer="sgd"), metrics=["nu_norm"])


def test_a_failed_call_leaves_no_figure_open(run):
    for wrong in ({"metrics": ["x"]}, {"labels": ["甲", "乙"]}):
        with pytest.raises(ValueError):
            dashboard(run, **wrong)
    assert not plt.get_fignums()
