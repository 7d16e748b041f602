"""学习结果的总表：每一行改动原指南默认配置的几个键，训练几个种子，报告学到了什么。

    python benchmarks/learning.py                      全部，两个核上大约十分钟
    python benchmarks/learning.py --table 主表          只跑一张表
    python benchmarks/learning.py --scale 0.1           步数乘 0.1，只看能不能跑通
    python benchmarks/learning.py --out results.json    同时存成 JSON

每个种子的成绩是“最后十分之一更新的平均回报”。表里给出各种子的平均、95% 自助置信带（种子少时偏窄，
见 ppo_lib/statistics.py）、每个种子的成绩、单次更新的最好回报、到达目标的总次数。
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, NamedTuple

import numpy as np

from ppo_lib import PPOConfig, train
from ppo_lib.statistics import bootstrap_band, final_scores

SOLVING = dict(activation="tanh", ent_coef=0.05)
ALL_SAMPLES = dict(update_epochs=4, shuffle="samples")
CARTPOLE = dict(env_name="CartPole-v1")


class Row(NamedTuple):
    """总表的一行：对默认配置的改动、种子个数、每个种子的步数。"""

    name: str
    changes: dict[str, Any]
    seeds: int
    steps: float


def beta_rows(
    betas, label: str, base: dict, seeds: int, steps: float, tied: bool = False
) -> list[Row]:
    """beta_1 取几个值的几行；tied 时 beta_2 取同样的值。"""
    name = "beta_1 = beta_2" if tied else "beta_1"
    return [
        Row(
            f"{label}，{name} = {b}",
            base | {"beta_1": b} | ({"beta_2": b} if tied else {}),
            seeds,
            steps,
        )
        for b in betas
    ]


TABLES = {
    "主表": [
        Row("原指南的配置", {}, 10, 2e6),
        Row(
            "ent_coef 0.04，lr 2e-3，4 遍全体样本，观测缩放，relu",
            dict(ent_coef=0.04, lr=2e-3, obs_scaling="bounds") | ALL_SAMPLES,
            5,
            1e6,
        ),
        Row(
            "tanh，ent_coef 0.05，lr 1e-3 不退火，4 遍全体样本，梯度裁剪 0.5",
            SOLVING | ALL_SAMPLES | dict(lr=1e-3, anneal_lr=False, max_grad_norm=0.5),
            5,
            1e6,
        ),
        Row(
            "同上，但 relu",
            ALL_SAMPLES | dict(ent_coef=0.05, lr=1e-3, anneal_lr=False, max_grad_norm=0.5),
            5,
            1e6,
        ),
        Row("只改 ent_coef 0.01", dict(ent_coef=0.01), 5, 2e6),
        Row("只改 ent_coef 0.03", dict(ent_coef=0.03), 5, 2e6),
        Row("只改 ent_coef 0.05", dict(ent_coef=0.05), 5, 2e6),
        Row("只改 tanh", dict(activation="tanh"), 40, 2e6),
        Row("tanh 且 ent_coef 0.05", SOLVING, 30, 2e6),
        Row(
            "tanh 且 ent_coef 0.05，超时当作结束",
            SOLVING | dict(bootstrap_truncation=False),
            10,
            2e6,
        ),
        Row("原指南的奖励整形 0.01·Δx", dict(reward_shaping="position"), 4, 1e6),
        Row(
            "机械能势函数整形，观测缩放，lr 2e-3",
            dict(reward_shaping="energy", obs_scaling="bounds", lr=2e-3),
            10,
            2e6,
        ),
        Row(
            "同上，但终止状态的势也照算",
            dict(reward_shaping="energy_keep_terminal", obs_scaling="bounds", lr=2e-3),
            10,
            2e6,
        ),
        Row("CartPole-v1，原指南的配置", CARTPOLE, 10, 1e6),
        Row("Acrobot-v1，原指南的配置", dict(env_name="Acrobot-v1"), 5, 1e6),
        Row(
            "Breakout-MinAtar，64 个环境，ent_coef 0.01",
            dict(env_name="Breakout-MinAtar", num_envs=64, ent_coef=0.01),
            5,
            3e6,
        ),
    ],
    "Critic 的初值": [
        Row(
            f"tanh 且 ent_coef 0.05，价值头偏置从 {bias} 开始",
            SOLVING | dict(critic_bias=bias),
            5,
            1e6,
        )
        for bias in (0, -50, -100, -150, 50, 100, 200)
    ]
    + [
        Row(
            f"relu 且 ent_coef 0.05，价值头偏置从 {bias} 开始",
            dict(ent_coef=0.05, critic_bias=bias),
            5,
            1e6,
        )
        for bias in (100, 500)
    ],
    "beta_1": [
        *beta_rows((0, 0.5, 0.9, 0.95, 0.99, 0.999), "tanh 且 ent_coef 0.05", SOLVING, 5, 1e6),
        *beta_rows((0.9, 0.99, 0.999), "tanh 且 ent_coef 0.05", SOLVING, 5, 1e6, tied=True),
        *beta_rows((0, 0.5, 0.9, 0.99, 0.999), "CartPole-v1", CARTPOLE, 5, 2e5),
    ],
}


def measure(row: Row, scale: float = 1.0) -> dict[str, Any]:
    """训练一行，返回它的成绩。"""
    steps = max(int(row.steps * scale), 4096)
    start = time.perf_counter()
    run = train(
        PPOConfig(**row.changes, total_timesteps=steps, num_seeds=row.seeds), progress=False
    )
    returns = run.metrics["return"]  # (seed, update)
    scores = final_scores(run.metrics).values
    low, high = bootstrap_band(scores, np.mean, draws=10_000)
    return dict(
        name=row.name,
        changes=row.changes,
        seeds=row.seeds,
        steps=steps,
        scores=scores.round(2).tolist(),
        mean=float(scores.mean()),
        band=[float(low), float(high)],
        best_update=float(returns.max()),
        goals=int(run.metrics["goals_reached"].sum()),
        seconds=round(time.perf_counter() - start, 1),
        made_with={name: run.metrics.attrs[name] for name in ("ppo_lib", "jax", "device")},
    )


def format_result(result: dict[str, Any]) -> str:
    """一行成绩的 Markdown。"""
    scores = result["scores"]
    return (
        f"| {result['name']} | {result['seeds']} × {result['steps'] / 1e6:g}M | {result['mean']:.1f} "
        f"| [{result['band'][0]:.1f}, {result['band'][1]:.1f}] | {'，'.join(f'{x:.0f}' for x in sorted(scores))} "
        f"| {result['best_update']:.1f} | {result['goals']} | {result['seconds']:.0f} |"
    )


HEADER = (
    "| 改动 | 种子 × 步数 | 平均 | 95% 置信带 | 各个种子 | 最好的一次更新 | 到达目标 | 秒 |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description="打印学习结果的总表")
    parser.add_argument("--table", choices=TABLES, help="只跑一张表")
    parser.add_argument("--scale", type=float, default=1.0, help="步数乘这个数")
    parser.add_argument("--out", help="结果另存为 JSON")
    args = parser.parse_args()

    results = []
    for title in [args.table] if args.table else TABLES:
        print(f"\n## {title}\n\n{HEADER}", flush=True)
        for row in TABLES[title]:
            results.append(measure(row, args.scale) | {"table": title})
            print(format_result(results[-1]), flush=True)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(results, file, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
