"""各家共用的负载和计时。每家的脚本只负责把 ``WORKLOAD`` 和环境的名字翻译成自己的参数。

只用标准库：它要在每家自己的虚拟环境里运行。
"""

import argparse
import importlib.metadata
import json
import resource
import statistics
import sys
import time

WORKLOAD = dict(
    num_envs=16,  # 并行环境数
    num_steps=128,  # 每次更新前，每个环境的步数
    update_epochs=2,
    num_minibatches=4,  # 从全部 num_envs × num_steps 个样本里抽，每一遍重新打乱
    hidden_sizes=(64, 64),  # 策略和价值各一个网络，tanh
    lr=1e-3,  # 不退火，Adam
    gamma=0.99,
    gae_lambda=0.95,
    clip_eps=0.2,  # 价值损失也按它裁剪
    ent_coef=0.01,
    vf_coef=0.5,
    max_grad_norm=0.5,
)
BATCH_SIZE = WORKLOAD["num_envs"] * WORKLOAD["num_steps"]
"""一次更新的样本数。"""


def main(build, packages):
    """命令行入口：计时，把一行 JSON 写到标准输出。

    Args:
        build: ``build(env_name, num_seeds, steps) -> train``；``train(i)`` 从头到尾训练一遍
            （num_seeds 个种子，每个 steps 步），算完才返回。i 是第几遍，用来换随机种子。
        packages: 要记下版本的包名。

    输出的键：steps_per_second（全部种子合计，步/秒，各遍的中位数）、compile_seconds
    （从 build 到第一遍结束，减去热身后一遍的中位数，秒）、run_seconds（热身后每一遍，秒）、
    peak_mb（进程的峰值常驻内存，MB）、versions。
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--env", required=True, help="环境的名字")
    parser.add_argument("--seeds", type=int, required=True)
    parser.add_argument(
        "--steps", type=int, required=True, help="每个种子的步数，BATCH_SIZE 的整数倍"
    )
    parser.add_argument("--repeat", type=int, required=True, help="热身之后计时几遍")
    args = parser.parse_args()

    start = time.perf_counter()
    train = build(args.env, args.seeds, args.steps)
    train(0)
    first = time.perf_counter() - start
    runs = [_seconds(train, i) for i in range(1, args.repeat + 1)]
    steady = statistics.median(runs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = dict(
        steps_per_second=args.seeds * args.steps / steady,
        compile_seconds=max(0.0, first - steady),
        run_seconds=runs,
        peak_mb=peak / (2**20 if sys.platform == "darwin" else 2**10),
        versions={name: _version(name) for name in packages},
    )
    print(json.dumps(result))


def _seconds(train, i):
    start = time.perf_counter()
    train(i)
    return time.perf_counter() - start


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
