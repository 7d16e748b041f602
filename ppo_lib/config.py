"""配置：一次训练的全部旋钮，以及对它们的检查。

``PPOConfig`` 是人写的配置，一个键一个字段。训练开始前它分成两半：

- **静态**的一半（形状、环境、网络、优化器种类）编译进程序，改动要重新编译；
- **动态**的一半（``Hyperparams``：学习率、beta_1、clip_eps……）作为数组传进程序，
  改动不用重新编译，所以滑块能马上响应，一次 ``sweep`` 也只编译一次。

每个字段的含义、允许的取值、属于哪一半，都写在字段自己的 ``metadata`` 里；
``--help``、``config_ppo.yaml`` 和报错信息都从那里来，不另抄一份。
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import gymnax
import numpy as np
from omegaconf import OmegaConf

CONTINUOUS_ENVS = {
    "Pendulum-v1",
    "MountainCarContinuous-v0",
    "PointRobot-misc",
    "Reacher-misc",
    "Swimmer-misc",
}
"""gymnax 里动作连续的环境；这里的策略是离散的。"""

CONFIG_FILE = Path(__file__).with_name("config_ppo.yaml")


class ConfigError(ValueError):
    """配置不合法。信息是中文，写明键、取到的值和允许的值。"""


def check_int(
    name: str, value: int, low: int, high: int = 2**31 - 1, error: type[Exception] = ConfigError
) -> None:
    """value 是 [low, high] 内的整数；不是就抛出 error。"""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        raise error(f"{name} = {value!r} 不合法；允许的取值：[{low}, {high}] 内的整数。")


# ---------------------------------------------------------------- 字段的规格


class Interval(NamedTuple):
    """一个数的取值范围；缺省是全体实数。"""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, number: float) -> bool:
        """number 是否在范围内。"""
        above = number > self.low or (number == self.low and not self.open_low)
        below = number < self.high or (number == self.high and not self.open_high)
        return above and below

    def __str__(self) -> str:
        left = ("(" if self.open_low else "[") + f"{self.low:g}"
        if self.high == math.inf:
            return f"{left}, +∞)"
        return f"{left}, {self.high:.10g}" + (")" if self.open_high else "]")


REAL = Interval()
POSITIVE = Interval(low=0, open_low=True)
NOT_NEGATIVE = Interval(low=0)
AT_LEAST_ONE = Interval(low=1)
FRACTION = Interval(low=0, high=1)
DECAY = Interval(low=0, high=1, open_high=True)


def _key(default, help, *, group, kind="static", within=REAL, choices=None):
    """一个配置字段：默认值、说明、取值范围。

    kind 是它怎样进入程序：``static`` 编译进去，``traced`` 作为输入传进去，``run`` 决定跑多少，
    ``log`` 只管记录，不影响结果。
    """
    metadata = dict(help=help, group=group, kind=kind, within=within, choices=choices)
    return dataclasses.field(default=default, metadata=metadata)


TRAIN, ADAM, PPO, NET, ENV, LOG = (
    "训练",
    "优化器",
    "PPO 算法",
    "网络",
    "环境和种子",
    "运行记录",
)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class PPOConfig:
    """一次 PPO 训练的配置。默认值就是原指南的那次运行。

    >>> PPOConfig(env_name="CartPole-v1", total_timesteps=500_000).num_updates
    244

    Raises:
        ConfigError: 键不存在、类型不对、取值超出范围，或几个键互相矛盾。
    """

    total_timesteps: int = _key(
        2_000_000,
        "每个种子与环境交互的总步数；不足一次更新的零头不会跑",
        group=TRAIN,
        kind="run",
        within=AT_LEAST_ONE,
    )
    num_envs: int = _key(16, "并行环境的个数", group=TRAIN, within=AT_LEAST_ONE)
    num_steps: int = _key(128, "每次更新前，每个环境走多少步", group=TRAIN, within=AT_LEAST_ONE)

    lr: float = _key(4e-3, "学习率", group=ADAM, kind="traced", within=POSITIVE)
    optimizer: str = _key("adam", "优化器", group=ADAM, choices=("adam", "rmsprop", "sgd"))
    anneal_lr: bool = _key(True, "学习率是否随更新次数线性降到 0", group=ADAM)
    beta_1: float = _key(
        0.9,
        "一阶矩的衰减率；sgd 用它作动量，rmsprop 不用它",
        group=ADAM,
        kind="traced",
        within=DECAY,
    )
    critic_beta_1: float | None = _key(
        None,
        "Critic 单用的 beta_1；null 表示同 beta_1。共用隐藏层时，只管价值头",
        group=ADAM,
        kind="traced",
        within=DECAY,
    )
    beta_2: float = _key(
        0.999,
        "二阶矩的衰减率；rmsprop 也用它，sgd 不用它",
        group=ADAM,
        kind="traced",
        within=DECAY,
    )
    adam_eps: float = _key(
        1e-8, "Adam 和 RMSprop 分母里的小量", group=ADAM, kind="traced", within=POSITIVE
    )
    max_grad_norm: float = _key(
        1.0, "梯度的全局范数上限，超过就整体缩小", group=ADAM, kind="traced", within=POSITIVE
    )
    running_grad_decay: float = _key(
        0.0,
        "滑动梯度的衰减率；0 表示只记上一个梯度（原指南的做法）",
        group=ADAM,
        kind="traced",
        within=DECAY,
    )

    update_epochs: int = _key(2, "同一批数据用几遍", group=PPO, within=AT_LEAST_ONE)
    num_minibatches: int = _key(4, "每一遍切成几个小批次", group=PPO, within=AT_LEAST_ONE)
    shuffle: str = _key(
        "envs_once",
        "小批次怎么抽：envs_once 每次更新只打乱一次环境（原指南），envs 每一遍重新打乱环境，"
        "samples 每一遍打乱全部 num_steps × num_envs 个样本",
        group=PPO,
        choices=("envs_once", "envs", "samples"),
    )
    gamma: float = _key(0.99, "折扣因子", group=PPO, kind="traced", within=FRACTION)
    gae_lambda: float = _key(0.95, "GAE 的 λ", group=PPO, kind="traced", within=FRACTION)
    bootstrap_truncation: bool = _key(
        True, "超时截断时是否用 V(s') 接上；false 把超时当成真的结束（只为教学保留）", group=PPO
    )
    advantage_norm: str = _key(
        "minibatch",
        "优势在哪个范围内标准化：每个小批次、整批、不做",
        group=PPO,
        choices=("minibatch", "batch", "none"),
    )
    clip_eps: float = _key(0.2, "概率比的裁剪宽度 ε", group=PPO, kind="traced", within=POSITIVE)
    clip_value: bool = _key(False, "价值损失是否也裁剪（宽度同 clip_eps）", group=PPO)
    ent_coef: float = _key(
        0.003, "熵奖励的系数 c₂", group=PPO, kind="traced", within=NOT_NEGATIVE
    )
    vf_coef: float = _key(
        0.5, "价值损失的系数 c₁", group=PPO, kind="traced", within=NOT_NEGATIVE
    )

    activation: str = _key("relu", "激活函数", group=NET, choices=("relu", "tanh"))
    hidden_sizes: tuple = _key((64, 64), "每个隐藏层的宽度", group=NET, within=AT_LEAST_ONE)
    shared_trunk: bool = _key(False, "策略和价值是否共用隐藏层", group=NET)
    critic_bias: float = _key(
        0.0, "价值头偏置的初值：训练开始时 Critic 的“乐观”程度", group=NET, kind="traced"
    )

    env_name: str = _key("MountainCar-v0", "gymnax 里离散动作的环境名", group=ENV)
    obs_scaling: str = _key(
        "none",
        "观测缩放：none 原样，bounds 把有界的分量按上下界映射到 [-1, 1]",
        group=ENV,
        choices=("none", "bounds"),
    )
    reward_shaping: str = _key(
        "none",
        "MountainCar 的奖励整形：none 不整形，position 按位置变化（原指南），energy 按机械能势函数，"
        "energy_keep_terminal 同 energy 但终止状态的势也照算（不安全，供对照）",
        group=ENV,
        choices=("none", "position", "energy", "energy_keep_terminal"),
    )
    shaping_scale: float = _key(
        1.0,
        "奖励整形的倍数；取 1 时 position 为 0.01·Δx，energy 的势从谷底到坡顶（都静止）升高 100",
        group=ENV,
        kind="traced",
        within=NOT_NEGATIVE,
    )
    seed: int = _key(
        0,
        "第一个随机种子",
        group=ENV,
        kind="run",
        within=Interval(low=0, high=2**31 - 1),
    )
    num_seeds: int = _key(
        10, "种子个数：seed, seed+1, …", group=ENV, kind="run", within=AT_LEAST_ONE
    )

    tracker: str = _key(
        "wandb",
        "指标记到哪里，一个种子一个 run：wandb，tensorboard，swanlab，或不记",
        group=LOG,
        kind="log",
        choices=("wandb", "tensorboard", "swanlab", "none"),
    )
    project: str = _key("optimize", "W&B 的项目名", group=LOG, kind="log")
    job_type: str = _key("ppo", "W&B 的作业类型", group=LOG, kind="log")
    wandb_mode: str = _key(
        "offline",
        "W&B（和 SwanLab）的模式：offline 只记在本机，不要账号；online 上传；disabled 不记",
        group=LOG,
        kind="log",
        choices=("offline", "online", "disabled"),
    )

    def __new__(cls, *args, **kwargs):
        if args:
            raise ConfigError("PPOConfig 只接受 键=值 的写法，例如 PPOConfig(lr=1e-3)。")
        check_keys(kwargs)
        return super().__new__(cls)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(field, getattr(self, field.name)))
        _check_together(self)

    def __repr__(self) -> str:
        """只写与默认值不同的键；照抄就能造出同样的配置。"""
        changed = {name: getattr(self, name) for name in FIELDS}
        listed = [f"{k}={v!r}" for k, v in changed.items() if v != FIELDS[k].default]
        return f"PPOConfig({', '.join(listed)})"

    @property
    def batch_size(self) -> int:
        """一次更新用到的样本数 num_steps × num_envs。"""
        return self.num_steps * self.num_envs

    @property
    def num_updates(self) -> int:
        """更新次数，total_timesteps / batch_size 向下取整。"""
        return self.total_timesteps // self.batch_size

    @property
    def dropped_timesteps(self) -> int:
        """向下取整丢掉的步数。"""
        return self.total_timesteps % self.batch_size

    @property
    def seeds(self) -> tuple[int, ...]:
        """(num_seeds,) 每个成员的种子。"""
        return tuple(range(self.seed, self.seed + self.num_seeds))

    def static(self) -> PPOConfig:
        """只留下决定编译结果的字段，其余换成固定值；相等的两份共用一个已编译的程序。"""
        fixed = {
            name: f.default for name, f in FIELDS.items() if f.metadata["kind"] != "static"
        }
        return dataclasses.replace(self, **fixed | {"total_timesteps": self.batch_size})

    def hyperparams(self) -> Hyperparams:
        """动态的一半，每个字段是一个标量。"""
        same = {"critic_beta_1": self.beta_1}  # 写 null 的键，取谁的值
        values = {name: getattr(self, name) for name in TRACED}
        traced = {name: float(same[name] if x is None else x) for name, x in values.items()}
        return Hyperparams(**traced, num_updates=float(self.num_updates))


class Hyperparams(NamedTuple):
    """作为数组传进编译好的程序的超参数；每个字段形状为 () ，或 (members,)。

    含义见 ``PPOConfig`` 的同名字段。``num_updates`` 是学习率退火的终点。
    """

    lr: float
    beta_1: float
    critic_beta_1: float
    beta_2: float
    adam_eps: float
    max_grad_norm: float
    running_grad_decay: float
    gamma: float
    gae_lambda: float
    clip_eps: float
    ent_coef: float
    vf_coef: float
    critic_bias: float
    shaping_scale: float
    num_updates: float


FIELDS = {f.name: f for f in dataclasses.fields(PPOConfig)}
"""键 → dataclass 字段。"""

TRACED = tuple(name for name, f in FIELDS.items() if f.metadata["kind"] == "traced")
"""改动不引起重新编译的键。"""

# ---------------------------------------------------------------- 检查


def check_keys(keys: Iterable[str]) -> None:
    """有不认识的键就报错，并给出最接近的键。"""
    for key in keys:
        if key not in FIELDS:
            raise ConfigError(
                f"没有名为 {key!r} 的键。{_nearest(key, FIELDS)}全部的键：{', '.join(FIELDS)}。"
            )


OTHER_NAMES = {"learning_rate": "lr", "clip_range": "clip_eps", "discount": "gamma"}
"""别的库里的叫法，与这里的键拼写不像，却是一回事。"""


def _nearest(word: str, words: Iterable[str]) -> str:
    lowered = {w.lower(): w for w in words}
    word = str(word).lower()
    match = difflib.get_close_matches(OTHER_NAMES.get(word, word), lowered, n=1)
    return f"最接近的是 {lowered[match[0]]!r}。" if match else ""


def allowed(field: dataclasses.Field) -> str:
    """一个字段允许的取值，写给人看。"""
    spec, kind = field.metadata, kind_of(field)
    if spec["choices"]:
        return " | ".join(spec["choices"])
    noun = {
        "int": "整数",
        "float": "实数",
        "bool": "true 或 false",
        "str": "字符串",
        "tuple": "整数列表",
    }[kind]
    values = noun if spec["within"] == REAL else f"{spec['within']} 内的{noun}"
    return f"{values}，或 null" if field.default is None else values


def kind_of(field: dataclasses.Field) -> str:
    """一个字段的类型；可以写 null 的，指不写 null 时。"""
    return field.type.removesuffix(" | None")


def checked(field: dataclasses.Field, value: Any) -> Any:
    """把一个值转成字段的类型并检查范围，不合法就抛 ConfigError。"""
    if value is None and field.default is None:
        return None
    kind = kind_of(field)
    try:
        converted = _CONVERTERS[kind](value)
    except (TypeError, ValueError, OverflowError):
        raise _bad_value(field, value) from None
    spec = field.metadata
    if spec["choices"] and converted not in spec["choices"]:
        raise _bad_value(field, value, _nearest(converted, spec["choices"]))
    if kind in ("int", "tuple"):
        numbers = converted if kind == "tuple" else [converted]
        if not all(map(spec["within"].holds, numbers)):
            raise _bad_value(field, value)
    if kind == "float":
        if not spec["within"].holds(converted):
            raise _bad_value(field, value)
        rounded = _as_float32(converted)
        if math.isinf(rounded) or not spec["within"].holds(rounded):
            raise _bad_value(field, value, f"程序里用 float32，这个数在那里是 {rounded:g}。")
    return converted


def _as_float32(number: float) -> float:
    """一个数在程序里的样子：太大变成无穷，太小变成 0，0.99999999 变成 1。"""
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.float32(number)
    return 0.0 if abs(rounded) < np.finfo(np.float32).tiny else float(rounded)


def _bad_value(field: dataclasses.Field, value: Any, hint: str = "") -> ConfigError:
    return ConfigError(f"{field.name} = {value!r} 不合法；允许的取值：{allowed(field)}。{hint}")


def _to_float(value) -> float:
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _to_int(value) -> int:
    number = _to_float(value)
    if number != int(number):
        raise ValueError
    return int(number)  # 2e6 这样的写法也算整数


def _to_bool(value) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _to_str(value) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _to_int_tuple(value) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise TypeError
    return tuple(_to_int(v) for v in value)


_CONVERTERS = {
    "float": _to_float,
    "int": _to_int,
    "bool": _to_bool,
    "str": _to_str,
    "tuple": _to_int_tuple,
}


def _check_together(cfg: PPOConfig) -> None:
    """几个键之间的约束。"""
    discrete = [name for name in gymnax.registered_envs if name not in CONTINUOUS_ENVS]
    if cfg.env_name not in discrete:
        reason = (
            "它的动作是连续的" if cfg.env_name in CONTINUOUS_ENVS else "gymnax 里没有这个环境"
        )
        raise ConfigError(
            f"env_name = {cfg.env_name!r} 不合法：{reason}。{_nearest(cfg.env_name, discrete)}"
            f"允许的取值：{', '.join(discrete)}。"
        )
    if cfg.total_timesteps < cfg.batch_size:
        raise ConfigError(
            f"total_timesteps = {cfg.total_timesteps} 不够一次更新；允许的取值：至少 "
            f"num_steps × num_envs = {cfg.num_steps} × {cfg.num_envs} = {cfg.batch_size}。"
        )
    last_seed = cfg.seed + cfg.num_seeds - 1
    if not FIELDS["seed"].metadata["within"].holds(last_seed):
        raise ConfigError(
            f"seed = {cfg.seed}、num_seeds = {cfg.num_seeds} 不合法：最后一个种子 {last_seed} 超出了允许的取值："
            f"{allowed(FIELDS['seed'])}。"
        )
    unit, name = (
        (cfg.batch_size, "num_steps × num_envs")
        if cfg.shuffle == "samples"
        else (cfg.num_envs, "num_envs")
    )
    if unit % cfg.num_minibatches:
        raise ConfigError(
            f"num_minibatches = {cfg.num_minibatches} 不合法；shuffle = {cfg.shuffle!r} 时它必须整除 "
            f"{name} = {unit}，否则每个小批次的大小不一样。"
        )
    normalized = {
        "minibatch": cfg.batch_size // cfg.num_minibatches,
        "batch": cfg.batch_size,
        "none": None,
    }[cfg.advantage_norm]
    if normalized == 1:
        raise ConfigError(
            f"advantage_norm = {cfg.advantage_norm!r} 不合法：它在 1 个样本里标准化，优势总是 0，"
            f"Actor 学不到东西。允许的取值：让每个小批次多于 1 个样本，或 advantage_norm = 'none'。"
        )
    if cfg.reward_shaping != "none" and cfg.env_name != "MountainCar-v0":
        raise ConfigError(
            f"reward_shaping = {cfg.reward_shaping!r} 只对 MountainCar-v0 有定义；"
            f"env_name = {cfg.env_name!r} 时允许的取值：none。"
        )


# ---------------------------------------------------------------- 读写


def load_config(path: str | Path = CONFIG_FILE, overrides: Iterable[str] = ()) -> PPOConfig:
    """读 YAML，再依次套用 ``键=值`` 形式的覆盖。

    >>> load_config(overrides=["lr=1e-3", "beta_1=0.5"]).beta_1
    0.5

    Args:
        path: YAML 文件；没写的键取默认值。
        overrides: 例如 ``["lr=1e-3", "num_seeds=3"]``。

    Raises:
        ConfigError: 文件读不出来，或内容不合法。
    """
    try:
        from_file = OmegaConf.to_container(
            OmegaConf.load(Path(path).expanduser()), resolve=True
        )
    except FileNotFoundError:
        raise ConfigError(f"找不到配置文件 {path}。") from None
    except Exception as error:  # YAML 的语法错误有许多种，读不出来都是一回事
        raise ConfigError(f"配置文件 {path} 读不出来，请检查缩进和冒号：{error}") from None
    if not isinstance(from_file, dict):
        raise ConfigError(f"配置文件 {path} 的最外层必须是“键: 值”。")
    check_keys(from_file)
    return PPOConfig(**from_file | parse_overrides(overrides))


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """``["lr=1e-3"]`` → ``{"lr": 0.001}``；值按 YAML 的规则解析。"""
    parsed = {}
    for item in overrides:
        key, equals, _ = item.partition("=")
        if not equals:
            raise ConfigError(f"看不懂 {item!r}；允许的写法：键=值，例如 lr=1e-3。")
        check_keys([key])
        try:
            parsed |= OmegaConf.to_container(OmegaConf.from_dotlist([item]))
        except Exception as error:  # OmegaConf 的，或 YAML 解析器自己的
            raise ConfigError(f"{item!r} 的值读不出来：{error}") from None
    return parsed


def yaml_value(value: Any) -> str:
    """一个值的 YAML 写法；浮点数写成 YAML 1.2 也认得的样子。"""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    if isinstance(value, str):
        literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # ${ 在 OmegaConf 里是插值的开头
        return OmegaConf.to_yaml({"x": literal}).removeprefix("x:").strip(" \n")
    return str(value)


def by_group() -> Iterable[tuple[str, Iterable[dataclasses.Field]]]:
    """(组名, 这一组的字段)，按写下的次序。"""
    return itertools.groupby(FIELDS.values(), key=lambda field: field.metadata["group"])


@functools.lru_cache(maxsize=64)
def to_yaml(cfg: PPOConfig) -> str:
    """把配置写成带中文注释的 YAML；``load_config`` 读回来得到相等的配置。"""
    lines = []
    for group, fields in by_group():
        lines.append(f"\n# {'=' * 12} {group} {'=' * 12}")
        for field in fields:
            spec = field.metadata
            recompiles = "；改动要重新编译" if spec["kind"] == "static" else ""
            lines.append(f"\n# {spec['help']}（{allowed(field)}{recompiles}）")
            lines.append(f"{field.name}: {yaml_value(getattr(cfg, field.name))}")
    return "\n".join(lines).lstrip() + "\n"
