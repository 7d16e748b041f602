"""第 12 章的实验、奖励整形的反例、统计和练习检查。"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ppo_lib import envs, training
from ppo_lib.config import PPOConfig
from ppo_lib.course.comparison import conclude
from ppo_lib.course.experiment import Experiment
from ppo_lib.course.verdict import Mistake, checker
from ppo_lib.diagnostics import update_running_grad
from ppo_lib.plotting import COLORS
from ppo_lib.statistics import difference_interval, final_scores

# ---------------------------------------------------------------- 实验

FRESH = 200
"""这一章的种子从这里起；网格和前面各章没有用过它们。"""

CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=100_000, seed=FRESH, num_seeds=10)
"""CartPole 的基准：原指南的配置，十万步。"""

MOUNTAIN_CAR = PPOConfig(
    activation="tanh", ent_coef=0.05, total_timesteps=1_000_000, seed=FRESH, num_seeds=10
)
"""MountainCar 的基准：第 9 章学得会的设置，一百万步。"""

GUIDE = PPOConfig(total_timesteps=1_000_000, seed=FRESH, num_seeds=10)
"""原指南自己的配置，一百万步：第 9 章里它一次也没有到过终点。"""

WIDE = (256, 256, 128)
"""指南建议的三层网络。"""

BASE = "基准"

CHANGES = {
    "beta_1 = 0.5": dict(beta_1=0.5),
    "beta_1 = 0.95": dict(beta_1=0.95),
    "lr = 0.008": dict(lr=8e-3),
    "advantage_norm = batch": dict(advantage_norm="batch"),
    "advantage_norm = none": dict(advantage_norm="none"),
    "anneal_lr = false": dict(anneal_lr=False),
    "update_epochs = 4": dict(update_epochs=4),
    "shuffle = samples": dict(shuffle="samples"),
    "4 遍 + samples": dict(update_epochs=4, shuffle="samples"),
}
"""一处一处的改动；每次只动这里写着的键。"""

APART = ("update_epochs = 4", "shuffle = samples")
"""“4 遍 + samples”拆开的两半；MountainCar 上另录一次。"""


# ---------------------------------------------------------------- 有问题的整形


def forward_only(state, next_state, terminated, gamma):
    """只奖励往右走：0.01·max(Δx, 0)。往左退回来不扣，所以来回走能一直拿分。"""
    return 0.01 * jnp.maximum(next_state.position - state.position, 0.0)


def energy_itself(state, next_state, terminated, gamma):
    """把机械能本身当奖励，而不是机械能的变化：0.02·Φ(s')，坡顶静止时是 2。"""
    return 0.02 * envs.energy_potential(next_state)


def episode_metrics_with_reward(ends, rollout, env_name):
    """多记一个指标：用来学习的奖励（整形之后的）每步平均是多少。"""
    metrics = EPISODE_METRICS(ends, rollout, env_name)
    return metrics | {"learning_reward": rollout.reward.mean()}


def position_potential_shaping(state, next_state, terminated, gamma):
    """位置的势函数整形，与 energy_shaping 同尺度、同零点：谷底 -100，坡顶 0，终止取 0。"""

    def potential(x):
        return 100.0 * (x.position + jnp.pi / 6) / (jnp.pi / 3) - 100.0

    return gamma * jnp.where(terminated, 0.0, potential(next_state)) - potential(state)


def constant_shaping(state, next_state, terminated, gamma):
    """势处处是 -100，终止取 0：只有零点，没有形状。"""
    return gamma * jnp.where(terminated, 0.0, -100.0) + 100.0


def energy_from_the_valley(state, next_state, terminated, gamma):
    """机械能的势函数整形，终止取 0，但以谷底静止为零点。"""
    next_potential = jnp.where(terminated, 0.0, envs.energy_potential(next_state))
    return gamma * next_potential - envs.energy_potential(state)


def energy_keep_terminal_from_the_top(state, next_state, terminated, gamma):
    """机械能，以坡顶静止为零点，但终止状态的势照算。"""
    next_potential = envs.energy_potential(next_state) - 100.0
    return gamma * next_potential - (envs.energy_potential(state) - 100.0)


EPISODE_METRICS = training.episode_metrics
WITH_REWARD = {"ppo_lib.training.episode_metrics": episode_metrics_with_reward}


def instead_of_position(shaping) -> dict:
    """把 ``reward_shaping="position"`` 换成 shaping。"""
    return {"ppo_lib.envs.SHAPING": envs.SHAPING | {"position": shaping}}


def replaced_shaping(shaping) -> dict:
    """同上，并多记学习用的奖励。"""
    return WITH_REWARD | instead_of_position(shaping)


SCALED = dict(obs_scaling="bounds", lr=2e-3)
"""奖励整形那一节里与它一起改的两处。"""

EXPERIMENTS = {
    "cartpole": Experiment(
        CARTPOLE,
        {
            BASE: {},
            **CHANGES,
            "lr = 0.016": dict(lr=0.016),
            "lr = 0.05": dict(lr=0.05),
            "步数加倍": dict(total_timesteps=200_000),
        },
        points=20,
    ),
    "shaping": Experiment(
        GUIDE,
        {
            "不整形": {},
            "位置": dict(reward_shaping="position"),
            "位置 × 1000": dict(reward_shaping="position", shaping_scale=1000),
            "机械能": dict(reward_shaping="energy"),
            "不整形，缩放": SCALED,
            "位置，缩放": SCALED | dict(reward_shaping="position"),
            "位置 × 1000，缩放": SCALED | dict(reward_shaping="position", shaping_scale=1000),
            "机械能，缩放": SCALED | dict(reward_shaping="energy"),
            "机械能（终止也算），缩放": SCALED | dict(reward_shaping="energy_keep_terminal"),
        },
        metrics=("return", "goals_reached"),
        points=20,
    ),
    "shaping_controls": Experiment(
        dataclasses.replace(GUIDE, reward_shaping="position"),
        {
            "位置，同尺度、同零点": {},
            "常数": {},
            "谷底为零点，终止取 0，缩放": SCALED,
            "坡顶为零点，终止也算，缩放": SCALED,
        },
        metrics=("return", "goals_reached"),
        points=20,
        patches={
            "位置，同尺度、同零点": instead_of_position(position_potential_shaping),
            "常数": instead_of_position(constant_shaping),
            "谷底为零点，终止取 0，缩放": instead_of_position(energy_from_the_valley),
            "坡顶为零点，终止也算，缩放": instead_of_position(
                energy_keep_terminal_from_the_top
            ),
        },
    ),
    "hacking": Experiment(
        PPOConfig(total_timesteps=1_000_000, seed=FRESH, num_seeds=10, **SCALED),
        {
            "机械能的变化": dict(reward_shaping="energy"),
            "只奖励往右，10 倍": dict(reward_shaping="position", shaping_scale=1000),
            "只奖励往右，1000 倍": dict(reward_shaping="position", shaping_scale=100_000),
            "机械能本身": dict(reward_shaping="position", shaping_scale=3),
        },
        metrics=("return", "goals_reached", "learning_reward"),
        points=20,
        patches={
            "机械能的变化": WITH_REWARD,
            "只奖励往右，10 倍": replaced_shaping(forward_only),
            "只奖励往右，1000 倍": replaced_shaping(forward_only),
            "机械能本身": replaced_shaping(energy_itself),
        },
    ),
    "mountain_car": Experiment(
        MOUNTAIN_CAR,
        {
            BASE: {},
            **{name: CHANGES[name] for name in CHANGES if name not in APART},
            "机械能整形": dict(reward_shaping="energy"),
        },
        points=20,
    ),
    "mountain_car_epochs": Experiment(
        MOUNTAIN_CAR, {name: CHANGES[name] for name in APART}, points=20
    ),
    "running_grad": Experiment(
        PPOConfig(total_timesteps=1_000_000, seed=FRESH, num_seeds=5, running_grad_decay=0.99),
        {
            "学得会": dict(activation="tanh", ent_coef=0.05),
            "学不会": {},
        },
        metrics=("return", "cosine_similarity"),
        points=20,
    ),
    "noise": Experiment(CARTPOLE, {BASE: dict(seed=300, num_seeds=100)}, points=20),
    "retest": Experiment(
        CARTPOLE,
        {
            name: CHANGES[name] | dict(seed=400, num_seeds=40)
            for name in ("beta_1 = 0.5", "advantage_norm = batch", "advantage_norm = none")
        },
        points=20,
    ),
    "mountain_car_retest": Experiment(
        MOUNTAIN_CAR,
        {
            name: keys | dict(seed=400, num_seeds=20)
            for name, keys in (
                (BASE, {}),
                ("advantage_norm = batch", CHANGES["advantage_norm = batch"]),
            )
        },
        points=20,
    ),
    "cartpole_wide": Experiment(
        CARTPOLE,
        {
            "256×256×128": dict(hidden_sizes=WIDE),
            "256×256×128，lr = 0.001": dict(hidden_sizes=WIDE, lr=1e-3),
        },
        points=20,
    ),
}


# ---------------------------------------------------------------- 滑动梯度


def gradient_metrics_after(decay: float):
    """指南的次序：先把这一次的梯度并进滑动梯度，再拿它们算余弦。"""

    def metrics(grad, running_grad, opt_state):
        running_grad = update_running_grad(running_grad, grad, decay)
        return GRADIENT_METRICS(grad, running_grad, opt_state)

    return metrics


GRADIENT_METRICS = training.gradient_metrics


def noise_cosines(decay: float, num_steps: int = 500, dim: int = 4000) -> tuple[float, float]:
    """梯度是互不相关的纯噪声时，它与滑动梯度的余弦：(先算余弦再并入, 先并入再算余弦)。

    取后一半步数的平均，滑动梯度已经稳定。
    """
    rng = np.random.default_rng(0)
    running, before, after = np.zeros(dim), [], []
    for _ in range(num_steps):
        grad = rng.normal(size=dim)
        before.append(cosine(grad, running))
        running = decay * running + (1 - decay) * grad
        after.append(cosine(grad, running))
    half = num_steps // 2
    return float(np.mean(before[half:])), float(np.mean(after[half:]))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """两个向量 (dim,) 夹角的余弦；有一个是零向量时记 0。"""
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else 0.0


# ---------------------------------------------------------------- 比较


def differences(runs: xr.Dataset, base) -> dict[str, tuple[float, float, float]]:
    """一个实验里每种做法与基准之差：{做法: (差, 下界, 上界)}，不含基准自己。base (seeds,)。"""
    scores = final_scores(runs)  # (variant, seed)
    return {
        str(name): difference_interval(scores.sel(variant=name).values, base)
        for name in scores["variant"].values
        if name != BASE
    }


def false_alarms(scores, size: int = 10, trials: int = 400) -> float:
    """两组都出自同一份配置时，差的 95% 置信带不含 0 的比例。

    Args:
        scores: (seeds,) 同一份配置的许多个种子；每次抽出不重叠的两组。
        size: 一组几个种子。
    """
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(trials):
        picked = rng.permutation(scores)[: 2 * size]
        _, low, high = difference_interval(picked[:size], picked[size:], draws=500)
        alarms += low > 0 or high < 0
    return alarms / trials


def forest(ax: Axes, rows: dict[str, tuple[float, float, float]], title: str) -> None:
    """森林图：一行一处改动，点是差，横线是 95% 置信带；由大到小排。

    变好的实心蓝，变差的实心橙，看不出差别的空心灰。
    """
    style = {"变好": COLORS[0], "变差": COLORS[1], "看不出差别": "#888888"}
    order = sorted(rows, key=lambda name: rows[name][0])
    for y, name in enumerate(order):
        difference, low, high = rows[name]
        verdict = conclude(low, high)
        color = style[verdict]
        face = "none" if verdict == "看不出差别" else color
        ax.plot([low, high], [y, y], color=color, linewidth=2)
        ax.plot(difference, y, "o", color=color, markerfacecolor=face, markersize=6)
    ax.axvline(0, color="gray", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(order)), order, fontsize=9)
    ax.set(title=title, xlabel="与基准之差（回报）", ylim=(-0.6, len(order) - 0.4))
    ax.tick_params(axis="y", length=0)


