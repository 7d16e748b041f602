"""第 9 章的答案。"""

import dataclasses
import functools
import tempfile
import warnings
from pathlib import Path

import numpy as np
from tiny import TINY

from ppo_lib import evaluate, train
from ppo_lib.config import PPOConfig
from ppo_lib.optimizer import annealed_lr


class Lazy(tuple):
    """一组参数，用到时才做出来：这里要训练几次。"""

    def __new__(cls, make):
        lazy = super().__new__(cls)
        lazy.make = make
        return lazy

    def __iter__(self):
        return iter(self.make())


FOLDERS = tempfile.TemporaryDirectory()
TINY = dataclasses.replace(TINY, anneal_lr=False)
HALF = dataclasses.replace(TINY, total_timesteps=30 * 32)


@functools.cache
def by_fewer_steps(name="fewer"):
    """先只要一半的步数，再加长。"""
    folder = Path(FOLDERS.name) / name
    part = train(HALF, run_dir=folder, progress=False)
    return folder, part, train(TINY, run_dir=folder, resume=True, progress=False)


@functools.cache
def by_interrupt():
    """第一块之后按 Ctrl-C；文字写的路径。"""
    folder = str(Path(FOLDERS.name) / "interrupted")

    def stop(metrics):
        raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        part = train(TINY, run_dir=folder, progress=False, on_chunk=stop)
    return folder, part, train(TINY, run_dir=folder, resume=True, progress=False)


@functools.cache
def without_stopping():
    """一口气训练完，再“接”一次。"""
    folder = Path(FOLDERS.name) / "whole"
    whole = train(TINY, run_dir=folder, progress=False)
    return folder, whole, train(TINY, run_dir=folder, resume=True, progress=False)


def fewer_and(change):
    """by_fewer_steps 的 (目录, 半路的, 训练完的) → 交上去的三样。"""
    return Lazy(lambda: change(*by_fewer_steps()))


def other_seed():
    """另一次训练的策略，种子的编号照旧写成 0 和 1。"""
    run = train(dataclasses.replace(TINY, seed=7), progress=False)
    return dataclasses.replace(run.policy(), seeds=(0, 1))


def by_pairs(scores, line):
    """逐对看：全开的和少一个的；返回列表。"""
    n = max(map(len, scores))
    (everything,) = (on for on in scores if len(on) == n)
    found = []
    for on, score in scores.items():
        if len(on) == n - 1 and score < line:
            found.extend(everything - on)
    return found


def by_largest(scores, line):
    return frozenset(
        filter(lambda key: scores[max(scores, key=len) - {key}] < line, max(scores, key=len))
    )


def one_by_one(evaluation):
    rows = evaluation.episodes["truncated"].values
    return [sum(not late for late in row) / len(row) for row in rows]


STEPS = (2_000_000, 1_000_000)


def without_the_best(scores, line):
    """错的：在最好的组合上逐个关，不是在全开的上。"""
    best = max(scores, key=scores.get)
    return {key for key in best if scores[best - {key}] < line}


RIGHT = {
    "check_values": [
        (-100, -86.6),
        (-1 / (1 - 0.99), -sum(0.99**k for k in range(200))),
        ([np.float32(-100), np.float32(-86.602)],),
        ("−100", "-87"),
    ],
    "check_learning_rates": [
        (0.004 * (1 - 200 / 976), 0.004 * (1 - 200 / 488)),
        tuple(annealed_lr(4e-3, 200, PPOConfig(total_timesteps=n).num_updates) for n in STEPS),
        (0.00318, 0.002361),
        ("3.2e-3", "2.4e-3"),
    ],
    "check_necessary": [by_pairs, by_largest],
    "check_arrival_rate": [
        one_by_one,
        lambda evaluation: (~evaluation.episodes["truncated"].values).mean(axis=1),
        lambda evaluation: (~evaluation.episodes.truncated).mean("episode"),
    ],
    "check_resumed": [
        fewer_and(lambda folder, part, run: (folder, run, evaluate(run.policy()))),
        Lazy(
            lambda: (
                by_interrupt()[0],
                by_interrupt()[2],
                evaluate(by_interrupt()[2].policy(), 30, greedy=False, seed=5),
            )
        ),
    ],
}

