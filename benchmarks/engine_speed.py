"""网页里的引擎有多快：在无界面的 Chromium 里，一个 Worker 每秒走多少环境步。

    python benchmarks/engine_speed.py                 约两分钟；要 Chromium（环境变量 CHROMIUM 可以指定）
    python benchmarks/engine_speed.py --repeats 20    机器忙时多试几次

原指南的一次更新：16 × 128 步，2 遍 × 4 个小批次，64-64 的两个网络。几种情形轮流各做一小段，取各自最快的一段：
机器忙的时候，慢的那些段说明的是别的程序。最后一列是与有 SIMD 的同一情形的比；CartPole 还与 engine_plain.js 里普通 JavaScript 写的
同一个算法比。另外报告：CartPole 的平均回报
第一次过 475 要几秒，和那时页面每秒的帧数。结果见 engine.md。
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from ppo_lib.widgets import engine

CASES = [
    (env, activation, build)
    for env, activation in [
        ("CartPole-v1", "relu"),
        ("MountainCar-v0", "tanh"),
        ("Acrobot-v1", "relu"),
    ]
    for build in engine.BUILDS
]
PLAIN_JS = ("CartPole-v1", "relu", "普通 JavaScript")

RACE = """
self.onmessage = ({ data: { cases, repeats, updates } }) => {
  const config = { total_timesteps: 2e6 };
  const trainers = cases.map(([env_name, activation, build]) =>
    createTrainer({ ...config, env_name, activation }, 0, build));
  trainers.push(createPlainTrainer());
  for (const trainer of trainers) trainer.update(); // 先热一热
  const best = trainers.map(() => 0);
  for (let i = 0; i < repeats; i++) {
    trainers.forEach((trainer, j) => {
      const start = performance.now();
      for (let k = 0; k < updates; k++) trainer.update();
      best[j] = Math.max(best[j], (updates * 2048) / (performance.now() - start));
    });
  }
  self.postMessage(best);
};
"""

IN_WORKER = """([source, message]) => new Promise((resolve, reject) => {
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  worker.onerror = (event) => reject(event.message);
  worker.onmessage = ({ data }) => resolve(data);
  worker.postMessage(message);
})"""

TO_SOLVED = """async ([source, runs, cores]) => {
  const solved = [];
  let frames = 0, seconds = 0;
  const count = () => { frames++; requestAnimationFrame(count); };
  requestAnimationFrame(count);
  for (let first = 0; first < runs; first += cores) {
    const seeds = Array.from({ length: cores }, (_, i) => first + i);
    const start = performance.now();
    const found = {};
    const ended = new Set();
    await new Promise((resolve) => {
      const pool = createPool(() => source, (message) => {
        for (const { seed, metrics } of message.rows ?? [])
          if (metrics.return >= 475) found[seed] ??= (performance.now() - start) / 1000;
        if (message.kind === "done") ended.add(message.seed);
        if (seeds.every((seed) => seed in found || ended.has(seed))) {
          pool.dispose();
          resolve();
        }
      });
      pool.start({ env_name: "CartPole-v1", total_timesteps: 200000 }, seeds);
    });
    seconds += (performance.now() - start) / 1000;
    solved.push(...Object.values(found));
  }
  return { solved, fps: frames / seconds };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--updates", type=int, default=10, help="一小段做几次更新")
    parser.add_argument("--runs", type=int, default=40, help="CartPole 训练几个种子")
    arguments = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        race = {"cases": CASES, "repeats": arguments.repeats, "updates": arguments.updates}
        plain_js = Path(__file__).with_name("engine_plain.js").read_text(encoding="utf-8")
        script = "\n".join([engine.engine_script(), plain_js, RACE])
        best = page.evaluate(IN_WORKER, [script, race])
        print(f"Chromium {browser.version}；每种取 {arguments.repeats} 段里最快的\n")
        print("| 环境 | 激活函数 | 编译 | 千步/秒 | 比有 SIMD 的 |\n|---|---|---|---|---|")
        for (env, activation, build), speed in zip([*CASES, PLAIN_JS], best):
            fastest = best[CASES.index((env, activation, "simd"))]
            print(f"| {env} | {activation} | {build} | {speed:.0f} | {speed / fastest:.2f} |")

        page.add_script_tag(content=engine.read("pool.js"))
        cores = os.cpu_count() or 1
        source = engine.worker_script()
        found = page.evaluate(TO_SOLVED, [source, arguments.runs, cores])
        low, middle, high = np.quantile(found["solved"], [0, 0.5, 1])
        print(
            f"\nCartPole，{arguments.runs} 个种子，{cores} 个一起：一次更新的平均回报第一次过 475，"
            f"20 万步之内有 {len(found['solved'])} 个，用了 {low:.1f} 到 {high:.1f} 秒，中位数 {middle:.1f}；"
            f"训练时页面 {found['fps']:.0f} 帧/秒"
        )
        browser.close()


if __name__ == "__main__":
    main()
