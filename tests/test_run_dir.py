"""run_dir.py：存下的运行能原样接着训练；检查点坏了、磁盘满了、配置不同，都说清楚，不弄坏已存的。"""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings

import jax
import numpy as np
import pytest
import xarray as xr
from tiny import TINY

from ppo_lib import (
    RunDirError,
    experiment,
    load_config,
    load_policy,
    members,
    run_dir,
    sweep,
    train,
)
from ppo_lib.run_dir import RunDir, digest, read_chunks
from ppo_lib.tracking import worker

pytestmark = pytest.mark.usefixtures("fully_optimized")  # 与别的进程里的逐位相同

CFG = TINY
EVERY = dict(progress=False, chunk_updates=10, checkpoint_every=2)  # 检查点在 20、40、60


@pytest.fixture(scope="module")
def whole():
    """一口气训练的结果。"""
    return train(CFG, progress=False)


def same_run(a, b):
    xr.testing.assert_equal(a.metrics, b.metrics)
    flat = [np.concatenate([x.ravel() for x in _leaves(run.params)]) for run in (a, b)]
    np.testing.assert_array_equal(*flat)


def _leaves(tree):
    return [x for v in tree.values() for x in (_leaves(v) if isinstance(v, dict) else [v])]


class Stop(Exception):
    """用户的函数出了错。"""


def broken_off(folder, after, **changes):
    """训练到第 after 次更新时断电：那一刻的目录。"""
    live = folder.with_name(f"{folder.name}-live")

    def stop(ds):
        if ds.sizes["update"] == after:
            shutil.copytree(live, folder, dirs_exist_ok=True)
            raise Stop

    with pytest.raises(Stop):
        train(dataclasses.replace(CFG, **changes), run_dir=live, on_chunk=stop, **EVERY)


def contents(folder):
    """{文件: 内容}"""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def checkpoints(folder):
    names = [path.name for path in (folder / "checkpoints").glob("*")]
    return sorted(int(name) for name in names if name.isdigit())  # 写了一半的有别的后缀


# ---------------------------------------------------------------- 存下的东西


def test_a_finished_run_can_be_read_back(tmp_path, whole):
    run = train(CFG, run_dir=tmp_path, **EVERY)
    same_run(run, whole)
    xr.testing.assert_equal(xr.load_dataset(tmp_path / "metrics.nc"), run.metrics)
    policy = load_policy(tmp_path / "policy.npz")
    assert policy.config == CFG and policy.update == 60
    same_run(dataclasses.replace(run, params=policy.params), whole)
    assert checkpoints(tmp_path) == [40, 60]  # 只留最近两份
    assert not list(tmp_path.rglob("*.tmp"))


def test_metrics_are_on_disk_while_training_goes_on(tmp_path):
    seen = []

    def look(ds):
        chunks = list(read_chunks(tmp_path))
        seen.append([end for end, _ in chunks])
        together = np.concatenate([rows["entropy"] for _, rows in chunks], axis=1)
        np.testing.assert_array_equal(together, ds["entropy"])

    train(CFG, run_dir=tmp_path, on_chunk=look, **EVERY)
    assert seen == [list(range(10, end + 1, 10)) for end in range(10, 61, 10)]


# ---------------------------------------------------------------- 接着训练


@pytest.mark.parametrize("after", [10, 20, 30, 50, 60])
def test_resuming_is_bit_for_bit_training_in_one_go(tmp_path, whole, after):
    broken_off(tmp_path, after)
    run = train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    same_run(run, whole)


@pytest.mark.slow
def test_resuming_in_other_chunks_and_vmapped_gives_the_same_start(tmp_path, whole):
    broken_off(tmp_path, 30)
    run = train(
        CFG, run_dir=tmp_path, resume=True, progress=False, chunk_updates=7, parallel="vmap"
    )
    assert run.metrics.sizes["update"] == 60
    xr.testing.assert_equal(
        run.metrics.isel(update=slice(20)), whole.metrics.isel(update=slice(20))
    )
    np.testing.assert_allclose(
        run.metrics["entropy"].isel(update=slice(20, 24)),
        whole.metrics["entropy"].isel(update=slice(20, 24)),
        rtol=1e-3,
    )


