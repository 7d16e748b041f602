"""一批训练（--multirun）：哪个坏了都不连累别的，坏的组合事先查出，断了接得上。"""

import os

import pytest
import xarray as xr
from command_line import FEW, press_ctrl_c

from ppo_lib import PPOConfig, jobs, load_config, train
from ppo_lib.batch import BeforeJobs, Job, summary

TWO = ["--multirun", "hydra.sweep.dir=all", "num_seeds=2", *FEW]


@pytest.mark.slow
def test_one_bad_job_never_stops_the_others(tmp_path, cli, capsys, monkeypatch):
    def broken(cfg, **others):
        if cfg.lr == 2e-3:
            raise MemoryError("装不下")
        return train(cfg, **others)

    monkeypatch.setattr(jobs, "train", broken)
    wild = ["optimizer=sgd", "max_grad_norm=1e30", "lr=1e30,2e-3,1e-3"]
    assert cli(*wild, *TWO) == 1
    assert "训练发散了" in (tmp_path / "all/0/failed.txt").read_text("utf-8")
    assert "MemoryError：装不下\n\nTraceback" in (tmp_path / "all/1/failed.txt").read_text(
        "utf-8"
    )
    assert (tmp_path / "all/2/policy.npz").exists()
    said = capsys.readouterr().out.splitlines()[-4:]
    assert said[0] == f"这一批 3 个：做完 1 个，失败 2 个。都在 {tmp_path}/all"
    assert said[1].startswith("  失败 #0 lr=1e+30：训练发散了：第 1 次更新起")
    assert (
        said[2]
        == f"  失败 #1 lr=0.002：MemoryError：装不下（详见 {tmp_path}/all/1/failed.txt）"
    )
    assert said[3] == f"接着训练：python -m ppo_lib resume {tmp_path}/all"

    monkeypatch.setattr(jobs, "train", train)
    finished = os.stat(tmp_path / "all/2/checkpoints/5").st_mtime_ns
    assert cli("resume", "all") == 1
    out = capsys.readouterr().out
    assert "做完 2 个，失败 1 个" in out and "失败 #0" in out, "失败的都再试一次"
    assert not (tmp_path / "all/1/failed.txt").exists()
    assert os.stat(tmp_path / "all/2/checkpoints/5").st_mtime_ns == finished


@pytest.mark.slow
def test_a_stopped_batch_goes_on(tmp_path, cli, capsys, monkeypatch):
    press_ctrl_c(monkeypatch)
    assert cli("lr=1e-3,2e-3", *TWO) == 130
    assert capsys.readouterr().out.splitlines()[-4:] == [
        f"这一批 2 个：停在途中 1 个，没有开始 1 个。都在 {tmp_path}/all",
        "  停在途中 #0 lr=0.001：第 1 次更新，共 5 次",
        "  没有开始 #1 lr=0.002",
        f"接着训练：python -m ppo_lib resume {tmp_path}/all",
    ]
    monkeypatch.setattr(jobs, "train", train)
    assert cli("resume", "all") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"这一批 2 个：做完 2 个。都在 {tmp_path}/all"
    saved = xr.load_dataset(tmp_path / "all/0/metrics.nc")
    here = train(load_config(tmp_path / "all/0/config.yaml"), progress=False)
    for name in here.metrics:
        xr.testing.assert_equal(saved[name], here.metrics[name])

    assert cli("resume", "all", "total_timesteps=640") == 0, "整批加长"
    assert "加长到 10 次" in capsys.readouterr().err
    record = (tmp_path / "all/multirun.yaml").read_text("utf-8")
    assert "（那次是 640，现在是 320）" in cli("resume", "all", "total_timesteps=320")
    assert "那一批有 2 个，现在是 1 个" in cli("resume", "all", "lr=1e-3")
    assert "lr（那次是 0.001" in cli("lr=2e-3,1e-3", *TWO), "别的一批不能放进来"
    assert (tmp_path / "all/multirun.yaml").read_text("utf-8") == record


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        (["beta_1=0.2,1.0"], ["2 个里有 1 个", "#1 beta_1=1.0：beta_1 = 1.0 不合法"]),
        (["num_envs=8,6,16"], ["3 个里有 1 个", "#1 num_envs=6：num_minibatches = 4 不合法"]),
        (
            ["num_envs=8,6", "num_minibatches=4,3"],
            ["2 个不合法", "#1 num_envs=8 num_minibatches=3：", "#2 num_envs=6 num_minibatches=4："],
        ),
        (["num_envs=range(4,9,2)"], ["#1 num_envs=6："]),
        (["num_envs=choice(8,6)", "lr=1e-3,2e-3"], ["#2 num_envs=6 lr=0.001、#3 num_envs=6 lr=0.002："]),
        (["env_name=CartPole-v1,我"], ["#1 env_name='我'：", "没有这个环境"]),
        (["num_envs=6", "num_minibatches=4"], ["#0：num_minibatches = 4"]),
        (["+new=1,2"], ["没有名为 'new' 的键"]),
        (["lr=range(5,1)"], ["'lr=range(5,1)' 里一个取值也没有"]),
        (["lr=interval(0,1)"], ["INTERVAL_SWEEP"]),
        (["hydra.mode=MULTIRUN", "num_envs=8,6"], ["#1 num_envs=6："]),
        (["--config-dir=here", "--config-name=mine"], ["#1 num_envs=6："]),
    ],
)  # fmt: skip
def test_bad_combinations_are_refused_before_the_first_job(tmp_path, cli, axes, says):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/mine.yaml").write_text(
        "defaults: [config_ppo, _self_]\nhydra: {sweeper: {params: {num_envs: '8,6'}}}"
    )
    mode = [] if "hydra.mode=MULTIRUN" in axes else ["--multirun"]
    error = cli(*mode, *axes, "tracker=none")
    assert error.startswith("配置错误：")
    for words in says:
        assert words in error
    assert os.listdir(tmp_path) == ["here"]


