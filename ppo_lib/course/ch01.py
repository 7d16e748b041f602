"""第 1 章的练习。"""

from __future__ import annotations

import numpy as np
import xarray as xr

from ppo_lib.config import FIELDS, TRACED
from ppo_lib.course.exercises import AnswerExercise, FunctionExercise, Number, Subset
from ppo_lib.statistics import final_scores

FOUR_UPDATES = {
    "update": [21, 22, 23, 24],
    "timesteps": [5376, 5632, 5888, 6144],
    "episodes_ended": [2, 0, 4, 1],
    "return": [148, "NaN", 140, 82],
}
"""练习 1.1 的表：CartPole，4 个环境，一共 20,000 步；四次相邻的更新，抄自种子 15。"""

check_read_metrics = AnswerExercise(
    "练习 1.1：由四行记录推出配置和成绩",
    {
        "num_steps": Number(
            64,
            {
                256: "这是一次更新里 4 个环境合起来的步数；num_steps 是每个环境走的。",
                1024: "4 个环境是一起走的：要除以 4，不是乘。",
            }
            | dict.fromkeys((1344, 1536), "timesteps 是从头累计的；一次更新走多少步，看相邻两行之差。"),
            hint="相邻两行的 timesteps 之差，是 4 个环境在一次更新里走的步数。",
            tolerance=0,
        ),
        "更新次数": Number(
            78,
            {
                79: "多了一次：剩下的步数不够一次更新，不会跑。",
                78.125: "更新只能做整数次；剩下的步数不会跑。",
                312: "一次更新里 4 个环境都在走，用掉 num_envs × num_steps 步。",
                5000: "20,000 ÷ 4 是每个环境走的步数；再看一次更新里每个环境走多少步。",
                54: "这是还剩几次更新；问的是从头到尾一共几次。",
            },
            hint="先算一次更新用掉多少步，再看 20,000 里有几个这么多。",
            tolerance=0,
        ),
        "平均回报": Number(
            134,
            {
                370 / 3: "你把三行的 return 直接平均了。它们各是几个回合的平均，个数不同；先还原成总分。",
                370 / 4: "没有回合走完的那一行没有分数，不是 0 分；而且各行的回合个数不同，不能直接平均。",
                370 / 7: "分母对了。分子是 7 个回合的总分，每一行是 return × episodes_ended。",
                938: "这是 7 个回合的总分，再除以 7。",
            }
            | dict.fromkeys((938 / 3, 938 / 4), "总分对了；要除以回合的个数，不是行数。"),
            hint="先算四次更新里走完的回合一共得了多少分，再除以它们的个数。",
        ),
    },
    praise="7 个回合一共 938 分。把三行的 return 直接平均是 123.3：只走完一个回合的那一行，被看得与走完四个的一样重。",
)  # fmt: skip


ASKED = ("lr", "beta_1", "num_envs", "activation", "seed", "clip_eps", "hidden_sizes")
STATIC = {key for key in ASKED if FIELDS[key].metadata["kind"] == "static"}

check_recompiling_keys = AnswerExercise(
    "练习 1.2：改动哪些键要重新编译",
    {
        "键": Subset(
            STATIC,
            options=ASKED,
            wrong={frozenset(ASKED) - STATIC: "反了：你选的正是不用重新编译的。"},
            extra={
                "seed": "种子只是传进程序的一个整数，程序的样子不因它而变。",
                "lr": "lr 是动态的键：运算里照样乘一个数，只是换了一个数，就像函数换了一个参数。",
                "beta_1": "beta_1 是动态的键：“承诺一”里换过它，新编译 0 个程序。",
                "clip_eps": "clip_eps 是动态的键：“承诺一”里换过它，新编译 0 个程序。",
            },
            hint="还漏了 {missing} 个。想一想：哪些键会改变数组的形状，或者改变要做的运算？",
        )
    },
    praise=f"它们决定数组的形状或运算本身；动态的键一共有 {len(TRACED)} 个。",
)  # fmt: skip


def return_inputs(rng):
    """各个种子、各次更新的回报，(seed, update)：更新的次数不同，空缺不同，有的最后十分之一全是空缺。"""
    yield (as_returns([[1, 2, *[np.nan] * 16, 10, np.nan], [5, *[6] * 17, 7, 9]]),)
    yield (as_returns([[*range(18), np.nan, np.nan]]),)
    for seeds, updates in ((1, 12), (3, 16), (1, 37), (2, 59)):
        returns = rng.integers(20, 500, (seeds, updates)).astype(float)
        ended = rng.random((seeds, updates)) < 0.7
        ended[:, -5:] = [True, True, True, updates < 20, True]
        yield (as_returns(np.where(ended, returns, np.nan)),)


