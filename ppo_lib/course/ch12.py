"""第 12 章的实验、奖励整形的反例、统计和练习。"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ppo_lib import envs, training
from ppo_lib.config import PPOConfig
from ppo_lib.course.ch10 import repeat_search
from ppo_lib.course.comparison import Comparison, compare
from ppo_lib.course.exercises import AnswerExercise, FunctionExercise, Number, Subset, edited
from ppo_lib.course.experiment import Experiment
from ppo_lib.recorded import load_runs
from ppo_lib.statistics import difference_interval, final_scores, holm, resampled_differences

# ---------------------------------------------------------------- 实验

FRESH = 200
"""这一章的种子从这里起；网格没有用过它们，第 3 章的 paths 用过。"""

CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=100_000, seed=FRESH, num_seeds=10)
"""CartPole 的基准：默认配置，十万步。数都是原指南的；只有超时照库的做法与终止分开，原指南不分。"""

MOUNTAIN_CAR = PPOConfig(
    activation="tanh", ent_coef=0.05, total_timesteps=1_000_000, seed=FRESH, num_seeds=10
)
"""MountainCar 的基准：第 9 章学得会的设置，一百万步。"""

GUIDE = PPOConfig(total_timesteps=1_000_000, seed=FRESH, num_seeds=10)
"""默认配置，一百万步：第 9 章里它一次也没有到过终点。超时照库的做法。"""

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


# ---------------------------------------------------------------- 比较


COMPARED = {
    "CartPole": ("cartpole", "cartpole_wide"),
    "MountainCar": ("mountain_car", "mountain_car_epochs"),
}
"""总图里的比较：任务 → 出自哪几份录下的实验；基准在第一份里。"""


def all_differences() -> dict[str, dict[str, Comparison]]:
    """两张总图里的每一处改动与基准的比较，全部一起按 Holm 修正：{任务: {改动: 比较}}。"""
    pairs = {}
    for task, names in COMPARED.items():
        runs = [final_scores(load_runs(f"ch12_{name}")) for name in names]
        base = runs[0].sel(variant=BASE).values
        for scores in runs:
            for change in scores["variant"].values:
                if change != BASE:
                    pairs[f"{task}：{change}"] = (scores.sel(variant=change).values, base)
    found: dict[str, dict[str, Comparison]] = {task: {} for task in COMPARED}
    for name, comparison in compare(pairs).items():
        task, change = name.split("：", 1)
        found[task][change] = comparison
    return found


def false_alarms(scores, size: int = 10, trials: int = 400) -> float:
    """两组都出自同一份配置时，差的 95% 置信区间不含 0 的比例。

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


def steps_to(threshold: float, runs: xr.Dataset) -> np.ndarray:
    """每个种子的回报第一次不低于 threshold 时走了多少步，(seeds,)；没有到过是无穷大。runs (seed, point)。"""
    there = runs["return"].transpose("seed", ...).values >= threshold
    steps = runs["timesteps"].values[there.argmax(axis=1)]
    return np.where(there.any(axis=1), steps, np.inf)


def family_alarms(scores, size: int = 10, trials: int = 200) -> tuple[float, float]:
    """几处毫无作用的改动与同一个基准比：哪怕只有一处“看出了差别”的机会，(不修正, 按 Holm 修正)。

    Args:
        scores: (seeds,) 同一份配置的许多个种子；打乱后切成 size 个一组，第一组当基准，其余当改动。
    """
    rng = np.random.default_rng(0)
    alarms = np.zeros(2)
    for _ in range(trials):
        base, *changes = rng.permutation(scores).reshape(-1, size)
        p_values = []
        for change in changes:
            draws = resampled_differences(change, base, 1000)
            p_values.append(2 * max(min((draws <= 0).mean(), (draws >= 0).mean()), 1e-3))
        alarms += min(p_values) < 0.05, holm(p_values).min() < 0.05
    return tuple(alarms / trials)


# ---------------------------------------------------------------- 预算


