"""停得下：信号落在哪一刻，用户的函数出了什么错，训练过的都在，说的都是真的。"""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import xarray as xr
from tiny import TINY

from ppo_lib import RunDirError, experiment, load_policy, members, run_dir, train
from ppo_lib.config import to_yaml
from ppo_lib.interrupts import Interrupts

CFG = TINY
EVERY = dict(progress=False, chunk_updates=10, checkpoint_every=2)

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="信号是 POSIX 的"),
    pytest.mark.usefixtures("fully_optimized"),  # 与别的进程里的逐位相同
]


@pytest.fixture(scope="module")
def whole():
    """一口气训练的结果。"""
    return train(CFG, progress=False)


@pytest.fixture(autouse=True)
def interruptible():
    """测试若是在 shell 的后台启动的，SIGINT 会被忽略。"""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "处理没有恢复"
    signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------- 信号


def press_ctrl_c(monkeypatch, home, name, times, presses=1):
    """第 times 次调用 home.name 时（做之前和之后各按一次），按下 Ctrl-C。"""
    original, calls = getattr(home, name), []

    def with_signal(*args, **options):
        calls.append(name)
        if len(calls) == times:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)
        result = original(*args, **options)
        if len(calls) == times:
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(home, name, with_signal)


MOMENTS = {
    "recording": (members.Members, "record", 3, 30),
    "saving metrics": (run_dir.RunDir, "save_metrics", 3, 30),
    "saving a checkpoint": (run_dir.RunDir, "save_state", 1, 20),
    "renaming": (os, "replace", 4, None),
    "the last checkpoint": (run_dir.RunDir, "save_state", 3, 60),
    "writing all metrics": (run_dir.RunDir, "finish", 1, 60),
    "saving the policy": (experiment, "save_policy", 1, 60),
}


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_at_any_moment_leaves_one_moment_of_the_run(
    tmp_path, monkeypatch, whole, moment, presses
):
    home, name, times, done = MOMENTS[moment]
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, home, name, times, presses)
        with pytest.warns(RuntimeWarning, match="被 Ctrl-C 停下了：做了") as said:
            run = train(CFG, run_dir=tmp_path, **EVERY)
    assert [w.category for w in said] == [RuntimeWarning]  # 没有别的话
    assert run.interrupted and (done is None or run.update == done)
    assert (
        run.metrics.sizes["update"] == run.update == load_policy(tmp_path / "policy.npz").update
    )
    saved = xr.load_dataset(tmp_path / "metrics.nc")
    xr.testing.assert_equal(saved, whole.metrics.isel(update=slice(run.update)))
    assert saved.attrs["complete"] == run.complete == (run.update == 60)
    assert not list(tmp_path.rglob("*.tmp"))
    again = train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    xr.testing.assert_equal(again.metrics, whole.metrics)
    assert again.resumed_from == run.update  # 一块也没有重算


def test_ctrl_c_while_compiling_saves_nothing_and_lets_go(tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, experiment, "stack", 1)
        with pytest.raises(KeyboardInterrupt):
            train(CFG, run_dir=tmp_path, **EVERY)
    xr.testing.assert_equal(
        train(CFG, run_dir=tmp_path, resume=True, **EVERY).metrics, whole.metrics
    )


def test_ctrl_c_without_a_directory_returns_what_is_trained(whole):
    def press(ds):
        if ds.sizes["update"] == 20:
            signal.raise_signal(signal.SIGINT)

    with pytest.warns(RuntimeWarning, match="做了 20 次更新，共 60 次。$"):
        run = train(CFG, on_chunk=press, **EVERY)
    xr.testing.assert_equal(run.metrics, whole.metrics.isel(update=slice(20)))


def test_other_handlers_and_other_threads_are_left_alone():
    """用户自己的处理照样被叫到；忽略的照旧忽略；不在主线程就什么也不做。"""
    called = []
    before = signal.signal(signal.SIGINT, lambda *_: called.append("user"))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert called == [] and interrupts.pending == signal.SIGINT
        with interrupts.allowed():
            assert called == ["user"]
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            assert called == ["user"] * 3, "没有抛出的，后面的照样叫到"
    assert interrupts.deadly is None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, before)

    runs = []
    thread = threading.Thread(target=lambda: runs.append(train(CFG, **EVERY)))
    thread.start()
    thread.join()
    assert runs[0].complete


class Threshold(Interrupts):
    """刚要听信号的一刻，来了一个。"""

    def __setattr__(self, name, value):
        if (name, value) == ("listening", True):
            signal.raise_signal(signal.SIGINT)
        super().__setattr__(name, value)


def test_a_signal_on_the_threshold_is_not_missed():
    with Threshold() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.allowed():
        pytest.fail("没有停下")


