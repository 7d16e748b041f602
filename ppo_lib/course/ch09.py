"""第 9 章的实验和练习检查。"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from ppo_lib.advantage import calculate_gae
from ppo_lib.compiled import compiled_once
from ppo_lib.config import PPOConfig
from ppo_lib.course.experiment import Experiment
from ppo_lib.course.verdict import Mistake, checker
from ppo_lib.envs import make_env
from ppo_lib.members import compiled_programs
from ppo_lib.networks.mlp import ACTIVATIONS, ActorCriticDiscrete, dense
from ppo_lib.policy import Evaluation
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
        ``advantage`` (seed, update, step, env) 接下来一批经验的优势，未标准化。
    """
    runs = [watch_one(cfg, list(updates), seed) for seed in seeds]
    return xr.concat(runs, xr.DataArray(list(seeds), dims="seed", name="seed"))


def watch_one(cfg: PPOConfig, updates: list[int], seed: int) -> xr.Dataset:
    """``watch_critic`` 的一个种子。"""
    programs, look = compiled_programs(cfg.static(), None), compiled_look(cfg.static())
    hyper = jax.device_put(jax.tree.map(np.float32, cfg.hyperparams()))
    state = programs.init(jnp.int32(seed), hyper)
    visits, goals, seen = np.zeros((len(POSITION), len(VELOCITY))), 0.0, []
    for update in range(1, updates[-1] + 1):
        visits = visits + look(state, hyper)["visits"]
        state, metrics = programs.run_chunk(state, hyper, jnp.int32(1))
        goals += float(metrics["goals_reached"][0])
        if update in updates:
            now = {name: np.asarray(x) for name, x in look(state, hyper).items()}
            seen.append(now | {"visits": visits, "goals": goals})
    grid = ("update", "position", "velocity")
    dims = dict(value=grid, visits=grid, goals=("update",), advantage=("update", "step", "env"))
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


def near(dataset: xr.DataArray, position: float, velocity: float = 0.0) -> xr.DataArray:
    """离 (position, velocity) 最近的那一格。"""
    return dataset.sel(position=position, velocity=velocity, method="nearest")


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


@checker
def check_values(forever, timeout) -> str:
    """练习 9.1：每步 -1、永不到达时的 V，分别在“超时接上”和“超时当成终止”之下，γ = 0.99。"""
    forever, timeout = float(forever), float(timeout)
    right = -(1 - 0.99**200) / 0.01  # -86.6
    if np.isclose(forever, 100) or np.isclose(timeout, -right, atol=0.1):
        raise Mistake("差一个负号：每一步的奖励是 -1。")
    if np.isclose(forever, -200):
        raise Mistake("-200 是不打折的回报。V 是折扣和，而且接上以后没有尽头：解 V = -1 + γV。")
    if np.isclose(forever, right, atol=0.1):
        raise Mistake("第一个数：超时接上时，200 步之后还有以后，不能只加 200 项。")
    if not np.isclose(forever, -100, atol=0.01):
        raise Mistake("第一个数：V 处处相同时，V = -1 + γV。把它解出来。")
    if np.isclose(timeout, -100, atol=0.01):
        raise Mistake("第二个数：当成终止，第 200 步之后就没有了，只加 200 项。")
    if np.isclose(timeout, -200):
        raise Mistake("第二个数：你忘了打折。第 k 步（从 0 数）的 -1 要乘 γ 的 k 次方。")
    if np.isclose(timeout, -(1 - 0.99**199) / 0.01, atol=0.02):
        raise Mistake("第二个数：少加了一项。200 步就有 200 个 -1。")
    if np.isclose(timeout, -100 * 0.99**200, atol=0.1):
        raise Mistake(
            "第二个数：这是第 200 步之后的尾巴。要的是前 200 项，也就是 -100 减去尾巴。"
        )
    if not np.isclose(timeout, right, atol=0.1):
        raise Mistake("第二个数：等比数列前 200 项的和，-(1 - γ²⁰⁰)/(1 - γ)。")
    return "一个是没有尽头的和，一个只有 200 项；两处的 Critic 要学的不是同一个数。"


@checker
def check_learning_rates(long, short) -> str:
    """练习 9.2：做完 200 次更新之后的学习率，200 万步的训练和 100 万步的训练各是多少。"""
    cfgs = [PPOConfig(total_timesteps=steps) for steps in (2_000_000, 1_000_000)]
    right = [cfg.lr * (1 - 200 / cfg.num_updates) for cfg in cfgs]
    answer = [float(long), float(short)]
    if np.allclose(answer, right, rtol=1e-3):
        return "同样做完了 200 次更新，学习率不同：100 万步的训练不是 200 万步的前一半。"
    if np.allclose(answer, right[::-1], rtol=1e-3):
        raise Mistake("两个数写反了：先写 200 万步的。")
    if np.allclose(answer, [4e-3 * (1 - 199 / cfg.num_updates) for cfg in cfgs], rtol=1e-3):
        raise Mistake("差了一次：u 是已经做完的更新次数，这里是 200，不是 199。")
    if np.allclose(answer, 4e-3, rtol=1e-3):
        raise Mistake("这是没有退火的学习率。默认 anneal_lr 是开的。")
    if np.isclose(answer[0], answer[1], rtol=1e-3):
        raise Mistake("两个数不该相同：退火的终点是各自的最后一次更新。")
    if np.allclose(answer, [4e-3 * 200 / cfg.num_updates for cfg in cfgs], rtol=1e-3):
        raise Mistake("方向反了：学习率从 lr 降到 0，不是从 0 升上来。")
    if np.allclose(answer, [4e-3 * (1 - 200 / cfg.total_timesteps) for cfg in cfgs], rtol=1e-3):
        raise Mistake("分母要用更新次数，不是环境步数。")
    raise Mistake(
        "先算更新次数（总步数除以 2048 向下取整），再用 lr·(1 - 做完的次数/更新次数)。"
    )


