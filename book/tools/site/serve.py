"""在本机打开做好的书：python -m book.tools.site.serve [端口]"""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = Path(__file__).parents[3] / "_build/html"
FIRST_PORT = 8000


class QuietHandler(SimpleHTTPRequestHandler):
    """不在终端里逐条打印请求。"""

    def log_message(self, *args) -> None:
        pass


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


def main() -> None:
    port = parse_port(sys.argv[1]) if len(sys.argv) > 1 else None
    try:
        server = open_server(port)
    except OSError as error:
        sys.exit(
            f"端口 {port or FIRST_PORT} 用不了（{error.strerror}）。请换一个：make book PORT=9000"
        )
    print(
        f"请在浏览器里打开 http://127.0.0.1:{server.server_port}/ （按 Ctrl-C 停止）",
        flush=True,
    )
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()


if __name__ == "__main__":
    main()
