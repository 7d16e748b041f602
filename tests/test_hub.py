"""集线器：文件写得合语法、与锁定的依赖一致；装着 jupyterhub 时，真的开一个，两个学生上一堂课。"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from book.tools.teach import memory
from book.tools.teach.hub import collect as hub

FOLDER = Path(hub.__file__).parent


def record() -> dict:
    return json.loads(memory.RECORD.read_text(encoding="utf-8"))


def test_the_limits_hold_the_hungriest_chapter():
    values = yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8"))
    limit = values["singleuser"]["memory"]["limit"]
    needed = max(one["mb"] for one in record().values()) + memory.SERVER_MB
    assert needed < int(limit.removesuffix("G")) * 1000**3 / memory.MB
    assert f"limits.memory {limit}" in (FOLDER / "README.txt").read_text(encoding="utf-8")


def test_one_place_says_where_the_library_is_and_what_a_collector_may():
    values = yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8"))
    image = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    path = values["singleuser"]["extraEnv"]["PYTHONPATH"]
    assert f"PYTHONPATH={path} " in image
    scopes = values["hub"]["loadRoles"]["collector"]["scopes"]
    assert re.findall(r'"([a-z]+:[a-z]+)"', (FOLDER / "tljh_config.py").read_text(encoding="utf-8")) == scopes  # fmt: skip
    assert all(scope in hub.__doc__ for scope in scopes)
    for name in re.findall(r"COPY (.+) /tmp/", image)[0].split():
        assert (ROOT / name).is_file()


def test_the_table_in_the_text_is_the_record_and_every_chapter_fits_binder_s_limit():
    assert "不够" not in memory.table()
    assert memory.table() in (ROOT / "book/usage.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_peak_memory_is_that_of_the_kernel():
    import nbformat

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = bytearray(300 * 2**20)\nimport time; time.sleep(0.5)")])  # fmt: skip
    idle = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import time; time.sleep(0.5)")])  # fmt: skip
    assert 280 < memory.peak_mb(book) - memory.peak_mb(idle) < 320


class FakeHub(hub.Hub):
    """四个学生：一个交了，一个没有，一个的服务器停着，一个的开不起来。名单一次给两个。"""

    def __init__(self):
        super().__init__("http://127.0.0.1:1", "")
        self.said, self.running = [], {"a", "b"}

    def ask(self, path, method="GET", body=None):
        self.said.append((method, path))
        name = path.split("/")[2 if path.startswith("/user/") else -1].replace("server", "c")
        if "?offset=" in path:
            return [{"name": x} for x in "abdc"][int(path.split("=")[1]) :][:2]
        if path.startswith("/hub/api/users/d"):
            raise hub.urllib.error.HTTPError(path, 500, "spawn failed", {}, None)
        if path.startswith("/user/"):
            if name == "b":
                raise hub.urllib.error.HTTPError(path, 404, "", {}, None)
            return {"content": {"cells": [], "owner": name}}
        if method == "POST":
            self.running.add(name)
        elif method == "DELETE":
            self.running.discard(name)
        return {"servers": {"": {"ready": True}} if name in self.running else {}}


def test_collecting_names_the_absent_and_leaves_servers_as_they_were(tmp_path):
    fake = FakeHub()
    missing = hub.collect(fake, "ppo-book/submit/gae.ipynb", tmp_path)
    assert missing == {"b": "没有交", "d": "没有收到：HTTP Error 500: spawn failed"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ipynb", "c.ipynb"]
    assert json.loads((tmp_path / "c.ipynb").read_text(encoding="utf-8"))["owner"] == "c"
    assert fake.running == {"a", "b"}


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("jupyterhub") and shutil.which("configurable-http-proxy") and shutil.which("bwrap") and os.getuid() == 0),
    reason="没有 jupyterhub、configurable-http-proxy 或 bubblewrap，或不是 root",
)  # fmt: skip
def test_two_students_in_a_real_hub_with_two_who_misbehave():
    command = [sys.executable, str(ROOT / "benchmarks/hub.py"), "--students", "2"]
    found = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    assert found["collected"] == ["s01", "s02"] and found["absent"] == ["hog", "loop"]
    assert found["hog"] == {"said": "MemoryError", "alive after": True}
    assert found["endless loop interrupted"]
    inside = found["pried"]["inside"]
    assert inside["homes"] == inside["pack"] == "FileNotFoundError"
    assert inside["processes of others"] == 0
    assert set(found["pried"]["by the network"].values()) <= {403, 404}
