"""网页里的引擎有多快：在无界面的 Chromium 里，一个 Worker 每秒走多少环境步。

    python benchmarks/engine_speed.py                 约一分钟；要 Chromium（环境变量 CHROMIUM 可以指定）
    python benchmarks/engine_speed.py --repeats 20    机器忙时多试几次

原指南的一次更新：16 × 128 步，2 遍 × 4 个小批次，64-64 的两个网络。几种情形轮流各做一小段，取各自最快的一段：
机器忙的时候，慢的那些段说明的是别的程序。最后一列是与有 SIMD 的同一情形的比。另外报告：几个 Worker 一起训练时
页面每秒的帧数，和 CartPole 的平均回报第一次过 475 要几秒。结果见 engine.md。
"""

from __future__ import annotations

import argparse
import json
import os
import shutil

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

RACE = """
self.onmessage = ({ data: { cases, repeats, updates } }) => {
  const config = { total_timesteps: 2e6 };
  const trainers = cases.map(([env_name, activation, build]) =>
    createTrainer({ ...config, env_name, activation }, 0, build));
  for (const trainer of trainers) trainer.update(); // 先热一热
  const best = cases.map(() => 0);
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

TO_SOLVED = """([source, seeds]) => new Promise((resolve) => {
  const solved = {};
  let frames = 0, ended = 0;
  const start = performance.now();
  const count = () => { frames++; requestAnimationFrame(count); };
  requestAnimationFrame(count);
  const pool = createPool(source, (message) => {
    const seconds = (performance.now() - start) / 1000;
    for (const { seed, metrics } of message.rows ?? [])
      if (metrics.return >= 475) solved[seed] ??= seconds;
    if (message.kind === "done" && ++ended === seeds.length) {
      pool.dispose();
      resolve({ solved: Object.values(solved), fps: frames / seconds, seconds });
    }
  });
  pool.start({ env_name: "CartPole-v1", total_timesteps: 200000 }, seeds);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--updates", type=int, default=10, help="一小段做几次更新")
    arguments = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        race = {"cases": CASES, "repeats": arguments.repeats, "updates": arguments.updates}
        best = page.evaluate(IN_WORKER, [f"{engine.engine_script()}\n{RACE}", race])
        print(f"Chromium {browser.version}；每种取 {arguments.repeats} 段里最快的\n")
        print("| 环境 | 激活函数 | 编译 | 千步/秒 | 比有 SIMD 的 |\n|---|---|---|---|---|")
        for (env, activation, build), speed in zip(CASES, best):
            fastest = best[CASES.index((env, activation, "simd"))]
            print(f"| {env} | {activation} | {build} | {speed:.0f} | {speed / fastest:.2f} |")

        page.add_script_tag(content=engine.read("pool.js"))
        seeds = list(range(2 * (os.cpu_count() or 1)))
        found = page.evaluate(TO_SOLVED, [engine.worker_script(), seeds])
        times = sorted(found["solved"])
        print(
            f"\nCartPole，20 万步，{len(seeds)} 个种子，{os.cpu_count()} 个核：全部练完 {found['seconds']:.1f} 秒，"
            f"训练时页面 {found['fps']:.0f} 帧/秒；平均回报过 475 的有 {len(times)} 个，"
            f"第一次在第 {json.dumps([round(t, 1) for t in times])} 秒"
        )
        browser.close()


if __name__ == "__main__":
    main()
