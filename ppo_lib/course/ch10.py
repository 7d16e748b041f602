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
from scipy.special import comb

from ppo_lib.config import PPOConfig
from ppo_lib.course.exercises import (
    AnswerExercise,
    Choice,
    FunctionExercise,
    Mistake,
    Subset,
    judged,
)
from ppo_lib.course.experiment import Experiment
from ppo_lib.recorded import load_grid, thin
from ppo_lib.statistics import bootstrap_band, final_scores, iqm
from ppo_lib.widgets.explorer import ReturnExplorer, train_live
from ppo_lib.widgets.explorer import check_dataset as accept
from ppo_lib.widgets.lab import Board, HeatMap, Hunt, Prediction, RandomSearch, SearchGame

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
    ),
    "cliff": Experiment(
        PPOConfig(
            env_name="CartPole-v1",
            total_timesteps=200_000,
            seed=NEW_SEED,
            num_seeds=5,
            update_epochs=8,
        ),
        {f"β₁ {beta_1:g}": dict(beta_1=beta_1) for beta_1 in (0.9, 0.95, 0.99, 0.999)},
        points=20,
    ),
}
"""fresh_seeds：网格里惹眼的几格，换二十个网格没有用过的种子再训练一遍。cliff：一次更新走 32 步时，β₁ 的悬崖在哪里。"""


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


