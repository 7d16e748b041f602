"""一份作业一个沙盒：自己的进程，看不到别的文件，上不了网，时间、内存、文件、进程都有上限。

隔离由 bubblewrap（``bwrap``，Linux）做：里面只有系统的库、Python 和装好的包，都是只读的，另有一个内存里的
/tmp；没有题目、答案、别人的作业和家目录；没有网络；自己的进程号。以 root 运行时，里面换成一个没有权限的用户。
没有 bwrap 时只剩下时间、内存和个数的上限（``isolated=False``），那只能用在信得过的作业上。
"""

import dataclasses
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from book.tools.teach import driver

ROOT = Path(__file__).parents[3]
DRIVER = Path(driver.__file__)


class Stopped(BaseException):
    """沙盒里的进程停下了，或者被停下了；信息是给老师和学生看的原因。

    不是 Exception：它不是学生的函数抛出的，检查练习时不该当作一种结果接住。
    """


class NotStarted(Exception):
    """沙盒没有起来，与作业无关；信息是原因。"""


@dataclasses.dataclass(frozen=True)
class Limits:
    """一份作业的上限。"""

    seconds: float = 90  # 一个沙盒从笔记本的第一格到最后一问
    cell_seconds: int = 20  # 笔记本的一格
    call_seconds: float = 15  # 调用一次学生的函数
    memory: int = 3 * 2**30  # 字节，各进程实际占的合计
    address_space: int = 8 * 2**30  # 字节，一个进程
    disk: int = 256 * 2**20  # 字节，/tmp 合计
    file_size: int = 64 * 2**20
    processes: int = 256  # 进程和线程
    reply: int = 8 * 2**20  # 字节，交回来的一个值

    def of_one_process(self, isolated: bool) -> dict[str, int]:
        """``setrlimit`` 的各个上限。进程的个数按用户算，没有隔离时你自己的也在里面，所以不设。"""
        limits = {"AS": self.address_space, "FSIZE": self.file_size, "CORE": 0}
        return limits | ({"NPROC": self.processes} if isolated else {})


START_SECONDS = 60
"""沙盒自己起来至多几秒；不忙时约一秒。"""

ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "JAX_PLATFORMS": "cpu",
    "MALLOC_ARENA_MAX": "2",  # 核多的机器上，地址空间才不会被线程占满
    "OPENBLAS_NUM_THREADS": "1",
}

NO_ISOLATION = (
    "这台机器上隔离不了作业：{why}\n"
    "Debian 或 Ubuntu 请运行 apt-get install bubblewrap（要 0.7 或更新）。交作业的人都信得过，也可以加上 --trust："
    "那样时间、内存仍有上限，但作业能读写你的文件，也能上网。"
)


def isolation(limits: Limits, library: bool) -> list[str]:
    """bwrap 的命令行。library 是里面有没有 ppo_lib。"""
    prefixes = dict.fromkeys((sys.base_prefix, sys.prefix))
    visible = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", *prefixes]
    visible += [str(ROOT / "ppo_lib")] if library else []
    command = ["bwrap", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]  # fmt: skip
    command += ["--die-with-parent", "--new-session", "--clearenv", "--proc", "/proc", "--dev", "/dev"]  # fmt: skip
    command += ["--perms", "1777", "--size", str(limits.disk), "--tmpfs", "/tmp"]
    for path in visible:
        for parent in reversed(Path(path).parents[:-1]):  # 不照抄外面的权限：家目录常是 700
            command += ["--perms", "755", "--dir", str(parent)]
        command += ["--ro-bind-try", path, path]
    command += ["--ro-bind", str(DRIVER), "/driver.py", "--chdir", "/tmp"]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    if os.getuid() != 0:
        return [*command, "--unshare-user", "--cap-drop", "ALL"]
    nobody = str(60_000 + os.getpid() % 5_000)  # 各个打分进程的不同，进程的个数才各算各的
    become = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups", "--no-new-privs"]  # fmt: skip
    allowed = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*command, "--cap-drop", "ALL", *allowed, *become]


def why_not_isolated() -> str | None:
    """bwrap 用不了的原因；用得了就是 None。"""
    if shutil.which("bwrap") is None:
        return "没有 bwrap。"
    command = [*isolation(Limits(), library=False), sys.executable, "-I", "-c", "import numpy"]
    tried = subprocess.run(command, capture_output=True, text=True)
    return tried.stderr.strip()[-500:] or "不知道为什么。" if tried.returncode else None