# ---------------------------------------------------------------- 练习

LOOP = [(-0.6, 0.0), (-0.5, 0.02), (-0.3, 0.03), (-0.4, -0.02), (-0.6, 0.0)]
"""练习 12.1 的一圈状态 (位置, 速度)，首尾相同。"""

SHAPINGS = {
    1: lambda x, v, x2, v2: x2 - x,
    2: lambda x, v, x2, v2: max(x2 - x, 0.0),
    3: lambda x, v, x2, v2: v2**2 - v**2,
    4: lambda x, v, x2, v2: abs(v2),
    5: lambda x, v, x2, v2: x2 * v2 - x * v,
}
"""练习 12.1 的五种整形：参数是这一步之前的位置、速度，和之后的。"""


def loop_sum(shaping, loop=LOOP) -> float:
    """绕一圈，整形的奖励（不打折）加起来是多少。"""
    return sum(shaping(*before, *after) for before, after in zip(loop[:-1], loop[1:]))


@checker
def check_potential_based(answer) -> str:
    """练习 12.1：γ = 1 时，哪几种整形是势函数整形。"""
    expected, chosen = {1, 3, 5}, {int(i) for i in answer}
    if not chosen <= set(SHAPINGS):
        raise Mistake("请填编号，1 到 5，例如 {1, 2}。")
    if chosen == expected:
        return "它们的势依次是 x、v²、x·v；绕任何一圈，和都是 0。"
    if chosen == {2, 4}:
        raise Mistake("反了：势函数整形绕一圈的和是 0，你选的是不为 0 的。")
    if 2 in chosen:
        raise Mistake("第 2 种往左退不扣分：来回走一趟，和是正的。绕一圈算一算。")
    if 4 in chosen:
        raise Mistake(
            "第 4 种只看到达的状态，没有减去出发的：一直快速地动，就一直有分。绕一圈，和是正的。"
        )
    if 5 in expected - chosen:
        raise Mistake("还漏了：势可以是位置和速度的任何函数，不一定只含其中一个。")
    if 3 in expected - chosen:
        raise Mistake("还漏了：写成“后一个状态的函数减去前一个状态的同一个函数”的，都算。")
    raise Mistake("还漏了：γ = 1 时，位置的变化就是 Φ = x 的势函数整形。")


