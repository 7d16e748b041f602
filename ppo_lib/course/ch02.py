"""第 2 章的走廊、速度对比和练习检查。"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ppo_lib.config import PPOConfig
from ppo_lib.course.exercises import AnswerExercise, FunctionExercise, Number, Subset
from ppo_lib.course.experiment import Experiment
from ppo_lib.optimizer import adam_step
from ppo_lib.plotting import COLORS, new_figure
from ppo_lib.plotting.flow import arrow, box

# ---------------------------------------------------------------- 走廊

LEFT, RIGHT = 0, 1
START = 1
"""三个格子 0、1、2，从中间的格子出发。"""

LEFT_PRIZE, RIGHT_PRIZE = 1.0, 2.0
"""从左门、右门走出去的奖励；别的步都是 0。"""

GAMMA = 0.9
MAX_STEPS = 64
"""采样时一个回合最多记多少步。"""


def go_right(theta):
    """每个格子向右走的概率 σ(θ)，(3,)。"""
    return jax.nn.sigmoid(jnp.asarray(theta))


def corridor_values(p_right, gamma=GAMMA):
    """精确的 V，(3,)：解方程组 V = r + γ P V。p_right (3,) 是每个格子向右走的概率。"""
    p = jnp.asarray(p_right, jnp.float32)
    P = jnp.diag(p[:-1], 1) + jnp.diag(1 - p[1:], -1)  # (3, 3) 从行到列的概率，走出门的不算
    r = jnp.array([LEFT_PRIZE, 0, 0]) * (1 - p) + jnp.array([0, 0, RIGHT_PRIZE]) * p  # (3,)
    return jnp.linalg.solve(jnp.eye(3) - gamma * P, r)


def exact_objective(theta, gamma=GAMMA):
    """从 START 出发的折扣回报的期望，精确值。"""
    return corridor_values(go_right(theta), gamma)[START]


def plot_corridor():
    """画出智能体与环境的一圈（左），和走廊的状态与动作（右），返回 figure。"""
    fig, (left, right) = new_figure(8.6, 2.9, ncols=2, width_ratios=(1, 1.25))
    for ax in (left, right):
        ax.set_aspect("equal")
        ax.axis("off")

    left.set(xlim=(-3, 3), ylim=(-2.1, 2.1))
    box(left, 0, 1.3, "智能体", "策略 π(a | s)", COLORS[0], width=2.6, height=1.1)
    box(left, 0, -1.3, "环境", "规则 p(s′, r | s, a)", COLORS[2], width=2.6, height=1.1)
    arrow(left, (1.35, 1.3), (1.35, -1.3), bend=-0.6)
    arrow(left, (-1.35, -1.3), (-1.35, 1.3), bend=-0.6)
    left.text(2.25, 0, "动作\n$a_t$", ha="left", va="center", fontsize=9.5)
    left.text(-2.25, 0, "奖励 $r_t$\n状态 $s_{t+1}$", ha="right", va="center", fontsize=9.5)

    right.set(xlim=(-2.2, 6.2), ylim=(-2.1, 2.1))
    for s in range(3):
        right.add_patch(
            plt.Circle((2 * s, 0), 0.45, facecolor=COLORS[0] + "26", edgecolor=COLORS[0])
        )
        right.text(2 * s, 0, str(s), ha="center", va="center")
    for x, name in ((-1.7, "左门"), (5.7, "右门")):
        right.text(
            x, 0, name, ha="center", va="center", fontsize=10,
            bbox=dict(boxstyle="square,pad=0.4", facecolor=COLORS[4] + "26", edgecolor=COLORS[4]),
        )  # fmt: skip
    for s in range(3):
        arrow(right, (2 * s + 0.3, 0.4), (2 * s + (1.3 if s == 2 else 1.65), 0.4), bend=-0.35)
        arrow(right, (2 * s - 0.3, -0.4), (2 * s - (1.3 if s == 0 else 1.65), -0.4), bend=-0.35)
    for s, reward in enumerate((0, 0, RIGHT_PRIZE)):
        right.text(
            2 * s + 0.95, 0.85, f"{reward:+g}" if reward else "0", ha="center", fontsize=9
        )
    for s, reward in enumerate((LEFT_PRIZE, 0, 0)):
        right.text(
            2 * s - 0.95, -1.05, f"{reward:+g}" if reward else "0", ha="center", fontsize=9
        )
    right.text(2, 1.55, "向右", ha="center", fontsize=9.5)
    right.text(2, -1.75, "向左", ha="center", fontsize=9.5)
    return fig


class Batch(NamedTuple):
    """一批回合，每个字段 (num_episodes, num_steps)；走出门之后的位置 weight 是 0。"""

    state: jax.Array
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    future: jax.Array  # G_t：从这一步起的折扣回报
    weight: jax.Array  # γ^t；回合结束之后是 0


def log_policy(theta, state, action):
    """ln π(a|s)，形状同 state。向右的概率是 σ(θ_s)，向左的是 σ(-θ_s)。"""
    sign = 2 * action - 1
    return jax.nn.log_sigmoid(sign * theta[state])


@functools.partial(jax.jit, static_argnames=("num_episodes", "num_steps"))
def sample_episodes(
    key, theta, num_episodes: int, gamma=GAMMA, start=START, num_steps: int = MAX_STEPS
) -> Batch:
    """按 θ 走 num_episodes 个回合，都从 start 出发。"""
    uniform = jax.random.uniform(key, (num_steps, num_episodes))

    def one_step(carry, u):
        state, alive = carry
        action = (u < go_right(theta)[state]).astype(jnp.int32)
        arrived = state + 2 * action - 1
        reward = jnp.where(arrived < 0, LEFT_PRIZE, jnp.where(arrived > 2, RIGHT_PRIZE, 0.0))
        inside = (arrived >= 0) & (arrived <= 2)
        seen = (state, action, reward * alive, alive)
        return (jnp.where(inside, arrived, state), alive & inside), seen

    begin = (jnp.full(num_episodes, start), jnp.ones(num_episodes, bool))
    _, (state, action, reward, alive) = jax.lax.scan(one_step, begin, uniform)

    def look_back(future, reward):
        future = reward + gamma * future
        return future, future

    _, future = jax.lax.scan(look_back, jnp.zeros(num_episodes), reward, reverse=True)
    weight = alive * gamma ** jnp.arange(num_steps)[:, None]
    columns = (state, action, log_policy(theta, state, action), reward, future, weight)
    return Batch(*(x.T for x in columns))


def one_episode(actions) -> Batch:
    """照给定的动作从 START 走完一个回合，θ = 0；每个字段 (1, num_steps)。"""
    state = np.concatenate([[START], START + np.cumsum(2 * np.array(actions) - 1)])
    if not (state[-1] in (-1, 3) and ((state[:-1] >= 0) & (state[:-1] <= 2)).all()):
        raise ValueError(f"这些动作没有正好走完一个回合：{actions}")
    reward = np.zeros(len(actions))
    reward[-1] = LEFT_PRIZE if state[-1] < 0 else RIGHT_PRIZE
    discount = GAMMA ** np.arange(len(actions))
    columns = (
        state[:-1],
        np.array(actions),
        np.full(len(actions), np.log(0.5)),
        reward,
        reward[-1] * discount[::-1],
        discount,
    )
    return Batch(*(jnp.asarray(x)[None] for x in columns))


def surrogate(theta, batch: Batch, baseline=0.0):
    """一个标量，它对 θ 的梯度是策略梯度的估计。baseline 与 batch.future 可以广播。"""
    log_prob = log_policy(theta, batch.state, batch.action)  # (num_episodes, num_steps)
    return (batch.weight * log_prob * (batch.future - baseline)).sum(axis=1).mean()


@jax.jit
def episode_gradients(theta, batch: Batch, baseline=0.0):
    """每个回合各自的梯度，(num_episodes, 3)；平均起来就是 surrogate 的梯度。baseline 形状同 batch.future。"""
    baseline = jnp.broadcast_to(baseline, batch.future.shape)

    def of_one(episode, baseline):
        one = jax.tree.map(lambda x: x[None], episode)
        return jax.grad(surrogate)(theta, one, baseline[None])

    return jax.vmap(of_one)(batch, baseline)


RUNGS = {
    "整段的回报 $G_0$": "起点",
    "$\\gamma^t G_t$": "去掉过去的奖励",
    "$\\gamma^t (G_t - b)$": "再减一个常数",
    "$\\gamma^t (G_t - V(s_t))$": "改减 $V(s_t)$",
    "$\\gamma^t (r_t + \\gamma V(s_{t+1}) - V(s_t))$": "下一个状态也由 $V$ 来评",
}
"""策略梯度里乘在 ∇ln π 上的五种权重，{权重: 做了什么}。"""


@functools.partial(jax.jit, static_argnames=("num_episodes",))
def ladder(key, theta, coin: float = 0.0, num_episodes: int = 4096):
    """同一批回合，换五种权重（次序同 RUNGS）估计策略梯度；V 是精确的。

    Args:
        coin: 每一步另加一笔 ±coin 的奖励，正负各一半，与动作无关：V 和真的梯度都不变。

    Returns:
        (平均的梯度 (5, 3)，单个回合的梯度的方差 (5,)，三个分量的方差之和)。
    """
    walk, toss = jax.random.split(key)
    batch = sample_episodes(walk, theta, num_episodes)
    alive = batch.weight > 0
    sign = 2 * jax.random.bernoulli(toss, 0.5, batch.reward.shape) - 1
    reward = batch.reward + coin * sign * alive

    def look_back(future, reward):
        future = reward + GAMMA * future
        return future, future

    _, future = jax.lax.scan(look_back, jnp.zeros(num_episodes), reward.T, reverse=True)
    future = future.T  # (num_episodes, num_steps)
    V = corridor_values(go_right(theta))
    padded = jnp.concatenate([V, jnp.zeros(2)])  # 门外（-1 和 3）的价值是 0
    here, there = V[batch.state], padded[batch.state + 2 * batch.action - 1]
    choices = (
        (future[:, :1] + 0 * future, alive * 1.0),
        (future, batch.weight),
        (future - V.mean(), batch.weight),
        (future - here, batch.weight),
        (reward + GAMMA * there - here, batch.weight),
    )
    each = jnp.stack(
        [episode_gradients(theta, batch._replace(future=f, weight=w)) for f, w in choices]
    )  # (5, num_episodes, 3)
    return each.mean(axis=1), each.var(axis=1).sum(axis=-1)


@functools.partial(jax.jit, static_argnames=("seeds", "num_episodes", "num_updates", "critic"))
def learn_corridor(
    step_size,
    num_episodes: int = 4,
    critic: bool = False,
    seeds: int = 100,
    num_updates: int = 100,
):
    """seeds 个种子各做 num_updates 步策略梯度，θ 从 0 起。

    critic 为真时，减去当前策略精确的 V 作基线。

    Returns:
        每次更新之后的策略的精确成绩 ``exact_objective``，(seeds, num_updates)。
    """

    def one_update(theta, key):
        batch = sample_episodes(key, theta, num_episodes)
        baseline = corridor_values(go_right(theta))[batch.state] if critic else 0.0
        theta = theta + step_size * jax.grad(surrogate)(theta, batch, baseline)
        return theta, exact_objective(theta)

    def one_seed(seed):
        keys = jax.random.split(jax.random.key(seed), num_updates)
        return jax.lax.scan(one_update, jnp.zeros(3), keys)[1]

    return jax.vmap(one_seed)(jnp.arange(seeds))


OUTCOMES = ("学会走右门", "还没学完", "困在左门", "来回走，出不去")


def outcomes(objective) -> np.ndarray:
    """每个种子最后的策略属于哪一种，下标见 OUTCOMES。objective (seeds,) 是精确的成绩。

    总走右门是 1.8，总走左门是 0.9，永远出不去是 0。
    """
    x = np.asarray(objective)
    return np.select([x > 1.7, x < 0.05, (x > 0.8) & (x < 0.95)], [0, 3, 2], 1)


# ---------------------------------------------------------------- Adam 初见

RULES = {
    "sgd": "SGD",
    "momentum": "SGD + 动量 0.9",
    "divide": "只除以 $\\sqrt{\\hat v}$（Adam，$\\beta_1 = 0$）",
    "adam": "Adam（两样都有）",
}
"""碗里比的四种优化器。SGD 的动量是累加（不乘 1 - 0.9），只差一个常数倍，由学习率补上。"""


@functools.partial(jax.jit, static_argnames=("optimizer", "max_steps"))
def steps_to_bottom(
    optimizer: str, lr, steepness, angle=0.0, start=(1.0, 1.0), max_steps: int = 3000
):
    """从 start 出发，走几步才到 f < 0.001 并且不再出来；到不了就是 max_steps + 1。

    碗是 f = ½(x² + steepness·y²)，碗和起点再一起转 angle 弧度。optimizer 是 RULES 里的一种。
    """
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rotate = jnp.array([[cos, -sin], [sin, cos]])
    curvature = rotate @ jnp.diag(jnp.array([1.0, steepness])) @ rotate.T  # (2, 2)
    beta_1 = 0.9 if optimizer == "adam" else 0.0

    def one_step(carry, t):
        x, mu, nu = carry
        grad = curvature @ x
        if optimizer in ("sgd", "momentum"):
            mu = (0.9 if optimizer == "momentum" else 0.0) * mu + grad
            x = x - lr * mu
        else:
            x, mu, nu = adam_step(x, grad, mu, nu, t, lr=lr, beta_1=beta_1)
        return (x, mu, nu), 0.5 * x @ curvature @ x

    begin = (rotate @ jnp.asarray(start), jnp.zeros(2), jnp.zeros(2))
    steps = jnp.arange(1, max_steps + 1)
    _, f = jax.lax.scan(one_step, begin, steps)
    outside = ~(f < 1e-3)  # NaN 也算在外面
    return jnp.max(jnp.where(outside, steps, 0)) + 1


LEARNING_RATES = 10.0 ** np.arange(-4, 0.51, 0.1)
DIRECTIONS = 0.2 + np.linspace(0, 2 * np.pi, 16, endpoint=False)
STARTS = np.sqrt(2) * np.stack([np.cos(DIRECTIONS), np.sin(DIRECTIONS)], axis=1)
"""16 个起点，(16, 2)，均匀地排在半径 √2 的圆上。"""


def fewest_steps(optimizer: str, steepness: float, angle: float = 0.0) -> np.ndarray:
    """挑 16 个起点的中位数最小的学习率；返回那时各个起点要几步到碗底，(16,)。"""
    one_lr = jax.vmap(
        lambda lr, x: steps_to_bottom(optimizer, lr, steepness, angle, x), (None, 0)
    )
    steps = np.asarray(
        jax.vmap(one_lr, (0, None))(jnp.asarray(LEARNING_RATES), jnp.asarray(STARTS))
    )
    return steps[np.median(steps, axis=1).argmin()]


# ---------------------------------------------------------------- JAX 初见


def seconds(function: Callable, at_least: float = 2e-3) -> Callable:
    """返回一个函数：跑够 at_least 秒，报平均一次要几秒。先跑一次，编译不算在内。"""
    jax.block_until_ready(function())
    start = time.perf_counter()
    jax.block_until_ready(function())
    times = max(1, round(at_least / (time.perf_counter() - start)))

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(times):
            out = function()
        jax.block_until_ready(out)  # JAX 交出结果时可能还没算完，要等它
        return (time.perf_counter() - start) / times

    return measure


def time_ratio(first: Callable, second: Callable, rounds: int = 15) -> float:
    """first 的用时是 second 的几倍。两者轮流跑，各取最快的一次：别的程序只会让它变慢。"""
    one, other = seconds(first), seconds(second)
    a, b = np.min([(one(), other()) for _ in range(rounds)], axis=0)
    return float(a / b)


def returns_numpy(reward, gamma=0.99):
    """折扣回报，(..., num_steps) → 同样的形状。NumPy，循环写在 Python 里。"""
    out, future = np.empty_like(reward), np.zeros_like(reward[..., 0])
    for t in reversed(range(reward.shape[-1])):
        future = reward[..., t] + gamma * future
        out[..., t] = future
    return out


def returns_jax(reward, gamma=0.99):
    """折扣回报，只会算一个回合：(num_steps,) → (num_steps,)。JAX，循环是 scan。"""

    def look_back(future, reward):
        future = reward + gamma * future
        return future, future

    return jax.lax.scan(look_back, 0.0, reward, reverse=True)[1]


def compare_numpy_jax() -> dict[str, float]:
    """几件小事，{事: NumPy 的用时 ÷ JAX 的用时}。大于 1 是 JAX 快。"""
    rng = np.random.default_rng(0)

    def draw(*shape):
        x = rng.normal(size=shape).astype(np.float32)
        return x, jnp.asarray(x)

    def little(x):
        return x * 2 + 1

    def curve(np, x):
        return np.tanh(x) ** 2 * np.exp(-x * x) + 0.5 * x

    def loss(np, w, x):
        return (np.tanh(x @ w) ** 2).mean()

    def differences(w, x, h=1e-3):
        """一个一个参数地动，(1000,)。"""
        here = loss(np, w, x)
        return [
            (loss(np, w + h * (np.arange(len(w)) == i), x) - here) / h for i in range(len(w))
        ]

    def by_hand(w, x):
        y = np.tanh(x @ w)
        return x.T @ (2 * y * (1 - y * y)) / len(x)

    few, few_j = draw(4)
    many, many_j = draw(1_000_000)
    one, one_j = draw(1000)
    w, w_j = draw(1000)
    x, x_j = draw(256, 1000)
    little_jit = jax.jit(little)
    curve_jit = jax.jit(lambda x: curve(jnp, x))
    returns_jit = jax.jit(returns_jax)
    grad_jit = jax.jit(jax.grad(lambda w: loss(jnp, w, x_j)))
    return {
        "四个数，乘 2 加 1，`jit`": time_ratio(lambda: little(few), lambda: little_jit(few_j)),
        "一百万个数，八个逐元素的运算，不编译": time_ratio(
            lambda: curve(np, many), lambda: curve(jnp, many_j)
        ),
        "一百万个数，八个逐元素的运算，`jit`": time_ratio(
            lambda: curve(np, many), lambda: curve_jit(many_j)
        ),
        "一个回合 1000 步的折扣回报，`jit` + `lax.scan`": time_ratio(
            lambda: returns_numpy(one), lambda: returns_jit(one_j)
        ),
        "1000 个参数的梯度：差分 对 `jax.grad`": time_ratio(
            lambda: differences(w, x), lambda: grad_jit(w_j), rounds=3
        ),
        "1000 个参数的梯度：手推的公式 对 `jax.grad`": time_ratio(
            lambda: by_hand(w, x), lambda: grad_jit(w_j)
        ),
    }


def compare_first_call() -> dict[str, float]:
    """编译的代价：折扣回报的第一次调用，是以后一次的几倍；要调用几次才比 NumPy 划算。"""
    reward = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    compiled = jax.jit(lambda reward: returns_jax(reward))
    on_device = jax.block_until_ready(jnp.asarray(reward))
    start = time.perf_counter()
    jax.block_until_ready(compiled(on_device))
    first = time.perf_counter() - start
    later = min(seconds(lambda: compiled(on_device))() for _ in range(7))
    numpy = min(seconds(lambda: returns_numpy(reward))() for _ in range(7))
    return {"first_over_later": first / later, "break_even": first / (numpy - later)}


def returns_unrolled(reward, gamma=0.99):
    """与 ``returns_jax`` 算的一样，但循环写在 Python 里：编译时一步一步展开。"""
    out, future = [], 0.0
    for t in reversed(range(len(reward))):
        future = reward[t] + gamma * future
        out.append(future)
    return jnp.stack(out[::-1])


def compile_seconds(function: Callable, num_steps: int) -> float:
    """编译 function 要几秒处理器时间，输入是 num_steps 个数。"""
    new = time.perf_counter() % 1  # 从没有用过的常数：缓存里（硬盘上的也算）没有这个程序
    fresh = jax.jit(lambda reward: function(reward) * new)
    reward = jax.ShapeDtypeStruct((num_steps,), jnp.float32)
    start = time.process_time()  # 不随别的程序有多忙而变
    fresh.lower(reward).compile()
    return time.process_time() - start


# ---------------------------------------------------------------- 实验

STEP_SIZES = (0.00025, 0.001, 0.004, 0.016, 0.064)
METHODS = {"策略梯度": 1, "PPO": 4}
"""每批经验走几步。只走一步时裁剪不起作用，就是普通的策略梯度。"""

EXPERIMENTS = {
    "step_size": Experiment(
        PPOConfig(
            env_name="CartPole-v1",
            total_timesteps=200_000,
            num_seeds=10,
            num_steps=32,
            num_minibatches=1,
            anneal_lr=False,
            ent_coef=0.0,
        ),
        {
            f"{name}，lr = {lr:g}": dict(lr=lr, update_epochs=epochs)
            for name, epochs in METHODS.items()
            for lr in STEP_SIZES
        },
        metrics=("return", "entropy"),
        points=50,
    )
}
"""CartPole 上的策略梯度和 PPO，换几个学习率，别的都一样。"""


# ---------------------------------------------------------------- 练习


LAST = 1 / (1 - GAMMA**2 / 2)
"""练习 2.1 的 V(2)。"""


def chain(start: float, end: float) -> tuple[float, float, float]:
    """从 V(1) 和 V(2) 补上 V(0) = γV(1)。"""
    return GAMMA * start, start, end


check_values = AnswerExercise(
    "练习 2.1：三个格子的价值",
    {
        "V(0)": Number(GAMMA**2 * LAST, hint="三个数是连着的，从 V(2) 查起：V(2) = ½·2 + ½·γV(1)，V(1) = γV(2)，最后才是 V(0) = γV(1)。"),
        "V(1)": Number(GAMMA * LAST, hint="格子 1 总向右，没有奖励：V(1) = γV(2)。"),
        "V(2)": Number(LAST, hint="一半走出右门，一半退回格子 1：V(2) = ½·2 + ½·γV(1)，再把 V(1) 换成 γV(2)。"),
    },
    praise=f"V(2) = 1 / (1 - γ²/2) = {LAST:.3f}，往左每退一格乘一次 γ。",
    wrong=[
        ((2, 2, 2), "你忘了折扣：每走一步，后面的价值要乘一次 γ = 0.9。"),
        ((LAST, GAMMA * LAST, GAMMA**2 * LAST), "三个数的次序反了：格子 2 离右门最近，价值最大。"),
        ((1.62, 1.8, 2), "这是总向右的策略。格子 2 只有一半的机会出门，另一半退回格子 1。"),
        ((1.0105, 1.1345, 1.5105), "这是正文里左右各半的策略。价值属于一个策略：策略换了，要重新算。"),
        (chain(GAMMA, 1), "格子 2 向左的那一半不是白走：它到了格子 1，那里还有 γV(1)。"),
        (chain(2 * GAMMA * LAST, 2 * LAST), "出门的奖励 2 只有一半的机会拿到，要乘 ½。"),
        (chain(GAMMA / (1 - GAMMA / 2), 1 / (1 - GAMMA / 2)), "从格子 2 退到 1、再走回来是两步，要乘两次 γ。"),
        (chain(GAMMA / (1 - GAMMA**2), 1 / (1 - GAMMA**2)), "退回格子 1 只有一半的机会，那一项也要乘 ½。"),
        (chain(GAMMA**2 * LAST, GAMMA * LAST), "多乘了一次 γ：这一步的奖励不打折。"),
        (chain(GAMMA * LAST / 2, LAST / 2), "右门的奖励是 2，不是 1。"),
    ],
)  # fmt: skip


KEY_PROGRAMS = {
    "A": "x = jax.random.normal(key)\nu = jax.random.uniform(key)",
    "B": "x, y = jax.random.normal(key, (2,))",
    "C": "key, one = jax.random.split(key)\nx = jax.random.normal(one)\nkey, one = jax.random.split(key)\ny = jax.random.normal(one)",
    "D": "x = jax.random.normal(key)\nkey, one = jax.random.split(key)\ny = jax.random.normal(one)",
    "E": "def draw(key):\n    key, one = jax.random.split(key)\n    return jax.random.normal(one)\n\nx, y = draw(key), draw(key)",
    "F": "keys = jax.random.split(key, 8)\nx = jax.vmap(jax.random.normal)(keys)",
}  # fmt: skip
"""练习 2.2 的六段程序，都从一把没有用过的 key 开始。"""

check_key_reuse = AnswerExercise(
    "练习 2.2：哪几段程序把一把钥匙用了两次",
    {
        "程序": Subset(
            {"A", "D", "E"},
            options=KEY_PROGRAMS,
            wrong={frozenset("BCF"): "反了：你选的正是每把钥匙只用一次的。"},
            extra={
                "B": "B 没有用两次：一次可以抽许多个数，它们互相独立。",
                "C": "C 没有用两次：key 这个名字没有变，每次 split 之后装的都是新的一把。",
                "F": "F 没有用两次：先分成八把，每一把抽一个数。",
            },
            missing={
                "A": "还漏了：换一种分布，钥匙还是那一把。两个数由同样的随机位变来，一个大，另一个也大。",
                "E": "还漏了：函数里换掉的是它自己的那个名字，外面的钥匙没有动。",
                "D": "还漏了：抽过数的钥匙，又拿去 split。新的由它派生，就不能保证与抽过的数无关。",
            },
        )
    },
    praise="换分布、再 split、换个名字或藏进函数，都算在用。拿不准时，用 jax.debug_key_reuse 查。",
)  # fmt: skip


def surrogate_inputs(rng):
    """回合的个数、步数和 γ 每次不同；weight 在回合结束之后是 0，基线有正有负。"""
    for num_episodes, num_steps, gamma in ((1, 1, 0.9), (2, 3, 0.5), (4, 3, 0.9), (3, 4, 0.99)):
        log_prob = np.log(rng.uniform(0.2, 0.9, (num_episodes, num_steps))).round(2)
        future, baseline = rng.normal(0.5, 1, (2, num_episodes, num_steps)).round(1) + 0.05
        length = 1 + (np.arange(num_episodes) + 1) % num_steps
        weight = gamma ** np.arange(num_steps) * (np.arange(num_steps) < length[:, None])
        yield tuple(np.float32(x) for x in (log_prob, future, weight, baseline))


def policy_objective(log_prob, future, weight, baseline):
    """要最大化的标量，它对参数的梯度是策略梯度的估计；输入都是 (num_episodes, num_steps)。"""
    return (weight * log_prob * (future - baseline)).sum(axis=1).mean()


check_my_surrogate = FunctionExercise(
    "练习 2.3：写出策略梯度的目标",
    policy_objective,
    surrogate_inputs,
    {
        "差一个负号。这里要的是最大化的目标；交给优化器最小化时才取负。": lambda lp, f, w, b: -policy_objective(lp, f, w, b),
        "你对所有位置求了平均。回合有长有短，要在回合里求和，再对回合求平均。": lambda lp, f, w, b: (w * lp * (f - b)).mean(),
        "你把回合也加起来了；对回合要求平均，步长才不随回合的个数变。": lambda lp, f, w, b: (w * lp * (f - b)).sum(),
        "你除以了 weight 的和，求的是各步的加权平均。在回合里要求和，再除以回合的个数。": lambda lp, f, w, b: (w * lp * (f - b)).sum() / w.sum(),
        "两个轴反了：沿步求和（axis=1），再对回合求平均。": lambda lp, f, w, b: (w * lp * (f - b)).sum(axis=0).mean(),
        "你在每个回合里求了平均；长的回合，每一步就不算数了。在回合里要求和。": lambda lp, f, w, b: ((w * lp * (f - b)).sum(axis=1) / (w > 0).sum(axis=1)).mean(),
        "每个回合一个数了，再沿回合求平均，得到一个标量。": lambda lp, f, w, b: (w * lp * (f - b)).sum(axis=1),
        "要一个标量，jax.grad 才能对它求导：再沿步求和，对回合求平均。": lambda lp, f, w, b: w * lp * (f - b),
        "忘了乘 weight：它是 γ^t，回合结束之后是 0，没有它就把结束之后的空位也算进去了。": lambda lp, f, w, b: policy_objective(lp, f, 1, b),
        "weight 只用来盖住了空位，少乘了 γ^t。": lambda lp, f, w, b: policy_objective(lp, f, w > 0, b),
        "忘了减基线。": lambda lp, f, w, b: policy_objective(lp, f, w, 0),
        "基线是减去，不是加上。": lambda lp, f, w, b: policy_objective(lp, f, w, -b),
        "少乘了回报减基线：抽到的动作要按它有多好来提高。": lambda lp, f, w, b: policy_objective(lp, 1, w, 0),
        "你用了概率。要用对数概率：样本已经是按概率抽来的，常见的动作本来就来得多，要除回去。": lambda lp, f, w, b: policy_objective(jnp.exp(lp), f, w, b),
        "次序错了：先从回报里减去基线，再乘对数概率。": lambda lp, f, w, b: (w * (lp * f - b)).sum(axis=1).mean(),
        "weight 也要乘在基线上：先减基线，再乘 weight。": lambda lp, f, w, b: (lp * (w * f - b)).sum(axis=1).mean(),
    },
    praise="值对，导数也对：对参数求导，就是策略梯度的估计。",
    returns="一个标量",
    gradients=(0,),
    jax_arrays=True,
)  # fmt: skip


def returns_inputs(rng):
    """回合的个数、步数、γ 的个数各不相同，也有相同的；γ 有 0 和 1。"""
    yield np.float32([[1, 2]]), np.float32([0.5])
    yield np.float32([[3, -1], [2, 4], [0, 5]]), np.float32([1, 0])
    for num_episodes, num_steps, num_gammas in ((2, 4, 3), (3, 3, 3)):
        reward = rng.integers(-9, 10, (num_episodes, num_steps))
        yield np.float32(reward), np.float32(rng.uniform(0.3, 0.95, num_gammas).round(2))


def batch_returns(reward, gammas):
    """每个 γ、每个回合的折扣回报，(num_gammas, num_episodes)。"""
    discounts = gammas[:, None] ** jnp.arange(reward.shape[1])  # (num_gammas, num_steps)
    return (discounts[:, None] * reward).sum(axis=-1)


def discounted(reward, gammas):
    """还没有求和的，(num_gammas, num_episodes, num_steps)。"""
    return gammas[:, None, None] ** jnp.arange(reward.shape[1]) * reward


check_batch_returns = FunctionExercise(
    "练习 2.4：用 vmap 写出批量的折扣回报",
    batch_returns,
    returns_inputs,
    {
        "两个轴反了：外面的那次 vmap 的轴排在最前，它应当是 γ。": lambda r, g: batch_returns(r, g).T,
        "第 i 个回合只配了第 i 个 γ，两者个数不同时还会报错。每次 vmap 只走一个轴，另一个参数在 in_axes 里写 None。": jax.vmap(lambda r, g: batch_returns(r[None], g[None])[0, 0]),
        "只批了回合的轴。再套一次 vmap，批 γ。": lambda r, g: batch_returns(r, g)[0],
        "只批了 γ 的轴。再套一次 vmap，批回合。": lambda r, g: batch_returns(r, g)[:, 0],
        "你把各个回合加起来了；每个回合要留一个数。": lambda r, g: batch_returns(r, g).sum(axis=1),
        "你对各个回合求了平均；每个回合要留一个数。": lambda r, g: batch_returns(r, g).mean(axis=1),
        "还没有沿步求和。one_return 里已经求了，直接 vmap 它就好。": discounted,
        "第一步不打折：γ 的指数从 0 数起。": lambda r, g: batch_returns(r, g) * g[:, None],
        "次序反了：越晚的奖励折得越多。": lambda r, g: batch_returns(r[:, ::-1], g),
        "没有打折：γ 没有用上。": lambda r, g: batch_returns(r, jnp.ones_like(g)),
        "你批的是 reward 的第 1 维（步），把一步当成了一个回合；要批第 0 维（回合）。": lambda r, g: batch_returns(r.T, g),
    },
    praise="两个轴，两次 vmap；一个回合的函数一个字也没有改。",
    returns="每个 γ、每个回合一个数，形状 (num_gammas, num_episodes)",
    jax_arrays=True,
)  # fmt: skip
