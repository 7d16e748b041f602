"""一次运行的目录：配置、逐块的指标、检查点、最后的结果。随时断电，都能从这里接着训练。

    config.yaml            完整的配置；改了其中会影响结果的键，就不许接着训练
    axes.json              sweep 的各个轴；train 的目录里没有
    metrics/000048.npz     训练途中：到第 48 次更新为止的那一块指标，跟踪器也从这里读
    checkpoints/48/        训练途中：第 48 次更新之后全部成员的状态（orbax），留最近两份
    metrics.nc             结束（或被中断）时：到此为止的全部指标
    policy.npz             结束（或被中断）时：策略，用 load_policy 读

每个文件都先写到旁边的临时名字，再改名，所以任何时候看到的文件都是完整的。
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import xarray as xr

from ppo_lib.config import FIELDS, PPOConfig, load_config, to_yaml
from ppo_lib.members import Members

KEEP = 2
"""留最近几份检查点：最新的一份坏了，还有前一份。"""


class RunDirError(RuntimeError):
    """运行的目录用不了：已有别的运行，配置不一致，或者写不进去。"""


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
        RunDirError: 目录里已有一次运行而 resume 为假，或它的配置不同。
    """

    def __init__(
        self,
        path: str | Path,
        cfg: PPOConfig,
        *,
        resume: bool = False,
        axes: dict[str, list] | None = None,
    ):
        self.path = Path(path).resolve()
        config_file, axes_file = self.path / "config.yaml", self.path / "axes.json"
        if config_file.exists():
            if not resume:
                raise RunDirError(
                    f"{self.path} 里已经有一次运行。要接着它训练，请用 resume=True；要重新开始，请换一个目录。"
                )
            check_same(load_config(config_file), cfg, self.path)
            old = json.loads(axes_file.read_text("utf-8")) if axes_file.exists() else None
            if old != axes:
                raise RunDirError(
                    f"{self.path} 里那次运行的轴是 {old}，现在是 {axes}；请换一个目录。"
                )
        with writing(self.path):
            (self.path / "metrics").mkdir(parents=True, exist_ok=True)
            if not config_file.exists():
                if axes is not None:
                    write_atomically(axes_file, json.dumps(axes).encode())
                write_atomically(config_file, to_yaml(cfg).encode())
            self.checkpoints = ocp.CheckpointManager(
                self.path / "checkpoints",
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=KEEP, enable_async_checkpointing=False
                ),
            )

    def continue_with(self, members: Members) -> None:
        """让 members 从最新的一份完好的检查点接着训练；一份也没有，就从头训练。"""
        saved = self.restore(members.snapshot())
        if saved is not None:
            members.restore(saved.state, saved.done, saved.metrics)
        self.forget_after(members.done)

    def save_metrics(self, done: int, rows: dict[str, np.ndarray]) -> None:
        """存下一块指标 {指标名: (members, 这块的更新次数)}，这块到第 done 次更新为止。"""
        target = self.path / "metrics" / f"{done:06d}.npz"
        temporary = target.with_suffix(".tmp")
        with writing(self.path, temporary):
            with open(temporary, "wb") as file:
                np.savez(file, **rows)
            os.replace(temporary, target)

    def save_state(self, done: int, state) -> None:
        """存一份检查点：第 done 次更新之后全部成员的状态，叶子都是 NumPy 数组；已有这一份就不再存。"""
        if done in self.checkpoints.all_steps():
            return
        leaves = jax.tree.leaves(state)
        args = ocp.args.Composite(
            state=ocp.args.StandardSave({f"{i:03d}": x for i, x in enumerate(leaves)}),
            seal=ocp.args.JsonSave({"done": done, "digest": digest(leaves)}),
        )
        with writing(self.path):
            self.checkpoints.save(done, args=args, force=True)

    def restore(self, like) -> Saved | None:
        """读回最新的一份完好的检查点；一份也没有时返回 None。

        坏了的检查点（写了一半，或被删改过）会跳过，并发出警告。

        Args:
            like: 一份结构、形状都相同的状态。
        """
        for done in sorted(self.checkpoints.all_steps(), reverse=True):
            try:
                return Saved(done, self._read_state(done, like), self._read_metrics(done))
            except Exception as error:  # orbax、tensorstore 和校验各有各的错误
                warnings.warn(
                    f"第 {done} 次更新的检查点坏了（{type(error).__name__}），改用更早的一份。",
                    RuntimeWarning,
                    stacklevel=3,
                )
        return None

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
        for file in (self.path / "metrics").glob("*.npz"):
            if int(file.stem) > done:
                file.unlink()

    def finish(self, metrics: xr.Dataset) -> None:
        """写下全部指标 metrics.nc。"""
        write_netcdf(metrics, self.path / "metrics.nc")

    def close(self) -> None:
        """放开 orbax 占着的东西。"""
        self.checkpoints.close()


def write_netcdf(metrics: xr.Dataset, target: Path) -> None:
    """把指标写成一个 netCDF 文件。"""
    temporary = target.with_suffix(".tmp")
    with writing(target.parent, temporary):
        metrics.to_netcdf(temporary, engine="h5netcdf")
        os.replace(temporary, target)


def read_chunks(
    path: Path, first: int = 0, last: float = np.inf
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """逐块的指标：(这块到第几次更新为止, {指标名: (members, 这块的更新次数)})，按次序。

    只读结尾在 (first, last] 里的那些块。
    """
    for file in sorted((Path(path) / "metrics").glob("*.npz")):
        end = int(file.stem)
        if first < end <= last:
            with np.load(file) as rows:
                yield end, dict(rows)


def check_same(old: PPOConfig, new: PPOConfig, path: Path) -> None:
    """两份配置里会影响结果的键都相同；不同就报错，列出是哪些。"""
    changed = [
        f"{name}（那次是 {getattr(old, name)!r}，现在是 {getattr(new, name)!r}）"
        for name, field in FIELDS.items()
        if field.metadata["kind"] != "log" and getattr(old, name) != getattr(new, name)
    ]
    if changed:
        raise RunDirError(
            f"{path} 里那次运行的配置不同，不能接着训练。不同的键：{'；'.join(changed)}。"
            "请改回那次的配置，或换一个目录。"
        )


@contextmanager
def writing(path: Path, temporary: Path | None = None):
    """写文件；写不进去时报中文的错，并收拾掉写了一半的临时文件。"""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # 后两种是 orbax 和 tensorstore 的
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        free = shutil.disk_usage(path if path.exists() else path.parent).free / 1e6
        raise RunDirError(
            f"写不进 {path}（那里还剩 {free:.1f} MB）：{error}。已经存好的检查点没有受影响；"
            "腾出空间、或改好权限之后，用 resume=True 从那里接着训练。"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """先写到临时文件，再改名。"""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def digest(leaves: list[np.ndarray]) -> str:
    """全部数组的散列，读回来时核对。"""
    hasher = hashlib.sha256()
    for leaf in leaves:
        hasher.update(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
    return hasher.hexdigest()
