"""第 14 章：台子上写的 PPO 与库里的训练逐数相同；梯子抓得到的，与录下的一样；整个文件可以一条命令查。"""

import json

import numpy as np
import pytest

from ppo_lib.course import ch14, from_scratch
from ppo_lib.course.exercises import Mistake, edited
from ppo_lib.course.from_scratch import make_bench
from ppo_lib.recorded import DATA_DIR

CAUGHT = json.loads((DATA_DIR / "ladder.json").read_text(encoding="utf-8"))["caught"]


@pytest.mark.slow
@pytest.mark.parametrize("train", [from_scratch.train, from_scratch.fast_train])
def test_what_is_written_on_the_bench_is_the_library_s_training(train):
    bench = ch14.small_bench(7)
    library = ch14.library_params(bench, 4)
    for updates in (1, 4):
        assert ch14.distance(train(bench, updates), library[updates]) < 1e-5
    written = ch14.written_params(train, bench, 4)
    assert [ch14.distance(*pair) < 1e-5 for pair in zip(written, library, strict=True)] == [
        True
    ] * 5


def test_a_bench_gives_the_same_randomness_again_and_other_for_another_update():
    bench = ch14.small_bench()
    noise = bench.draws(3).noise
    np.testing.assert_array_equal(noise, bench.draws(3).noise)
    assert not np.array_equal(noise, bench.draws(4).noise)
    orders = np.asarray(bench.orders(0))
    assert orders.shape == (3, 4, 18)
    for epoch in orders:
        assert sorted(epoch.ravel()) == list(range(72))


def test_the_recorded_ladder_has_every_declared_mistake():
    for exercise in (ch14.check_rollout, ch14.check_gae, ch14.check_loss, ch14.check_learn):
        assert set(CAUGHT[exercise.reference.__name__]) == set(exercise.wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece, level", [("gae", 1), ("gae", 4), ("rollout", 5), ("rollout", 6), ("loss", 1)]
)
def test_the_ladder_falls_where_it_was_recorded(piece, level):
    hint = next(hint for hint, caught in CAUGHT[piece].items() if caught == level)
    wrong = getattr(ch14, f"check_{piece}").wrong[hint]
    assert ch14.first_failure(ch14.with_mistake(piece, wrong))[0] == level


@pytest.mark.slow
def test_the_first_difference_names_update_function_and_field():
    bench = make_bench(ch14.small_bench().cfg)
    assert ch14.first_difference(from_scratch, bench, 3) is None

    class Pieces:
        rollout, gae, loss = map(
            staticmethod, (from_scratch.rollout, from_scratch.gae, from_scratch.loss)
        )
        learn = staticmethod(
            edited(from_scratch.learn, "bench.orders(update)", "bench.orders(0)")
        )

    said = ch14.first_difference(Pieces, bench, 3)
    assert said.startswith(
        "第 1 次更新，learn：第 1 遍的第一个小批次走完就不同。优化器状态也不同"
    )


def test_only_what_has_no_hope_is_stopped_halfway():
    def train(lengths, moves=0.1):
        """第 i 次采样里，一个回合恰好 lengths[i] 步。"""

        def rollout(bench, params, i):
            ended = np.arange(1, 2049) % lengths[i] == 0
            return None, None, dict(value=ended, terminated=ended, truncated=ended)

        space = dict(rollout=rollout, moves=moves)
        exec(
            "def train():\n    for i in range(60):\n        rollout(None, [1.0 + moves * i], i)",
            space,
        )
        return ch14.stopping_early(space["train"])

    train([22] * 40 + [60] * 20)()  # 起色来得晚
    train([60] * 50 + [10] * 10)()  # 后来才坏的，照常学完
    with pytest.raises(Mistake, match="做完一半.*都过 100。前六题"):
        train([60] * 40 + [22] * 20)()
    with pytest.raises(Mistake, match="参数一直没有变"):
        train([22] * 60, moves=0.0)()


def test_a_train_that_stands_still_or_returns_something_else():
    bench = ch14.probe_bench("ConstantReward-probe")
    assert "与起点的一样" in ch14.stands_still(lambda bench, n: bench.start.params, bench)
    with pytest.raises(Mistake, match="你返回的是2 样东西"):
        ch14.trained(lambda bench, n: (bench.start.params, n), bench, 1)


@pytest.mark.slow
def test_a_whole_file_is_examined_by_one_command(tmp_path, capsys):
    file = tmp_path / "my_ppo.py"
    file.write_text(
        "from ppo_lib.course.from_scratch import scanned_rollout as rollout, scanned_gae as gae\n"
        "from ppo_lib.course.from_scratch import loss, scanned_learn as learn, fast_train as train\n"
    )
    assert ch14.examine(str(file))
    said = capsys.readouterr().out
    assert said.count("通过") == 7 and "处处相同" in said
    file.write_text("from ppo_lib.course.from_scratch import rollout\n")
    assert not ch14.examine(str(file))
    assert "文件里没有：gae、loss、learn、train" in capsys.readouterr().out
    file.write_text("import no_such_package\n")
    assert not ch14.examine(str(file)) and "没有装 no_such_package" in capsys.readouterr().out
