"""tracking/：真的 W&B 离线记录读回来等于 run.metrics；跟踪慢、出错、被杀，训练不变，漏的能补。"""

import dataclasses
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tiny import TINY

from ppo_lib import tracking, train
from ppo_lib.config import to_yaml
from ppo_lib.tracking import describe_job, start_tracking
from ppo_lib.tracking.worker import rows_of

CFG = dataclasses.replace(TINY, tracker="wandb", seed=3)
QUIET = dict(progress=False, chunk_updates=10)


@pytest.fixture(autouse=True)
def full_priority(request, monkeypatch):
    """测试时两个核都忙着，跟踪进程也要分到 CPU，否则要等很久。"""
    if "priority" not in request.node.name:
        monkeypatch.setattr(tracking, "yield_to_training", lambda pid: None)


@pytest.fixture(scope="module")
def untracked():
    """不跟踪时的结果。"""
    return train(dataclasses.replace(CFG, tracker="none"), progress=False)


def status(folder):
    return json.loads((folder / "tracking/status.json").read_text())


def track(folder, *arguments):
    """在命令行上补记。"""
    return subprocess.run(
        [sys.executable, "-m", "ppo_lib", "track", str(folder), *arguments],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


# ---------------------------------------------------------------- 读回 W&B 的离线记录


def wandb_records(file: Path):
    """W&B 的离线文件：7 字节的文件头，然后是 LevelDB 日志的格式，每条是一个 protobuf。

    写的一方半路被杀，最后一条可能只写了一半；到它为止。
    """
    from wandb.proto import wandb_internal_pb2

    content, position, record = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left  # 块尾放不下一个记录头
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        if position + 7 + length > len(content):
            return
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # 整条，或最后一段
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def read_offline_runs(folder):
    """{run 的名字: (run 的信息, [每次 log 的 {键: 值}])}；还没写下名字就被杀掉的残余不算。"""
    runs = {}
    for file in sorted((folder / "tracking/wandb").glob("offline-run-*/*.wandb")):
        info, rows = None, []
        for record in wandb_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run" and info is None:
                info = record.run
            elif kind == "history":
                row = {
                    item.key or item.nested_key[0]: json.loads(item.value_json)
                    for item in record.history.item
                }
                rows.append(row)
        if info is not None:
            runs[info.display_name] = info, rows
    return runs


def assert_logged(rows, metrics):
    """记下的每一行都等于这个种子的指标；NaN 处没有记。"""
    assert [row["_step"] for row in rows] == list(metrics["update"].values)
    for row, update in zip(rows, metrics["update"].values):
        point = metrics.sel(update=update)
        wanted = {
            name: float(x) for name, x in point.data_vars.items() if not np.isnan(float(x))
        }
        got = {name: value for name, value in row.items() if not name.startswith("_")}
        assert got == pytest.approx(wanted, rel=1e-12)


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """真的训练一次，真的用 W&B 离线记一次；环境里有一个不许外泄的密钥。"""
    folder = tmp_path_factory.mktemp("offline") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", SECRET)
        run = train(CFG, run_dir=folder, **QUIET)
    return folder, run


SECRET = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.slow
def test_offline_wandb_runs_equal_the_metrics(offline, untracked):
    folder, run = offline
    xr.testing.assert_equal(run.metrics, untracked.metrics)
    runs = read_offline_runs(folder)
    assert list(runs) == ["3_0", "3_1"]
    for i, (info, rows) in enumerate(runs.values()):
        assert (info.project, info.job_type) == ("optimize", "ppo")
        assert info.run_group.startswith("ppo_beta1_0.9_CartPole-v1_")
        config = {item.key: json.loads(item.value_json) for item in info.config.update}
        assert config["beta_1"] == 0.9 and config["hidden_sizes"] == [8]
        assert config["seed"] == 3 + i
        assert_logged(rows, run.metrics.sel(seed=3 + i))
    assert len({info.run_group for info, _ in runs.values()}) == 1


@pytest.mark.slow
def test_a_torn_offline_file_is_read_up_to_the_tear(offline, tmp_path):
    folder, _ = offline
    file = sorted((folder / "tracking/wandb").glob("offline-run-*/*.wandb"))[0]
    content, whole = file.read_bytes(), list(wandb_records(file))
    for length in range(7, len(content), 1009):
        (tmp_path / "torn").write_bytes(content[:length])
        read = list(wandb_records(tmp_path / "torn"))
        assert read == whole[: len(read)] and len(read) < len(whole)


@pytest.mark.slow
def test_an_api_key_is_in_no_file(offline):
    folder, _ = offline
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_run_can_be_tracked_again_and_elsewhere(offline):
    folder, run = offline
    ids = {path.name.split("-", 3)[3] for path in (folder / "tracking/wandb").glob("offline*")}
    result = track(folder)
    assert result.returncode == 0, result.stderr
    assert "wandb：2 个 run 记在" in result.stdout
    again = {
        path.name.split("-", 3)[3] for path in (folder / "tracking/wandb").glob("offline*")
    }
    assert again == ids and len(ids) == 2  # 补记进同样的 run，不是新的
    for i, (_, rows) in enumerate(read_offline_runs(folder).values()):
        assert_logged(rows, run.metrics.sel(seed=3 + i))

    for _ in range(2):  # 记两遍也只有一份
        assert track(folder, "tracker=tensorboard").returncode == 0
    for i in range(2):
        (file,) = (folder / f"tracking/tensorboard/3_{i}").iterdir()
        logged = read_tensorboard(file)
        for name, x in run.metrics.sel(seed=3 + i).data_vars.items():
            kept = x[~np.isnan(x)]
            if kept.size:
                steps, values = zip(*logged[name])
                assert steps == tuple(kept["update"].values)
                np.testing.assert_array_equal(np.float32(values), kept)


def read_tensorboard(file):
    """{指标名: [(步, 值)]}；文件是一条条 TFRecord。"""
    from tensorboardX.proto.event_pb2 import Event

    content, position, logged = file.read_bytes(), 0, {}
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        event = Event.FromString(content[position + 12 : position + 12 + length])
        position += 12 + length + 4
        for value in event.summary.value:
            logged.setdefault(value.tag, []).append((event.step, value.simple_value))
    return logged


@pytest.mark.slow
def test_swanlab_records_offline(offline):
    folder, _ = offline
    result = track(folder, "tracker=swanlab")
    assert result.returncode == 0, result.stdout + (folder / "tracking/worker.log").read_text()
    assert status(folder) == {"logged": 60, "finished": True}
    assert sum(path.is_file() for path in (folder / "tracking/swanlab").rglob("*")) >= 2


# ---------------------------------------------------------------- 出了事，训练照常

FAKE_WANDB = """
import os, time
class Run:
    rows = 0
    def log(self, row, step):
        Run.rows += 1
        {on_log}
    def finish(self):
        pass
def Settings(**options):
    return options
def init(**options):
    {on_init}
    return Run()
"""


def fake_wandb(folder, monkeypatch, on_log="pass", on_init="pass"):
    """跟踪进程里的 wandb 换成一个假的，会照样子出事。"""
    (folder / "fake").mkdir(parents=True)
    code = FAKE_WANDB.format(on_log=on_log, on_init=on_init)
    (folder / "fake/wandb.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder / "fake"))


def assert_missed(folder, untracked, message="只记到第"):
    with pytest.warns(RuntimeWarning, match=f"wandb {message}.*补记：python -m ppo_lib track"):
        run = train(CFG, run_dir=folder, **QUIET)
    xr.testing.assert_equal(run.metrics, untracked.metrics)
    assert (folder / "metrics.nc").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble",
    [
        dict(on_init="raise RuntimeError('没有登录')"),
        dict(on_log="raise OSError('网络断了')"),
        dict(on_log="os.abort()"),
        dict(on_log="Run.rows > 50 and os._exit(7)"),
    ],
    ids=["init-raises", "log-raises", "segfaults", "exits-halfway"],
)
def test_a_tracker_that_crashes_changes_nothing(tmp_path, monkeypatch, untracked, trouble):
    fake_wandb(tmp_path, monkeypatch, **trouble)
    assert_missed(tmp_path / "run", untracked)
    if "RuntimeError" in str(trouble):  # 第一个错误没有被藏起来
        assert "没有登录" in (tmp_path / "run/tracking/worker.log").read_text()


@pytest.mark.slow
def test_a_tracker_that_hangs_is_given_up_and_does_not_slow_training(
    tmp_path, monkeypatch, untracked
):
    fake_wandb(tmp_path, monkeypatch, on_log="time.sleep(1000)")
    monkeypatch.setattr(tracking, "PATIENCE", 1.0)
    start = time.perf_counter()
    assert_missed(tmp_path / "run", untracked, "只记到第 0 次更新，共 60 次（1 秒没有进展")
    assert time.perf_counter() - start < 20


@pytest.mark.slow
def test_a_tracker_that_cannot_start_is_not_waited_for(tmp_path, monkeypatch, untracked):
    """例如连不上网：还没有打开，就不必等一分钟。"""
    fake_wandb(tmp_path, monkeypatch, on_init="time.sleep(1000)")
    monkeypatch.setattr(tracking, "TO_START", 1.0)
    start = time.perf_counter()
    assert_missed(tmp_path / "run", untracked, "只记到第 0 次更新，共 60 次（1 秒没有进展")
    assert time.perf_counter() - start < 20


def test_ctrl_c_while_waiting_for_the_tracker_loses_nothing(tmp_path, monkeypatch, untracked):
    fake_wandb(tmp_path, monkeypatch, on_log="time.sleep(1000)")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(
        tracking, "wants_cpu", lambda pid: signal.raise_signal(signal.SIGINT) or True
    )
    with pytest.warns(RuntimeWarning, match="没有等它记完.*补记：python -m ppo_lib track"):
        run = train(CFG, run_dir=tmp_path / "run", **QUIET)
    signal.signal(signal.SIGINT, before)
    assert run.complete and not run.interrupted
    xr.testing.assert_equal(run.metrics, untracked.metrics)


@pytest.mark.parametrize(
    ("said", "configured", "mode"),
    [
        ("", "offline", "offline"),
        ("disabled", "offline", "disabled"),
        ("disabled", "online", "disabled"),
        ("offline", "online", "offline"),
        ("dryrun", "online", "offline"),
        ("ONLINE", "offline", "online"),
        ("online", "disabled", "disabled"),  # 配置里说不记，就不记
    ],
)
def test_the_trackers_own_variable_goes_before_the_config(monkeypatch, said, configured, mode):
    monkeypatch.setenv("WANDB_MODE", said)
    cfg = dataclasses.replace(CFG, wandb_mode=configured)
    assert tracking.tracking_mode(cfg) == mode
    other = dataclasses.replace(cfg, tracker="swanlab")
    assert tracking.tracking_mode(other) == configured  # W&B 的变量管不到别的跟踪器


def test_a_mode_that_does_not_exist_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offlin")
    with pytest.warns(
        RuntimeWarning, match="WANDB_MODE = 'offlin' 不合法；.*offline.*训练照常"
    ):
        assert start_tracking(tmp_path, CFG) is None


ORPHAN = """
import sys, time
from pathlib import Path
from ppo_lib import load_config
from ppo_lib.tracking import start_tracking
folder = Path(sys.argv[1])
print(start_tracking(folder, load_config(folder / "config.yaml")).process.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="要用 kill -9")
@pytest.mark.parametrize("stuck", [False, True], ids=["W&B", "stuck"])
def test_the_tracker_ends_with_the_trainer(tmp_path, monkeypatch, stuck):
    """训练的进程被 kill -9，跟踪进程（和 W&B 的后台服务）跟着走，哪怕它正卡住。"""
    folder = tmp_path / "run"
    train(dataclasses.replace(CFG, tracker="none"), run_dir=folder, **QUIET)
    (folder / "config.yaml").write_text(to_yaml(CFG), encoding="utf-8")
    if stuck:
        fake_wandb(tmp_path, monkeypatch, on_init="time.sleep(1000)")
    command = [sys.executable, "-c", ORPHAN, folder]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE)
    worker = int(trainer.stdout.readline())
    time.sleep(0.3 if stuck else 1.5)
    family = [worker, *child_processes(worker)]
    trainer.kill()
    trainer.communicate()
    deadline = time.monotonic() + 30
    while any(map(alive, family)):
        assert time.monotonic() < deadline, "还活着"
        time.sleep(0.1)


def alive(pid):
    """一个进程在不在；已经结束、没有人收尸的不算。"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_slow_tracker_is_waited_for(tmp_path, monkeypatch, untracked):
    fake_wandb(tmp_path, monkeypatch, on_log="time.sleep(0.02)")
    run = train(CFG, run_dir=tmp_path / "run", **QUIET)
    assert run.run_seconds < 1.5  # 记录要 2.4 秒，训练不等它
    assert status(tmp_path / "run") == {"logged": 60, "finished": True}


SLOW_SWANLAB = """
import time
class Run:
    def log(self, row, step):
        time.sleep(0.02)
    def finish(self):
        pass
def init(**options):
    return Run()
"""


@pytest.mark.slow
def test_a_slow_tracker_without_proc_is_seen_to_go_on(tmp_path, monkeypatch):
    """SwanLab 一个种子一个种子地记，最后才知道记到了哪里；没有 /proc 的系统上，也看得出它没有停。"""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/swanlab.py").write_text(SLOW_SWANLAB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setattr(tracking, "wants_cpu", lambda pid: False)
    monkeypatch.setattr(tracking, "PATIENCE", 1.5)
    (tmp_path / "metrics").mkdir()
    for end in range(10, 151, 10):  # 两个种子一共要记 6 秒
        np.savez(tmp_path / f"metrics/{end:06d}.npz", entropy=np.ones((2, 10)))
    (tmp_path / "config.yaml").touch()
    cfg = dataclasses.replace(CFG, tracker="swanlab")
    complete, message = tracking.Tracking(tmp_path, cfg, "offline", follow=False).wait(150)
    assert complete, message


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="要读 /proc")
def test_a_tracker_starved_of_cpu_is_not_taken_for_a_hung_one():
    """忙着的进程算有动静；睡着的、停住的不算。"""
    code = "import sys, time\nprint(flush=True)\n{}"
    for body, expected in [("while True: pass", True), ("time.sleep(100)", False)]:
        process = subprocess.Popen(
            [sys.executable, "-c", code.format(body)], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(0.2)
        assert tracking.wants_cpu(process.pid) == expected
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        assert not tracking.wants_cpu(process.pid)
        process.kill()
        process.communicate()
    assert not tracking.wants_cpu(process.pid)


def child_processes(pid):
    """一个进程的全部后代。"""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in children] + [d for c in children for d in child_processes(int(c))]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="要读 /proc")
