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

    def users(self) -> list[str]:
        """全部的人；集线器一次只给一页。"""
        names = []
        while page := self.ask(f"/hub/api/users?offset={len(names)}"):
            names += [row["name"] for row in page]
        return names

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


def collect(hub: Hub, path: str, folder: Path) -> dict[str, str]:
    """收各人的 path，存进 folder；返回没有收到的人和原因。一个人的服务器坏了，别人的照收。"""
    folder.mkdir(parents=True, exist_ok=True)
    missing = {}
    for user in hub.users():
        try:
            content = fetch(hub, user, path)
        except OSError as error:  # 服务器说不行、连不上、等太久，都是它的子类
            not_there = isinstance(error, urllib.error.HTTPError) and error.code == 404
            missing[user] = "没有交" if not_there else f"没有收到：{error}"
            continue
        text = json.dumps(content, ensure_ascii=False)
        (folder / f"{Path(user).name}.ipynb").write_text(text, encoding="utf-8")
    return missing


def fetch(hub: Hub, user: str, path: str) -> dict:
    """一个人的笔记本；他的服务器停着就先开起来，取完照旧停下。"""
    started = hub.start(user)
    try:
        return hub.ask(f"/user/{user}/api/contents/{urllib.parse.quote(path)}")["content"]
    finally:
        if started:
            hub.stop(user)


def main() -> None:
    if len(sys.argv) != 4 or "JUPYTERHUB_API_TOKEN" not in os.environ:
        sys.exit(__doc__)
    url, path, folder = sys.argv[1:]
    missing = collect(Hub(url, os.environ["JUPYTERHUB_API_TOKEN"]), path, Path(folder))
    print(f"收到 {len(list(Path(folder).glob('*.ipynb')))} 份，在 {folder}；没有收到的 {len(missing)} 人。")  # fmt: skip
    for user, why in missing.items():
        print(f"{user}：{why}")


if __name__ == "__main__":
    main()
