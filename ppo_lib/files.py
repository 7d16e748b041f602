"""文件：写了一半就断，留下的还是原来的那一份；路径开头的 ~ 是用户的主目录。"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """交出旁边的一个临时文件去写，写完才换下 path；没有写完，就收拾掉。

    durable 为真时，等它落到磁盘上才换，断电也不怕；要几毫秒。
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_durable(path: Path) -> None:
    """等一个写好的文件落到磁盘上。"""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes) -> None:
    """写一个文件，见 ``replacing``。"""
    with replacing(path) as file:
        file.write(content)


def at_home(path: str | Path, error: type[Exception]) -> Path:
    """路径开头的 ~ 换成主目录；没有这个用户，就抛出 error。"""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise error(
            f"路径 {str(path)!r} 里的 {Path(path).parts[0]} 找不到主目录；请写绝对路径。"
        ) from None