@pytest.mark.parametrize("victim", ["worker", "wandb-core"])
def test_killing_the_tracker_changes_nothing_and_replaying_completes_it(
    tmp_path, untracked, victim, monkeypatch
):
    """真的 W&B：跟踪进程，或它的后台服务，在半路被 kill -9；事后补记，一行不少。"""
    started = []
    original = tracking.Tracking.__init__

    def remember(self, *args, **options):
        original(self, *args, **options)
        started.append(self.process)

    monkeypatch.setattr(tracking.Tracking, "__init__", remember)
    monkeypatch.setattr(tracking, "PATIENCE", 5.0)

    def kill(ds):
        if ds.sizes["update"] != 30:
            return
        deadline = time.monotonic() + 60
        while not (tmp_path / "run/tracking/status.json").exists():  # 已经记了一些
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pids = child_processes(started[0].pid) if victim == "wandb-core" else [started[0].pid]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = train(CFG, run_dir=tmp_path / "run", on_chunk=kill, **QUIET)
    xr.testing.assert_equal(run.metrics, untracked.metrics)
    assert any("补记：python -m ppo_lib track" in str(w.message) for w in caught)
    result = track(tmp_path / "run")
    assert result.returncode == 0, result.stdout + result.stderr
    replayed = list(read_offline_runs(tmp_path / "run").values())
    assert len(replayed) == CFG.num_seeds
    for i, (_, rows) in enumerate(replayed):
        assert_logged(rows, run.metrics.sel(seed=3 + i))


