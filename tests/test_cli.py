"""命令行：原指南的命令能用，结果与库里的训练逐位相同，报错是中文，终端是什么样子都不要紧。"""

import io
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import warnings
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from command_line import FEW, press_ctrl_c

from ppo_lib import PPOConfig, RunDirError, jobs, load_config, load_policy, train
from ppo_lib.__main__ import help_text, main, terminal
from ppo_lib.arguments import PARSER, prepared
from ppo_lib.config import FIELDS
from ppo_lib.members import compiled_programs
from ppo_lib.run_dir import opened
from ppo_lib.statistics import final_scores

TINY = ["num_envs=4", "num_steps=16", "num_minibatches=2", "total_timesteps=320", "num_seeds=2"]


def ppo(folder, *arguments, env=None):
    """在 folder 里运行 ``python -m ppo_lib``。"""
    return subprocess.run(
        [sys.executable, "-m", "ppo_lib", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=300, env=env,
    )  # fmt: skip


def result_folders(folder):
    return sorted(path.parent for path in folder.rglob("metrics.nc"))


@pytest.mark.slow
@pytest.mark.usefixtures("fully_optimized")  # 与别的进程里的逐位相同
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
        ["--config-dir", ".", "--config-name", "mine", "theirs=1"],
        ["--multirun", "seed=range(1,5)", "lr=choice(1e-3,2e-3)"],
        ["hydra.run.dir=somewhere", "+new=1", "project=my project"],
        ["hydra.mode=MULTIRUN", "lr=1e-3,2e-3"],
    ],
)
def test_hydras_own_syntax_is_left_to_hydra(arguments):
    assert sorted(prepared(arguments)) == sorted(arguments)


def test_options_may_stand_anywhere(cli):
    assert prepared(["lr=1,2", "-m", "seed=0", "-cn", "x"]) == [
        "lr=1,2",
        "seed=0",
        "-m",
        "-cn",
        "x",
    ]
    assert cli("--info", "searchpath") == 0


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("project=我的项目", "我的项目"),
        ("hydra.run.dir=我的 结果/一,二", "我的 结果/一,二"),
        ("project=我的,a!b", ["我的", "a!b"]),
        ("project=choice(我的,你的)", ["我的", "你的"]),
        ("project='我的,项目'", "我的,项目"),
        ("project=it's", "it's"),
        (r"project=C:\我的\\", r"C:\我的\\"),
        ("hydra.sweep.dir=~/我 的", "/home/me/我 的"),
    ],
)
def test_values_hydra_cannot_read_are_quoted_for_it(monkeypatch, argument, values):
    monkeypatch.setenv("HOME", "/home/me")
    argument, _ = prepared(["--multirun", argument])
    override = PARSER.parse_override(argument)
    if override.is_sweep_override():
        found = [getattr(value, "text", value) for value in override.sweep_iterator()]
    else:
        found = override.value()
    assert found == values


def test_the_users_home_stands_for_the_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert prepared(["--config-dir=~/x"]) == ["--config-dir=/home/me/x"]


def test_help_starts_no_training(tmp_path, cli, capsys):
    assert cli("--help") == 0
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
        ("seed=range(1,5)", ["seed=range(1,5)", "--multirun"]),
        ("hidden_sizes=[64,0]", ["hidden_sizes = [64, 0]", "整数列表"]),
        ("lr=choice(1e-3", ["lr = 'choice(1e-3'", "实数"]),
        ("+new=1", ["没有名为 'new' 的键"]),
    ],
)
def test_bad_input_is_answered_in_chinese(tmp_path, cli, argument, says):
    before = compiled_programs.cache_info().misses
    error = cli(argument)
    assert error.startswith("配置错误：")
    for words in says:
        assert words in error
    assert compiled_programs.cache_info().misses == before, "先检查，后编译"
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- 目录


def test_runs_that_start_in_the_same_second_have_a_folder_each(tmp_path, cli, monkeypatch):
    class Clock:
        now = staticmethod(lambda: datetime(2026, 1, 2, 3, 4, 5))

    monkeypatch.setattr("hydra.core.utils.datetime", Clock)
    monkeypatch.setattr(jobs, "train_and_report", lambda cfg, folder, resume: DONE)
    for lr in ("1e-3", "2e-3", "3e-3"):
        assert cli(*FEW, f"lr={lr}") == 0
    folders = [f"03-04-05{end}" for end in ("", "-2", "-3")]
    assert sorted(os.listdir(tmp_path / "outputs/2026-01-02")) == folders
    for folder, lr in zip(folders, ("1e-3", "2e-3", "3e-3")):
        overrides = tmp_path / "outputs/2026-01-02" / folder / ".hydra/overrides.yaml"
        assert f"lr={lr}" in overrides.read_text()

    assert cli(*FEW, "hydra.run.dir=mine") == 0
    assert cli(*FEW, "hydra.run.dir=mine") == 0, "用户自己给的目录，照用"


