"""一次运行的目录：配置、逐块的指标、检查点、最后的结果。随时断电，都能从这里接着训练。

    config.yaml            完整的配置；改了其中会影响结果的键，就不许接着训练（总步数可以加长）
    axes.json              sweep 的各个轴；train 的目录里没有
    extended.json          加长过的：在第几次更新之后，那时的总数是多少
    tracking.json          跟踪过的：各个 run 的编号的开头，开始的时间
    lock                   正用着它的进程；进程没了，锁就放开
    metrics/000048.npz     训练途中：到第 48 次更新为止的那一块指标，跟踪器也从这里读
    checkpoints/48/        训练途中：第 48 次更新之后全部成员的状态（orbax），留最近两份
    metrics.nc             结束（或被中断）时：到此为止的全部指标
    policy.npz             结束（或被中断）时：策略，用 load_policy 读
    unreadable/            读不出来的检查点，和它们之后的指标：不删，留着给人看

每个文件都先写到旁边的临时名字，落到磁盘上，再改名，所以任何时候看到的文件都是完整的。逐块的指标
写得勤，到下一份检查点才等它们落到磁盘上：断电若丢了它们，接着训练时会重新算。
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

try:
    import fcntl
except ImportError:  # Windows 上没有，那里不锁
    fcntl = None

from ppo_lib._runtime import Later
from ppo_lib._version import __version__
from ppo_lib.config import FIELDS, PPOConfig, load_config, to_yaml
from ppo_lib.files import at_home, make_durable, replacing, write_atomically
from ppo_lib.members import Members

ocp = Later("orbax.checkpoint")  # 不写目录的训练用不到

KEEP = 2
"""留最近几份检查点：最新的一份坏了，还有前一份。"""

VERSIONS = f"ppo_lib {__version__}、jax {jax.__version__}、orbax-checkpoint {version('orbax-checkpoint')}"


class RunDirError(RuntimeError):
    """运行的目录用不了：已有别的运行，配置不一致，另一个进程正在用，写不进去，或者读不出来。

    ``resumable``：用 resume=True 就能接着训练。
    """

    def __init__(self, message: str, resumable: bool = False):
        super().__init__(message)
        self.resumable = resumable


class Saved(NamedTuple):
    """从检查点读回来的东西。"""

    done: int  # 已经做完的更新次数
    state: Any  # 全部成员的状态，结构同给 restore 的样板
    metrics: dict[str, np.ndarray]  # {指标名: (members, done)}


class RunDir:
    """一次运行的目录。

    Args:
        path: 目录，不存在就建。
        cfg: 这次运行的配置。
        resume: 目录里已有一次运行时，是否接着训练。
        axes: sweep 的各个轴；None 表示这是 train 的一次运行。

    Raises:
        RunDirError: 目录里已有一次运行而 resume 为假，或它的配置不同；另一个进程正用着它；写不进去。
    """

    def __init__(
        self,
        path: str | Path,
        cfg: PPOConfig,
        *,
        resume: bool = False,
        axes: dict[str, list] | None = None,
    ):
        self.path, self.cfg = absolute(path), cfg
        self.shorter: PPOConfig | None = None  # 要加长的话，那次的配置
        self.volatile: list[Path] = []  # 写好了、可能还没有落到磁盘上的指标
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = lock(self.path)
        try:
            if (self.path / "config.yaml").exists():
                self.accept(resume, axes)
            with writing(self.path):
                self.prepare(axes)
        except BaseException:
            self.lock.close()
            raise

    def accept(self, resume: bool, axes: dict[str, list] | None) -> None:
        """目录里已有一次运行：是不是同一次，能不能接着训练。"""
        if not resume:
            raise RunDirError(
                f"{self.path} 里已经有一次运行。要接着它训练，请用 resume=True；要重新开始，请换一个目录。",
                resumable=True,
            )
        if not (self.path / "config.yaml").read_text("utf-8").strip():
            raise RunDirError(
                f"{self.path / 'config.yaml'} 坏了，里面是空的，不知道那次的配置。"
                "请放回那次的配置，或换一个目录。"
            )
        old = load_config(self.path / "config.yaml")
        check_same(old, self.cfg, self.path)
        if self.cfg.num_updates > old.num_updates:
            self.shorter = old
        there = read_json(self.path / "axes.json")
        if there != axes:
            raise RunDirError(
                f"{self.path} 里那次运行的轴是 {there}，现在是 {axes}；请换一个目录。"
            )

    def prepare(self, axes: dict[str, list] | None) -> None:
        """备好目录和里面的东西。"""
        (self.path / "metrics").mkdir(exist_ok=True)
        if not (self.path / "config.yaml").exists():
            if axes is not None:
                write_atomically(self.path / "axes.json", json.dumps(axes).encode())
            self.write_config()
        self.checkpoints = ocp.CheckpointManager(
            self.path / "checkpoints",
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEEP, enable_async_checkpointing=False
            ),
        )

    def write_config(self) -> None:
        """写下配置；第一行是版本，检查点读不出来时告诉人。"""
        text = f"# 由 {VERSIONS} 写下\n\n{to_yaml(self.cfg)}"
        write_atomically(self.path / "config.yaml", text.encode())

    def continue_with(self, members: Members) -> None:
        """让 members 从最新的一份完好的检查点接着训练；一份也没有，就从头训练。"""
        saved = self.restore(members.snapshot())
        if saved is not None:
            members.restore(saved.state, saved.done, saved.metrics)
        self.forget_after(members.done)
        self.extend(members)

    def extend(self, members: Members) -> None:
        """总步数比那次的大：多训练一段。

        学习率退火（anneal_lr）时，从这里起照新的总数退火：它从 lr·(1 - 做完的 / 新的总数) 起，再线性
        降到 0。所以先前按旧的总数退火的那一段不变，学习率在接头处跳上去，结果与一口气训练那么长
        **不同**，会发出警告。不退火时，与一口气训练逐位相同。
        """
        history = read_json(self.path / "extended.json") or []
        if self.shorter is not None:
            done, total = members.done, self.cfg.num_updates
            if done and self.cfg.anneal_lr:
                warnings.warn(
                    f"{self.path} 那次运行总共 {self.shorter.num_updates} 次更新，现在从第 {done} 次之后加长到"
                    f" {total} 次。学习率从这里起照新的总数退火：从 lr 的 {1 - done / total:.0%} 起，再线性降到 0；"
                    f"所以结果与一口气训练 {total} 次的不同（各次更新的学习率在指标 learning_rate 里）。",
                    RuntimeWarning,
                    stacklevel=4,
                )
            with writing(self.path):
                if done:
                    history.append({"after": done, "num_updates": self.shorter.num_updates})
                    text = json.dumps(history).encode()
                    write_atomically(self.path / "extended.json", text)
                self.write_config()
        members.extended_at = [part["after"] for part in history]

    def save_metrics(self, done: int, rows: dict[str, np.ndarray]) -> None:
        """存下一块指标 {指标名: (members, 这块的更新次数)}，这块到第 done 次更新为止。"""
        target = self.path / "metrics" / f"{done:06d}.npz"
        with writing(self.path), replacing(target, durable=False) as file:
            np.savez(file, **rows)
        self.volatile.append(target)

    def save_state(self, done: int, state) -> None:
        """存一份检查点：第 done 次更新之后全部成员的状态，叶子都是 NumPy 数组；已有这一份就不再存。"""
        if (self.path / "checkpoints" / str(done)).exists():
            return
        leaves = jax.tree.leaves(state)
        args = ocp.args.Composite(
            state=ocp.args.StandardSave({f"{i:03d}": x for i, x in enumerate(leaves)}),
            seal=ocp.args.JsonSave({"done": done, "digest": digest(leaves)}),
        )
        with writing(self.path):
            while self.volatile:
                make_durable(self.volatile.pop())
            self.checkpoints.save(done, args=args, force=True)

    def restore(self, like) -> Saved | None:
        """读回最新的一份读得出来的检查点；一份也没有存过时返回 None。

        读不出来的（写了一半，被删改过，别的版本存的）不删：有更早的一份可用，就把它们移到
        unreadable/，并发出警告；一份可用的也没有，就报错，什么也不动。

        Args:
            like: 一份结构、形状都相同的状态。

        Raises:
            RunDirError: 存过检查点，却一份也读不出来。
        """
        problems: dict[int, str] = {}
        for done in sorted(self.checkpoints.all_steps(), reverse=True):
            try:
                saved = Saved(done, self._read_state(done, like), self._read_metrics(done))
            except Exception as error:  # orbax、tensorstore 和校验各有各的错误
                problems[done] = f"{type(error).__name__}：{str(error)[:100]}"
                continue
            if problems:
                self.set_aside(done, problems)
            return saved
        if problems:
            wrote = (self.path / "config.yaml").read_text("utf-8").splitlines()[0]
            listed = "；".join(f"第 {done} 次更新的（{why}）" for done, why in problems.items())
            raise RunDirError(
                f"{self.path} 里的检查点一份也读不出来：{listed}。什么也没有删，也没有开始训练。"
                f"现在是 {VERSIONS}；配置文件写着“{wrote.lstrip('# ')}”：版本不同，就用那时的版本再试；"
                "是文件坏了，就换一个目录从头训练。"
            )
        return None

    def set_aside(self, done: int, problems: dict[int, str]) -> None:
        """把第 done 次更新之后的检查点和指标移到 unreadable/ 里。"""
        with writing(self.path):
            (self.path / "unreadable").mkdir(exist_ok=True)
            now = datetime.datetime.now()
            target = tempfile.mkdtemp(
                prefix=f"{now:%Y%m%d-%H%M%S}-", dir=self.path / "unreadable"
            )
            for kind in ("checkpoints", "metrics"):
                (Path(target) / kind).mkdir()
                for number, item in numbered(self.path / kind):
                    if number > done:
                        item.rename(Path(target) / kind / item.name)
        self.checkpoints.reload()
        for step, why in problems.items():
            warnings.warn(
                f"第 {step} 次更新的检查点坏了（{why}），改用更早的一份；它没有删，移到了 {target}。",
                RuntimeWarning,
                stacklevel=5,
            )

    def _read_state(self, done: int, like):
        template = {f"{i:03d}": np.zeros_like(x) for i, x in enumerate(jax.tree.leaves(like))}
        saved = self.checkpoints.restore(
            done,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(template), seal=ocp.args.JsonRestore()
            ),
        )
        leaves = [np.asarray(saved.state[name]) for name in sorted(template)]
        if saved.seal != {"done": done, "digest": digest(leaves)}:
            raise ValueError("校验和不符")
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def _read_metrics(self, done: int) -> dict[str, np.ndarray]:
        chunks = [rows for _, rows in read_chunks(self.path, last=done)]
        if not chunks:
            raise ValueError("缺了指标")
        metrics = {
            name: np.concatenate([rows[name] for rows in chunks], axis=1) for name in chunks[0]
        }
        if any(x.shape[1] != done for x in metrics.values()):
            raise ValueError("缺了一块指标")
        return metrics

    def forget_after(self, done: int) -> None:
        """删去第 done 次更新之后的检查点和指标：它们要重新算（会得到同样的数）。"""
        for step in self.checkpoints.all_steps():
            if step > done:
                self.checkpoints.delete(step)
        for number, file in numbered(self.path / "metrics"):
            if number > done:
                file.unlink()

    def finish(self, metrics: xr.Dataset) -> None:
        """写下全部指标 metrics.nc。"""
        write_netcdf(metrics, self.path / "metrics.nc")

    def close(self) -> None:
        """放开目录。"""
        self.checkpoints.close()
        self.lock.close()


@contextmanager
def opened(
    path: str | Path | None,
    cfg: PPOConfig,
    resume: bool = False,
    axes: dict[str, list] | None = None,
) -> Iterator[RunDir | None]:
    """打开一次运行的目录，出来时放开；path 是 None 就没有目录。"""
    if path is None:
        yield None
        return
    folder = RunDir(path, cfg, resume=resume, axes=axes)
    try:
        yield folder
    finally:
        folder.close()


def absolute(path: str | Path) -> Path:
    """用户写的路径 → 绝对路径；开头的 ~ 是他的主目录。

    Raises:
        RunDirError: 没有 ~ 后面的用户；路径里有这个环境写不了的字（文件系统的编码是 ASCII，路径里有中文）。
    """
    whole = at_home(path, RunDirError).resolve()
    try:
        str(whole).encode()
        os.fsencode(whole)
    except UnicodeEncodeError:
        raise RunDirError(
            f"路径 {str(path)!r} 里有这个环境写不了的字（文件系统的编码是 {sys.getfilesystemencoding()}）。"
            "请设环境变量 PYTHONUTF8=1，或换一个只有英文的路径。"
        ) from None
    return whole


def lock(path: Path):
    """占住目录，返回占着它的文件；这个进程一结束，哪怕是被杀，操作系统就把锁放开。"""
    with writing(path):
        file = open(path / "lock", "a+", encoding="utf-8")
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read()
        file.close()
        raise RunDirError(
            f"{path} 正由另一次训练用着（{holder}）。请等它做完，或换一个目录。"
        ) from None
    except OSError:  # 有的网络文件系统不支持锁
        pass
    file.truncate(0)
    file.write(f"{platform.node()} 上的进程 {os.getpid()}")
    file.flush()
    return file


def write_netcdf(metrics: xr.Dataset, target: Path) -> None:
    """把指标写成一个 netCDF 文件。"""
    with writing(target.parent), replacing(target) as file:
        metrics.to_netcdf(file.name, engine="h5netcdf")


def read_chunks(
    path: Path, first: int = 0, last: float = np.inf
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """逐块的指标：(这块到第几次更新为止, {指标名: (members, 这块的更新次数)})，按次序。

    只读结尾在 (first, last] 里的那些块。
    """
    for end, file in numbered(Path(path) / "metrics"):
        if first < end <= last:
            with np.load(file) as rows:
                yield end, dict(rows)


def latest(path: Path) -> int:
    """目录里最新的一份检查点是第几次更新之后的；一份也没有，就是 0。"""
    return max((number for number, _ in numbered(path / "checkpoints")), default=0)


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """名字是数的检查点（目录）和指标（.npz），按数的次序：(数, 路径)；写了一半的不算。"""
    names = ((path.name.removesuffix(".npz"), path) for path in folder.glob("*"))
    return sorted((int(name), path) for name, path in names if name.isdigit())


def check_same(old: PPOConfig, new: PPOConfig, path: Path) -> None:
    """两份配置里会影响结果的键都相同（总步数可以加长）；不同就报错，列出是哪些。"""
    changed = [
        f"{name}（那次是 {getattr(old, name)!r}，现在是 {getattr(new, name)!r}）"
        for name, field in FIELDS.items()
        if field.metadata["kind"] != "log" and getattr(old, name) != getattr(new, name)
        if name != "total_timesteps" or new.total_timesteps < old.total_timesteps
    ]
    if changed:
        raise RunDirError(
            f"{path} 里那次运行的配置不同，不能接着训练。不同的键：{'；'.join(changed)}。"
            "请改回那次的配置，或换一个目录。"
        )


@contextmanager
def writing(path: Path):
    """写文件；写不进去时报中文的错。"""
    try:
        yield
    except RunDirError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # 后两种是 orbax 和 tensorstore 的
        there = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(there).free / 1e6
        raise RunDirError(
            f"写不进 {path}（那里还剩 {free:.1f} MB）：{error}。已经存好的检查点没有受影响；"
            "腾出空间、或改好权限之后，用 resume=True 从那里接着训练。",
            resumable=True,
        ) from error


def read_json(path: Path):
    """一个 JSON 文件的内容；没有就是 None。"""
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def digest(leaves: list[np.ndarray]) -> str:
    """全部数组的散列，读回来时核对。"""
    hasher = hashlib.sha256()
    for leaf in leaves:
        hasher.update(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
    return hasher.hexdigest()
