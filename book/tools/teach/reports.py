"""三份样板报告：同一批训练写出的好的、中等的、有毛病的，和照第 16 章的评分表打的分。"""

import dataclasses
import re
from typing import NamedTuple

import numpy as np
import xarray as xr

from book.tools.teach.assignments import chapter_source
from ppo_lib.course.ch16 import BASE
from ppo_lib.course.comparison import compare
from ppo_lib.experiment import sweep
from ppo_lib.statistics import bootstrap_band, final_scores, iqm

BETA_1 = (0.5, 0.9, 0.99)
SEEDS = 70
PILOT = 10
"""前几个种子只用来试探。"""
CARED = 50
"""不到这么多分的差别，不关心。"""


def train() -> xr.Dataset:
    """三种 beta_1，各 ``SEEDS`` 个种子，CartPole 十万步；两个核上约一分半钟。"""
    return sweep(
        dataclasses.replace(BASE, num_seeds=SEEDS), progress=False, beta_1=list(BETA_1)
    )


def rubric() -> dict[str, int]:
    """评分表的各项 → 满分，取自第 16 章。"""
    table = chapter_source("16").partition("### 评分表")[2].partition("```")[0]
    return {name: int(points) for name, points in re.findall(r"^\| (\S+?)（(\d+)） \|", table, re.M)}  # fmt: skip


class Report(NamedTuple):
    """一份样板：正文，和每一项得几成（1、0.5、0）、为什么。"""

    title: str
    text: str
    marks: dict[str, tuple[float, str]]

    @property
    def score(self) -> float:
        """百分制的分数。"""
        return sum(points * self.marks[name][0] for name, points in rubric().items())


def good(runs: xr.Dataset) -> Report:
    """样样都照评分表。"""
    low_beta, usual, high_beta = final_scores(runs).sel(beta_1=list(BETA_1)).values
    pilot = compare({"试探": (low_beta[:PILOT], usual[:PILOT])})["试探"]
    needed = PILOT * ((pilot.high - pilot.low) / 2 / CARED) ** 2
    pairs = {"0.5": (low_beta, usual), "0.99": (high_beta, usual)}
    found = compare({name: (x[PILOT:], y[PILOT:]) for name, (x, y) in pairs.items()})
    scores = [float(iqm(x[PILOT:])) for x in (low_beta, usual, high_beta)]
    kl = [float(runs["approx_kl"].sel(beta_1=b).mean()) for b in BETA_1]
    guesses = (("0.5", "变好"), ("0.99", "变差"))
    judged = "，".join(
        f"{name} 猜“{guess}”，量到“{found[name].verdict}”" for name, guess in guesses
    )
    unclear = (
        "“看不出差别”是说这些种子分不清，不是说没有差别。"
        if "看不出差别" in [x.verdict for x in found.values()]
        else "差别有多大，以区间为准，不以四分位均值之差为准。"
    )
    explains = np.array_equal(np.argsort(kl), np.argsort(scores))
    text = f"""### 问题
CartPole 十万步，`beta_1` 从 0.9 改成 0.5 或 0.99，最后的回报会不会变？不到 {CARED} 分的差别不关心。

### 预测
写在训练之前：0.5 变好，0.99 变差。更新只有几十次，目标一直在变，记得太久会帮倒忙。

### 设计
只改 `beta_1`，其余都是默认，三组步数相同，种子相同。成绩是最后十分之一更新的平均回报，每个种子一个数。种子 0 到 {PILOT - 1} 只用来看区间有多宽（{pilot.high - pilot.low:.0f} 分）：要让它的一半不超过 {CARED} 分，约要 {needed:.0f} 个；用 {SEEDS - PILOT} 个**另外**的种子下结论。

### 结果
四分位均值：0.5 是 {scores[0]:.0f}，0.9 是 {scores[1]:.0f}，0.99 是 {scores[2]:.0f}。与 0.9 的差和它的 95% 区间：0.5 是 {found["0.5"]}，{found["0.5"].verdict}；0.99 是 {found["0.99"]}，{found["0.99"].verdict}。区间是各自的；“变好”“看不出差别”按 Holm 修正过，所以区间刚刚不含 0 的，仍可以是看不出差别。

### 结论
在这个任务、这个步数、默认的学习率下，{judged}。{unclear}

诊断：一次更新走得多远（平均近似 KL），0.5、0.9、0.99 依次是 {kl[0]:.4f}、{kl[1]:.4f}、{kl[2]:.4f}；成绩的次序与它{"相同，“走得远所以学得快”说得通" if explains else "不同，所以单是“走得远”解释不了"}。“记得太久帮倒忙”要另做实验（例如每次更新清空动量）才能检验，这里没有做。

### 限制
一个任务，一种步数，一个学习率；走得远近与学习率也有关，换一个学习率，次序可能不同。

### 重做
`sweep(dataclasses.replace(BASE, num_seeds={SEEDS}), beta_1=[0.5, 0.9, 0.99])`，种子从 0 数起，`BASE` 是 CartPole、十万步、默认的键。"""
    marks = {
        "问题": (1, "能由实验回答，说了多大的差别才关心。"),
        "预测": (1, "写在前面，有理由，连另一个值也猜了。"),
        "设计": (1, "只动一个键；试探的种子没有算进结论。"),
        "统计": (1, f"{SEEDS - PILOT} 个种子，四分位均值，差的区间，两个比较修正过。"),
        "结论": (1, "说到数据为止，分得清“看不出”与“没有”。"),
        "诊断": (1, "用近似 KL 解释，并说了哪一步没有检验。"),
        "可重做": (1, "配置、种子都写明了。"),
        "文字": (1, "不用问就看得懂。"),
    }
    return Report("好的一份", text, marks)