def test_resuming_a_finished_run_trains_nothing(tmp_path, whole):
    train(CFG, run_dir=tmp_path, **EVERY)
    run = train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    same_run(run, whole)
    assert run.run_seconds < 0.1


def test_resuming_where_there_is_nothing_starts_from_the_beginning(tmp_path, whole):
    same_run(train(CFG, run_dir=tmp_path / "new", resume=True, **EVERY), whole)


def test_ctrl_c_saves_and_resume_goes_on(tmp_path, whole):
    def stop(ds):
        if ds.sizes["update"] == 30:
            raise KeyboardInterrupt

    with pytest.warns(
        RuntimeWarning, match="做了 30 次更新，共 60 次；存到了第 30 次.*resume=True"
    ):
        run = train(CFG, run_dir=tmp_path, on_chunk=stop, **EVERY)
    assert run.interrupted and not run.complete and checkpoints(tmp_path) == [20, 30]
    assert "30 次更新，共 60 次，没有做完" in repr(run)
    assert xr.load_dataset(tmp_path / "metrics.nc").attrs["complete"] == 0
    xr.testing.assert_equal(
        xr.load_dataset(tmp_path / "metrics.nc"), whole.metrics.isel(update=slice(30))
    )
    same_run(train(CFG, run_dir=tmp_path, resume=True, **EVERY), whole)


def test_ctrl_c_before_the_first_chunk_after_a_resume_harms_nothing(
    tmp_path, whole, monkeypatch
):
    broken_off(tmp_path, 40)
    with monkeypatch.context() as patch:

        def interrupted(*_):
            raise KeyboardInterrupt

        patch.setattr(members.Members, "advance", interrupted)
        with pytest.warns(RuntimeWarning, match="做了 40 次更新"):
            run = train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    assert run.interrupted and run.metrics.sizes["update"] == 40
    assert [end for end, _ in read_chunks(tmp_path)] == [10, 20, 30, 40]
    same_run(train(CFG, run_dir=tmp_path, resume=True, **EVERY), whole)


def test_ctrl_c_right_after_a_checkpoint_saves_and_says_nothing_of_the_disk(tmp_path, whole):
    """那一份检查点已经存好，不必、也不能再存一遍。"""

    def stop(ds):
        if ds.sizes["update"] == 20:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="做了 20 次更新"):
        run = train(CFG, run_dir=tmp_path, on_chunk=stop, **EVERY)
    assert run.interrupted and checkpoints(tmp_path) == [20]
    assert (tmp_path / "metrics.nc").exists() and (tmp_path / "policy.npz").exists()
    same_run(train(CFG, run_dir=tmp_path, resume=True, **EVERY), whole)


# ---------------------------------------------------------------- 训练得更长


@pytest.mark.slow
@pytest.mark.parametrize("after", [30, 60])
def test_a_run_without_annealing_trained_longer_is_bit_for_bit_the_long_run(tmp_path, after):
    steady = dataclasses.replace(CFG, anneal_lr=False, total_timesteps=90 * 32)
    broken_off(tmp_path, after, anneal_lr=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(steady, run_dir=tmp_path, resume=True, **EVERY)
    same_run(run, train(steady, progress=False))
    assert load_config(tmp_path / "config.yaml") == steady


def test_a_run_with_annealing_trained_longer_says_what_the_schedule_means(tmp_path, whole):
    longer = dataclasses.replace(CFG, total_timesteps=90 * 32)
    train(CFG, run_dir=tmp_path, **EVERY)
    with pytest.warns(
        RuntimeWarning, match="从第 60 次之后加长到 90 次.*从 lr 的 33% 起.*不同"
    ):
        run = train(longer, run_dir=tmp_path, resume=True, **EVERY)
    xr.testing.assert_equal(run.metrics.isel(update=slice(60)), whole.metrics)
    u = np.arange(90)
    total = np.where(u < 60, 60, 90)
    np.testing.assert_allclose(run.metrics["learning_rate"][0], CFG.lr * (1 - u / total), 1e-5)
    assert list(run.metrics.attrs["extended_at"]) == [60] and run.resumed_from == 60
    assert xr.load_dataset(tmp_path / "metrics.nc").attrs["extended_at"] == 60
    with pytest.raises(RunDirError, match="total_timesteps（那次是 2880，现在是 1920）"):
        train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    again = train(longer, run_dir=tmp_path, resume=True, **EVERY)  # 已经做完，也记得加长过
    same_run(again, run)
    assert list(again.metrics.attrs["extended_at"]) == [60]
    assert np.isnan(again.steps_per_second)  # 这一次没有训练，没有速度可报


# ---------------------------------------------------------------- 一个目录，一个进程


def test_a_directory_in_use_is_refused_and_the_run_goes_on(tmp_path, whole):
    refused = []

    def again(ds):
        with pytest.raises(
            RunDirError, match=f"另一次训练用着（.*进程 {os.getpid()}）"
        ) as caught:
            train(CFG, run_dir=tmp_path, resume=True, **EVERY)
        refused.append(caught.value)

    same_run(train(CFG, run_dir=tmp_path, on_chunk=again, **EVERY), whole)
    assert len(refused) == 6


def test_an_error_lets_go_of_the_directory(tmp_path, monkeypatch):
    """编译的时候出错，也放开目录。"""
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "Members", None)
        with pytest.raises(TypeError) as caught:
            train(CFG, run_dir=tmp_path, **EVERY)
    assert caught.value.__traceback__ is not None  # 异常还拿着那时的局部变量
    RunDir(tmp_path, CFG, resume=True).close()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="要用 kill -9")
