"""第 3 章的答案。"""

import numpy as np
from scipy import stats

from ppo_lib.config import PPOConfig
from ppo_lib.course.ch03 import judge_scores, plan
from ppo_lib.course.comparison import compare, conclude
from ppo_lib.statistics import difference_interval, iqm

CASE = PPOConfig(
    env_name="CartPole-v1", total_timesteps=100_000,
    num_envs=8, num_steps=96, update_epochs=3, num_minibatches=4,
)  # fmt: skip
by_library = tuple(plan(CASE).values())[1:]


def by_hand(ours, base):
    """自己重抽一千次。"""
    ours, base, rng = list(ours), list(base), np.random.default_rng(5)
    draws = [iqm(rng.choice(x, (len(x), 1000))) for x in (ours, base)]
    low, high = np.percentile(draws[0] - draws[1], [2.5, 97.5])
    if low > 0:
        return "变好"
    return "变差" if high < 0 else "看不出差别"


def reversed_names(a, b):
    _, low, high = difference_interval(b, a)  # b - a
    return "看不出差别" if low <= 0 <= high else "变好" if low < 0 else "变差"


def by_numbers(ours, base):
    return difference_interval(ours, base)[0]


def by_spread(ours, base):
    gap = ours.mean() - base.mean()
    if abs(gap) < ours.std() + base.std():
        return "看不出差别"
    return "变好" if gap > 0 else "变差"


def by_scipy(ours, base):
    """BCa 区间。"""

    def difference(ours, base, axis=-1):
        return iqm(ours, axis=axis) - iqm(base, axis=axis)

    rng = np.random.default_rng(1)
    found = stats.bootstrap((ours, base), difference, n_resamples=2000, random_state=rng)
    return conclude(*found.confidence_interval)


def at_level(level):
    return lambda ours, base: conclude(*difference_interval(ours, base, level)[1:])


def resampled(statistic=iqm, same_picks=False, paired=False):
    """自己重抽；换一个统计量，两组用同样的随机数，或者个数相同时逐个相减。"""

    def judge(ours, base):
        if paired and len(ours) == len(base):
            ours, base = ours - base, np.zeros(len(base))
        rng = np.random.default_rng(0)
        first = statistic(rng.choice(ours, (len(ours), 2000)), axis=0)
        rng = np.random.default_rng(0) if same_picks else rng
        draws = first - statistic(rng.choice(base, (len(base), 2000)), axis=0)
        return conclude(*np.quantile(draws, [0.025, 0.975]))

    return judge


def by_test(test):
    """p 值小于 0.05 就算有差别，方向看四分位均值。"""

    def judge(ours, base):
        gap = iqm(ours) - iqm(base)
        return conclude(gap, gap) if test(ours, base).pvalue < 0.05 else "看不出差别"

    return judge


def two_standard_errors(ours, base):
    gap, se = iqm(ours) - iqm(base), np.hypot(stats.sem(ours), stats.sem(base))
    return conclude(gap - 2 * se, gap + 2 * se)


RIGHT = {
    "check_plan": [
        by_library,
        (130, 160, 192, 1560),
        tuple(np.array([130, 160, 192, 1560])),
        ([130.0, "160", "192 条", 1560],),
        ({"更新次数": 130, "丢掉的步数": 160, "小批次的大小": 192, "参数动的次数": 1560},),
    ],
    "check_num_programs": [
        (4,),
        (2 * 2,),
        (4.0,),
        (np.int64(4),),
        ("4",),
        ([4],),
        ({"几个": 4},),
    ],
    "check_judgement": [
        lambda ours, base: compare({"": (ours, base)})[""].verdict,
        by_hand,
        reversed_names,
        by_scipy,
        resampled(),
        lambda ours, base: np.str_(judge_scores(ours, base)),
        at_level(0.96),  # 与 95% 的界只差重抽的误差那么多：分得开它，就会冤枉自己重抽的
    ],
    "check_overrides": [
        (["update_epochs=8"],),
        (["update_epochs=8", "lr=1e-3"],),
        (("num_envs=8", "num_steps=256", "update_epochs=8"),),
        ({"update_epochs=8.0"},),
    ],
}

WRONG = {
    "check_plan": [
        ((7, 160, 192, 1560), "向下取整"),
        ((100_000 / 768, 160, 192, 1560), "取整"),
        ((130, 150, 192, 1560), "余数"),
        ((130, 160, 192, 520), "漏乘了 update_epochs"),
        ((130, 160, 64, 1560), "小批次的大小：不要除以 update_epochs"),
        ((..., 160, 192, 1560), "换成你的答案"),
        ((130, 160, 192), "要 4 个答案"),
    ],
    "check_num_programs": [
        ((5,), "数静态的组合"),
        ((...,), "换成你的答案"),
        (("四",), "不是一个数"),
    ],
    "check_judgement": [
        (by_numbers, "应当返回文字，例如 '看不出差别'；你返回的是一个数"),
        (by_spread, "组输入里对了"),
        *((at_level(level), "窄") for level in (0.8, 0.85, 0.9, 0.92)),
        *((at_level(level), "组输入里对了") for level in (0.68, 0.98)),
        (at_level(0.99), "宽"),
        (at_level(1 - 0.05 / 10), "组输入里对了"),  # Bonferroni
        (resampled(np.median), "中位数"),
        (resampled(np.mean), "失手"),
        (two_standard_errors, "失手"),
        (resampled(same_picks=True), "一一对应"),
        (resampled(paired=True), "一一对应"),
        *((by_test(test), "组输入里对了") for test in (stats.ks_2samp, stats.mannwhitneyu)),
        (by_test(stats.ttest_ind), "失手"),
        (lambda ours, base: "更好", "应当是"),
        (lambda ours, base: difference_interval(ours, base)[1] > 0, "应当返回文字"),
        (lambda ours, base: print(ours), "print"),
        (lambda ours, base: ours.difference(base), "没有 difference 这个属性"),
        (lambda ours: "变好", "你的函数收 1 个"),
    ],
    "check_overrides": [
        ((["num_minibatches=16"],), "看的样本却少了"),
        ((["update_epochs=4", "num_minibatches=2"],), "比原来的大"),
        ((["num_envs=4"],), "num_envs × num_steps 要不变"),
        ((["total_timesteps=8e6"],), "总步数变了"),
        ((["update_epochs=4"],), "应当是 31232"),
        ((["update_epoch=8"],), "最接近的是 'update_epochs'"),
        ((["update_epochs"],), "键=值"),
        ((["update_epochs=["],), "库不接受"),
        (("update_epochs=8",), '["update_epochs=8"]'),
        (({"update_epochs": 8},), '["update_epochs=8"]'),
        ((8,), "要一个列表"),
        ((None,), "要一个列表"),
        (([8],), "8 不是"),
        (([("update_epochs", 8)],), "不是"),
        (([],), "应当是 31232"),
        ((...,), "换成你的答案"),
        (([...],), "换成你的答案"),
    ],
}

HARMLESS = {}
