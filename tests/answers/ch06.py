"""第 6 章的答案。"""

import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib.advantage import calculate_gae
from ppo_lib.course.ch06 import FOUND, one_env_gae


def recursive(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """不写循环，函数调用自己。"""

    def from_step(t):
        if t == len(reward):
            return []
        rest = from_step(t + 1)
        later = 0 if terminated[t] else gamma * next_value[t]
        advantage = reward[t] + later - value[t]
        if rest and not (terminated[t] or truncated[t]):
            advantage += gamma * gae_lambda * rest[0]
        return [advantage, *rest]

    return from_step(0)


def by_sums(r, v, v_next, done, timeout, g, lam):
    result = []
    for t in range(len(r)):
        total, weight = 0.0, 1.0
        for k in range(t, len(r)):
            later = 0.0 if done[k] else g * v_next[k]
            total += weight * (r[k] + later - v[k])
            if done[k] or timeout[k]:
                break
            weight *= g * lam
        result.append(total)
    return result


@jax.jit
def by_the_library(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    columns = (
        jnp.asarray(x)[:, None] for x in (reward, value, next_value, terminated, truncated)
    )
    return calculate_gae(*columns, gamma, gae_lambda)[0][:, 0]  # fmt: skip


def weighted_n_steps(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """照定义：n 步估计的加权平均，最长的那个拿走剩下的权重。"""
    result = np.zeros_like(reward)
    for t in range(len(reward)):
        ended = np.flatnonzero((terminated | truncated)[t:])
        n = ended[0] + 1 if len(ended) else len(reward) - t  # 还看得到几步
        weights = (1 - gae_lambda) * gae_lambda ** np.arange(n)
        weights[-1] = gae_lambda ** (n - 1)
        for k in range(1, n + 1):
            connected = 0 if terminated[t + k - 1] else gamma**k * next_value[t + k - 1]
            rewards = reward[t : t + k] @ gamma ** np.arange(k)
            result[t] += weights[k - 1] * (rewards + connected - value[t])
    return result


def by_recursion(reward, next_value, terminated, truncated, gamma, gae_lambda):
    target = []
    for t in reversed(range(len(reward))):
        alone = truncated[t] or not target
        following = next_value[t] if alone else target[-1]
        later = (1 - gae_lambda) * next_value[t] + gae_lambda * following
        target.append(reward[t] if terminated[t] else reward[t] + gamma * later)
    return target[::-1]


def from_advantage(reward, next_value, terminated, truncated, gamma, gae_lambda):
    """中间的 V(s) 取什么都一样，只要与上一步的 V(s') 对得上。"""
    value = np.append(0.0, next_value[:-1])
    args = (reward, value, next_value, terminated, truncated, gamma, gae_lambda)
    return one_env_gae(*args) + value


RIGHT = {
    "check_td_errors": [
        (3.5, -2, 0.8),
        ([2 + 0.9 * 5 - 3, 3 - 5, 3 + 0.9 * 2 - 4],),
        (np.array([3.5, -2, 0.8], np.float32),),
        (("7/2", "−2", "0.8"),),
    ],
    "check_my_gae": [recursive, by_sums, by_the_library, weighted_n_steps],
    "check_mask_bugs": [(FOUND,), tuple(FOUND.values()), (list(FOUND.values()),)],
    "check_my_target": [by_recursion, from_advantage],
}


def starts_at(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """最后一步之后，接着用了最后的 V。"""
    advantage, following = np.zeros(len(reward)), next_value[-1]
    for t in reversed(range(len(reward))):
        delta = reward[t] + gamma * next_value[t] * (1 - terminated[t]) - value[t]
        carry = 1 - (terminated[t] | truncated[t])
        advantage[t] = following = delta + gamma * gae_lambda * carry * following
    return advantage


def forgets_to_carry(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    advantage, following = np.zeros(len(reward)), 0.0
    for t in reversed(range(len(reward))):
        delta = reward[t] + gamma * next_value[t] * (not terminated[t]) - value[t]
        advantage[t] = delta + gamma * gae_lambda * following * (not terminated[t])
    return advantage


def like_gae(reward, next_value, terminated, truncated, gamma, gae_lambda):
    target, following = np.zeros(len(reward)), 0.0
    for t in reversed(range(len(reward))):
        carry = not (terminated[t] or truncated[t])
        later = (1 - gae_lambda) * next_value[t] + gae_lambda * carry * following
        following = target[t] = reward[t] + gamma * (not terminated[t]) * later
    return target


WRONG = {
    "check_td_errors": [
        (([3.5, 5.2, 0.8],), "第 2 步的 δ：这一步之后终止了"),
        (([3.5, -2, -1],), "第 3 步的 δ：这一步是截断"),
        (([4, 6, 1],), "第 1 步的 δ：V(s′) 前面忘了乘 γ"),
        (([3.3, 4.9, 0.5],), "不乘 r"),
        (([-1, -2, -1],), "奖励减价值"),
        (([-3.5, 2, -0.8],), "符号反了"),
        (([3.5, -2, 5],), "第 3 步的 δ：写出"),
        (([1, 2],), "3 个答案"),
        ((...,), "换成你的答案"),
    ],
    "check_my_gae": [
        (lambda *args: one_env_gae(*args[:-2], 0.9, 0.6), "10 组输入里对了 4 组"),
        (starts_at, "应当是"),
        (forgets_to_carry, "这只是 δ"),
        (lambda r, v, nv, d, u, g, lam: by_the_library(r, v, nv, d | u, u, g, lam), "当成了终止"),
        (lambda r, v, nv, d, u, g, lam: by_the_library(r, v, nv, d & u, d & u, g, lam), "要用 or"),
        (lambda *args: -one_env_gae(*args), "负号"),
        (lambda *args: 2 * one_env_gae(*args), "2 倍"),
        (lambda *args: one_env_gae(*args)[:, None], "长度是 1"),
        (lambda *args: print(one_env_gae(*args)), "print"),
        (lambda r: r, "收 1 个"),
    ],
    "check_mask_bugs": [
        ((FOUND | {"甲": "截断当终止"},), "甲：假如是截断当终止，第 3 行"),
        ((FOUND | {"丙": "没有掩码"},), "丙：假如是没有掩码，第 2 行"),
        (("没有掩码", "没有乘 λ", "没有遮住 V"), "第 5 行"),
        ((FOUND | {"乙": "没有断开"},), "不在选项里"),
        (({"甲": ..., "乙": ..., "丙": ...},), "换成你的答案"),
    ],
    "check_my_target": [
        (like_gae, "只用了 (1-λ)V(s′)"),
        (lambda *args: from_advantage(*args) + 1, "都比应有的大 1"),
        (lambda *args: 0.0, "每一步的目标"),
        (lambda *args: by_recursion(*args)[::-1], "次序反了"),
        (lambda r, nv, d, u, g, lam: by_recursion(r, nv, d, u, g, 0.6), "gae_lambda = 0.8 时"),
    ],
}  # fmt: skip

HARMLESS = {
    # 数组的每一格后面都会写上；各列一样长
    "check_my_gae": {"np.zeros → np.ones", "reward → value", "reward → value（第 2 处）"},
    "check_my_target": {
        "np.zeros → np.ones",
        "reward → next_value",
        "reward → next_value（第 2 处）",
    },
}
