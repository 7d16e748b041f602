"""一份笔试和答案：数由种子定，答案由库算出，换一个种子就是另一份卷。"""

from typing import NamedTuple

import numpy as np

from ppo_lib.advantage import td_error
from ppo_lib.course.ch06 import gae_inputs, one_env_gae
from ppo_lib.course.ch07 import slope
from ppo_lib.course.exercises.sameness import show
from ppo_lib.loss import clipped_objective
from ppo_lib.optimizer import adam_step
from ppo_lib.statistics import holm


class Question(NamedTuple):
    """一道题。"""

    points: int
    text: str
    answer: str


def table(heads: list[str], rows) -> str:
    """Markdown 的表。"""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def ask_gae(rng) -> Question:
    """七步里有终止也有截断，手算 δ 和优势。"""
    cases = [
        case
        for case in gae_inputs(rng)
        if len(case[0]) == 7 and case[3].any() and case[4].any() and 0 < case[-1] < 1
    ]
    reward, value, next_value, terminated, truncated, gamma, gae_lambda = rng.choice(
        np.array(cases, object)
    )
    ends = np.select([terminated, truncated], ["终止", "截断"], "")
    rows = zip(range(1, 99), *map(np.round, (reward, value, next_value), [1] * 3), ends)
    delta = td_error(reward, value, next_value, terminated, gamma)
    advantage = one_env_gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda)
    text = f"$\\gamma = {gamma:g}$，$\\lambda = {gae_lambda:g}$。算出每一步的 $\\delta_t$ 和 $\\hat A_t$（到小数点后两位），并说出第几步的掩码各遮住了什么。\n\n"
    text += table(["步", "$r$", "$V(s)$", "$V(s')$", "结尾"], rows)
    answer = f"δ = {show(np.round(delta, 2))}；Â = {show(np.round(advantage, 2))}。终止的一步，δ 里不接 V(s′)，优势也断开；截断的一步只断开优势；最后一步后面没有优势可加。δ 和 Â 各占一半，每步等分；掩码说错一处扣 2 分。"
    return Question(20, text, answer)


def ask_clip(rng) -> Question:
    """六个样本，裁剪目标和它的导数。"""
    ratio = rng.permutation([0.5, 0.7, 0.9, 1.1, 1.3, 1.5])
    advantage = rng.permutation([-3, -2, -1, 1, 2, 3])
    values = np.asarray(clipped_objective(ratio, advantage, 0.2), float).round(2)
    slopes = np.asarray(slope(ratio, advantage, 0.2), float)
    text = "$\\varepsilon = 0.2$。填出每个样本的裁剪目标，和它对 $r$ 的导数。\n\n"
    text += table(["样本", "$r$", "$\\hat A$", "目标", "导数"], [(i, r, a, "", "") for i, (r, a) in enumerate(zip(ratio, advantage), 1)])  # fmt: skip
    answer = f"目标 {show(values)}；导数 {show(slopes)}。每格 1.5 分。界外而导数不是 0 的样本最要紧：它们没有裁剪。"
    return Question(18, text, answer)


def ask_adam(rng) -> Question:
    """两步 Adam，手算。"""
    first, second = rng.choice([-2.0, -1.0, 1.0, 2.0], 2)
    settings = dict(lr=0.1, beta_1=0.5, beta_2=0.75, eps=0.0)
    param, mu, nu = adam_step(1.0, first, 0.0, 0.0, 1, **settings)
    param_2, mu_2, nu_2 = adam_step(param, second, mu, nu, 2, **settings)
    text = f"参数从 1 开始，两步的梯度依次是 {first:g} 和 {second:g}。`lr` = 0.1，`beta_1` = 0.5，`beta_2` = 0.75，`eps` = 0。写出每一步之后的 $m$、$v$ 和参数，有偏差修正。"
    answer = f"第 1 步：m = {mu:g}，v = {nu:g}，参数 {param:.4f}；第 2 步：m = {mu_2:g}，v = {nu_2:g}，参数 {param_2:.4f}。每个数 2.5 分。第一步总是走恰好一个学习率。"
    return Question(15, text, answer)


