"""第 6 章的实验和练习检查：写错的掩码、真值算得出来的走廊、各种 λ。"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib.advantage import calculate_gae, td_error
from ppo_lib.config import PPOConfig
from ppo_lib.course import example
from ppo_lib.course.exercises import AnswerExercise, Choice, FunctionExercise, Number
from ppo_lib.course.experiment import Experiment

# ---------------------------------------------------------------- 写错的掩码


def value_of_next_row(value, next_value):
    """下一行的 V，(num_steps, num_envs)。一步之后若是结尾，下一行是新回合的开头，不是到达的状态。"""
    return jnp.concatenate([value[1:], next_value[-1:]])


def gae_no_mask(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """没有掩码：当作一个永不结束的回合。"""
    never = jnp.zeros_like(terminated)
    next_value = value_of_next_row(value, next_value)
    return calculate_gae(reward, value, next_value, never, never, gamma, gae_lambda)


def gae_keep_value(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """断开了优势，却没有遮住 V：结尾处接上新回合开头的 V。"""
    never, ended = jnp.zeros_like(terminated), terminated | truncated
    next_value = value_of_next_row(value, next_value)
    return calculate_gae(reward, value, next_value, never, ended, gamma, gae_lambda)


def gae_mask_delta_only(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """遮住了 V，却没有断开优势：后一回合的优势流进前一回合。"""
    delta = td_error(reward, value, next_value, terminated, gamma)

    def backwards(next_advantage, delta_t):
        advantage_t = delta_t + gamma * gae_lambda * next_advantage
        return advantage_t, advantage_t

    _, advantage = jax.lax.scan(backwards, jnp.zeros_like(delta[0]), delta, reverse=True)
    return advantage, advantage + value


def gae_off_by_one(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """错一步：第 t 步用了第 t+1 步的结束标志。"""

    def of_next_row(ended):
        return jnp.concatenate([ended[1:], jnp.zeros_like(ended[:1])])

    next_value = value_of_next_row(value, next_value)
    return calculate_gae(
        reward, value, next_value, of_next_row(terminated), of_next_row(truncated),
        gamma, gae_lambda,
    )  # fmt: skip


def gae_timeout_as_end(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """截断当成终止：超时之后的价值也丢掉。"""
    ended = terminated | truncated
    return calculate_gae(
        reward, value, next_value, ended, jnp.zeros_like(ended), gamma, gae_lambda
    )


def gae_reset_value(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """截断处接的是重置之后的 V，不是到达的状态的 V；终止处是对的。"""
    next_value = value_of_next_row(value, next_value)
    return calculate_gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda)


WRONG = {
    "没有掩码": gae_no_mask,
    "没有遮住 V": gae_keep_value,
    "没有断开优势": gae_mask_delta_only,
    "错一步": gae_off_by_one,
    "截断当终止": gae_timeout_as_end,
    "截断接重置后的 V": gae_reset_value,
}
"""写错的 calculate_gae：名字 → 函数，参数与库里的相同。"""


def on_example(gae=calculate_gae, **changes) -> np.ndarray:
    """在五步的小例子上算优势，(5,)。changes 换掉几项，例如 ``terminated=AFTER_STEP_3``。"""
    columns = dict(
        reward=example.REWARD,
        value=example.VALUE,
        next_value=example.NEXT_VALUE,
        terminated=example.TERMINATED,
        truncated=example.TRUNCATED,
    )
    constants = dict(gamma=example.GAMMA, gae_lambda=example.GAE_LAMBDA)
    constants |= {name: x for name, x in changes.items() if name in constants}
    columns |= {name: x for name, x in changes.items() if name in columns}
    columns = {name: jnp.asarray(x)[:, None] for name, x in columns.items()}  # (5, 1)
    return np.asarray(gae(**columns, **constants)[0][:, 0])


AFTER_STEP_3 = np.array([False, False, True, False, False])
REACHED_VALUE = 1.0
"""第 3 步到达的状态的 V，用在“第 3 步之后截断”的例子里；重置之后的 V 是 0.2。"""


# ---------------------------------------------------------------- Actor 和 Critic 各用各的 λ


def gae_apart(actor_lambda: float, critic_lambda: float):
    """换掉 ``calculate_gae``：优势用一个 λ，Critic 的目标用另一个。"""

    def gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
        columns = reward, value, next_value, terminated, truncated, gamma
        advantage, _ = calculate_gae(*columns, actor_lambda)
        _, target = calculate_gae(*columns, critic_lambda)
        return advantage, target

    return gae


LAMBDAS = (0.0, 0.95, 1.0)
"""Actor 和 Critic 各试这几个 λ。"""


# ---------------------------------------------------------------- 走廊：真值算得出来

SIZE = 11
"""走廊有几格。"""


class Walks(NamedTuple):
    """从每一格、先往每一边走一步的许多个回合，各走到头。前两维 (num_steps, num_episodes)。"""

    cell: np.ndarray  # 选动作时在第几格，0 … SIZE-1
    next_cell: np.ndarray  # 到达第几格；出了走廊时没有意义
    reward: np.ndarray
    terminated: np.ndarray  # bool；走到头之后一直为真


def next_values(V):
    """往左、往右走一步到达的 V，(SIZE, 2)；两端之外是 0。"""
    padded = np.pad(V, 1)
    return np.stack([padded[:-2], padded[2:]], axis=1)


def corridor_truth(gamma: float):
    """解线性方程组，得到随机地左右走时真正的 V (SIZE,) 和 Q (SIZE, 2)。

    V = r + γPV，所以 V = (I - γP)⁻¹ r：P 是走一步的转移概率，r 是一步奖励的期望。
    """
    P = (np.eye(SIZE, k=1) + np.eye(SIZE, k=-1)) / 2
    reward = np.zeros((SIZE, 2))
    reward[-1, 1] = 1.0  # 最右一格往右：到达，得 1
    V = np.linalg.solve(np.eye(SIZE) - gamma * P, reward.mean(axis=1))
    return V, reward + gamma * next_values(V)


def expected_gae(critic, gamma: float, gae_lambda: float) -> np.ndarray:
    """GAE 在每一格、每个动作上的期望，(SIZE, 2)，不用抽样。

    Â = δ_0 + γλ·(下一格起的 Â)，下一格起的期望又满足 a = d + γλPa，也是线性方程组。
    """
    reward = np.zeros((SIZE, 2))
    reward[-1, 1] = 1.0
    delta = reward + gamma * next_values(critic) - critic[:, None]  # (SIZE, 2)
    P = (np.eye(SIZE, k=1) + np.eye(SIZE, k=-1)) / 2
    later = np.linalg.solve(np.eye(SIZE) - gamma * gae_lambda * P, delta.mean(axis=1))
    return delta + gamma * gae_lambda * next_values(later)


def walk(episodes: int, seed: int = 0, num_steps: int = 300) -> Walks:
    """每一格、每个第一步各走 episodes 个回合；排列次序是 (格, 动作, 回合)。"""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(SIZE), 2 * episodes)
    move = np.tile(np.repeat([-1, 1], episodes), SIZE)
    over = np.zeros(len(cell), bool)
    rows = []
    for _ in range(num_steps):
        there = cell + move
        reward = ((there == SIZE) & ~over).astype(np.float32)
        over = over | (there < 0) | (there >= SIZE)
        next_cell = np.where(over, cell, there)
        rows.append((cell, next_cell, reward, over))
        cell, move = next_cell, rng.choice([-1, 1], len(cell))
    return Walks(*map(np.stack, zip(*rows)))


def first_advantages(critic, walks: Walks, gamma: float, gae_lambda: float) -> np.ndarray:
    """每个回合第一步的优势，用库里的 calculate_gae 算，(SIZE, 2, episodes)。"""
    advantage = first_step_gae(
        walks.reward, critic[walks.cell], critic[walks.next_cell], walks.terminated,
        gamma, gae_lambda,
    )  # fmt: skip
    return np.asarray(advantage, float).reshape(SIZE, 2, -1)


@jax.jit
def first_step_gae(reward, value, next_value, terminated, gamma, gae_lambda):
    """第一行的优势。"""
    never = jnp.zeros_like(terminated)
    ends = terminated, never
    return calculate_gae(reward, value, next_value, *ends, gamma, gae_lambda)[0][0]


# ---------------------------------------------------------------- 实验

CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=10)

EXPERIMENTS = {
    "mask": Experiment(
        CARTPOLE,
        {"对的": {}} | {name: {} for name in WRONG},
        metrics=("return",),
        points=48,
        patches={name: {"ppo_lib.training.calculate_gae": gae} for name, gae in WRONG.items()},
    ),
    "mountain_car": Experiment(
        PPOConfig(activation="tanh", ent_coef=0.05, total_timesteps=1_000_000, num_seeds=10),
        {name: {} for name in ("对的", "截断当终止", "截断接重置后的 V")},
        metrics=("return", "goals_reached"),
        points=48,
        patches={
            name: {"ppo_lib.training.calculate_gae": WRONG[name]}
            for name in ("截断当终止", "截断接重置后的 V")
        },
    ),
    "lambda": Experiment(
        CARTPOLE,
        {f"λ = {x:g}": dict(gae_lambda=x) for x in (0.0, 0.5, 0.9, 0.95, 1.0)},
        points=48,
    ),
    "apart": Experiment(
        dataclasses.replace(CARTPOLE, seed=100),
        {f"{actor:g} / {critic:g}": {} for actor in LAMBDAS for critic in LAMBDAS},
        points=24,
        patches={
            f"{actor:g} / {critic:g}": {
                "ppo_lib.training.calculate_gae": gae_apart(actor, critic)
            }
            for actor in LAMBDAS
            for critic in LAMBDAS
        },
    ),
}
"""mask：CartPole 上写错的掩码；mountain_car：截断怎么算；lambda：λ 对学习的影响；
apart：Actor 的 λ / Critic 的 λ，分开来取，种子是新的。"""


# ---------------------------------------------------------------- 练习

TD_ROWS = ((2, 3, 5, ""), (3, 5, 8, "终止"), (3, 4, 2, "截断"))
"""练习 6.1 的三步 (r, V(s), V(s′), 结尾)，γ = 0.9。"""


def delta_field(r, v, next_v, end) -> Number:
    """一步的 δ；数是挑过的，没有两种错得到同一个数。"""
    hint = "写出 r + γV(s′) - V(s)，先问这一步之后有没有以后。"
    connected, alone = r + 0.9 * next_v - v, r - v  # 接上、不接上 V(s′)
    if end == "终止":
        no_future = "这一步之后终止了，以后没有奖励，不该接上 V(s′)。"
        still = "终止之后没有以后，这一步的意外却还在：得到的奖励减预期的价值。"
        wrong = {connected: no_future, r + next_v - v: no_future, r: "忘了减 V(s)。", 0: still}
        return Number(alone, wrong, hint)
    wrong = {
        alone: "这一步是截断：任务没有结束，V(s′) 要接上。" if end else "这是奖励减价值；还要加上 γV(s′)。",
        r + next_v - v: "V(s′) 前面忘了乘 γ。",
        r + 0.9 * next_v: "忘了减 V(s)。",
        r + 0.9 * next_v + v: "V(s) 是减去，不是加上。",
        r + 0.9 * (next_v - v): "γ 只乘 V(s′)，不乘 V(s)。",
        0.9 * (r + next_v) - v: "γ 只乘 V(s′)，不乘 r。",
        r + 0.9 * v - next_v: "V(s) 和 V(s′) 换了位置：接上的是到达的状态的，减去的是动身之前的。",
    }  # fmt: skip
    return Number(connected, wrong, hint)


check_td_errors = AnswerExercise(
    "练习 6.1：三步的时序差分误差",
    {f"第 {t} 步的 δ": delta_field(*row) for t, row in enumerate(TD_ROWS, 1)},
    praise="第 2 步不接 V(s′)，第 3 步接上。",
    wrong=[((3.5, 5.2, -1.0), "两种结尾弄反了：终止不接 V(s′)，截断要接。")],
)


def gae_inputs(rng):
    """一个环境的几段经验：没有结尾的，结尾在头一步、最后一步、中间的，两种都有的；γ 和 λ 每次不同。"""
    for ends, gamma, gae_lambda in (
        ("-", 0.9, 0.5),
        ("d", 0.8, 0.7),
        ("----", 0.9, 0.6),
        ("d--u", 0.5, 0.8),
        ("u--d", 0.7, 0.9),
        ("--d-u--", 0.9, 0.6),
        ("-u-dd--", 0.99, 0.95),
        ("-------", 1.0, 0.5),
        ("---uu-d", 0.8, 1.0),
        ("-d--u--", 0.6, 0.0),
    ):
        reward, value, reached = rng.integers(-20, 21, (3, len(ends))) / 10
        terminated, truncated = (np.array([x == end for x in ends]) for end in "du")
        # 没有结束的步，到达的就是下一行的状态
        same_episode = ~(terminated | truncated)[:-1]
        next_value = np.append(np.where(same_episode, value[1:], reached[:-1]), reached[-1])
        yield reward, value, next_value, terminated, truncated, gamma, gae_lambda


def one_env_gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """一个环境的优势，(num_steps,)。"""
    advantage = np.zeros(len(reward))
    following = 0.0
    for t in reversed(range(len(reward))):
        delta = reward[t] + gamma * next_value[t] * (not terminated[t]) - value[t]
        carry_on = not (terminated[t] or truncated[t])
        following = advantage[t] = delta + gamma * gae_lambda * carry_on * following
    return advantage


def gae_loop(delta, carry, discount):
    """从后往前：a_t = δ_t + discount·carry_t·a_{t+1}。"""
    advantage, following = np.zeros(len(delta)), 0.0
    for t in reversed(range(len(delta))):
        following = advantage[t] = delta[t] + discount * carry[t] * following
    return advantage


def following_row(flag):
    """下一行的结束标志；最后一行没有下一行。"""
    return np.append(flag[1:], False)


check_my_gae = FunctionExercise(
    "练习 6.2：写出一个环境的 GAE",
    one_env_gae,
    gae_inputs,
    {
        "两处都没有断开：δ 里终止之后仍接了 V(s′)，优势也跨过了回合。（写成 terminated and truncated 也会这样：两者不会同时为真，要用 or。）": lambda r, v, nv, d, u, g, lam: gae_loop(r + g * nv - v, d | True, g * lam),
        "掩码只乘在 δ 上了。优势也要在回合的结尾断开，终止、截断都要。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, g), d | True, g * lam),
        "优势断开了，可是 δ 里终止的那一步仍接着 V(s′)。": lambda r, v, nv, d, u, g, lam: gae_loop(r + g * nv - v, ~(d | u), g * lam),
        "截断被当成了终止：截断的那一步仍要接上 V(s′)，只是优势不再往前传。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d | u, g), ~(d | u), g * lam),
        "两种结尾弄反了：δ 里，终止不接 V(s′)，截断要接。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, u, g), ~(d | u), g * lam),
        "优势只在终止处断开了；截断之后也是新的一回合，同样要断开。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, g), ~d, g * lam),
        "优势只在截断处断开了；终止处同样要断开。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, g), ~u, g * lam),
        "两处的标志用反了：δ 里只看终止，递推里终止和截断都要看。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d | u, g), ~d, g * lam),
        "你用了下一行的 value，没有用 next_value：截断之后，下一行是新回合的开头；最后一行没有下一行，也不能当成 0。": lambda r, v, nv, d, u, g, lam: one_env_gae(r, v, np.append(v[1:], 0), d, u, g, lam),
        "截断之后你接的是下一行的 value，那是新回合的开头；真正到达的状态的 V 在 next_value 里。": lambda r, v, nv, d, u, g, lam: one_env_gae(r, v, np.append(v[1:], nv[-1]), d, u, g, lam),
        "递推里只乘了 γ，没有乘 λ。": lambda r, v, nv, d, u, g, lam: one_env_gae(r, v, nv, d, u, g, 1),
        "递推里只乘了 λ，没有乘 γ。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, g), ~(d | u), lam),
        "递推里 γ 和 λ 都没有乘。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, g), ~(d | u), 1),
        "δ 里的 V(s′) 前面忘了乘 γ。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, 1), ~(d | u), g * lam),
        "δ 里忘了减 V(s)。": lambda r, v, nv, d, u, g, lam: one_env_gae(r, 0 * v, nv, d, u, g, lam),
        "方向反了：这一步的优势要用下一步的，所以得从最后一步往前算。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, g)[::-1], ~(d | u)[::-1], g * lam)[::-1],
        "断开的位置错了一步：第 t 步要看第 t 步自己的结束标志，你看的是第 t+1 步的。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, g), ~following_row(d | u), g * lam),
        "δ 和递推用的都是下一行的结束标志；第 t 步要看第 t 步自己的。": lambda r, v, nv, d, u, g, lam: one_env_gae(r, v, nv, following_row(d), following_row(u), g, lam),
        "断开的位置错了一步：第 t 步要看第 t 步自己的结束标志，你看的是第 t-1 步的。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, g), ~np.append(False, (d | u)[:-1]), g * lam),
        "这只是 δ，也就是 λ = 0；还要把后面的加进来。": lambda r, v, nv, d, u, g, lam: td_error(r, v, nv, d, g),
        "各步的优势都算对了，次序反了：从最后一步往前算，一个个 append，最后要倒过来。": lambda *args: one_env_gae(*args)[::-1],
        "最后一步漏了，它的优势成了 0：循环要从最后一步开始，那一步的优势就是 δ。": lambda r, v, nv, d, u, g, lam: gae_loop(np.append(td_error(r, v, nv, d, g)[:-1], 0), ~(d | u), g * lam),
        "1-λ 是各个 n 步估计的权重里的；写成 δ 的和以后，就没有它了。": lambda r, v, nv, d, u, g, lam: (1 - lam) * one_env_gae(r, v, nv, d, u, g, lam),
        "这是目标，多加了 V(s)。": lambda r, v, nv, d, u, g, lam: one_env_gae(r, v, nv, d, u, g, lam) + v,
        "只要优势，不要目标。": lambda r, v, nv, d, u, g, lam: (one_env_gae(r, v, nv, d, u, g, lam), one_env_gae(r, v, nv, d, u, g, lam) + v),
        "你求了平均；每一步各有一个优势。": lambda *args: one_env_gae(*args).mean(),
        "掩码乘的地方错了：终止时不接的只是 γV(s′)，这一步的奖励还在。": lambda r, v, nv, d, u, g, lam: gae_loop((r + g * nv) * ~d - v, ~(d | u), g * lam),
        "终止的那一步，δ 整个成了 0：不接的只是 γV(s′)，r - V(s) 还在。": lambda r, v, nv, d, u, g, lam: gae_loop(td_error(r, v, nv, d, g) * ~d, ~(d | u), g * lam),
        "δ 多乘了 λ：λ 只乘在后一步的优势上。": lambda r, v, nv, d, u, g, lam: lam * one_env_gae(r, v, nv, d, u, g, lam),
        "δ 里 γV(s′) 的符号反了：加上到达的状态的价值。": lambda r, v, nv, d, u, g, lam: one_env_gae(r, v, -nv, d, u, g, lam),
        "δ 里 V(s) 的符号反了：减去动身之前的价值。": lambda r, v, nv, d, u, g, lam: one_env_gae(r, -v, nv, d, u, g, lam),
        "只加上了后一步的 δ；要加的是后一步的优势，它里面还有更后面的。": lambda r, v, nv, d, u, g, lam: td_error(r, v, nv, d, g) + g * lam * ~(d | u) * np.append(td_error(r, v, nv, d, g)[1:], 0),
        "优势不在这里标准化：要原来的大小。": lambda *args: (one_env_gae(*args) - one_env_gae(*args).mean()) / (one_env_gae(*args).std() + 1e-8),
    },
    praise="各段都对，终止和截断各断各的。",
    returns="每一步的优势，形状 (num_steps,)",
)  # fmt: skip


BUG_GAMMA, BUG_LAMBDA = 0.8, 0.5
BUG_ROWS = {
    "甲": ((1, 2, 4, ""), (0, 4, 3, ""), (-2, 3, 5, "截断"), (2, 1, 3, ""), (-1, 3, 2, "终止"), (3, 2, 1, "")),
    "乙": ((2, 1, 3, ""), (-1, 3, 2, "终止"), (0, 2, 4, ""), (1, 4, 3, ""), (0, 3, 5, "截断"), (2, 1, 2, "")),
    "丙": ((0, 3, 2, ""), (1, 2, 4, ""), (-2, 4, 1, "终止"), (1, 1, 2, ""), (0, 2, 3, ""), (3, 3, 4, "截断")),
}  # fmt: skip
"""练习 6.3 的三段经验，每行是 (r, V(s), V(s′), 结尾)。"""

BUGS = WRONG | {"没有乘 λ": lambda *args: calculate_gae(*args[:-1], 1.0)}
FOUND = {"甲": "没有断开优势", "乙": "截断当终止", "丙": "错一步"}
"""练习 6.3 可选的错，和三段经验各是用哪一种错算出优势的。"""


def as_columns(rows):
    """(r, V(s), V(s′), 结尾) 的各行 → (reward, value, next_value, terminated, truncated)，各 (num_steps,)。"""
    *numbers, end = map(np.array, zip(*rows))
    return *(x.astype(float) for x in numbers), end == "终止", end == "截断"


def bug_advantage(table: str, gae) -> np.ndarray:
    """用 gae 算一段经验的优势，(num_steps,)。"""
    columns = (jnp.asarray(x)[:, None] for x in as_columns(BUG_ROWS[table]))
    return np.asarray(gae(*columns, BUG_GAMMA, BUG_LAMBDA)[0][:, 0])


def bug_table() -> dict:
    """练习 6.3 的表：三段经验接在一起，优势是各自写错的程序算的。"""
    rows = [
        (name, t, *row) for name, table in BUG_ROWS.items() for t, row in enumerate(table, 1)
    ]
    names = ("段", "行", "r", "V(s)", "V(s′)", "结尾")
    advantage = np.concatenate([bug_advantage(name, BUGS[bug]) for name, bug in FOUND.items()])
    return dict(zip(names, zip(*rows))) | {"Â": advantage}


def bug_hints(table: str) -> dict[str, str]:
    """选错时的提示：假如真是那一种，哪一行会是什么样。"""
    *_, ended, timed_out = as_columns(BUG_ROWS[table])
    end, timeout = ended.argmax() + 1, timed_out.argmax() + 1  # 行从 1 数
    hints = {
        "没有掩码": f"没有掩码，第 {end} 行（终止）就会接上 V(s′)，再加上 γλ 乘第 {end + 1} 行的优势",
        "没有遮住 V": f"没有遮住 V，第 {end} 行（终止）就会是 r + γV(s′) - V(s)，不多也不少",
        "没有断开优势": f"没有断开优势，第 {end} 行（终止）就会是 r - V(s)，加上 γλ 乘第 {end + 1} 行的优势",
        "错一步": f"错一步，第 {end - 1} 行就会被当成终止，只剩 r - V(s)",
        "截断当终止": f"截断当终止，第 {timeout} 行（截断）就会只剩 r - V(s)",
        "截断接重置后的 V": f"接了重置后的 V，第 {timeout} 行（截断）就会用第 {timeout + 1} 行的 V(s) 代替 V(s′)",
        "没有乘 λ": "没有乘 λ，第 1 行就会是 δ 加 γ 乘第 2 行的优势",
    }  # fmt: skip
    if table == "丙":
        hints["没有掩码"] = "没有掩码，第 2 行就会是 δ 加 γλ 乘第 3 行的优势"
        hints["截断接重置后的 V"] = "只错在截断处，第 3 行（终止）就会是 r - V(s)"
    return {
        bug: f"假如是{hint}。是这样吗？" for bug, hint in hints.items() if bug != FOUND[table]
    }


check_mask_bugs = AnswerExercise(
    "练习 6.3：三段经验的优势，各错在哪里",
    {name: Choice(bug, tuple(BUGS), bug_hints(name)) for name, bug in FOUND.items()},
    praise="三种都认出来了：看结尾的那一行，再看它的上一行。",
)


def lambda_return(reward, next_value, terminated, truncated, gamma, gae_lambda):
    """一个环境里 Critic 的目标，(num_steps,)，不用 V(s)。"""
    target = np.zeros(len(reward))
    following = next_value[-1]
    for t in reversed(range(len(reward))):
        if truncated[t]:
            following = next_value[t]
        later = (1 - gae_lambda) * next_value[t] + gae_lambda * following
        following = target[t] = reward[t] + gamma * (not terminated[t]) * later
    return target


def target_loop(reward, next_value, alive, cut, gamma, keep, mix, last=1):
    """R_t = r_t + γ·alive_t·(keep·V′ + mix·R_{t+1})；cut 处用 V′ 代替 R_{t+1}，最后一步用 last·V′。"""
    target, following = np.zeros(len(reward)), last * next_value[-1]
    for t in reversed(range(len(reward))):
        later = keep * next_value[t] + mix * (next_value[t] if cut[t] else following)
        following = target[t] = reward[t] + gamma * alive[t] * later
    return target


check_my_target = FunctionExercise(
    "练习 6.4：不经过优势，递推出 Critic 的目标",
    lambda_return,
    lambda rng: ((reward, *rest) for reward, _, *rest in gae_inputs(rng)),
    {
        "λ 和 1-λ 换了位置：λ 乘的是下一步的目标。": lambda r, nv, d, u, g, lam: lambda_return(r, nv, d, u, g, 1 - lam),
        "这一段的最后一步后面没有目标了，要整个用 V(s′)，不是 (1-λ)V(s′)。": lambda r, nv, d, u, g, lam: target_loop(r, nv, ~d, u, g, 1 - lam, lam, last=0),
        "截断之后的目标属于下一回合，不能用；那一步整个用 V(s′)。": lambda r, nv, d, u, g, lam: target_loop(r, nv, ~d, u & False, g, 1 - lam, lam),
        "截断的那一步和这一段的最后一步，都要整个用 V(s′)。": lambda r, nv, d, u, g, lam: target_loop(r, nv, ~d, u & False, g, 1 - lam, lam, last=0),
        "截断被当成了终止：截断的那一步要用 V(s′)。": lambda r, nv, d, u, g, lam: lambda_return(r, nv, d | u, u, g, lam),
        "终止之后没有以后：那一步的目标只是奖励。": lambda r, nv, d, u, g, lam: lambda_return(r, nv, d & False, u, g, lam),
        "终止被当成了截断：终止的那一步没有以后，目标只是奖励。": lambda r, nv, d, u, g, lam: lambda_return(r, nv, d & False, d | u, g, lam),
        "这是 λ = 0 的目标，只看一步。": lambda r, nv, d, u, g, lam: lambda_return(r, nv, d, u, g, 0),
        "这是 λ = 1 的目标，即蒙特卡洛回报。": lambda r, nv, d, u, g, lam: lambda_return(r, nv, d, u, g, 1),
        "V(s′) 前面少了 1-λ：两项合起来要是一个平均。": lambda r, nv, d, u, g, lam: target_loop(r, nv, ~d, u, g, 1, lam),
        "中间的步里，V(s′) 前面少了 1-λ（结尾的步是对的）：两项合起来要是一个平均。": lambda r, nv, d, u, g, lam: gae_loop(r + g * nv * ~d, ~(d | u), g * lam),
        "γ 只乘在了 V(s′) 上：方括号里的两项合起来，一起乘 γ。": lambda r, nv, d, u, g, lam: target_loop(r, nv, ~d, u, 1, g * (1 - lam), lam),
        "γ 只乘在了下一步的目标上：方括号里的两项合起来，一起乘 γ。": lambda r, nv, d, u, g, lam: target_loop(r, nv, ~d, u, 1, 1 - lam, g * lam),
        "各步的目标都算对了，次序反了：从最后一步往前算，一个个 append，最后要倒过来。": lambda *args: lambda_return(*args)[::-1],
        "γ 忘了乘。": lambda r, nv, d, u, g, lam: lambda_return(r, nv, d, u, 1, lam),
        "截断的那一步和这一段的最后一步只用了 (1-λ)V(s′)；没有下一步的目标可用时，要整个用 V(s′)。": lambda r, nv, d, u, g, lam: one_env_gae(r, 0 * r, (1 - lam) * nv, d, u, g, lam),
        "方向反了：这一步的目标要用下一步的，所以得从最后一步往前算。": lambda r, nv, d, u, g, lam: target_loop(r[::-1], nv[::-1], ~d[::-1], u[::-1], g, 1 - lam, lam)[::-1],
        "这是优势；目标还要加上 V(s)。": lambda r, nv, d, u, g, lam: one_env_gae(r, np.append(0, nv[:-1]), nv, d, u, g, lam),
        "你求了平均；每一步各有一个目标。": lambda *args: lambda_return(*args).mean(),
    },
    praise="与优势加价值相同，却一次也没有用到 V(s)。",
    returns="每一步的目标，形状 (num_steps,)",
)  # fmt: skip
