"""回报曲线的探索器：一个记录好的网格，拨滑块看每一点的学习曲线；也可以真的再训练一次，在网页里，或在内核里。"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import traitlets
import xarray as xr

from ppo_lib.config import TRACED, ConfigError, PPOConfig
from ppo_lib.experiment import train
from ppo_lib.widgets.base import page_style
from ppo_lib.widgets.in_page import InPageTraining, trainable, training_script

MISSING = 2047
"""打包之后代表 NaN 的整数，也就是 11 位全是 1。"""

LARGEST = MISSING - 1

AXIS_LABELS = {
    "beta_1": "β₁",
    "beta_2": "β₂",
    "clip_eps": "裁剪范围 ε",
    "ent_coef": "熵的系数",
    "lr": "学习率 lr",
    "gamma": "折扣因子 γ",
    "gae_lambda": "GAE 的 λ",
}


class Packed(NamedTuple):
    """一个数组打成的包：值 = offset + scale × 整数，整数 0 到 LARGEST，按行排；MISSING 是 NaN。

    data 先放所有整数的低八位，再放所有的高位：分开放，gzip 压得更小。
    """

    data: bytes
    scale: float
    offset: float


def pack(values: np.ndarray) -> Packed:
    """打包；误差不超过 scale / 2，即数值范围的四千分之一，画出来不到十分之一个像素。

    Raises:
        ValueError: 有无穷大。
    """
    values = np.asarray(values, np.float64)
    if np.isinf(values).any():
        raise ValueError("数组里有无穷大，不能打包；NaN 可以。")
    known = values[~np.isnan(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    scale = (high - low) / LARGEST or 1.0
    steps = np.where(np.isnan(values), MISSING, np.round((values - low) / scale))
    high_bytes, low_bytes = np.divmod(steps.astype(np.uint16).ravel(), 256)
    data = low_bytes.astype(np.uint8).tobytes() + high_bytes.astype(np.uint8).tobytes()
    return Packed(data, float(scale), float(low))


def unpack(packed: Packed, shape: Sequence[int]) -> np.ndarray:
    """``pack`` 的反面。"""
    low_bytes, high_bytes = np.frombuffer(packed.data, np.uint8).astype(int).reshape(2, -1)
    steps = (low_bytes + 256 * high_bytes).reshape(shape)
    return np.where(steps == MISSING, np.nan, packed.offset + packed.scale * steps)


def check_dataset(dataset: xr.Dataset, axes: Sequence[str]) -> xr.DataArray:
    """查维和坐标，返回按 (*axes, seed, point) 排好的回报。"""
    if "return" not in dataset:
        raise ValueError("dataset 里没有 return 这个变量。")
    wanted = (*axes, "seed", "point")
    dims = dataset["return"].dims
    if set(dims) != set(wanted):
        raise ValueError(f"return 的维是 {', '.join(dims)}；应当是 {', '.join(wanted)}。")
    if "timesteps" not in dataset or dataset["timesteps"].dims != ("point",):
        raise ValueError("dataset 要有坐标 timesteps，维是 (point,)。")
    for axis in axes:
        if (np.diff(dataset[axis].values) <= 0).any():
            raise ValueError(f"{axis} 的取值要从小到大排，不重复。")
    return dataset["return"].transpose(*wanted)


def plain(values) -> list:
    """NaN 换成 None 的列表，可以写进 JSON；留 4 位小数就够画图。"""
    return [[None if np.isnan(x) else round(float(x), 4) for x in row] for row in values]


LiveCallback = Callable[[dict, Callable[[xr.Dataset], None]], None]


FIRST_NEW_SEED = 100
"""“用真的训练验证”的种子从这里起；录下的网格用的是 0 到 4。"""


@dataclasses.dataclass
class LiveTraining:
    """用真的训练验证：按 cfg 训练，只换上滑块选的键；由 ``train_live`` 造出来。"""

    cfg: PPOConfig
    first_seed: int
    finished: dict[tuple, list[xr.Dataset]] = dataclasses.field(default_factory=dict)
    """滑块的值 → 这一点训练完的，一次一个。"""

    def __call__(self, values: dict, show: Callable[[xr.Dataset], None]) -> None:
        """在内核里训练；每训练一块就 ``show(到此刻为止的指标)``。"""
        static = [name for name in values if name not in TRACED]
        if static:
            raise ConfigError(f"{'、'.join(static)} 是静态的键，换一个值要重新编译。")
        earlier = self.finished.setdefault(tuple(sorted(values.items())), [])
        seed = self.first_seed + len(earlier) * self.cfg.num_seeds
        run = train(
            dataclasses.replace(self.cfg, **values, seed=seed),
            progress=False,
            on_chunk=lambda now: show(pooled([*earlier, now])),
        )
        if not run.interrupted:
            earlier.append(run.metrics)

    def in_page(self) -> dict:
        """网页里的引擎要知道的；这样的配置网页里做不到时，是空的。"""
        try:
            config = trainable(self.cfg)
        except ConfigError:
            return {}
        return dict(config=config, first_seed=self.first_seed, num_seeds=self.cfg.num_seeds)


def train_live(cfg: PPOConfig, first_seed: int = FIRST_NEW_SEED) -> LiveTraining:
    """用真的训练验证：按 cfg 训练，只换上滑块选的动态的键，所以在内核里不重新编译。

    种子不用 cfg.seed，从 first_seed 起：拿录过的种子重跑，会得到同样的曲线，不是新的证据。在同一点
    再按一次，用接下来的 cfg.num_seeds 个种子，与先前的合在一起；换一点，又从 first_seed 起。
    网页里的引擎也照此办；两处的随机数不同，各合各的。

    >>> ReturnExplorer(dataset, live=train_live(cfg))
    """
    return LiveTraining(cfg, first_seed)


def pooled(runs: Sequence[xr.Dataset]) -> xr.Dataset:
    """几次训练的回报合成一份，(seed, update)，种子接在一起；只留大家都走到的更新。"""
    updates = min(run.sizes["update"] for run in runs)
    return xr.concat([run[["return"]].isel(update=slice(updates)) for run in runs], "seed")


class ReturnExplorer(InPageTraining):
    """拨滑块，看网格上那一点的学习曲线。滑块只停在记录过的值上，不插值。

    >>> ReturnExplorer(ds, axes=("beta_1", "clip_eps"), caption="CartPole-v1，H100，2026-11-20，12 分钟")

    Args:
        dataset: 变量 return，维 (*axes, seed, point)；坐标 timesteps (point,)。NaN 表示还没有
            回合走完。
        axes: 做成滑块的维。
        caption: 这些数据在什么机器上、什么时候、花了多久得来。
        live: 按钮“用真的训练验证”做什么，常用 ``train_live(cfg)``：没有内核时在网页里训练，有内核时
            读者选在哪里。别的函数只在内核里能用：``live(values, show)`` 每训练一块就
            ``show(到此刻为止的指标)``，画进同一张图。
        start: 一开始选在哪里，例如 ``{"beta_1": 0.9}``；不是记录过的值时取最近的。
    """

    title = "回报曲线探索器"
    _esm = training_script("explorer")
    _css = page_style("explorer")

    data = traitlets.Bytes().tag(sync=True)
    scale = traitlets.Float().tag(sync=True)
    offset = traitlets.Float().tag(sync=True)
    axes = traitlets.List().tag(sync=True)  # [{name, label, values}]
    timesteps = traitlets.List().tag(sync=True)
    num_seeds = traitlets.Int().tag(sync=True)
    chosen = traitlets.Dict().tag(sync=True)  # {轴: 要的值}
    caption = traitlets.Unicode().tag(sync=True)
    live_offered = traitlets.Bool().tag(sync=True)
    in_page = traitlets.Dict().tag(
        sync=True
    )  # {config, first_seed, num_seeds}；空的是网页里做不到
    live_curve = traitlets.Dict().tag(sync=True)  # {values, seeds, timesteps, returns, done, …}

    def __init__(
        self,
        dataset: xr.Dataset,
        axes: Sequence[str] = ("beta_1", "clip_eps", "ent_coef"),
        *,
        caption: str = "",
        live: LiveCallback | None = None,
        start: dict | None = None,
    ):
        returns = check_dataset(dataset, axes)
        unknown = set(start or {}) - set(axes)
        if unknown:
            raise ValueError(f"start 里有 {'、'.join(unknown)}；滑块只有 {'、'.join(axes)}。")
        recorded = {axis: [float(x) for x in dataset[axis].values] for axis in axes}
        super().__init__(
            **pack(returns.values)._asdict(),
            axes=[
                {"name": axis, "label": AXIS_LABELS.get(axis, axis), "values": values}
                for axis, values in recorded.items()
            ],
            timesteps=[int(x) for x in dataset["timesteps"].values],
            num_seeds=dataset.sizes["seed"],
            chosen={axis: values[0] for axis, values in recorded.items()} | (start or {}),
            caption=caption,
            live_offered=live is not None,
            in_page=live.in_page() if isinstance(live, LiveTraining) else {},
        )
        self._live = live
        self.on_msg(self._receive)

    def _receive(self, _, message: dict, buffers) -> None:
        """网页来的消息：问有没有内核，或者请求训练。"""
        if message.get("kind") == "hello":
            self.send({"kind": "hello"})
        elif message.get("kind") == "train" and self._live is not None:
            self.verify(message["values"])

    def verify(self, values: dict) -> None:
        """在 values 处真的训练一次，边训练边把曲线送到网页。出错就把话送过去。"""
        start = time.perf_counter()
        curve = {
            "values": values, "seeds": [], "timesteps": [], "returns": [], "done": False,
        }  # fmt: skip
        self.live_curve = curve

        def show(dataset: xr.Dataset) -> None:
            returns = dataset["return"].transpose("seed", ...).values  # (seed, update)
            steps = [int(x) for x in dataset["timesteps"].values]
            seeds = [int(x) for x in dataset["seed"].values]
            self.live_curve = curve | {
                "seeds": seeds, "timesteps": steps, "returns": plain(returns),
            }  # fmt: skip

        try:
            self._live(values, show)
            ending = {"done": True}
        except (Exception, KeyboardInterrupt) as error:
            ending = {"done": True, "error": f"{type(error).__name__} {error}".strip()}
        seconds = round(time.perf_counter() - start, 1)
        self.live_curve = dict(self.live_curve) | ending | {"seconds": seconds}