@pytest.mark.slow
def test_the_order_of_a_shuffled_batch_is_kept(tmp_path, cli, monkeypatch):
    press_ctrl_c(monkeypatch)
    named = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    assert cli("lr=shuffle(1e-3,2e-3,3e-3)", named, *TWO) == 130
    order = [job.label for job in BeforeJobs.batch]
    (started,) = [path for path in (tmp_path / "all").iterdir() if path.is_dir()]
    assert BeforeJobs.batch[0].folder == started
    monkeypatch.setattr(jobs, "train", lambda *_, **__: 1 / 0)
    assert cli("resume", "all") == 1
    assert [job.label for job in BeforeJobs.batch] == order
    assert all((job.folder / "failed.txt").exists() for job in BeforeJobs.batch)


@pytest.mark.parametrize("flag", ["--config-path", "--config-dir"])
def test_a_batch_of_the_users_own_config_goes_on(tmp_path, cli, monkeypatch, flag):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/mine.yaml").write_text("lr: 0.003\nseed: 7")
    monkeypatch.setattr(jobs, "train", lambda *_, **__: 1 / 0)
    own = [f"{flag}={tmp_path}/here", "--config-name=mine"]
    assert cli(*own, "--multirun", "hydra.sweep.dir=all", "seed=7,8") == 1
    configs = [job.cfg for job in BeforeJobs.batch]
    assert configs[0].lr == 0.003
    assert cli("resume", "all") == 1
    assert [job.cfg for job in BeforeJobs.batch] == configs


def test_a_batch_whose_record_is_broken(tmp_path, cli):
    (tmp_path / "multirun.yaml").write_text("[")
    assert "multirun.yaml 读不出来" in cli("resume", ".")


def test_how_each_job_went_is_read_from_its_folder(tmp_path):
    cfg = PPOConfig(total_timesteps=4096)  # 两次更新
    for number, done in enumerate((2, 1, 0, 2)):
        (tmp_path / f"{number}/checkpoints/{done}").mkdir(parents=True)
        (tmp_path / f"{number}/metrics.nc").touch()
    (tmp_path / "3/failed.txt").write_text("磁盘满了。\n\n细节", encoding="utf-8")
    work = [Job(n, f"seed={n}", cfg, tmp_path / str(n)) for n in range(5)]
    whole, text = summary(work, tmp_path)
    assert not whole and text.splitlines()[:4] == [
        f"这一批 5 个：做完 1 个，失败 1 个，停在途中 1 个，没有开始 2 个。都在 {tmp_path}",
        f"  失败 #3 seed=3：磁盘满了（详见 {tmp_path}/3/failed.txt）",
        "  停在途中 #1 seed=1：第 1 次更新，共 2 次",
        "  没有开始 #2 seed=2、#4 seed=4",
    ]
    assert summary(work[:1], tmp_path) == (True, f"这一批 1 个：做完 1 个。都在 {tmp_path}")
