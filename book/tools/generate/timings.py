"""量出各章首次运行的秒数（新的进程，空的编译缓存），写进 ppo_lib/course/timings.json。

    python -m book.tools.generate.timings              全部
    python -m book.tools.generate.timings 01           只量一章

有 GPU 时写进 gpu 一栏，否则写进 cpu 一栏。请在空闲的机器上运行。
"""

import datetime
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import jax
import nbformat
from nbclient import NotebookClient

from book.tools.generate.colab_setup import SETUP_TAG

ROOT = Path(__file__).parents[3]
TIMINGS = ROOT / "ppo_lib/course/timings.json"
CHARACTERS_PER_MINUTE = 300
"""中文技术读物的阅读速度；一行代码按 15 个字算。"""


def read_minutes(notebook) -> int:
    """按字数估计的阅读时间，取到 5 分钟。"""
    characters = 0
    for cell in notebook.cells:
        if SETUP_TAG in cell.metadata.get("tags", []):
            continue  # 准备环境的那一格，不用读
        if cell.cell_type == "code":
            characters += 15 * len(cell.source.splitlines())
        else:
            characters += len(re.findall(r"[\u4e00-\u9fff]|[A-Za-z0-9_]+", cell.source))
    return max(5, 5 * round(characters / CHARACTERS_PER_MINUTE / 5))


def run_seconds(notebook) -> int:
    """从启动内核到最后一格运行完的秒数，编译缓存是空的。"""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        start = time.perf_counter()
        NotebookClient(notebook, timeout=900).execute()
        return round(time.perf_counter() - start)


def main() -> None:
    timings = json.loads(TIMINGS.read_text(encoding="utf-8"))
    on_gpu = jax.default_backend() != "cpu"
    device = jax.devices()[0].device_kind if on_gpu else f"{os.cpu_count()} 个 CPU 核"
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        chapter = path.name[:2]
        if sys.argv[1:] and chapter not in sys.argv[1:]:
            continue
        notebook = nbformat.read(path, as_version=4)
        timing = timings.setdefault(chapter, {"cpu": None, "gpu": None})
        timing["read_minutes"] = read_minutes(notebook)
        timing["gpu" if on_gpu else "cpu"] = {
            "seconds": run_seconds(notebook),
            "device": device,
            "date": datetime.date.today().isoformat(),
        }
        print(chapter, timing)
    TIMINGS.write_text(
        json.dumps(timings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
