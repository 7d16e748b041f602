"""第 1 章的答案。"""

import dataclasses

import numpy as np

from ppo_lib import PPOConfig
from ppo_lib.course.ch01 import ASKED, FOUR_UPDATES

rows = {k: np.array(x, float) for k, x in FOUR_UPDATES.items()}
batch_size = np.diff(rows["timesteps"])[0]
mean_return = np.nansum(rows["return"] * rows["episodes_ended"]) / rows["episodes_ended"].sum()
changes = dict(lr=0.1, beta_1=0.5, num_envs=8, activation="tanh", seed=3, clip_eps=0.3, hidden_sizes=(32,))  # fmt: skip
recompiling = {
    key
    for key, value in changes.items()
    if dataclasses.replace(PPOConfig(), **{key: value}).static() != PPOConfig().static()
}
plan = PPOConfig(total_timesteps=20_000, num_envs=4, num_steps=64)


def by_name(returns):
    n = returns.sizes["update"] // 10
    return returns[{"update": slice(-n, None)}].mean(dim="update", skipna=True)


def in_numpy(values):
    values = np.asarray(values)
    return np.nanmean(values[:, -int(values.shape[1] / 10) :], axis=1)


def in_python(run):
    scores = []
    for row in run.values.tolist():
        seen = [x for x in row[len(row) - len(row) // 10 :] if x == x]
        scores.append(sum(seen) / len(seen) if seen else float("nan"))
    return scores


RIGHT = {
    "check_read_metrics": [
        (64, 78, 134),
        ([64, 78, 134.0],),
        (batch_size / 4, 20_000 // batch_size, mean_return),
        (plan.num_steps, plan.num_updates, "938/7"),
        ({"num_steps": np.int64(64), "更新次数": np.array(78), "平均回报": 134},),
    ],
    "check_recompiling_keys": [
        ({"num_envs", "activation", "hidden_sizes"},),
        (["hidden_sizes", "num_envs", "activation"],),
        (recompiling,),
    ],
    "check_final_score": [by_name, in_numpy, in_python],
}  # fmt: skip

WRONG = {
    "check_read_metrics": [
        ((1, 78, 134), "对了 2 个"),
        ((64, 1000, 134), "有几个这么多"),
        ((64, 78, 123.3), "个数不同"),
        ((64, 78, 123), "个数不同"),
        ((64, 78, 92.5), "不是 0 分"),
        ((64, 78, 150), "除以它们的个数"),
        ((64, 78, "一百三"), "不是一个数"),
        ((64, 78), "要 3 个答案"),
        ((..., ..., ...), "换成你的答案"),
    ],
    "check_recompiling_keys": [
        (({"num_envs", "activation", "hidden_sizes", "seed"},), "种子"),
        (({"num_envs", "activation", "hidden_sizes", "lr"},), "动态"),
        (({"num_envs"},), "漏了 2 个"),
        (("num_envs",), "漏了 2 个"),
        (({"num_env"},), "不在选项里"),
        ((set(),), "漏了 3 个"),
        ((ASKED,), "种子"),
    ],
    "check_final_score": [
        (lambda x: [10.0, *x.values[1:, -1]], "应当"),
        (lambda x: x[:, -(x.shape[1] // 5) :].mean("update"), "应当是"),
        (lambda x: x[:, -(len(x) // 10) :].mean("update"), "那是种子的个数"),
        (lambda x: np.nanmedian(x.values[:, -(x.shape[1] // 10) :], axis=1), "取了中位数"),
        (lambda x: print(by_name(x)), "print"),
        (lambda x: by_name(x).sum() and None, "没有返回值"),
        (lambda x: x.isel(step=slice(-2, None)), "出错了"),
        (lambda x: x["return"].mean("update"), "出错了"),
        (lambda x, n: x, "你的函数收 2 个"),
    ],
}

HARMLESS = {}