def random_search(table, budget: int) -> RandomSearch:
    """闭着眼睛的人：从全部（格，种子）里随机看 budget 个，不重复，交出看到的最高的一格。精确地算，不抽样。

    每一对被看到的机会相同，所以最高的一个不超过 x 的概率，只要数有几对不超过 x；几对并列时，机会均分。
    “没看过的”是那一格其余种子的平均。

    Args:
        table: (格, 种子) 录下的成绩。
    """
    table = np.asarray(table, float)
    seen = table.ravel()
    hidden = ((table.sum(axis=1, keepdims=True) - table) / (table.shape[1] - 1)).ravel()
    ordered = np.sort(seen)
    below, upto = (np.searchsorted(ordered, seen, side) for side in ("left", "right"))
    ways = comb(upto, budget) - comb(below, budget)  # 最高的恰好是这个成绩的取法
    chance = ways / comb(seen.size, budget) / (upto - below)
    order = np.argsort(hidden)
    places = np.searchsorted(np.cumsum(chance[order]), (np.arange(100) + 0.5) / 100)
    return RandomSearch(
        float(chance @ seen), float(chance @ hidden), hidden[order][places].round(2).tolist()
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


# ---------------------------------------------------------------- 半小时的游戏

USUAL = dict(clip_eps=0.2, ent_coef=0.003)
MIDDLE = dict(beta_1=0.9, ent_coef=0.03)  # 挑战五的第一问


def board(name: str, label: str, grid: str | None = None, **cell: float) -> Board:
    """一张网格；cell 里的键固定住。"""
    runs = load_grid(grid or name).sel(cell, drop=True)
    task = task_of(grid or name)
    return Board(name, label, runs, *RANGE[task], PASS[task])


def hunt(board: Board, tolerance: float) -> Hunt:
    """把一张网格变成可以找的。"""
    scores = final_scores(board.runs)
    table = scores.transpose(..., "seed").values.reshape(-1, scores.sizes["seed"])
    return Hunt(board, scores, random_search(table, BUDGET), tolerance)


BUDGET = 15
"""试探几次。"""


@functools.cache
def hunts() -> tuple[Hunt, ...]:
    """十五次试探的两张网格：大而有平地的，小而全是噪声的。"""
    return (
        hunt(board("mountain_car", "MountainCar，288 格"), 5),
        hunt(board("noisy", "CartPole，β₁ = 0.999，36 格", "cartpole", beta_1=0.999), 30),
    )


def search_game(guess_id: str) -> SearchGame:
    """第二关的小组件。guess_id 是总分的编号，写在页面里，收进度的程序从那里读到它。"""
    return SearchGame(guess_id, hunts(), total=TOTAL, budget=BUDGET)


LUCKY = dict(beta_1=0.95, clip_eps=0.3, ent_coef=0.003)
"""CartPole 的网格里孤零零过了线的一格，和它旁边的一格。"""
BESIDE = dict(beta_1=0.95, clip_eps=0.2, ent_coef=0.003)
TIED = dict(beta_1=0.0, lr=8e-3), dict(beta_1=0.95, lr=8e-3)
"""最后的成绩都是满分的两格。"""


def heat_map_game() -> HeatMap:
    """第三关的小组件：四张网格。"""
    usual = dict(beta_1=0.9, clip_eps=0.2, ent_coef=0.03)
    return HeatMap(
        [
            board("cartpole", "CartPole：β₁、ε、熵"),
            board("cartpole_lr", "CartPole：β₁、lr"),
            board("mountain_car", "MountainCar：β₁、ε、熵"),
            board("mountain_car_lr", "MountainCar：β₁、lr"),
        ],
        {
            "cartpole": (LUCKY, BESIDE),
            "cartpole_lr": TIED,
            "mountain_car": (usual, usual | dict(clip_eps=0.5)),
            "mountain_car_lr": (dict(beta_1=0.9, lr=8e-3), dict(beta_1=0.0, lr=8e-3)),
        },
        {"cartpole": "ent_coef", "mountain_car": "beta_1"},
    )


PREDICTIONS = {
    "一": ("CartPole，ε 0.2，熵的系数 0.003。哪些 β₁ 过 475？", "cartpole", dict(USUAL)),
    "二": ("CartPole，β₁ 0.95，熵的系数 0.003。哪些 ε 过 475？", "cartpole", dict(beta_1=0.95, ent_coef=0.003)),
    "三": ("CartPole，β₁ 0.95，ε 0.2。哪些 lr 过 475？", "cartpole_lr", dict(beta_1=0.95)),
    "四": ("MountainCar，β₁ 0.9，ε 0.2。哪些熵的系数过 -130？", "mountain_car", dict(beta_1=0.9, clip_eps=0.2)),
    "五": ("MountainCar，β₁ 0.9，熵的系数 0.03。哪些 ε 过 -130？", "mountain_car", dict(MIDDLE)),
    "六": ("MountainCar，lr 0.016，是默认的四倍。哪些 β₁ 过 -130？", "mountain_car_lr", dict(lr=1.6e-2)),
}  # fmt: skip
"""六个预测：题目、网格、固定的键；剩下的那个键就是要猜的。"""

NUM_HUNTS = 2
"""试探游戏有几张网格，见 ``hunts``。"""

TOTAL = NUM_HUNTS + sum(grid_iqm(grid).sel(cell).size for _, grid, cell in PREDICTIONS.values())
"""总分：试探的网格一张一分，预测里一个取值一分。"""


def prediction(guess_id: str, which: str) -> Prediction:
    """第几个预测的小组件。"""
    text, grid, cell = PREDICTIONS[which]
    task = task_of(grid)
    low, high = RANGE[task]
    return Prediction(
        guess_id, which, text, grid_scores(grid).sel(cell), line=PASS[task], low=low, high=high, total=TOTAL
    )  # fmt: skip


# ---------------------------------------------------------------- 六个挑战


def line(name: str, axis: str, **cell: float) -> dict[float, float]:
    """别的键固定在 cell：这个轴上的取值 → 四分位均值，从小到大。"""
    scores = grid_iqm(name).sel(cell)
    return dict(zip(scores[axis].values.tolist(), scores.values.tolist()))


def passing(name: str, axis: str, **cell: float) -> list[float]:
    """别的键固定在 cell：这个轴上有哪些值过线，从小到大。"""
    return [x for x, score in line(name, axis, **cell).items() if score >= PASS[task_of(name)]]


def one_value(
    name: str, axis: str, answer: float, hint: Callable[[float, float], str], **cell: float
) -> Choice:
    """填这个轴上的一个取值；别的取值，提示是 hint(取值, 四分位均值)。"""
    scores = line(name, axis, **cell)
    wrong = {x: hint(x, score) for x, score in scores.items() if x != answer}
    return Choice(answer, list(scores), wrong)


LARGEST = max(passing("cartpole", "beta_1", **USUAL))


def hint_largest_beta_1(beta_1: float, score: float) -> str:
    """挑战一：过了线的、差一点的、差得远的。"""
    if score >= PASS["cartpole"]:
        return f"它过了线（{score:.1f}），但不是最大的：再往右拨一格看看。"
    if score > PASS["cartpole"] - 25:
        return f"很近，但四分位均值是 {score:.1f}，没有到 475。你看的可能是最高的那几条细线，或者曲线中途的最高点；读数用的是最后十分之一。"
    return f"这里的四分位均值只有 {score:.1f}。若你看到的不是这个数，检查另外两个滑块：ε = 0.2，熵的系数 = 0.003。"


check_largest_beta_1 = AnswerExercise(
    "挑战一：CartPole，只动 beta_1，过 475 的最大的值",
    {"beta_1": one_value("cartpole", "beta_1", LARGEST, hint_largest_beta_1, **USUAL)},
    praise=f"β₁ = {LARGEST:g} 的四分位均值是 {line('cartpole', 'beta_1', **USUAL)[LARGEST]:.1f}，再往上都没有过线。",
)


def isolated(options: list[float], some: list[float]) -> set[float]:
    """some 里左右两格都不在 some 里的。"""
    chosen = [False, *(x in some for x in options), False]
    return {x for i, x in enumerate(options, 1) if chosen[i] and not chosen[i - 1] and not chosen[i + 1]}  # fmt: skip


RESCUING = passing("cartpole", "clip_eps", beta_1=0.95, ent_coef=0.003)
BY_CLIP_EPS = line("cartpole", "clip_eps", beta_1=0.95, ent_coef=0.003)

check_clip_eps_compensates = AnswerExercise(
    "挑战二：CartPole，beta_1 = 0.95，只动 clip_eps，过 475 的所有值",
    {
        "clip_eps": Subset(
            RESCUING,
            options=list(BY_CLIP_EPS),
            wrong={
                frozenset(passing("cartpole", "clip_eps", beta_1=0.9, ent_coef=0.003)): "这是 β₁ = 0.9 时的答案；先把 β₁ 拨到 0.95。",
                frozenset({*RESCUING} - isolated([*BY_CLIP_EPS], RESCUING)): "还漏了一个：它不在你找到的那一段里。把滑块从头到尾拨一遍，别停在第一处。",
            },
            extra={
                x: f"ε = {x:g} 的四分位均值是 {score:.1f}，没有过线。熵的系数还在 0.003 吗？"
                for x, score in BY_CLIP_EPS.items()
                if x not in RESCUING
            },
            hint="还漏了 {missing} 个。把每个值都看一遍。",
        )
    },
    praise=f"一共 {len(RESCUING)} 个。有一个与别的不挨着：信不信它，后面换种子再看。",
)  # fmt: skip


def hint_lr(lr: float, score: float) -> str:
    """挑战三：过了线的，默认的学习率，更小的。"""
    if score >= PASS["cartpole"]:
        return f"它过了线（{score:.1f}），但不是最小的。"
    if lr == grid_config("cartpole_lr").lr:
        other = line("cartpole_lr", "lr", beta_1=0.9)[lr]
        return f"β₁ = 0.95 时这里只有 {score:.1f}。若你看到的是 {other:.1f}，β₁ 还停在 0.9。"
    return f"这里只有 {score:.1f}。“动量大了就该减小学习率”在这张图上行不通，往另一头试。"


SMALLEST_LR = min(passing("cartpole_lr", "lr", beta_1=0.95))

check_lr_rescues = AnswerExercise(
    "挑战三：CartPole，beta_1 = 0.95，只动 lr，过 475 的最小的值",
    {"lr": one_value("cartpole_lr", "lr", SMALLEST_LR, hint_lr, beta_1=0.95)},
    praise=f"四分位均值 {line('cartpole_lr', 'lr', beta_1=0.95)[SMALLEST_LR]:.1f}。默认的 0.004 不够，要加大到 {SMALLEST_LR:g}，而不是减小。",
)

SMALLEST_ENT_COEF = min(passing("mountain_car", "ent_coef", beta_1=0.9, clip_eps=0.2))


def hint_ent_coef(ent_coef: float, score: float) -> str:
    """挑战四：过了线的，太小的，太大的。"""
    if score >= PASS["mountain_car"]:
        return f"它过了线（{score:.1f}），但不是最小的。"
    if ent_coef > SMALLEST_ENT_COEF:
        return f"太大了：四分位均值 {score:.1f}。熵的系数两头都有坏处，答案在中间。"
    seeds = grid_scores("mountain_car").sel(beta_1=0.9, clip_eps=0.2, ent_coef=ent_coef)
    passed = int((seeds >= PASS["mountain_car"]).sum())
    few = "有几条细线学会了，不等于四分位均值过线。" if passed else "往右拨。"
    return f"四分位均值是 {score:.1f}，没有到 -130：五个种子里过线的有 {passed} 个。{few}"


check_smallest_ent_coef = AnswerExercise(
    "挑战四：MountainCar，只动 ent_coef，过 -130 的最小的值",
    {"ent_coef": one_value("mountain_car", "ent_coef", SMALLEST_ENT_COEF, hint_ent_coef, beta_1=0.9, clip_eps=0.2)},
    praise=f"四分位均值 {line('mountain_car', 'ent_coef', beta_1=0.9, clip_eps=0.2)[SMALLEST_ENT_COEF]:.1f}。再小一格，五个种子里就有学不会的。",
)  # fmt: skip

LARGEST_CLIP_EPS = max(passing("mountain_car", "clip_eps", **MIDDLE))
RESCUING_ENT_COEF = passing("mountain_car", "ent_coef", beta_1=0.9, clip_eps=0.5)[0]


def hint_large_clip_eps(clip_eps: float, score: float) -> str:
    """挑战五的第一问。"""
    if score >= PASS["mountain_car"]:
        return f"ε = {clip_eps:g} 过了线（{score:.1f}），但还能更大。"
    return f"ε = {clip_eps:g}、熵的系数 0.03 时是 {score:.1f}，没有过线。若你看到的不是这个数，检查另外两个滑块：β₁ = 0.9，熵的系数 = 0.03。"


def hint_rescuing_ent_coef(ent_coef: float, score: float) -> str:
    """挑战五的第二问。"""
    return f"ε = 0.5、熵的系数 {ent_coef:g} 时是 {score:.1f}。先把 ε 放到 0.5，再从左到右拨熵的系数。"


check_large_clip_eps = AnswerExercise(
    "挑战五：MountainCar，大的 clip_eps 在哪里坏事，ent_coef 取多少救得回来",
    {
        "第一问，clip_eps": one_value("mountain_car", "clip_eps", LARGEST_CLIP_EPS, hint_large_clip_eps, **MIDDLE),
        "第二问，ent_coef": one_value("mountain_car", "ent_coef", RESCUING_ENT_COEF, hint_rescuing_ent_coef, beta_1=0.9, clip_eps=0.5),
    },
    praise=f"ε 到 {LARGEST_CLIP_EPS:g} 为止；到了 0.5，要把熵的系数加到 {RESCUING_ENT_COEF:g} 才救得回来。",
)  # fmt: skip

BY_BETA_1 = line("mountain_car_lr", "beta_1", lr=0.016)
STEADY = passing("mountain_car_lr", "beta_1", lr=0.016)

check_beta_1_at_large_lr = AnswerExercise(
    "挑战六：MountainCar，lr = 0.016 时过 -130 的所有 beta_1",
    {
        "beta_1": Subset(
            STEADY,
            options=list(BY_BETA_1),
            wrong={
                frozenset(passing("mountain_car_lr", "beta_1", lr=0.008)): "这是 lr = 0.008 时的答案；再往右一格。",
                frozenset(passing("mountain_car_lr", "beta_1", lr=0.004)): "这是 lr = 0.004（默认值）时的答案；先把 lr 拨到 0.016。",
            },
            extra={
                x: f"β₁ = {x:g} 时是 {BY_BETA_1[x]:.1f}。“β₁ 越小越稳”在这里不成立，一个一个看。"
                for x in sorted(BY_BETA_1, reverse=True)
                if x < min(STEADY)
            }
            | {
                x: f"β₁ = {x:g} 时是 {score:.1f}，没有过线。"
                for x, score in BY_BETA_1.items()
                if x > min(STEADY) and x not in STEADY
            },
            hint="还漏了 {missing} 个。",
        )
    },
    praise="只有中间的这几个。太小和太大都不行。",
)  # fmt: skip


# ---------------------------------------------------------------- 练习


def main_effect(scores, key):
    """key 的主效应，(key,)：每个取值的平均比总平均高多少。scores (各个轴, seed)。"""
    others = [dim for dim in scores.dims if dim != key]
    return scores.mean(others) - scores.mean()


AXES = {"beta_1": [0.0, 0.9, 0.99], "lr": [0.004, 0.008], "clip_eps": [0.1, 0.3]}


def score_table(rng, *dims: str) -> xr.DataArray:
    """随机的成绩，各维照 dims 的次序，每格两个种子。"""
    coords = {dim: AXES.get(dim, [0, 1]) for dim in dims}
    values = rng.normal(300, 100, [len(x) for x in coords.values()]).round()
    return xr.DataArray(values, coords, dims)


def main_effect_inputs(rng):
    """轴的个数、名字、次序都换，种子不总在最后。"""
    yield score_table(rng, "lr", "seed"), "lr"
    yield score_table(rng, "beta_1", "lr", "seed"), "beta_1"
    yield score_table(rng, "beta_1", "lr", "seed"), "lr"
    yield score_table(rng, "seed", "clip_eps", "beta_1"), "beta_1"
    for key in ("clip_eps", "lr"):
        yield score_table(rng, "lr", "beta_1", "clip_eps", "seed"), key


def at_first_values(scores, key):
    """别的键只看第一个取值，(key,)。"""
    return scores.isel({x: 0 for x in scores.dims if x not in (key, "seed")}).mean("seed")


check_main_effect = FunctionExercise(
    "练习 10.1：写出主效应",
    main_effect,
    main_effect_inputs,
    {
        "还没有减去总平均：主效应要的是比平均高多少。": lambda s, key: main_effect(s, key) + s.mean(),
        "平均反了：你把 key 这一维平均掉了。要留下它，平均掉别的。": lambda s, key: s.mean(key) - s.mean(),
        "平均反了，也没有减去总平均：要留下 key 这一维，平均掉别的。": lambda s, key: s.mean(key),
        "符号反了：比总平均高的，主效应是正的。": lambda s, key: -main_effect(s, key),
        "只平均掉了种子，还要平均掉别的键。": lambda s, key: s.mean("seed") - s.mean(),
        "种子留下了：除了 key，种子也要平均掉。": lambda s, key: s.mean([x for x in s.dims if x not in (key, "seed")]) - s.mean(),
        "一维也没有平均掉：先对 key 以外的各维求平均，再减总平均。": lambda s, key: s - s.mean(),
        "你只看了别的键的第一个取值；主效应要对它的所有取值求平均。": lambda s, key: at_first_values(s, key) - s.mean(),
        "你减的是第一个取值的平均；要减总平均。": lambda s, key: main_effect(s, key) - main_effect(s, key)[0],
        "你减的是最差的取值的平均；要减总平均。": lambda s, key: main_effect(s, key) - main_effect(s, key).min(),
        "你求了和；种子和别的键要平均掉，不是加起来。": lambda s, key: s.sum([x for x in s.dims if x != key]) - s.sum(),
        "你取了最大值；种子和别的键要平均掉。": lambda s, key: s.max([x for x in s.dims if x != key]) - s.mean(),
        "key 写死成 beta_1 了：要用传进来的 key。": lambda s, key: main_effect(s, "beta_1"),
        "key 写死成 lr 了：要用传进来的 key。": lambda s, key: main_effect(s, "lr"),
        "平均掉的轴写死了：scores 不总有 lr 这个轴，key 也可能就是它。由 scores.dims 和 key 算出要平均掉哪些。": lambda s, key: s.mean(["lr", "seed"]) - s.mean(),
        "平均掉的轴按位置写死了：key 不总是第一维。由 scores.dims 和 key 算出要平均掉哪些。": lambda s, key: s.mean(s.dims[1:]) - s.mean(),
        "你除以了总平均；主效应是差：要减去总平均。": lambda s, key: main_effect(s, key) / s.mean() + 1,
        "你减的是总的中位数；要减总平均。": lambda s, key: main_effect(s, key) + s.mean() - s.median(),
        "这是最高与最低的取值差多少，一个数；要每个取值一个数：比总平均高多少。": lambda s, key: main_effect(s, key).max() - main_effect(s, key).min(),
        "前一项求了和；种子和别的键要平均掉，再减总平均。": lambda s, key: s.sum([x for x in s.dims if x != key]) - s.mean(),
        "这是相邻两个取值之差；要每个取值比总平均高多少。": lambda s, key: main_effect(s, key).diff(key),
        "你用的是中位数；两处都要用平均。": lambda s, key: s.median([x for x in s.dims if x != key]) - s.median(),
        "多除了标准差：主效应就是高出多少分。": lambda s, key: main_effect(s, key) / s.std(),
        "你减的是最后一个取值的平均；要减总平均。": lambda s, key: main_effect(s, key) - main_effect(s, key)[-1],
    },
    praise="每个取值比总平均高多少，加起来是 0。",
    returns="key 的每个取值一个数",
)  # fmt: skip


def honest_score(table, pick):
    """前 pick 个种子的平均最高的一格，在其余种子上的平均。table (cell, seed)。"""
    best = table[:, :pick].mean(axis=1).argmax()
    return table[best, pick:].mean()


def honest_inputs(rng):
    """前三个种子平均最高的、单个最高的、第一个最高的……各是一格；再换格数、种子数、pick，没有并列。"""
    first = [[20, 90, 22], [60, 62, 64], [75, 30, 31], [10, 28, 80], [50, 51, 52], [5, 9, 6]]
    last = [40, 2, 30, 50, 85, 99]
    yield np.column_stack([first, last]).astype(float), 3
    for cells, seeds, pick in ((3, 4, 1), (4, 5, 2), (4, 5, 3), (4, 6, 3), (3, 10, 5)):
        yield rng.normal(300, 80, (cells, seeds)).round(1), pick
    for _ in range(4):
        yield rng.normal(-160, 20, (4, 5)).round(1), 3


def picked(table, pick):
    """按前 pick 个种子挑中的那一格，(seed,)。"""
    return table[table[:, :pick].mean(1).argmax()]


check_honest_score = FunctionExercise(
    "练习 10.2：用前几个种子挑，用其余的种子报",
    honest_score,
    honest_inputs,
    {
        "这是挑的时候看到的成绩，正是偏高的那个；要报的是其余种子上的。": lambda t, pick: t[:, :pick].mean(1).max(),
        "你在其余的种子上又挑了一次最好的；格子要由前 pick 个种子定下。": lambda t, pick: t[:, pick:].mean(1).max(),
        "挑和报用了同样的种子：挑只用前 pick 个，报只用其余的。": lambda t, pick: t.mean(1).max(),
        "报的时候把挑选用过的种子也平均进去了。": lambda t, pick: picked(t, pick).mean(),
        "挑的时候用了全部种子，其余的种子就不算没见过了。": lambda t, pick: t[t.mean(1).argmax(), pick:].mean(),
        "你挑了最差的一格：成绩越大越好。": lambda t, pick: picked(-t, pick)[pick:].mean() * -1,
        "这是格子的编号；要的是它的成绩。": lambda t, pick: t[:, :pick].mean(1).argmax(),
        "挑和报的种子对调了：用前 pick 个挑，用其余的报。": lambda t, pick: t[t[:, pick:].mean(1).argmax(), :pick].mean(),
        "你用末尾的 pick 个种子挑了；要用最前的 pick 个。": lambda t, pick: picked(t[:, ::-1], pick)[pick:].mean(),
        "你按单独一个种子的最高分挑了；要按前 pick 个种子的平均挑。": lambda t, pick: t[t[:, :pick].max(1).argmax(), pick:].mean(),
        "挑的时候只看了第一个种子；要看前 pick 个的平均。": lambda t, pick: t[t[:, 0].argmax(), pick:].mean(),
        "挑的时候只看了第 pick 个种子；要看前 pick 个的平均。": lambda t, pick: t[t[:, pick - 1].argmax(), pick:].mean(),
        "其余的种子你只报了第一个；要报它们的平均。": lambda t, pick: picked(t, pick)[pick],
        "其余的种子你只报了最后一个；要报它们的平均。": lambda t, pick: picked(t, pick)[-1],
        "报的时候少了一个种子：其余的种子从下标 pick 开始。": lambda t, pick: picked(t, pick)[pick + 1 :].mean() if pick + 1 < t.shape[1] else np.nan,
        "挑的时候多看了一个种子：前 pick 个是 [:, :pick]。": lambda t, pick: picked(t, pick + 1)[pick:].mean(),
        "两个轴弄反了：table 的一行是一格，一列是一个种子。": lambda t, pick: honest_score(t.T, pick),
        "挑的时候 mean(axis=0) 沿格子求了平均，argmax 给出的是种子的编号。一格一个平均，要沿种子求：axis=1。": lambda t, pick: t[t[:, :pick].mean(0).argmax(), pick:].mean(),
        "挑的时候 mean() 没有写轴，只得到一个数，argmax 就总是 0。一格一个平均：axis=1。": lambda t, pick: t[0, pick:].mean(),
        "这是全部格子在其余种子上的平均；只要挑中的那一格的。": lambda t, pick: t[:, pick:].mean(),
        "你报了其余种子里最好的一个；要报它们的平均。": lambda t, pick: picked(t, pick)[pick:].max(),
        "格子挑对了；再把其余的种子平均成一个数。": lambda t, pick: picked(t, pick)[pick:],
        "挑的时候只看了下标是 pick 的那一个种子，它本该用来报；要看前 pick 个的平均。": lambda t, pick: t[t[:, pick].argmax(), pick:].mean(),
        "挑的时候用的是中位数；要按前 pick 个种子的平均挑。": lambda t, pick: t[np.median(t[:, :pick], 1).argmax(), pick:].mean(),
        "其余的种子你求了和；要平均。": lambda t, pick: picked(t, pick)[pick:].sum(),
        "这是看到的与报的之差，即赢家的诅咒有多大；要报的是其余种子上的平均。": lambda t, pick: picked(t, pick)[:pick].mean() - honest_score(t, pick),
    },
    praise="挑和报用了不同的种子。有一张表，挑中的那格在前三个种子上平均 62，在第四个上只有 2：看到的 62 靠不住。",
    returns="一个数，挑中的那一格在其余种子上的平均",
)  # fmt: skip


def sweep_result(axes: dict[str, list], updates: int) -> xr.Dataset:
    """``sweep`` 会给出的样子：两个种子，两个指标；有一次更新没有回合走完。"""
    coords = axes | {"seed": [0, 1], "update": np.arange(updates)}
    shape = [len(x) for x in coords.values()]
    # 有升有降：一段里最大的不总是最后的
    values = np.arange(np.prod(shape)).reshape(shape) ** 1.5 % 97
    values.flat[0] = np.nan
    steps = ("update", 2048 * np.arange(1, updates + 1))
    return xr.Dataset(
        {"return": (list(coords), values), "entropy": (list(coords), 0 * values)},
        axes | {"seed": [0, 1], "timesteps": steps},
    )


def segments(ds: xr.Dataset, points: int) -> xr.DataArray:
    """回报分成 points 段，一段里的更新排在 within 这一维：(…, point, within)。"""
    size = ds.sizes["update"] // points
    return ds["return"].coarsen(update=size).construct(update=("point", "within"))


OTHER_POINTS = {
    "每个点你取的是那一段的第一次更新；要那一段的平均。": lambda ds, n: segments(ds, n).isel(within=0),
    "每个点你取的是那一段的最后一次更新；要那一段的平均。": lambda ds, n: segments(ds, n).isel(within=-1),
    "你取的是最前的几次更新；要把全部更新分成 points 段，各段求平均。": lambda ds, n: ds["return"].isel(update=slice(n)).rename(update="point"),
    "你取的是最后的几次更新；要把全部更新分成 points 段，各段求平均。": lambda ds, n: ds["return"].isel(update=slice(-n, None)).rename(update="point"),
    "每个点你取的是那一段里最大的；要平均。": lambda ds, n: segments(ds, n).max("within"),
    "每个点你取的是那一段的中位数；要平均。": lambda ds, n: segments(ds, n).median("within"),
    "每个点你取的是那一段的和；要平均。": lambda ds, n: segments(ds, n).sum("within"),
    "你把 NaN 当作 0 平均进去了：没有回合走完的更新要跳过。": lambda ds, n: segments(ds, n).fillna(0).mean("within"),
    "有 NaN 漏了进来：没有回合走完的更新要跳过，不能让它把一整段都变成 NaN。": lambda ds, n: segments(ds, n).mean("within", skipna=False),
    "你缩的是 entropy；要缩的是 return。": lambda ds, n: thin(ds["entropy"], n),
}  # fmt: skip
"""练习 10.3 里写错的缩法：提示 → 缩出的回报。"""


@judged
def check_explorer_data(prepare) -> str:
    """练习 10.3：把 ``sweep`` 的结果变成 ReturnExplorer 收的样子。

    结果是 Dataset，各维次序随意，收不收由探索器自己的检查说了算，所以判法写成函数。
    """
    two = {"beta_1": [0.0, 0.9], "lr": [0.002, 0.004, 0.008]}
    for axes, updates, points in ((two, 12, 4), (two, 12, 6), ({"clip_eps": [0.1, 0.2]}, 20, 5)):  # fmt: skip
        judge_explorer_data(prepare, sweep_result(axes, updates), tuple(axes), points)
    return "探索器收下了：轴和点数换了也收。"


def judge_explorer_data(prepare, ds: xr.Dataset, axes: tuple[str, ...], points: int) -> None:
    """一份 ``sweep`` 的结果，缩成 points 个点：不对就抛出 ``Mistake``。"""
    answer = prepare(ds.copy(deep=True), points)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    if isinstance(answer, xr.DataArray):
        raise Mistake("你返回的是 DataArray；探索器要 Dataset，里面有名为 return 的变量：用 .to_dataset(name=…)。")  # fmt: skip
    if not isinstance(answer, xr.Dataset):
        raise Mistake(f"要返回 xarray.Dataset，你的是 {type(answer).__name__}。")
    if "return" in answer and "update" in answer["return"].dims:
        raise Mistake("return 还有 update 这一维：先用 thin 缩成 point。")
    try:
        returns = accept(answer, axes)
    except ValueError as error:
        kept = "timesteps" in answer.coords and "update" in answer["timesteps"].dims
        more = "原来的 timesteps 还按 update 排着：别放回原来的 ds，另做一个 Dataset。"
        raise Mistake(f"探索器不收：{error}{more if kept else ''}") from None
    if returns.sizes["point"] != points:
        raise Mistake(f"应当缩成 points = {points} 个点，你的是 {returns.sizes['point']} 个。")
    expected = thin(ds["return"], points).transpose(*axes, "seed", "point")
    if returns.shape != expected.shape:
        raise Mistake(f"各个轴的取值和种子都要留着：形状应当是 {expected.shape}，你的是 {returns.shape}。")  # fmt: skip
    if (wrong := ~np.isclose(returns, expected)).any():
        for hint, other in OTHER_POINTS.items():
            if np.allclose(returns, other(ds, points).transpose(*returns.dims), equal_nan=True):
                raise Mistake(hint)
        place = tuple(np.argwhere(wrong)[0])
        size = ds.sizes["update"] // points
        raise Mistake(
            f"数不对：{ds.sizes['update']} 次更新分成 {points} 段，每个点是一段里 {size} 次更新的回报的平均，NaN 跳过，不当作 0。"
            f"第 {place[-1]} 个点（从 0 数）有一处应当是 {expected.values[place]:.4g}，你的是 {returns.values[place]:.4g}。"
        )
    if answer["timesteps"].values.tolist() != expected["timesteps"].values.tolist():
        raise Mistake(
            "回报对了。timesteps 应当是每一段最后一次更新的步数，不是平均，也不是第几个点：thin 给的就是它。"
        )
