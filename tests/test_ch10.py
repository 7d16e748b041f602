"""第 10 章：统计与另写的一份一致，热图和探索器名副其实；十五次试探数得对。"""

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
from ppo_lib.recorded import load_grid, load_runs
from ppo_lib.statistics import bootstrap_band, iqm

NAMES = ("cartpole", "cartpole_lr", "mountain_car", "mountain_car_lr")

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


def test_iqm_of_five_drops_one_at_each_end():
    assert iqm([0, 1, 2, 3, 100]) == 2
