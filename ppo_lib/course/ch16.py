"""第 16 章的实验和练习：八件事，各有一道题来证明。"""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr
from scipy import stats

from ppo_lib.config import TRACED, PPOConfig
from ppo_lib.course.comparison import compare
from ppo_lib.course.exercises import (
    AnswerExercise,
    Choice,
    FunctionExercise,
    Order,
    Subset,
    edited,
)
from ppo_lib.course.exercises.sameness import Close
from ppo_lib.experiment import train
from ppo_lib.loss import normalize
from ppo_lib.statistics import bootstrap_band, iqm, resampled_differences

BASE = PPOConfig(env_name="CartPole-v1", total_timesteps=100_000, num_seeds=10)
"""样板用它：CartPole，十万步，默认的键。"""

LONGER = dataclasses.replace(BASE, total_timesteps=200_000)
"""练习 16.4 和 16.5 用它：十万步时，默认的配置还没有学会，坏处显不出来。"""


# ---------------------------------------------------------------- 任务四：三份病历

PATIENTS = {"甲": dict(ent_coef=1.0), "乙": dict(lr=1e-5), "丙": dict(vf_coef=0.0)}
"""三次训练各改坏了一个键。先看曲线，再看这里。"""


def train_each(changes: dict[str, dict]) -> dict[str, xr.Dataset]:
    """每种改动训练十个种子；返回各自的指标 (seed, update)。"""
    return {
        name: train(dataclasses.replace(LONGER, **change), progress=False).metrics
        for name, change in changes.items()
    }


def patients() -> dict[str, xr.Dataset]:
    """训练三位病人和一个健康的。"""
    return train_each({"健康": {}} | PATIENTS)


# ---------------------------------------------------------------- 任务五：先猜后看

CHANGES = {
    "gamma = 0.9": dict(gamma=0.9),
    "lr = 0.0001": dict(lr=1e-4),
    "clip_eps = 0.05": dict(clip_eps=0.05),
    "max_grad_norm = 0.1": dict(max_grad_norm=0.1),
    "update_epochs = 4": dict(update_epochs=4),
}
"""五种改动，各只动一个键。"""

OUTCOMES = ("变好", "变差", "看不出差别")


def run_changes() -> dict[str, xr.Dataset]:
    """训练默认的和五种改动。"""
    return train_each({"默认": {}} | CHANGES)


def judge_predictions(prediction, scores: dict[str, np.ndarray]) -> list[tuple]:
    """把猜的和量的摆在一起：[(改动, 猜的, 量的, 差, 下界, 上界)]；五个比较一起修正。

    Args:
        scores: “默认”和五种改动，每个种子的成绩 (seed,)。
    """
    found = compare({name: (scores[name], scores["默认"]) for name in CHANGES})
    return [
        (name, prediction.get(name, "—"), one.verdict, one.difference, one.low, one.high)
        for name, one in found.items()
    ]


# ---------------------------------------------------------------- 练习

SIX_KEYS = {
    "gamma": "gamma 定奖励随时间打几折，任务因它而变",
    "gae_lambda": "gae_lambda 在优势估计的偏差和方差之间取舍，任务不变",
    "ent_coef": "ent_coef 是熵那一项的系数，管策略有多随机",
    "num_envs": "num_envs 定数组的形状",
    "bootstrap_truncation": "bootstrap_truncation 定超时的那一步接不接 V",
    "max_grad_norm": "max_grad_norm 管梯度最长多长",
}
"""练习 16.1 的六个键，各管什么。"""


def key_for(key: str, hint: str, **wrong: str) -> Choice:
    """一种现象由 key 管；选了别的键，先说那个键管什么。"""
    told = {
        other: f"{what}，说的不是这一条。{hint}"
        for other, what in SIX_KEYS.items()
        if other != key
    }
    return Choice(key, tuple(SIX_KEYS), told | wrong)


