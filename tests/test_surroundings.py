"""用户的周遭：传来传去的对象，别的进程，别的终端，只读的主目录。"""

import contextlib
import copy
import dataclasses
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import xarray as xr
from tiny import TINY

from ppo_lib import (
    ConfigError,
    Diverged,
    PPOConfig,
    RunDirError,
    compiled,
    evaluate,
    progress,
    train,
)
from ppo_lib.policy import PolicyError
from ppo_lib.replay import replay

CFG = dataclasses.replace(TINY, total_timesteps=10 * 32)
EXPLODES = dict(vars(CFG), optimizer="sgd", lr=1e30, max_grad_norm=1e30, anneal_lr=False)


pytestmark = pytest.mark.usefixtures("fully_optimized")  # 与别的进程里的逐位相同


@pytest.fixture(scope="module")
def run():
    return train(CFG, progress=False)


@pytest.fixture(scope="module")
def diverged():
    with pytest.raises(Diverged) as caught:
        train(PPOConfig(**EXPLODES), progress=False)
    return caught.value


# ---------------------------------------------------------------- 传来传去的对象


@pytest.fixture(params=["Run", "Diverged", "Policy", "PPOConfig", "Hyperparams", "Evaluation"])
def passed_around(request, run, diverged):
    return {
        "Run": run,
        "Diverged": diverged,
        "Policy": run.policy(),
        "PPOConfig": CFG,
        "Hyperparams": CFG.hyperparams(),
        "Evaluation": evaluate(run.policy(), episodes=2),
    }[request.param]


def test_an_object_prints_in_a_few_lines(passed_around):
    assert len(repr(passed_around)) < 400 and len(repr(passed_around).splitlines()) <= 4


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_object_pickles_both_ways(passed_around, protocol):
    again = pickle.loads(pickle.dumps(passed_around, protocol))
    assert type(again) is type(passed_around) and repr(again) == repr(passed_around)
    if hasattr(again, "run"):
        xr.testing.assert_equal(again.run.metrics, passed_around.run.metrics)
    if hasattr(again, "params"):
        kernel = passed_around.params["params"]["actor_0"]["kernel"]
        np.testing.assert_array_equal(again.params["params"]["actor_0"]["kernel"], kernel)
    assert repr(copy.deepcopy(passed_around)) == repr(passed_around)


@pytest.mark.parametrize("kind", [ConfigError, RunDirError, PolicyError])
def test_an_error_pickles_with_its_message(kind):
    error = pickle.loads(pickle.dumps(kind("键 = 值 不合法")))
    assert type(error) is kind and str(error) == "键 = 值 不合法"


def test_a_config_is_written_as_it_is_made():
    assert repr(PPOConfig()) == "PPOConfig()"
    assert eval(repr(CFG)) == CFG


@pytest.mark.slow
def test_a_process_pool_survives_what_training_returns_and_raises(run):
    """spawn 开的进程：发散的异常传得回来，后面的任务照做。"""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        bad = pool.submit(train, PPOConfig(**EXPLODES), progress=False)
        good = pool.submit(train, CFG, progress=False)
        error = bad.exception(timeout=300)
        assert type(error) is Diverged and error.run.update == 0
        xr.testing.assert_equal(good.result(timeout=300).metrics, run.metrics)


FORKED = """
import os, sys
from ppo_lib import PPOConfig, train
import jax
jax.numpy.zeros(1)
if os.fork() == 0:
    try:
        train(PPOConfig(), progress=False)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="这个系统没有 fork")
def test_training_in_a_forked_process_says_what_to_do_instead_of_hanging():
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "fork" in said.stdout and "spawn" in said.stdout


# ---------------------------------------------------------------- 终端


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "记在 λ"), ("gbk", "记在 λ"), ("latin-1", "?? ?")]
)
def test_a_line_is_said_in_whatever_the_terminal_knows(monkeypatch, encoding, shown):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    progress.say("记在 λ")
    assert raw.getvalue().decode(encoding) == f"{shown}\n"


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stdout", [None, Gone()], ids=["none", "broken pipe"])
def test_a_terminal_that_is_gone_costs_nothing(monkeypatch, run, stdout):
    monkeypatch.setattr(sys, "stdout", stdout)
    progress.say("没有人听")
    with contextlib.redirect_stderr(stdout):
        again = train(CFG, progress=True)
    xr.testing.assert_equal(again.metrics, run.metrics)


# ---------------------------------------------------------------- JAX 的设置


def test_disable_jit_is_answered(monkeypatch, run):
    import jax

    monkeypatch.setattr(compiled, "told", set())
    with (
        jax.disable_jit(),
        pytest.warns(RuntimeWarning, match="JAX_DISABLE_JIT 不管.*make_train"),
    ):
        again = train(CFG, progress=False)
    xr.testing.assert_equal(again.metrics, run.metrics)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("enable_x64", True),
        ("debug_nans", True),
        ("numpy_rank_promotion", "raise"),
        ("numpy_dtype_promotion", "strict"),
        ("default_prng_impl", "rbg"),
        ("threefry_partitionable", False),
    ],
)
def test_evaluation_and_replay_do_not_depend_on_settings_of_jax(run, setting, value):
    """训练的见 test_run_dir.py。"""
    import jax

    policy, sampled = run.policy(), dict(greedy=False)
    expected = evaluate(policy, episodes=2, **sampled).episodes
    with getattr(jax, setting)(value):
        xr.testing.assert_equal(evaluate(policy, episodes=2, **sampled).episodes, expected)
        films = [replay(policy, start=k, **sampled).panels[0] for k in range(2)]
    assert [film.returns[-1] for film in films] == list(expected["return"][0])


# ---------------------------------------------------------------- 主目录


@pytest.mark.slow
def test_a_home_that_cannot_be_written_changes_nothing(tmp_path, run):
    """主目录写不进去：编译缓存、W&B、matplotlib 都想往那里写。"""
    code = (
        "import sys\nfrom ppo_lib import *\n"
        f"run = train({CFG!r}, progress=False, run_dir=sys.argv[1])\n"
        "print(float(run.metrics['entropy'].sum()))\n"
    ).replace("tracker='none'", "tracker='wandb'")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run"],
        env=environment | {"HOME": "/dev/null/no"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split()[-1]) == float(run.metrics["entropy"].sum())
    assert "Traceback" not in result.stderr
