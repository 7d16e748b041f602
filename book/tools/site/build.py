"""做书：几章并排运行（结果有缓存），写出静态网页到 _build/html。有任何警告就失败。

python -m book.tools.site.build                做书
python -m book.tools.site.build --zip          做书，再打成 _build/ppo-book.zip，解开就能读
python -m book.tools.site.build --serve [端口]  边做边读：先打开网址，哪一章运行完了，那一页就更新

终端里一章一行；Sphinx 的话和出错的全文写进 _build/book.log。
"""

import argparse
import copy
import errno
import io
import os
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_book.config import get_final_config
from myst_nb.core.read import create_nb_reader
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util.console import nocolor
from sphinx.util.docutils import docutils_namespace, patch_docutils

from book.tools.extension import slim
from book.tools.site import chapters, serve
from book.tools.site.chapters import Page, duration, say

ROOT = Path(__file__).parents[3]
HTML = ROOT / "_build/html"

ROOM = 300e6
"""做书要多少字节的空间：网页三份，执行结果一份。"""

FRONT_DOOR = """<!DOCTYPE html>
<html lang="zh-CN">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>PPO 从 0 到 100%</title>
<link rel="icon" href="_static/favicon.svg" type="image/svg+xml">
<meta http-equiv="refresh" content="0; url=book/index.html">
</head>
<body><main><h1>PPO 从 0 到 100%</h1><p><a href="book/index.html">翻开封面</a></p></main></body>
</html>
"""
"""网址不写页名时看到的页，马上转到封面。"""


class BookFailed(Exception):
    """书没有做好；说的话可以直接给人看。"""


# ---- 网页 --------------------------------------------------------------------


class Site:
    """用 Sphinx 做网页。

    ``update`` 可以反复调用，只重读有了新结果的页。头一次总是从头读所有页面：增量构建不会重报旧警告，
    也看不出 ppo_lib 变了。慢的只有运行各章，那一步由 chapters.py 做、有缓存。

    Args:
        root: 书的源在哪里。
        config: _config.yml 和 _toc.yml 在哪里。
        build: Sphinx 在其中的 sphinx/ 写网页，减重之后再换进 html/。
        cache: 各页的执行结果在哪里。
        log: Sphinx 的话写到哪里。
    """

    def __init__(self, root: Path, config: Path, build: Path, cache: Path, log: io.TextIOBase):
        self.root, self.html, self.stage, self.log = root, build / "html", build / "sphinx", log
        self.warnings: list[str] = []
        self.html_made = False
        shutil.rmtree(self.stage, ignore_errors=True)
        self.stage.mkdir(parents=True)
        toc = {"external_toc_path": str(config / "_toc.yml"), "latex_individualpages": False}
        self.settings, _ = get_final_config(
            user_yaml=config / "_config.yml", cli_config=toc, sourcedir=root
        )
        self.settings["nb_execution_cache_path"] = str(cache)
        nocolor()

    @contextmanager
    def sphinx(self) -> Iterator[Sphinx]:
        """一个新的 Sphinx，接着用上一次读到的。几个扩展（目录的编号等）自己记着数，一个只能用一次。"""
        warnings = io.StringIO()
        with patch_docutils(str(self.root)), docutils_namespace():
            yield Sphinx(
                srcdir=str(self.root),
                confdir=None,
                outdir=str(self.stage / "html"),
                doctreedir=str(self.stage / "doctrees"),
                buildername="html",
                confoverrides=copy.deepcopy(self.settings),
                status=self.log,
                warning=Tee(self.log, warnings),
            )
        self.warnings += warnings.getvalue().splitlines()

    def read(self, pages: Iterable[Page]) -> dict[Page, NotebookNode]:
        """照 Sphinx 的读法读各页笔记本：缓存按这样读出的代码格来认。"""
        found = {}
        with self.sphinx() as app:
            for page in pages:
                text = page.path.read_text(encoding="utf-8")
                configs = app.env.myst_config, app.env.mystnb_config
                found[page] = create_nb_reader(str(page.path), *configs, text).read(text)
        return found

    def update(self, waiting: Iterable[str] = (), fresh: Iterable[str] = ()) -> None:
        """做网页，换进 ``html``。

        Args:
            waiting: 还没有运行完的页；网页上写明，不取它们的输出。
            fresh: 上次之后运行完的页，要重读。还有页没运行完时，只重写这几页；头一次、和都运行完了的
                那一次，全部重写：侧栏的进度要数各页的小测验。
        """
        waiting, fresh = set(waiting), set(fresh)
        with self.sphinx() as app:
            app.config.book_waiting = waiting
            app.env.mystnb_config = app.env.mystnb_config.copy(
                execution_excludepatterns=[f"{name}.md" for name in waiting]
            )
            app.connect("env-get-outdated", lambda app, env, *_: fresh)
            some = (
                [str(self.root / f"{name}.md") for name in sorted(fresh)]
                if waiting and self.html_made
                else []
            )
            app.build(force_all=not some, filenames=some)
        # 没有运行的页缺这缺那，不算毛病；运行完了还会重读
        self.warnings = [
            line for line in self.warnings if not any(f"{name}.md" in line for name in waiting)
        ]
        ready = self.stage / "ready"
        shutil.rmtree(ready, ignore_errors=True)
        shutil.copytree(self.stage / "html", ready)
        slim.slim_down(ready, styles=not waiting)
        (ready / "index.html").write_text(FRONT_DOOR, encoding="utf-8")
        (ready / ".nojekyll").touch()  # 否则 GitHub Pages 会略过 _static
        publish(ready, self.html)
        self.html_made = True