check_keys = AnswerExercise(
    "练习 16.1：六种现象，各由哪个键管",
    {
        1: key_for("ent_coef", "想让策略保持随机，损失里有一项专门管它。"),
        2: key_for("bootstrap_truncation", "超时不是终止：要不要接上 V，由一个开关决定。"),
        3: key_for(
            "num_envs",
            "另外五个键里，四个只是程序的输入，一个是开关；改变数组形状的是哪个？",
            bootstrap_truncation="改它也要重新编译，不过另有一条说的就是它；还有一个键，改变数组的形状。",
        ),
        4: key_for("gamma", "管奖励随时间打折的，不是管估计方式的。"),
        5: key_for("gae_lambda", "在偏差和方差之间取舍的，是 GAE 的那个系数。"),
        6: key_for("max_grad_norm", "它管的是梯度的长度，与概率比的裁剪无关。"),
    },
    praise="六条都对。",
)  # fmt: skip


ORDER = ["采样", "价值", "优势", "小批次", "损失", "梯度", "缩短梯度", "优化器"]
"""练习 16.2：一次更新的八步。"""

check_order = AnswerExercise(
    "练习 16.2：排好一次更新里的八步",
    {
        "次序": Order(
            ORDER,
            [
                ("采样", "价值", "Critic 要先有观测，才能评价它。"),
                ("采样", "优势", "没有经验，就没有奖励可以算优势。"),
                ("价值", "优势", "时序差分误差里要用 V，所以先有价值。"),
                ("优势", "小批次", "优势要沿时间往回递推，切成小批次、打乱之后就没有次序了。"),
                ("小批次", "损失", "损失是在一个小批次上算的。"),
                ("损失", "梯度", "梯度是损失的导数。"),
                ("梯度", "缩短梯度", "先有梯度，才能缩短它。"),
                ("缩短梯度", "优化器", "缩短之后才交给 Adam；先交给它，缩短就落在了步长上。"),
            ],
        )
    },
    praise="次序对了。从“小批次”起，一次更新里要重复许多次。",
)


SOURCES = {
    "S": "Sutton 与 Barto 式 (6.5)，它写的是时序差分误差",
    "G16": "GAE 论文式 (16)，它把各步的时序差分误差加权加起来",
    "P6": "PPO 论文式 (6)，它是不裁剪的目标，概率比乘优势",
    "P7": "PPO 论文式 (7)，它取裁剪的和不裁剪的两项里较小的",
    "P9": "PPO 论文式 (9)，它把目标、价值损失和熵加在一起",
    "A1": "Adam 论文算法 1，它写的是优化器的一步",
}
"""练习 16.3 的代号，各是哪里的什么。"""

check_sources = AnswerExercise(
    "练习 16.3：六个函数，各出自哪里",
    {
        name: Choice(
            code,
            tuple(SOURCES),
            {
                other: f"不是 {SOURCES[other]}。展开它的源码，看文档里的“出处”。"
                for other in SOURCES
                if other != code
            },
        )
        for name, code in zip(
            ("td_error", "calculate_gae", "policy_ratio", "clipped_objective", "ppo_loss", "adam_step"), SOURCES
        )
    },
    praise="六个都对。",
)  # fmt: skip


check_diagnosis = AnswerExercise(
    "练习 16.4：三份病历，各改坏了哪个键",
    {
        "甲": Choice("ent_coef", TRACED, hint="看熵：它降得很少，离两个动作各一半的 ln 2 不远，而近似 KL 说策略在动。谁在拉着它？"),
        "乙": Choice(
            "lr",
            TRACED,
            {"adam_eps": "说得通：它大得出奇，步子也会小成这样。不过这里改的是更常动的那个键。"},
            hint="看熵和近似 KL：策略几乎没有动过。什么太小了？",
        ),
        "丙": Choice("vf_coef", TRACED, hint="看价值损失、解释方差和梯度范数：策略在学，Critic 没有。"),
    },
    praise="三个都对：" + "，".join(f"{name}是 {key} = {value:g}" for name, change in PATIENTS.items() for key, value in change.items()) + "。",
)  # fmt: skip