def ask_holm(rng) -> Question:
    """四个比较一起修正。"""
    p = rng.permutation([rng.integers(2, 12) / 1000, rng.integers(14, 24) / 1000, 0.03, 0.2])
    corrected = holm(p)
    passed = [str(i) for i, x in enumerate(corrected, 1) if x < 0.05]
    text = f"四种改动各与默认的比，p 值依次是 {'、'.join(f'{x:g}' for x in p)}。按 Holm 修正，写出修正后的 p 值；哪几种可以说“有差别”（0.05）？其余的应当怎样写？"
    answer = f"修正后依次是 {'、'.join(f'{x:g}' for x in np.round(corrected, 4))}；有差别的是第 {'、'.join(passed) or '（没有）'} 种。其余写“看不出差别”，不写“没有差别”。每个 p 值 2 分，结论 2 分，写法 2 分。"
    return Question(12, text, answer)


SHORT = (
    (
        "有人说：$\\lambda = 1$ 时优势的估计没有偏差，所以总该取 1。哪里不对？",
        "方差大：后面每一步的随机都加了进来；而且“无偏”只对动作之间的差成立，每个优势本身仍差着 Critic 的误差。",
    ),
    (
        "回报一直在涨，解释方差一直在 0 附近。说明什么？要不要管？",
        "Critic 没有学到东西，优势的方差因此大；回报仍会涨，但多半比应有的慢。要管：查 `vf_coef`、价值损失和目标。",
    ),
    (
        "两组各五个种子，两条置信带重叠。能不能说两种做法一样好？下一步做什么？",
        "不能。要看的是差的区间；重叠的两条带，差的区间也可能不含 0。先算差的区间，太宽就用另外的种子，个数由关心的差别定。",
    ),
    (
        "熵很快降到 0，回报却很低。多半发生了什么？动哪个键，往哪边？",
        "策略太早认定了一个动作，不再探索。加大 `ent_coef`；学习率太大也会这样，看近似 KL 是不是很大。",
    ),
    (
        "截断被当成了终止，训练会怎样错？在哪一类任务上看得出来？",
        "截断那一步的目标少了 γV(s′)：奖励是正的，价值就估得偏低；是负的，就偏高。回合常常因超时结束、而以后还有奖励或惩罚的任务上看得出，如 MountainCar。",
    ),
    (
        "只裁剪概率比、不取较小者，少了什么？举一个样本。",
        "优势为负而概率比已经太大（或优势为正而太小）的样本，裁剪后导数是 0，没有了往回拉的梯度。例：A = -1，r = 1.5。",
    ),
)
"""简答题的题库；每份卷取三道。"""

CRITIQUE = Question(
    20,
    """找出下面这份报告的四处毛病，每处说出为什么不行、应当怎样做。

> 我想知道 `num_envs` 从 16 加到 64 好不好。64 的一组同时把学习率乘了 2，因为批次大了。两组各训练十个种子；64 的一组有两个种子崩了，我重跑了它们。
> 成绩取训练中最高的一次回报。64 的平均是 487，16 的是 471，所以 64 更好。除了 `num_envs`，我这一周还试了九种改动，别的都没有用。""",
    "一，学习率也动了，分不出是谁的作用：只动一个键，或者再加一组只动学习率的。"
    "二，只给一组重跑了崩掉的种子：哪些种子算数要事先定，两组一样。"
    "三，取最高的一次回报，人人都摸得到高分：用最后十分之一或整段的平均。"
    "四，只比了两个平均，没有区间；而且一共比了十样，没有修正。"
    "每处 5 分：说出毛病 3 分，说出该怎样做 2 分。",
)


def questions(seed: int) -> list[Question]:
    """种子 seed 的一份卷。"""
    rng = np.random.default_rng(seed)
    asked = [ask(rng) for ask in (ask_gae, ask_clip, ask_adam, ask_holm)]
    asked += [Question(5, *SHORT[i]) for i in sorted(rng.choice(len(SHORT), 3, replace=False))]
    return [*asked, CRITIQUE]


def exam(seed: int) -> tuple[str, str]:
    """(卷子, 答案)，Markdown。"""
    asked = questions(seed)
    paper = f"# 笔试\n\n{sum(q.points for q in asked)} 分，可以用计算器和一页手写的公式。\n"
    answers = f"# 笔试的答案\n\n卷子的种子是 {seed}：换一个种子，就是另一份卷（`python -m book.tools.teach.pack 种子`）。\n"
    for i, question in enumerate(asked, 1):
        paper += f"\n**{i}.**（{question.points} 分）{question.text}\n"
        answers += f"\n**{i}.** {question.answer}\n"
    return paper, answers
