"""第 10 章的检查：六个挑战和三道练习，对的写法通过，错的写法得到说中原因的提示；统计与另写的一份一致。"""

import itertools

import numpy as np
import pytest
import xarray as xr

from ppo_lib.course import ch10
from ppo_lib.course.ch10 import (
    EXPERIMENTS,
    LIVE_SEED,
    BlindSearch,
    caption,
    check_beta_1_at_large_lr,
    check_clip_eps_compensates,
    check_explorer_data,
    check_honest_score,
    check_large_clip_eps,
    check_largest_beta_1,
    check_lr_rescues,
    check_main_effect,
    check_smallest_ent_coef,
    explorer,
    grid_bands,
    grid_config,
    grid_iqm,
    grid_scores,
    heat_map,
    noise_share,
    pick_and_retest,
    variance_shares,
)
from ppo_lib.plotting import new_figure, show
from ppo_lib.recorded import load_grid, load_runs, thin
from ppo_lib.statistics import bootstrap_band, iqm

NAMES = ("cartpole", "cartpole_lr", "mountain_car", "mountain_car_lr")


def right(verdict):
    assert verdict.passed, verdict


def wrong(verdict, hint):
    assert not verdict.passed and hint in verdict.message, verdict


# ---------------------------------------------------------------- 网格和统计


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_that_the_explorer_reads_out(name):
    """探索器：最后十分之一（两个半点）的平均，五个种子的四分位均值。"""
    grid = load_grid(name)
    points = grid["return"]
    last = (0.5 * points[..., 22] + points[..., 23] + points[..., 24]) / 2.5
    np.testing.assert_allclose(grid_scores(name), last, rtol=1e-5)
    middle = np.sort(last.values, axis=-1)[..., 1:-1].mean(axis=-1)
    np.testing.assert_allclose(grid_iqm(name), middle, rtol=1e-5)


def test_bands_of_all_cells_are_those_of_one_cell():
    scores = grid_scores("cartpole_lr")
    low, high = grid_bands(scores)
    one = dict(beta_1=0.9, lr=4e-3)
    assert low.dims == ("beta_1", "lr")
    np.testing.assert_allclose(
        [low.sel(one), high.sel(one)], bootstrap_band(scores.sel(one).values)
    )


@pytest.mark.parametrize("name", NAMES)
def test_explorer_starts_at_the_recorded_configuration_and_trains_new_seeds(name, monkeypatch):
    trained, first = [], []

    def record(cfg, first_seed):
        trained.append(cfg)
        first.append(first_seed)

    monkeypatch.setattr(ch10, "train_live", record)
    widget = explorer(name, beta_1=0.95)
    cfg = grid_config(name)
    assert first == [LIVE_SEED] and trained[0].num_seeds == 5
    checked = load_runs("ch10_fresh_seeds")["seed"]
    assert LIVE_SEED > max(checked.max(), load_grid(name)["seed"].max())
    assert trained[0].env_name == cfg.env_name
    assert widget.chosen["beta_1"] == 0.95
    for axis in set(widget.chosen) - {"beta_1"}:
        assert widget.chosen[axis] == getattr(cfg, axis)
        assert widget.chosen[axis] in load_grid(name)[axis].values
    assert widget.caption == caption(name) and cfg.env_name in widget.caption


def random_scores(shape=(3, 2, 4, 5)):
    values = np.random.default_rng(0).normal(size=shape)
    return xr.DataArray(values, dims=("a", "b", "c", "seed"))


def test_variance_shares_add_up_to_one_and_find_what_was_put_in():
    shares = variance_shares(random_scores())
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {
        *itertools.chain.from_iterable(itertools.combinations("abc", n) for n in (1, 2, 3)),
        ("seed",),
    }
    a, b = np.array([-1.0, 1.0]), np.array([-2.0, 2.0])
    scores = xr.DataArray(
        (a[:, None] + b + 3 * np.outer(np.sign(a), np.sign(b)))[..., None] + np.zeros(4),
        dims=("a", "b", "seed"),
    )
    shares = variance_shares(scores)
    expected = {("a",): 1 / 14, ("b",): 4 / 14, ("a", "b"): 9 / 14, ("seed",): 0}
    assert shares == pytest.approx(expected)