@checker
def check_my_shaping(shaping) -> str:
    """练习 12.2：势函数整形，终止状态的势取 0。"""
    potential, next_potential = jnp.array([3.0, -2.0, 5.0]), jnp.array([4.0, 1.0, -7.0])
    terminated, gamma = jnp.array([False, False, True]), 0.9
    answer = shaping(potential, next_potential, terminated, gamma)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    result = np.asarray(answer, float)
    if result.shape != (3,):
        raise Mistake(f"要逐步的奖励，形状 (batch,)，这里是 (3,)；你的是 {result.shape}。")
    now, after, going_on = np.asarray(potential), np.asarray(next_potential), ~terminated
    known_wrong = [
        (gamma * after - now, "终止那一步的势要取 0：之后没有下一步把它减回来。"),
        (after * going_on - now, "后一个状态的势忘了乘 γ：γ 不是 1 时，和就不能逐项相消。"),
        (after - now, "忘了 γ，终止的势也没有取 0。"),
        (now - gamma * after * going_on, "符号反了：是后一个减前一个。"),
        (after * going_on - gamma * now, "γ 乘错了地方：它乘后一个状态的势。"),
        (gamma * (after * going_on - now), "γ 只乘后一个状态的势，前一个不乘。"),
        (
            (gamma * after - now) * going_on,
            "终止那一步，整项都成了 0。只有后一个状态的势取 0，前一个照减：-Φ(s)。",
        ),
        (gamma * after * terminated - now, "反了：势取 0 的是终止的那一步，你留下的正好是它。"),
    ]
    if np.allclose(result, gamma * after * going_on - now, atol=1e-5):
        return "与库里 energy_shaping 的最后两行相同。"
    for wrong, hint in known_wrong:
        if np.allclose(result, wrong, atol=1e-5):
            raise Mistake(hint)
    raise Mistake("逐步算 γΦ(s') - Φ(s)，其中终止那一步的 Φ(s') 换成 0。")


