"""第 5 章的答案。"""

import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib.course.ch05 import ARRIVED, TERMINATED, TRUNCATED, VALUE
from ppo_lib.envs import Step
from ppo_lib.rollout import values_after, where_ended

SHAPES = {
    "obs": (128, 16, 4),
    "action": (128, 16),
    "log_prob": (128, 16),
    "next_value": (128, 16),
    "carry.obs": (16, 4),
}


def by_the_library():
    """拿库里的 values_after 来答 5.2：critic 把观测原样当作价值。"""
    step = Step(ARRIVED[:, None], None, None, None, TERMINATED[:, None], TRUNCATED[:, None])
    return values_after(step, jnp.array([0.9]), jnp.asarray(VALUE)[:, None], lambda x: x)[:, 0]


def rows_then_columns(policy, step, obs, num_steps):
    rows = []
    for _ in range(num_steps):
        action = policy(obs)
        next_obs, reward = step(obs, action)
        rows.append((obs, action, reward))
        obs = next_obs
    return tuple(zip(*rows))


def append_before_stepping(policy, step, obs, num_steps):
    seen, actions, rewards = [], [], []
    while len(seen) < num_steps:
        seen.append(obs)
        actions.append(policy(obs))
        obs, reward = step(obs, actions[-1])
        rewards.append(reward)
    return seen, actions, jnp.array(rewards)


def act_ahead(p, s, o, n):
    table = np.zeros((n, 3))
    a = p(obs=o)
    for t in range(n):
        later, r = s(obs=o, action=a)
        table[t] = o, a, r
        o, a = later, p(obs=later)
    return table.T


def row_by_row(ended, fresh, current):
    return jnp.stack([f if e else c for e, f, c in zip(ended, fresh, current)])


def stops_unrewarded(policy, step, obs, num_steps):
    """得了 0 分就停。"""
    s, a, r = rows_then_columns(policy, step, obs, num_steps)
    end = r.index(0) + 1 if 0 in r else num_steps
    return s[:end], a[:end], r[:end]


RIGHT = {
    "check_shapes": [
        (SHAPES,),
        ({name: list(shape) for name, shape in SHAPES.items()},),
        tuple(SHAPES.values()),
    ],
    "check_next_value": [
        ([2.0, 3.0, 4.0, 0.8, 0.0, 0.9],),
        (np.array([2, 3, 4, 0.8, 7, 0.9]),),
        (by_the_library(),),
    ],
    "check_my_rollout": [rows_then_columns, append_before_stepping, act_ahead],
    "check_my_reset": [
        where_ended,
        row_by_row,
        jax.jit(jax.vmap(jnp.where)),
        lambda e, f, c: np.where(np.asarray(e).reshape(-1, 1), f, c),
        lambda e, f, c: c.at[e].set(f[e]),
    ],
}


def late(policy, step, obs, num_steps):
    rows = []
    for _ in range(num_steps):
        action = policy(obs)
        obs, reward = step(obs, action)
        rows.append((obs, action, reward))
    return tuple(zip(*rows))


def never_moves(policy, step, obs, num_steps):
    actions = [policy(obs) for _ in range(num_steps)]
    return [obs] * num_steps, actions, [step(obs, action)[1] for action in actions]


def one_too_many(policy, step, obs, num_steps):
    seen, actions, rewards = [obs], [], []
    for _ in range(num_steps):
        actions.append(policy(seen[-1]))
        obs, reward = step(seen[-1], actions[-1])
        seen.append(obs)
        rewards.append(reward)
    return seen, actions, rewards


def asks_again(policy, step, obs, num_steps):
    seen, actions, rewards = [], [], []
    for _ in range(num_steps):
        seen.append(obs)
        actions.append(policy(obs))
        obs, reward = step(obs, policy(obs))
        rewards.append(reward)
    return seen, actions, rewards


def acts_late(policy, step, obs, num_steps):
    action = policy(obs)
    rows = []
    for _ in range(num_steps):
        seen = obs
        obs, reward = step(obs, action)
        action = policy(obs)
        rows.append((seen, action, reward))
    return tuple(zip(*rows))


REMINDED = {"check_my_reset": [(row_by_row, "不过它不能编译")]}

WRONG = {
    "check_shapes": [
        ((SHAPES | {"action": 2048},), "action：采样时还没有摊平"),
        ((SHAPES | {"log_prob": (128, 16, 3)},), "一步、一个环境只有一个数"),
        ((SHAPES | {"carry.obs": (16, 128, 4)},), "此刻"),
        ((SHAPES | {"obs": ...},), "换成你的答案"),
        (({"reward": (128, 16)},), "多了 reward"),
        ((SHAPES | {"obs": (128.5, 16, 4)},), "整数的元组"),
    ],
    "check_next_value": [
        (([2, 3, 0.5, 0.8, 0, 0.9],), "新回合的开头"),
        (([2, 3, 4, 0.8, 0, 0],), "也有下一个状态"),
        ((VALUE,), "自己"),
        ((np.roll(VALUE, -1),), "第 3 步截断了"),
        ((np.roll(VALUE, 1),), "移反了"),
        (([2, 3, 4, 0.8, 0.9],), "6 个答案"),
        (([2, 2.8, 4, 0.8, 0, 0.9],), "第 2 步：这一步没有结束"),
        ((...,), "换成你的答案"),
        (([2, 3, ..., 0.8, 0, 0.9],), "换成你的答案"),
    ],
    "check_my_rollout": [
        (late, "走完之后"),
        (never_moves, "没有变"),
        (stops_unrewarded, "形状"),
        (one_too_many, "多了一个"),
        (asks_again, "问了两次 policy"),
        (acts_late, "晚了一步"),
        (lambda policy, step, obs, n: rows_then_columns(policy, step, 2, n), "观测”不对"),
        (lambda policy, step, obs, n: append_before_stepping(policy, step, obs, n - 1), "少走了一步"),
        (lambda policy, step, obs, n: rows_then_columns(policy, step, obs, 4), "总是 (4,) 的形状"),
        (lambda policy, step, obs, n: (*rows_then_columns(policy, step, obs, n)[:2], [0] * n), "奖励”不对"),
        (lambda *args: rows_then_columns(*args)[:2], "少了奖励"),
        (lambda policy, step, obs, n: rows_then_columns(policy, policy, obs, n), "出错了"),
        (lambda policy, step, obs, n: print(obs), "print"),
        (lambda policy: policy, "收 1 个"),
    ],
    "check_my_reset": [
        (lambda e, f, c: jnp.where(e[None], f, c), "一列"),
        (lambda e, f, c: jnp.where(e.reshape(3, 1), f, c), "出错了"),
        (lambda e, f, c: jnp.where(e[:3, None], f[:3, :3], c[:3, :3]), "形状应当是"),
        (lambda e, f, c: f + c, "应当是"),
        (lambda e, f, c: jnp.where(e[:, None], f, c)[0], "形状"),
        (lambda e, f, c: e[:, None] * f, "成了 0"),
        (lambda e, f, c: f if jnp.count_nonzero(e) else c, "连累"),
    ],
}  # fmt: skip

HARMLESS = {}