def test_a_training_inside_another_passes_the_deadly_signal_on(monkeypatch):
    """on_chunk 里又训练一次，SIGTERM 落在里面那次：外面的也停下，最后由它结束进程。"""
    killed = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def inner(ds):
        if ds.sizes["update"] == 20:
            train(CFG, on_chunk=lambda ds: signal.raise_signal(signal.SIGTERM), **EVERY)

    with pytest.warns(RuntimeWarning, match="停下了"):
        run = train(CFG, on_chunk=inner, **EVERY)
    signal.signal(signal.SIGTERM, before)
    assert run.update == 20 and killed == [(os.getpid(), signal.SIGTERM)]


TRAINING = """
import signal, sys, time
signal.signal(int(sys.argv[3]), signal.SIG_DFL)  # 在 nohup 下面是忽略的
from ppo_lib import load_config, train
train(load_config(sys.argv[1]), run_dir=sys.argv[2], progress=False, chunk_updates=1,
      checkpoint_every=1000, on_chunk=lambda ds: time.sleep(0.02))
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_a_killed_process_saves_first(tmp_path, whole, number):
    """集群的 SIGTERM，断线的 SIGHUP：先存好那一刻，说一句，再由这个信号结束。"""
    (tmp_path / "cfg.yaml").write_text(to_yaml(CFG), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, tmp_path / "cfg.yaml", tmp_path / "run", str(int(number))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("run/metrics/*.npz"))) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -number and err == ""
    (line,) = out.splitlines()
    done = int(line.split("做了 ")[1].split(" 次")[0])
    assert line.startswith(f"收到 {number.name}：") and f"存到了第 {done} 次" in line
    assert load_policy(tmp_path / "run/policy.npz").update == done
    run = train(CFG, run_dir=tmp_path / "run", resume=True, progress=False)
    assert run.resumed_from == done >= 5
    xr.testing.assert_equal(run.metrics, whole.metrics)


# ---------------------------------------------------------------- 出错


class Broken(Exception):
    """用户的函数出的错。"""


def fail_at(update, error):
    def on_chunk(ds):
        if ds.sizes["update"] == update:
            raise error

    return on_chunk


@pytest.mark.parametrize("error", [Broken("画不出来"), SystemExit(3), MemoryError()])
def test_an_error_of_the_users_function_keeps_what_is_trained(tmp_path, whole, error):
    with pytest.raises(type(error)) as caught:
        train(CFG, run_dir=tmp_path, on_chunk=fail_at(30, error), **EVERY)
    assert caught.value is error
    run = error.run
    xr.testing.assert_equal(run.metrics, whole.metrics.isel(update=slice(30)))
    assert run.update == 30 and not run.interrupted and not run.complete
    assert "做了 30 次更新，共 60 次；存到了第 30 次" in error.__notes__[0]
    again = train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    assert again.resumed_from == 30
    xr.testing.assert_equal(again.metrics, whole.metrics)


def test_an_error_without_a_directory_carries_the_run(whole):
    error = Broken()
    with pytest.raises(Broken):
        train(CFG, on_chunk=fail_at(20, error), **EVERY)
    xr.testing.assert_equal(error.run.metrics, whole.metrics.isel(update=slice(20)))
    error.run.metrics["return"][:] = 0  # 拿到的可以改


def test_a_full_disk_is_the_only_thing_said_and_the_run_is_not_lost(
    tmp_path, monkeypatch, whole
):
    """从第 30 次更新起什么也写不进去：收尾时也写不进，报的是第一个错。"""
    original = os.replace

    def full(source, target):
        if len(list((tmp_path / "metrics").glob("*.npz"))) >= 2:
            raise OSError(28, "No space left on device")
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunDirError, match="No space left") as caught:
            train(CFG, run_dir=tmp_path, **EVERY)
    run = caught.value.run
    xr.testing.assert_equal(run.metrics, whole.metrics.isel(update=slice(30)))
    again = train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    xr.testing.assert_equal(again.metrics, whole.metrics)


# ---------------------------------------------------------------- 常叫的函数


def test_metrics_given_to_the_users_function_are_not_copied_each_time(whole):
    seen = []
    run = train(CFG, progress=False, chunk_updates=1, on_chunk=seen.append)
    assert len(seen) == 60
    assert np.shares_memory(seen[3]["entropy"].values, seen[-1]["entropy"].values)
    with pytest.raises(ValueError, match="view"):
        seen[3]["entropy"][:] = 0
    for ds, n in zip(seen, range(1, 61)):
        assert ds.sizes["update"] == n
    xr.testing.assert_equal(seen[30], whole.metrics.isel(update=slice(31)))
    run.metrics["entropy"][:] = 0  # 最后的结果可以改
    xr.testing.assert_equal(seen[-1], whole.metrics)


def test_the_policy_of_a_stopped_run_says_its_own_update():
    """发散的那一块在指标里，不在参数里。"""
    cfg = dataclasses.replace(
        CFG, optimizer="sgd", lr=1e30, max_grad_norm=1e30, anneal_lr=False
    )
    with pytest.raises(experiment.Diverged) as caught:
        train(cfg, **EVERY)
    run = caught.value.run
    assert run.metrics.sizes["update"] == 10 and run.update == run.policy().update == 0
