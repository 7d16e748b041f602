"""第 15 章的练习。研究本身在 beta1.py 和 beta1_update.py。"""

from __future__ import annotations

import numpy as np

from ppo_lib.course.beta1 import chance_of_winning
from ppo_lib.course.ch08 import correction_factor
from ppo_lib.course.exercises import FunctionExercise
from ppo_lib.course.exercises.sameness import Close
from ppo_lib.statistics import iqm


def chance_inputs(rng):
    """两个数的，有平手的，全平手的，个数不同的，几组随机的。"""
    yield np.array([2.0, 1.0]), np.array([1.0, 3.0])
    yield np.array([500.0, 500.0, 300.0]), np.array([500.0, 200.0])
    yield np.array([10.0, 10.0, 90.0]), np.array([20.0, 20.0, 20.0])  # 平均高，多数却低
    yield np.full(3, 500.0), np.full(4, 500.0)
    for size in (5, 8):
        yield rng.integers(0, 6, size) * 10.0, rng.integers(1, 7, 6) * 10.0


def pairwise(score):
    """每一对 (ours, base) 得几分，再平均。"""
    return lambda ours, base: score(np.subtract.outer(ours, base)).mean()


check_chance = FunctionExercise(
    "练习 15.1：胜出的机会，平手算一半",
    chance_of_winning,
    chance_inputs,
    {
        "平手算了 0：各算一半。": pairwise(lambda d: d > 0),
        "平手算了整个：各算一半。": pairwise(lambda d: d >= 0),
        "两组反了：ours 高于 base 才算胜。": lambda ours, base: chance_of_winning(base, ours),
        "写成百分数了：给 0 到 1 之间的数。": lambda ours, base: 100 * chance_of_winning(ours, base),
        "这是差的平均，不是胜出的机会：只数谁高，不管高多少。": pairwise(lambda d: d),
        "只比了两组的平均：要每一对都比。": lambda ours, base: (np.sign(np.mean(ours) - np.mean(base)) + 1) / 2,
        "只看了哪一组的平均高：要每一对都比。": lambda ours, base: float(np.mean(ours) > np.mean(base)),
        "只比了两组的中位数：要每一对都比。": lambda ours, base: (np.sign(np.median(ours) - np.median(base)) + 1) / 2,
        "胜减去负了：这样是 -1 到 1，全平手得 0。": pairwise(np.sign),
        "要的是一个数：数了多少对，还要除以对数。": lambda ours, base: len(ours) * len(base) * chance_of_winning(ours, base),
        "只比了同一个位置的两个：没有一一对应，每一对都要比。": lambda ours, base: float(np.mean([(a > b) + 0.5 * (a == b) for a, b in zip(ours, base)])),
        "平手没有算进对数：它算一半，分母是全部的对数。": lambda ours, base: np.divide(pairwise(lambda d: d > 0)(ours, base), pairwise(lambda d: d != 0)(ours, base)),
        "你得到的是 ours 的每个种子各自的机会；再对它们求平均。": lambda ours, base: [chance_of_winning([x], base) for x in ours],
        "只除以了 ours 的个数；一共有 len(ours) × len(base) 对。": lambda ours, base: len(base) * chance_of_winning(ours, base),
        "你拿 ours 的每一个与 base 的平均比；要与 base 的每一个比。": lambda ours, base: float(np.mean(np.asarray(ours) > np.mean(base))),
        "只比了两组里最好的：要每一对都比。": lambda ours, base: (np.sign(np.max(ours) - np.max(base)) + 1) / 2,
    },
    praise="全都顶着满分的两组，机会是一半：看不出谁好。",
    returns="一个数，0 到 1",
    close=Close(1e-6, 1e-9),
)  # fmt: skip


def rel_factor(t, T, beta_1, beta_2):
    """重置 t 的 Adam，步子是不重置的几倍。"""
    return correction_factor(t, beta_1, beta_2) / correction_factor(T, beta_1, beta_2)


def rel_inputs(rng):
    """两种步数一样的（得 1）；第二次更新的头一步；走了很久的；随机的。"""
    yield 3, 3, 0.9, 0.999
    yield 1, 9, 0.9, 0.999
    yield 8, 10_000, 0.5, 0.99
    for _ in range(3):
        t = int(rng.integers(1, 9))
        yield t, t + 8 * int(rng.integers(1, 60)), rng.uniform(0.1, 0.95), rng.uniform(0.97, 0.999)  # fmt: skip


def factor_with(f):
    """换掉 f。"""
    return lambda t, T, a, b: f(t, a, b) / f(T, a, b)