def test_two_processes_started_together_never_mix(tmp_path):
    """同时起两个：一个做完，另一个说清楚；死了的不占着目录。"""
    (tmp_path / "cfg.yaml").write_text(to_text(CFG), encoding="utf-8")
    folder = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, tmp_path / "cfg.yaml", folder]
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    both = [subprocess.Popen(command, **options) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    done = [out.strip() == "done" for out, _ in said]
    assert any(done)  # 一个先做完、另一个才开始，也是两个都做完
    assert all(ok or "正由另一次训练用着" in err for ok, (_, err) in zip(done, said))
    same_run(train(CFG, run_dir=folder, resume=True, **EVERY), train(CFG, progress=False))


def test_chunks_are_read_in_the_order_of_numbers(tmp_path):
    (tmp_path / "metrics").mkdir()
    for end in (1_000_000, 999_999, 20):
        np.savez(tmp_path / f"metrics/{end:06d}.npz", x=np.zeros((1, 1)))
    assert [end for end, _ in read_chunks(tmp_path)] == [20, 999_999, 1_000_000]
    ended = threading.Event()
    ended.set()
    assert [done for done, _ in worker.chunks(tmp_path, ended)] == [0, 20, 999_999]


# ---------------------------------------------------------------- 路径


@pytest.mark.parametrize("name", ["~/实验 一/甲", "有 空格/乙"])
def test_paths_with_home_spaces_and_chinese(tmp_path, monkeypatch, whole, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    train(CFG, run_dir=name, **EVERY)
    folder = tmp_path / name.removeprefix("~/")
    assert load_policy(f"{name}/policy.npz").update == 60
    assert load_config(f"{name}/config.yaml") == CFG
    same_run(train(CFG, run_dir=folder, resume=True, **EVERY), whole)
    assert not (tmp_path / "~").exists()


def test_a_path_that_this_environment_cannot_write_is_answered(tmp_path):
    """文件系统的编码是 ASCII 时，Python 把中文的路径读成这样。"""
    undecoded = os.fsencode("实验").decode("ascii", "surrogateescape")
    with pytest.raises(RunDirError, match="写不了的字.*PYTHONUTF8=1"):
        RunDir(tmp_path / undecoded, CFG)


def test_a_home_that_does_not_exist_is_named():
    with pytest.raises(RunDirError, match="'~nosuch/x' 里的 ~nosuch 找不到主目录"):
        train(CFG, run_dir="~nosuch/x", **EVERY)


# ---------------------------------------------------------------- 网格

AXES = dict(beta_1=[0.0, 0.9], activation=["relu", "tanh"])


@pytest.fixture(scope="module")
def whole_grid():
    return sweep(CFG, progress=False, **AXES)


def interrupt_second_program(monkeypatch):
    """第二个静态取值做到一半时按下 Ctrl-C。"""
    save, pressed = RunDir.save_metrics, []

    def stop(self, done, rows):
        save(self, done, rows)
        if self.path.name == "activation=tanh" and done == 30 and not pressed:
            pressed.append(done)
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDir, "save_metrics", stop)


@pytest.mark.slow
def test_an_interrupted_sweep_is_no_result_and_resumes_bit_for_bit(
    tmp_path, monkeypatch, whole_grid
):
    with monkeypatch.context() as patch:
        interrupt_second_program(patch)
        with pytest.raises(
            KeyboardInterrupt, match="做了 30 次更新，共 60 次(.|\n)*resume=True"
        ):
            sweep(CFG, run_dir=tmp_path, **AXES, **EVERY)
    assert not (tmp_path / "metrics.nc").exists()
    assert checkpoints(tmp_path / "activation=relu") == [40, 60]
    assert checkpoints(tmp_path / "activation=tanh") == [20, 30]
    ds = sweep(CFG, run_dir=tmp_path, resume=True, **AXES, **EVERY)
    xr.testing.assert_equal(ds, whole_grid)
    xr.testing.assert_equal(xr.load_dataset(tmp_path / "metrics.nc"), whole_grid)


def test_a_sweep_stopped_without_a_directory_says_that_nothing_is_kept(monkeypatch):
    advance = members.Members.advance
    calls = []

    def stop(self, i, n, previous):
        calls.append(i)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return advance(self, i, n, previous)

    monkeypatch.setattr(members.Members, "advance", stop)
    with pytest.raises(KeyboardInterrupt, match="没有跑完就停下了(.|\n)*没有存下"):
        sweep(CFG, beta_1=[0.5], progress=False, chunk_updates=10)


def test_a_sweep_stopped_before_its_first_chunk_says_that_nothing_is_kept(
    tmp_path, monkeypatch
):
    def stop(self, i, n, previous):
        raise KeyboardInterrupt

    monkeypatch.setattr(members.Members, "advance", stop)
    with pytest.raises(KeyboardInterrupt, match="做完了 0 个；没有存下。$"):
        sweep(CFG, beta_1=[0.5], run_dir=tmp_path / "grid", **EVERY)


def test_a_directory_belongs_to_one_sweep(tmp_path):
    sweep(CFG, beta_1=[0.5], run_dir=tmp_path / "grid", **EVERY)
    with pytest.raises(RunDirError, match="resume=True"):
        sweep(CFG, beta_1=[0.5], run_dir=tmp_path / "grid", **EVERY)
    with pytest.raises(RunDirError, match="轴是(.|\n)*0.5(.|\n)*现在是(.|\n)*0.9"):
        sweep(CFG, beta_1=[0.9], run_dir=tmp_path / "grid", resume=True, **EVERY)
    with pytest.raises(RunDirError, match="轴是(.|\n)*现在是 None"):
        train(CFG, run_dir=tmp_path / "grid", resume=True, **EVERY)


@pytest.mark.slow
def test_a_diverged_member_is_named_again_after_a_resume(tmp_path):
    bad = dict(optimizer="sgd", max_grad_norm=1e30)
    cfg = dataclasses.replace(CFG, **bad)
    with pytest.warns(RuntimeWarning, match="发散了") as first:
        ds = sweep(cfg, lr=[1e-3, 1e30], run_dir=tmp_path, **EVERY)
    with pytest.warns(RuntimeWarning, match="发散了") as second:
        again = sweep(cfg, lr=[1e-3, 1e30], run_dir=tmp_path, resume=True, **EVERY)
    assert [str(w.message) for w in first] == [str(w.message) for w in second]
    xr.testing.assert_equal(ds, again)


# ---------------------------------------------------------------- 不该接着训练的


def test_an_existing_run_is_not_overwritten(tmp_path):
    broken_off(tmp_path, 10)
    before = contents(tmp_path)
    with pytest.raises(RunDirError, match="已经有一次运行.*resume=True"):
        train(CFG, run_dir=tmp_path, **EVERY)
    assert before == contents(tmp_path)


def test_a_run_of_another_config_is_refused_and_the_keys_are_named(tmp_path):
    broken_off(tmp_path, 10)
    other = dataclasses.replace(CFG, lr=1e-3, hidden_sizes=(4,), project="另一个")
    with pytest.raises(RunDirError) as caught:
        train(other, run_dir=tmp_path, resume=True, **EVERY)
    assert "lr（那次是 0.004，现在是 0.001）" in str(caught.value)
    assert "hidden_sizes（那次是 (8,)，现在是 (4,)）" in str(caught.value)
    assert "project" not in str(caught.value)  # 记到哪里不影响结果，可以改


# ---------------------------------------------------------------- 坏了的检查点


def arrays_of(folder):
    """一份检查点里装着数组的文件；orbax 合并之前的那份（ocdbt.process_0）不再读，坏了也不碍事。"""
    return max(folder.glob("state/d/*"), key=lambda path: path.stat().st_size)


def tear(folder):
    """把一份检查点里的数组截掉一半。"""
    file = arrays_of(folder)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(folder):
    """改掉一份检查点的数组里的一个字节。"""
    file = arrays_of(folder)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def empty(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def drop_a_part(folder):
    shutil.rmtree(folder / "state")


@pytest.mark.slow
@pytest.mark.parametrize("damage", [tear, flip_a_bit, empty, drop_a_part])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, whole, damage):
    broken_off(tmp_path, 50)
    assert checkpoints(tmp_path) == [20, 40]
    damage(tmp_path / "checkpoints/40")
    lost = contents(tmp_path / "checkpoints/40")
    with pytest.warns(RuntimeWarning, match="第 40 次更新的检查点坏了.*改用更早的一份.*没有删"):
        run = train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    same_run(run, whole)
    (aside,) = (tmp_path / "unreadable").iterdir()
    assert contents(aside / "checkpoints/40") == lost
    assert sorted(p.name for p in (aside / "metrics").iterdir()) == [
        "000030.npz",
        "000040.npz",
        "000050.npz",
    ]


def test_a_deleted_checkpoint_falls_back_to_the_one_before(tmp_path, whole):
    broken_off(tmp_path, 50)
    shutil.rmtree(tmp_path / "checkpoints/40")
    same_run(train(CFG, run_dir=tmp_path, resume=True, **EVERY), whole)


def test_damaged_metrics_fall_back_too(tmp_path, whole):
    broken_off(tmp_path, 50)
    file = tmp_path / "metrics/000040.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(RuntimeWarning, match="第 40 次更新的检查点坏了"):
        run = train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    same_run(run, whole)


def test_metrics_that_are_gone_are_said_so(tmp_path):
    broken_off(tmp_path, 20)
    shutil.rmtree(tmp_path / "metrics")
    with pytest.raises(RunDirError, match="第 20 次更新的（ValueError：缺了指标）"):
        train(CFG, run_dir=tmp_path, resume=True, **EVERY)


def test_when_no_checkpoint_can_be_read_nothing_is_touched(tmp_path):
    broken_off(tmp_path, 50)
    for folder in (tmp_path / "checkpoints").iterdir():
        tear(folder)
    before = contents(tmp_path)
    with pytest.raises(RunDirError) as caught:
        train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    for words in ("一份也读不出来", "第 40 次", "第 20 次", "什么也没有删", "orbax-checkpoint"):
        assert words in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["enable_x64", "disable_jit", "debug_nans"])
