"""跟踪：边训练边记进 W&B（默认离线，不要账号）、TensorBoard 或 SwanLab，一个种子一个 run。

记录由另一个进程去做（worker.py），它只读运行目录里的指标文件。训练从不等它：它慢、出错、
被杀，训练照常；它漏记的会说出来，用 ``python -m ppo_lib track 目录`` 补上。
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import uuid
import warnings
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from ppo_lib.config import FIELDS, PPOConfig, allowed
from ppo_lib.files import write_atomically
from ppo_lib.run_dir import read_json

PACKAGES = {"wandb": "wandb", "tensorboard": "tensorboardX", "swanlab": "swanlab"}
"""跟踪器 → 要装的包。"""

MODE_VARIABLES = {"wandb": "WANDB_MODE", "swanlab": "SWANLAB_MODE"}
"""跟踪器 → 决定它的模式的环境变量。"""

OTHER_MODES = {"dryrun": "offline", "run": "online", "local": "offline", "cloud": "online"}
"""模式在各个跟踪器里别的叫法。"""

PATIENCE = 60.0
"""训练结束后，跟踪进程几秒没有动静（没有进展，也不是在排队等 CPU）就不再等它。"""

TO_START = 10.0
"""同上，但它连跟踪器都还没有打开（例如连不上网）。"""


class Tracking:
    """一次运行的跟踪进程。

    它从标准输入知道训练还在不在：管子关上了，就是训练停了，或者训练的进程没了，它记完已有的就走。

    Args:
        folder: 运行的目录。
        cfg: 这次运行的配置；``tracker`` 决定记到哪里。
        mode: ``offline`` 只记在本机，``online`` 上传。
        follow: 是边训练边记，还是把已有的指标记完就走。
    """

    def __init__(self, folder: Path, cfg: PPOConfig, mode: str, *, follow: bool):
        self.folder, self.cfg = Path(folder), cfg
        self.out = self.folder / "tracking"
        self.out.mkdir(exist_ok=True)
        (self.out / "status.json").unlink(missing_ok=True)
        (self.out / "job.json").write_text(
            json.dumps(describe_job(self.folder, cfg, mode), ensure_ascii=False),
            encoding="utf-8",
        )
        worker = Path(__file__).with_name("worker.py")
        command = [sys.executable, str(worker), str(self.folder), str(os.getpid())]
        self.log_file = self.out / "worker.log"
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C 停的是训练，不连它一起停
            )
        if follow:
            yield_to_training(self.process.pid)
        else:
            self.process.stdin.close()

    def status(self) -> dict:
        """{"started": 跟踪器打开了没有, "logged": 已经记到第几次更新, "finished": 是否记完就走了,
        "written": 什么时候写下的}。"""
        file = self.out / "status.json"
        try:
            written = {"started": True, "written": file.stat().st_mtime_ns}
            return written | json.loads(file.read_text())
        except (OSError, ValueError):
            return {"started": False, "logged": 0, "finished": False}

    def wait(self, num_updates: int) -> tuple[bool, str]:
        """等跟踪进程记完，返回 (是否全部记完, 一句话：记在哪里，或者漏了多少、怎么补)。"""
        self.process.stdin.close()
        last, since, patience = None, time.monotonic(), TO_START
        while self.process.poll() is None and time.monotonic() - since < patience:
            status = self.status()
            patience = PATIENCE if status["started"] else TO_START
            if status != last or wants_cpu(self.process.pid):
                last, since = status, time.monotonic()
            time.sleep(0.1)
        if self.process.poll() is None:
            return self.give_up(num_updates, f"{patience:.0f} 秒没有进展")
        status = self.status()
        if status["finished"] and status["logged"] == num_updates:
            return True, f"{self.cfg.tracker}：{self.cfg.num_seeds} 个 run 记在 {self.out}"
        return self.give_up(num_updates, f"退出码 {self.process.returncode}")

    def give_up(self, num_updates: int, why: str) -> tuple[bool, str]:
        """不再等它；返回的同 ``wait``。"""
        self.close()
        return False, (
            f"{self.cfg.tracker} 只记到第 {self.status()['logged']} 次更新，共 {num_updates} 次（{why}，详见 {self.log_file}）。"
            f"训练和存下的结果不受影响；补记：python -m ppo_lib track {shlex.quote(str(self.folder))}"
        )

    def close(self) -> None:
        """让还没有走的跟踪进程停下。"""
        self.process.stdin.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def start_tracking(folder: Path, cfg: PPOConfig, *, follow: bool = True) -> Tracking | None:
    """按配置开始跟踪；不要跟踪，或者跟踪不了，返回 None（后一种会发出警告）。"""
    if cfg.tracker == "none" or (mode := tracking_mode(cfg)) == "disabled":
        return None
    package = PACKAGES[cfg.tracker]
    try:
        if mode not in FIELDS["wandb_mode"].metadata["choices"]:
            raise OSError(
                f"环境变量 {MODE_VARIABLES[cfg.tracker]} = {mode!r} 不合法；"
                f"允许的取值：{allowed(FIELDS['wandb_mode'])}"
            )
        if find_spec(package) is None:
            raise OSError(
                f"tracker = {cfg.tracker!r} 要用 {package}，没有装（pip install {package}）"
            )
        return Tracking(folder, cfg, mode, follow=follow)
    except (OSError, ValueError) as error:  # find_spec 也会抛出 ValueError
        warnings.warn(
            f"跟踪没有开始：{error}。训练照常，之后可以补记：python -m ppo_lib track {shlex.quote(str(folder))}",
            RuntimeWarning,
            stacklevel=3,
        )
        return None


def tracking_mode(cfg: PPOConfig) -> str:
    """记在本机、上传，还是不记：跟踪器自己的环境变量（例如 WANDB_MODE）优先于配置。"""
    if cfg.wandb_mode == "disabled":
        return "disabled"
    said = os.environ.get(MODE_VARIABLES.get(cfg.tracker, ""), "").lower()
    return OTHER_MODES.get(said, said) or cfg.wandb_mode


def yield_to_training(pid: int) -> None:
    """训练用剩下的 CPU 才归跟踪进程（和它以后起的后台服务）。

    它要与训练同在一个会话里：Linux 按会话分组来分 CPU，换了会话，优先级就不起作用了。
    """
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, pid, 19)


def wants_cpu(pid: int) -> bool:
    """一个进程或它的后代，此刻是不是正在运行、或排队等 CPU 和磁盘（只在 Linux 上看得到）。"""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # 它刚结束，或者没有 /proc
        return False
    return state in "RD" or any(wants_cpu(int(child)) for child in children)


def describe_job(folder: Path, cfg: PPOConfig, mode: str) -> dict:
    """交给跟踪进程的任务书。分组和命名照原指南：``ppo_beta1_{beta_1}_{env}_{时间}``，``{seed}_{i}``。

    run 的编号和分组里的时间，见 ``identity``。
    """
    stamp, started = identity(folder)
    return {
        "tracker": cfg.tracker,
        "mode": mode,
        "config": {name: getattr(cfg, name) for name in FIELDS},
        "seeds": list(cfg.seeds),
        "group": f"ppo_beta1_{cfg.beta_1}_{cfg.env_name}_{started}",
        "names": [f"{cfg.seed}_{i}" for i in range(cfg.num_seeds)],
        "ids": [f"{stamp}-{seed}" for seed in cfg.seeds],
    }


def identity(folder: Path) -> tuple[str, str]:
    """(run 的编号的开头, 开始的时间)：第一次跟踪时定下，存在目录里。

    所以补记、接着训练都记进同一个 run；删掉目录、在原处重新训练的，是新的 run。
    """
    file = folder / "tracking.json"
    if not file.exists():
        started = datetime.fromtimestamp((folder / "config.yaml").stat().st_mtime)
        new = {"id": uuid.uuid4().hex[:8], "started": f"{started:%Y%m%d-%H%M%S}"}
        if before := read_json(folder / "tracking/job.json"):  # 旧版本只有任务书
            new["id"] = before["ids"][0].rpartition("-")[0]
            new["started"] = before["group"].rpartition("_")[2]
        write_atomically(file, json.dumps(new).encode())
    saved = read_json(file)
    return saved["id"], saved["started"]
