"""第 9 章的实验和练习检查。"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from ppo_lib.advantage import calculate_gae
from ppo_lib.compiled import compiled_once
from ppo_lib.config import PPOConfig
from ppo_lib.course.exercises import (
    AnswerExercise,
    FunctionExercise,
    Mistake,
    Number,
    judged,
)
from ppo_lib.course.experiment import Experiment
from ppo_lib.envs import make_env
from ppo_lib.experiment import Run
from ppo_lib.members import compiled_programs
from ppo_lib.networks.mlp import ACTIVATIONS, ActorCriticDiscrete, dense
from ppo_lib.optimizer import annealed_lr
from ppo_lib.policy import Evaluation, evaluate, load_policy
from ppo_lib.rollout import collect_rollout
from ppo_lib.training import TrainState, make_batch, make_network

# ---------------------------------------------------------------- 看 Critic

POSITION = np.linspace(-1.2, 0.6, 37)
VELOCITY = np.linspace(-0.07, 0.07, 29)
"""看 V 的格点：位置每 0.05 一格，速度每 0.005 一格。"""


def watch_critic(cfg: PPOConfig, updates: Sequence[int], seeds: Sequence[int]) -> xr.Dataset:
    """按配置训练 MountainCar（与 ``train`` 是同一个编译好的程序），在指定的几次更新之后停下来看。

    Args:
        cfg: 配置；学习率按它的总步数退火，但只训练到 updates 里最大的那一次。
        updates: 第几次更新之后看，从小到大，不含 0。
        seeds: 哪几个种子。

    Returns:
        ``value`` (seed, update, position, velocity) 格点上的 V；``visits``（同形状）到此刻为止
        走到各格的次数；``goals`` (seed, update) 到此刻为止到达终点的次数；
        ``value_loss`` (seed, update) 刚做完的那一次更新里，价值损失的平均；
        ``advantage`` (seed, update, step, env) 接下来一批经验的优势，未标准化。
    """
    runs = [watch_one(cfg, list(updates), seed) for seed in seeds]
    return xr.concat(runs, xr.DataArray(list(seeds), dims="seed", name="seed"))


def watch_one(cfg: PPOConfig, updates: list[int], seed: int) -> xr.Dataset:
    """``watch_critic`` 的一个种子。"""
    programs, look = compiled_programs(cfg.static(), None), compiled_look(cfg.static())
    hyper = jax.device_put(jax.tree.map(np.float32, cfg.hyperparams()))
    state = programs.init(jnp.int32(seed), hyper)
    now, visits, goals, seen = look(state, hyper), 0, 0, []
    for update in range(1, updates[-1] + 1):
        visits = visits + now["visits"]
        state, metrics = programs.run_chunk(state, hyper, jnp.int32(1))
        goals += metrics["goals_reached"][0]
        now = look(state, hyper)
        if update in updates:
            so_far = dict(visits=visits, goals=goals, value_loss=metrics["value_loss"][0])
            seen.append(jax.tree.map(np.asarray, now | so_far))
    grid = ("update", "position", "velocity")
    dims = dict(value=grid, visits=grid, advantage=("update", "step", "env"))
    dims |= dict(goals=("update",), value_loss=("update",))
    data = {name: (dims[name], np.stack([row[name] for row in seen])) for name in dims}
    coords = dict(update=updates, position=POSITION, velocity=VELOCITY)
    return xr.Dataset(data, coords)


@compiled_once
def compiled_look(cfg: PPOConfig):
    """编译好的 (TrainState, Hyperparams) → 此刻的 V、接下来一批经验走到的格子和它们的优势。"""
    env = make_env(cfg)
    network = make_network(cfg, env)
    grid = np.stack(np.meshgrid(POSITION, VELOCITY, indexing="ij"), axis=-1)
    low, step = grid[0, 0], grid[1, 1] - grid[0, 0]

    @jax.jit
    def look(state: TrainState, hyper) -> dict:
        key, _ = jax.random.split(jax.random.fold_in(state.key, state.update))
        _, rollout, _ = collect_rollout(
            state.params, state.env, key, hyper,
            network=network, env=env, num_steps=cfg.num_steps,
        )  # fmt: skip
        cell = jnp.round((rollout.obs - low) / step).astype(int)  # (num_steps, num_envs, 2)
        visits = jnp.zeros(grid.shape[:2]).at[cell[..., 0], cell[..., 1]].add(1)
        batch = make_batch(rollout, hyper, cfg)
        return {
            "value": network.apply(state.params, grid)[1],
            "visits": visits,
            "advantage": batch.advantage,
        }

    return look


def clock_share(advantage: xr.DataArray) -> xr.DataArray:
    """优势的方差里，只由“第几步”决定的那部分占多少：(..., step, env) → (...)。

    16 个环境同时起步、同时超时的时候，每一步先对环境求平均，剩下的只随时间变：它与谁选了什么动作无关。
    """
    return advantage.mean("env").var("step") / advantage.var(("step", "env"))


def near(values: xr.DataArray, position: float, velocity: float = 0.0) -> xr.DataArray:
    """离 (position, velocity) 最近的那一格。"""
    return values.sel(position=position, velocity=velocity, method="nearest")


# ---------------------------------------------------------------- 换一半激活函数


class SplitActivation(ActorCriticDiscrete):
    """Actor 和 Critic 用不同的激活函数：activation 归 Critic，Actor 用另一种。"""

    def trunk(self, x, name: str):
        """同 ``ActorCriticDiscrete.trunk``，只是激活函数看是谁的。"""
        other = {"relu": "tanh", "tanh": "relu"}[self.activation]
        activation = ACTIVATIONS[self.activation if name == "critic" else other]
        for i, width in enumerate(self.hidden_sizes):
            x = activation(dense(width, np.sqrt(2), f"{name}_{i}")(x))
        return x


def make_split_network(cfg: PPOConfig, env) -> SplitActivation:
    """同 ``make_network``，但 Actor 和 Critic 的激活函数不同。"""
    network = make_network(cfg, env)
    return SplitActivation(
        network.num_actions, network.hidden_sizes, network.activation, network.shared_trunk
    )


def gae_without_clock(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """同 ``calculate_gae``，但优势在每一步减去各个环境的平均；学习目标不变。

    环境同时起步、同时超时，所以减掉的正是只随时间变的那部分。
    """
    advantage, target = calculate_gae(
        reward, value, next_value, terminated, truncated, gamma, gae_lambda
    )
    return advantage - advantage.mean(axis=1, keepdims=True), target


# ---------------------------------------------------------------- 实验

SOLVED = dict(activation="tanh", ent_coef=0.05, bootstrap_truncation=True)
"""解开它的三处。"""

ACTIVATION = {"relu": "relu", "tanh": "tanh"}
ENT_COEF = {"熵 0.003": 0.003, "熵 0.05": 0.05}
TRUNCATION = {"超时当成终止": False, "超时接上": True}

BIASES = (-150, -100, -50, 0, 50, 100, 200)
RELU_BIASES = (100, 500)

SPLIT = {"ppo_lib.training.make_network": make_split_network}

EXPERIMENTS = {
    "three_changes": Experiment(
        PPOConfig(num_seeds=40),  # 十个种子分不清“偶尔学会”和“学不会”
        {
            f"{a}，{e}，{t}": dict(
                activation=ACTIVATION[a],
                ent_coef=ENT_COEF[e],
                bootstrap_truncation=TRUNCATION[t],
            )
            for a, e, t in itertools.product(ACTIVATION, ENT_COEF, TRUNCATION)
        },
        metrics=("return", "entropy", "goals_reached"),
        points=40,
    ),
    "optimism": Experiment(
        PPOConfig(**SOLVED, total_timesteps=1_000_000),
        {f"tanh，{bias:+d}": dict(critic_bias=bias) for bias in BIASES}
        | {
            f"relu，{bias:+d}": dict(activation="relu", critic_bias=bias)
            for bias in RELU_BIASES
        },
        metrics=("return", "goals_reached"),
        points=40,
    ),
    "whose_tanh": Experiment(
        PPOConfig(**SOLVED, total_timesteps=1_000_000),
        {
            "都用 tanh": {},
            "Actor relu，Critic tanh": dict(activation="tanh"),
            "Actor tanh，Critic relu": dict(activation="relu"),
        },
        metrics=("return", "entropy", "approx_kl", "goals_reached"),
        points=40,
        patches={
            name: SPLIT for name in ("Actor relu，Critic tanh", "Actor tanh，Critic relu")
        },
    ),
    "clock": Experiment(
        PPOConfig(**SOLVED, total_timesteps=1_000_000),
        {
            "当成终止，减去时钟": dict(bootstrap_truncation=False),
            "超时接上，不标准化": dict(advantage_norm="none"),
        },
        metrics=("return", "entropy", "goals_reached"),
        points=40,
        patches={"当成终止，减去时钟": {"ppo_lib.training.calculate_gae": gae_without_clock}},
    ),
}


# ---------------------------------------------------------------- 练习

check_values = AnswerExercise(
    "练习 9.1：每步 -1、永不到达时的 V",
    {
        "超时接上": Number(
            -100,
            {
                100: "差一个负号：每一步的奖励是 -1。",
                -200: "-200 是不打折的回报。V 是折扣和，而且接上以后没有尽头：解 V = -1 + γV。",
                -(1 - 0.99**200) / 0.01: "超时接上时，200 步之后还有以后，不能只加 200 项。",
                -99: "这是 γV，还差这一步的 -1。",
                -1: "这只是一步的奖励，以后还有。",
            },
            hint="V 处处相同时，V = -1 + γV。把它解出来。",
        ),
        "当成终止，回合开头": Number(
            -(1 - 0.99**200) / 0.01,
            {
                (1 - 0.99**200) / 0.01: "差一个负号：每一步的奖励是 -1。",
                -100: "当成终止，第 200 步之后就没有了，只加 200 项。",
                -200: "你忘了打折。第 k 步（从 0 数）的 -1 要乘 γ 的 k 次方。",
                -(1 - 0.99**199) / 0.01: "少加了一项。200 步就有 200 个 -1。",
                -(1 - 0.99**201) / 0.01: "多加了一项。200 步就是 200 个 -1。",
                -0.99 * (1 - 0.99**200) / 0.01: "每一项都多打了一次折：第一步的 -1 不打折。",
                -100 * 0.99**200: "这是第 200 步之后的尾巴。要的是前 200 项，也就是 -100 减去尾巴。",
                -1: "这是快超时那一步的；要的是还有 200 步的时候。",
            },
            hint="等比数列前 200 项的和，-(1 - γ²⁰⁰)/(1 - γ)。",
            tolerance=0.1,
        ),
    },
    praise="一个是没有尽头的和，一个只有 200 项；两处的 Critic 要学的不是同一个数。",
    wrong=[((-(1 - 0.99**200) / 0.01, -100), "两个写反了：没有尽头的是“超时接上”。")],
)  # fmt: skip

LR, UPDATES = 4e-3, [PPOConfig(total_timesteps=n).num_updates for n in (2_000_000, 1_000_000)]
"""练习 9.2：退火之前的学习率，两种总步数各有几次更新（976 和 488）。"""


def lr_after(done: int, updates: int, other: int) -> Number:
    """一共 updates 次更新，做完 done 次之后的学习率；other 是另一种总步数的更新次数。"""
    right = annealed_lr(LR, done, updates)
    tolerance = 1e-3 * right
    wrong = (
        dict.fromkeys(
            (annealed_lr(LR, done - 1, updates), annealed_lr(LR, done + 1, updates)),
            "差了一次：u 是已经做完的更新次数，这里是 200。",
        )
        | {
            annealed_lr(LR, done, other): "这是另一种总步数的学习率；退火的终点是各自的最后一次更新。",
            annealed_lr(LR, done, updates + 1): "更新次数要向下取整，你多算了一次。",
            annealed_lr(LR, done, 16 * updates): "更新次数算多了：一次更新走 2048 步，是 16 个环境各走 128 步。",
            annealed_lr(LR, done, 8 * updates): "更新次数算多了：一次更新里虽有 8 步梯度，退火数的是更新。",
            LR: "这几乎没有退火。默认 anneal_lr 是开的；分母是更新次数，不是环境步数。",
            LR * done / updates: "方向反了：学习率从 lr 降到 0，不是从 0 升上来。",
            done / updates: "这是做完了几成；学习率是 lr 乘还剩的那几成。",
            1 - done / updates: "还要乘 lr。",
        }
    )  # fmt: skip
    return Number(
        right,
        {x: hint for x, hint in wrong.items() if abs(x - right) > tolerance},
        hint="先算更新次数 U：总步数除以 2048，向下取整。学习率从 0.004 直线降到 0，做完 200 次还剩 lr·(1 - 200/U)；200 次不到一半，所以在 0.002 和 0.004 之间。",
        tolerance=tolerance,
    )  # fmt: skip


check_learning_rates = AnswerExercise(
    "练习 9.2：做完 200 次更新之后的学习率",
    {
        "总步数 200 万": lr_after(200, *UPDATES),
        "总步数 100 万": lr_after(200, *UPDATES[::-1]),
    },
    praise="同样做完了 200 次更新，学习率不同：100 万步的训练不是 200 万步的前一半。",
    wrong=[
        (
            tuple(annealed_lr(LR, 200, n) for n in UPDATES[::-1]),
            "两个写反了：先写总步数 200 万的。",
        )
    ],
)


def necessary_switches(scores, line):
    """缺了就不行的开关：全开时单独关掉它，成绩就低于 line。"""
    everything = frozenset().union(*scores)
    return {key for key in everything if scores[everything - {key}] < line}


def switch_inputs(rng):
    """编出来的成绩：一到四个开关，组合的次序打乱，线每次不同，有恰好等于线的；全开的总过线。"""
    lr, gamma = frozenset({"lr"}), frozenset({"gamma"})
    yield {lr: -120.0, frozenset(): -150.0}, -150.0
    yield {lr: -130.0, frozenset(): -200.0, gamma: -140.0, lr | gamma: -110.0}, -140.0
    yield (
        {lr: -150.0, frozenset(): -200.0, gamma: -160.0, lr | gamma: -140.0},
        -140.0,
    )  # 全开的恰好等于线
    for names, line in (
        (("gamma", "lr"), -130.0),
        (("activation", "ent_coef", "truncation"), -150.0),
        (("relu", "anneal_lr", "shuffle"), 450.0),
        (("clip_eps", "lr", "seed", "vf_coef"), 0.5),
    ):
        every = (itertools.combinations(names, n) for n in range(len(names) + 1))
        shuffled = rng.permutation(list(map(frozenset, itertools.chain(*every))))
        scores = {on: line + float(rng.choice((-40, -5, 0, 20))) for on in shuffled}
        yield scores | {frozenset(names): line + 10.5}, line
    better = {
        lr: 500.0,
        gamma: 200.0,
        frozenset(): 480.0,
        lr | gamma: 478.5,
    }  # 去掉 gamma 反而好
    yield better, 475.5
    three = {on | {"seed"}: score for on, score in better.items()}  # 不全开的反而最好
    three |= {lr: 300.0, gamma: 300.0, frozenset(): 300.0, lr | gamma: 500.0}
    yield three | {gamma | {"seed"}: 300.0, lr | {"seed"}: 479.0}, 475.5


def by_switch(keep):
    """逐个看开关：keep(scores, line, everything, key) 为真的留下。"""

    def function(scores, line):
        everything = frozenset().union(*scores)
        return {key for key in everything if keep(scores, line, everything, key)}

    return function


CHAPTER_SWITCHES = frozenset({"activation", "ent_coef", "truncation"})
"""这一章的三个开关。"""

check_necessary = FunctionExercise(
    "练习 9.3：由各种组合的成绩找出必要的开关",
    necessary_switches,
    switch_inputs,
    {
        "反了：去掉它之后还过得了线的，是不必要的。": by_switch(lambda s, line, all_on, key: s[all_on - {key}] >= line),
        "恰好等于线的算过了：低于线才算没过。": by_switch(lambda s, line, all_on, key: s[all_on - {key}] <= line),
        "反了：去掉它之后还过得了线的，是不必要的；恰好等于线的也算过了。": by_switch(lambda s, line, all_on, key: s[all_on - {key}] > line),
        "成绩变差不等于不行；要看的是掉没掉到线下。": by_switch(lambda s, line, all_on, key: s[all_on - {key}] < s[all_on]),
        "你找的是“单独打开它就够”的，那是充分。必要要看：别的都开着，只关掉它。": by_switch(lambda s, line, all_on, key: s[frozenset({key})] >= line),
        "你看的是只打开它一个时行不行。必要要看：别的都开着，只关掉它。": by_switch(lambda s, line, all_on, key: s[frozenset({key})] < line),
        "你取了所有过线的组合的交集。这里问的是在全开的基础上，单独关掉一处：一个开关只看一种组合。": by_switch(lambda s, line, all_on, key: all(key in on for on in s if s[on] >= line)),
        "不含它的组合有一种没过线，你就算它必要了；只看全开、单独关掉它的那一种。": by_switch(lambda s, line, all_on, key: any(s[on] < line for on in s if key not in on)),
        "你返回的是组合；要的是开关的名字。": lambda s, line: {frozenset().union(*s) - {key} for key in necessary_switches(s, line)},
        "开关的名字写死了：检查里还有别的开关，名字和个数要从 scores 的键里读。": lambda s, line: {key for key in CHAPTER_SWITCHES if s[CHAPTER_SWITCHES - {key}] < line},
        "你只看恰好打开两个的组合，那只在一共三个开关时才对。": by_switch(lambda s, line, all_on, key: any(s[on] < line for on in s if len(on) == 2 and key not in on)),
        "全开的成绩恰好等于线，也算过了，它的开关照样要查。": by_switch(lambda s, line, all_on, key: s[all_on - {key}] < line < s[all_on]),
        "你看的是从全关出发、只打开它一个过不过线。必要要看：别的都开着，只关掉它。": by_switch(lambda s, line, all_on, key: s[frozenset()] < line <= s[frozenset({key})]),
    },
    praise="在全开的基础上一次只关一个，掉到线下的就是必要的。",
)  # fmt: skip


def evaluation_inputs(rng):
    """编出来的评估：有的种子全到、全没到；每种都有恰好在第 200 步到达的回合。"""
    truncated = np.array([[False, False, True, True], [False] * 4, [True] * 4])
    yield (made_up_evaluation(truncated, np.array([[110, 200, 200, 200], [120, 130, 90, 100], [200] * 4])),)  # fmt: skip
    for seeds, episodes in ((1, 5), (3, 3), (5, 2), (2, 10)):
        truncated = rng.random((seeds, episodes)) < 0.4
        length = np.where(truncated, 200, rng.integers(90, 200, truncated.shape))
        truncated[:, 0], length[:, 0] = False, 200
        yield (made_up_evaluation(truncated, length),)


def made_up_evaluation(truncated, length) -> Evaluation:
    """编一次 MountainCar 的评估；两个数组都是 (seed, episode)。"""
    columns = {"return": -1.0 * length, "episode_length": length, "truncated": truncated}
    episodes = {name: (("seed", "episode"), x) for name, x in columns.items()}
    coords = {name: np.arange(n) for name, n in zip(("seed", "episode"), length.shape)}
    return Evaluation(xr.Dataset(episodes, coords), "MountainCar-v0", True)


def arrival_rate(evaluation):
    """每个种子到达终点的比例：没有超时的回合占多少。"""
    return 1 - evaluation.episodes["truncated"].mean("episode")


check_arrival_rate = FunctionExercise(
    "练习 9.4：由评估的结果算每个种子到达终点的比例",
    arrival_rate,
    evaluation_inputs,
    {
        "反了：truncated 为真的是超时，没有到达。": lambda e: e.episodes["truncated"].mean("episode"),
        "恰好在第 200 步到达的回合，回报也是 -200，步数也是 200，却是到了。看 truncated，别看回报和步数。": lambda e: (e.episodes["return"] > -200).mean("episode"),
        "这是到达的次数；除以回合数。": lambda e: (~e.episodes["truncated"]).sum("episode"),
        "这是百分数；比例是 0 到 1 之间的数。": lambda e: 100 * arrival_rate(e),
        "你把全部种子合在一起算了；要每个种子一个数，只沿 episode 求平均。": lambda e: arrival_rate(e).mean(),
        "你沿种子求了平均。要沿 episode 求，每个种子留一个数。": lambda e: 1 - e.episodes["truncated"].mean("seed"),
        "这是每个回合到没到；再沿 episode 求平均。": lambda e: ~e.episodes["truncated"],
        "这只说了有没有到过；要的是到达的回合占多少。": lambda e: (~e.episodes["truncated"]).any("episode"),
        "有一个回合超时，你就算这个种子一次也没有到；要的是到达的回合占多少。": lambda e: 1 - e.episodes["truncated"].any("episode"),
        "这是平均回报；到没到终点，看 truncated。": lambda e: e.seed_means,
        "这是平均步数；到没到终点，看 truncated。": lambda e: e.episodes["episode_length"].mean("episode"),
    },
    praise="恰好在第 200 步到达的回合，你没有漏掉。",
    returns="每个种子的比例，形状 (seeds,)",
)  # fmt: skip


EPISODES = 20
"""练习 9.5：每个种子至少评几个回合。"""


@judged
def check_resumed(folder, run, evaluation) -> str:
    """练习 9.5：断一次，接上，再评一次。交的是真的训练，每个人的都不同，没有参考答案可以比。"""
    if not isinstance(folder, (str, Path)):
        raise Mistake("第一样要 run_dir 的路径。依次给：目录、接着训练得到的 Run、评估的结果。")
    if not isinstance(run, Run):
        raise Mistake("第二样要接着训练那次 train 返回的 Run。")
    if not isinstance(evaluation, Evaluation):
        raise Mistake(
            "第三样要 evaluate 返回的结果。训练途中记下的回报不算评估：边走边学，参数还在变。"
        )
    if not run.complete:
        raise Mistake(
            f"还没有做完：做了 {run.update} 次更新，一共 {run.config.num_updates} 次。用 resume=True 接着训练。"
        )
    kept = Path(folder).expanduser() / "policy.npz"
    if kept.exists() and (reached := load_policy(kept).update) > run.update:
        raise Mistake(
            f"目录里训练到了第 {reached} 次更新，你交的 Run 只到第 {run.update} 次：要交后一次（resume=True 的）train 返回的。"
        )
    if run.resumed_from == 0:
        raise Mistake(
            "这是一口气训练完的，没有断过。先让它停在半路，再用同一个 run_dir、resume=True 接上。"
        )
    if run.resumed_from == run.update:
        raise Mistake(
            "接上的时候已经做完了，没有剩下的可训练。换一个新的目录，先让它停在半路。"
        )
    if not kept.exists():
        raise Mistake(
            "这个目录里没有训练存下的策略。两次 train 都要给 run_dir，交来的要是同一个目录。"
        )
    policy, trained = load_policy(kept), run.policy()
    if policy.update != run.update or not all(
        map(np.array_equal, *map(jax.tree.leaves, (policy.params, trained.params)))
    ):
        raise Mistake("目录里存的策略不是这次训练最后的：交来的目录和 Run 要出自同一次训练。")
    if (update := evaluation.episodes.attrs.get("update")) != run.update:
        raise Mistake(
            f"你评的是第 {update} 次更新之后的策略；要评接着训练完的，第 {run.update} 次之后的。"
        )
    if (count := evaluation.episodes.sizes["episode"]) < EPISODES:
        raise Mistake(f"每个种子评 {EPISODES} 个回合，你评了 {count} 个。")
    start = evaluation.episodes.attrs["start_seed"]
    again = evaluate(policy, count, greedy=evaluation.greedy, seed=start)
    if not again.episodes.equals(evaluation.episodes):
        raise Mistake("照你的评法重评目录里的策略，结果不同：你评的是别的策略。")
    return f"断在第 {run.resumed_from} 次更新，接着做完了 {run.update} 次；读回目录里的策略，重评一遍，{evaluation.mean:.1f} 分，与你的逐个回合相同。"