class Tee:
    """写一份，抄一份。"""

    def __init__(self, *files):
        self.files = files

    def write(self, text: str) -> None:
        for file in self.files:
            file.write(text)

    def flush(self) -> None:
        for file in self.files:
            file.flush()


def publish(source: Path, target: Path) -> None:
    """让 target 与 source 一样。变了的文件一个个换上，读的人读到的总是完整的一份。"""
    target.mkdir(parents=True, exist_ok=True)
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    for name in sorted(wanted):
        new, content = target / name, (source / name).read_bytes()
        if not (new.is_file() and new.read_bytes() == content):
            new.parent.mkdir(parents=True, exist_ok=True)
            temporary = new.with_name(f".{new.name}.new")
            temporary.write_bytes(content)
            os.replace(temporary, new)
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target) not in wanted:
            path.unlink()


def pack(html: Path, target: Path) -> Path:
    """把网页打成一个 zip，都在文件夹 ppo-book 里。同样的网页打成同样的字节。"""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(html.rglob("*")):
            if path.is_file():
                name = f"ppo-book/{path.relative_to(html).as_posix()}"
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    return target


# ---- 整本书 ------------------------------------------------------------------


def build(root: Path = ROOT, live: bool = False, on_readable=lambda waiting: None) -> None:
    """做整本书，一章一行地说进展。

    Args:
        live: 先做没有输出的网页，再一页页更新；否则等各页都运行完，做一次。
        on_readable: 第一次有网页可读时调用，参数是还有几页没有运行完。

    Raises:
        BookFailed: 有一页运行出错，或构建有警告。
    """
    log_file = root / "_build/book.log"
    log_file.parent.mkdir(exist_ok=True)
    with log_file.open("w", encoding="utf-8") as log:
        cache = chapters.cache_folder(root)  # 做书的途中改了库，也还是这一处
        site = Site(root, root, log_file.parent, cache, log)
        with chapters.Runs(site.read(chapters.notebook_pages(root)), cache, log) as runs:
            early = live and bool(runs.unfinished())
            if early:
                site.update(runs.unfinished())
                on_readable(len(runs.unfinished()))
            fresh: set[str] = set()
            for fresh in runs.finished():
                if live and fresh and runs.running:
                    site.update(runs.unfinished(), fresh)
        site.update(runs.unfinished(), fresh)
        if not early:
            on_readable(0)
    where = shown(log_file, root)
    if runs.failed:
        names = "；".join(page.title for page in runs.failed)
        raise BookFailed(f"有 {len(runs.failed)} 页运行出错：{names}。全文在 {where}")
    if site.warnings:
        first = "\n".join(site.warnings[:20])
        raise BookFailed(f"做网页时有警告，全文在 {where}：\n{first}")


def shown(path: Path, root: Path = ROOT) -> str:
    return path.relative_to(root).as_posix()


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="做书")
    parser.add_argument("--zip", action="store_true", help="打成 _build/ppo-book.zip")
    parser.add_argument("--serve", nargs="?", const="", metavar="端口", help="边做边读")
    options = parser.parse_args(arguments)
    if (free := shutil.disk_usage(root).free) < ROOM:
        say(f"磁盘只剩 {free / 1e6:.0f} MB，做书要 {ROOM / 1e6:.0f} MB：请先腾出空间。")
        return 1
    live, begin = options.serve is not None, time.perf_counter()
    html, target = root / "_build/html", root / "_build/ppo-book.zip"
    server = serve.open_or_exit(options.serve, html) if live else None

    def on_readable(waiting: int) -> None:
        if server is not None:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            say(f"可以读了：http://127.0.0.1:{server.server_port}/ （按 Ctrl-C 停止）")
            if waiting:
                say(f"其中 {waiting} 页还在运行，页上会写明；运行完了，那一页自己刷新。")

    status = 0
    try:
        build(root, live, on_readable)
        say(
            f"书做好了（{duration(time.perf_counter() - begin)}）：{shown(html, root)}/index.html"
        )
        if options.zip:
            size = pack(html, target).stat().st_size / 1e6
            say(f"打包好了（{size:.1f} MB）：{shown(target, root)}，解开后打开 index.html")
    except BookFailed as failure:
        say(f"书没有做好。{failure}")
        status = 1
    except OSError as error:
        advice = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(root).free / 1e6
            advice = f"磁盘还剩 {free:.0f} MB；腾出空间后再做，运行过的章不必重来。"
        say(f"书没有做好：{error}。{advice}")
        return 1
    except KeyboardInterrupt:
        say("\n停下了。运行完的章已经存好，下次接着做。")
        return 130
    if live:
        serve.wait_for_ctrl_c("其余的页可以接着读（按 Ctrl-C 停止）。" if status else None)
    return status


if __name__ == "__main__":
    sys.exit(main())
