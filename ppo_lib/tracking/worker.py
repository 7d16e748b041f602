"""跟踪进程：从一次运行的目录里读指标，记进 W&B、TensorBoard 或 SwanLab。

它由 ``ppo_lib.tracking`` 作为独立的脚本启动，只读文件，不引用 ppo_lib 和 JAX，所以：

- 没有 fork，JAX 的线程不会被复制得半死不活；
- 它慢、出错、被杀，都碰不到训练；
- 事后补记（``python -m ppo_lib track 目录``）走的是同一段代码。

标准输入是训练那一方拿着的一根管子：关上了，就是训练停了，记完已有的就走。训练的进程若是没了
（被 kill -9 也算），最多再记 ``GRACE`` 秒就走：跟踪器的网络卡住，也不会留下没人管的进程。

进度写在 tracking/status.json，训练的一方据此说出还差多少；每写一遍，就是还有动静。
"""

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np

PAUSE = 0.5
"""没有新的一块时，隔几秒再看。"""

GRACE = 10.0
"""训练的进程没了以后，最多再记几秒。"""


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


def wait_for_end(ended: threading.Event) -> None:
    """管子关上时，记下训练停了。"""
    os.read(sys.stdin.fileno(), 1)
    ended.set()


def leave_with(parent: int, ended: threading.Event) -> None:
    """训练的进程没了：宽限几秒，就走。管子可能还被它 fork 出来的进程拿着，所以另看进程号。"""
    while os.getppid() == parent:
        time.sleep(PAUSE)
    ended.set()
    time.sleep(GRACE)
    os._exit(1)


def chunks(folder: Path, ended: threading.Event):
    """依次交出 (这块之前做了几次更新, 一块指标)；等新的，直到训练停了。"""
    done = 0
    while True:
        last = ended.is_set()
        for end, file in sorted((int(f.stem), f) for f in (folder / "metrics").glob("*.npz")):
            if end > done:
                with np.load(file) as chunk:
                    yield done, dict(chunk)
                done = end
        if last:
            return
        ended.wait(PAUSE)


def main(folder: Path, parent: int) -> None:
    ended = threading.Event()
    threading.Thread(target=wait_for_end, args=[ended], daemon=True).start()
    threading.Thread(target=leave_with, args=[parent, ended], daemon=True).start()
    out = folder / "tracking"
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
        say(0, False)
        for done, chunk in chunks(folder, ended):
            for i in members:
                log_chunk(runs[i], done, chunk, i)
            logged = done + chunk["entropy"].shape[1]
            say(logged, False)
        for run in runs:
            run.close()
    else:
        everything = list(chunks(folder, ended))
        for i in members:
            run = kind(out, job, i)
            say(0, False)
            for done, chunk in everything:
                log_chunk(run, done, chunk, i)
                say(0, False)
            run.close()
        logged = sum(chunk["entropy"].shape[1] for _, chunk in everything)
    say(logged, True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