def as_returns(rows):
    """与 ``run.metrics["return"]`` 一样的数组。"""
    rows = np.array(rows, float)
    places = {"seed": np.arange(len(rows)), "update": 1 + np.arange(rows.shape[1])}
    return xr.DataArray(rows, places, ("seed", "update"))


def final_score(returns):
    """每个种子最后十分之一更新的平均回报，(seed,)；十分之一向下取整。"""
    n = returns.sizes["update"] // 10
    return returns.isel(update=slice(-n, None)).mean("update")


def last(returns, more=0):
    """最后十分之一，再多取 more 次，(seed, n)。"""
    return returns[:, -(returns.shape[1] // 10 + more) :]


check_final_score = FunctionExercise(
    "练习 1.3：每个种子最后十分之一更新的平均回报",
    final_score,
    return_inputs,
    {
        "你只取了最后一次更新。一次更新里的回合太少（有时一个也没有），取最后十分之一更稳。": lambda x: x[:, -1],
        "结果里有 NaN：没有回合结束的更新，回报记作 NaN。求平均时要跳过它们（xarray 的 mean 会自动跳过，NumPy 要用 nanmean）。": lambda x: last(x).values.mean(axis=1),
        "你好像把 NaN 当成了 0。没有回合结束，不等于得了 0 分。": lambda x: last(x).fillna(0).mean("update"),
        "最后十分之一里一个回合也没有结束时，应当是 NaN，不是 0。": lambda x: last(x).mean("update").fillna(0),
        "你平均了全部更新。这里只要最后十分之一，那时策略才基本定型。（如果写了 len(returns)：那是种子的个数；更新的个数是 returns.sizes[\"update\"]。）": lambda x: x.mean("update"),
        "你取的是最前面的十分之一；要最后的。": lambda x: x[:, : x.shape[1] // 10].mean("update"),
        "你把种子也平均掉了；请每个种子留一个数，沿 update 求平均。": lambda x: last(x).mean(),
        "你沿种子求了平均；要沿 update 求，每个种子留一个数。": lambda x: last(x).mean("seed"),
        "取出的更新对了；再沿 update 求平均，每个种子一个数。": last,
        "你求的是和；要求平均。": lambda x: last(x).sum("update"),
        "你取的是最高的一次；要平均。": lambda x: last(x).max("update"),
        "十分之一不是整数时，这道题向下取整；你多取了一次。": lambda x: last(x, x.shape[1] % 10 > 0).mean("update"),
        "你四舍五入了；十分之一不是整数时，这道题向下取整。": lambda x: last(x, x.shape[1] % 10 >= 5).mean("update"),
        "你好像把零头也算进去了（库里的 final_scores 就是这样）；这道题向下取整。": lambda x: final_scores(x.to_dataset(name="return")),
        "你取的是最后 10 次更新；要的是最后十分之一，随更新的总数而变。": lambda x: x[:, -10:].mean("update"),
        "你取的是最后 2 次更新；要的是最后十分之一，随更新的总数而变。": lambda x: x[:, -2:].mean("update"),
        "次序反了：先取最后十分之一的更新，再跳过其中的 NaN。": lambda x: [row[~np.isnan(row)][-(len(row) // 10) :].mean() for row in x.values],
        "你用前一个值填了 NaN。图上那样连线，求平均时它会把旧的分数多算几遍。": lambda x: last(x.copy(data=x.to_pandas().ffill(axis=1))).mean("update"),
        "你先去掉了有 NaN 的更新，再取最后十分之一：只要一个种子缺，别的种子也跟着丢了。先取，再由每个种子各跳各的 NaN。": lambda x: x.dropna("update")[:, -(x.shape[1] // 10) :].mean("update"),
        "你去掉了最后的十分之一，留下的是前面的；要的正是最后的。": lambda x: x[:, : -(x.shape[1] // 10)].mean("update"),
        "多取了一次：是最后 n 次更新，不是 n + 1 次。": lambda x: last(x, 1).mean("update"),
        "错开了一次：最后一次更新也要算进去。": lambda x: x[:, -(x.shape[1] // 10) - 1 : -1].mean("update"),
        "你取了中位数；要平均。": lambda x: last(x).median("update"),
    },
    praise="没有回合结束的更新是 NaN，求平均时跳过了它们，对。",
    returns="每个种子一个数，形状 (seed,)",
)  # fmt: skip