class Sandbox:
    """运行一份作业的进程。用 ``with``：不管怎样结束，里面的进程都会停下。

    Args:
        cells: 笔记本的各个代码格。
        library: 里面有没有 ppo_lib。
        isolated: 用不用 bwrap。

    Raises:
        Stopped: 笔记本没有运行到头。
        NotStarted: 还没有轮到笔记本，就出了错。
    """

    def __init__(self, cells: list[str], limits: Limits, library: bool, isolated: bool):
        self.limits, self.isolated = limits, isolated
        self.number, self.received = 0, b""
        self.home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [sys.executable, "-I", "/driver.py" if isolated else str(DRIVER)]
        if isolated:
            command = [*isolation(limits, library), *command]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=self.home.name,
            env=ENVIRONMENT | {"HOME": self.home.name},
        )
        self.deadline = time.monotonic() + START_SECONDS
        try:
            self.ask(START_SECONDS, limits=limits.of_one_process(isolated))
        except Stopped as stopped:
            raise NotStarted(f"沙盒没有起来：{stopped}") from None
        self.deadline = time.monotonic() + limits.seconds
        started = self.ask(limits.seconds, cells=cells, cell_seconds=limits.cell_seconds)
        errors = started.get("errors")
        self.errors = [str(x)[:60] for x in errors[:1000]] if isinstance(errors, list) else []

    def ask(self, seconds: float | None = None, **request) -> dict:
        """问一句，等它答；至多等 seconds 秒。

        Raises:
            Stopped: 它退出了，超过了上限，或者答非所问。停过以后，再问还是 Stopped。
        """
        try:
            return self.exchange(request, seconds or self.limits.call_seconds)
        except BaseException:
            self.close()
            raise

    def exchange(self, request: dict, seconds: float) -> dict:
        self.number += 1
        deadline = min(self.deadline, time.monotonic() + seconds)
        if self.closed:
            raise Stopped("程序已经停下。")
        try:
            self.process.stdin.write(
                json.dumps({"id": self.number, **request}).encode() + b"\n"
            )
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Stopped("程序中途退出了。") from None
        line = self.read_line(deadline, seconds)
        try:
            reply = json.loads(line)
            same = reply["id"] == self.number
        except (ValueError, TypeError, KeyError, RecursionError):
            same = False
        if not same:
            raise Stopped("程序答非所问：交回来的不是它该交的东西。")
        return reply

    def read_line(self, deadline: float, seconds: float) -> bytes:
        """读到换行为止；一边等，一边看时间和内存。"""
        output = self.process.stdout.fileno()
        while b"\n" not in self.received:
            if time.monotonic() > deadline:
                raise Stopped(f"跑了 {min(seconds, self.limits.seconds):.0f} 秒还没有结束：多半有停不下来的循环；机器正忙的话，再打一次分。")  # fmt: skip
            if self.memory() > self.limits.memory:
                raise Stopped(f"占的内存超过了 {self.limits.memory / 2**30:g} GB。")
            if not select.select([output], [], [], 0.1)[0]:
                continue
            chunk = os.read(output, 1 << 20)
            if not chunk:
                raise Stopped("程序中途退出了。")
            self.received += chunk
            if len(self.received) > self.limits.reply:
                raise Stopped("交回来的东西太大。")
        line, _, self.received = self.received.partition(b"\n")
        return line

    @property
    def closed(self) -> bool:
        """停下了没有。"""
        return self.process.stdin.closed

    def members(self) -> list[psutil.Process]:
        """沙盒里的各个进程。"""
        try:
            outer = psutil.Process(self.process.pid)
            return [outer, *outer.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def memory(self) -> int:
        """各个进程实际占的内存，字节。"""
        total = 0
        for process in self.members():
            try:
                total += process.memory_info().rss
            except psutil.Error:
                pass  # 刚刚结束
        return total

    def close(self) -> None:
        """停下里面的全部进程。

        有 bwrap 时只杀里面的那一个：它是沙盒里的 1 号，一死，里面的都死；外面的那一个替它收尸，自己退出。
        两个一起杀，尸体归系统的 1 号，不收尸的容器里要白等。
        """
        members = self.members()
        for process in members[1:2] if self.isolated and members[1:] else reversed(members):
            try:
                process.kill()
            except psutil.Error:
                pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        psutil.wait_procs(members, timeout=5)
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        self.home.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