def middling(runs: xr.Dataset) -> Report:
    """做法大体对，种子太少，用眼睛比区间，话说大了。"""
    low_beta, usual, _ = final_scores(runs).sel(beta_1=list(BETA_1)).values[:, :5]
    bands = [bootstrap_band(scores) for scores in (low_beta, usual)]
    apart = bands[0][0] > bands[1][1] or bands[1][0] > bands[0][1]
    better, size = ("好", "小") if iqm(low_beta) > iqm(usual) else ("差", "大")
    text = f"""### 问题
`beta_1` 取 0.5 是不是比 0.9 好？

### 预测
会变好。

### 设计
CartPole，十万步，只改 `beta_1`，各五个种子（0 到 4）。成绩是最后十分之一更新的平均回报。

### 结果
0.5 的四分位均值是 {iqm(low_beta):.0f}，区间 [{bands[0][0]:.0f}, {bands[0][1]:.0f}]；0.9 的是 {iqm(usual):.0f}，区间 [{bands[1][0]:.0f}, {bands[1][1]:.0f}]。两个区间{"不重叠" if apart else "只重叠了一部分"}。

### 结论
0.5 明显更{better}，PPO 应当用{size}的 `beta_1`。

### 限制
种子少。

### 重做
CartPole，十万步，种子 0 到 4。"""
    marks = {
        "问题": (0.5, "能回答，但没有说任务、步数和多大的差别算数，问得太大。"),
        "预测": (0.5, "有方向，没有理由。"),
        "设计": (1, "只动一个键，步数、种子、成绩的算法都相同。"),
        "统计": (0.5, "五个种子；用眼睛比两个单独的区间，没有算差的区间。"),
        "结论": (0.5, "略有夸大：从一个任务说到了“PPO 应当”。"),
        "诊断": (0.5, "只报结果，没有解释。"),
        "可重做": (0.5, "没有说其余的键是不是默认的。"),
        "文字": (1, "看得懂。"),
    }
    return Report("中等的一份", text, marks)


def flawed(runs: xr.Dataset) -> Report:
    """挑好看的种子，用最好的一次更新，结论先行。"""
    best = runs["return"].max("update").sel(beta_1=list(BETA_1)).values  # (beta_1, seed)
    picked = np.argsort(best[2] - best[1])[::-1][:3]
    text = f"""### 问题
看看 `beta_1` 有没有用。

### 预测
0.99 会更好，与结果一致。

### 设计
试了几个值，0.99 看起来最好；学习率也顺手调小了一点，免得太抖。有几个种子没有学会，换了别的。

### 结果
0.99 的三个种子最高到过 {"、".join(f"{x:.0f}" for x in best[2][picked])}，0.9 的三个最高到过 {"、".join(f"{x:.0f}" for x in best[1][picked])}。

### 结论
动量大好，因为 0.99 记得久，梯度的噪声被平均掉了。默认的 0.9 应当改掉。

### 限制
没有。

### 重做
见代码。"""
    marks = {
        "问题": (0, "没有可以回答的问题，只是“看看”。"),
        "预测": (0, "看了结果才写。"),
        "设计": (0, "学习率也一起动了，分不出是谁的作用。"),
        "统计": (0, f"三个种子，而且是挑过的（{'、'.join(map(str, sorted(picked.tolist())))}）；成绩取最好的一次更新，人人都摸得到高分；没有区间。"),
        "结论": (0, "从挑过的三个种子得出“应当改掉”，数据不支持。"),
        "诊断": (0.5, "有一句解释，没有给任何指标。"),
        "可重做": (0, "没有写种子、学习率和用的是哪几个值。"),
        "文字": (1, "看得懂。"),
    }  # fmt: skip
    return Report("有毛病的一份", text, marks)


def reports(runs: xr.Dataset) -> str:
    """三份报告和各自的分数，Markdown。"""
    text = "# 三份打过分的样板报告\n\n同一批训练写出的三份，数都是算出来的。先让学生自己打分，再对照。\n"
    for report in (good(runs), middling(runs), flawed(runs)):
        text += f"\n## {report.title}：{report.score:g} 分\n\n{report.text}\n\n| 项 | 得分 | 为什么 |\n|---|---|---|\n"
        for name, points in rubric().items():
            share, why = report.marks[name]
            text += f"| {name} | {points * share:g}/{points} | {why} |\n"
    return text