class DONE:
    complete, interrupted = True, False


def test_a_folder_with_a_run_is_left_untouched(tmp_path, cli):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.yaml").write_text("")
    error = cli(*FEW, "hydra.run.dir=mine")
    assert f"里已经有一次运行。接着训练：python -m ppo_lib resume {tmp_path}/mine" in error
    assert os.listdir(tmp_path / "mine") == ["config.yaml"]


def test_a_folder_that_cannot_be_made_is_said_in_chinese(tmp_path, cli):
    (tmp_path / "file").write_text("")
    assert "建不了目录" in cli(*FEW, "hydra.run.dir=file/x")
    assert "建不了目录" in cli(*FEW, "hydra.run.dir=file")


@pytest.mark.slow
def test_two_processes_started_together(tmp_path):
    command = [sys.executable, "-m", "ppo_lib", *FEW, "num_seeds=1"]
    both = [subprocess.Popen([*command, f"lr={lr}"], cwd=tmp_path) for lr in ("1e-3", "2e-3")]
    assert [process.wait() for process in both] == [0, 0]
    folders = result_folders(tmp_path)
    assert {load_config(folder / "config.yaml").lr for folder in folders} == {1e-3, 2e-3}


# ---------------------------------------------------------------- 终端


def stream(target, encoding="utf-8"):
    """一个终端；写不进去的，要到真的写时才知道。"""
    return io.TextIOWrapper(target, encoding=encoding, line_buffering=True)


def full():
    return open("/dev/full", "wb", buffering=0)


def gone():
    read, write = os.pipe()
    os.close(read)
    return open(write, "wb", buffering=0)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "gbk", "utf-8"])
def test_every_terminal_gets_readable_chinese(cli, monkeypatch, encoding):
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", stream(out, encoding))
    monkeypatch.setattr(sys, "stderr", stream(err, encoding))
    assert cli(*FEW, "num_seeds=2", "lr=1e-3") == 0
    spoken = "gbk" if encoding == "gbk" else "utf-8"
    assert "结果在" in out.getvalue().decode(spoken)
    assert "步/s" in err.getvalue().decode(spoken)
    print("² 😀", file=sys.stderr)  # 它没有的字，换成问号，不出错


@pytest.mark.parametrize("make", [full, gone, lambda: None], ids=["full", "gone", "closed"])
def test_a_terminal_that_takes_nothing_does_not_matter(tmp_path, cli, monkeypatch, make):
    for name in ("stdout", "stderr"):
        target = make()
        monkeypatch.setattr(sys, name, target and stream(target))
    assert cli(*FEW, "num_seeds=2", "lr=1e-3") == 0
    sys.stdout.flush(), sys.stderr.flush()
    (folder,) = result_folders(tmp_path)
    assert (folder / "policy.npz").exists()


def test_the_terminal_leaves_no_file_open():
    def lowest():
        os.close(number := os.dup(0))
        return number

    before = lowest()
    with terminal():
        pass
    assert lowest() == before


@pytest.mark.slow
@pytest.mark.parametrize("redirection", [">/dev/full 2>&-", "2>&1 | head -c 1"])
def test_the_exit_status_does_not_depend_on_the_terminal(tmp_path, redirection):
    command = f"set -o pipefail; exec {sys.executable} -m ppo_lib {' '.join(FEW)} num_seeds=1"
    result = subprocess.run(["bash", "-c", f"{command} {redirection}"], cwd=tmp_path)
    assert result.returncode == 0
    assert len(result_folders(tmp_path)) == 1


