"""做书：几页并排运行，一页一行进展，边做边读；出了事说中文，运行过的不必重来。"""

import gzip
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from book.tools.extension.waiting import NOTICE
from book.tools.site import build, chapters, serve
from book.tools.site.chapters import Page

ROOT = Path(__file__).parents[1]


def page(name, seconds):
    return Page(name, Path(f"{name}.md"), name, seconds)


# ---- 估计与次序 --------------------------------------------------------------


def test_the_time_left_follows_the_pace_and_the_longest_page():
    pages = [page("a", 10), page("b", 20), page("c", 30)]
    assert chapters.seconds_left(pages, {}, 2) == 30  # 一共 60 秒，两页并排
    assert chapters.seconds_left(pages, {}, 3) == 30  # 三页并排也要等最长的一页
    assert chapters.seconds_left(pages[1:], {pages[0]: 80.0}, 1) == 100  # 比估计慢一倍
    assert chapters.seconds_left(pages[1:], {pages[0]: 2.0}, 1) > 44  # 第一页快，别的未必
    assert chapters.seconds_left([], {pages[0]: 20.0}, 2) == 0


def test_the_first_page_runs_first_and_then_the_longest():
    pages = [page("a", 10), page("b", 20), page("c", 30)]
    assert [one.title for one in chapters.order(pages)] == ["a", "c", "b"]
    assert chapters.order([]) == []


