"""β₁ 的研究：任务、做法、挑学习率、报告用的实验；计划见 benchmarks/beta1_plan.md。

录制由 benchmarks/beta1_study.py 做，先挑学习率（``tune_*.npz``），再录报告（``runs_beta1_*.npz``）。
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import isotonic_regression

from ppo_lib.config import PPOConfig
from ppo_lib.course.ch08 import correction_factor, without_bias_correction
from ppo_lib.course.comparison import Comparison, compare
from ppo_lib.course.experiment import Experiment
from ppo_lib.optimizer import make_optimizer
from ppo_lib.recorded import DATA_DIR, load_grid, load_runs
from ppo_lib.statistics import iqm, whole_run_scores

# ---------------------------------------------------------------- 任务

MINATAR = PPOConfig(
    num_envs=64, ent_coef=0.01, total_timesteps=500_000, env_name="Breakout-MinAtar"
)
TASKS = {
    "cartpole": PPOConfig(env_name="CartPole-v1", total_timesteps=200_000),
    "mountain_car": PPOConfig(activation="tanh", ent_coef=0.05, total_timesteps=1_000_000),
    "acrobot": PPOConfig(env_name="Acrobot-v1", total_timesteps=300_000),
    "space_invaders": dataclasses.replace(MINATAR, env_name="SpaceInvaders-MinAtar"),
    "breakout": MINATAR,
}  # fmt: skip
"""五个任务；别的键是原指南的默认值。"""

TITLES = {
    "cartpole": "CartPole",
    "mountain_car": "MountainCar",
    "acrobot": "Acrobot",
    "space_invaders": "SpaceInvaders",
    "breakout": "Breakout",
}
"""任务在图和表里的名字。"""


def is_minatar(task: str) -> bool:
    """是不是两个 MinAtar 任务之一：训练一次要久得多，种子少些。"""
    return TASKS[task].env_name.endswith("MinAtar")


def tuning_config(task: str) -> PPOConfig:
    """挑学习率用的配置：种子从 1000 起。"""
    return dataclasses.replace(TASKS[task], seed=1000, num_seeds=3 if is_minatar(task) else 5)


def report_config(task: str) -> PPOConfig:
    """报告用的配置：种子从 2000 起，别处没有用过。"""
    return dataclasses.replace(TASKS[task], seed=2000, num_seeds=10 if is_minatar(task) else 30)


def retuning_config(task: str) -> PPOConfig:
    """第二轮挑学习率用的配置：种子从 1100 起，与第一轮的不同。"""
    return dataclasses.replace(TASKS[task], seed=1100, num_seeds=10)


def again_config(task: str) -> PPOConfig:
    """第二轮报告用的配置：种子从 3000 起，别处没有用过。"""
    return dataclasses.replace(TASKS[task], seed=3000, num_seeds=30)


# ---------------------------------------------------------------- 改动过的 Adam

STEPS = 8
"""五个任务里，一次更新走几步：两遍 × 四个小批次。"""


def changed_adam(change: Callable) -> Callable:
    """换下 ``make_optimizer``：走每一步之前改优化器的状态，走完再缩放这一步。

    Args:
        change: (Adam 的状态, hyper) -> (改过的状态, 这一步乘几倍)；状态的 ``count`` 是已经走了几步。
    """

    def changed(kind: str, lr, hyper) -> optax.GradientTransformation:
        adam = make_optimizer(kind, lr, hyper)

        def update(grad, state, params=None):
            clip, scale, minus_lr = state
            scale, factor = change(scale, hyper)
            steps, state = adam.update(grad, (clip, scale, minus_lr), params)
            return jax.tree.map(lambda x: factor * x, steps), state

        return optax.GradientTransformation(adam.init, update)

    return changed


def forget_momentum(scale, hyper):
    """每次更新开头 m 清零，t 与 v 不动；步子配平：m 的偏差修正从清零的时候数起。"""
    inside = scale.count % STEPS
    mu = jax.tree.map(lambda m: jnp.where(inside == 0, 0.0, m), scale.mu)
    corrected = (1 - hyper.beta_1 ** (scale.count + 1)) / (1 - hyper.beta_1 ** (inside + 1))
    return scale._replace(mu=mu), corrected


def restart_time(scale, hyper):
    """Adam-Rel：每次更新开头 t 归零，m 与 v 留着。出处：Ellis et al. (2024)。"""
    return scale._replace(count=scale.count % STEPS), 1.0


def follow_restarts(scale, hyper):
    """Adam-Rel 的对照：什么也不归零，步子乘 f(t)/f(T)，与 Adam-Rel 一样长。"""
    factor = functools.partial(correction_factor, beta_1=hyper.beta_1, beta_2=hyper.beta_2)
    return scale, factor(scale.count % STEPS + 1) / factor(scale.count + 1)


# ---------------------------------------------------------------- 做法

BETA_1 = (0.0, 0.5, 0.9, 0.95, 0.99)
LR = tuple(2.5e-4 * 2**i for i in range(7))
"""挑学习率的表；最好的在边上，就向那边加一格，最多加两次。"""

SGD_LR = tuple(64 * lr for lr in LR)
"""SGD 没有 √v 作分母，步子比 Adam 短，表整个移到大的一边。"""


class Method(NamedTuple):
    """一种做法：改哪些键，换下库里的哪个函数，挑学习率的表。"""

    changes: Mapping[str, Any]
    optimizer: Callable | None = None  # 换下 make_optimizer 的函数
    lr: tuple[float, ...] = LR

    @property
    def patches(self) -> dict[str, Callable]:
        """``patched`` 要的样子。"""
        return {"ppo_lib.training.make_optimizer": self.optimizer} if self.optimizer else {}


CHANGED_ON = ("cartpole",)
"""E4 和 E7 在哪几个任务上做。"""

BETAS = {f"β₁ = {b:g}": Method(dict(beta_1=b)) for b in BETA_1}
OTHERS = {
    "Adam-Rel": Method({}, changed_adam(restart_time)),
    "RMSprop": Method(dict(optimizer="rmsprop")),
    "没有偏差修正": Method({}, without_bias_correction),
    "SGD": Method(dict(optimizer="sgd"), lr=SGD_LR),
    "β₁ = β₂ = 0.9": Method(dict(beta_1=0.9, beta_2=0.9)),
    "β₁ = β₂ = 0.99": Method(dict(beta_1=0.99, beta_2=0.99)),
}
LONG = ("β₁ = 0.9", "β₁ = 0.95", "β₁ = 0.99")
FORGETFUL = {
    f"{name}，忘掉 m": Method(BETAS[name].changes, changed_adam(forget_momentum))
    for name in LONG
}
METHODS = BETAS | OTHERS | FORGETFUL
"""挑过学习率的做法：名字 → Method。"""

BASE = "β₁ = 0.9"
"""比较的基准。"""

STEPS_PER_UPDATE = (4, 8, 16, 32, 64)


def e2_keys(way: str, steps: int, task: str) -> dict:
    """一次更新走 steps 步，三种做法，优化的总步数不变。"""
    keys = {
        "甲": dict(num_steps=16 * steps, update_epochs=2, num_minibatches=steps // 2),
        "乙": dict(num_steps=128, update_epochs=steps // 4, num_minibatches=4),
        "丙": dict(num_steps=128, update_epochs=2, num_minibatches=steps // 2),
    }[way]
    total = 512 if is_minatar(task) else 1536  # 优化的总步数，64 除得尽
    batch = keys["num_steps"] * TASKS[task].num_envs
    return keys | dict(shuffle="samples", total_timesteps=total // steps * batch)


AGAIN = ("cartpole", "mountain_car", "acrobot")
"""做第二轮的任务：训练一次只要一两秒的。"""

AGAIN_LR = tuple(2.5e-4 * 2**i for i in range(10))
"""第二轮挑学习率的表：到 0.128，每种做法都试满。"""

ONLY = {
    "只给 Actor 用 0.99": Method(dict(beta_1=0.99, critic_beta_1=0.9)),
    "只给 Critic 用 0.99": Method(dict(beta_1=0.9, critic_beta_1=0.99)),
}
BY_STEPS = {
    f"K = {steps}，β₁ = {b:g}": Method(dict(beta_1=b) | e2_keys("甲", steps, "cartpole"))
    for steps in (4, 8, 32)
    for b in (0.9, 0.99)
}
ONE_BY_ONE = {name: OTHERS[name] for name in ("RMSprop", "没有偏差修正")}
BY_LENGTH = {
    f"{title}，β₁ = {b:g}": Method(dict(beta_1=b) | keys)
    for title, keys in {
        "训练长一倍": dict(total_timesteps=e2_keys("甲", STEPS, "cartpole")["total_timesteps"]),
        "小批次抽样本": dict(shuffle="samples"),
    }.items()
    for b in (0.9, 0.99)
}
"""第三轮补的两格：K = 8 的 BY_STEPS 与 BETAS 不同的有两样，这里各改一样。"""


def again_methods(task: str) -> dict[str, Method]:
    """第二、三轮在一个任务上的做法。"""
    on_cartpole = ONE_BY_ONE | BY_STEPS | BY_LENGTH if task == "cartpole" else {}
    return BETAS | ONLY | {"Adam-Rel": OTHERS["Adam-Rel"]} | on_cartpole


# ---------------------------------------------------------------- 挑学习率


def tuning_runs(task: str, method: str, file: str = "tune") -> dict[float, np.ndarray]:
    """学习率 → 整段的成绩 (seeds,)；没有录的是空的。

    Args:
        file: 读 ``tune_任务.npz``（第一轮）还是 ``retune_任务.npz``（第二、三轮）。
    """
    path = DATA_DIR / f"{file}_{task}.npz"
    if not path.exists():
        return {}
    grid = load_grid(path)
    if method not in grid["method"]:
        return {}
    scores = whole_run_scores(grid.sel({"method": method})).values  # (lr, seed)
    found = zip(grid["lr"].values.tolist(), scores)
    return {lr: each for lr, each in found if np.isfinite(iqm(each))}


def tuning_scores(task: str, method: str, file: str = "tune") -> dict[float, float]:
    """学习率 → 整段成绩的四分位均值；参数同 ``tuning_runs``。"""
    return {lr: float(iqm(each)) for lr, each in tuning_runs(task, method, file).items()}


def best_lr(scores: Mapping[float, float]) -> float:
    """成绩最好的学习率。"""
    return max(scores, key=scores.get)


def next_lr(scores: Mapping[float, float], asked: tuple[float, ...]) -> float | None:
    """最好的在表的边上时，该加的那一格；不在边上，或已经加了两格，就是 None。

    Args:
        scores: 到此为止的学习率 → 成绩。
        asked: 原来的表。
    """
    best = best_lr(scores)
    if len(scores) >= len(asked) + 2 or best not in (min(scores), max(scores)):
        return None
    return best * 2 if best == max(scores) else best / 2


@functools.cache
def tuned_lr(task: str, method: str, file: str = "tune") -> float | None:
    """这个任务上这种做法用的学习率；还没有挑就是 None。"""
    scores = tuning_scores(task, method, file)
    return best_lr(scores) if scores else None


def methods_of(task: str) -> dict[str, Method]:
    """一个任务上要挑学习率的做法。"""
    return METHODS if task in CHANGED_ON else BETAS | {"Adam-Rel": OTHERS["Adam-Rel"]}


# ---------------------------------------------------------------- 报告


def at_own_lr(task: str, *names: str) -> dict[str, dict]:
    """几种做法，各用自己的学习率：名字 → 改动的键。"""
    return {name: dict(METHODS[name].changes) | dict(lr=tuned_lr(task, name)) for name in names}


def e1(task: str) -> Experiment:
    """各个 β₁，用自己的学习率；又用 0.9 的学习率（两者不同才录）。"""
    own, base_lr = at_own_lr(task, *BETAS), tuned_lr(task, BASE)
    same = {
        f"{name}，{BASE} 的学习率": keys | dict(lr=base_lr)
        for name, keys in own.items()
        if keys["lr"] != base_lr
    }
    return Experiment(report_config(task), own | same, points=20)


def e2(task: str) -> Experiment:
    """一次更新走几步 × β₁；K = 8 时三种做法是同一个，只录一次。"""
    variants = {
        f"{way}，K = {steps}，{name}": own | e2_keys(way, steps, task)
        for way in "甲乙丙"
        for steps in STEPS_PER_UPDATE
        if way == "甲" or steps != STEPS
        for name, own in at_own_lr(task, *BETAS).items()
    }
    return Experiment(report_config(task), variants, points=8)


APART = (0.0, 0.9, 0.99)


def e3(task: str) -> Experiment:
    """Actor 与 Critic 各用一个 β₁，学习率用 0.9 的。"""
    lr = tuned_lr(task, BASE)
    variants = {
        f"Actor {a:g}，Critic {c:g}": dict(beta_1=a, critic_beta_1=c, lr=lr)
        for a in APART
        for c in APART
    }
    return Experiment(report_config(task), variants, points=20)


def with_optimizer(task: str, own: Mapping[str, Mapping], optimizers: Mapping) -> Experiment:
    """几种做法，有的换下 make_optimizer。"""
    patches = {
        name: {"ppo_lib.training.make_optimizer": optimizer}
        for name, optimizer in optimizers.items()
        if optimizer
    }
    return Experiment(report_config(task), own, points=20, patches=patches)


def e4(task: str) -> Experiment:
    """每次更新开头忘掉 m：学习率与不忘的相同，和自己的学习率。不忘的在 E1 里。"""
    same = {f"{name}，忘掉 m": keys for name, keys in at_own_lr(task, *LONG).items()}
    own = {f"{name}，自己的学习率": keys for name, keys in at_own_lr(task, *FORGETFUL).items()}
    return with_optimizer(
        task, same | own, dict.fromkeys(same | own, changed_adam(forget_momentum))
    )


def e5(task: str) -> Experiment:
    """Adam-Rel 用自己的学习率；它与它的对照，都用 0.9 的学习率。"""
    lr = dict(lr=tuned_lr(task, BASE))
    rel, control = (changed_adam(x) for x in (restart_time, follow_restarts))
    own = at_own_lr(task, "Adam-Rel") | {
        f"Adam-Rel，{BASE} 的学习率": lr,
        f"只缩放步子，{BASE} 的学习率": lr,
    }
    return with_optimizer(task, own, dict(zip(own, (rel, rel, control))))


def e7(task: str) -> Experiment:
    """优化器的别的改法，各用自己的学习率。"""
    names = [name for name in OTHERS if name != "Adam-Rel"]
    own = at_own_lr(task, *names)
    return with_optimizer(task, own, {name: METHODS[name].optimizer for name in names})


def e0(task: str) -> Experiment:
    """归一化的零点：学习率小到等于不学，策略一直是刚初始化的、近乎均匀的那个。"""
    still = dict(lr=1e-12, total_timesteps=100_000, num_seeds=10)
    return Experiment(report_config(task), {"不学": still}, points=5)


def again(task: str) -> Experiment:
    """第二、三轮：每种做法用 ``retune`` 挑的学习率。"""
    methods = again_methods(task)
    own = {
        name: dict(how.changes) | dict(lr=tuned_lr(task, name, "retune"))
        for name, how in methods.items()
    }
    patches = {name: how.patches for name, how in methods.items() if how.patches}
    return Experiment(again_config(task), own, points=20, patches=patches)


PARTS = {
    "e0": (e0, tuple(TASKS)),
    "e1": (e1, tuple(TASKS)),
    "e2": (e2, ("cartpole",)),
    "e3": (e3, tuple(TASKS)),
    "e4": (e4, CHANGED_ON),
    "e5": (e5, AGAIN),
    "e7": (e7, CHANGED_ON),
    "again": (again, AGAIN),
}
"""各个实验：怎样造，在哪些任务上做。"""

EXPERIMENTS = {
    f"{part}_{task}": make(task)
    for part, (make, tasks) in PARTS.items()
    for task in tasks
    if tuned_lr(task, BASE, "retune" if part == "again" else "tune")
}
"""挑过学习率的任务上的实验。"""


# ---------------------------------------------------------------- 结果


def scores(
    part: str, task: str, scores_of: Callable = whole_run_scores
) -> dict[str, np.ndarray]:
    """一个实验在一个任务上的成绩：做法 → (seeds,)。

    Args:
        part: 实验的代号，例如 ``"e1"``。
        scores_of: ``whole_run_scores``（主要的成绩）或 ``final_scores``。
    """
    table = scores_of(load_runs(f"beta1_{part}_{task}")).transpose("variant", "seed")
    return dict(zip(table["variant"].values.tolist(), table.values))


def headline(task: str) -> str:
    """一个任务上，五个 β₁ 的结论出自哪个实验：做过第二轮的用第二轮。"""
    return "again" if task in AGAIN else "e1"


def normalized(task: str, values, part: str = "e1"):
    """归一：0 是不学的策略，1 是这个实验里 β₁ = 0.9 在自己最好的学习率下的四分位均值。"""
    zero = iqm(scores("e0", task)["不学"])
    return (values - zero) / (iqm(scores(part, task)[BASE]) - zero)


def resampled_iqm(values, rng, draws: int = 20_000) -> np.ndarray:
    """重抽 draws 次的四分位均值，(draws,)。"""
    return iqm(rng.choice(values, (len(values), draws)))


def shares(task: str, ours, base=None, part: str = "e1", seed: int = 0):
    """两组之差是归一成绩的多少：(差, 重抽的差 (draws,))；归一用的 0 和 1 也是量出来的，一起重抽。

    Args:
        ours, base: 没有归一的成绩，(seeds,)；不给 base 就与 β₁ = 0.9（也就是 1）比。
        part: 1 是这个实验里的 β₁ = 0.9。
    """
    rng = np.random.default_rng(seed)
    zero, one = scores("e0", task)["不学"], scores(part, task)[BASE]
    groups = [zero, one, ours] if base is None else [zero, one, ours, base]
    points = np.array([iqm(x) for x in groups])
    draws = np.array([resampled_iqm(x, rng) for x in groups])  # (groups, draws)

    def share(x):
        return (x[2] - x[1 if base is None else 3]) / (x[1] - x[0])

    return float(share(points)), share(draws)


def relative(task: str, ours, base=None, part: str = "e1") -> tuple[float, float, float]:
    """两组之差是归一成绩的多少：(差, 下界, 上界)；参数同 ``shares``。"""
    difference, draws = shares(task, ours, base, part)
    return difference, *np.quantile(draws, [0.025, 0.975]).tolist()


def against_base(task: str, names, part: str = "e1") -> dict[str, Comparison]:
    """几种做法各与 β₁ = 0.9 比，一族，差是归一成绩的多少。"""
    table = scores(part, task)
    found = compare({name: (table[name], table[BASE]) for name in names})
    return {
        name: Comparison(*relative(task, table[name], part=part), x.p)
        for name, x in found.items()
    }


def pooled_interval(groups: Mapping[str, np.ndarray]) -> tuple[float, float, float]:
    """几个任务的归一成绩的平均和 95% 置信区间：每个任务一样重，各自重抽，归一用的 0 和 1 也是。

    groups 是 {任务: 没有归一的成绩 (seeds,)}。
    """
    differences, draws = zip(
        *(
            shares(task, x, None, headline(task), seed)
            for seed, (task, x) in enumerate(groups.items())
        )
    )
    low, high = 1 + np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    return float(1 + np.mean(differences)), float(low), float(high)


def chance_of_winning(ours, base) -> float:
    """随手各抽一个种子，ours 的成绩高于 base 的机会；平手算一半。

    出处：Agarwal et al. (2021)，第 4.3 节的 probability of improvement。
    """
    difference = np.subtract.outer(np.asarray(ours), np.asarray(base))
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def chance_interval(ours, base, draws: int = 5000) -> tuple[float, float, float]:
    """胜出的机会和它的 95% 置信区间：两组各自重抽种子。"""
    rng = np.random.default_rng(0)
    wins = 0.5 + np.sign(np.subtract.outer(ours, base)) / 2  # (ours, base)，平手是 1/2
    i, j = (rng.integers(len(x), size=(draws, len(x))) for x in (ours, base))
    chances = wins[i[:, :, None], j[:, None, :]].mean(axis=(1, 2))  # (draws,)
    return chance_of_winning(ours, base), *np.quantile(chances, [0.025, 0.975]).tolist()


# ---------------------------------------------------------------- 一次更新的步数


def steps_cell(way: str, steps: int, beta_1: float) -> np.ndarray:
    """E2 的一格：CartPole 上这种做法、这个步数、这个 β₁ 的成绩，(seeds,)。"""
    way = "甲" if steps == STEPS else way  # 三种做法在那里是同一个
    return scores("e2", "cartpole")[f"{way}，K = {steps}，β₁ = {beta_1:g}"]


def monotone_error(x, y) -> float:
    """一条不降的线（保序回归）配 (x, y)，留一法的均方根误差。"""
    x, y = np.asarray(x, float), np.asarray(y, float)
    errors = []
    order = np.argsort(x, kind="stable")
    for i in range(len(x)):
        rest = order[order != i]
        line = isotonic_regression(y[rest]).x
        errors.append(y[i] - np.interp(x[i], x[rest], line))
    return float(np.sqrt(np.mean(np.square(errors))))


def group_error(groups, y) -> float:
    """只看 groups：用同组别的点的平均来猜，留一法的均方根误差。"""
    groups, y = np.asarray(groups), np.asarray(y, float)
    same = groups[:, None] == groups[None, :]
    np.fill_diagonal(same, False)
    return float(np.sqrt(np.mean((y - same @ y / same.sum(axis=1)) ** 2)))
