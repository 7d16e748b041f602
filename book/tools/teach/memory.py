"""各章运行一遍至多占多少内存，量出来写进旁边的 memory.json：定每个学生的内存上限时看它。

    python -m book.tools.teach.memory              全部
    python -m book.tools.teach.memory 06 07        只量这几章

量的是内核和它开的进程实际占的内存（RSS）的合计，每 50 毫秒看一次取最大；编译缓存是空的。不含 Jupyter 服务器自己的。
"""

import datetime
import json
import os
import platform
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

import nbformat
import psutil
from nbclient import NotebookClient

ROOT = Path(__file__).parents[3]
RECORD = Path(__file__).with_suffix(".json")
MB = 2**20

BINDER_MB = (1024, 2048)
"""Binder 保证给的内存，和至多给的。"""

SERVER_MB = 150
"""给 Jupyter 服务器自己留的。"""


def rss(process: psutil.Process) -> int:
    """一个进程和它开的进程此刻占的字节；正在结束的不算。"""
    try:
        children = process.children()
        return process.memory_info().rss + sum(map(rss, children))
    except psutil.NoSuchProcess:
        return 0


def peak_mb(notebook: nbformat.NotebookNode) -> int:
    """从头到尾运行一本，内核一侧至多占多少 MB。"""
    peak, done = 0, threading.Event()
    me = psutil.Process()
    others = set(me.children())  # 内核以外的子进程，例如浏览器，不算

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, *(rss(kernel) for kernel in set(me.children()) - others), 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with (
            tempfile.TemporaryDirectory() as cache,
            mock.patch.dict(os.environ, JAX_COMPILATION_CACHE_DIR=cache),
        ):
            NotebookClient(notebook, timeout=900).execute()
    finally:
        done.set()
        watcher.join()
    return round(peak / MB)


def verdict(mb: int) -> str:
    """一章放得进 Binder 吗；给 Jupyter 服务器也留了一份。"""
    guaranteed, most = BINDER_MB
    needed = mb + SERVER_MB
    return (
        "够" if needed <= guaranteed else "过了保证的，没有过上限" if needed <= most else "不够"
    )


def table() -> str:
    """记下的结果，Markdown 的一张表。"""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    rows = [f"| {int(n)} | {one['mb']} | {verdict(one['mb'])} |" for n, one in sorted(record.items())]  # fmt: skip
    return "\n".join(["| 章 | 内核至多占（MB） | Binder（保证 1 GB，至多 2 GB） |", "|---|---|---|", *rows])  # fmt: skip


def main() -> None:
    wanted = sys.argv[1:]
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        chapter = path.name[:2]
        if wanted and chapter not in wanted:
            continue
        mb = peak_mb(nbformat.read(path, as_version=4))
        record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        record[chapter] = {
            "mb": mb,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "date": datetime.date.today().isoformat(),
        }
        lines = [f' "{n}": {json.dumps(one)}' for n, one in sorted(record.items())]
        RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"第 {int(chapter)} 章：{mb} MB", flush=True)
    print(f"book/usage.md 里的表请换成：\n{table()}")


if __name__ == "__main__":
    main()
