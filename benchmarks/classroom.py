"""三十个人同时翻开一章，一台电脑供得上吗：三个真的 Chromium，其余是照它要的文件逐个取的客户，都在本机。

    make html && python benchmarks/classroom.py [chapters/06_gae.html] [人数]

每个客户像第一次来：没有缓存，六条连接。只开 make book 的那个服务器，只连 127.0.0.1，每人只取一遍。
本机量不出无线网：最后一行说三十份一共多少字节，除以教室的网速就是网络要的时间。
"""

import http.client
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from conftest import CHROMIUM_FLAGS, find_chromium  # noqa: E402

from book.tools.site import serve  # noqa: E402

BROWSERS = 3
CONNECTIONS = 6


def opened(browser, url: str) -> tuple[float, list[str]]:
    """一个新的浏览器窗口翻开一页：到公式排好、小组件画好的秒数，和它要过的路径。"""
    page = browser.new_context().new_page()
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if r.url.startswith("http") else None)
    begin = time.perf_counter()
    page.goto(url, wait_until="load", timeout=300_000)
    page.wait_for_function(
        "!document.querySelector('.math:not(:has(mjx-container))') &&"
        "[...document.querySelectorAll('.ppo-widget-view')].every((x) => x.childElementCount)",
        timeout=300_000,
    )
    seconds = time.perf_counter() - begin
    page.context.close()
    return seconds, [address.split("/", 3)[3] for address in asked]


def fetch(port: int, paths: list[str]) -> int:
    """用一条连接依次取几个文件，返回收到的字节。"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    size = 0
    for path in paths:
        connection.request("GET", f"/{path}", headers={"Accept-Encoding": "gzip"})
        size += len(connection.getresponse().read())
    connection.close()
    return size


def client(port: int, paths: list[str]) -> tuple[float, int]:
    """一个客户：先取网页，再用几条连接取它要的别的；返回秒数和字节。"""
    begin = time.perf_counter()
    size = fetch(port, paths[:1])
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        rest = [paths[1 + i :: CONNECTIONS] for i in range(CONNECTIONS)]
        size += sum(pool.map(lambda some: fetch(port, some), rest))
    return time.perf_counter() - begin, size


def main() -> None:
    page = sys.argv[1] if sys.argv[1:] else "chapters/06_gae.html"
    people = int(sys.argv[2]) if sys.argv[2:] else 30
    html = Path(os.environ.get("BOOK_HTML", serve.HTML))
    server = serve.open_server(port=0, folder=html)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port
    url = f"http://127.0.0.1:{port}/{page}"

    def browse() -> float:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)  # fmt: skip
            try:
                together.wait(180)
                return opened(browser, url)[0]
            finally:
                browser.close()

    def ask(paths: list[str]) -> tuple[float, int]:
        together.wait(180)
        return client(port, paths)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)  # fmt: skip
        alone, paths = opened(browser, url)
        browser.close()
    together = threading.Barrier(people)
    with ThreadPoolExecutor(people) as pool:
        browsers = [pool.submit(browse) for _ in range(BROWSERS)]
        clients = [pool.submit(ask, paths) for _ in range(people - BROWSERS)]
        seen = sorted(x.result() for x in browsers)
        got = [x.result() for x in clients]
    server.shutdown()
    size = got[0][1]
    print(f"{page}：{len(paths)} 个文件，{size / 1e6:.2f} MB；机器的负载 {os.getloadavg()[0]:.1f}，{os.cpu_count()} 个核")  # fmt: skip
    print(f"一个浏览器独自翻开：{alone:.1f} 秒")
    print(f"{people} 个一起：{BROWSERS} 个浏览器 {'、'.join(f'{x:.1f}' for x in seen)} 秒；其余取完全部文件，最慢 {max(x for x, _ in got):.1f} 秒")  # fmt: skip
    print(f"{people} 份一共 {people * size / 1e6:.0f} MB：50 Mbit/s 的无线网要 {people * size * 8 / 50e6:.0f} 秒，300 Mbit/s 要 {people * size * 8 / 300e6:.1f} 秒")  # fmt: skip


if __name__ == "__main__":
    main()
