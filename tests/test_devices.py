"""成员分给许多个设备、许多台机器：写法与一个设备时相同，结果也相同。"""

import dataclasses
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
import xarray as xr
from tiny import TINY

from ppo_lib import ConfigError, load_config, load_policy, train
from ppo_lib.gather import gather
from ppo_lib.hosts import share
from ppo_lib.run_dir import latest

TEN = dataclasses.replace(TINY, num_seeds=10, total_timesteps=20 * 32)

ON_EIGHT = """
import jax
from test_devices import TEN
from ppo_lib import train
from ppo_lib.members import Members

run = Members.run

def look(members, *args):
    run(members, *args)
    assert len(members.states) == 1 and members.batch == 16
    for leaf in jax.tree.leaves(members.states[0].params):
        assert [s.data.shape[0] for s in leaf.addressable_shards] == [2] * 8
        assert len({s.device for s in leaf.addressable_shards}) == 8

def stop(metrics):
    if metrics.sizes["update"] == 10:
        raise KeyboardInterrupt

Members.run = look
here = dict(parallel="vmap", run_dir="eight", progress=False, chunk_updates=5)
assert train(TEN, on_chunk=stop, **here).interrupted
assert train(TEN, resume=True, **here).resumed_from == 10
"""


def python(code, folder, flags="", *arguments):
    """在自己的进程里，在 folder 里运行一段代码；flags 加进 XLA_FLAGS。"""
    here = os.path.dirname(__file__)
    paths = os.pathsep.join([here, os.path.dirname(here), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*children):
    """等各个进程做完。"""
    for child in children:
        _, errors = child.communicate(timeout=300)
        assert child.returncode == 0, errors[-3000:]


@pytest.mark.slow
def test_eight_devices_give_the_numbers_of_one(tmp_path):
    """一个设备的程序与几个设备的不是同一个，差在舍入；几个设备之间逐位相同，只要每个设备上一样多。"""
    child = python(ON_EIGHT, tmp_path, "--xla_force_host_platform_device_count=8")
    here = train(TEN, parallel="vmap", progress=False)
    finish(child)
    there = xr.load_dataset(tmp_path / "eight/metrics.nc")
    for name, x in here.metrics.items():
        np.testing.assert_allclose(there[name], x, rtol=1e-3, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(there["return"], here.metrics["return"])
    policy = load_policy(tmp_path / "eight/policy.npz")
    for layer, arrays in here.params["params"].items():
        for name, x in arrays.items():
            np.testing.assert_allclose(policy.params["params"][layer][name], x, atol=1e-5)

    again = train(TEN, run_dir=tmp_path / "eight", resume=True, progress=False)
    assert again.resumed_from == again.update == 20, "检查点与设备的个数无关"


ON_TWO_HOSTS = """
import sys
import jax

address, process = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process))

from test_devices import TEN
from ppo_lib.hosts import train_share

run = train_share(TEN, "hosts", resume=True, progress=False)
assert run.config.seeds == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))[int(process)]
assert jax.process_count() == 2
"""

ONE_BREAKS = """
import sys, time
import jax

address, process = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process))

from test_devices import TEN
from ppo_lib.hosts import train_share

def on_chunk(metrics):
    if process == "1":
        raise ValueError("画不出来")
    time.sleep(16)  # 两块，比 Gloo 等的 30 秒长

try:
    train_share(TEN, "hosts", progress=False, chunk_updates=10, on_chunk=on_chunk)
except ValueError:
    assert process == "1"
else:
    assert process == "0"
"""


def on_two_hosts(code, folder):
    """两个进程，在本机上通信。"""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    finish(*[python(code, folder, "", address, str(n)) for n in range(2)])


@pytest.mark.slow
@pytest.mark.usefixtures("fully_optimized")  # 与别的进程里的逐位相同
def test_two_hosts_give_the_numbers_of_one(tmp_path):
    """第二遍从各自的检查点接上。"""
    for _ in range(2):
        on_two_hosts(ON_TWO_HOSTS, tmp_path)
        assert [latest(tmp_path / f"hosts/{n}") for n in range(2)] == [20, 20]
    assert (
        load_config(tmp_path / "hosts/config.yaml").seeds == TEN.seeds
    )  # 少一台，gather 由它知道
    there, here = gather(tmp_path / "hosts"), train(TEN, progress=False).metrics
    xr.testing.assert_identical(there.drop_attrs(), here.drop_attrs())


@pytest.mark.slow
def test_a_host_that_breaks_at_once_waits_for_a_slow_one(tmp_path):
    on_two_hosts(ONE_BREAKS, tmp_path)
    assert latest(tmp_path / "hosts/0") == 20 and latest(tmp_path / "hosts/1") == 10


def test_fewer_seeds_than_hosts_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 11)
    with pytest.raises(ConfigError, match="有 11 个进程，至少要 11 个种子"):
        share(TEN)


def test_every_seed_has_one_host(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    shares = []
    for process in range(4):
        monkeypatch.setattr(jax, "process_index", lambda: process)
        shares.append(share(TEN).seeds)
    assert sum(shares, ()) == TEN.seeds and {len(one) for one in shares} == {2, 3}
