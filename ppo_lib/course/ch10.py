"""第 10 章的实验、统计、热图和检查。"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from omegaconf import OmegaConf

from ppo_lib.config import PPOConfig
from ppo_lib.course.experiment import Experiment
from ppo_lib.course.verdict import Mistake, checker
from ppo_lib.recorded import load_grid
from ppo_lib.statistics import bootstrap_band, final_scores, iqm
from ppo_lib.widgets.explorer import ReturnExplorer, check_dataset, train_live

# ---------------------------------------------------------------- 实验

NEW_SEED = 100
"""复查用的种子从这里起；网格用的是 0 到 4。"""
LIVE_SEED = 200
"""“用真的训练验证”的种子从这里起：复查已经用到 119。"""

EXPERIMENTS = {
    "fresh_seeds": Experiment(
        PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, seed=NEW_SEED, num_seeds=20),
        {
            "默认": dict(),
            "β₁ 0.95，ε 0.1": dict(beta_1=0.95, clip_eps=0.1),
            "β₁ 0.95，ε 0.2": dict(beta_1=0.95),
            "β₁ 0.95，ε 0.3": dict(beta_1=0.95, clip_eps=0.3),
            "β₁ 0.95，lr 0.008": dict(beta_1=0.95, lr=8e-3),
            "β₁ 0.99 里最好的一格": dict(beta_1=0.99, clip_eps=0.05, ent_coef=0.1),
            "β₁ 0.999 里最好的一格": dict(beta_1=0.999, clip_eps=0.2, ent_coef=0.01),
            "β₁ 0.999，lr 0.0005": dict(beta_1=0.999, lr=5e-4),
        },
        points=25,
    )
}
"""网格里惹眼的几格，换二十个没有用过的种子再训练一遍。"""


# ---------------------------------------------------------------- 网格

PASS = {"cartpole": 475, "mountain_car": -130}
"""过线的分数：任务 → 四分位均值至少要到多少。"""

TASKS = {"cartpole": "CartPole-v1", "mountain_car": "MountainCar-v0"}


def task_of(name: str) -> str:
    """网格的名字 → 任务：``"cartpole_lr"`` → ``"cartpole"``。"""
    return name.removesuffix("_lr")


@functools.cache
def grid_scores(name: str) -> xr.DataArray:
    """一个网格里每次训练的成绩，(各个轴, seed)：最后十分之一的点的平均，和探索器的算法相同。"""
    return final_scores(load_grid(name))


def grid_iqm(name: str) -> xr.DataArray:
    """每一格的四分位均值，(各个轴)。"""
    return grid_scores(name).reduce(iqm, "seed")


def grid_bands(scores: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """每一格的 95% 置信区间，两个 (各个轴)。scores 是 (各个轴, seed)。"""
    low, high = bootstrap_band(scores.transpose("seed", ...).values)
    cells = scores.isel(seed=0, drop=True)
    return cells.copy(data=low), cells.copy(data=high)


def caption(name: str) -> str:
    """一个网格的来历，写成一句话。"""
    grid = load_grid(name)
    trainings = grid["return"].size // grid.sizes["point"]
    steps = int(grid["timesteps"][-1]) / 1e4
    return (
        f"{TASKS[task_of(name)]}，{trainings} 次训练，每次约 {steps:.0f} 万步；{grid.attrs['date']} "
        f"录于 {grid.attrs['cores']} 核的 CPU，与别的活同时跑，共 {grid.attrs['seconds'] / 60:.1f} 分钟。"
    )


def grid_config(name: str) -> PPOConfig:
    """录一个网格时共同的配置。"""
    return PPOConfig(
        **OmegaConf.to_container(OmegaConf.create(load_grid(name).attrs["config"]))
    )


def explorer(name: str, **start: float) -> ReturnExplorer:
    """一个网格的探索器，滑块从默认的配置出发，start 另定几个。有内核时，按钮用没有用过的种子训练。"""
    grid, cfg = load_grid(name), grid_config(name)
    axes = grid["return"].dims[:-2]
    return ReturnExplorer(
        grid,
        axes=axes,
        start={axis: getattr(cfg, axis) for axis in axes} | start,
        live=train_live(cfg, LIVE_SEED),
        caption=caption(name),
    )


# ---------------------------------------------------------------- 统计


def variance_shares(scores: xr.DataArray) -> dict[tuple[str, ...], float]:
    """把全部成绩的方差拆成几份：各个键的主效应、两个以上的键的交互作用、同一格里种子之间的差别。

    格子齐全、每格种子一样多时，各份互不重叠，加起来正好是 1。

    Args:
        scores: (各个轴, seed)。

    Returns:
        ``{("beta_1",): 0.2, ("beta_1", "lr"): 0.1, …, ("seed",): 0.3}``
    """
    axes = [dim for dim in scores.dims if dim != "seed"]
    effects = {(): scores.mean()}
    for size in range(1, len(axes) + 1):
        for keys in itertools.combinations(axes, size):
            averages = scores.mean([dim for dim in scores.dims if dim not in keys])
            smaller = [effect for known, effect in effects.items() if set(known) < set(keys)]
            effects[keys] = averages - sum(smaller)
    effects["seed",] = scores - scores.mean("seed")
    del effects[()]
    total = float(scores.var())
    return {keys: float((effect**2).mean()) / total for keys, effect in effects.items()}


def noise_share(scores: xr.DataArray, keys: tuple[str, ...]) -> float:
    """这几个键其实毫无作用时，单凭种子的噪声，``variance_shares`` 里这一份平均也会有多大。

    假定各格的噪声一样大、互不相关。
    """
    within = variance_shares(scores)["seed",]
    cells = scores.size / scores.sizes["seed"]
    freedom = np.prod([scores.sizes[key] - 1 for key in keys])
    return float(within / (scores.sizes["seed"] - 1) * freedom / cells)


def pick_and_retest(scores: xr.DataArray, pick: int = 3) -> tuple[float, float]:
    """用 pick 个种子的平均挑出最好的一格，再看这一格在其余种子上的平均；所有分法求平均。

    几格并列最好时，取它们的平均。scores (各个轴, seed)。

    Returns:
        (挑的时候看到的成绩, 换了种子的成绩)
    """
    table = scores.transpose(..., "seed").values.reshape(-1, scores.sizes["seed"])
    seeds = range(table.shape[1])
    seen, retested = [], []
    for chosen in itertools.combinations(seeds, pick):
        rest = [seed for seed in seeds if seed not in chosen]
        averages = table[:, list(chosen)].mean(axis=1)
        best = averages == averages.max()
        seen.append(averages.max())
        retested.append(table[best][:, rest].mean())
    return float(np.mean(seen)), float(np.mean(retested))


def band_coverage(statistic=iqm, num_seeds: int = 5, trials: int = 500) -> float:
    """名为 95% 的自助法区间，实际盖住真值的比例。成绩取自标准正态分布，真值是 0。"""
    rng = np.random.default_rng(0)
    low, high = bootstrap_band(rng.normal(size=(num_seeds, trials)), statistic)
    return float(((low <= 0) & (0 <= high)).mean())


# ---------------------------------------------------------------- 预算


def search(table, cells: int, seeds: int, trials: int = 2000) -> tuple[float, float]:
    """随机搜索：随机取 cells 格，各看 seeds 个种子，挑平均最高的。重复许多次，求平均。

    Args:
        table: (格, 种子) 录下的成绩。

    Returns:
        (挑的时候看到的, 这一格在没有用过的种子上的)
    """
    return repeat_search(
        table, cells, lambda rows: (rows[:, :seeds].mean(axis=1).argmax(), seeds), trials
    )


def repeat_search(table, cells: int, choose: Callable, trials: int) -> tuple[float, float]:
    """随机取 cells 格，交给 choose(rows) → (第几格, 用了几个种子)，看挑中的那格。重复 trials 次，求平均。"""
    rng = np.random.default_rng(0)
    table, results = np.asarray(table), []
    for _ in range(trials):
        rows = table[rng.choice(len(table), cells, replace=False)]
        rows = rows[:, rng.permutation(table.shape[1])]
        best, used = choose(rows)
        results.append((rows[best, :used].mean(), rows[best, used:].mean()))
    return tuple(np.mean(results, axis=0))


class BlindSearch:
    """动手：一张网格，budget 次试探，每次只看到一个种子的成绩。

    >>> mine = BlindSearch("mountain_car")
    >>> mine.probe(beta_1=0.9, clip_eps=0.2, ent_coef=0.03)   # 一次试探
    >>> print(mine.report(beta_1=0.9, clip_eps=0.2, ent_coef=0.03))
    """

    def __init__(self, name: str = "mountain_car", budget: int = 15):
        self.name, self.budget = name, budget
        self.scores = grid_scores(name)
        self.seen: dict[tuple, list[float]] = {}  # 一格 → 看到的成绩，一个种子一个
        self.rng = np.random.default_rng(0)
        self.order: dict[tuple, np.ndarray] = {}  # 一格 → 种子出现的次序

    @property
    def left(self) -> int:
        """还剩几次。"""
        return self.budget - sum(map(len, self.seen.values()))

    def probe(self, **cell: float) -> float:
        """试一格，返回一个种子的成绩；同一格再试一次，是另一个种子。"""
        if self.left <= 0:
            raise ValueError(f"{self.budget} 次用完了；用 report 交出一格。")
        key = self._key(cell)
        found = self.seen.setdefault(key, [])
        if len(found) == self.scores.sizes["seed"]:
            raise ValueError("这一格的种子都看过了。")
        order = self.order.setdefault(key, self.rng.permutation(self.scores.sizes["seed"]))
        found.append(float(self.scores.sel(cell).values[order[len(found)]]))
        return round(found[-1], 1)

    def report(self, **cell: float) -> str:
        """交出一格：你看到的、没有给你看的种子、随机搜索的平均。"""
        key = self._key(cell)
        seen, used = self.seen.get(key, []), len(self.seen.get(key, []))
        values = self.scores.sel(cell).values
        rest = np.delete(values, self.order.get(key, np.arange(0))[:used])
        table = self.scores.transpose(..., "seed").values.reshape(-1, len(values))
        expected, later = search(table, self.budget, 1)
        told = (
            f"你看到的平均是 {np.mean(seen):.0f}（{used} 个种子）"
            if seen
            else "你没有试过这一格"
        )
        hidden = (
            f"没有给你看的 {len(rest)} 个种子：{rest.mean():.0f}"
            if len(rest)
            else "种子都看过了"
        )
        return (
            f"{told}；{hidden}。\n随机取 {self.budget} 格、每格一个种子去挑，"
            f"平均会看到 {expected:.0f}，换了种子是 {later:.0f}。"
        )

    def _key(self, cell: dict) -> tuple:
        axes = [dim for dim in self.scores.dims if dim != "seed"]
        if set(cell) != set(axes):
            raise ValueError(f"要写全：{'、'.join(axes)}。")
        for axis in axes:
            if cell[axis] not in self.scores[axis].values:
                values = "、".join(f"{v:g}" for v in self.scores[axis].values)
                raise ValueError(f"{axis} = {cell[axis]!r} 没有录过；有 {values}。")
        return tuple(cell[axis] for axis in axes)


# ---------------------------------------------------------------- 热图

SHORT = {"beta_1": "β₁", "clip_eps": "裁剪范围 ε", "ent_coef": "熵的系数", "lr": "学习率 lr"}
RANGE = {"cartpole": (0, 500), "mountain_car": (-200, -110)}
"""颜色的两端：任务 → (最差, 最好)。"""


def heat_map(ax: Axes, scores: xr.DataArray, task: str, title: str) -> None:
    """一张热图：scores 是 (y, x, seed)，格里的数是四分位均值。

    实心点：整个置信区间都过线；空心点：区间跨在线上，过没过线说不准；没有点：整个区间都没过线。
    """
    y, x = (dim for dim in scores.dims if dim != "seed")
    middle = scores.reduce(iqm, "seed")
    low, high = grid_bands(scores)
    colors, norm = mpl.colormaps["viridis"], mpl.colors.Normalize(*RANGE[task])
    for i, j in np.ndindex(middle.shape):
        value, level = float(middle[i, j]), norm(float(middle[i, j]))
        ink = "#000000" if level > 0.55 else "#ffffff"  # 压在颜色上的字，不随页面明暗变
        ax.add_patch(
            Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colors(level), edgecolor="none")
        )
        ax.text(j, i - 0.12, f"{value:.0f}", color=ink, ha="center", va="center", fontsize=7.5)
        if high[i, j] >= PASS[task]:
            sure = bool(low[i, j] >= PASS[task])
            ax.plot(
                j, i + 0.29, "o", markersize=4, markeredgecolor=ink,
                markerfacecolor=ink if sure else "none", markeredgewidth=0.8,
            )  # fmt: skip
    ax.set(xlim=(-0.5, middle.shape[1] - 0.5), ylim=(-0.5, middle.shape[0] - 0.5), title=title)
    ax.set_xticks(range(middle.shape[1]), [f"{v:g}" for v in middle[x].values], fontsize=8)
    ax.set_yticks(range(middle.shape[0]), [f"{v:g}" for v in middle[y].values], fontsize=8)
    ax.set(xlabel=SHORT[x], ylabel=SHORT[y])
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


# ---------------------------------------------------------------- 六个挑战


def recorded_value(name: str, axis: str, value) -> float:
    """value 是不是这个轴上录下的值；不是就说有哪些。"""
    values = [float(v) for v in load_grid(name)[axis].values]
    near = [v for v in values if np.isclose(v, float(value), rtol=1e-6)]
    if not near:
        raise Mistake(
            f"{axis} = {value!r} 没有录过；滑块上的值是 {'、'.join(f'{v:g}' for v in values)}。"
        )
    return near[0]


def recorded_set(name: str, axis: str, values) -> set[float]:
    """一组录下的值；只给一个数时请读者写成集合。"""
    if isinstance(values, (int, float)):
        raise Mistake("可能不止一个，请写成集合，例如 {0.1, 0.2}。")
    return {recorded_value(name, axis, value) for value in values}


def score_at(name: str, **cell) -> float:
    """网格上一格的四分位均值。"""
    return float(grid_iqm(name).sel(cell))


def passing(name: str, axis: str, **cell) -> list[float]:
    """别的键固定在 cell，这个轴上有哪些值过线，从小到大。"""
    line = grid_iqm(name).sel(cell)
    return [float(v) for v in line[axis].values[line.values >= PASS[task_of(name)]]]


USUAL = dict(clip_eps=0.2, ent_coef=0.003)


@checker
def check_largest_beta_1(beta_1) -> str:
    """挑战一：CartPole，只动 beta_1，过 475 的最大的值。"""
    beta_1 = recorded_value("cartpole", "beta_1", beta_1)
    answer = max(passing("cartpole", "beta_1", **USUAL))
    score = score_at("cartpole", beta_1=beta_1, **USUAL)
    if beta_1 == answer:
        return f"β₁ = {answer:g} 的四分位均值是 {score:.1f}，再往上一格就没有过线。"
    if beta_1 < answer:
        raise Mistake(f"它过了线（{score:.1f}），但不是最大的：再往右拨一格看看。")
    if score > 450:
        raise Mistake(
            f"很近，但四分位均值是 {score:.1f}，没有到 475。你看的可能是最高的那几条细线，或者曲线中途的最高点；"
            "读数用的是最后十分之一。"
        )
    raise Mistake(
        f"这里的四分位均值只有 {score:.1f}。若你看到的不是这个数，检查另外两个滑块：ε = 0.2，熵的系数 = 0.003。"
    )


@checker
def check_clip_eps_compensates(values) -> str:
    """挑战二：CartPole，beta_1 = 0.95，只动 clip_eps，过 475 的所有值。"""
    values = recorded_set("cartpole", "clip_eps", values)
    answer = set(passing("cartpole", "clip_eps", beta_1=0.95, ent_coef=0.003))
    if values == answer:
        return "一共三个。其中一个和另外两个不挨着：信不信它，下一节换种子再看。"
    if values == set(passing("cartpole", "clip_eps", beta_1=0.9, ent_coef=0.003)):
        raise Mistake("这是 β₁ = 0.9 时的答案；先把 β₁ 拨到 0.95。")
    extra, missing = values - answer, answer - values
    if extra:
        one = min(extra)
        score = score_at("cartpole", beta_1=0.95, clip_eps=one, ent_coef=0.003)
        raise Mistake(
            f"ε = {one:g} 的四分位均值是 {score:.1f}，没有过线。熵的系数还在 0.003 吗？"
        )
    if missing == {0.3}:
        raise Mistake(
            "还漏了一个：它不在你找到的那一段里。把滑块从头到尾拨一遍，别停在第一处。"
        )
    raise Mistake(f"还漏了 {len(missing)} 个。把六个值都看一遍。")


@checker
def check_lr_rescues(lr) -> str:
    """挑战三：CartPole，beta_1 = 0.95，只动 lr，过 475 的最小的值。"""
    lr = recorded_value("cartpole_lr", "lr", lr)
    answer = min(passing("cartpole_lr", "lr", beta_1=0.95))
    score = score_at("cartpole_lr", beta_1=0.95, lr=lr)
    if lr == answer:
        return f"四分位均值 {score:.1f}。默认的 0.004 不够，要加大一倍，而不是减小。"
    if lr > answer:
        raise Mistake(f"它过了线（{score:.1f}），但不是最小的。")
    if lr == 4e-3:
        raise Mistake(f"β₁ = 0.95 时这里只有 {score:.1f}。若你看到的接近 475，β₁ 还停在 0.9。")
    raise Mistake(
        f"这里只有 {score:.1f}。“动量大了就该减小学习率”在这张图上行不通，往另一头试。"
    )


@checker
def check_smallest_ent_coef(ent_coef) -> str:
    """挑战四：MountainCar，只动 ent_coef，过 -130 的最小的值。"""
    ent_coef = recorded_value("mountain_car", "ent_coef", ent_coef)
    cell = dict(beta_1=0.9, clip_eps=0.2)
    passed = passing("mountain_car", "ent_coef", **cell)
    score = score_at("mountain_car", ent_coef=ent_coef, **cell)
    if ent_coef == min(passed):
        return f"四分位均值 {score:.1f}。再小一格，五个种子里就有学不会的。"
    if ent_coef in passed:
        raise Mistake(f"它过了线（{score:.1f}），但不是最小的。")
    if ent_coef < min(passed):
        values = grid_scores("mountain_car").sel(ent_coef=ent_coef, **cell).values
        raise Mistake(
            f"四分位均值是 {score:.1f}，没有到 -130：五个种子里过线的只有 {int((values >= -130).sum())} 个。"
            "有几条细线学会了，不等于四分位均值过线。"
        )
    raise Mistake(f"太大了：四分位均值 {score:.1f}。熵的系数两头都有坏处，答案在中间。")


@checker
def check_large_clip_eps(clip_eps, ent_coef) -> str:
    """挑战五：MountainCar，beta_1 = 0.9、ent_coef = 0.03 时过线的最大 clip_eps；clip_eps = 0.5 时能过线的 ent_coef。"""
    clip_eps = recorded_value("mountain_car", "clip_eps", clip_eps)
    ent_coef = recorded_value("mountain_car", "ent_coef", ent_coef)
    largest = max(passing("mountain_car", "clip_eps", beta_1=0.9, ent_coef=0.03))
    rescue = passing("mountain_car", "ent_coef", beta_1=0.9, clip_eps=0.5)
    if clip_eps < largest:
        raise Mistake(f"第一问：ε = {clip_eps:g} 过了线，但还能更大。")
    if clip_eps > largest:
        score = score_at("mountain_car", beta_1=0.9, clip_eps=clip_eps, ent_coef=0.03)
        raise Mistake(
            f"第一问：ε = {clip_eps:g}、熵的系数 0.03 时是 {score:.1f}，没有过线。熵的系数放在 0.03 了吗？"
        )
    if ent_coef not in rescue:
        score = score_at("mountain_car", beta_1=0.9, clip_eps=0.5, ent_coef=ent_coef)
        raise Mistake(
            f"第二问：ε = 0.5、熵的系数 {ent_coef:g} 时是 {score:.1f}。先把 ε 放到 0.5，再从左到右拨熵的系数。"
        )
    return f"ε 到 {largest:g} 为止；到了 0.5，要把熵的系数加到 {rescue[0]:g} 才救得回来。"


@checker
def check_beta_1_at_large_lr(values) -> str:
    """挑战六：MountainCar，lr = 0.016 时哪些 beta_1 过 -130。"""
    values = recorded_set("mountain_car_lr", "beta_1", values)
    answer = set(passing("mountain_car_lr", "beta_1", lr=1.6e-2))
    if values == answer:
        return "只有中间这两个。太小和太大都不行。"
    if values == set(passing("mountain_car_lr", "beta_1", lr=8e-3)):
        raise Mistake("这是 lr = 0.008 时的答案；再往右一格。")
    if values == set(passing("mountain_car_lr", "beta_1", lr=4e-3)):
        raise Mistake("这是 lr = 0.004（默认值）时的答案；先把 lr 拨到 0.016。")
    extra, missing = values - answer, answer - values
    if any(v <= 0.5 for v in extra):
        one = max(v for v in extra if v <= 0.5)
        score = score_at("mountain_car_lr", beta_1=one, lr=1.6e-2)
        raise Mistake(f"β₁ = {one:g} 时是 {score:.1f}。“β₁ 越小越稳”在这里不成立，一个一个看。")
    if extra:
        one = min(extra)
        raise Mistake(
            f"β₁ = {one:g} 时是 {score_at('mountain_car_lr', beta_1=one, lr=1.6e-2):.1f}，没有过线。"
        )
    raise Mistake(f"还漏了 {len(missing)} 个。")


# ---------------------------------------------------------------- 练习


def _tiny_grid() -> xr.DataArray:
    """练习 10.1 和 10.2 用的小网格：(beta_1 3, lr 2, seed 4)。"""
    values = np.array(
        [
            [[10.0, 12, 14, 30], [20, 22, 24, 60]],
            [[15.0, 19, 11, 13], [70, 66, 74, 2]],
            [[4.0, 2, 3, 1], [5, 9, 6, 8]],
        ]
    )
    return xr.DataArray(
        values,
        dims=("beta_1", "lr", "seed"),
        coords={"beta_1": [0.0, 0.9, 0.99], "lr": [0.004, 0.008], "seed": [0, 1, 2, 3]},
    )


@checker
def check_main_effect(main_effect) -> str:
    """练习 10.1：``main_effect(scores, key)`` → 主效应，(key,)。"""
    scores = _tiny_grid()
    answer = main_effect(scores.copy(), "beta_1")
    if answer is None:
        raise Mistake("你的函数没有返回值。最后用 return 交出结果。")
    result = np.asarray(answer, float)
    averages = scores.mean(["lr", "seed"])
    expected = (averages - scores.mean()).values
    if result.shape == expected.shape and np.allclose(result, expected):
        other = np.asarray(main_effect(scores.copy(), "lr"), float)
        if other.shape != (2,) or not np.allclose(
            other, (scores.mean(["beta_1", "seed"]) - scores.mean()).values
        ):
            raise Mistake('key = "beta_1" 时对，key = "lr" 时不对：别把轴的名字写死。')
        return "每个取值比总平均高多少，加起来是 0。"
    known_wrong = [
        (averages.values, "还没有减去总平均：主效应要的是比平均高多少。"),
        (scores.mean("beta_1").values, "平均反了：你把 beta_1 平均掉了。要留下它，平均掉别的。"),
        ((scores.mean() - averages).values, "符号反了：比总平均高的，主效应是正的。"),
        ((scores.mean("seed") - scores.mean()).values, "只平均掉了种子，还要平均掉别的键。"),
        ((scores.isel(lr=0).mean("seed") - scores.mean()).values, "你只看了别的键的第一个取值；主效应要对它的所有取值求平均。"),
        ((averages - averages[0]).values, "你减的是第一个取值；要减总平均。"),
    ]  # fmt: skip
    for wrong, hint in known_wrong:
        if result.shape == wrong.shape and np.allclose(result, wrong):
            raise Mistake(hint)
    if result.shape != expected.shape:
        raise Mistake(f"形状应当是 ({len(expected)},)，一个取值一个数；你的是 {result.shape}。")
    raise Mistake(f"beta_1 的三个取值应当得到 {np.round(expected, 2)}，你的是 {result}。")


@checker
def check_honest_score(honest_score) -> str:
    """练习 10.2：``honest_score(table, pick)``，table (cell, seed)：按前 pick 个种子挑，报其余种子的平均。"""
    table = _tiny_grid().stack(cell=("beta_1", "lr")).transpose("cell", "seed").values
    answer = honest_score(table.copy(), 3)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    result = np.asarray(answer, float)
    if result.shape != ():
        raise Mistake(f"要一个数：挑中的那一格在其余种子上的平均；你的形状是 {result.shape}。")
    best = table[:, :3].mean(1).argmax()
    known_wrong = [
        (table[:, :3].mean(1).max(), "这是挑的时候看到的成绩，正是偏高的那个；要报的是其余种子上的。"),
        (table[:, 3:].mean(1).max(), "你在其余的种子上又挑了一次最好的；格子要由前 pick 个种子定下。"),
        (table[table.mean(1).argmax()].mean(), "挑和报用了同样的种子。"),
        (table[best].mean(), "报的时候把挑选用过的种子也平均进去了。"),
        (table[table.mean(1).argmax(), 3:].mean(), "挑的时候用了全部种子，其余的种子就不算没见过了。"),
        (table[table[:, :3].mean(1).argmin(), 3:].mean(), "你挑了最差的一格：回报越大越好。"),
        (float(best), "这是格子的编号；要的是它的成绩。"),
    ]  # fmt: skip
    if np.isclose(result, table[best, 3:].mean()):
        if not np.isclose(float(honest_score(table.copy(), 2)), table[table[:, :2].mean(1).argmax(), 2:].mean()):  # fmt: skip
            raise Mistake("pick = 3 时对，pick = 2 时不对：别把种子的个数写死。")
        return "三个种子上最好的一格，在第四个种子上只有 2 分：看到的 70 分靠不住。"
    for wrong, hint in known_wrong:
        if np.isclose(result, wrong):
            raise Mistake(hint)
    raise Mistake(f"应当是 {table[best, 3:].mean():g}，你的是 {float(result):g}。")


@checker
def check_explorer_data(prepare) -> str:
    """练习 10.3：``prepare(ds, points)``：把 ``sweep`` 的结果变成 ReturnExplorer 收的样子。"""
    updates = 12
    values = np.arange(2 * 3 * 2 * updates, dtype=float).reshape(2, 3, 2, updates)
    values[0, 0, 0, 0] = np.nan
    ds = xr.Dataset(
        {
            "return": (("beta_1", "lr", "seed", "update"), values),
            "entropy": (("beta_1", "lr", "seed", "update"), values * 0),
        },
        coords={
            "beta_1": [0.0, 0.9],
            "lr": [0.002, 0.004, 0.008],
            "seed": [0, 1],
            "timesteps": ("update", 2048 * np.arange(1, updates + 1)),
        },
    )
    answer = prepare(ds.copy(deep=True), 4)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    if isinstance(answer, xr.DataArray):
        raise Mistake(
            "你返回的是 DataArray；探索器要 Dataset，里面有名为 return 的变量：用 .to_dataset(name=…)。"
        )
    if not isinstance(answer, xr.Dataset):
        raise Mistake(f"要返回 xarray.Dataset，你的是 {type(answer).__name__}。")
    if "return" in answer and "update" in answer["return"].dims:
        raise Mistake("return 还有 update 这一维：先用 thin 缩成 point。")
    try:
        returns = check_dataset(answer, ("beta_1", "lr"))
    except ValueError as error:
        raise Mistake(f"探索器不收：{error}") from None
    if returns.sizes["point"] != 4:
        raise Mistake(f"应当缩成 points = 4 个点，你的是 {returns.sizes['point']} 个。")
    expected = np.nanmean(values.reshape(2, 3, 2, 4, 3), axis=-1)
    if not np.allclose(returns.values, expected):
        if np.isnan(returns.values).any():
            raise Mistake(
                "有 NaN 漏了进来：没有回合走完的更新要跳过，不能让它把一整段都变成 NaN。"
            )
        raise Mistake("数不对：每个点应当是它那一段更新里回报的平均。")
    if answer["timesteps"].values.tolist() != [6144, 12288, 18432, 24576]:
        raise Mistake("timesteps 应当是每一段最后一次更新的步数。")
    return "探索器收下了。"