@pytest.mark.parametrize(
    "cores, gigabytes, jobs", [(2, 8, 2), (8, 8, 4), (2, 3, 1), (4, 0.5, 1), (1, 64, 1)]
)
def test_as_many_pages_at_once_as_cores_and_memory_allow(monkeypatch, cores, gigabytes, jobs):
    memory = type("Memory", (), {"available": gigabytes * 1e9})
    monkeypatch.setattr(chapters.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert chapters.side_by_side() == jobs


def test_every_chapter_is_run_and_prose_is_not():
    names = [page.docname for page in chapters.notebook_pages(ROOT)]
    written = {path.stem for path in (ROOT / "chapters").glob("*.md")}
    assert {name.removeprefix("chapters/") for name in names} >= written
    assert names[0] == "book/index"  # 封面先有，接着是各章
    assert names[1:] == sorted(names[1:], key=lambda name: not name.startswith("chapters/"))
    assert "book/glossary" not in names and "book/errata" in names


def test_durations_are_written_for_people():
    assert [chapters.duration(x) for x in (7.4, 60, 125)] == [
        "7 秒",
        "1 分 00 秒",
        "2 分 05 秒",
    ]


# ---- 换上网页 ----------------------------------------------------------------


def test_publishing_replaces_what_changed_and_removes_what_is_gone(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    for folder, name, text in [
        (new, "a.html", "一"), (new, "sub/b.html", "新"), (old, "a.html", "一"),
        (old, "sub/b.html", "旧"), (old, "gone.html", "没了"),
    ]:  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    os.utime(old / "a.html", (1e9, 1e9))
    build.publish(new, old)
    there = {p.relative_to(old).as_posix() for p in old.rglob("*") if p.is_file()}
    assert there == {"a.html", "sub/b.html"} and (old / "sub/b.html").read_text() == "新"
    assert (old / "a.html").stat().st_mtime == 1e9  # 没有变的不动：读的人不必重取


# ---- 一本小书：真的做 --------------------------------------------------------

NOTEBOOK = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  name: python3
---

# {title}

```{{code-cell}} ipython3
{code}
```
"""

RUN = "import sys; from pathlib import Path; from book.tools.site import build; "
RUN += "sys.exit(build.main(sys.argv[2:], Path(sys.argv[1])))"


@pytest.fixture
def little_book(tmp_path):
    """一本两章的书；第二章要等文件 go 出现才往下走。"""
    (tmp_path / "book").mkdir()
    (tmp_path / "chapters").mkdir()
    shutil.copytree(ROOT / "book/static", tmp_path / "book/static")
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    (tmp_path / "_config.yml").write_text(config, encoding="utf-8")
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n"
        "  - caption: 正文\n    numbered: true\n    chapters:\n"
        "      - file: chapters/01_one\n      - file: chapters/02_two\n"
    )
    (tmp_path / "book/index.md").write_text("# 小书\n", encoding="utf-8")
    wait = (
        "import pathlib, time\nwhile not pathlib.Path('../go').exists(): time.sleep(0.1)\n"
        "print('甲' * 3)"
    )
    for name, title, code in [("01_one", "一", "print('乙' * 3)"), ("02_two", "二", wait)]:
        text = NOTEBOOK.format(title=title, code=code)
        (tmp_path / f"chapters/{name}.md").write_text(text, encoding="utf-8")
    return tmp_path


def start(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), *arguments], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        # 测试若是在 shell 的后台启动的，SIGINT 会被忽略，而且传给子进程
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def read_until(process, pattern):
    """读终端的话，直到有一行合 pattern；返回这一行的匹配。"""
    said = []
    for line in process.stdout:
        said.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError("".join(said))


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_the_book_can_be_read_while_its_chapters_run(little_book, browser):
    """网址先开；没有运行完的页写明，运行完了自己刷新，不必等别的页；再做一次，一页也不必运行。"""
    process = start(little_book, "--serve", "0")
    try:
        url = read_until(process, r"可以读了：(http\S+)")[1]
        tab = browser.new_page()
        tab.goto(f"{url}chapters/02_two.html")
        assert tab.locator("#ppo-waiting").is_visible() and "甲甲甲" not in tab.content()
        read_until(process, r"\[ 1/2\] 第 1 章 一：\d+ 秒，还要约 \d+ 秒")
        one = f"{url}chapters/01_one.html"
        wait_for(lambda: "乙乙乙" in urllib.request.urlopen(one).read().decode())
        (little_book / "go").touch()
        tab.wait_for_selector("text=甲甲甲", timeout=60_000)
        assert tab.locator("#ppo-waiting").count() == 0
        tab.close()
        read_until(process, "书做好了.*_build/html/index.html")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
    page = (little_book / "_build/html/chapters/02_two.html").read_text(encoding="utf-8")
    assert "ppo-waiting" not in page and "PPO_PAGES" in page
    again = start(little_book)
    said = again.communicate(timeout=120)[0]
    assert again.returncode == 0 and "要运行" not in said, said


@pytest.mark.slow
def test_a_failing_chapter_is_named_and_the_others_are_kept(little_book):
    two = little_book / "chapters/02_two.md"
    waits = two.read_text(encoding="utf-8")
    two.write_text(waits.replace("print('甲' * 3)", "1 / 0"), encoding="utf-8")
    process = start(little_book)
    try:
        read_until(process, r"\[ 1/2\] 第 1 章 一")  # 第一章做完了，第二章才出错
        (little_book / "go").touch()
        said = process.communicate(timeout=120)[0]
    finally:
        process.kill()
    assert process.returncode == 1
    assert "第 2 章 二" in said and "运行出错" in said and "_build/book.log" in said
    assert "ZeroDivisionError" in (little_book / "_build/book.log").read_text(encoding="utf-8")
    assert "Traceback" not in said
    html = little_book / "_build/html"
    assert "乙乙乙" in (html / "chapters/01_one.html").read_text(encoding="utf-8")
    assert (html / "book/index.html").exists()


@pytest.mark.slow
def test_when_a_chapter_fails_the_others_can_still_be_read(little_book):
    broken = NOTEBOOK.format(title="二", code="1 / 0")
    (little_book / "chapters/02_two.md").write_text(broken, encoding="utf-8")
    process = start(little_book, "--serve", "0")
    try:
        url = read_until(process, r"可以读了：(http\S+)")[1]
        read_until(process, "书没有做好.*第 2 章 二")
        read_until(process, "其余的页可以接着读")
        assert "乙乙乙" in urllib.request.urlopen(f"{url}chapters/01_one.html").read().decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 1
    finally:
        process.kill()


@pytest.mark.slow
def test_ctrl_c_stops_the_kernels_too(little_book):
    process = start(little_book)
    try:
        read_until(process, r"\[ 1/2\]")
        family = psutil.Process(process.pid).children(recursive=True)
        assert family  # 第二章的内核还在等
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[0]
        assert process.returncode == 130 and "下次接着做" in said and "Traceback" not in said
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
    finally:
        process.kill()


def test_a_full_disk_and_a_taken_port_are_told_in_chinese(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "build", full)
    assert build.main([], tmp_path) == 1
    assert re.search(r"磁盘还剩 \d+ MB；腾出空间后再做", capsys.readouterr().out)
    monkeypatch.setattr(build, "build", lambda *_: Path("nowhere.md").read_text())
    assert build.main([], tmp_path) == 1
    said = capsys.readouterr().out
    assert "nowhere.md" in said and "磁盘" not in said
    monkeypatch.setattr(build, "ROOM", 1e18)
    assert build.main([], tmp_path) == 1
    assert re.search(r"磁盘只剩 \d+ MB，做书要 .*请先腾出空间", capsys.readouterr().out)
    with serve.open_server(0, tmp_path) as taken:
        with pytest.raises(SystemExit, match=r"用不了.*PORT=9000"):
            serve.open_or_exit(str(taken.server_port), tmp_path)
    with pytest.raises(SystemExit, match="0 到 65535"):
        serve.open_or_exit("abc", tmp_path)


def test_the_server_squeezes_text_tells_the_unchanged_and_keeps_a_queue(tmp_path):
    (tmp_path / "a.html").write_text("字" * 10_000, encoding="utf-8")
    (tmp_path / "b.png").write_bytes(b"1" * 50)
    with serve.open_server(0, tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)

        def get(path, **headers):
            connection.request("GET", path, headers={"Accept-Encoding": "gzip"} | headers)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()

        status, headers, body = get("/a.html")
        assert status == 200 and len(body) < 1000
        assert gzip.decompress(body).decode() == "字" * 10_000
        assert get("/a.html", **{"If-None-Match": headers["ETag"]})[0::2] == (304, b"")
        (tmp_path / "a.html").write_text("新", encoding="utf-8")
        status, _, body = get("/a.html", **{"If-None-Match": headers["ETag"]})
        assert (status, gzip.decompress(body).decode()) == (200, "新")
        assert get("/b.png")[2] == b"1" * 50 and get("/nothing.html")[0] == 404
        assert get("/a.html", **{"Accept-Encoding": "identity"})[2].decode() == "新"
        waiting = [
            socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(180)
        ]
        for one in waiting:  # 三十个浏览器的连接都接得住
            one.sendall(b"GET /b.png HTTP/1.0\r\n\r\n")
        assert all(one.makefile("rb").readline().split()[1] == b"200" for one in waiting)
        for one in waiting:
            one.close()
        server.shutdown()


def test_the_notice_asks_only_its_own_page():
    assert "fetch(location.href" in NOTICE and "://" not in NOTICE


# ---- make 说的话 -------------------------------------------------------------


@pytest.fixture
def make(tmp_path):
    """在一个只有 Makefile 的文件夹里 make setup，PYTHON 是一个小脚本。"""
    for name in ("Makefile", "requirements-build.lock", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)

    def run(script):
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        command = ["make", "setup", f"PYTHON={python}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.mark.skipif(shutil.which("make") is None, reason="没有 make")
def test_make_explains_what_is_missing(make):
    old = make('[ "$1" = --version ] && echo Python 3.9.1; exit 1')
    assert old.returncode and "需要 Python 3.11 或更新的版本" in old.stderr
    assert "Python 3.9.1" in old.stderr and "make setup PYTHON=python3.12" in old.stderr
    bare = make('case "$2" in *ensurepip*) exit 1;; esac')
    assert bare.returncode and "apt-get install python3-venv" in bare.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="没有 make")
def test_make_explains_a_failed_installation(make):
    """venv 做得出来，pip 却装不上：没有网络，或者盘满了。"""
    pip = '#!/bin/sh\\n[ "$1" = -m ] && echo "ERROR: No matching distribution" && exit 1\\nexit 0\\n'
    failed = make(
        f"if [ \"$2\" = venv ]; then mkdir -p .venv/bin; printf '{pip}' > .venv/bin/python;"
        " chmod +x .venv/bin/python; fi"
    )
    assert failed.returncode and "ERROR: No matching distribution" in failed.stderr
    assert re.search(r"没有装好(.|\n)*还剩 \d+ MB(.|\n)*检查网络", failed.stderr), failed.stderr