def search_by_halving(table, cells: int, trials: int = 2000) -> tuple[float, float]:
    """与 ``ch10.search`` 相同，但逐轮淘汰：每一轮给还在的每一格加一个种子，留下较好的一半。"""
    return repeat_search(table, cells, halve, trials)


def halve(rows) -> tuple[int, int]:
    """逐轮淘汰，rows (格, 种子)：(剩下的是第几格, 它用了几个种子)。"""
    return halving(rows), len(rows).bit_length() - 1


def halving(table) -> int:
    """逐轮淘汰剩下的是第几格；第 k 轮比前 k 个种子的平均。table (格, 种子)。"""
    alive, k = np.arange(len(table)), 0
    while len(alive) > 1:
        k += 1
        order = np.argsort(-table[alive, :k].mean(axis=1), kind="stable")
        alive = alive[order[: len(alive) // 2]]
    return int(alive[0])


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


check_potential_based = AnswerExercise(
    "练习 12.1：哪几种整形是势函数整形",
    {
        "编号": Subset(
            {1, 3, 5},
            options=range(1, 6),
            wrong={frozenset({2, 4}): "反了：势函数整形绕一圈的和是 0，你选的是不为 0 的。"},
            extra={
                2: "第 2 种往左退不扣分：来回走一趟，和是正的。绕一圈算一算。",
                4: "第 4 种只看到达的状态，没有减去出发的：一直快速地动，就一直有分。绕一圈，和是正的。",
            },
            missing={
                5: "还漏了：势可以是位置和速度的任何函数，不一定只含其中一个。",
                3: "还漏了：写成“后一个状态的函数减去前一个状态的同一个函数”的，都算。",
                1: "还漏了：γ = 1 时，位置的变化就是 Φ = x 的势函数整形。",
            },
        )
    },
    praise="它们的势依次是 x、v²、x·v；绕任何一圈，和都是 0。",
)  # fmt: skip


def shaping_inputs(rng):
    """前后的势、终止和 γ：终止的和不终止的都有，γ 每次不同。"""
    yield np.float32([3, -2, 5]), np.float32([4, 1, -7]), np.array([False, False, True]), 0.9
    for size, gamma in ((1, 0.5), (3, 0.9), (6, 0.99), (6, 1.0)):
        potential, next_potential = np.float32(rng.normal(0, 9, (2, size)).round(1))
        yield potential, next_potential, np.arange(size) % 3 == 1, gamma


def potential_shaping(potential, next_potential, terminated, gamma):
    """γΦ(s') - Φ(s)，终止状态的势取 0。"""
    next_potential = jnp.where(terminated, 0.0, next_potential)
    return gamma * next_potential - potential


check_my_shaping = FunctionExercise(
    "练习 12.2：写出势函数整形",
    potential_shaping,
    shaping_inputs,
    {
        "终止那一步的势要取 0：之后没有下一步把它减回来。": lambda p, q, e, g: g * q - p,
        "后一个状态的势忘了乘 γ：γ 不是 1 时，和就不能逐项相消。": lambda p, q, e, g: q * ~e - p,
        "忘了 γ，终止的势也没有取 0。": lambda p, q, e, g: q - p,
        "符号反了：是后一个减前一个。": lambda p, q, e, g: p - g * q * ~e,
        "γ 乘错了地方：它乘后一个状态的势。": lambda p, q, e, g: q * ~e - g * p,
        "γ 只乘后一个状态的势，前一个不乘。": lambda p, q, e, g: g * (q * ~e - p),
        "终止那一步，整项都成了 0。只有后一个状态的势取 0，前一个照减：-Φ(s)。": lambda p, q, e, g: (g * q - p) * ~e,
        "反了：势取 0 的是终止的那一步，你留下的正好是它。": lambda p, q, e, g: g * q * e - p,
        "终止那一步，后一个状态的势取 0，不是取前一个状态的势。": lambda p, q, e, g: g * jnp.where(e, p, q) - p,
        "还要减去前一个状态的势。": lambda p, q, e, g: g * q * ~e,
        "是减去前一个状态的势，不是加上。": lambda p, q, e, g: g * q * ~e + p,
        "你求了和；要的是每一步各自的 F。": lambda p, q, e, g: potential_shaping(p, q, e, g).sum(),
        "遮错了：终止那一步，取 0 的是后一个状态的势，你把前一个的取成了 0。": lambda p, q, e, g: g * q - p * ~e,
        "两个势换了位置：γ 乘后一个状态的（next_potential），减去前一个的。": lambda p, q, e, g: g * p * ~e - q,
    },
    praise="与库里 energy_shaping 的最后两行相同。",
    returns="每步的 F，形状 (batch,)",
    jax_arrays=True,
)  # fmt: skip


def halving_inputs(rng):
    """成绩的表：只有一格的，单数格的，十四格的；各格其实一样，所以换一种打分，剩下的就不同。"""
    yield (np.array([[200.0, 100, 10], [180, 90, 400], [150, 300, 20], [160, 80, 30]]),)
    for cells, seeds in ((1, 2), (2, 3), (3, 4), (5, 3), (6, 4), (7, 3), (8, 5), (14, 5), (14, 6), (14, 4), (11, 5), (13, 5), (15, 5), (10, 4)):  # fmt: skip
        yield (rng.normal(200, 60, (cells, seeds)).round(1),)


def place_among_the_last(table):
    """逐轮淘汰，但忘了把名次换回原来的编号：留下的格每一轮都从 0 重新数。"""
    rows, best, k = table, 0, 0
    while len(rows) > 1:
        k += 1
        order = np.argsort(-rows[:, :k].mean(axis=1), kind="stable")[: len(rows) // 2]
        rows, best = rows[order], int(order[0])
    return best


check_halving = FunctionExercise(
    "练习 12.3：写出逐轮淘汰",
    halving,
    halving_inputs,
    {
        "留反了：你留下的是较差的一半。argsort 从小到大排。": edited(halving, "-table", "table"),
        "第 k 轮用前 k 个种子的平均，不只用新加的那一个。": edited(halving, "[alive, :k].mean(axis=1)", "[alive, k - 1]"),
        "每一格都用上了全部种子：那样就不省训练了。第 k 轮只用前 k 列。": lambda table: int(table.mean(axis=1).argmax()),
        "你让每一格都走到了最后一轮，再比平均。早几轮就该淘汰的，不再给它种子。": lambda table: int(table[:, : max(1, halve(table)[1])].mean(axis=1).argmax()),
        "你只看了第一个种子。留下的一半还要再加种子、再比。": lambda table: int(table[:, 0].argmax()),
        "第一轮只给每格一个种子：第 k 轮用前 k 列，k 从 1 数。": edited(halving, ":k", ": k + 1"),
        "第 k 轮比前 k 个种子的平均，不是其中最好的一个。": edited(halving, "mean", "max"),
        "个数是单数时向下取整：7 格留 3 格，不是 4 格。": edited(halving, "len(alive) // 2", "(len(alive) + 1) // 2"),
        "你每一轮只淘汰一格；要留下最好的一半。": edited(halving, "len(alive) // 2", "-1"),
        "编号是在留下的那几格里数的；要换回原来的编号。": place_among_the_last,
        "编号从 0 数，你的都大了 1。": lambda table: halving(table) + 1,
        "你返回的是成绩；要的是那一格在 table 里的编号。": lambda table: float(table[halving(table)].mean()),
        "argsort 给的是在留下的几格里的名次，你没有换回格的编号：alive = alive[…]。": edited(halving, "alive[order[: len(alive) // 2]]", "order[: len(alive) // 2]"),
        "argsort 给的是在留下的几格里的名次（从小到大），你没有换回格的编号：alive = alive[…]。": edited(edited(halving, "-table", "table"), "alive[order[: len(alive) // 2]]", "order[-(len(alive) // 2) :]"),
        "第 k 轮看前 k 列；你每一轮把种子加了一倍。": edited(halving, "k += 1", "k = 2 * k or 1"),
        "你返回的是那一格的一整行成绩；要的是它在 table 里的编号。": lambda table: table[halving(table)],
    },
    praise="14 格，第一轮 14 次、第二轮 7 次、第三轮 3 次，一共 24 次训练。",
    returns="一个编号",
)  # fmt: skip


check_biased_cosine = AnswerExercise(
    "练习 12.4：先并入、再算余弦，纯噪声的余弦大约是多少",
    {
        "余弦": Number(
            (1 - 0.9**2) ** 0.5,
            wrong={
                0.0: "这是先算余弦、后并入的结果。现在平均里已经含有这个梯度自己。",
                0.1: "0.1 是这个梯度在滑动梯度里的系数；还要除以滑动梯度的长度，它比一个梯度短。",
                0.9: "0.9 是衰减率，是旧的那部分的系数。",
                1.0: "余弦接近 1，要衰减率接近 0：那时滑动梯度几乎就是这个梯度自己。",
                0.19: "这是余弦的平方，忘了开方。",
                (0.1 / 1.9) ** 0.5: "这是滑动梯度的长度与一个梯度的长度之比；余弦是 0.1 除以它。",
                0.1 / 1.9: "这是滑动梯度长度的平方（梯度长 1）；余弦是 0.1 除以长度。",
                1.9: "余弦不会大于 1。你除以了长度的平方，忘了开方。",
                0.1**0.5: "各项系数的平方和不是 0.1：旧的梯度的系数依次是 0.1 × 0.9、0.1 × 0.9²、……，各自平方再加。",
                (1 - 0.99**2) ** 0.5: "这是衰减率 0.99 的答案；题目是 0.9。",
                0.1 / (0.9**2 + 0.1**2) ** 0.5: "你把旧的滑动梯度当作与一个梯度一样长；它是平均出来的，短得多。稳定以后，长度的平方 L² 满足 L² = 0.81 L² + 0.01。",
                0.1 / 0.19: "0.19 是 1 - 0.9²，不是长度；滑动梯度长度的平方是 0.1²/(1 - 0.9²)，再开方。",
                0.81: "0.81 是 0.9²；余弦的平方是 1 减去它。",
                0.1**2: "0.01 是这个梯度自己对滑动梯度长度平方的贡献；余弦是内积 0.1 除以长度。",
                0.1 * (0.1 / 1.9) ** 0.5: "内积 0.1 要除以滑动梯度的长度，不是乘。",
                (1.9 / 0.1) ** 0.5: "余弦不会大于 1。这是长度的倒数；内积是 0.1，不是 1。",
                (1 / 0.19) ** 0.5: "余弦不会大于 1。上下颠倒了：内积除以长度。",
            },
            hint="余弦是内积 0.1（梯度长 1）除以滑动梯度的长度；长度的平方是各项系数的平方和，0.1² × (1 + 0.9² + 0.9⁴ + …)。这个长度在 0.1 和 1 之间，所以余弦也在 0.1 和 1 之间。",
            tolerance=6e-3,  # “大约”：0.43 也算
        )
    },
    praise="√(1 - d²)：d = 0.9 时是 0.44，d = 0.99 时是 0.14。",
)  # fmt: skip


def p_value_inputs(rng):
    """p 值：次序不定，没有相同的；个数从 1 到 8，有的乘过以后大于 1。"""
    yield (np.array([0.03]),)
    yield (np.array([0.04, 0.01, 0.03]),)
    yield (np.array([0.3, 0.9, 0.02, 0.6]),)
    for count in (2, 5, 5, 8):
        yield (rng.choice(np.arange(1, 100), count, replace=False) / 500,)


RUNNING = "np.maximum.accumulate(scaled)"
CAPPED = f"np.minimum({RUNNING}, 1)"
DOWNWARDS = "np.minimum.accumulate(scaled[::-1])[::-1]"
FACTORS = "np.arange(len(order), 0, -1)"

check_my_holm = FunctionExercise(
    "练习 12.5：写出 Holm 修正",
    holm,
    p_value_inputs,
    {
        "没有修正：比得越多，越该严。": lambda p: p,
        "每个都乘了 m，那是 Bonferroni 修正，比 Holm 更严：Holm 只有最小的乘 m。": lambda p: np.minimum(len(p) * p, 1),
        "每个都乘了 m，那是 Bonferroni 修正，比 Holm 更严；而且超过 1 的要记 1。": lambda p: len(p) * p,
        "只是逐个乘了，还差两步：排在后面的若小于前面的，取前面的；超过 1 的记 1。": edited(holm, CAPPED, "scaled"),
        "只是逐个乘了：排在后面的若小于前面的，要取前面的。不然，前面的没有过，后面的倒过了。": edited(holm, RUNNING, "scaled"),
        "乘反了：最小的乘 m，最大的乘 1。": edited(holm, FACTORS, "np.arange(1, len(order) + 1)"),
        "少乘了一：最小的乘 m，最大的乘 1。": edited(holm, FACTORS, "np.arange(len(order) - 1, -1, -1)"),
        "修正后的 p 值也是机会，超过 1 的记 1。": edited(holm, CAPPED, RUNNING),
        "次序变了：你返回的是从小到大排过的，要放回各自原来的位置。": edited(holm, "adjusted[order] =", "adjusted[:] ="),
        "放回原来的位置时弄反了：order[i] 说的是第 i 小的在哪里，所以是 adjusted[order] = …，不是 …[order]。": edited(holm, f"adjusted[order] = {CAPPED}", f"adjusted = {CAPPED}[order]"),
        "argsort 给出的不是名次，是“第几小的在哪里”，不能拿它当名次去乘。": lambda p: np.minimum(p * (len(p) - np.argsort(p)), 1),
        "argsort 给出的不是名次，不能拿它当名次去乘；取较大者也要按从小到大的次序。": lambda p: np.minimum(np.maximum.accumulate(p * (len(p) - np.argsort(p))), 1),
        "从小往大是取较大者（maximum），你取了较小者。": edited(holm, RUNNING, "np.minimum.accumulate(scaled)"),
        "你从大往小、依次取了较小者，那是 Hochberg 的办法；Holm 从小往大，取较大者。": edited(holm, RUNNING, DOWNWARDS),
        "这是 Benjamini-Hochberg 修正，它管的是看出的差别里误报占几成；Holm 管的是哪怕只有一个误报的机会。": edited(edited(holm, RUNNING, DOWNWARDS), FACTORS, "len(order) / np.arange(1, len(order) + 1)"),
        "要的是修正过的 p 值，不是“还算不算”。": lambda p: holm(p) < 0.05,
        "多乘了一：最小的乘 m，不是 m + 1。": edited(holm, FACTORS, "np.arange(len(order) + 1, 1, -1)"),
        "从次小的起少乘了一：依次乘 m、m - 1、……、1。": edited(holm, FACTORS, "np.maximum(np.arange(len(order) - 1, -1, -1), 1)"),
        "你除以了 m；修正要把 p 值变大，是乘。": lambda p: p / len(p),
        "这是 Šidák 修正（1 - (1 - p)^m），每个都用同样的 m；Holm 依次乘 m、m - 1、……。": lambda p: 1 - (1 - p) ** len(p),
        "排反了：要从小到大，最小的乘 m；你从大到小排了。": edited(holm, "np.argsort(p_values)", "np.argsort(-p_values)"),
        "每个 p 值乘上它的倍数，不是把小的加起来。": lambda p: np.array([min(1.0, p[p <= x].sum()) for x in p]),
        "这是各自要过的线（0.05 除以倍数）；要的是修正过的 p 值。": lambda p: 0.05 / (len(p) - np.argsort(np.argsort(p))),
        "倍数不对：那是 Benjamini-Hochberg 的（m 除以名次）；Holm 依次乘 m、m - 1、……、1。": edited(holm, FACTORS, "len(order) / np.arange(1, len(order) + 1)"),
    },
    praise="库里的 ppo_lib.statistics.holm 就是这样写的。",
    returns="修正过的 p 值，形状 (m,)",
)  # fmt: skip
