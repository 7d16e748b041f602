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
from ppo_lib.course.experiment import Experiment
from ppo_lib.course.verdict import Mistake, checker

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
    advantage, _ = first_step_gae(
        walks.reward, critic[walks.cell], critic[walks.next_cell], walks.terminated,
        gamma, gae_lambda,
    )  # fmt: skip
    return np.asarray(advantage, float).reshape(SIZE, 2, -1)


@jax.jit
def first_step_gae(reward, value, next_value, terminated, gamma, gae_lambda):
    """第一行的优势和目标。"""
    never = jnp.zeros_like(terminated)
    both = calculate_gae(reward, value, next_value, terminated, never, gamma, gae_lambda)
    return jax.tree.map(lambda x: x[0], both)


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

TD_CASE = dict(
    reward=np.array([1.0, 0.0, 2.0]),
    value=np.array([2.0, 1.0, 3.0]),
    next_value=np.array([1.0, 4.0, 2.0]),
    terminated=np.array([False, True, False]),
    truncated=np.array([False, False, True]),
)
"""练习 6.1 的三步，γ = 0.5。第 2 步之后终止，第 3 步之后截断。"""


@checker
def check_td_errors(answer) -> str:
    """练习 6.1：三步的时序差分误差。"""
    result = np.asarray(list(answer), float)
    if result.shape != (3,):
        raise Mistake("要三个数，依次是第 1、2、3 步的 δ，例如 [0, 0, 0]。")
    r, v, nv, terminated, truncated = (np.asarray(x, float) for x in TD_CASE.values())
    expected = r + 0.5 * nv * (1 - terminated) - v
    known_wrong = [
        (r + 0.5 * nv - v, "第 2 步之后终止了，以后没有奖励，不该接上 V(s')。"),
        (r + 0.5 * nv * (1 - np.maximum(terminated, truncated)) - v, "第 3 步是截断：任务没有结束，V(s') 要接上。"),
        (r + 0.5 * nv * (1 - truncated) - v, "两种结尾弄反了：终止不接 V(s')，截断要接。"),
        (r + nv * (1 - terminated) - v, "V(s') 前面忘了乘 γ。"),
        (r - v, "这是奖励减价值；还要加上 γ·V(s')，终止的那一步除外。"),
        (r + 0.5 * nv * (1 - terminated), "忘了减 V(s)。"),
        (-expected, "符号反了：新的估计减旧的估计。"),
    ]  # fmt: skip
    if np.allclose(result, expected):
        return "第 2 步不接 V(s')，第 3 步接上。"
    for wrong, hint in known_wrong:
        if np.allclose(result, wrong):
            raise Mistake(hint)
    first = int(np.argmax(~np.isclose(result, expected)))
    raise Mistake(f"第 {first + 1} 步不对。写出 r + γ·V(s') - V(s)，先问这一步之后有没有以后。")


def gae_case():
    """练习 6.2 的一段经验：七步，第 3 步（从 1 数）之后终止，第 5 步之后截断，γ 和 λ 不同。"""
    rng = np.random.default_rng(6)
    reward, value, next_value = rng.integers(-20, 21, (3, 7)) / 10
    terminated = np.arange(7) == 2
    truncated = np.arange(7) == 4
    next_value[[0, 1, 3, 5]] = value[[1, 2, 4, 6]]
    return reward, value, next_value, terminated, truncated, 0.9, 0.6


def gae_loop(delta, carry, discount):
    """从后往前：a_t = δ_t + discount·carry_t·a_{t+1}。"""
    advantage, following = np.zeros(len(delta)), 0.0
    for t in reversed(range(len(delta))):
        following = advantage[t] = delta[t] + discount * carry[t] * following
    return advantage


@checker
def check_my_gae(my_gae) -> str:
    """练习 6.2：自己写 GAE，一个环境，两种结尾。"""
    case = gae_case()
    reward, value, next_value, terminated, truncated, gamma, gae_lambda = case
    answer = my_gae(*(x.copy() for x in case[:5]), gamma, gae_lambda)
    if answer is None:
        raise Mistake("你的函数没有返回值。最后用 return 交出优势。")
    result = np.asarray(answer, float)
    if result.shape == (2, 7):
        raise Mistake("只要优势，不要目标。")
    if result.shape != (7,):
        raise Mistake(f"优势应当每步一个，这里是 (7,)；你的是 {result.shape}。")
    ended = terminated | truncated
    delta = reward + gamma * next_value * ~terminated - value
    leaking = reward + gamma * next_value - value
    strict = reward + gamma * next_value * ~ended - value
    discount, everywhere = gamma * gae_lambda, np.ones(7, bool)
    expected = gae_loop(delta, ~ended, discount)
    one_late = np.append(ended[1:], False)
    forward = gae_loop(delta[::-1], ~ended[::-1], discount)[::-1]
    known_wrong = [
        (gae_loop(leaking, everywhere, discount), "两处掩码都没有：δ 里终止之后仍接了 V(s')，优势也跨过了回合。"),
        (gae_loop(delta, everywhere, discount), "掩码只乘在 δ 上了。优势也要在回合的结尾断开，终止、截断都要。"),
        (gae_loop(leaking, ~ended, discount), "优势断开了，可是 δ 里终止的那一步仍接着 V(s')。"),
        (gae_loop(strict, ~ended, discount), "截断被当成了终止：截断的那一步仍要接上 V(s')，只是优势不再往前传。"),
        (gae_loop(delta, ~terminated, discount), "优势只在终止处断开了；截断之后也是新的一回合，同样要断开。"),
        (gae_loop(delta, ~truncated, discount), "优势只在截断处断开了；终止处同样要断开。"),
        (gae_loop(delta, ~ended, gamma), "递推里只乘了 γ，没有乘 λ。"),
        (gae_loop(delta, ~ended, gae_lambda), "递推里只乘了 λ，没有乘 γ。"),
        (forward, "方向反了：这一步的优势要用下一步的，所以得从最后一步往前算。"),
        (gae_loop(delta, ~one_late, discount), "断开的位置错了一步：第 t 步用的是第 t 步自己的结束标志，不是第 t+1 步的。"),
        (delta, "这只是 δ，也就是 λ = 0；还要把后面的加进来。"),
        (expected + value, "这是目标，多加了 V(s)。"),
    ]  # fmt: skip
    if np.allclose(result, expected, atol=1e-5):
        return "七步都对，终止和截断各断各的。"
    for wrong, hint in known_wrong:
        if np.allclose(result, wrong, atol=1e-5):
            raise Mistake(hint)
    last = 6 - int(np.argmax(~np.isclose(result, expected, atol=1e-5)[::-1]))
    raise Mistake(
        f"从后往前看，第 {last + 1} 步（共 7 步）起不对：应当是 {expected[last]:.4f}，你的是 {result[last]:.4f}。"
        "第 3 步之后终止，第 5 步之后截断。"
    )