check_predictions = AnswerExercise(
    "练习 16.5：先猜五种改动的影响",
    {name: Choice(None, OUTCOMES) for name in CHANGES},
    praise="记下了。接着看量出来的：运行那一格；在网页上，展开它。",
    wrong=[
        (
            ("看不出差别",) * len(CHANGES),
            "全填“看不出差别”，等于没有猜。至少有两种改动，你应当说得出方向。",
        )
    ],
)


check_report = AnswerExercise(
    "练习 16.6：报告里哪五句有毛病",
    {
        "有毛病的句子": Subset(
            {3, 5, 7, 8, 10},
            options=range(1, 11),
            wrong={
                frozenset({1, 2, 4, 6, 9}): "正好反了：你挑出来的五句都没有毛病。",
                frozenset(range(1, 11)): "不是每一句都有毛病：有五句，做法正是书里教的。",
            },
            extra={
                1: "第 1 句没有毛病：问题能由实验回答，也说了多大的差别才算有用。",
                2: "第 2 句没有毛病：预测写在前面，也有理由；猜错了也不算毛病。",
                4: "第 4 句没有毛病：成绩怎样算，事先说清，两组一样；用同样的种子没有坏处。",
                6: "第 6 句的做法没有毛病：算的是差的区间，两组各自重抽。它的数可不可信，要看别的句子。",
                9: "第 9 句没有毛病：说到数据为止，没有检验的也说了没有检验。",
            },
            missing={
                3: "还漏了。除了要比的那个键，两组受到的照顾一样吗？",
                5: "还漏了。哪些种子算数，是看到结果之前定的，还是之后？",
                7: "还漏了。看不看得出差别，该看哪一个区间？",
                8: "还漏了。有的成绩，什么做法都拿得到，能分出高下吗？",
                10: "还漏了。一共比了几处？那个区间，是按几处算的？",
            },
        )
    },
    praise="只给一方调了学习率；看过结果才换种子；拿两条带的重叠当结论；满分处分不出高下；比了十二处，没有修正。",
)  # fmt: skip


def advantage_inputs(rng):
    """全部相等的，各个环境差得远的，步数与环境数不同的。"""
    yield (np.full((3, 2), 5, np.float32),)
    yield (np.full((2, 4), -2, np.float32),)
    yield (np.float32([[1, 10], [2, 20], [6, 3]]),)
    for shape in ((3, 2), (2, 4), (4, 3)):
        yield (np.float32(rng.normal(3, 6, shape).round(1)),)


check_batch_normalize = FunctionExercise(
    "练习 16.7：对整批优势标准化",
    normalize,
    advantage_inputs,
    {
        "平时都对；可是优势全部相等时得到了 NaN，分母上要加一个小量。": edited(normalize, "(advantage.std() + 1e-8)", "advantage.std()"),
        "平均是整批的，标准差却是每个环境各自的：都要整批的。": lambda a: (a - a.mean()) / (a.std(0) + 1e-8),
        "你让每个环境各自标准化了；要对整批求一个平均、一个标准差。": lambda a: (a - a.mean(0)) / (a.std(0) + 1e-8),
        "你让每一步各自标准化了；要对整批求一个平均、一个标准差。": lambda a: (a - a.mean(1, keepdims=True)) / (a.std(1, keepdims=True) + 1e-8),
        "你只减了平均，没有除以标准差。": lambda a: a - a.mean(),
        "你只除了标准差，没有减平均。": edited(normalize, " - advantage.mean()", ""),
        "你只除了标准差，没有减平均；分母上也要加一个小量。": lambda a: a / a.std(),
        "你除以了方差；应当除以标准差。": edited(normalize, "std", "var"),
        "你除以了方差；应当除以标准差，分母上也要加一个小量。": lambda a: (a - a.mean()) / a.var(),
        "标准差除的是 n，不是 n - 1：用 std() 的默认值。": edited(normalize, "std()", "std(ddof=1)"),
        "你缩放到了 0 和 1 之间；标准化是减平均、除以标准差。": lambda a: (a - a.min()) / (a.max() - a.min() + 1e-8),
        "数都对，形状却摊平了：输出的形状与输入相同。": lambda a: normalize(a).ravel(),
        "少了一对括号：先减平均，再除。你只把平均除以了标准差。": lambda a: a - a.mean() / (a.std() + 1e-8),
        "你除以了整批的长度（范数）；应当除以标准差。": lambda a: (a - a.mean()) / (np.linalg.norm(a - a.mean()) + 1e-8),
        "你减的是中位数；要减平均。": lambda a: (a - np.median(a)) / (a.std() + 1e-8),
        "你除以了最大的绝对值；标准化是减平均、除以标准差。": lambda a: a / (abs(a).max() + 1e-8),
        "分母上加的小量太大了，把结果也改了：题目要 1e-8。": lambda a: (a - a.mean()) / (a.std() + 1e-2),
        "平均是减去，不是加上。": lambda a: (a + a.mean()) / (a.std() + 1e-8),
        "标准差多开了一次方：std 已经是方差的平方根。": lambda a: (a - a.mean()) / (a.std() ** 0.5 + 1e-8),
    },
    remarks={
        "提醒：你把 NaN 换成了 0。优势里真有了 NaN（训练发散了），它也盖得住，毛病就看不出来了；分母上加 1e-8，别的不动。": lambda f: np.isnan(f(np.float32([[np.nan, 1], [2, 4]]))).any(),
    },
    praise="整批的平均是 0，标准差是 1；全部相等时也不会得到 NaN。",
    returns="标准化过的优势，形状 (num_steps, num_envs)",
    close=Close(1e-3, 1e-4),
    jax_arrays=True,
)  # fmt: skip


