"""分在许多个目录里的一次实验，合成一个文件：与一次 sweep 的逐位相同，断过没断过逐字节相同。"""

import dataclasses
import shutil

import pytest
import xarray as xr
from command_line import FEW, press_ctrl_c
from tiny import TINY

from ppo_lib import RunDirError, jobs, load_config, sweep, train
from ppo_lib.config import to_yaml
from ppo_lib.gather import gather

GRID = ["--multirun", "activation=tanh,relu", "beta_1=0.9,0.0", "seed=0,2", "num_seeds=2", *FEW]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """两个 beta_1 乘两段种子，四个目录。"""
    folder = tmp_path_factory.mktemp("parts")
    points = [dict(beta_1=b, seed=seed) for b in (0.9, 0.0) for seed in (2, 0)]
    for number, point in enumerate(points):
        cfg = dataclasses.replace(TINY, total_timesteps=320, **point)
        train(cfg, run_dir=folder / str(number), progress=False)
    return folder


def same_metrics(a, b):
    xr.testing.assert_identical(a.drop_attrs(), b.drop_attrs())


def test_the_parts_make_the_sweep(parts):
    whole = gather(parts)
    cfg = dataclasses.replace(TINY, total_timesteps=320, num_seeds=4)
    same_metrics(whole, sweep(cfg, beta_1=[0.9, 0.0], progress=False))
    same_metrics(xr.load_dataset(parts / "metrics.nc"), whole)
    assert not {"compile_seconds", "run_seconds"} & set(whole.attrs)


@pytest.mark.slow
def test_a_batch_stopped_twice_gathers_to_the_same_bytes(tmp_path, cli, monkeypatch, capsys):
    assert cli("hydra.sweep.dir=once", *GRID) == 0
    assert cli("gather", "once") == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        f"合成了一个，beta_1 2 × activation 2 × seed 4 × update 5：{tmp_path}/once/metrics.nc"
    )

    press_ctrl_c(monkeypatch)
    assert cli("hydra.sweep.dir=twice", *GRID) == 130
    assert "没有做完的：0、还没有开始的 7 个" in cli("gather", "twice")
    assert cli("resume", "twice") == 130
    monkeypatch.setattr(jobs, "train", train)
    assert cli("resume", "twice") == 0
    assert cli("gather", "twice") == 0
    once, twice = ((tmp_path / name / "metrics.nc").read_bytes() for name in ("once", "twice"))
    assert once == twice
    whole = xr.load_dataset(tmp_path / "once/metrics.nc")
    assert list(whole.activation) == ["tanh", "relu"] and list(whole.beta_1) == [0.9, 0.0]
    for number, (activation, beta_1) in {0: ("tanh", 0.9), 7: ("relu", 0.0)}.items():
        cfg = load_config(tmp_path / f"once/{number}/config.yaml")
        here = train(cfg, progress=False).metrics
        there = whole.sel(activation=activation, beta_1=beta_1, seed=here.seed)
        xr.testing.assert_equal(
            there["return"].drop_vars(["activation", "beta_1"]), here["return"]
        )


def lose(folder):
    shutil.rmtree(folder / "3")


def double(folder):
    shutil.copytree(folder / "1", folder / "9")


def break_off(folder):
    (folder / "2/metrics.nc").unlink()


def extend_without_training(folder):
    text = (folder / "2/config.yaml").read_text("utf-8")
    (folder / "2/config.yaml").write_text(
        text.replace("timesteps: 320", "timesteps: 640"), "utf-8"
    )


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def test_a_host_without_a_directory_is_missed(parts, tmp_path):
    """几台机器分一个配置：剩下的种子自己也张得成网格，要由 train_share 写的总的配置知道少了。"""
    shutil.copytree(parts / "0", tmp_path / "0")
    gather(tmp_path)
    cfg = load_config(tmp_path / "0/config.yaml")
    whole = dataclasses.replace(cfg, num_seeds=cfg.num_seeds + 1)
    (tmp_path / "config.yaml").write_text(to_yaml(whole), "utf-8")
    with pytest.raises(RunDirError, match=f"seed={whole.seeds[-1]} 有 0 份，应当是 1 份"):
        gather(tmp_path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lose, "beta_1=0.0、seed=0 有 0 份，应当是 1 份（这样的一共 2 处）"),
        (double, "beta_1=0.9、seed=0 有 2 份，应当是 1 份（这样的一共 2 处）"),
        (break_off, "有没有做完的：2。"),
        (extend_without_training, "有没有做完的：2。"),
        (empty, "下面没有一次运行的目录"),
    ],
)
def test_nothing_lost_and_nothing_counted_twice(parts, tmp_path, damage, says):
    shutil.copytree(parts, tmp_path / "all")
    (tmp_path / "all/metrics.nc").unlink(missing_ok=True)
    damage(tmp_path / "all")
    with pytest.raises(RunDirError, match=says):
        gather(tmp_path / "all")
    assert not (tmp_path / "all/metrics.nc").exists()