@pytest.mark.slow
def test_noise_alone_gives_the_share_that_noise_share_foretells():
    draws = [random_scores()] + [
        random_scores().copy(data=np.random.default_rng(i).normal(size=(3, 2, 4, 5)))
        for i in range(1, 60)
    ]
    for keys in (("a",), ("a", "c"), ("a", "b", "c")):
        seen = np.mean([variance_shares(x)[keys] for x in draws])
        foretold = np.mean([noise_share(x, keys) for x in draws])
        assert foretold == pytest.approx(seen, rel=0.25)


def test_choosing_among_noise_is_worth_nothing_on_other_seeds():
    scores = xr.DataArray(
        np.random.default_rng(1).normal(size=(2000, 5)), dims=("cell", "seed")
    )
    seen, retested = pick_and_retest(scores)
    assert seen > 1.5 and abs(retested) < 0.7
    same = xr.DataArray(np.repeat([[1.0], [3.0]], 5, axis=1), dims=("cell", "seed"))
    assert pick_and_retest(same) == (3, 3)


def test_ties_are_averaged():
    scores = xr.DataArray([[5.0, 5, 5, 0, 0], [5, 5, 5, 4, 4]], dims=("cell", "seed"))
    table, splits = scores.values, list(itertools.combinations(range(5), 3))
    expected = []
    for split in splits:
        means = table[:, list(split)].mean(1)
        rest = [i for i in range(5) if i not in split]
        expected.append(table[means == means.max()][:, rest].mean())
    assert pick_and_retest(scores)[1] == pytest.approx(np.mean(expected))


def test_a_heat_map_has_a_number_in_every_cell():
    fig, ax = new_figure()
    scores = grid_scores("cartpole_lr")
    heat_map(ax, scores, "cartpole", "题")
    assert len(ax.texts) == scores.size // 5 and len(ax.patches) == scores.size // 5
    low, high = grid_bands(scores)
    solid = [line for line in ax.lines if line.get_markerfacecolor() != "none"]
    assert len(solid) == int((low >= 475).sum()) < len(ax.lines) == int((high >= 475).sum())
    assert "<svg" in show(fig, "一张热图，5 个种子").svg


def test_the_best_cells_that_were_trained_again_are_the_best_cells():
    for name, beta_1 in (("β₁ 0.99 里最好的一格", 0.99), ("β₁ 0.999 里最好的一格", 0.999)):
        cell = EXPERIMENTS["fresh_seeds"].variants[name]
        row = grid_iqm("cartpole").sel(beta_1=beta_1)
        assert row.sel(clip_eps=cell["clip_eps"], ent_coef=cell["ent_coef"]) == row.max()


def test_blind_search_shows_one_new_seed_at_a_time_and_counts():
    game, cell = (
        BlindSearch("mountain_car", budget=3),
        dict(beta_1=0.9, clip_eps=0.2, ent_coef=0.03),
    )
    values = grid_scores("mountain_car").sel(cell).values
    first, second = game.probe(**cell), game.probe(**cell)
    order = game.order[tuple(cell.values())]
    np.testing.assert_allclose([first, second], values[order[:2]], atol=0.06)
    assert game.left == 1 and f"{values[order[2:]].mean():.0f}" in game.report(**cell)
    assert "你没有试过" in game.report(**cell | dict(beta_1=0.5))
    with pytest.raises(ValueError, match="没有录过"):
        game.probe(**cell | dict(beta_1=0.85))
    with pytest.raises(ValueError, match="要写全"):
        game.probe(beta_1=0.9)
    game.probe(**cell)
    with pytest.raises(ValueError, match="用完"):
        game.probe(**cell)