def score_inputs(rng):
    """两组成绩：个数不同的，一组散得开的，有一个特别好的，分成两堆的；差的区间都约 44 分宽。"""

    def bell(size, center, spread):
        z = stats.norm.ppf((np.arange(size) + 0.5) / size)
        z = rng.permutation(z) + rng.normal(0, 0.05, size)
        return (center + spread * np.sqrt(size) * z).round()

    yield bell(12, 230, 3), bell(20, 200, 9)
    yield bell(20, 190, 9), bell(12, 200, 3)
    yield np.sort(bell(16, 200, 7)), np.sort(bell(16, 200, 7))  # 同样的位置，抽到的就同高同低
    yield np.append(bell(19, 200, 7), 900), bell(20, 200, 7)
    yield np.r_[rng.normal(180, 3, 9), rng.normal(222, 3, 11)].round(), bell(20, 200, 6)


def compare_two(ours, base):
    """四分位均值之差，和它的 95% 置信区间：(差, 下界, 上界)。"""
    differences = resampled_differences(ours, base)
    low, high = np.quantile(differences, [0.025, 0.975])
    return iqm(ours) - iqm(base), low, high


def compare_by(statistic, resample=(True, True)):
    """同上，换一个统计量，或者只重抽一组。"""

    def compare(ours, base):
        rng = np.random.default_rng(0)
        ours_drawn, base_drawn = (
            statistic(rng.choice(x, (len(x), 5000)), axis=0) if again else statistic(x)
            for x, again in zip((ours, base), resample)
        )
        low, high = np.quantile(ours_drawn - base_drawn, [0.025, 0.975])
        return statistic(ours) - statistic(base), low, high

    return compare


def from_two_intervals(ours, base):
    """由两组各自的区间相减。"""
    (low, high), (base_low, base_high) = map(bootstrap_band, (ours, base))
    return iqm(ours) - iqm(base), low - base_high, high - base_low


def from_one_pool(ours, base):
    """两组合在一起重抽。"""
    pool = np.append(ours, base)
    draws = np.random.default_rng(0).choice(pool, (len(pool), 5000))
    low, high = np.quantile(iqm(draws[: len(ours)]) - iqm(draws[len(ours) :]), [0.025, 0.975])
    return iqm(ours) - iqm(base), low, high


def from_same_picks(ours, base):
    """两组重抽时用了同样的随机数。"""
    ours_drawn, base_drawn = (
        iqm(np.random.default_rng(0).choice(x, (len(x), 5000))) for x in (ours, base)
    )
    low, high = np.quantile(ours_drawn - base_drawn, [0.025, 0.975])
    return iqm(ours) - iqm(base), low, high


