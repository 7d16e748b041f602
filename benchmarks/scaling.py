"""许多种子一起训练有多快：GPU 上合成一批，CPU 上分给各个核。CartPole-v1，默认配置。

    python benchmarks/scaling.py           在这台机器上量，印出来
    python benchmarks/scaling.py --save    写进 book/data/scaling.json；请在有 GPU 的机器上

有 GPU 时，同一台机器的 CPU 也量，各用一个新的进程。编译的时间不算在内。书里那份 scaling.json 是在 GPU 上的
一批取整到 2 的幂之前、用同样的 train 调用量的。
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys

SIZES = {  # 后端 → (种子个数, 每个种子的步数)
    "gpu": ((1, 500_000), (10, 500_000), (1000, 200_000)),
    "cpu": ((1, 500_000), (10, 500_000), (160, 200_000)),
}


def measure(backend: str) -> list[dict]:
    """在这个进程里量一个后端。"""
    import jax

    from ppo_lib import PPOConfig, train

    cores = f"{os.cpu_count()} 个 CPU 核"
    rows = []
    for seeds, steps in SIZES[backend]:
        cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=steps, num_seeds=seeds)
        run = train(cfg, progress=False)
        rows.append(
            dict(
                device=cores if backend == "cpu" else jax.devices()[0].device_kind,
                seeds=seeds,
                updates=cfg.num_updates,
                steps_per_second=round(run.steps_per_second),
                run_seconds=round(run.run_seconds, 2),
                jax=jax.__version__,
                date=datetime.date.today().isoformat(),
            )
        )
    return rows


def in_a_new_process(backend: str) -> list[dict]:
    """在新的进程里量；JAX 用哪个后端，要在它启动之前定好。"""
    env = os.environ | {"JAX_PLATFORMS": "cpu" if backend == "cpu" else "cuda"}
    command = [sys.executable, __file__, "--backend", backend]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if "--backend" in sys.argv:
        print(json.dumps(measure(sys.argv[-1]), ensure_ascii=False))
        return
    import jax

    from ppo_lib.recorded import DATA_DIR

    backends = ["cpu"] if jax.default_backend() == "cpu" else ["gpu", "cpu"]
    text = json.dumps(
        [row for backend in backends for row in in_a_new_process(backend)],
        ensure_ascii=False,
        indent=1,
    )
    print(text)
    if "--save" in sys.argv:
        (DATA_DIR / "scaling.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
