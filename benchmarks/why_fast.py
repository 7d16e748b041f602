"""快写法各值多少：一次去掉一样，别的不动，与库里的写法在同一个进程里轮流训练。

    python benchmarks/why_fast.py        约三分钟，机器要空着；写进 book/data/why_fast.json，书里的“为什么这么快”读它

每一轮里，去掉一样的和库里的写法挨着各训练一遍，先后轮换，比值在同一轮里算；报各轮的中位数、最小、最大。
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
from pathlib import Path

from ppo_lib import PPOConfig, train
from ppo_lib.course.exercises import edited
from ppo_lib.course.experiment import patched
from ppo_lib.rollout import collect_rollout

OUT = Path(__file__).parents[1] / "book/data/why_fast.json"

DRAWS_FIRST = """draws = in_chunks(
        jax.vmap(lambda key: draw_step(key, env, num_envs)),
        jax.random.split(key, num_steps),
        max(1, DRAW_ROWS // num_envs),
    )"""
TAKE = "noise_t, step_keys_t, fresh_start = inputs"
draw_as_you_go = edited(
    edited(collect_rollout, DRAWS_FIRST, "draws = jax.random.split(key, num_steps)"),
    TAKE,
    "noise_t, step_keys_t, fresh_start = draw_step(inputs, env, num_envs)",
)

WITHOUT = {  # 去掉什么 → (train 的参数, 换掉的函数)
    "成员一个一个训练，几个核并排；换成 vmap 成一批": (dict(parallel="vmap"), {}),
    "权重的梯度先把转置写进内存；换成普通的乘法": (
        {},
        {"ppo_lib.networks.cpu.matmul": lambda x, kernel: x @ kernel},
    ),
    "大的一步切成小块；换成一次算完": (
        {},
        {"ppo_lib.rollout.in_chunks": lambda f, x, size: f(x)},
    ),
    "随机数在走之前一次抽好；换成走一步抽一步": (
        {},
        {"ppo_lib.training.collect_rollout": draw_as_you_go},
    ),
}


def trainer(cfg: PPOConfig, options: dict, replaced: dict):
    """训练一遍，返回用了几秒；编译、取出编译好的程序，都不算。"""

    def run() -> float:
        with patched(replaced):
            return train(cfg, progress=False, **options).metrics.attrs["run_seconds"]

    return run


def ratios(cfg: PPOConfig, rounds: int) -> dict[str, list[float]]:
    """去掉什么 → 各轮里，去掉以后的秒数除以库里的写法的秒数。"""
    usual = trainer(cfg, {}, {})
    usual()
    found = {}
    for name, (options, replaced) in WITHOUT.items():
        without = trainer(cfg, options, replaced)
        without()
        found[name] = []
        for i in range(rounds):
            times = {run: run() for run in ((usual, without) if i % 2 else (without, usual))}
            found[name].append(times[without] / times[usual])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=300, help="10 个种子时做三分之一")
    arguments = parser.parse_args()
    result = {
        "command": "python benchmarks/why_fast.py",
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "rounds": arguments.rounds,
        "seeds": {},
    }
    for seeds in (1, 10):
        cfg = PPOConfig(
            env_name="CartPole-v1",
            total_timesteps=arguments.updates * 2048 // (1 if seeds == 1 else 3),
            num_seeds=seeds,
        )
        found = ratios(cfg, arguments.rounds)
        result["seeds"][seeds] = {
            name: [round(f(all_), 3) for f in (statistics.median, min, max)]
            for name, all_ in found.items()
        }
        for name, (middle, low, high) in result["seeds"][seeds].items():
            print(f"{seeds} 个种子，{name}：{middle:.2f} [{low:.2f}, {high:.2f}]", flush=True)
    OUT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
