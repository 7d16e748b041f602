"""成员分给许多个设备、许多台机器：写法与一个设备时相同，结果也相同。"""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from tiny import TINY

from ppo_lib import load_policy, train

TEN = dataclasses.replace(TINY, num_seeds=10, total_timesteps=20 * 32)

ON_EIGHT = """
import jax
from test_devices import TEN
from ppo_lib import train
from ppo_lib.members import Members

run = Members.run

def look(members, *args):
    assert len(members.states) == 1 and members.batch == 16
    for leaf in jax.tree.leaves(members.states[0].params):
        assert [s.data.shape[0] for s in leaf.addressable_shards] == [2] * 8
        assert len({s.device for s in leaf.addressable_shards}) == 8
    run(members, *args)

Members.run = look
train(TEN, parallel="vmap", run_dir="eight", progress=False)
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