check_rel = FunctionExercise(
    "练习 15.2：重置计步的对照，步子要乘几倍",
    rel_factor,
    rel_inputs,
    {
        "上下颠倒了：除以不重置的那个。": lambda t, T, a, b: 1 / rel_factor(t, T, a, b),
        "这只是重置的 f(t)：不重置的 Adam 也有修正，要除以它的 f(T)。": lambda t, T, a, b: correction_factor(t, a, b),
        "这是不重置的 f(T)。": lambda t, T, a, b: correction_factor(T, a, b),
        "二阶矩的修正忘了开方。": factor_with(lambda t, a, b: (1 - b**t) / (1 - a**t)),
        "只算了一阶矩的修正，二阶矩的也随 t 变。": factor_with(lambda t, a, b: 1 / (1 - a**t)),
        "只算了二阶矩的修正，一阶矩的也随 t 变。": factor_with(lambda t, a, b: (1 - b**t) ** 0.5),
        "两个衰减率用反了：根号里的是 beta_2。": lambda t, T, a, b: rel_factor(t, T, b, a),
        "倍数总是 1：修正里要有 t 次方，才随 t 变。": factor_with(lambda t, a, b: (1 - b) ** 0.5 / (1 - a)),
        "根号只盖住二阶矩的修正；一阶矩的不开方。": lambda t, T, a, b: np.sqrt((1 - b**t) / (1 - a**t) / ((1 - b**T) / (1 - a**T))),
        "是两个数相除，不是相减。": lambda t, T, a, b: correction_factor(t, a, b) - correction_factor(T, a, b),
        "t、T 都从 1 数起，不用再加一。": lambda t, T, a, b: rel_factor(t + 1, T + 1, a, b),
        "根号开错了地方：开方的是二阶矩的修正 1 - beta_2^t，不是一阶矩的。": factor_with(lambda t, a, b: (1 - b**t) / (1 - a**t) ** 0.5),
        "两个 f 相乘了；要相除。": lambda t, T, a, b: correction_factor(t, a, b) * correction_factor(T, a, b),
        "一阶矩的修正上下颠倒了：1 - beta_1^t 在 f 的分母上。": factor_with(lambda t, a, b: (1 - b**t) ** 0.5 * (1 - a**t)),
        "t 从 1 数起，不用再减一。": lambda t, T, a, b: rel_factor(max(t - 1, 1), T, a, b),
        "只看了步数之比；要由两个偏差修正算。": lambda t, T, a, b: (T / t) ** 0.5,
    },
    praise="乘上它，不重置的 Adam 与重置的一步不差：重置本身没有别的作用。",
    returns="一个数：几倍",
    close=Close(1e-4, 1e-9),
)  # fmt: skip


def as_share(values, zero, base):
    """归一：0 是 zero 的四分位均值，1 是 base 的。"""
    return (values - iqm(zero)) / (iqm(base) - iqm(zero))


def share_inputs(rng):
    """一正一负的成绩；有一个特别高的（平均和四分位均值就不同）；个数不同的。"""
    yield np.array([-100.0, -200.0]), np.full(4, -200.0), np.array([-120.0, -120.0, -140.0, -130.0])  # fmt: skip
    yield np.array([20.0, 500.0, 260.0]), np.array([20.0, 22.0, 21.0, 90.0]), np.array([480.0, 300.0, 500.0, 100.0, 490.0])  # fmt: skip
    for size in (4, 7):
        yield rng.uniform(5, 25, size), rng.uniform(1, 3, 8), rng.exponential(12, 6) + 8


check_share = FunctionExercise(
    "练习 15.3：把几个任务的成绩归到同一把尺子上",
    as_share,
    share_inputs,
    {
        "没有减去零点：不学的策略应当得 0。": lambda v, z, b: v / iqm(b),
        "分母忘了减去零点：与 base 一样好的应当得 1。": lambda v, z, b: (v - iqm(z)) / iqm(b),
        "分子忘了减去零点。": lambda v, z, b: v / (iqm(b) - iqm(z)),
        "只减了零点，还没有除。": lambda v, z, b: v - iqm(z),
        "用了平均值：这里约定用四分位均值。": lambda v, z, b: (v - z.mean()) / (b.mean() - z.mean()),
        "用了中位数：这里约定用四分位均值。": lambda v, z, b: (v - np.median(z)) / (np.median(b) - np.median(z)),
        "零点用了最低的一个：用 zero 的四分位均值。": lambda v, z, b: (v - z.min()) / (iqm(b) - z.min()),
        "1 定在了最高的一个：用 base 的四分位均值。": lambda v, z, b: (v - iqm(z)) / (b.max() - iqm(z)),
        "零点和 1 反了。": lambda v, z, b: as_share(v, b, z),
        "不要截在 0 和 1 之间：比 base 好的应当大于 1。": lambda v, z, b: np.clip(as_share(v, z, b), 0, 1),
        "要每个种子一个数，不是它们的四分位均值。": lambda v, z, b: iqm(as_share(v, z, b)),
        "这是标准化（减平均、除以标准差）：要用 zero 和 base 定尺子。": lambda v, z, b: (v - v.mean()) / v.std(),
        "zero 用了最低的，base 用了最高的：两样都用四分位均值。": lambda v, z, b: (v - z.min()) / (b.max() - z.min()),
        "分子减的是 base：不学的策略应当得 0，所以减零点。": lambda v, z, b: as_share(v, z, b) - 1,
        "少了一对括号：先减零点，再除。": lambda v, z, b: v - iqm(z) / (iqm(b) - iqm(z)),
        "除的是 1 与零点的距离，不是 base 的标准差。": lambda v, z, b: (v - iqm(z)) / b.std(),
        "分母里是减去零点，不是加上。": lambda v, z, b: (v - iqm(z)) / (iqm(b) + iqm(z)),
        "1 的位置用了平均值：base 也用四分位均值。": lambda v, z, b: (v - iqm(z)) / (b.mean() - iqm(z)),
    },
    praise="-200 分起步的任务和 0 分起步的任务，现在可以画在一张图上了。",
    returns="每个种子一个数，形状同 values",
    close=Close(1e-4, 1e-6),
)  # fmt: skip