# ---------------------------------------------------------------- 不跟踪，或跟踪不了


@pytest.mark.parametrize("off", [dict(tracker="none"), dict(wandb_mode="disabled")])
def test_nothing_is_tracked_when_switched_off(tmp_path, off):
    train(dataclasses.replace(CFG, **off), run_dir=tmp_path / "run", **QUIET)
    assert not (tmp_path / "run/tracking").exists()


def test_nothing_is_tracked_or_written_without_a_run_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(CFG, **QUIET)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    cfg = dataclasses.replace(CFG, tracker="swanlab")
    with pytest.warns(RuntimeWarning, match="'swanlab' 要用 swanlab，没有装.*训练照常"):
        run = train(cfg, run_dir=tmp_path / "run", **QUIET)
    assert run.metrics.sizes["update"] == 60


def test_the_worker_is_a_program_of_its_own_at_the_lowest_priority(tmp_path, monkeypatch):
    """不是 fork 出来的：它是一个新的 Python，不引用 JAX。"""
    fake_wandb(tmp_path, monkeypatch)
    folder = tmp_path / "run"
    train(dataclasses.replace(CFG, tracker="none"), run_dir=folder, **QUIET)
    (folder / "metrics.nc").unlink()  # 好像还在训练
    tracker = start_tracking(folder, CFG)
    assert tracker.process.args[1].endswith("worker.py")
    assert os.getpriority(os.PRIO_PROCESS, tracker.process.pid) == 19
    assert os.getsid(tracker.process.pid) == os.getsid(0)
    (folder / "metrics.nc").touch()
    assert tracker.wait(60)[0]
    source = Path(tracking.__file__).with_name("worker.py").read_text(encoding="utf-8")
    assert "import jax" not in source and "from ppo_lib" not in source