def test_settings_of_jax_change_no_number_and_no_checkpoint(tmp_path, whole, setting):
    """在一种设置下开始，在另一种设置下接着。"""
    broken_off(tmp_path, 30)
    members.compiled_programs.cache_clear()
    with getattr(jax, setting)(True):
        run = train(CFG, run_dir=tmp_path, resume=True, **EVERY)
    same_run(run, whole)


def test_digest_sees_values_shapes_types_and_order():
    a, b = np.zeros(4, np.float32), np.ones(4, np.float32)
    variants = [[a, b], [b, a], [a.reshape(2, 2), b], [a.view(np.int32), b], [a, b * 2]]
    assert len({digest(leaves) for leaves in variants}) == len(variants)


# ---------------------------------------------------------------- 写不进去


def test_a_full_disk_is_said_clearly_and_harms_nothing_saved(tmp_path, whole, monkeypatch):
    """在存第 30 次更新的指标时，磁盘满了。"""
    original = np.savez

    def full(file, **arrays):
        if "000030" in str(file.name):
            file.write(b"half")
            raise OSError(28, "No space left on device")
        original(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(
        RunDirError, match=r"写不进 .*还剩 [\d.]+ MB.*No space left.*resume=True"
    ):
        train(CFG, run_dir=tmp_path, **EVERY)
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    same_run(train(CFG, run_dir=tmp_path, resume=True, **EVERY), whole)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from ppo_lib import RunDirError, load_config, train
cfg = load_config(sys.argv[1])
limit = int(sys.argv[3])
def after(ds):
    if ds.sizes["update"] == 20:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    train(cfg, run_dir=sys.argv[2], progress=False, chunk_updates=10, checkpoint_every=2, on_chunk=after)
except RunDirError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="这个系统没有文件大小的限制")
@pytest.mark.parametrize("limit", [100, 3000])
def test_files_that_cannot_grow_are_said_clearly(tmp_path, whole, limit):
    """真的写不进去：进程里的文件不许超过 limit 字节。小的限制碰到指标，大的碰到检查点。"""
    (tmp_path / "cfg.yaml").write_text(to_text(CFG), encoding="utf-8")
    folder = tmp_path / "run"
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "cfg.yaml", folder, str(limit)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 3, result.stderr
    assert "写不进" in result.stdout and "resume=True" in result.stdout
    run = train(CFG, run_dir=folder, resume=True, **EVERY)
    same_run(run, whole)


