"""在本机开一个真的 JupyterHub，几个学生同时来：拉课程、跑一章、交作业；量各人的内存和最慢的一个。

    PATH="装着的地方/bin:$PATH" python benchmarks/hub.py --students 10 --chapter 06 > hub.json

要 jupyterhub、nbgitpuller（装在自己的环境里，不要装进课程的）、configurable-http-proxy（npm）、bubblewrap，以 root 运行。
另有两个捣乱的：一个要光内存，一个停不下来；他们在时别人照常。再试学生之间读不读得到。只连 127.0.0.1，做完自己停下。
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import websocket

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from book.tools.teach.hub.collect import Hub, collect  # noqa: E402

SUBMIT = "ppo-book/submit/gae.ipynb"
FIRST_UID = 61_000  # 与 hub_config.py 相同
MB = 2**20

HOG = """
import numpy as np
kept = []
try:
    while True:
        kept.append(np.ones(2**25))  # 一次 256 MB
except MemoryError:
    kept.clear()
    print("MemoryError")
"""

PRY = """
import os, pathlib, json
def tried(path):
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return type(error).__name__
others = [name for name in os.listdir("/proc") if name.isdigit()]
print(json.dumps({"uid": os.getuid(), "homes": tried(HOMES), "pack": tried(PACK),
    "processes of others": sum(os.stat(f"/proc/{name}").st_uid not in (os.getuid(),) for name in others if name != "1")}))
