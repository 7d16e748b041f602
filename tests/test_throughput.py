"""benchmarks/throughput.py 里不需要对手就能查的部分：解析、定长、比值、表格、锁文件。"""

import argparse
import json
import re
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import throughput as tp  # noqa: E402
from peers import workload  # noqa: E402


def record(round_, peer, system, speed, num_seeds=1, **extra):
    """一条测量记录。"""
    return (
        dict(
            round=round_,
            peer=peer,
            system=system,
            num_seeds=num_seeds,
            steps_per_second=speed,
            compile_seconds=2.0,
            peak_mb=500.0,
            versions={"rejax": "0.1.3"},
        )
        | extra
    )


def failed(round_, peer, system, num_seeds=1):
    return dict(
        round=round_, peer=peer, system=system, num_seeds=num_seeds, error="超过 9 秒没有跑完"
    )


# ---------------------------------------------------------------- 测量进程的输出


def test_parse_result_takes_the_last_line():
    assert (
        tp.parse_result('a library says hello\n{"steps_per_second": 3.5}\n')["steps_per_second"]
        == 3.5
    )


@pytest.mark.parametrize(
    "stdout", ["", "no json", "[]", "3", "{}", '{"steps_per_second": 0}', '{"steps_']
)
def test_parse_result_rejects_what_is_no_result(stdout):
    with pytest.raises(tp.MeasureError, match="读不懂"):
        tp.parse_result(stdout)