def test_what_a_checkpoint_needs_is_on_the_disk_before_it(tmp_path, monkeypatch):
    """断电时，名字在而内容不在的，不能是接着训练要用的。"""
    on_disk, original = set(), os.fsync

    def fsync(file):
        on_disk.add(os.fstat(file).st_ino)
        original(file)

    def durable(pattern):
        files = list(tmp_path.glob(pattern))
        return bool(files) and {path.stat().st_ino for path in files} <= on_disk

    save = run_dir.ocp.CheckpointManager.save

    def checked(*args, **options):
        assert durable("config.yaml") and durable("metrics/*.npz")
        return save(*args, **options)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(run_dir.ocp.CheckpointManager, "save", checked)
    train(CFG, run_dir=tmp_path, **EVERY)
    assert durable("metrics.nc") and durable("policy.npz")


def test_an_empty_config_is_not_taken_for_the_defaults(tmp_path):
    broken_off(tmp_path, 10)
    (tmp_path / "config.yaml").write_bytes(b"")
    with pytest.raises(RunDirError, match="config.yaml 坏了，里面是空的"):
        train(CFG, run_dir=tmp_path, resume=True, **EVERY)


def test_a_folder_that_cannot_be_made_is_said_clearly(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="写不进"):
        RunDir(tmp_path / "file" / "deep" / "run", CFG)


# ---------------------------------------------------------------- 断电


KILLED = """
import sys
from ppo_lib import load_config, train
train(load_config(sys.argv[1]), run_dir=sys.argv[2], resume=True, progress=False,
      chunk_updates=1, checkpoint_every=1)
print("done")
"""


def to_text(cfg):
    from ppo_lib.config import to_yaml

    return to_yaml(cfg)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="要用 kill -9")
def test_kill_9_at_random_moments_changes_nothing(tmp_path):
    """同一次运行被杀三次再接上，与一口气训练逐位相同。更多次见 benchmarks/faults.py。"""
    cfg = dataclasses.replace(CFG, total_timesteps=120 * 32)  # 三次都来得及杀
    (tmp_path / "cfg.yaml").write_text(to_text(cfg), encoding="utf-8")
    folder = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, tmp_path / "cfg.yaml", folder]
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        saved = checkpoints(folder)
        wait_until(lambda: checkpoints(folder) != saved or process.poll() is not None)
        time.sleep(rng.uniform(0, 0.5))
        assert process.poll() is None
        process.kill()
        process.communicate()
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    run = train(cfg, run_dir=folder, resume=True, progress=False)
    same_run(run, train(cfg, progress=False))


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "等太久了"
        time.sleep(0.01)