@checker
def check_honest_best(honest_best) -> str:
    """练习 12.3：用旧种子挑出最好的一格，用新种子报它的成绩。返回 (第几格, 成绩)。"""
    rng = np.random.default_rng(60)
    truth = rng.normal(200, 5, (8, 1))
    seen, fresh = truth + rng.normal(0, 40, (8, 5)), truth + rng.normal(0, 40, (8, 6))
    answer = honest_best(seen, fresh)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Mistake("请返回两样：(第几格, 成绩)。")
    best = int(np.argmax(seen.mean(axis=1)))
    cell, score = int(answer[0]), float(answer[1])
    if cell == best and np.isclose(score, fresh[best].mean()):
        shrunk = seen[best].mean() - score
        return f"挑的时候看到的比它高 {shrunk:.0f} 分：那就是赢家的诅咒。"
    if np.isclose(score, seen[best].mean()):
        raise Mistake("报的是挑的时候看到的成绩：它是几格里最大的，偏高。换新种子的成绩。")
    if cell == int(np.argmax(fresh.mean(axis=1))):
        raise Mistake("你用新种子来挑，它们就不再是“没有用过的”，报出来的又偏高了。")
    if cell == int(np.argmax(np.c_[seen, fresh].mean(axis=1))):
        raise Mistake("挑的时候用上了新种子。挑和报要用不同的种子。")
    if cell == int(np.argmin(seen.mean(axis=1))):
        raise Mistake("挑成最差的一格了：回报越大越好。")
    if cell == best and np.isclose(score, np.r_[seen[best], fresh[best]].mean()):
        raise Mistake("成绩里混进了挑选时用过的种子，仍然偏高。只用新的。")
    if cell == int(seen.max(axis=1).argmax()):
        raise Mistake("你比的是每格最好的一个种子。先对种子求平均，再比。")
    if cell != best:
        raise Mistake(
            f"按旧种子的平均，最好的是第 {best} 格（从 0 数），你挑的是第 {cell} 格。"
        )
    raise Mistake(f"格挑对了；它在新种子上的平均是 {fresh[best].mean():.1f}。")


