"""命令行：原指南的命令能用，结果与库里的训练逐位相同，报错是中文。"""

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from ppo_lib import ConfigError, PPOConfig, load_config, load_policy, train
from ppo_lib.__main__ import check_arguments, help_text, main
from ppo_lib.config import FIELDS
from ppo_lib.members import compiled_programs

TINY = ["num_envs=4", "num_steps=16", "num_minibatches=2", "total_timesteps=320", "num_seeds=2"]


def ppo(folder, *arguments):
    """在 folder 里运行 ``python -m ppo_lib``。"""
    return subprocess.run(
        [sys.executable, "-m", "ppo_lib", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def result_folders(folder):
    return sorted(path.parent for path in folder.rglob("metrics.nc"))


@pytest.mark.slow
def test_the_guides_quick_test(tmp_path):
    result = ppo(tmp_path, "total_timesteps=10000", "num_seeds=1", "num_envs=4")
    assert result.returncode == 0, result.stderr
    assert "编译" in result.stdout and "训练" in result.stdout and "千步/秒" in result.stdout
    assert "最后 272 步不跑" in result.stdout + result.stderr
    assert "absl" not in result.stdout + result.stderr  # orbax 的细节不该打扰人

    (folder,) = result_folders(tmp_path)
    assert str(folder) in result.stdout
    cfg = load_config(folder / "config.yaml")
    assert cfg == PPOConfig(total_timesteps=10_000, num_seeds=1, num_envs=4)
    here = train(cfg, progress=False)
    saved = xr.open_dataset(folder / "metrics.nc")
    for name in here.metrics:
        np.testing.assert_array_equal(saved[name], here.metrics[name], err_msg=name)
    saved = load_policy(folder / "policy.npz").params["params"]["actor_0"]["kernel"]
    np.testing.assert_array_equal(saved, here.params["params"]["actor_0"]["kernel"])
    assert saved.shape[0] == cfg.num_seeds
    assert "wandb：1 个 run 记在" in result.stdout


@pytest.mark.slow
def test_multirun_runs_each_value(tmp_path):
    result = ppo(tmp_path, "--multirun", "beta_1=0.2,0.9", "env_name=CartPole-v1", *TINY)
    assert result.returncode == 0, result.stderr
    folders = result_folders(tmp_path)
    assert [load_config(folder / "config.yaml").beta_1 for folder in folders] == [0.2, 0.9]
    first, second = (xr.open_dataset(folder / "metrics.nc") for folder in folders)
    assert float(first.compile_seconds) > 0.1 > float(second.compile_seconds)


def test_help_explains_every_key():
    text = help_text()
    for name, field in FIELDS.items():
        assert f"\n  {name} = " in text
        assert field.metadata["help"] in text
    assert "--multirun" in text and "用法" in text


def test_help_shows_defaults_that_can_be_typed():
    defaults = dict(re.findall(r"^  (\w+) = (.*)$", help_text(), flags=re.MULTILINE))
    assert load_config(overrides=[f"{k}={v}" for k, v in defaults.items()]) == PPOConfig()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cfg", "job"],
        ["--config-dir", ".", "--config-name", "mine"],
        ["--multirun", "seed=range(1,5)", "lr=choice(1e-3,2e-3)"],
        ["hydra.run.dir=somewhere", "+new=1"],
    ],
)
def test_hydras_own_syntax_is_left_to_hydra(arguments):
    check_arguments(arguments)


def test_multirun_checks_every_value_before_the_first_run():
    with pytest.raises(ConfigError, match="beta_1 = 1.0"):
        check_arguments(["--multirun", "beta_1=0.2,1.0,0.9"])


def test_help_starts_no_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ppo_lib", "--help"])
    main()
    assert capsys.readouterr().out.startswith("用法")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("beta1=0.3", ["beta1", "最接近的是 'beta_1'"]),
        ("beta_1=1.0", ["beta_1 = 1.0", "[0, 1)"]),
        ("lr=fast", ["lr = 'fast'", "实数"]),
        ("env_name=Pendulum-v1", ["Pendulum-v1", "连续", "CartPole-v1"]),
        ("num_envs=6", ["num_minibatches = 4", "整除"]),
        ("total_timesteps=100", ["total_timesteps = 100", "2048"]),
        ("快跑", ["快跑", "键=值"]),
        ("beta_1=0.2,0.9", ["beta_1=0.2,0.9", "--multirun", "beta_1=[0.2,0.9]"]),
        ("hidden_sizes=[64,0]", ["hidden_sizes = [64, 0]", "整数列表"]),
    ],
)
def test_bad_input_is_answered_in_chinese(tmp_path, monkeypatch, argument, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ppo_lib", argument])
    before = compiled_programs.cache_info().misses
    with pytest.raises(SystemExit) as error:
        main()
    assert str(error.value).startswith("配置错误：")
    for words in says:
        assert words in str(error.value)
    assert compiled_programs.cache_info().misses == before, "先检查，后编译"
    assert result_folders(tmp_path) == []


@pytest.mark.slow
def test_bad_input_prints_one_line_and_no_traceback(tmp_path):
    result = ppo(tmp_path, "beta_1=1.0")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("配置错误：beta_1 = 1.0")
    assert "Traceback" not in result.stderr


# ---------------------------------------------------------------- resume 与 track


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_finishes_with_the_same_numbers(tmp_path):
    keys = ["env_name=CartPole-v1", "total_timesteps=600000", "num_seeds=2", "tracker=none"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ppo_lib", *keys],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # 测试若是在 shell 的后台启动的，SIGINT 会被忽略，而且传给子进程
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("metrics/*.npz")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in err
    (folder,) = result_folders(tmp_path)
    assert f"接着训练：python -m ppo_lib resume {folder}" in err

    result = ppo(tmp_path, "resume", str(folder))
    assert result.returncode == 0, result.stderr
    saved = xr.load_dataset(folder / "metrics.nc")
    here = train(load_config(folder / "config.yaml"), progress=False)
    for name in here.metrics:
        np.testing.assert_array_equal(saved[name], here.metrics[name], err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["resume"], "用法：python -m ppo_lib resume 目录"),
        (["resume", "nowhere"], "找不到配置文件 nowhere"),
        (["track"], "用法：python -m ppo_lib track 目录"),
        (["track", "nowhere"], "找不到配置文件"),
        (["track", "nowhere", "beta1=3"], "找不到配置文件"),
    ],
)
def test_commands_answer_bad_input_in_chinese(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ppo_lib", *arguments])
    with pytest.raises(SystemExit) as error:
        main()
    assert says in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_diverging_run_exits_with_one_chinese_line(tmp_path):
    result = ppo(
        tmp_path, "optimizer=sgd", "lr=1e30", "max_grad_norm=1e30", "tracker=none", *TINY
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "训练发散了" in result.stderr
