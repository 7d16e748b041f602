"""运行书里的笔记本：几页并排，结果放进执行缓存，Sphinx 做网页时从那里取。

缓存是 jupyter-cache 的，只看笔记本自己；各章的输出还取决于库、录下的数据和装着的包，所以它们的散列写进缓存的路径。
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, NamedTuple

import psutil
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import is_myst_markdown_notebook
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat import NotebookNode

INPUTS = ("ppo_lib/**/*", "book/data/**/*", "requirements.lock")
TIMINGS = Path(__file__).parents[3] / "ppo_lib/course/timings.json"
TIMEOUT = 900
"""一格至多几秒。"""

PEAK_MEMORY = 2e9
"""运行一章至多要多少字节的内存；最费的一章（第 5 章）量得 1.98 GB，见 teach/memory.json。"""

USUAL_SECONDS = 15
"""没有量过的页，当作要这么久。"""


def execution_hash(root: Path) -> str:
    """所有会影响输出的文件的散列。"""
    digest = hashlib.sha256()
    for pattern in INPUTS:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(path.relative_to(root).as_posix().encode() + b"\0")
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder(root: Path) -> Path:
    """此刻的执行缓存；以前的删去。"""
    current = root / "_build/.jupyter_cache" / execution_hash(root)
    for old in current.parent.glob("*"):
        if old != current:
            shutil.rmtree(old)
    return current


class Page(NamedTuple):
    """书里的一页笔记本。"""

    docname: str  # 例如 chapters/01_overview
    path: Path
    title: str
    seconds: float  # 估计要运行多久


def notebook_pages(root: Path) -> list[Page]:
    """目录里要运行的各页，按目录的次序。"""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]
    timings = json.loads(TIMINGS.read_text(encoding="utf-8"))
    pages = []
    for name in names:
        path = root / f"{name}.md"
        text = path.read_text(encoding="utf-8")
        if is_myst_markdown_notebook(text):
            number, title = path.name[:2], re.search("^# (.+)$", text, re.MULTILINE)[1]
            timing = (timings.get(number) or {}).get("cpu")
            chapter = f"第 {int(number)} 章 " if number.isdecimal() else ""
            seconds = timing["seconds"] if timing else USUAL_SECONDS
            pages.append(Page(name, path, chapter + title, seconds))
    return pages


def side_by_side() -> int:
    """几页并排运行：有几个核，内存又装得下几页。"""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, int(psutil.virtual_memory().available / PEAK_MEMORY)))


class Outcome(NamedTuple):
    """运行一页的结果。"""

    seconds: float
    error: str  # 出错的那一格和错误；没有出错是空的


def run(page: Page, notebook: NotebookNode, log: IO) -> Outcome:
    """从头到尾运行一页，输出写进 notebook；内核的警告写进 log。"""
    begin, error = time.perf_counter(), ""
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        resources={"metadata": {"path": str(page.path.parent)}},
        record_timing=False,  # 时刻记在单元里，缓存就认不出它了
    )
    try:
        client.execute(stderr=log)
    except (CellControlSignal, DeadKernelError) as failure:
        error = str(failure)
    return Outcome(time.perf_counter() - begin, error)


def order(pages: list[Page]) -> list[Page]:
    """运行的次序：先是第一页，读的人从它开始；然后久的在前，免得最后只剩一页在跑，别的核闲着。"""
    return pages[:1] + sorted(pages[1:], key=lambda page: -page.seconds)


def seconds_left(waiting: list[Page], done: dict[Page, float], jobs: int) -> float:
    """还要几秒：没做完的各页的估计，按做完的各页实际快慢折算，几页并排。

    当作另有一分钟估得正好：头一两页短，估得不准，不让它们说了算。
    """
    slowness = (60 + sum(done.values())) / (60 + sum(page.seconds for page in done))
    work = sum(page.seconds for page in waiting)
    longest = max((page.seconds for page in waiting), default=0)
    return slowness * max(work / jobs, longest)


class Runs:
    """还没有结果的各页，几页并排地运行。用 ``with``：中途出了事，内核也一起停下。

    Args:
        notebooks: 各页的笔记本；输出写进去。
        cache: 执行缓存在哪里；里面已有的不再运行。
        log: 内核的警告和出错的全文写到哪里。
    """

    def __init__(self, notebooks: dict[Page, NotebookNode], cache: Path, log: IO):
        self.notebooks, self.cache, self.log = notebooks, get_cache(str(cache)), log
        todo = [page for page in notebooks if not self.has(page)]
        self.jobs = min(side_by_side(), len(todo))
        self.pool = ThreadPoolExecutor(self.jobs or 1)
        self.running = {
            self.pool.submit(run, page, notebooks[page], log): page for page in order(todo)
        }
        self.done: dict[Page, float] = {}  # 页 → 用了几秒
        self.failed: list[Page] = []
        if todo:
            left = duration(seconds_left(todo, {}, self.jobs))
            say(
                f"要运行 {len(todo)} 页，{self.jobs} 页并排，约 {left}；细节写在 _build/book.log"
            )

    def has(self, page: Page) -> bool:
        """缓存里有没有这一页。"""
        try:
            self.cache.match_cache_notebook(self.notebooks[page])
        except KeyError:
            return False
        return True

    def unfinished(self) -> set[str]:
        """没有输出的各页：还在运行或排队的，和出错的。"""
        return {page.docname for page in [*self.running.values(), *self.failed]}

    def finished(self) -> Iterator[set[str]]:
        """每有几页运行完，一页说一行进展，放进缓存，交出它们的名字；出错的不交。"""
        total = len(self.running)
        while self.running:
            ready, _ = wait(self.running, return_when=FIRST_COMPLETED)
            fresh = set()
            for future in ready:
                page, outcome = self.running.pop(future), future.result()
                self.done[page] = outcome.seconds
                if outcome.error:
                    self.failed.append(page)
                    self.log.write(f"\n{page.docname} 运行出错：\n{outcome.error}\n")
                else:
                    self.keep(page)
                    fresh.add(page.docname)
                line = f"[{len(self.done):2d}/{total}] {page.title}：{outcome.seconds:.0f} 秒"
                line += "，运行出错" if outcome.error else ""
                left = seconds_left(list(self.running.values()), self.done, self.jobs)
                say(line + (f"，还要约 {duration(left)}" if self.running else ""))
            yield fresh

    def keep(self, page: Page) -> None:
        """把运行过的一页放进缓存。"""
        data = {"execution_seconds": self.done[page]}
        bundle = CacheBundleIn(self.notebooks[page], str(page.path), data=data)
        self.cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.pool.shutdown(wait=False, cancel_futures=True)
        if kind is not None:  # 内核各有自己的会话，收不到终端的 Ctrl-C
            for child in psutil.Process().children(recursive=True):
                child.kill()


def say(text: str) -> None:
    print(text, flush=True)


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} 分 {rest:02d} 秒" if minutes else f"{rest} 秒"