@checker
def check_step_weights(my_weights) -> str:
    """练习 6.3：后面还有 n 步时，1 步、2 步、……、n 步估计各占多少。"""
    answer = my_weights(0.8, 4)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    result = np.asarray(answer, float)
    if result.shape != (4,):
        raise Mistake(f"n = 4 时应当有 4 个权重，形状 (4,)；你的是 {result.shape}。")
    powers = 0.8 ** np.arange(4)
    expected = np.append(0.2 * powers[:3], powers[3])
    known_wrong = [
        (0.2 * powers, "加起来不到 1。后面没有更长的估计了，剩下的 λ^(n-1) 都归最后一个。"),
        (powers, "这是 δ 的权重（γ = 1）；n 步估计的权重要再乘 1-λ。"),
        (powers / powers.sum(), "按比例放大也能加到 1，却不是 GAE：剩下的都归最后一个。"),
        (0.2 * powers * 0.8, "指数多了一：1 步估计的权重是 1-λ，不是 (1-λ)λ。"),
        (expected[::-1], "次序反了：1 步估计排在最前。"),
        (np.append(0.8 * 0.2 ** np.arange(3), 0.2**3), "λ 和 1-λ 换了位置。"),
    ]  # fmt: skip
    if np.allclose(result, expected, atol=1e-6):
        one = np.asarray(my_weights(1.0, 3), float)
        if not np.allclose(one, [0, 0, 1]):
            raise Mistake("λ = 0.8 时对了；λ = 1 时应当全归最后一个，得到 [0, 0, 1]。")
        return "它们加起来是 1；λ = 1 时全归最长的那个。"
    for wrong, hint in known_wrong:
        if np.allclose(result, wrong, atol=1e-6):
            raise Mistake(hint)
    raise Mistake("前 n-1 个是 (1-λ)λ^(k-1)，k = 1, 2, …；最后一个拿走剩下的，使总和是 1。")


@checker
def check_my_target(my_target) -> str:
    """练习 6.4：不经过优势，直接从后往前算 Critic 的目标。"""
    reward, value, next_value, terminated, truncated, gamma, gae_lambda = gae_case()
    answer = my_target(reward, next_value, terminated, truncated, gamma, gae_lambda)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    result = np.asarray(answer, float)
    if result.shape != (7,):
        raise Mistake(f"目标应当每步一个，这里是 (7,)；你的是 {result.shape}。")
    last = np.arange(7) == 6

    def targets(mix, cut, alive=~terminated):
        """G_t = r_t + γ·alive·[(1-mix)V' + mix·G_{t+1}]；cut 处只用 V'。"""
        G, following = np.zeros(7), 0.0
        for t in reversed(range(7)):
            later = next_value[t] if cut[t] else (1 - mix) * next_value[t] + mix * following
            following = G[t] = reward[t] + gamma * alive[t] * later
        return G

    ended = terminated | truncated
    expected = targets(gae_lambda, truncated | last)
    never = np.zeros(7, bool)
    known_wrong = [
        (expected - value, "这是优势；目标还要加上 V(s)。"),
        (targets(1 - gae_lambda, truncated | last), "λ 和 1-λ 换了位置：λ 乘的是下一步的目标。"),
        (targets(gae_lambda, truncated), "这一段的最后一步后面没有目标了，要整个用 V(s')，不是 (1-λ)V(s')。"),
        (targets(gae_lambda, last), "截断之后的目标属于下一回合，不能用；那一步整个用 V(s')。"),
        (targets(gae_lambda, never), "截断的那一步和这一段的最后一步，都要整个用 V(s')。"),
        (targets(gae_lambda, truncated | last, ~ended), "截断被当成了终止：截断的那一步要用 V(s')。"),
        (targets(gae_lambda, truncated | last, ~never), "终止之后没有以后：那一步的目标只是奖励。"),
        (targets(0.0, truncated | last), "这是 λ = 0 的目标，只看一步。"),
        (targets(1.0, truncated | last), "这是 λ = 1 的目标，即蒙特卡洛回报。"),
    ]  # fmt: skip
    if np.allclose(result, expected, atol=1e-5):
        return "与优势加价值相同，却一次也没有用到 V(s)。"
    for wrong, hint in known_wrong:
        if np.allclose(result, wrong, atol=1e-5):
            raise Mistake(hint)
    t = 6 - int(np.argmax(~np.isclose(result, expected, atol=1e-5)[::-1]))
    raise Mistake(
        f"从后往前看，第 {t + 1} 步（共 7 步）起不对：应当是 {expected[t]:.4f}，你的是 {result[t]:.4f}。"
    )