SOLVED_KEYS = ("activation", "ent_coef", "truncation")
"""练习 9.3 里三个开关的名字。"""


def made_up_scores(needed: Sequence[str]) -> dict[frozenset, float]:
    """编一份 8 种组合的成绩：打开了 needed 里全部开关的是 -120，其余 -200。"""
    subsets = itertools.chain.from_iterable(
        itertools.combinations(SOLVED_KEYS, n) for n in range(4)
    )
    return {frozenset(on): -120.0 if set(needed) <= set(on) else -200.0 for on in subsets}


@checker
def check_necessary(necessary) -> str:
    """练习 9.3：由 8 种组合的成绩，找出缺了就不行的开关。"""
    keys, line = set(SOLVED_KEYS), -150.0
    needed = (SOLVED_KEYS, ("activation",), (), ("ent_coef", "truncation"))
    cases = [made_up_scores(on) for on in needed]
    uneven = made_up_scores(SOLVED_KEYS)
    uneven[frozenset({"activation"})] = -125.0  # 单开它也行，三个全开时却缺一不可
    cases.append(uneven)

    def right(scores):
        return {key for key in keys if scores[frozenset(keys - {key})] < line}

    def common(scores):
        return set.intersection(*[set(on) for on, score in scores.items() if score >= line])

    answers = [necessary(dict(scores), line) for scores in cases]
    if any(answer is None for answer in answers):
        raise Mistake("你的函数没有返回值。")
    answers = [set(answer) for answer in answers]
    known_wrong = [
        (lambda s: keys - right(s), "反了：去掉它之后还过得了线的，是不必要的。"),
        (
            lambda s: {key for key in keys if s[frozenset({key})] >= line},
            "你找的是“单独打开它就够”的，那是充分。必要要看：别的都开着，只关掉它。",
        ),
        (
            lambda s: {key for key in keys if s[frozenset({key})] < line},
            "你看的是只打开它一个时行不行。必要要看：别的都开着，只关掉它。",
        ),
        (
            common,
            "你取了所有过线的组合的交集。这里问的是在三处全开的基础上，单独关掉一处：只看三种组合。",
        ),
    ]
    if answers == [right(scores) for scores in cases]:
        return "在全开的基础上一次只关一个，掉到线下的就是必要的。"
    for wrong, hint in known_wrong:
        if answers == [wrong(scores) for scores in cases]:
            raise Mistake(hint)
    raise Mistake("对每个开关：取三处全开、只关掉它的那种组合，看成绩是不是掉到线下。")


@checker
def check_arrival_rate(arrival_rate) -> str:
    """练习 9.4：由评估的结果算每个种子到达终点的比例。"""
    truncated = np.array([[False, False, True, True], [False] * 4, [True] * 4])
    length = np.array([[110, 200, 200, 200], [120, 130, 90, 100], [200] * 4])
    episodes = xr.Dataset(
        {
            "return": (("seed", "episode"), -length.astype(float)),
            "episode_length": (("seed", "episode"), length),
            "truncated": (("seed", "episode"), truncated),
        },
        {"seed": [0, 1, 2], "episode": range(4)},
    )
    answer = arrival_rate(Evaluation(episodes, "MountainCar-v0", True))
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    result = np.asarray(answer, float)
    right = np.array([0.5, 1.0, 0.0])
    if result.shape == ():
        raise Mistake("要每个种子一个数，形状 (seeds,)：只沿 episode 求平均。")
    if result.shape == (4,):
        raise Mistake("你沿种子求了平均。要沿 episode 求，每个种子留一个数。")
    if result.shape != (3,):
        raise Mistake(f"形状应当是 (seeds,)，这里是 (3,)；你的是 {result.shape}。")
    if np.allclose(result, right):
        return "第一个种子有一个回合恰好在第 200 步到达，你没有漏掉它。"
    if np.allclose(result, 1 - right):
        raise Mistake("反了：truncated 为真的是超时，没有到达。")
    if np.allclose(result, [0.25, 1, 0]):
        raise Mistake(
            "恰好在第 200 步到达的回合，回报也是 -200，步数也是 200，却是到了。看 truncated，别看回报。"
        )
    if np.allclose(result, [2, 4, 0]):
        raise Mistake("这是到达的次数；除以回合数。")
    raise Mistake('evaluation.episodes["truncated"] 的维是 (seed, episode)，真是超时。')
