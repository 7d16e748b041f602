"""一批训练交给 Ray 和 Slurm（submitit）：做的是同一批，死了的接着做，合出的文件逐字节相同。"""

import dataclasses
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest
from command_line import FEW, command_line
from conftest import ROOT, give_up
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from ppo_lib import load_config
from ppo_lib.__main__ import COMMANDS as PROGRAMS
from ppo_lib.arguments import PARSER, prepared
from ppo_lib.course.beta1 import AGAIN_LR, BETA_1, retuning_config
from ppo_lib.gather import axes_of
from ppo_lib.run_dir import latest

SITE = ROOT / "_build/cluster"
BATCH = ["--multirun", "hydra.sweep.dir=all", "beta_1=0.9,0.0", "num_seeds=1", *FEW]
LONG = [*BATCH, "total_timesteps=128000"]
LOOPBACK = "127.0.0.2"  # Ray 会把 127.0.0.1 换成这台机器对外的地址


# ---------------------------------------------------------------- 不用真的集群


class FakeRay:
    """够启动器用的 Ray：一台四个核的机器，任务在 ``get`` 时才做。"""

    exceptions = SimpleNamespace(RayError=ConnectionError)

    def __init__(self):
        self.options, self.cancelled = [], []

    @contextmanager
    def init(self, **_):
        yield

    def nodes(self):
        return [{"Resources": {"CPU": 4.0}}, {"Resources": {}}]

    def remote(self, **options):
        self.options.append(options)
        return lambda function: SimpleNamespace(remote=lambda *args: (function, args))

    def get(self, task):
        function, args = task
        function(*args)

    def cancel(self, task):
        self.cancelled.append(task)

    def wait(self, tasks, **_):
        pass


@pytest.fixture
def fake_ray(monkeypatch):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


@pytest.mark.slow
def test_a_job_asks_for_as_many_cores_as_it_has_seeds(fake_ray, cli, tmp_path, capsys):
    assert (
        cli("hydra/launcher=ray", "num_seeds=2,9", *[a for a in BATCH if "seeds" not in a]) == 0
    )
    assert [one["num_cpus"] for one in fake_ray.options] == [2, 2, 4, 4]
    assert all(one["max_retries"] == 3 and "memory" not in one for one in fake_ray.options)
    assert f"这一批 4 个：做完 4 个。都在 {tmp_path}/all" in capsys.readouterr().out


@pytest.mark.slow
def test_a_job_that_ray_gives_up_is_named(fake_ray, cli, capsys, monkeypatch):
    first = iter([ConnectionError("机器没了")])
    real = fake_ray.get

    def get(task):
        for error in first:
            raise error
        real(task)

    monkeypatch.setattr(fake_ray, "get", get)
    assert cli("hydra/launcher=ray", "hydra.launcher.remote.num_cpus=3", *BATCH) == 1
    assert [one["num_cpus"] for one in fake_ray.options] == [3, 3]
    out, err = capsys.readouterr()
    assert "#0 没有做完，Ray 说：机器没了" in err
    assert "做完 1 个，没有开始 1 个" in out
    assert cli("resume", "all") == 0 and len(fake_ray.options) == 4, "接着做的也交给 Ray"


def test_ctrl_c_lets_every_job_save(fake_ray, cli, monkeypatch):
    def interrupted(task):
        raise KeyboardInterrupt

    monkeypatch.setattr(fake_ray, "get", interrupted)
    assert cli("hydra/launcher=ray", *BATCH) == 130
    assert len(fake_ray.cancelled) == 2


def test_without_ray_the_command_says_how_to_install_it(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "没有装。在仓库里运行：.venv/bin/python -m pip" in cli("hydra/launcher=ray", *BATCH)


def test_a_cluster_that_does_not_answer_is_said_in_chinese(fake_ray, cli, monkeypatch):
    monkeypatch.setattr(fake_ray, "init", lambda **_: 1 / 0)
    assert "Ray 连不上，或者开不起来：division" in cli("hydra/launcher=ray", *BATCH)


# ---------------------------------------------------------------- 真的集群


@pytest.fixture(scope="module")
def environment():
    """装着 Ray 和 submitit 的环境变量；按锁文件装进 _build/cluster。"""
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps"]
    lock = ["--require-hashes", "--requirement", ROOT / "requirements-cluster.lock"]
    if subprocess.run([*install, "--target", SITE, *lock]).returncode:
        give_up("没有装上 requirements-cluster.lock")
    paths = map(str, [ROOT, SITE])
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "RAY_USAGE_STATS_ENABLED": "0"}