# ---------------------------------------------------------------- 任务书和指标


def test_names_and_groups_are_those_of_the_guide(tmp_path):
    (tmp_path / "config.yaml").touch()
    job = describe_job(tmp_path, dataclasses.replace(CFG, beta_1=0.5), "offline")
    assert job["group"].startswith("ppo_beta1_0.5_CartPole-v1_2")
    assert job["names"] == ["3_0", "3_1"] and job["seeds"] == [3, 4]
    assert len(set(job["ids"])) == 2
    assert json.loads(json.dumps(job))["config"]["hidden_sizes"] == [8]


def named(folder, cfg=CFG):
    """一次运行记进去时的 (编号, 分组)。"""
    job = describe_job(folder, cfg, "online")
    return job["ids"], job["group"]


def test_a_run_keeps_its_ids_and_group_and_the_next_one_has_others(tmp_path):
    """加长时 config.yaml 重写，还是同一次；在原处重新训练，就不是了。"""
    folder, again = tmp_path / "run", []
    for _ in range(2):
        folder.mkdir()
        (folder / "config.yaml").touch()
        first = named(folder)
        os.utime(folder / "config.yaml", (0, 0))
        assert named(folder) == first
        again.append(first)
        shutil.rmtree(folder)
    assert not set(again[0][0]) & set(again[1][0])


def test_a_run_tracked_by_an_older_version_keeps_its_ids(tmp_path):
    (tmp_path / "tracking").mkdir()
    (tmp_path / "config.yaml").touch()
    old = {
        "ids": ["0a1b2c3d-3", "0a1b2c3d-4"],
        "group": "ppo_beta1_0.9_CartPole-v1_20260102-030405",
    }
    (tmp_path / "tracking/job.json").write_text(json.dumps(old))
    assert named(tmp_path) == (old["ids"], old["group"])


def test_rows_of_one_member_leave_out_what_is_nan():
    chunk = {
        "return": np.array([[1.0, np.nan], [5.0, 6.0]]),
        "entropy": np.array([[2.0, 3.0], [7.0, 8.0]]),
    }
    assert list(rows_of(chunk, 0)) == [{"return": 1.0, "entropy": 2.0}, {"entropy": 3.0}]
    assert list(rows_of(chunk, 1))[1] == {"return": 6.0, "entropy": 8.0}
