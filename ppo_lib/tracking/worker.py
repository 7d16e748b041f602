"""跟踪进程：从一次运行的目录里读指标，记进 W&B、TensorBoard 或 SwanLab。

它由 ``ppo_lib.tracking`` 作为独立的脚本启动，只读文件，不引用 ppo_lib 和 JAX，所以：

- 没有 fork，JAX 的线程不会被复制得半死不活；
- 它慢、出错、被杀，都碰不到训练；
- 事后补记（``python -m ppo_lib track 目录``）走的是同一段代码。

进度写在 tracking/status.json，训练的一方据此说出还差多少。
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np

PAUSE = 0.5
"""没有新的一块时，隔几秒再看。"""


class WandbRun:
    """一个种子一个 W&B run。"""

    live = True  # 能不能几个 run 同时开着，边训练边记

    def __init__(self, folder: Path, job: dict, index: int):
        import wandb

        self.run = wandb.init(
            mode=job["mode"],
            project=job["config"]["project"],
            job_type=job["config"]["job_type"],
            group=job["group"],
            name=job["names"][index],
            id=job["ids"][index],
            config=job["config"] | {"seed": job["seeds"][index]},
            dir=folder,
            reinit="create_new",
            resume="allow" if job["mode"] == "online" else None,
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )

    def log(self, update: int, row: dict) -> None:
        self.run.log(row, step=update)

    def close(self) -> None:
        self.run.finish()


class TensorBoardRun:
    """一个种子一个目录，用 ``tensorboard --logdir`` 看。"""

    live = True

    def __init__(self, folder: Path, job: dict, index: int):
        from tensorboardX import SummaryWriter

        log_dir = folder / "tensorboard" / job["names"][index]
        shutil.rmtree(log_dir, ignore_errors=True)  # 补记时从头记，不留两份
        self.writer = SummaryWriter(str(log_dir))

    def log(self, update: int, row: dict) -> None:
        for name, value in row.items():
            self.writer.add_scalar(name, value, update)

    def close(self) -> None:
        self.writer.close()


class SwanLabRun:
    """一个种子一个 SwanLab 实验。它一次只能开一个，所以等训练完再一个一个地记。"""

    live = False

    def __init__(self, folder: Path, job: dict, index: int):
        import swanlab

        (folder / "swanlab").mkdir(exist_ok=True)
        self.run = swanlab.init(
            mode=job["mode"],
            project=job["config"]["project"],
            job_type=job["config"]["job_type"],
            group=job["group"],
            name=job["names"][index],
            config=job["config"] | {"seed": job["seeds"][index]},
            log_dir=str(folder / "swanlab"),
        )

    def log(self, update: int, row: dict) -> None:
        self.run.log(row, step=update)

    def close(self) -> None:
        self.run.finish()


RUNS = {"wandb": WandbRun, "tensorboard": TensorBoardRun, "swanlab": SwanLabRun}


def rows_of(chunk: dict, member: int):
    """一块指标里一个成员的逐次更新：{指标名: 数}；NaN（没有可报的）不记。"""
    values = {name: x[member] for name, x in chunk.items()}
    for i in range(len(next(iter(values.values())))):
        yield {name: float(x[i]) for name, x in values.items() if not np.isnan(x[i])}


def chunks(folder: Path, follow: bool):
    """依次交出 (这块之前做了几次更新, 一块指标)；follow 时等新的，直到训练结束或那个进程没了。"""
    parent, done = os.getppid(), 0
    while True:
        ended = not follow or (folder / "metrics.nc").exists() or os.getppid() != parent
        for file in sorted((folder / "metrics").glob("*.npz")):
            if int(file.stem) > done:
                with np.load(file) as chunk:
                    yield done, dict(chunk)
                done = int(file.stem)
        if ended:
            return
        time.sleep(PAUSE)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--follow", action="store_true")
    args = parser.parse_args()
    out = args.folder / "tracking"
    job = json.loads((out / "job.json").read_text(encoding="utf-8"))
    kind = RUNS[job["tracker"]]
    members = range(len(job["seeds"]))

    def say(logged: int, finished: bool) -> None:
        temporary = out / "status.tmp"
        temporary.write_text(json.dumps({"logged": logged, "finished": finished}))
        os.replace(temporary, out / "status.json")

    def log_chunk(run, done: int, chunk: dict, member: int) -> None:
        for i, row in enumerate(rows_of(chunk, member)):
            run.log(done + i + 1, row)

    logged = 0
    if kind.live:
        runs = [kind(out, job, i) for i in members]
        for done, chunk in chunks(args.folder, args.follow):
            for i in members:
                log_chunk(runs[i], done, chunk, i)
            logged = done + chunk["entropy"].shape[1]
            say(logged, False)
        for run in runs:
            run.close()
    else:
        everything = list(chunks(args.folder, args.follow))
        for i in members:
            run = kind(out, job, i)
            for done, chunk in everything:
                log_chunk(run, done, chunk, i)
            run.close()
        logged = sum(chunk["entropy"].shape[1] for _, chunk in everything)
    say(logged, True)


if __name__ == "__main__":
    main()