def free_ports(count):
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def ray_cluster(environment, tmp_path_factory):
    """只在本机的一个 Ray 集群，两个核；给出连得上它的环境变量。

    各个口都定下来：不定的，Ray 等它的助手报上口来，机器忙时十五秒等不到就不做了。
    """
    folder = tmp_path_factory.mktemp("ray")
    names = ["port", "dashboard-agent-grpc-port", "dashboard-agent-listen-port"]
    names += ["metrics-export-port", "runtime-env-agent-port"]
    ports = free_ports(len(names))
    options = [f"--{name}={port}" for name, port in zip(names, ports)]
    options += ["--min-worker-port=0", "--max-worker-port=0", "--num-cpus=2"]
    options += [f"--node-ip-address={LOOPBACK}", "--include-dashboard=false"]
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_agent_register_timeout_ms": "120000"}
    with open(folder / "log", "w+", encoding="utf-8") as log:
        head = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *options],
            env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until(lambda: "Ray runtime started" in (folder / "log").read_text("utf-8"))
            yield environment | {"RAY_ADDRESS": f"{LOOPBACK}:{ports[0]}"}
        finally:
            head.terminate()  # 它会让各个进程都结束
            try:
                head.wait(60)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(head.pid, signal.SIGKILL)


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "等得太久了"
        time.sleep(0.05)


def start(folder, environment, *arguments):
    """在 folder 里运行 ``python -m ppo_lib``。"""
    return subprocess.Popen(
        [sys.executable, "-m", "ppo_lib", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def gathered(cli, folder):
    """那一批合成的文件。"""
    assert cli("gather", str(folder / "all")) == 0
    return (folder / "all/metrics.nc").read_bytes()


@pytest.fixture(scope="module")
def here(tmp_path_factory, fully_optimized):
    """同一批，在这个进程里依次做，合成的文件。"""
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch, command_line(folder, patch) as cli:
        assert cli(*LONG) == 0
        return gathered(cli, folder)


def holder(folder):
    """此刻占着目录的进程。"""
    return int(re.search(r"进程 (\d+)", (folder / "lock").read_text("utf-8"))[1])


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="要用 kill -9")
def test_a_worker_killed_on_ray_costs_nothing(ray_cluster, here, cli, tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    run = start(folder, ray_cluster, "hydra/launcher=ray", *LONG)
    job = folder / "all/1"
    wait_until(lambda: latest(job) or run.poll() is not None)
    killed = holder(job)
    os.kill(killed, signal.SIGKILL)
    assert not (job / "metrics.nc").exists(), "要在途中杀"
    said, _ = run.communicate(timeout=200)
    assert run.returncode == 0, said
    assert f"这一批 2 个：做完 2 个。都在 {folder}/all" in said
    assert holder(job) != killed
    assert gathered(cli, folder) == here


@pytest.mark.slow
def test_submitit_does_the_same_batch(environment, here, cli, tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    run = start(folder, environment, "hydra/launcher=submitit_local", *LONG)
    said, _ = run.communicate(timeout=200)
    assert run.returncode == 0, said
    assert "这一批 2 个：做完 2 个" in said
    assert list((folder / "all/.submitit").iterdir()), "由 submitit 做的"
    assert gathered(cli, folder) == here


# ---------------------------------------------------------------- 书里的那一页

PAGE = (ROOT / "book/cluster.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[3:]
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("python -m ppo_lib")
]


def test_the_page_runs_the_study_of_chapter_15():
    """页上三次 --multirun 都是第 15 章第二轮在 CartPole 上挑学习率的那五十格。"""
    batches = [arguments for arguments in COMMANDS if "--multirun" in arguments]
    assert len(batches) == 3
    for arguments in batches:
        pairs = [a for a in prepared(arguments) if not a.startswith(("hydra", "--"))]
        (jobs,) = BasicSweeper.split_arguments(PARSER.parse_overrides(pairs), None)
        configs = [load_config(overrides=overrides) for overrides in jobs]
        study = retuning_config("cartpole")
        assert list(axes_of(configs)) == ["lr", "beta_1"], "页上写着这个次序"
        assert configs == [
            dataclasses.replace(study, beta_1=beta_1, lr=lr)
            for beta_1 in BETA_1
            for lr in AGAIN_LR
        ]


def test_what_the_page_names_exists(fake_ray, cli):
    assert (
        {a[0] for a in COMMANDS if "--multirun" not in a}
        == {"resume", "gather"}
        <= set(PROGRAMS)
    )
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        compile(block, "book/cluster.md", "exec")
    for option in re.findall(r"`(hydra\.launcher\.remote\.\w+)", PAGE):
        assert cli("hydra/launcher=ray", "--cfg", "hydra", f"{option}=7") == 0, option