# ---------------------------------------------------------------- 六个挑战


@pytest.mark.parametrize("answer", [0.8, np.float64(0.8), np.float32(0.8)])
def test_challenge_1_right(answer):
    right(check_largest_beta_1(answer))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(0.5, "不是最大"), (0.9, "很近"), (0.95, "另外两个滑块"), (0.85, "没有录过"), (..., "换成你的答案")],
)  # fmt: skip
def test_challenge_1_wrong(answer, hint):
    wrong(check_largest_beta_1(answer), hint)


@pytest.mark.parametrize("answer", [{0.05, 0.1, 0.3}, [0.3, 0.1, 0.05]])
def test_challenge_2_right(answer):
    right(check_clip_eps_compensates(answer))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({0.05, 0.1}, "别停在第一处"),
        ({0.05, 0.1, 0.15, 0.3, 0.5}, "β₁ = 0.9 时"),
        ({0.05, 0.1, 0.2}, "没有过线"),
        ({0.3}, "还漏了 2 个"),
        (0.1, "集合"),
        ({0.4}, "没有录过"),
    ],
)
def test_challenge_2_wrong(answer, hint):
    wrong(check_clip_eps_compensates(answer), hint)


@pytest.mark.parametrize("answer", [0.008, 8e-3])
def test_challenge_3_right(answer):
    right(check_lr_rescues(answer))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(1.6e-2, "不是最小"), (4e-3, "β₁ 还停在 0.9"), (1e-3, "往另一头"), (3e-3, "没有录过")],
)
def test_challenge_3_wrong(answer, hint):
    wrong(check_lr_rescues(answer), hint)


@pytest.mark.parametrize("answer", [0.03, 3e-2])
def test_challenge_4_right(answer):
    right(check_smallest_ent_coef(answer))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(0.05, "不是最小"), (0.01, "过线的只有 3 个"), (0.08, "太大"), (0.02, "没有录过")],
)
def test_challenge_4_wrong(answer, hint):
    wrong(check_smallest_ent_coef(answer), hint)


@pytest.mark.parametrize("answer", [(0.3, 0.05), (np.float64(0.3), np.float64(0.05))])
def test_challenge_5_right(answer):
    right(check_large_clip_eps(*answer))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((0.2, 0.05), "还能更大"),
        ((0.5, 0.05), "没有过线"),
        ((0.3, 0.03), "第二问"),
        ((0.05, 0.3), "没有录过"),
        ((0.3, ...), "换成你的答案"),
    ],
)
def test_challenge_5_wrong(answer, hint):
    wrong(check_large_clip_eps(*answer), hint)


@pytest.mark.parametrize("answer", [{0.8, 0.9}, np.array([0.9, 0.8])])
def test_challenge_6_right(answer):
    right(check_beta_1_at_large_lr(answer))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({0.0, 0.2, 0.5}, "越小越稳"),
        ({0.8, 0.9, 0.95}, "没有过线"),
        ({0.9}, "还漏了 1 个"),
        ({0.5, 0.8, 0.9, 0.95}, "lr = 0.008"),
        ({0.2, 0.5, 0.8, 0.9, 0.95}, "lr = 0.004"),
        (0.9, "集合"),
    ],
)
def test_challenge_6_wrong(answer, hint):
    wrong(check_beta_1_at_large_lr(answer), hint)


# ---------------------------------------------------------------- 练习


def others(scores, key):
    return [dim for dim in scores.dims if dim != key]


