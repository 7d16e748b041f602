"""打开做好的书。

    python -m book.tools.site.serve [端口]      让教室里的人也打得开：在所有网卡上

只有读：不能上传，看不到书以外的文件。
"""

import gzip
import io
import sys
import threading
from functools import lru_cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = Path(__file__).parents[3] / "_build/html"
FIRST_PORT = 8000


SQUEEZED = {".html", ".css", ".js", ".svg", ".json", ".txt"}
"""压缩了再发的文件；无线网上，三十个人一起翻开一页，差的就是这三分之二。"""


@lru_cache(maxsize=256)
def squeezed(path: Path, modified: int) -> bytes:
    """压缩好的文件；modified 只用来在文件变了以后重做。"""
    return gzip.compress(path.read_bytes(), 6, mtime=0)


class QuietHandler(SimpleHTTPRequestHandler):
    """不在终端里逐条打印请求；文字压缩了再发；一条连接接着用。"""

    protocol_version = "HTTP/1.1"
    timeout = 60  # 秒：闲着的连接

    def log_message(self, *args) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # 书可能正在做，网页随时会变
        super().end_headers()

    def send_head(self):
        path = Path(self.translate_path(self.path))
        squeeze = "gzip" in self.headers.get("Accept-Encoding", "") and path.suffix in SQUEEZED
        if not squeeze or not path.is_file():
            return super().send_head()
        modified = path.stat().st_mtime_ns
        tag = f'"{modified:x}"'
        same = self.headers.get("If-None-Match") == tag
        body = b"" if same else squeezed(path, modified)
        self.send_response(304 if same else 200)
        self.send_header("ETag", tag)
        if not same:
            self.send_header("Content-Type", self.guess_type(path))
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)


class Server(ThreadingHTTPServer):
    # Linux 上停下后马上重开，要能用同一个端口；macOS 上这样做会和占着端口的程序抢。
    allow_reuse_address = sys.platform == "linux"
    daemon_threads = True
    request_queue_size = 256  # 三十个浏览器各开六条连接；缺省只排 5 条，多的被断开


def open_server(
    port: int | None = None, folder: Path = HTML, address: str = "127.0.0.1"
) -> Server:
    """开一个静态网页服务器。

    Args:
        port: 端口；0 由系统挑；None 从 8000 起找第一个空着的。
        address: 在哪个地址上；空的是全部网卡。

    Raises:
        OSError: 指定的端口被占用，或 8000 起的 100 个端口都被占用。
    """
    candidates = range(FIRST_PORT, FIRST_PORT + 100) if port is None else [port]
    handler = partial(QuietHandler, directory=str(folder))
    for candidate in candidates:
        try:
            return Server((address, candidate), handler)
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


def open_or_exit(port: str, folder: Path, address: str = "127.0.0.1") -> Server:
    """照命令行上的端口开服务器，空的由 8000 起找；开不了就说明原因，退出。"""
    number = parse_port(port) if port else None
    try:
        return open_server(number, folder, address)
    except OSError as error:
        place = FIRST_PORT if number is None else number
        sys.exit(f"端口 {place} 用不了（{error.strerror}）。请换一个：make book PORT=9000")


def wait_for_ctrl_c(text: str | None = None) -> None:
    """说一句 text，等人按 Ctrl-C；话一说出口就可以按。"""
    try:
        if text:
            print(text, flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    if not (HTML / "index.html").is_file():
        sys.exit("还没有做好的书：先 make html。")
    server = open_or_exit("".join(sys.argv[1:2]), HTML, "")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wait_for_ctrl_c(
        f"教室里的人打开 http://这台电脑的地址:{server.server_port}/ （按 Ctrl-C 停止）"
    )