@pytest.mark.slow
def test_bad_input_prints_one_line_and_no_traceback(tmp_path):
    result = ppo(tmp_path, "beta_1=1.0", env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert result.returncode == 1
    assert result.stderr == "配置错误：beta_1 = 1.0 不合法；允许的取值：[0, 1) 内的实数。\n"


# ---------------------------------------------------------------- resume 与 track


def stopped_by(number, moment, folder, *keys):
    """一个训练的进程，看到名字像 moment 的文件时收到信号 number；返回 (stderr, 退出码)。"""
    process = subprocess.Popen(
        [sys.executable, "-m", "ppo_lib", *keys, "num_seeds=2", "tracker=none"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # 测试若是在 shell 的后台启动的，SIGINT 会被忽略，而且传给子进程
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(folder.rglob(moment)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=60)[1], process.returncode


@pytest.mark.slow
@pytest.mark.usefixtures("fully_optimized")  # 与别的进程里的逐位相同
def test_ctrl_c_saves_and_resume_finishes_with_the_same_numbers(tmp_path):
    keys = ["env_name=CartPole-v1", "total_timesteps=600000"]
    err, code = stopped_by(signal.SIGINT, "metrics/*.npz", tmp_path, *keys)
    assert code == 130 and "Traceback" not in err
    (folder,) = result_folders(tmp_path)
    assert f"接着训练：python -m ppo_lib resume {folder}" in err

    result = ppo(tmp_path, "resume", str(folder))
    assert result.returncode == 0, result.stderr
    saved = xr.load_dataset(folder / "metrics.nc")
    here = train(load_config(folder / "config.yaml"), progress=False)
    for name in here.metrics:
        np.testing.assert_array_equal(saved[name], here.metrics[name], err_msg=name)


@pytest.mark.slow
def test_ctrl_c_while_compiling_is_one_line(tmp_path):
    err, code = stopped_by(signal.SIGINT, "checkpoints", tmp_path, "hydra.run.dir=x")
    assert code == 130
    (said,) = (line for line in err.splitlines() if line and "步/s" not in line)
    assert said.startswith("被 Ctrl-C 停下了：第一块还没有做完，没有可存的；接着训练：")


@pytest.mark.slow
def test_sigterm_ends_a_batch_after_saving(tmp_path):
    keys = ["--multirun", "lr=1e-3,2e-3", "hydra.sweep.dir=x", "total_timesteps=10000000"]
    err, code = stopped_by(signal.SIGTERM, "metrics/*.npz", tmp_path, *keys)
    assert code == -signal.SIGTERM and "Traceback" not in err
    assert (tmp_path / "x/0/policy.npz").exists() and not (tmp_path / "x/1").exists()


def test_a_stopped_run_says_first_that_it_is_not_whole(tmp_path, cli, capsys, monkeypatch):
    press_ctrl_c(monkeypatch)
    assert cli(*FEW, "num_seeds=2", "hydra.run.dir=my run") == 130
    out, err = capsys.readouterr()
    assert out.startswith("没有做完：停在第 1 次更新，共 5 次\n")
    assert err.splitlines()[-1] == (
        f"被 Ctrl-C 停下了，已存好；接着训练：python -m ppo_lib resume '{tmp_path}/my run'"
    )
    monkeypatch.setattr(jobs, "train", train)
    assert cli("resume", "my run") == 0
    assert "没有做完" not in capsys.readouterr().out


@pytest.mark.parametrize("command", [["hydra.run.dir=x", *FEW], ["resume", "x"]])
def test_ctrl_c_before_the_first_chunk_is_one_line(tmp_path, cli, capsys, monkeypatch, command):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    (tmp_path / "x").mkdir()
    if command[0] == "resume":
        (tmp_path / "x/config.yaml").write_text("lr: 1e-3")
    monkeypatch.setattr(jobs, "train", stopped)
    assert cli(*command) == 130
    out, err = capsys.readouterr()
    assert err.startswith("被 Ctrl-C 停下了：第一块还没有做完，没有可存的；") and not out
    assert err.count("\n") == 1


def test_ctrl_c_anywhere_else_is_one_line(cli, capsys, monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ppo_lib.__main__.prepared", stopped)
    assert cli() == 130
    assert capsys.readouterr().err == "被 Ctrl-C 停下了。\n"


def test_ctrl_c_while_waiting_for_the_tracker(tmp_path, cli, capsys, monkeypatch):
    class Slow:
        def wait(self, recorded):
            raise KeyboardInterrupt

        def give_up(self, recorded, why):
            return False, f"只记到第 0 次更新，共 {recorded} 次（{why}）"

    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/000016.npz").write_text("")
    (tmp_path / "config.yaml").write_text("lr: 1e-3")
    monkeypatch.setattr("ppo_lib.__main__.start_tracking", lambda *_, **__: Slow())
    assert cli("track", ".") == 130
    assert capsys.readouterr().err == "只记到第 0 次更新，共 16 次（没有等它记完）\n"


def test_a_finished_run_can_be_trained_longer(tmp_path, cli, capsys):
    assert cli(*FEW, "num_seeds=2", "hydra.run.dir=x") == 0
    capsys.readouterr()
    assert cli("resume", "x") == 0
    out, err = capsys.readouterr()
    assert out.startswith("先前已经做完，没有再训练\n") and "千步/秒" not in out

    assert cli("resume", "x", "total_timesteps=640") == 0
    assert re.search(r"(?m)^警告：.*加长到 10 次.*学习率.*$", capsys.readouterr().err)
    assert xr.load_dataset("x/metrics.nc").sizes["update"] == 10
    assert "不同的键：lr" in cli("resume", "x", "lr=1e-3", "total_timesteps=640")
    assert cli("resume", "x", "beta1=1").startswith("配置错误：没有名为")


def test_the_report_has_the_scores_of_the_course():
    """十五次更新的最后十分之一，是一次半。"""
    metrics = xr.Dataset({"return": (("seed", "update"), np.arange(15.0)[None])})
    whole = metrics.assign_attrs(complete=1)
    run = SimpleNamespace(
        metrics=metrics.assign_attrs(complete=0), complete=True, resumed_from=0, update=15,
        steps_per_second=1.0, compile_seconds=1.0, run_seconds=1.0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = jobs.report(run, Path("x"))
    assert f"平均 {final_scores(whole).item():.1f}，" in said and "平均 13.7，" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["resume"], "用法：python -m ppo_lib resume 目录"),
        (["resume", "nowhere"], "找不到配置文件"),
        (["resume", "~nosuch/x"], "运行目录：路径 '~nosuch/x' 里的 ~nosuch 找不到主目录"),
        (["hydra.run.dir=~nosuch/x"], "配置错误：路径 '~nosuch/x' 里的 ~nosuch 找不到主目录"),
        (["resume", "~/no where"], "找不到配置文件 /home/me/no where/config.yaml"),
        (["track"], "用法：python -m ppo_lib track 目录"),
        (["track", "nowhere"], "找不到配置文件"),
        (["track", "nowhere", "beta1=3"], "找不到配置文件"),
    ],
)
def test_commands_answer_bad_input_in_chinese(tmp_path, cli, monkeypatch, arguments, says):
    monkeypatch.setenv("HOME", "/home/me")
    assert says in cli(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_tracking_where_nothing_can_be_written_is_said_in_chinese(tmp_path, cli):
    (tmp_path / "lock").mkdir()
    (tmp_path / "config.yaml").write_text("lr: 1e-3")
    assert f"运行目录：写不进 {tmp_path}（" in cli("track", ".")


def test_the_command_that_goes_on_is_said_where_one_can():
    for error in (
        RunDirError("/resume=True 正用着。"),
        RunDirError("写不进。", resumable=True),
    ):
        error = pickle.loads(pickle.dumps(error))
        with pytest.raises(SystemExit) as caught, jobs.explained(Path("x")):
            raise error
        assert ("ppo_lib resume x" in str(caught.value)) == error.resumable


def test_a_diverging_run_exits_with_one_chinese_line(cli, capsys):
    error = cli("optimizer=sgd", "lr=1e30", "max_grad_norm=1e30", "tracker=none", *TINY)
    assert error.startswith("训练发散了")
    out, err = capsys.readouterr()
    assert out.startswith("没有做完：停在第 0 次更新，共 5 次\n") and "Traceback" not in err


def test_tracking_a_run_that_is_being_trained_is_refused(tmp_path, monkeypatch):
    with opened(tmp_path, PPOConfig()):
        monkeypatch.setattr(sys, "argv", ["ppo_lib", "track", str(tmp_path)])
        with pytest.raises(SystemExit) as error:
            main()
    assert "正由另一次训练用着" in str(error.value)
    assert not (tmp_path / "tracking").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["-m", "ppo_lib"], ["ppo"]], ids=" ".join)
def test_ctrl_c_during_the_import_is_one_line(tmp_path, command):
    (tmp_path / "ppo").write_text("from ppo_lib.__main__ import main\nmain()")  # 装好的命令
    process = subprocess.Popen(
        [sys.executable, *command, "total_timesteps=10000", "tracker=none"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    time.sleep(1.5)  # 解释器起来了，import 还没有做完；做完了也是一行
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and len(err.splitlines()) == 1
    assert err.startswith("被 Ctrl-C 停下了")
