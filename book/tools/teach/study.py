"""作业三（beta_1 的小研究）里机器判的几题：成绩、区间、结论要对得上；报告由老师按第 16 章的评分表给分。"""

import numpy as np

from ppo_lib.course.ch16 import compare_two
from ppo_lib.course.comparison import BOUNDS, conclude
from ppo_lib.course.exercises import Mistake
from ppo_lib.course.exercises.sameness import as_array

FULL = BOUNDS["CartPole 的满分"]
SEEDS = 10
"""每组至少几个种子。"""

MOST = 1000
"""每组至多几个种子：重抽要 20000 × 种子数 的内存。"""


def read_scores(name: str, given) -> np.ndarray:
    """一组成绩，每个种子一个数 (seeds,)。"""
    scores = as_array(given)
    if scores is None or scores.ndim != 1:
        raise Mistake(f"{name} 要是一组成绩，每个种子一个数，形状 (num_seeds,)。")
    if len(scores) < SEEDS:
        raise Mistake(f"{name} 只有 {len(scores)} 个种子，要 {SEEDS} 个以上。")
    if len(scores) > MOST:
        raise Mistake(f"{name} 有 {len(scores)} 个数，至多 {MOST} 个：一个种子一个数。")
    if not ((scores >= 0) & (scores <= FULL)).all():
        raise Mistake(
            f"{name} 里有不在 0 到 {FULL} 之间的数，或者 NaN：那不是 CartPole 的回报。"
        )
    if len(np.unique(scores)) < 3:
        raise Mistake(
            f"{name} 各个种子几乎都一样，分不出高下：换成整段的成绩 whole_run_scores。"
        )
    return scores


def judge_scores(ours, base) -> str:
    """两组成绩：种子够，是 CartPole 的回报，不是同一组。"""
    ours, base = read_scores("ours", ours), read_scores("base", base)
    if np.array_equal(ours, base):
        raise Mistake("ours 和 base 是同一组数：两个 beta_1 要各训练一次。")
    return f"两组各 {len(ours)} 和 {len(base)} 个种子。"


def judge_interval(ours, base, difference, low, high) -> str:
    """差和它的 95% 区间，要与由这两组成绩重新算出的相同；界是重抽出来的，容许宽度的百分之五。"""
    ours, base = read_scores("ours", ours), read_scores("base", base)
    right = compare_two(ours, base)
    margins = 0.01, *[0.05 * (right[2] - right[1])] * 2
    for name, got, x, margin in zip(("difference", "low", "high"), (difference, low, high), right, margins):  # fmt: skip
        number = as_array(got)
        if number is None or number.size != 1:
            raise Mistake(f"{name} 要是一个数。")
        if not abs(float(number.reshape(())) - x) <= margin:
            raise Mistake(f"由你的两组成绩算，{name} 应当约是 {x:.1f}，你的是 {float(number.reshape(())):.1f}。")  # fmt: skip
    return "差和区间与两组成绩对得上。"


def judge_conclusion(ours, base, predicted, verdict) -> str:
    """预测写了；结论是由区间得出的那一个。预测猜错不扣分。"""
    words = ("变好", "变差", "看不出差别")
    for name, word in (("predicted", predicted), ("verdict", verdict)):
        if word not in words:
            raise Mistake(f"{name} 要是 {'、'.join(words)} 里的一个。")
    ours, base = read_scores("ours", ours), read_scores("base", base)
    _, low, high = compare_two(ours, base)
    if verdict != conclude(low, high):
        raise Mistake(f"区间约是 [{low:.0f}, {high:.0f}]，结论应当是“{conclude(low, high)}”，你写的是“{verdict}”。")  # fmt: skip
    return "结论与区间一致" + ("，预测也对了。" if predicted == verdict else "；预测没有猜中，不扣分。")  # fmt: skip


STUDY_PARTS = (
    ("成绩", ("ours", "base"), judge_scores, 10),
    ("区间", ("ours", "base", "difference", "low", "high"), judge_interval, 20),
    ("结论", ("ours", "base", "predicted", "verdict"), judge_conclusion, 10),
)
"""（题目，笔记本里的名字，判法，分数）。"""
