"""``benchmarks/hub.py`` 用的 JupyterHub：只在本机，一个学生一个笼子。

笼子是 bubblewrap 做的：各有各的用户号，只看得到自己的家目录和装好的程序；一个进程的地址空间、进程的个数有上限
（这台机器上没有 systemd，真的服务器上由它或 Kubernetes 管内存和 CPU）。
"""

import os
import sys
from pathlib import Path

from jupyterhub.spawner import SimpleLocalProcessSpawner

WORK = Path(os.environ["HUB_WORK"])
COURSE_PYTHON = os.environ["HUB_COURSE_PYTHON"]  # 装着课程的依赖
GB = int(os.environ["HUB_GB"])
FIRST_UID = 61_000


class Cage(SimpleLocalProcessSpawner):
    """一个学生的服务器，关在 bubblewrap 里。"""

    home_dir_template = str(WORK / "homes/{username}")

    def cage(self) -> list[str]:
        home, uid = WORK / "homes" / self.user.name, FIRST_UID + self.user.id
        home.mkdir(parents=True, exist_ok=True)
        for path in (home, *home.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)
        prefixes = {sys.prefix, sys.base_prefix, str(Path(COURSE_PYTHON).parents[1]), str(WORK / "share")}  # fmt: skip
        command = ["bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session"]  # fmt: skip
        command += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"]
        for path in ("/usr", "/lib", "/lib64", "/bin", "/etc", *sorted(prefixes)):
            for parent in reversed(Path(path).parents[:-1]):  # 外面的家目录常是 700
                command += ["--perms", "755", "--dir", str(parent)]
            command += ["--ro-bind-try", path, path]
        command += [
            "--perms",
            "755",
            "--dir",
            "/home",
            "--bind",
            str(home),
            "/home/student",
            "--chdir",
            "/home/student",
        ]
        command += ["--setenv", "HOME", "/home/student", "--setenv", "PYTHONPATH", "/home/student/ppo-book"]  # fmt: skip
        command += ["--setenv", "JUPYTER_PATH", str(WORK / "share"), "--setenv", "JAX_PLATFORMS", "cpu"]  # fmt: skip
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SYS_RESOURCE"]  # fmt: skip
        command += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"]  # fmt: skip
        return [*command, "prlimit", f"--as={GB << 30}", "--nproc=512", "--core=0"]

    async def start(self):
        self.cmd = [*self.cage(), str(Path(sys.executable).with_name("jupyterhub-singleuser"))]
        self.notebook_dir = "/home/student"
        return await super().start()


c = get_config()  # noqa: F821
c.JupyterHub.spawner_class = Cage
c.JupyterHub.authenticator_class = "null"
c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['HUB_PORT']}"
c.JupyterHub.hub_port = int(os.environ["HUB_PORT"]) + 1
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{int(os.environ['HUB_PORT']) + 2}"
c.JupyterHub.db_url = f"sqlite:///{WORK}/hub.sqlite"
c.JupyterHub.cookie_secret_file = str(WORK / "cookie_secret")
c.ConfigurableHTTPProxy.pid_file = str(WORK / "proxy.pid")
c.JupyterHub.services = [{"name": "class", "api_token": os.environ["HUB_TOKEN"]}]
c.JupyterHub.load_roles = [
    {
        "name": "class",
        "services": ["class"],
        "scopes": ["admin:users", "admin:servers", "tokens", "access:servers"],
    }
]
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
