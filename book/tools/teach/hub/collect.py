"""从 JupyterHub 收作业：每个学生家目录里的一份笔记本，存成 学号.ipynb，就能打分。

    JUPYTERHUB_API_TOKEN=… python -m book.tools.teach.hub.collect https://hub.example.edu/ ppo-book/submit/gae.ipynb 交来的/

令牌要有 list:users、admin:servers、access:servers 三项；学生的服务器停着就先开起来，收完照旧停下。没有交的说出名字。
"""

import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

START_SECONDS = 300


class Hub:
    """一个集线器的 API。"""

    def __init__(self, url: str, token: str):
        self.url, self.token = url.rstrip("/"), token

    def ask(self, path: str, method: str = "GET", body: dict | None = None):
        """问一句，返回 JSON；没有内容是 None。

        Raises:
            urllib.error.HTTPError: 集线器或学生的服务器说不行。
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def ready(self, user: str) -> bool:
        """一个学生的服务器开好了没有。"""
        servers = self.ask(f"/hub/api/users/{user}")["servers"]
        return "" in servers and servers[""]["ready"]

    def start(self, user: str) -> bool:
        """开一个学生的服务器，等它开好；本来就开着，返回 False。

        Raises:
            TimeoutError: 等了五分钟还没有开好。
        """
        if self.ready(user):
            return False
        self.ask(f"/hub/api/users/{user}/server", "POST")
        deadline = time.monotonic() + START_SECONDS
        while not self.ready(user):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{user} 的服务器 {START_SECONDS} 秒还没有开好。")
            time.sleep(0.5)
        return True

    def stop(self, user: str) -> None:
        self.ask(f"/hub/api/users/{user}/server", "DELETE")


def collect(hub: Hub, path: str, folder: Path) -> list[str]:
    """收各人的 path，存进 folder；返回没有交的人。"""
    folder.mkdir(parents=True, exist_ok=True)
    absent = []
    for user in (row["name"] for row in hub.ask("/hub/api/users")):
        started = hub.start(user)
        try:
            found = hub.ask(f"/user/{user}/api/contents/{urllib.parse.quote(path)}")
            text = json.dumps(found["content"], ensure_ascii=False)
            (folder / f"{Path(user).name}.ipynb").write_text(text, encoding="utf-8")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            absent.append(user)
        finally:
            if started:
                hub.stop(user)
    return absent


def main() -> None:
    if len(sys.argv) != 4 or "JUPYTERHUB_API_TOKEN" not in os.environ:
        sys.exit(__doc__)
    url, path, folder = sys.argv[1:]
    absent = collect(Hub(url, os.environ["JUPYTERHUB_API_TOKEN"]), path, Path(folder))
    print(f"收到 {len(list(Path(folder).glob('*.ipynb')))} 份，在 {folder}。没有交的：{'、'.join(absent) or '无'}")  # fmt: skip


if __name__ == "__main__":
    main()