"""


def free_ports(count: int) -> int:
    """count 个连着的空端口里的第一个。"""
    for first in range(18_000, 28_000, count):
        tried = [socket.socket() for _ in range(count)]
        try:
            for i, one in enumerate(tried):
                one.bind(("127.0.0.1", first + i))
            return first
        except OSError:
            continue
        finally:
            for one in tried:
                one.close()
    raise OSError("没有空的端口。")


@contextmanager
def running(work: Path, gigabytes: int):
    """开着的集线器；结束时连同里面的全部进程一起停下。"""
    jupyterhub = shutil.which("jupyterhub")
    kernel = work / "share/kernels/python3"
    kernel.mkdir(parents=True)
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
    (kernel / "kernel.json").write_text(json.dumps(spec | {"display_name": "PPO", "language": "python"}))  # fmt: skip
    port, token = free_ports(4), secrets.token_hex(16)
    course = work / "git/ppo-book"
    subprocess.run(["git", "clone", "-q", "--bare", str(ROOT), str(course)], check=True)
    daemon = ["git", "daemon", "--listen=127.0.0.1", f"--port={port + 3}", "--export-all", f"--base-path={work / 'git'}"]  # fmt: skip
    environment = {
        "PATH": f"{Path(jupyterhub).parent}:{os.environ['PATH']}",
        "HOME": str(work),
        "LANG": "C.UTF-8",
        "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(16),
        "HUB_WORK": str(work),
        "HUB_COURSE_PYTHON": sys.executable,
        "HUB_GB": str(gigabytes),
        "HUB_PORT": str(port),
        "HUB_TOKEN": token,
    }
    config = str(Path(__file__).with_name("hub_config.py"))
    log = (work / "hub.log").open("w")
    processes = [
        subprocess.Popen(command, env=environment, cwd=work, stdout=log, stderr=log, start_new_session=True)
        for command in (daemon, [jupyterhub, "-f", config])
    ]  # fmt: skip
    hub = Hub(f"http://127.0.0.1:{port}", token)
    hub.course = f"git://127.0.0.1:{port + 3}/ppo-book"
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                hub.ask("/hub/api/users")
                break
            except OSError:
                if time.monotonic() > deadline or processes[1].poll() is not None:
                    raise RuntimeError((work / "hub.log").read_text()[-3000:]) from None
                time.sleep(1)
        yield hub
    except BaseException:
        sys.stderr.write((work / "hub.log").read_text()[-60000:])
        raise
    finally:
        members = [c for p in processes for c in psutil.Process(p.pid).children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        for member in members:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                pass
        log.close()


class Student(Hub):
    """一个学生：有自己的令牌，只能用自己的服务器。"""

    def __init__(self, hub: Hub, name: str):
        hub.ask(f"/hub/api/users/{name}", "POST")
        hub.start(name)
        note = {"note": "class", "expires_in": 7200}
        super().__init__(
            hub.url, hub.ask(f"/hub/api/users/{name}/tokens", "POST", note)["token"]
        )
        self.name, self.course, self.base = name, hub.course, f"/user/{name}"

    def pull(self) -> None:
        """点开 nbgitpuller 的链接。"""
        query = urllib.parse.urlencode({"repo": self.course, "branch": "main", "targetpath": "ppo-book", "depth": 1})  # fmt: skip
        request = urllib.request.Request(f"{self.url}{self.base}/git-pull/api?{query}", headers={"Authorization": f"token {self.token}"})  # fmt: skip
        with urllib.request.urlopen(request, timeout=300) as reply:
            said = reply.read().decode()
        if '"finished"' not in said:
            raise RuntimeError(said[-1500:])

    def read(self, path: str):
        return self.ask(f"{self.base}/api/contents/{path}")

    def save(self, path: str, notebook: dict) -> None:
        folder = path.rpartition("/")[0]
        self.ask(f"{self.base}/api/contents/{folder}", "PUT", {"type": "directory"})
        self.ask(f"{self.base}/api/contents/{path}", "PUT", {"type": "notebook", "content": notebook})  # fmt: skip

    @contextmanager
    def kernel(self):
        """开一个内核，给一个运行一格的函数：返回打印的字，出错抛 RuntimeError。"""
        kernel = self.ask(f"{self.base}/api/kernels", "POST", {"name": "python3", "path": "ppo-book/chapters"})["id"]  # fmt: skip
        address = (
            f"{self.url.replace('http', 'ws', 1)}{self.base}/api/kernels/{kernel}/channels"
        )

        session = uuid.uuid4().hex

        def connect() -> websocket.WebSocket:
            """像 JupyterLab 那样带着会话号：断了再连，落下的消息还在。"""
            return websocket.create_connection(f"{address}?session_id={session}", timeout=1800, header=[f"Authorization: token {self.token}"])  # fmt: skip

        def run(code: str) -> str:
            number, said, wrong = uuid.uuid4().hex, "", None
            socket_ = connect()
            content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}  # fmt: skip
            header = {"msg_id": number, "msg_type": "execute_request", "username": "", "session": session, "version": "5.3"}  # fmt: skip
            socket_.send(json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}))  # fmt: skip
            while True:
                try:
                    message = json.loads(socket_.recv())
                except websocket.WebSocketConnectionClosedException:
                    socket_ = connect()
                    continue
                kind, content = message["msg_type"], message["content"]
                if message["parent_header"].get("msg_id") != number:
                    if kind == "status" and content["execution_state"] in ("restarting", "dead"):  # fmt: skip
                        raise RuntimeError("内核没了")
                    continue
                said += content["text"] if kind == "stream" else ""
                wrong = "\n".join(content["traceback"]) if kind == "error" else wrong
                if kind == "status" and content["execution_state"] == "idle":
                    socket_.close()
                    if wrong:
                        raise RuntimeError(wrong)
                    return said

        run.interrupt = lambda: self.ask(f"{self.base}/api/kernels/{kernel}/interrupt", "POST")
        try:
            yield run
        finally:
            self.ask(f"{self.base}/api/kernels/{kernel}", "DELETE")


class Memory(threading.Thread):
    """每 0.2 秒看一次各个用户号的进程合计占多少，记下最大的。"""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.done = {}, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.2):
            now = {}
            for process in psutil.process_iter(["uids", "memory_info"]):
                uids, memory = process.info["uids"], process.info["memory_info"]
                if uids and memory and FIRST_UID <= uids.real < FIRST_UID + 1000:
                    now[uids.real] = now.get(uids.real, 0) + memory.rss
            for uid, rss in now.items():
                self.peak[uid] = max(self.peak.get(uid, 0), rss)


def lesson(hub: Hub, name: str, chapter: str) -> dict:
    """一个学生的一堂课；返回各步用了几秒。"""
    begin = time.perf_counter()
    student = Student(hub, name)
    opened = time.perf_counter()
    student.pull()
    pulled = time.perf_counter()
    pages = [x["path"] for x in student.read("ppo-book/chapters")["content"]]
    page = next(x for x in pages if Path(x).name.startswith(chapter) and x.endswith(".ipynb"))
    notebook = student.read(page)["content"]
    with student.kernel() as run:
        uid = int(run("import os; print(os.getuid())"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                run(cell["source"])
    ran = time.perf_counter()
    student.save(SUBMIT, notebook)
    end = time.perf_counter()
    return {"name": name, "uid": uid, "open": opened - begin, "pull": pulled - opened, "run": ran - pulled, "all": end - begin}  # fmt: skip


def pry(hub: Hub, thief: str, victim: str, work: Path) -> dict:
    """一个学生想看别人的文件和老师的一包。"""
    student = Student.__new__(Student)
    note = hub.ask(f"/hub/api/users/{thief}/tokens", "POST", {"note": "pry"})
    student.url, student.token, student.base, student.name = hub.url, note["token"], f"/user/{thief}", thief  # fmt: skip
    with student.kernel() as run:
        inside = json.loads(run(PRY.replace("HOMES", repr(str(work / "homes"))).replace("PACK", repr(str(work / "teacher")))))  # fmt: skip
    refused = {}
    for path in (f"/user/{victim}/api/contents/{SUBMIT}", "/hub/api/users"):
        try:
            student.ask(path)
            refused[path] = 200
        except urllib.error.HTTPError as error:
            refused[path] = error.code
    return {"inside": inside, "by the network": refused}


def main(students: int, chapter: str, gigabytes: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="hub-", dir="/var/tmp") as folder:
        work = Path(folder)
        work.chmod(0o755)
        (work / "teacher").mkdir(mode=0o700)
        (work / "teacher/exam_answers.md").write_text("答案", encoding="utf-8")
        memory = Memory()
        with running(work, gigabytes) as hub, ThreadPoolExecutor(students + 1) as pool:
            memory.start()
            names = [f"s{i:02d}" for i in range(1, students + 1)]
            hog, loop = Student(hub, "hog"), Student(hub, "loop")
            with loop.kernel() as spin, hog.kernel() as grab:
                endless = pool.submit(spin, "while True: pass")
                grabbed = grab(HOG).strip()
                lessons = list(pool.map(lambda name: lesson(hub, name, chapter), names))
                spin.interrupt()
                stopped = "KeyboardInterrupt" in str(endless.exception(300))
                alive = grab("print(1 + 1)").strip()
            pried = pry(hub, names[0], names[-1], work)
            absent = collect(hub, SUBMIT, work / "collected")
            memory.done.set()
            collected = sorted(path.stem for path in (work / "collected").glob("*.ipynb"))
        for one in lessons:
            one["peak_mb"] = round(memory.peak[one.pop("uid")] / MB)
        return {
            "students": students,
            "chapter": chapter,
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "date": time.strftime("%Y-%m-%d"),
            "lessons": [
                {k: round(v, 1) if isinstance(v, float) else v for k, v in one.items()}
                for one in lessons
            ],  # fmt: skip
            "slowest": round(max(one["all"] for one in lessons), 1),
            "most_mb": max(one["peak_mb"] for one in lessons),
            "hog": {"said": grabbed, "alive after": alive == "2"},
            "endless loop interrupted": stopped,
            "pried": pried,
            "collected": collected,
            "absent": list(absent),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=10)
    parser.add_argument("--chapter", default="06")
    parser.add_argument("--gigabytes", type=int, default=6, help="一个进程的地址空间")
    arguments = parser.parse_args()
    print(json.dumps(main(arguments.students, arguments.chapter, arguments.gigabytes), ensure_ascii=False, indent=1))  # fmt: skip