def test_worker_reports_speed_compile_time_and_memory(monkeypatch, capsys):
    clock = iter([0.0, 7.0, 7.0, 9.0, 9.0, 12.0, 12.0, 14.0])  # 第一遍 7 秒，之后 2、3、2 秒
    monkeypatch.setattr(workload.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(
        sys, "argv", ["peer", "--env=CartPole-v1", "--seeds=10", "--steps=4096", "--repeat=3"]
    )
    built, passes = [], []
    workload.main(
        lambda *sizes: built.append(sizes) or passes.append, packages=["no-such-package"]
    )
    result = tp.parse_result(capsys.readouterr().out)
    assert built == [("CartPole-v1", 10, 4096)] and passes == [0, 1, 2, 3]
    assert result["steps_per_second"] == 10 * 4096 / 2.0
    assert result["compile_seconds"] == 7.0 - 2.0
    assert result["run_seconds"] == [2.0, 3.0, 2.0]
    assert 5 < result["peak_mb"] < 50_000  # MB，不是 KB 也不是字节
    assert result["versions"] == {"no-such-package": None}


def test_a_crashing_worker_becomes_a_measure_error(monkeypatch, tmp_path):
    (tmp_path / "ours.py").write_text("raise SystemExit('boom')")
    monkeypatch.setattr(tp, "PEERS_DIR", tmp_path)
    with pytest.raises(tp.MeasureError, match="退出码 1\nboom"):
        tp.measure(tp.OURS, tp.ENV_NAME, 1, tp.BATCH_SIZE, 1, timeout=60)


def test_a_hanging_worker_is_stopped(monkeypatch, tmp_path):
    (tmp_path / "ours.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(tp, "PEERS_DIR", tmp_path)
    with pytest.raises(tp.MeasureError, match="超过 0.2 秒"):
        tp.measure(tp.OURS, tp.ENV_NAME, 1, tp.BATCH_SIZE, 1, timeout=0.2)


def test_every_peer_runs_on_the_cpu_without_the_hanging_scheduler(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=somewhere")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    for name in tp.SYSTEMS:
        environ = tp.worker_environ(name)
        assert environ["XLA_FLAGS"] == f"--xla_dump_to=somewhere {tp.SCHEDULER_FLAG}"
        assert environ["JAX_PLATFORMS"] == "cpu"
        assert "JAX_COMPILATION_CACHE_DIR" not in environ
        assert environ["JAX_ENABLE_COMPILATION_CACHE"] == "false"  # 编译要真的编译


@pytest.mark.slow
def test_ours_is_measured_for_real():
    result = tp.measure(tp.OURS, tp.ENV_NAME, 1, tp.BATCH_SIZE, 1, timeout=120)
    assert result["steps_per_second"] > 1000 and result["compile_seconds"] > 1


# ---------------------------------------------------------------- 定长与比值


def test_steps_are_whole_updates_and_long_enough():
    for num_seeds, rate in [(1, 37_000), (10, 450_000), (10, 1.6e6)]:
        steps = tp.steps_per_seed(num_seeds, rate, min_seconds=3, min_steps=2_000_000)
        assert steps % tp.BATCH_SIZE == 0
        assert num_seeds * steps >= max(2_000_000, 3 * rate)
    assert tp.steps_per_seed(1, 1, min_seconds=0, min_steps=1) == tp.BATCH_SIZE


def test_ratios_divide_within_a_round_and_a_pair():
    records = [
        record(0, "rejax", "ours", 300),
        record(0, "rejax", "rejax", 100),
        record(0, "sb3", "ours", 900),
        record(0, "sb3", "sb3", 100),  # 另一对，不能混进来
        record(1, "rejax", "rejax", 200),
        record(1, "rejax", "ours", 400),  # 换了先后
        record(2, "rejax", "ours", 500),
        failed(2, "rejax", "rejax"),
        record(0, "rejax", "ours", 70, num_seeds=10),
        record(0, "rejax", "rejax", 10, num_seeds=10),
    ]
    assert tp.ratios(records, "rejax", 1) == [3.0, 2.0]
    assert tp.ratios(records, "rejax", 10) == [7.0]
    assert tp.ratios(records, "sbx", 1) == []


def test_rounds_alternate_and_a_failed_trial_is_recorded(monkeypatch, capsys):
    def measure(name, env_name, num_seeds, steps, repeat, timeout):
        if name == "sbx":
            raise tp.MeasureError("坏了")
        return dict(steps_per_second=1000.0)

    monkeypatch.setattr(tp, "measure", measure)
    records = tp.compare([("rejax", 1), ("sbx", 1)], tp.parse_args(["--rounds=2"]))
    assert [(r["round"], r["system"]) for r in records] == [
        (0, "ours"),
        (0, "rejax"),
        (0, "ours"),
        (0, "sbx"),
        (1, "rejax"),
        (1, "ours"),
        (1, "sbx"),
        (1, "ours"),
    ]
    assert [r["system"] for r in records if "error" in r] == ["sbx", "sbx"]
    assert "坏了" in capsys.readouterr().err


# ---------------------------------------------------------------- 表格


def test_table_shows_median_ratio_range_and_gaps():
    records = []
    for round_, (ours, rejax) in enumerate(
        [(800_000, 400_000), (900_000, 300_000), (1_000_000, 400_000)]
    ):
        records += [
            record(round_, "rejax", "ours", ours),
            record(round_, "rejax", "rejax", rejax),
            failed(round_, "sb3", "sb3"),
        ]
    rows = tp.summarise(records, ("rejax", "sb3"))
    assert [(r["system"], r["num_seeds"]) for r in rows] == [
        (name, n) for n in (1, 10) for name in ("ours", "rejax", "sb3")
    ]
    lines = tp.render(rows).splitlines()
    split = [re.split(r"\s{2,}", line) for line in lines]
    assert split[2] == ["ppo_lib", "1", "900,000", "-", "2.0", "500"]
    assert split[3] == ["rejax 0.1.3", "1", "400,000", "2.50 [2.00, 3.00]", "2.0", "500"]
    assert split[4] == ["Stable-Baselines3", "1", "失败", "-", "-", "-"]
    assert split[6] == ["rejax", "10", "失败", "-", "-", "-"]
    assert split[7] == ["Stable-Baselines3", "10", "-", "-", "-", "-"]  # 它不会同时训练几个种子
    assert len({tp.display_width(line) for line in lines}) == 1  # 汉字也对得齐


def test_seeds_that_no_chosen_peer_can_train_are_left_out():
    rows = tp.summarise([record(1, "ours", "sb3", 800_000)], ("sb3",))
    assert [(r["system"], r["num_seeds"]) for r in rows] == [("ours", 1), ("sb3", 1)]


def test_display_width_counts_han_twice():
    assert tp.display_width("步/秒") == 5


# ---------------------------------------------------------------- 命令行


def test_only_keeps_the_order_and_helps_with_typos():
    assert tp.parse_only("sb3, rejax") == ("rejax", "sb3")
    with pytest.raises(
        argparse.ArgumentTypeError, match="没有名为 'rejacks' 的对手；最接近的是 'rejax'"
    ):
        tp.parse_only("rejacks")


def test_quick_yields_to_what_is_written_out():
    assert tp.parse_args([]).rounds >= 3
    args = tp.parse_args(["--quick", "--rounds=2"])
    assert (args.rounds, args.repeat, args.min_steps) == (2, 1, 200_000)


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """不真的测量：ppo_lib 每秒 80 万步，别人 40 万步；表写进临时目录。"""
    monkeypatch.setattr(tp, "prepare", lambda env: sys.executable)
    monkeypatch.setattr(tp, "TABLE", tmp_path / "throughput.md")
    monkeypatch.setattr(
        tp,
        "measure",
        lambda name, *_: dict(
            steps_per_second=800_000.0 if name == tp.OURS else 400_000.0,
            compile_seconds=1.0,
            peak_mb=1.0,
            versions={"jax": "0.10.2"},
        ),
    )


def test_main_prints_one_table_and_writes_json(pretend, capsys, tmp_path):
    out = tmp_path / "result.json"
    assert tp.main(["--only=rejax", "--env=Acrobot-v1", f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert (
        printed.count("2.00 [2.00, 2.00]") == 2 and "jax 0.10.2" in printed and "核" in printed
    )
    report = json.loads(out.read_text(encoding="utf-8"))
    assert len(report["measurements"]) == 3 * 2 * 2  # 轮 × (1、10 个种子) × (ppo_lib、rejax)
    assert report["workload"]["env_name"] == "Acrobot-v1" and "PPO，Acrobot-v1" in printed


@pytest.mark.parametrize(
    "options, kept",
    [
        ([], True),
        (["--only=rejax"], False),
        (["--env=Acrobot-v1"], False),
        (["--quick"], False),
    ],
)
def test_only_a_full_run_writes_the_table_down(pretend, options, kept):
    assert tp.main(options) == 0
    assert tp.TABLE.exists() == kept
    if kept:
        text = tp.TABLE.read_text(encoding="utf-8")
        assert "3 轮" in text and "2.00 [2.00, 2.00]" in text and text.count("```") == 2


def test_a_run_with_a_failure_keeps_the_old_table(pretend, monkeypatch):
    def crash(name, *_):
        raise tp.MeasureError("退出码 1")

    tp.TABLE.write_text("旧的表", encoding="utf-8")
    monkeypatch.setattr(tp, "measure", crash)
    assert tp.main([]) == 1
    assert tp.TABLE.read_text(encoding="utf-8") == "旧的表"


# ---------------------------------------------------------------- 锁文件


@pytest.mark.parametrize("env", sorted({s.env for s in tp.SYSTEMS.values() if s.env}))
def test_lock_is_hashed_and_holds_every_direct_requirement(env):
    lock = (tp.PEERS_DIR / f"{env}.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    requirements = re.findall(r"^[^\s#].*", lock.replace("\\\n", " "), flags=re.MULTILINE)
    assert all("==" in r and "--hash=sha256:" in r for r in requirements)
    locked = {re.match(r"[\w.-]+", r)[0] for r in requirements}
    source = (tp.PEERS_DIR / f"{env}.in").read_text(encoding="utf-8")
    for line in filter(None, re.sub(r"#.*", "", source).split("\n")):
        assert re.match(r"[\w.-]+", line)[0] in locked
        if "==" in line:
            assert re.search(rf"^{re.escape(line.strip())}\b", lock, flags=re.MULTILINE)
    assert not {"torch", "triton"} & locked and not any(
        name.startswith("nvidia") for name in locked
    )
