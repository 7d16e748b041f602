"""网页有多重，多久能读：每页载入的全部文件 gzip 后的字节数，和限速下的首次绘制与就绪。

    make html && python benchmarks/page_weight.py

浏览器是真的 Chromium，经 CDP 限到 1.6 Mbit/s、往返 150 毫秒，不带缓存，每页载入三次取中位数。
“就绪”是 load 事件已过、公式也排好了。文字类的文件按 gzip 计，与一般的静态托管相同；
字体和图片本身已经压缩过，按原样计。“不含回放”去掉回放的数据再算，回放的长短由内容定。
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import statistics
import sys
import threading
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from book.tools.site.serve import HTML, Server, open_server  # noqa: E402

COMPRESSED = {".woff", ".woff2", ".png", ".jpg", ".webp", ".gif", ".zip"}
"""再压也不会小的文件。"""

NETWORK = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1.6e6 / 8,
    "uploadThroughput": 750e3 / 8,
}
ROUNDS = 3
FILM = re.compile(r"^const film = .*$", flags=re.MULTILINE)
READY = """async () => {
  if (document.readyState !== "complete")
    await new Promise((done) => addEventListener("load", done));
  if (window.MathJax?.startup?.promise) await MathJax.startup.promise;
  await document.fonts.ready;
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return [paint?.startTime ?? NaN, performance.now()];
}"""


class Weight(NamedTuple):
    """一页的分量，字节。"""

    total: int
    without_replays: int
    files: dict[str, int]


@cache
def packed_file(path: Path) -> tuple[bytes, bool]:
    """一个文件发出去的样子，和它是不是压缩过。"""
    raw = path.read_bytes()
    if path.suffix in COMPRESSED:
        return raw, False
    return gzip.compress(raw, mtime=0), True


def open_gzip_server(folder: Path = HTML) -> Server:
    """在系统挑的端口上开一个会压缩的服务器，已经在后台运行。"""
    server = open_server(0, folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def weigh(html: Path, page: str, urls: list[str]) -> Weight:
    """由一页载入时的全部网址算出分量。"""
    paths = {unquote(urlsplit(url).path).lstrip("/") for url in urls if url.startswith("http")}
    files = {path: len(packed_file(html / path)[0]) for path in sorted(paths)}
    text = (html / page).read_text(encoding="utf-8")
    bare = len(gzip.compress(FILM.sub("", text).encode(), mtime=0))
    total = sum(files.values())
    return Weight(total, total - files[page] + bare, files)


def load(browser, server: Server, page: str, throttle: bool) -> tuple[list[str], float, float]:
    """载入一页一次：(要过的网址, 首次绘制的秒数, 就绪的秒数)。"""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        tab = context.new_page()
        session = context.new_cdp_session(tab)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        if throttle:
            session.send("Network.emulateNetworkConditions", NETWORK)
        urls: list[str] = []
        tab.on("request", lambda request: urls.append(request.url))
        tab.goto(f"http://127.0.0.1:{server.server_port}/{page}", wait_until="load")
        paint, ready = tab.evaluate(READY)
        return urls, paint / 1000, ready / 1000
    finally:
        context.close()


def book_pages(html: Path = HTML) -> list[str]:
    """书里的各页，不算转到封面的那一页。"""
    pages = (path.relative_to(html).as_posix() for path in html.rglob("*.html"))
    return sorted(page for page in pages if page != "index.html" and "_static" not in page)


def main() -> None:
    from playwright.sync_api import sync_playwright

    names = ["chromium", "chromium-browser", "google-chrome"]
    executable = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, names)), None
    )
    if executable is None:
        sys.exit("没有找到 Chromium（apt-get install chromium，或设环境变量 CHROMIUM）")
    print("| 页 | gzip 后 kB | 不含回放 kB | 首次绘制 秒 | 就绪 秒 | 最大的三个文件 kB |")
    print("|---|---:|---:|---:|---:|---|")
    server = open_gzip_server()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for page in book_pages():
            rounds = [load(browser, server, page, throttle=True) for _ in range(ROUNDS)]
            weight = weigh(HTML, page, rounds[0][0])
            paint, ready = (statistics.median(r[i] for r in rounds) for i in (1, 2))
            biggest = sorted(weight.files.items(), key=lambda item: -item[1])[:3]
            names = "，".join(f"{Path(path).name} {size / 1e3:.0f}" for path, size in biggest)
            print(
                f"| {page} | {weight.total / 1e3:.0f} | {weight.without_replays / 1e3:.0f} "
                f"| {paint:.2f} | {ready:.2f} | {names} |",
                flush=True,
            )
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
