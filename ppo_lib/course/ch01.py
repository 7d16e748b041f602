"""第 1 章的练习检查。"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from ppo_lib.config import FIELDS, TRACED, PPOConfig
from ppo_lib.course.verdict import Mistake, checker

GUIDE = PPOConfig()
"""原指南的配置：2,000,000 步，16 个环境，每次采样 128 步。"""


@checker
def check_num_updates(num_updates, dropped) -> str:
    """练习 1.1：原指南的配置做几次更新，丢掉几步。"""
    steps, envs, per_env = GUIDE.total_timesteps, GUIDE.num_envs, GUIDE.num_steps
    guesses = {
        steps
        // envs: "你好像忘了每个环境要走 num_steps 步：一次更新用掉 num_envs × num_steps 步。",
        steps
        // per_env: "你好像忘了有 num_envs 个环境同时在走：一次更新用掉 num_envs × num_steps 步。",
        GUIDE.num_updates + 1: "多了一次：剩下的步数不够一次更新，不会跑，所以要向下取整。",
        steps
        // (
            envs * per_env * GUIDE.update_epochs
        ): "update_epochs 是同一批数据用几遍，不多用环境步数。",
    }
    if isinstance(num_updates, str):
        raise Mistake("答案应当是一个数，不要加引号。")
    if num_updates == GUIDE.num_updates:
        if dropped == GUIDE.dropped_timesteps:
            return f"{num_updates} 次更新，实际走 {steps - dropped} 步，丢掉 {dropped} 步。"
        raise Mistake(
            f"更新次数对了。丢掉的步数 = 总步数 - 更新次数 × 一次更新的步数，你给的是 {dropped}。"
        )
    if num_updates in guesses:
        raise Mistake(guesses[num_updates])
    if not float(num_updates).is_integer():
        raise Mistake(
            f"{num_updates} 不是整数。更新只能做整数次，剩下的步数不会跑；用 // 试试。"
        )
    raise Mistake("先算一次更新用掉多少步，再看总步数里有几个这么多。")


@checker
def check_recompiling_keys(keys) -> str:
    """练习 1.2：哪些键改动之后要重新编译。"""
    keys = {keys} if isinstance(keys, str) else set(keys)
    asked = {"lr", "beta_1", "num_envs", "activation", "seed", "clip_eps", "hidden_sizes"}
    answer = {key for key in asked if FIELDS[key].metadata["kind"] == "static"}
    unknown = keys - asked
    if unknown:
        raise Mistake(f"{'、'.join(sorted(unknown))} 不在题目的七个键里。")
    extra, missing = keys - answer, answer - keys
    if {"seed"} & extra:
        raise Mistake("种子只是传进程序的一个整数，程序的样子不因它而变。")
    if extra:
        shown = "、".join(sorted(extra))
        raise Mistake(
            f"{shown} 是动态的键：它是程序的输入，就像函数的参数，换一个数不必重写函数。"
        )
    if missing:
        raise Mistake(
            f"还漏了 {len(missing)} 个。想一想：哪些键会改变数组的形状，或者改变要做的运算？"
        )
    return f"{'、'.join(sorted(answer))} 决定数组的形状或运算本身；动态的键一共有 {len(TRACED)} 个。"


@checker
def check_final_score(final_score) -> str:
    """练习 1.3：写一个函数，由 run.metrics 算出每个种子最后十分之一更新的平均回报。"""
    returns = np.array([[1.0, 2.0, *[np.nan] * 16, 10.0, np.nan], [5.0, *[6.0] * 17, 7.0, 9.0]])
    dataset = xr.Dataset(
        {"return": (("seed", "update"), returns)}, {"seed": [0, 1], "update": np.arange(1, 21)}
    )
    expected = np.array([10.0, 8.0])
    answer = final_score(dataset)
    if answer is None:
        raise Mistake("你的函数没有返回值。写好函数体，最后用 return 交出结果。")
    result = np.asarray(answer)
    if result.shape == ():
        raise Mistake("你把种子也平均掉了；请每个种子留一个数，沿 update 求平均。")
    if result.shape != (2,):
        raise Mistake(f"应当每个种子一个数，形状 (seed,)；你的结果形状是 {result.shape}。")
    if np.allclose(result, expected):
        return "没有回合结束的更新是 NaN，求平均时跳过了它们，对。"
    if np.isnan(result[0]) and np.isclose(result[1], 9.0):
        raise Mistake(
            "你只取了最后一次更新。一次更新里的回合太少（有时一个也没有），取最后十分之一更稳。"
        )
    if np.isnan(result[0]):
        raise Mistake(
            "结果里有 NaN：没有回合结束的更新，回报记作 NaN。求平均时要跳过它们（xarray 的 mean 会自动跳过，NumPy 要用 nanmean）。"
        )
    if math.isclose(result[0], 5.0):
        raise Mistake("你好像把 NaN 当成了 0。没有回合结束，不等于得了 0 分。")
    if np.allclose(result, [np.nanmean(returns[0]), np.nanmean(returns[1])]):
        raise Mistake("你平均了全部更新。这里只要最后十分之一，那时策略才基本定型。")
    if np.allclose(result[1], 9.0):
        raise Mistake("你只取了最后一次更新。一次更新里的回合太少，取最后十分之一更稳。")
    raise Mistake(
        "先用 isel(update=slice(-n, None)) 取最后 n = 总数 // 10 次更新，再沿 update 求平均。"
    )