def from_single_seeds(ours, base):
    """单个种子之差的范围。"""
    low, high = np.quantile(ours[:, None] - base[None, :], [0.025, 0.975])
    return iqm(ours) - iqm(base), low, high


def gives_exact_difference(compare) -> bool:
    """第一样是不是恰好是两个四分位均值之差。"""
    ours, base = next(score_inputs(np.random.default_rng(0)))
    return abs(compare(ours, base)[0] - (iqm(ours) - iqm(base))) < 1e-2


LIMITS = "[0.025, 0.975]"
check_compare = FunctionExercise(
    "练习 16.8：比较两组种子，给出差、下界、上界",
    compare_two,
    score_inputs,
    {
        "差的正负反了：应当是第一组减第二组。": lambda ours, base: compare_two(base, ours),
        "次序是 (差, 下界, 上界)。": edited(compare_two, "iqm(ours) - iqm(base), low, high", "low, iqm(ours) - iqm(base), high"),
        "次序是 (差, 下界, 上界)，你把差放在了最后。": edited(compare_two, "iqm(ours) - iqm(base), low, high", "low, high, iqm(ours) - iqm(base)"),
        "np.percentile 收百分数，要写 2.5 和 97.5；0.025 和 0.975 是给 np.quantile 的。": edited(compare_two, LIMITS, "[0.00025, 0.00975]"),
        "你用的是平均值：一个特别好的种子就能左右它。用四分位均值 iqm。": compare_by(np.mean),
        "你用的是中位数；要四分位均值 iqm。": compare_by(np.median),
        "区间太窄：你只重抽了第一组，第二组也要重抽。": compare_by(iqm, (True, False)),
        "区间太窄：你只重抽了第二组，第一组也要重抽。": compare_by(iqm, (False, True)),
        "区间几乎没有宽度，应当有四十来分宽：有放回地重抽，每次得一个差，再取这些差的分位数。": lambda ours, base: (iqm(ours) - iqm(base),) * 3,
        "0.05 和 0.95 两个分位数之间是 90%；95% 的是 0.025 和 0.975。": edited(compare_two, LIMITS, "[0.05, 0.95]"),
        "区间太窄：加减一个标准误，只有约 68%。": edited(compare_two, LIMITS, "[0.16, 0.84]"),
        "你由两组各自的区间相减，太宽了。要每次重抽算一个差，再取差的分位数。": from_two_intervals,
        "上下界是第一组自己的区间；要的是两组之差的。": lambda ours, base: (iqm(ours) - iqm(base), *np.add(compare_by(iqm, (True, False))(ours, base)[1:], iqm(base))),
        "你把两组合在一起重抽了，区间就总在 0 的两边。两组要各自重抽。": from_one_pool,
        "两组重抽时用了同样的随机数（同一个种子），抽到的位置就一样。随机数发生器只造一个，两组轮流用它。": from_same_picks,
        "这是单个种子之差的范围；要的是四分位均值之差的范围。": from_single_seeds,
        "上下界放反了：次序是 (差, 下界, 上界)。": edited(compare_two, "iqm(ours) - iqm(base), low, high", "iqm(ours) - iqm(base), high, low"),
        "你取了最低和最高的一次重抽，太宽了：去掉两头各 2.5%。": edited(compare_two, LIMITS, "[0, 1]"),
        "后两样要是界本身；你给的是界到差的距离。": lambda ours, base: (compare_two(ours, base)[0], *np.abs(np.subtract(compare_two(ours, base)[1:], compare_two(ours, base)[0]))),
    },
    praise="差、方向和区间都对。区间里有 0，就说“看不出差别”。",
    returns="三个数：(差, 下界, 上界)",
    outputs=("差", "下界", "上界"),
    rules={"差不用重抽：就是原来两组的四分位均值相减。你给的只是接近它，像是重抽出来的差的平均。": gives_exact_difference},
    close=Close(0, 3.5),  # 重抽两千次，界的误差不到 1；90% 的界差 3 到 4
)  # fmt: skip