@pytest.mark.parametrize(
    "answer",
    [
        lambda s, key: s.mean(others(s, key)) - s.mean(),
        lambda s, key: [float(s.sel({key: v}).mean() - s.mean()) for v in s[key]],
        lambda s, key: (s - s.mean()).groupby(key).mean(...).values,
    ],
)
def test_10_1_right(answer):
    right(check_main_effect(answer))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda s, key: s.mean(others(s, key)), "还没有减去总平均"),
        (lambda s, key: s.mean(key), "平均反了"),
        (lambda s, key: s.mean() - s.mean(others(s, key)), "符号反了"),
        (lambda s, key: s.mean("seed") - s.mean(), "只平均掉了种子"),
        (lambda s, key: s.isel(lr=0).mean("seed") - s.mean(), "第一个取值"),
        (lambda s, key: s.mean(others(s, key)) - s.mean(others(s, key))[0], "第一个取值"),
        (lambda s, key: s.mean(others(s, "beta_1")) - s.mean(), "写死"),
        (lambda s, key: s.mean(), "形状"),
        (lambda s, key: None, "没有返回值"),
        (lambda s, key: 2 * (s.mean(others(s, key)) - s.mean()), "应当得到"),
    ],
)
def test_10_1_wrong(answer, hint):
    wrong(check_main_effect(answer), hint)


def by_sorting(table, pick):
    ranked = sorted(table.tolist(), key=lambda row: sum(row[:pick]))
    return float(np.mean(ranked[-1][pick:]))


@pytest.mark.parametrize(
    "answer", [lambda t, p: t[t[:, :p].mean(1).argmax(), p:].mean(), by_sorting]
)
def test_10_2_right(answer):
    right(check_honest_score(answer))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda t, p: t[:, :p].mean(1).max(), "偏高"),
        (lambda t, p: t[:, p:].mean(1).max(), "又挑了一次"),
        (lambda t, p: t[t[:, :p].mean(1).argmax()].mean(), "同样的种子"),
        (lambda t, p: t[t[:, :p].mean(1).argmin(), p:].mean(), "最差"),
        (lambda t, p: t[:, :p].mean(1).argmax(), "编号"),
        (lambda t, p: t[t[:, :p].mean(1).argmax(), p:], "要一个数"),
        (lambda t, p: t[t[:, :3].mean(1).argmax(), 3:].mean(), "写死"),
        (lambda t, p: None, "没有返回值"),
        (lambda t, p: -1.0, "应当是"),
    ],
)
def test_10_2_wrong(answer, hint):
    wrong(check_honest_score(answer), hint)


def with_coarsen(ds, points):
    size = ds.sizes["update"] // points
    returns = ds["return"].coarsen(update=size).mean()
    steps = ds["timesteps"].values[size - 1 :: size]
    returns = returns.drop_vars("timesteps").rename(update="point")
    return xr.Dataset({"return": returns}, {"timesteps": ("point", steps)})


@pytest.mark.parametrize(
    "answer",
    [lambda ds, n: thin(ds["return"], n).to_dataset(name="return"), with_coarsen],
)
def test_10_3_right(answer):
    right(check_explorer_data(answer))


def skipna_off(ds, points):
    good = thin(ds["return"], points).to_dataset(name="return")
    size = ds.sizes["update"] // points
    bad = ds["return"].coarsen(update=size).reduce(np.mean).transpose("update", ...).values
    return good.assign({"return": good["return"].copy(data=bad)})


def every_third(ds, points):
    size = ds.sizes["update"] // points
    return ds[["return"]].isel(update=slice(size - 1, None, size)).rename(update="point")


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda ds, n: thin(ds["return"], n), "to_dataset"),
        (lambda ds, n: ds, "先用 thin"),
        (lambda ds, n: thin(ds["return"], 6).to_dataset(name="return"), "points = 4"),
        (lambda ds, n: thin(ds["return"], n).to_dataset(name="score"), "没有 return"),
        (lambda ds, n: thin(ds["return"], n).mean("seed").to_dataset(name="return"), "不收"),
        (skipna_off, "NaN"),
        (every_third, "它那一段"),
        (lambda ds, n: None, "没有返回值"),
        (lambda ds, n: ds["return"].values, "要返回"),
    ],
)
def test_10_3_wrong(answer, hint):
    wrong(check_explorer_data(answer), hint)


def test_iqm_of_five_drops_one_at_each_end():
    assert iqm([0, 1, 2, 3, 100]) == 2
