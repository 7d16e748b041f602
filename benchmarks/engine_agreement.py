"""同样的科学：网页里的引擎与 ppo_lib 各训练许多种子，学习曲线的分布一样吗？

    python benchmarks/engine_agreement.py                     三种配置，各 20 个种子；要 node，两个核上十来分钟
    python benchmarks/engine_agreement.py --only CartPole     只做名字里有 CartPole 的
    python benchmarks/engine_agreement.py --seeds 4           少几个种子，看看能不能跑通

两边的随机数不同，所以一个种子与一个种子不能比，只能比分布。一个种子的成绩是整段的平均回报（学习曲线下的面积）。

- 学得会的配置，要两条都成立才算一致：Kolmogorov–Smirnov 双侧检验在 1% 的水平上看不出差别；
  平均成绩之差的 90% 置信区间（Welch）整个落在 ± margin 之内，也就是 5% 水平的等价检验（TOST）。
- 学不会的配置，要两边每一个种子的最后十分之一都不高于 -199。

结果见 engine.md。
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from ppo_lib import PPOConfig, train
from ppo_lib.statistics import final_scores, iqm, whole_run_scores
from ppo_lib.widgets import engine

KS_LEVEL = 0.01

RUN = """
const fs = require("fs");
const [script, job] = process.argv.slice(2).map((path) => fs.readFileSync(path, "utf8"));
const { createTrainer } = new Function(`${script}; return { createTrainer };`)();
const { config, seeds } = JSON.parse(job);
const curves = seeds.map((seed) => {
  const trainer = createTrainer(config, seed);
  return Array.from({ length: trainer.num_updates }, () => trainer.update().return);
});
process.stdout.write(JSON.stringify(curves)); // NaN 写成 null
"""


class Case(NamedTuple):
    """一种配置；margin 是平均成绩之差允许的范围，None 表示两边都应当学不会。"""

    changes: dict
    steps: float
    margin: float | None


CASES = {
    "CartPole-v1": Case(dict(env_name="CartPole-v1"), 2e5, 30.0),
    "MountainCar-v0，tanh，ent_coef 0.05": Case(
        dict(activation="tanh", ent_coef=0.05), 1e6, 15.0
    ),
    "MountainCar-v0，原指南的配置": Case({}, 1e6, None),
}


def config(case: Case, seeds: int) -> PPOConfig:
    return PPOConfig(
        **case.changes, total_timesteps=case.steps, num_seeds=seeds, tracker="none"
    )


def engine_curves(cfg: PPOConfig) -> xr.Dataset:
    """引擎在 Node 里训练 cfg.seeds，回报 (seed, update)。"""
    settings = {name: getattr(cfg, name) for name in engine.KEYS}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("run.js", "engine.js", "job.json")]
        job = json.dumps({"config": settings, "seeds": cfg.seeds})
        for path, text in zip(paths, (RUN, engine.engine_script(), job)):
            path.write_text(text, encoding="utf-8")
        result = subprocess.run(["node", *map(str, paths)], check=True, capture_output=True)
    rows = np.array(json.loads(result.stdout), float)
    return xr.Dataset({"return": (("seed", "update"), rows)})


class Agreement(NamedTuple):
    """两组成绩的比较。"""

    p_value: float  # Kolmogorov–Smirnov 双侧
    low: float  # 平均成绩之差（引擎 - 库）的 90% 置信区间
    high: float


def agreement(of_engine, of_library) -> Agreement:
    """of_engine、of_library：(seeds,) 每个种子的成绩。"""
    p_value = stats.ks_2samp(of_engine, of_library).pvalue
    interval = stats.ttest_ind(of_engine, of_library, equal_var=False).confidence_interval(0.9)
    return Agreement(float(p_value), float(interval.low), float(interval.high))


def agrees(found: Agreement, margin: float) -> bool:
    return found.p_value > KS_LEVEL and -margin < found.low and found.high < margin


def report(name: str, case: Case, seeds: int) -> str:
    """训练一种配置，写成表里的一行。"""
    start = time.perf_counter()
    cfg = config(case, seeds)
    runs = {"引擎": engine_curves(cfg), "ppo_lib": train(cfg, progress=False).metrics}
    whole = {who: whole_run_scores(run).values for who, run in runs.items()}
    last = {who: final_scores(run).values for who, run in runs.items()}
    cells = [f"{iqm(whole[who]):.1f}（{np.std(whole[who], ddof=1):.1f}），{iqm(last[who]):.1f}" for who in runs]  # fmt: skip
    if case.margin is None:
        verdict = "都没有学会" if max(map(np.max, last.values())) <= -199 else "不一致"
        test = f"最后的成绩最高 {max(map(np.max, last.values())):.1f}"
    else:
        found = agreement(*whole.values())
        verdict = "一致" if agrees(found, case.margin) else "不一致"
        test = f"KS p = {found.p_value:.2f}；差 [{found.low:.1f}, {found.high:.1f}]，许 ±{case.margin:g}"
    seconds = time.perf_counter() - start
    return f"| {name}，{case.steps:g} 步 | {' | '.join(cells)} | {test} | {verdict} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default="", help="只做名字里有这几个字的")
    arguments = parser.parse_args()
    print("| 配置 | 引擎：整段 IQM（标准差），最后 | ppo_lib | 检验 | 结论 | 秒 |")
    print("|---|---|---|---|---|---|")
    for name, case in CASES.items():
        if arguments.only in name:
            print(report(name, case, arguments.seeds), flush=True)


if __name__ == "__main__":
    main()