@checker
def check_biased_cosine(answer) -> str:
    """练习 12.4：衰减率 0.9，梯度是纯噪声，先并入再算，余弦是多少。"""
    value = float(answer)
    known_wrong = {
        0.0: "这是先算余弦、后并入的结果。现在平均里已经含有这个梯度自己。",
        0.1: "0.1 是这个梯度在滑动梯度里的系数；还要除以滑动梯度的长度，它比一个梯度短。",
        0.9: "0.9 是衰减率，是旧的那部分的系数。",
        1.0: "衰减率是 0 时才是 1：滑动梯度就是这个梯度自己。",
        0.19: "这是余弦的平方，忘了开方。",
        float(
            np.sqrt(0.1 / 1.9)
        ): "这是滑动梯度的长度与一个梯度的长度之比；余弦是 0.1 除以它。",
    }
    if np.isclose(value, np.sqrt(1 - 0.9**2), atol=0.006):
        return "√(1 - d²)：d = 0.9 时是 0.44，d = 0.99 时是 0.14。"
    for wrong, hint in known_wrong.items():
        if np.isclose(value, wrong, atol=0.006):
            raise Mistake(hint)
    raise Mistake("先算滑动梯度长度的平方：各项系数的平方和，0.1² × (1 + 0.9² + 0.9⁴ + …)。")
