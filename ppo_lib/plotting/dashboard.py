"""仪表盘：一次训练的主要指标放在一张图里，也可以把几次训练画在一起比较。"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullFormatter
from omegaconf import OmegaConf
from scipy.optimize import isotonic_regression

from ppo_lib.config import yaml_value
from ppo_lib.plotting.curves import LABELS, STEPS_LABEL, forward_fill, plot_metric
from ppo_lib.plotting.style import COLORS, new_figure
from ppo_lib.statistics import final_scores, iqm

PANELS = (
    "return",  # 学会了没有
    "episode_length",
    "entropy",  # 策略还在不在探索，一次更新走了多远
    "approx_kl",
    "clip_frac",
    "actor_loss",  # 两个损失，Critic 准不准
    "value_loss",
    "explained_variance",
    "grad_norm",  # 梯度和优化器
    "mu_norm",
    "nu_norm",
    "cosine_similarity",
    "learning_rate",
)
"""缺省的各格，按读图的次序。"""

COLUMNS = 3
LINE_STYLES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
"""颜色用完一轮，就换一种线型。"""

LABEL_GAP = 0.09
"""种子编号之间的最小距离，以一格的高为 1。"""

MAX_POINTS = 150
"""一条线最多这么多个点；更多时相邻几次更新取平均。一格只有约 200 像素宽。"""


def dashboard(
    *runs,
    labels: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    seeds: bool = False,
) -> Figure:
    """把一次或几次训练的指标画成一张图，一格一个指标。

    >>> show(dashboard(run), dashboard_alt(run))
    >>> show(dashboard(ds.sel(beta_1=0.5), ds.sel(beta_1=0.9), metrics=["return", "entropy"]), "…")

    Args:
        runs: 每个是 ``train`` 的结果，或它的 ``metrics``，维 (seed, update)。
        labels: 每次训练一个名字；缺省写出各份配置里不同的键，例如 ``beta_1=0.5``。
        metrics: 画哪些指标，缺省是 ``PANELS``。在所有训练里都是 NaN 的略去，例如 sgd 的 nu_norm。
        seeds: False 画四分位均值和 95% 置信带；True 画出每个种子，线的末端标着种子。

    Raises:
        ValueError: 没有给出训练，或维、指标名、名字的个数不对。
    """
    datasets = check_runs(runs)
    panels = choose_panels(metrics, datasets)
    names = run_names(labels, datasets)
    fig, axes = new_grid(len(panels))
    add_title(fig, datasets, names, seeds)
    datasets = [thin(dataset) for dataset in datasets]
    for ax, metric in zip(axes, panels):
        draw_panel(ax, metric, datasets, seeds)
    label_axes(axes, panels)
    return fig


def dashboard_alt(*runs, labels: Sequence[str] | None = None) -> str:
    """给读屏软件的一句话：每次训练最后十分之一的更新里，平均回报的四分位均值。"""
    datasets = check_runs(runs)
    scores = [final_return(dataset) for dataset in datasets]
    said = [
        "还没有走完的回合" if np.isnan(score) else f"平均回报 {score:.4g}" for score in scores
    ]
    names = run_names(labels, datasets)
    said = [f"{name}：{x}" if name else x for name, x in zip(names, said)]
    return f"{caption(datasets)}，各个指标随训练的变化。最后十分之一的更新里，{'；'.join(said)}"


def final_return(dataset: xr.Dataset) -> float:
    """最后十分之一的更新里，每个种子取平均回报，再求四分位均值；没有走完的回合时是 NaN。"""
    scores = final_scores(dataset).dropna("seed").values
    return float(iqm(scores)) if len(scores) else np.nan


# ---------------------------------------------------------------- 检查


def check_runs(runs: Sequence) -> list[xr.Dataset]:
    """每次训练的指标，维 (seed, update)；末尾没有步数的更新（网格里补的 NaN）去掉。"""
    if not runs:
        raise ValueError("没有可画的训练；请写 dashboard(run)，或 dashboard(run_a, run_b)。")
    datasets = []
    for run in runs:
        dataset = run if isinstance(run, xr.Dataset) else getattr(run, "metrics", None)
        if not isinstance(dataset, xr.Dataset):
            raise ValueError(
                f"{type(run).__name__} 不是训练的结果；允许的是 train 的结果，或它的 metrics。"
                "几次训练请逐个写出：dashboard(run_a, run_b)。"
            )
        check_dims(dataset)
        real = dataset["timesteps"].notnull().values
        datasets.append(dataset if real.all() else dataset.isel(update=real))
    return datasets


def check_dims(dataset: xr.Dataset) -> None:
    """只许有 seed 和 update 两维。"""
    extra = [dim for dim in dataset.sizes if dim not in ("seed", "update")]
    if extra:
        point = ", ".join(f"{dim}={dataset[dim].values[0].item()!r}" for dim in extra)
        raise ValueError(
            f"这份结果比 (seed, update) 多了 {', '.join(extra)}：它是一个网格。"
            f"请先选出一点，例如 .sel({point})。"
        )
    missing = [dim for dim in ("seed", "update") if dim not in dataset.sizes]
    if missing:
        raise ValueError(
            f"这份结果缺少 {', '.join(missing)} 这一维；"
            "只看一个种子时请保留这一维，例如 .sel(seed=[0])。"
        )


def run_names(labels: Sequence[str] | None, datasets: list[xr.Dataset]) -> list[str]:
    """每次训练的名字；没有给出就从配置里找。只有一次训练时不必有名字，是空的。"""
    if labels is None:
        return [""] if len(datasets) == 1 else differing_keys(datasets)
    labels = [labels] if isinstance(labels, str) else list(labels)
    if len(labels) != len(datasets):
        raise ValueError(f"labels 有 {len(labels)} 个名字，训练却有 {len(datasets)} 次。")
    return labels


def differing_keys(datasets: list[xr.Dataset]) -> list[str]:
    """各次训练的配置里不同的键，写成 ``beta_1=0.5，lr=0.001``；全都相同时写第几次。"""
    configs = [settings(dataset) for dataset in datasets]
    keys = dict.fromkeys(key for config in configs for key in config)
    differing = [key for key in keys if any(c.get(key) != configs[0].get(key) for c in configs)]
    if not differing:
        return [f"第 {i} 次" for i in range(1, len(datasets) + 1)]
    return [
        "，".join(f"{key}={yaml_value(config[key])}" for key in differing if key in config)
        for config in configs
    ]


def settings(dataset: xr.Dataset) -> dict:
    """一份结果的配置。从网格里选出的一点，以坐标上的取值为准。"""
    text = dataset.attrs.get("config", "{}")
    config = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    point = {name: x.item() for name, x in dataset.coords.items() if x.ndim == 0}
    return config | point


def choose_panels(metrics: Sequence[str] | None, datasets: list[xr.Dataset]) -> list[str]:
    """要画的指标；在所有训练里都没有数的略去。"""
    known = list(dict.fromkeys(name for dataset in datasets for name in dataset.data_vars))
    if metrics is None:
        metrics = PANELS
    else:
        metrics = [metrics] if isinstance(metrics, str) else list(metrics)
        for metric in metrics:
            check_metric(metric, known)
    panels = [m for m in metrics if any(has_numbers(dataset, m) for dataset in datasets)]
    if not panels:
        raise ValueError(f"{', '.join(metrics)} 在这些结果里没有一个数（都是 NaN）。")
    return panels


def check_metric(metric: str, known: list[str]) -> None:
    """指标名不认识就报错，并给出最接近的。"""
    if metric not in known:
        match = difflib.get_close_matches(str(metric).lower(), known, n=1)
        nearest = f"最接近的是 {match[0]!r}。" if match else ""
        raise ValueError(
            f"没有名为 {metric!r} 的指标。{nearest}全部的指标：{', '.join(known)}。"
        )


def has_numbers(dataset: xr.Dataset, metric: str) -> bool:
    """这份结果里有这个指标，并且不全是 NaN。"""
    return metric in dataset and bool(dataset[metric].notnull().any())


# ---------------------------------------------------------------- 数据


def group_size(dataset: xr.Dataset) -> int:
    """相邻几次更新合成图上的一个点。"""
    return -(-dataset.sizes["update"] // MAX_POINTS)


def thin(dataset: xr.Dataset) -> xr.Dataset:
    """更新太多时，相邻几次取平均（NaN 不计），使图不太大；最后一组可以不满。"""
    size = group_size(dataset)
    if size == 1:
        return dataset
    return dataset.coarsen(update=size, boundary="pad").mean()


def wants_log_scale(metric: str, values: np.ndarray) -> bool:
    """二阶矩的范数总用对数轴；别的指标全为正、中间九成的数又跨过两个数量级时才用。"""
    values = values[np.isfinite(values)]
    if metric == "nu_norm":
        return bool((values > 0).any())
    low, high = np.quantile(values, [0.05, 0.95])
    return bool((values > 0).all() and high > 100 * low)


# ---------------------------------------------------------------- 画


def new_grid(count: int) -> tuple[Figure, list[Axes]]:
    """count 格的图，三格一行，横轴相同。"""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    fig, grid = new_figure(
        7.4, 1.55 * rows + 0.8, nrows=rows, ncols=columns, sharex=True, squeeze=False
    )
    axes = list(grid.flat)
    for ax in axes[count:]:
        ax.remove()
    return fig, axes[:count]


def label_axes(axes: list[Axes], panels: list[str]) -> None:
    """每一格的标题是指标和它的单位；每一列最下面的一格写出横轴。"""
    for i, (ax, metric) in enumerate(zip(axes, panels)):
        lowest = i + COLUMNS >= len(axes)
        ax.set_title(LABELS.get(metric, metric), loc="left", fontsize=10.5)
        ax.set(xlabel="", ylabel="")
        ax.tick_params(labelsize=9, labelbottom=lowest)
        if lowest:
            ax.set_xlabel(STEPS_LABEL, fontsize=9)


def caption(datasets: list[xr.Dataset]) -> str:
    """环境和种子数；几次训练不同的，逐个写出。"""
    envs = dict.fromkeys(settings(dataset).get("env_name") for dataset in datasets)
    sizes = [f"{dataset.sizes['seed']} 个" for dataset in datasets]
    same = len(set(sizes)) == 1
    seeds = sizes[0] if same else f"分别 {'、'.join(sizes[:-1])}和 {sizes[-1]}"
    names = "、".join(env for env in envs if env)
    return (f"{names}，" if names else "") + f"{seeds}种子"


def add_title(fig: Figure, datasets: list[xr.Dataset], names: list[str], seeds: bool) -> None:
    """图的最上面：一行说明；训练有名字时，下面是图例。"""
    how = "细线为各个种子，末端的数字是种子" if seeds else "线为四分位均值，带为 95% 置信带"
    text = f"{caption(datasets)}：{how}"
    size = max(map(group_size, datasets))
    if size > 1:
        text += f"，每点是 {size} 次更新的平均"
    if names == [""]:
        fig.suptitle(text, fontsize=10.5)
        return
    handles = [Line2D([], [], label=name, **pen(i)) for i, name in enumerate(names)]
    columns = max(1, min(len(names), 80 // (max(map(len, names)) + 5)))
    fig.legend(handles=handles, title=text, loc="outside upper center", ncols=columns)


def pen(i: int) -> dict:
    """第 i 条线的颜色和线型。"""
    return {
        "color": COLORS[i % len(COLORS)],
        "linestyle": LINE_STYLES[i // len(COLORS) % len(LINE_STYLES)],
    }


def seed_pens(run: int, runs: int, seeds: int) -> list[dict]:
    """各个种子的笔：只有一次训练时一个种子一种颜色；有几次时颜色归训练，种子用线型分。"""
    if runs == 1:
        return [pen(i) for i in range(seeds)]
    styles = [LINE_STYLES[i % len(LINE_STYLES)] for i in range(seeds)]
    return [pen(run) | {"linestyle": style} for style in styles]


def draw_panel(ax: Axes, metric: str, datasets: list[xr.Dataset], seeds: bool) -> None:
    """一格里各次训练的线。"""
    drawn = [(i, dataset) for i, dataset in enumerate(datasets) if has_numbers(dataset, metric)]
    if wants_log_scale(metric, np.concatenate([ds[metric].values.ravel() for _, ds in drawn])):
        ax.set_yscale("log")
    ax.margins(x=0.02)
    ends = []
    for i, dataset in drawn:
        if seeds:
            pens = seed_pens(i, len(datasets), dataset.sizes["seed"])
            ends += draw_seeds(ax, metric, dataset, pens)
        else:
            before = len(ax.lines)
            plot_metric(dataset, metric, ax, color=pen(i)["color"], seeds=False)
            for line in ax.lines[before:]:
                line.set(linestyle=pen(i)["linestyle"], linewidth=1.4)
    set_ticks(ax)
    name_ends(ax, ends)


def set_ticks(ax: Axes) -> None:
    """刻度不超过五六个。对数轴不到两个数量级时写成 0.01、0.02、0.05，更宽时写成 10 的幂。"""
    ax.locator_params(axis="x", nbins=4)
    if ax.get_yscale() != "log":
        ax.locator_params(axis="y", nbins=4)
        return
    low, high = ax.get_ylim()
    narrow = high < 100 * low
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=6))
    ax.yaxis.set_major_formatter("{x:g}" if narrow else LogFormatterMathtext())
    ax.yaxis.set_minor_formatter(NullFormatter())


def draw_seeds(ax: Axes, metric: str, dataset: xr.Dataset, pens: list[dict]) -> list[tuple]:
    """每个种子一条细线；返回各条线末端的 (步数, 值, 种子, 颜色)。NaN 处沿用前一次的值。"""
    values = forward_fill(dataset[metric].transpose("seed", "update").values)
    steps = dataset["timesteps"].values / 1e4
    ends = []
    for seed, row, style in zip(dataset["seed"].values, values, pens):
        started = np.isfinite(row)
        if started.any():
            ax.plot(steps[started], row[started], linewidth=0.9, **style)
            ends.append((steps[-1], row[-1], seed, style["color"]))
    return ends


def name_ends(ax: Axes, ends: list[tuple]) -> None:
    """在各条线的末端标出种子；太挤就上下挪开，一列放不下就错开成几列。"""
    ends = sorted(ends, key=lambda end: end[1])
    columns = -(-len(ends) // (int(1 / LABEL_GAP) + 1))
    ax.get_ylim()  # 让坐标轴先按数据定下范围
    to_axes = ax.transScale + ax.transLimits
    for column in range(columns):
        group = ends[column::columns]
        heights = [to_axes.transform((steps, value))[1] for steps, value, *_ in group]
        for (steps, value, seed, color), height in zip(group, spread(heights, LABEL_GAP)):
            ax.annotate(
                str(seed),
                (steps, value),
                (1.04 + 0.1 * column, height),
                textcoords="axes fraction",
                color=color,
                fontsize=8,
                va="center_baseline",
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-",
                    "color": color,
                    "linewidth": 0.5,
                    "relpos": (0, 0.5),
                    "shrinkA": 1,
                    "shrinkB": 0,
                },
            )


def spread(heights: Sequence[float], gap: float) -> np.ndarray:
    """把一列升序的高度挪到 [0, 1] 里、相邻至少隔 gap 处，挪动的平方和最小（保序回归）。"""
    offsets = gap * np.arange(len(heights))
    moved = isotonic_regression(np.asarray(heights) - offsets).x
    return np.clip(moved, 0, 1 - offsets[-1]) + offsets
