"""第 14 章的实验和练习检查：八件事，各有一道题来证明。"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ppo_lib.config import PPOConfig
from ppo_lib.course.comparison import compare
from ppo_lib.course.verdict import Mistake, checker
from ppo_lib.experiment import sweep, train
from ppo_lib.statistics import difference_interval

BASE = PPOConfig(env_name="CartPole-v1", total_timesteps=100_000, num_seeds=10)
"""样板用它：CartPole，十万步，默认的键。"""

LONGER = dataclasses.replace(BASE, total_timesteps=200_000)
"""练习 14.4 和 14.5 用它：十万步时，默认的配置还没有学会，坏处显不出来。"""


# ---------------------------------------------------------------- 任务四：三份病历

PATIENTS = {"甲": dict(ent_coef=1.0), "乙": dict(lr=1e-5), "丙": dict(vf_coef=0.0)}
"""三次训练各改坏了一个键。先看曲线，再看这里。"""


def patients() -> dict[str, xr.Dataset]:
    """训练三位病人和一个健康的，各十个种子；返回各自的指标 (seed, update)。"""
    return {
        name: train(dataclasses.replace(LONGER, **change), progress=False).metrics
        for name, change in ({"健康": {}} | PATIENTS).items()
    }


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
    """训练默认的和五种改动，各十个种子；返回各自的指标 (seed, update)。"""
    return {
        name: sweep(dataclasses.replace(LONGER, **change), progress=False)
        for name, change in ({"默认": {}} | CHANGES).items()
    }


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


# ---------------------------------------------------------------- 检查


@checker
def check_keys(answer) -> str:
    """练习 14.1：六种现象，各由哪个键管。"""
    expected = {
        1: "ent_coef",
        2: "bootstrap_truncation",
        3: "num_envs",
        4: "gamma",
        5: "gae_lambda",
        6: "max_grad_norm",
    }
    hints = {
        1: "想让策略保持随机，损失里有一项专门管它。",
        2: "超时不是终止：要不要接上 V，由一个开关决定。",
        3: "另外五个键里，四个只是程序的输入，一个是开关；改变数组形状的是哪个？",
        4: "管奖励随时间打折的，不是管估计方式的。",
        5: "在偏差和方差之间取舍的，是 GAE 的那个系数。",
        6: "它管的是梯度的长度，与概率比的裁剪无关。",
    }
    allowed = set(expected.values())
    if set(answer) != set(expected):
        raise Mistake("六种现象都要填，编号 1 到 6。")
    unknown = {key for key in answer.values() if key not in allowed}
    if unknown:
        raise Mistake(f"{'、'.join(sorted(map(str, unknown)))} 不在题目给的六个键里。")
    wrong = [number for number in expected if answer[number] != expected[number]]
    if wrong:
        raise Mistake(f"第 {wrong[0]} 条不对。{hints[wrong[0]]}")
    return "六条都对。"


ORDER = ["采样", "价值", "优势", "小批次", "损失", "梯度", "缩短梯度", "优化器"]


@checker
def check_order(order) -> str:
    """练习 14.2：把一次更新里的八步排好。"""
    order = list(order)
    if sorted(order) != sorted(ORDER):
        raise Mistake("八步各用一次：" + "、".join(sorted(ORDER)) + "。")
    place = {name: i for i, name in enumerate(order)}
    rules = [
        ("采样", "价值", "Critic 要先有观测，才能评价它。"),
        ("采样", "优势", "没有经验，就没有奖励可以算优势。"),
        ("价值", "优势", "时序差分误差里要用 V，所以先有价值。"),
        ("优势", "小批次", "优势要沿时间往回递推，切成小批次、打乱之后就没有次序了。"),
        ("小批次", "损失", "损失是在一个小批次上算的。"),
        ("损失", "梯度", "梯度是损失的导数。"),
        ("梯度", "缩短梯度", "先有梯度，才能缩短它。"),
        ("缩短梯度", "优化器", "缩短之后才交给 Adam；先交给它，缩短就落在了步长上。"),
    ]
    for before, after, why in rules:
        if place[before] > place[after]:
            raise Mistake(f"“{before}”应当在“{after}”之前：{why}")
    return "次序对了。从“小批次”起，一次更新里要重复许多次。"


@checker
def check_sources(answer) -> str:
    """练习 14.3：六个函数，各对应哪个出处。"""
    expected = {
        "td_error": "S",
        "calculate_gae": "G16",
        "policy_ratio": "P6",
        "clipped_objective": "P7",
        "ppo_loss": "P9",
        "adam_step": "A1",
    }
    meaning = {
        "S": "Sutton & Barto 式 (6.5)",
        "G16": "GAE 论文式 (16)",
        "P6": "PPO 论文式 (6)",
        "P7": "PPO 论文式 (7)",
        "P9": "PPO 论文式 (9)",
        "A1": "Adam 论文算法 1",
    }
    if set(answer) != set(expected):
        raise Mistake("六个函数都要填：" + "、".join(expected) + "。")
    unknown = {code for code in answer.values() if code not in meaning}
    if unknown:
        raise Mistake(
            f"{'、'.join(map(str, unknown))} 不是给出的代号；代号是 {'、'.join(meaning)}。"
        )
    for name, code in expected.items():
        if answer[name] != code:
            raise Mistake(
                f"{name} 不是{meaning[answer[name]]}。展开它的源码，看文档里的“出处”。"
            )
    return "六个都对。"


@checker
def check_diagnosis(answer) -> str:
    """练习 14.4：三份病历，各改坏了哪个键。"""
    expected = {name: next(iter(change)) for name, change in PATIENTS.items()}
    if set(answer) != set(expected):
        raise Mistake("三个都要填：甲、乙、丙。")
    hints = {
        "甲": "看熵：它降得很少，离两个动作各一半的 ln 2 不远，而近似 KL 说策略在动。谁在拉着它？",
        "乙": "看熵和近似 KL：策略几乎没有动过。什么太小了？",
        "丙": "看价值损失、解释方差和梯度范数：策略在学，Critic 没有。",
    }
    for name, key in expected.items():
        if answer[name] != key:
            raise Mistake(f"{name}不是 {answer[name]}。{hints[name]}")
    found = (
        f"{name}是 {key} = {value:g}"
        for name, change in PATIENTS.items()
        for key, value in change.items()
    )
    return "三个都对：" + "，".join(found) + "。"


@checker
def check_predictions(prediction) -> str:
    """练习 14.5：只查写法。猜得对不对，由实验来说。"""
    if set(prediction) != set(CHANGES):
        raise Mistake("五种改动都要猜：" + "、".join(CHANGES) + "。")
    wrong = {name: x for name, x in prediction.items() if x not in OUTCOMES}
    if wrong:
        name, guess = next(iter(wrong.items()))
        raise Mistake(f"{name} 填的是 {guess!r}；只能填 {'、'.join(OUTCOMES)}。")
    if set(prediction.values()) == {"看不出差别"}:
        raise Mistake("全填“看不出差别”，等于没有猜。至少有两种改动，你应当说得出方向。")
    return "记下了。运行下一格，看量出来的。"


@checker
def check_printed(mean_ratio, mean_advantage, std_advantage) -> str:
    """练习 14.6：第一个小批次里，概率比的平均，标准化之后优势的平均和标准差。"""
    if not np.isclose(mean_ratio, 1, atol=1e-3):
        if np.isclose(mean_ratio, 0, atol=1e-3):
            raise Mistake("你打印的像是对数概率之差；取指数之后才是概率比。")
        raise Mistake(
            f"概率比的平均是 {float(mean_ratio):g}？第一个小批次里参数还没有动，它处处相同。"
        )
    if not np.isclose(mean_advantage, 0, atol=1e-3):
        raise Mistake("优势的平均应当是 0。你打印的可能是标准化之前的。")
    if not np.isclose(std_advantage, 1, atol=1e-2):
        raise Mistake("优势的标准差应当是 1。你打印的可能是方差之外的量，或标准化之前的。")
    return "1、0、1。写一个新的实现时，这三个数是最便宜的检查。"


@checker
def check_batch_normalize(normalize) -> str:
    """练习 14.7：对整批优势标准化，形状 (num_steps, num_envs)。"""
    advantage = jnp.array([[1.0, 10.0], [2.0, 20.0], [6.0, 3.0]])
    answer = normalize(advantage)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    result = np.asarray(answer, float)
    raw = np.asarray(advantage, float)
    if result.shape != raw.shape:
        raise Mistake(f"形状应当不变，是 {raw.shape}；你的是 {result.shape}。")
    expected = (raw - raw.mean()) / (raw.std() + 1e-8)
    if np.allclose(result, expected, atol=1e-4):
        equal = np.asarray(normalize(jnp.full((3, 2), 5.0)), float)
        if not np.isfinite(equal).all():
            raise Mistake("平时都对；可是优势全部相等时得到了 NaN，分母上要加一个小量。")
        return "整批的平均是 0，标准差是 1；全部相等时得到 0。"
    for axis, name in ((0, "每个环境各自"), (1, "每一步各自")):
        each = (raw - raw.mean(axis, keepdims=True)) / (raw.std(axis, keepdims=True) + 1e-8)
        if np.allclose(result, each, atol=1e-3):
            raise Mistake(f"你{name}标准化了；要对整批求一个平均、一个标准差。")
    if np.allclose(result, raw - raw.mean(), atol=1e-4):
        raise Mistake("你只减了平均，没有除以标准差。")
    if np.allclose(result, raw / raw.std(), atol=1e-3):
        raise Mistake("你只除了标准差，没有减平均。")
    if np.allclose(result, (raw - raw.mean()) / raw.var(), atol=1e-3):
        raise Mistake("你除以了方差；应当除以标准差。")
    raise Mistake("减去整批的平均，再除以（整批的标准差 + 一个小量）。")


@checker
def check_compare(compare) -> str:
    """练习 14.8：比较两组种子，给出差、下界、上界。"""
    rng = np.random.default_rng(1)
    far = rng.normal(300, 30, 20), rng.normal(200, 30, 20)
    near = rng.normal(200, 40, 10), rng.normal(205, 40, 12)  # 两组的个数不同
    outlier = np.r_[rng.normal(200, 5, 9), 1000.0], rng.normal(200, 5, 10)
    answers = [compare(*pair) for pair in (far, near, outlier)]
    if any(answer is None or len(answer) != 3 for answer in answers):
        raise Mistake("请返回三个数：(差, 下界, 上界)。")
    expected = [difference_interval(*pair) for pair in (far, near, outlier)]
    if np.isclose(answers[0][0], -expected[0][0], rtol=0.05):
        raise Mistake("差的正负反了：应当是第一组减第二组。")
    if np.isclose(answers[2][0], outlier[0].mean() - outlier[1].mean(), rtol=0.05):
        raise Mistake("你用的是平均值：一个特别好的种子就能左右它。用四分位均值 iqm。")
    for (difference, low, high), (right, right_low, right_high) in zip(answers, expected):
        width, right_width = high - low, right_high - right_low
        if not np.isclose(difference, right, atol=0.02 * right_width + 1e-6):
            raise Mistake(f"差应当是 {right:.1f}，你的是 {difference:.1f}。")
        if not low <= difference <= high:
            raise Mistake("差应当落在下界和上界之间。")
        if width < 0.6 * right_width:
            raise Mistake("你的区间太窄。是不是只重抽了一组，或者把标准误当成了 95% 的范围？")
        if width > 1.6 * right_width:
            raise Mistake("你的区间太宽。它是差的统计量的范围，不是单个种子的范围。")
    return "差、方向和区间都对。区间里有 0，就说“看不出差别”。"
