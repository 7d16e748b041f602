"""在本机打开做好的书。"""

import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = Path(__file__).parents[3] / "_build/html"
FIRST_PORT = 8000


class QuietHandler(SimpleHTTPRequestHandler):
    """不在终端里逐条打印请求。"""

    def log_message(self, *args) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # 书可能正在做，网页随时会变
        super().end_headers()


class Server(ThreadingHTTPServer):
    # Linux 上停下后马上重开，要能用同一个端口；macOS 上这样做会和占着端口的程序抢。
    allow_reuse_address = sys.platform == "linux"
    daemon_threads = True


def open_server(port: int | None = None, folder: Path = HTML) -> Server:
    """在 127.0.0.1 上开一个静态网页服务器。

    Args:
        port: 端口；0 由系统挑；None 从 8000 起找第一个空着的。

    Raises:
        OSError: 指定的端口被占用，或 8000 起的 100 个端口都被占用。
    """
    candidates = range(FIRST_PORT, FIRST_PORT + 100) if port is None else [port]
    handler = partial(QuietHandler, directory=str(folder))
    for candidate in candidates:
        try:
            return Server(("127.0.0.1", candidate), handler)
        except OSError as error:
            failure = error
    raise failure


def parse_port(text: str) -> int:
    """命令行上的端口；不是 0 到 65535 的整数就退出。"""
    if not (text.isdecimal() and int(text) <= 65535):
        sys.exit(
            f"PORT = {text!r} 不合法；允许的取值：0 到 65535 的整数，例如 make book PORT=9000"
        )
    return int(text)


def open_or_exit(port: str, folder: Path) -> Server:
    """照命令行上的端口开服务器，空的由 8000 起找；开不了就说明原因，退出。"""
    number = parse_port(port) if port else None
    try:
        return open_server(number, folder)
    except OSError as error:
        place = FIRST_PORT if number is None else number
        sys.exit(f"端口 {place} 用不了（{error.strerror}）。请换一个：make book PORT=9000")


def wait_for_ctrl_c() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
