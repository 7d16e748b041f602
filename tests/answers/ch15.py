"""第 15 章的答案。"""

import numpy as np
from scipy import stats

from ppo_lib.statistics import iqm


def with_loops(ours, base):
    won = sum((a > b) + 0.5 * (a == b) for a in ours for b in base)
    return won / (len(ours) * len(base))


def by_rank(ours, base):
    return stats.mannwhitneyu(ours, base).statistic / (len(ours) * len(base))


def rel_by_steps(t, T, beta_1, beta_2):
    first = (1 - beta_1**T) / (1 - beta_1**t)
    second = (1 - beta_2**t) / (1 - beta_2**T)
    return first * np.sqrt(second)


def rel_in_f(t, T, beta_1, beta_2):
    def f(n):
        return np.sqrt(1 - beta_2**n) / (1 - beta_1**n)

    return f(t) / f(T)


def share_in_lists(values, zero, base):
    low, high = iqm(zero), iqm(base)
    return [(x - low) / (high - low) for x in values]


def share_by_interpolation(values, zero, base):
    low = stats.trim_mean(zero, 0.25)
    return np.asarray(values) / (iqm(base) - low) - low / (iqm(base) - low)


RIGHT = {
    "check_chance": [with_loops, by_rank],
    "check_rel": [rel_by_steps, rel_in_f],
    "check_share": [share_in_lists, share_by_interpolation],
}
