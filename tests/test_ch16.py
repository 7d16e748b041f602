"""第 16 章：猜的五种改动，按差的区间、一起修正之后下结论。"""

import numpy as np

from ppo_lib.course.ch16 import CHANGES, judge_predictions
from ppo_lib.course.comparison import compare

GUESS = dict.fromkeys(CHANGES, "看不出差别") | {"lr = 0.0001": "变差"}


def test_predictions_are_judged_by_the_interval_of_the_difference():
    rng = np.random.default_rng(0)
    scores = {"默认": rng.normal(200, 20, 10)}
    for name, mean in zip(CHANGES, (100, 200, 201, 199, 300)):
        scores[name] = rng.normal(mean, 20, 10)
    found = [row[2] for row in judge_predictions(GUESS, scores)]
    assert found[0] == "变差" and found[4] == "变好" and "看不出差别" in found[1:4]


def test_predictions_are_judged_together():
    """差刚刚显得出来的一种：单独比是“变好”，五种一起比，修正后看不出差别。"""
    base = np.arange(10.0)
    scores = {"默认": base} | {name: base + 0.1 for name in CHANGES}
    scores["update_epochs = 4"] = base + 3.75
    alone = compare({"一种": (scores["update_epochs = 4"], base)})["一种"]
    assert alone.verdict == "变好"
    assert judge_predictions(GUESS, scores)[-1][2] == "看不出差别"