WRONG = {
    "check_values": [
        ((100, 86.6), "负号"),
        ((-86.6, -86.6), "还有以后"),
        ((-86.6, -100), "写反"),
        ((-100, -13.4), "尾巴"),
        ((-100, -86.467), "少加了一项"),
        ((-100, -50), "等比数列"),
        ((-50, -86.6), "解出来"),
        ((-100, ...), "换成你的答案"),
    ],
    "check_learning_rates": [
        ((0.002361, 0.00318), "写反"),
        ((0.00318, 0.00318), "另一种总步数"),
        ((0.00318, 0.004 * (1 - 200 / 489)), "向下取整，你多算"),
        (tuple(0.004 * (1 - 200 * 128 / n) for n in STEPS), "16 个环境"),
        ((0.004 * (1 - 200 / 976 / 8), 0.00236), "8 步梯度"),
        ((0.00318, 0.00159), "在 0.002 和 0.004 之间"),
        ((4e-3, 4e-3), "没有退火"),
        ((0.004 * (1 - 200 / 2e6), 0.004 * (1 - 200 / 1e6)), "不是环境步数"),
        ((0.004 * (1 - 199 / 976), 0.004 * (1 - 199 / 488)), "差了一次"),
        ((1.0, 2.0), "先算更新次数"),
        ((..., ...), "换成你的答案"),
    ],
    "check_necessary": [
        (without_the_best, "应当是"),
        (lambda scores, line: {"activation"}, "应当是"),
        (lambda scores, line: by_pairs(scores, -150), "应当是"),
        (lambda scores, line: print(by_pairs(scores, line)), "print"),
        (lambda scores, line: len(by_pairs(scores, line)), "应当是"),
        (lambda scores: set(), "你的函数收 1 个"),
    ],
    "check_arrival_rate": [
        (lambda e: (e.episodes["episode_length"] < 200).mean("episode"), "恰好在第 200 步"),
        (lambda e: (~e.episodes["truncated"]).sum("episode") / 4, "应当是"),
        (lambda e: arrival_of_three(e), "应当是"),
        (lambda e: np.zeros(3), "总是 (3,) 的形状"),
        (lambda e: e.episodes["terminated"], "没有 'terminated' 这个"),
        (lambda e: e.mean and None, "没有返回值"),
    ],
    "check_resumed": [
        ((..., ..., ...), "换成你的答案"),
        (fewer_and(lambda folder, part, run: (run, folder, evaluate(run.policy()))), "第一样"),
        (fewer_and(lambda folder, part, run: (folder, run.policy(), evaluate(run.policy()))), "第二样"),
        (fewer_and(lambda folder, part, run: (folder, run, run.metrics["return"])), "第三样"),
        (Lazy(lambda: (*by_interrupt()[:2], evaluate(by_interrupt()[1].policy()))), "没有做完"),
        (Lazy(lambda: (*without_stopping()[:2], evaluate(without_stopping()[1].policy()))), "一口气"),
        (Lazy(lambda: (*without_stopping()[::2], evaluate(without_stopping()[2].policy()))), "已经做完了"),
        (fewer_and(lambda folder, part, run: (folder.parent, run, evaluate(run.policy()))), "没有训练存下的策略"),
        (fewer_and(lambda folder, part, run: (without_stopping()[0], dataclasses.replace(run, params=part.params), evaluate(run.policy()))), "同一次训练"),
        (fewer_and(lambda folder, part, run: (folder, run, evaluate(part.policy()))), "第 30 次更新之后"),
        (fewer_and(lambda folder, part, run: (folder, run, evaluate(run.policy(), 5))), "你评了 5 个"),
        (fewer_and(lambda folder, part, run: (folder, run, evaluate(other_seed()))), "别的策略"),
    ],
}  # fmt: skip


def arrival_of_three(evaluation):
    """写死了三个种子。"""
    return one_by_one(evaluation)[:3]


HARMLESS = {}
