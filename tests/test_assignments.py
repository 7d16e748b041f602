"""作业：由章的源写出，不漏答案；打分时，什么样的作业都有该得的分和原因，谁也骗不了、停不了别人。"""

import csv
import dataclasses
import importlib
import inspect
import json
import socket
import sys
import textwrap

import nbformat
import numpy as np
import psutil
import pytest
from answers import ch06 as answers
from conftest import give_up

from book.tools.teach import assignments, grade, sandbox, study
from book.tools.teach.assignments import ASSIGNMENTS, leaks, notebook
from book.tools.teach.driver import decode, encode, not_written
from book.tools.teach.sandbox import Limits, Sandbox, Stopped, why_not_isolated
from ppo_lib.course import ch06
from ppo_lib.course.exercises import Mistake

SEED = 123_456_789_012
FUNCTIONS = [key for key, assignment in ASSIGNMENTS.items() if not assignment.report]
USUAL = Limits()
SHORT = Limits(seconds=60, cell_seconds=15, call_seconds=15)


@pytest.fixture(scope="session")
def isolated():
    """这台机器隔离得了；隔离不了就说为什么。"""
    if why := why_not_isolated():
        give_up(f"这台机器隔离不了作业：{why}")
    return True


def as_notebook(*cells: str) -> bytes:
    code = [nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in cells]
    return nbformat.writes(nbformat.v4.new_notebook(cells=code)).encode()


def mark(
    *cells: str, key: str = "gae", isolated: bool = True, limits: Limits = USUAL
) -> list[grade.Mark]:
    """一本只有这几格的作业的分数。"""
    assignment = dataclasses.replace(ASSIGNMENTS[key], limits=limits)
    return grade.grade_cells([textwrap.dedent(x) for x in cells], assignment, SEED, isolated)


# ---- 由章的源写出 ---------------------------------------------------------------


@pytest.mark.parametrize("key", ASSIGNMENTS)
def test_student_notebook_has_every_part_and_its_points(key):
    text = "\n".join(cell.source for cell in nbformat.reads(notebook(key), as_version=4).cells)
    assignment = ASSIGNMENTS[key]
    assert sum(part.points for part in assignment.parts) + assignment.report == 100
    for part in assignment.parts:
        assert f"{part.points} 分" in text
    assert "..." in text and "参考答案" not in text and "**提示。**" not in text


@pytest.mark.parametrize("part", [p for key in FUNCTIONS for p in ASSIGNMENTS[key].parts], ids=lambda p: p.number)  # fmt: skip
def test_each_part_is_the_exercise_of_its_chapter(part):
    assert part.check.task.startswith(f"练习 {part.number}：")
    space = {}
    exec("import jax, jax.numpy as jnp, numpy as np\n" + part.solution.rpartition("\n")[0], space)  # fmt: skip
    assert part.check.with_seed(SEED)(space[part.name])


@pytest.mark.parametrize("key", ASSIGNMENTS)
def test_nothing_leaks_into_the_student_notebook(key):
    assert leaks(notebook(key), ASSIGNMENTS[key], SEED) == []


def planted(kind: str) -> str:
    """漏给学生的一种东西。"""
    part = ASSIGNMENTS["gae"].parts[0]
    case = part.check.with_seed(SEED + 2).cases[-1]
    return {
        "书里的答案": part.block.solution,
        "答案里的一行，换了空白": "x=1\ndelta_t = reward[t]+gamma*later - value[t]",
        "声明里的答案": inspect.getsource(ch06.lambda_return),
        "种子": f"# {SEED}",
        "隐藏的输入": f"reward = {[float(x) for x in case[0]]}",
    }[kind]


@pytest.mark.parametrize(
    "kind", ["书里的答案", "答案里的一行，换了空白", "声明里的答案", "种子", "隐藏的输入"]
)
def test_a_planted_leak_is_found(kind, tmp_path, monkeypatch):
    text = nbformat.reads(notebook("gae"), as_version=4)
    text.cells.append(nbformat.v4.new_code_cell(planted(kind)))
    leaking = nbformat.writes(text)
    assert leaks(leaking, ASSIGNMENTS["gae"], SEED)
    monkeypatch.setattr(assignments, "notebook", lambda key, solutions=False: leaking)
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher/seed.json").write_text(json.dumps({"seed": SEED}))
    with pytest.raises(ValueError, match="漏出了"):
        assignments.write(tmp_path)
    assert not (tmp_path / "student").exists()


def test_the_seed_is_secret_kept_and_its_inputs_are_others(tmp_path):
    seed = assignments.secret_seed(tmp_path / "teacher/seed.json")
    assert assignments.secret_seed(tmp_path / "teacher/seed.json") == seed
    assert assignments.secret_seed(tmp_path / "another/seed.json") != seed
    assert (tmp_path / "teacher/seed.json").stat().st_mode & 0o077 == 0
    part = ASSIGNMENTS["gae"].parts[0]
    visible, hidden = part.check.cases, part.check.with_seed(seed).cases
    assert not np.array_equal(visible[-1][0], hidden[-1][0])


def test_make_assignments_writes_what_each_side_needs(tmp_path):
    names = {path.relative_to(tmp_path).as_posix() for path in assignments.write(tmp_path)}
    assert names == {
        "student/gae.ipynb",
        "student/clip.ipynb",
        "student/beta1.ipynb",
        "teacher/gae_answers.ipynb",
        "teacher/clip_answers.ipynb",
    }


# ---- 沙盒里外传的只有普通的数 -----------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2.5, "文字", (1, [2, (3,)]), {"a": {1, 2}}, np.float32([[1, np.nan]]), np.zeros((0, 2), bool)],
)  # fmt: skip
def test_values_survive_the_wire(value):
    back = decode(json.loads(json.dumps(encode(value))))
    assert type(back) is type(value) or isinstance(back, np.ndarray)
    np.testing.assert_equal(back, value)
    assert getattr(back, "dtype", None) == getattr(value, "dtype", None)


def unwritten(reward, value): ...


def documented(reward):
    """只有这一句。"""


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        (False, ...),
        (False, unwritten),
        (False, documented),
        (True, lambda: 0),
        (True, lambda x: x),
        (True, 3),
        (True, print),
    ],
)
def test_what_is_not_written_yet_is_told_apart(written, answer):
    assert not_written(answer) != written


def test_an_object_leaves_only_the_name_of_its_type():
    class AlwaysEqual:
        def __eq__(self, other):
            return True

    back = decode(json.loads(json.dumps(encode(AlwaysEqual()))))
    assert type(back).__name__ == "AlwaysEqual" and back != 1


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"value": {"array": [1], "dtype": "O", "shape": [1], "jax": False}},
        {"value": {"array": [1], "dtype": "float64", "shape": [10**12], "jax": False}},
        {"value": {"passed": True}},
        {"value": {"tuple": [1], "list": [2]}},
    ],
)
def test_a_reply_that_makes_no_sense_is_an_end(reply):
    with pytest.raises(Stopped, match="答非所问"):
        grade.value_of(reply)


# ---- 读交来的文件 ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "没有交"),
        (b"", "文件坏了"),
        (b"{", "文件坏了"),
        (b"[1]", "文件坏了"),
        (b"\xff\xfe", "文件坏了"),
        (b"[" * 100_000, "文件坏了"),
        (b'{"cells": [{"cell_type": "code", "source": 5}], "nbformat": 4}', "文件坏了"),
        (bytes(grade.LARGEST + 1), "MB"),
    ],
    ids=["没有", "空", "半个", "列表", "不是文字", "很深", "不是代码", "太大"],
)  # fmt: skip
def test_what_is_not_a_notebook_gets_zero_and_a_reason(content, reason):
    graded = grade.grade("s", content, "gae", SEED, isolated=False)
    assert graded.total == 0 and all(reason in one.reason for one in graded.marks)


def test_submissions_are_read_once_and_the_absent_are_listed(tmp_path):
    (tmp_path / "b.ipynb").write_bytes(b"1")
    (tmp_path / "c.txt").write_bytes(b"2")
    (tmp_path / "d.ipynb").symlink_to(tmp_path / "b.ipynb")
    assert grade.collect(tmp_path, ["a", "b"]) == {"a": None, "b": b"1"}
    with pytest.raises(FileNotFoundError, match="没有文件夹"):
        grade.collect(tmp_path / "nothing")


def test_the_table_is_for_people_and_no_formula_or_tag_gets_in(tmp_path):
    marks = [grade.Mark("题", 0, 40, "<script>"), grade.Mark("报告", None, 60, "")]
    one = grade.Graded("=1+1", marks, report="<b>报告</b>")
    table, shown = grade.write_table([one], "beta1", True, tmp_path)
    with table.open(encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["学号", "题（40）", "报告（60）", "机器判的合计", "原因"],
        ["'=1+1", "0", "待评", "0", "题：<script>"],
    ]
    text = shown.read_text(encoding="utf-8")
    assert "&lt;script&gt;" in text and "<script>" not in text and "&lt;b&gt;报告" in text


def test_headings_of_a_report():
    report = "### 问题\n一句话\n\n### 预测\n\n### 设计\n只动一样\n### 重做"
    assert grade.missing_headings(report) == ["预测", "结果", "结论", "限制", "重做"]


# ---- 小研究里机器判的 ------------------------------------------------------------

rng = np.random.default_rng(0)
OURS, BASE = rng.normal(300, 40, 12).round(1), rng.normal(200, 40, 10).round(1)
CLAIM = study.compare_two(OURS, BASE)


@pytest.mark.parametrize(
    ("judge", "values", "reason"),
    [
        (study.judge_scores, (OURS, BASE), None),
        (study.judge_scores, (list(OURS), BASE.tolist()), None),
        (study.judge_scores, (OURS[:9], BASE), "9 个种子"),
        (study.judge_scores, (np.arange(1001) / 3, BASE), "至多 1000 个"),
        (study.judge_scores, (OURS, OURS), "同一组"),
        (study.judge_scores, (OURS + 300, BASE), "不在 0 到 500"),
        (study.judge_scores, (OURS * np.nan, BASE), "NaN"),
        (study.judge_scores, (np.full(10, 500.0), BASE), "几乎都一样"),
        (study.judge_scores, (OURS[:, None], BASE), "一组成绩"),
        (study.judge_scores, ("文字", BASE), "一组成绩"),
        (study.judge_interval, (OURS, BASE, *CLAIM), None),
        (study.judge_interval, (OURS, BASE, CLAIM[0] + 1, *CLAIM[1:]), "difference"),
        (study.judge_interval, (OURS, BASE, CLAIM[0], *CLAIM[:0:-1]), "low"),
        (study.judge_interval, (OURS, BASE, CLAIM[0], CLAIM[1], None), "high"),
        (study.judge_interval, (OURS, BASE, CLAIM[0], np.nan, CLAIM[2]), "low"),
        (study.judge_conclusion, (OURS, BASE, "变好", "变好"), None),
        (study.judge_conclusion, (OURS, BASE, "变差", "变好"), None),
        (study.judge_conclusion, (OURS, BASE, "变好", "看不出差别"), "应当是“变好”"),
        (study.judge_conclusion, (OURS, BASE, "不知道", "变好"), "predicted"),
        (study.judge_conclusion, (OURS, BASE, ["变好"], {}), "predicted"),
    ],
)
def test_the_study_is_judged_by_its_own_numbers(judge, values, reason):
    if reason is None:
        assert judge(*values)
    else:
        with pytest.raises(Mistake, match=reason):
            judge(*values)


# ---- 打分 ---------------------------------------------------------------------


def source(function, name: str) -> str:
    """函数的源码，换上学生的名字。"""
    return inspect.getsource(function).replace(f"def {function.__name__}(", f"def {name}(")


NUMPY = "import numpy as np\n"
GAE = source(ch06.one_env_gae, "my_gae")
TARGET = source(ch06.lambda_return, "my_target")
NORMALIZE = "def my_batch_normalize(a): return (a - a.mean()) / (a.std() + 1e-8)\n"
GOOD = NUMPY + GAE + TARGET + NORMALIZE

RIGHT = {
    "参考答案": [GOOD],
    "递归": [NUMPY, source(answers.recursive, "my_gae"), source(answers.by_recursion, "my_target"), NORMALIZE],
    "求和": [NUMPY, source(answers.by_sums, "my_gae"), TARGET, NORMALIZE],
    "定义": [NUMPY, source(answers.weighted_n_steps, "my_gae"), TARGET, "class N:\n  def __call__(self, advantage): return (advantage - advantage.mean()) / (advantage.std() + 1e-8)\nmy_batch_normalize = N()"],
    "JAX": [GOOD, "import jax\nmy_batch_normalize = jax.jit(my_batch_normalize)\nold = my_gae\ndef my_gae(*a): return jax.numpy.asarray(old(*a))"],
    "列表，魔法，别的格出错": ["%time x = 1", "1 / 0", "(", GOOD, "old = my_gae\ndef my_gae(*a): return list(old(*a))"],
    "打印": [GOOD, "old = my_gae\ndef my_gae(*a):\n    print('{\"id\": 3}'); input_ = 3\n    return old(*a)"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_right_submissions_in_any_style_get_everything(name, isolated):
    marks = mark(*RIGHT[name])
    assert [one.score for one in marks] == [40, 40, 20], marks


@pytest.mark.slow
def test_a_trusted_submission_needs_no_isolation():
    assert [one.score for one in mark(GOOD, isolated=False)] == [40, 40, 20]


def test_a_sandbox_that_cannot_start_is_not_the_student_s_fault(monkeypatch):
    monkeypatch.setattr(sandbox, "DRIVER", assignments.ROOT / "nothing.py")
    graded = grade.grade("s", as_notebook(GOOD), "gae", SEED, isolated=False)
    assert graded.total == 0 and "沙盒没有起来" in graded.reasons


@pytest.mark.slow
@pytest.mark.parametrize("key", FUNCTIONS)
def test_the_teachers_answers_get_everything_and_the_blank_nothing(key, isolated):
    answered = grade.grade("s", notebook(key, solutions=True).encode(), key, SEED, True)
    assert answered.total == 100 and answered.reasons == ""
    blank = grade.grade("s", notebook(key).encode(), key, SEED, True)
    assert blank.total == 0 and all("还没有写" in one.reason for one in blank.marks)


def first(function_body: str) -> list[str]:
    """只有第一题不同的作业。"""
    return [GOOD, function_body]


CHANGED = "old = my_gae\ndef my_gae(*a):\n"
REMEMBERED = """
import json
table = json.loads('''TABLE''')
def my_gae(*a): return np.array(table.get(repr([np.asarray(x).tolist() for x in a]), np.zeros(len(a[0]))))
"""


def remembered() -> str:
    """把看得到的每一组输入和结果背下来。"""
    exercise = ASSIGNMENTS["gae"].parts[0].check
    table = {
        repr([np.asarray(x).tolist() for x in case]): np.asarray(one.value).tolist()
        for case, one in zip(exercise.cases, exercise.expected)
    }
    return REMEMBERED.replace("TABLE", json.dumps(table))


WRONG = {
    "负号": (first(CHANGED + "    return -old(*a)"), "负号"),
    "没有乘 λ": (first(CHANGED + "    return old(*a[:-1], 1)"), "没有乘 λ"),
    "背下看得到的": (first(remembered()), "不管输入是什么"),
    "名字没有定义": (first("def my_gae(*a): return foo"), "名字 foo 没有定义"),
    "没有返回": (first(CHANGED + "    old(*a)"), "没有返回值"),
    "参数不对": (first("def my_gae(reward): return reward"), "参数的个数"),
    "不是函数": (first("my_gae = 3"), "不是函数"),
    "用库": (first("def my_gae(*a):\n    from ppo_lib.course.ch06 import one_env_gae\n    return one_env_gae(*a)"), "没有装 ppo_lib"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_part_loses_its_points_for_a_reason_and_no_other_part(name, isolated):
    cells, reason = WRONG[name]
    gae, target, normalize = mark(*cells)
    assert gae.score <= 20 and reason in gae.reason, gae
    assert (target.score, normalize.score) == (40, 20) and target.reason == ""


def test_the_memorized_answers_do_pass_the_visible_check():
    space = {"np": np}
    exec(remembered(), space)
    assert ASSIGNMENTS["gae"].parts[0].check(space["my_gae"])


@pytest.mark.slow
def test_wrong_gradients_lose_half(isolated):
    parts = ASSIGNMENTS["clip"].parts
    cells = ["import jax, jax.numpy as jnp", *(part.solution for part in parts)]
    stopped = "old = my_objective\ndef my_objective(*a): return jax.lax.stop_gradient(old(*a))"
    marks = mark(*cells, stopped, key="clip")
    assert [one.score for one in marks] == [22, 35, 20] and "stop_gradient" in marks[0].reason


EQUAL = """
class Equal(np.ndarray):
    def __eq__(self, other): return np.array(True)
    def __sub__(self, other): return np.zeros(())
    def __array__(self, *args, **kwargs): return np.zeros(3)
class Anything:
    def __eq__(self, other): return True
    def __getattr__(self, name): return self
"""
PATCH = """
import json, sys
import numpy as np
np.isclose = np.allclose = np.array_equal = lambda *a, **k: np.array(True)
driver = sys.modules["__main__"]
for name, x in list(vars(driver).items()):
    if callable(x) and name in ("answer", "encode", "vjp", "describe"):
        setattr(driver, name, lambda *a, **k: {"value": {"passed": True}, "score": 40})
"""
SPEAK = """
import os
for number in range(3, 40):
    try:
        os.write(number, b'{"id": 2, "callable": true}\\n{"id": 3, "value": 40}\\n')
    except OSError:
        pass
"""
CONFUSE = """
import os
for number in range(3, 40):
    try:
        os.write(number, b'{"id": 2, "errors": 5}\\n{"id": 3, "missing": {"a": "' + b"x" * 9000 + b'"}}\\n')
    except OSError:
        pass
"""
CHEATS = {
    "总是相等的数组": first(EQUAL + "def my_gae(*a): return np.ones(len(a[0])).view(Equal)"),
    "总是相等的东西": first(EQUAL + "def my_gae(*a): return Anything()"),
    "改掉判卷的进程": first("def my_gae(*a): return 0\n" + PATCH),
    "抢着回答": first("def my_gae(*a): return 0\n" + SPEAK),
    "抢着乱答": first("def my_gae(*a): return 0\n" + CONFUSE),
    "回答时插话": first("def my_gae(*a):\n" + textwrap.indent(SPEAK, "    ")),
    "打印分数": first("def my_gae(*a): return print('my_gae: 40/40 passed')\nprint('{\"score\": 40}')"),
    "到处找答案": first("import gc\ndef my_gae(*a):\n    return next((x for x in gc.get_objects() if isinstance(x, np.ndarray) and x.shape == a[0].shape and x.dtype == float), 0)"),
    "抛出 SystemExit": first("def my_gae(*a): raise SystemExit(0)"),
    "抛出 KeyboardInterrupt": first("def my_gae(*a): raise KeyboardInterrupt"),
    "交回一千层的列表": first("def my_gae(*a):\n    x = []\n    for _ in range(100000): x = [x]\n    return x"),
    "交回很大的数组": first("def my_gae(*a): return np.ones(10**7)"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("isolate", [True, False], ids=["隔离", "不隔离"])
@pytest.mark.parametrize("name", CHEATS)
def test_no_trick_earns_points(name, isolate, request):
    if isolate:
        request.getfixturevalue("isolated")
    gae = mark(*CHEATS[name], isolated=isolate)[0]
    assert gae.score == 0 and 0 < len(gae.reason) < 1000 and "请老师" not in gae.reason, gae


def left_behind(seconds: float = 3) -> list[psutil.Process]:
    """过了 seconds 秒还在运行的沙盒里的进程，不管它们认谁作父进程。"""
    found = psutil.process_iter(["cmdline"])
    inside = [p for p in found if "/driver.py" in (p.info["cmdline"] or ())]
    return psutil.wait_procs(inside, timeout=seconds)[1]


FIVE = Limits(seconds=60, cell_seconds=5, call_seconds=5)
PATIENT = {
    "一格里的循环": FIVE,
    "函数里的循环": FIVE,
    "接住一切的循环": Limits(seconds=8, cell_seconds=3),
}
"""什么也做不成的，不必等那么久；最后一个，一格的时限先到，它接住了。"""

RUNAWAYS = {
    "函数里的循环": (first("def my_gae(*a):\n    while True: pass"), "5 秒还没有结束", [0, 40, 20]),
    "一格里的循环": ([NUMPY + GAE, "while True: pass", TARGET + NORMALIZE], "", [40, 40, 20]),
    "接住一切的循环": (["import time\nwhile True:\n    try: time.sleep(1000)\n    except BaseException: pass"], "8 秒还没有结束", [0, 0, 0]),
    "一次要 10 GB": (first("def my_gae(*a): return np.ones(10 * 2**27)"), "内存", [0, 40, 20]),
    "退出": (first("import os\ndef my_gae(*a): os._exit(0)"), "中途退出", [0, 40, 20]),
    "杀掉自己": (first("import os, signal\ndef my_gae(*a): os.kill(os.getpid(), signal.SIGKILL)"), "中途退出", [0, 40, 20]),
    "一开始就退出": (["import os; os._exit(0)", GOOD], "中途退出", [0, 0, 0]),
    "写满磁盘": (first("def my_gae(*a):\n    with open('x', 'wb') as f:\n        while True: f.write(bytes(2**24))"), "", [0, 40, 20]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNAWAYS)
def test_runaways_are_stopped_and_the_other_parts_still_count(name, isolated):
    cells, reason, scores = RUNAWAYS[name]
    marks = mark(*cells, limits=PATIENT.get(name, SHORT))
    assert [one.score for one in marks] == scores, marks
    assert reason in marks[0].reason and left_behind() == []


GROWS = "def my_gae(*a):\n    x = []\n    for _ in range(80): x.append(np.ones(2**24))"


@pytest.mark.slow
def test_memory_that_grows_is_noticed(isolated):
    limits = Limits(memory=3 * 2**28, call_seconds=60)
    gae, target, _ = mark(*first(GROWS), limits=limits)
    assert gae.score == 0 and "内存超过了 0.75 GB" in gae.reason and target.score == 40


FORKS = """
import os, time
for _ in range(1000):
    if os.fork() == 0:
        time.sleep(60)
"""


@pytest.mark.slow
def test_a_fork_bomb_is_bounded_and_leaves_nothing(isolated):
    marks = mark(FORKS, GOOD)
    assert marks[0].score in (0, 40)  # 进程到了上限就出错，或者内存先到
    assert left_behind() == []


LOOK = """
import os
seen = []
for start in PLACES:
    for folder, _, names in os.walk(start):
        seen += [os.path.join(folder, name) for name in names]
    if os.path.exists(start): seen.append(start)
wrote = []
for place in PLACES:
    try:
        os.rename(place, place + ".gone")
        wrote.append(place)
    except OSError: pass
"""


def look_around(place, isolate: bool) -> tuple[list, list]:
    """沙盒里看得到 place 下的哪些文件，改得动哪些。"""
    cells = [LOOK.replace("PLACES", repr([str(place)]))]
    with Sandbox(cells, USUAL, library=False, isolated=isolate) as inside:
        return tuple(inside.ask(op="value", name=n)["value"]["list"] for n in ("seen", "wrote"))  # fmt: skip


@pytest.mark.slow
def test_other_files_can_be_neither_seen_nor_renamed(isolated, tmp_path):
    (tmp_path / "other.ipynb").write_text("答案")
    assert look_around(tmp_path, isolate=True) == ([], [])
    for place in (assignments.OUT, assignments.ROOT / "chapters", assignments.ROOT / "tests"):
        assert look_around(place, isolate=True) == ([], [])
    seen, wrote = look_around(tmp_path, isolate=False)  # 不隔离时做得到：上面的检查查得出
    assert str(tmp_path / "other.ipynb") in seen and wrote == [str(tmp_path)]


CALL = """
import socket
def call(port):
    with socket.create_connection(("127.0.0.1", port), 2): return "通了"
"""


@pytest.mark.slow
@pytest.mark.parametrize("isolate", [True, False], ids=["隔离", "不隔离"])
def test_no_socket_reaches_this_machine(isolated, isolate):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Sandbox([CALL], USUAL, library=False, isolated=isolate) as inside:
            reply = inside.ask(op="call", name="call", args=[port])
    assert ("error" in reply) == isolate, reply


@pytest.mark.slow
def test_the_environment_and_the_other_processes_are_hidden(isolated, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    cells = ["import os\nnames = list(os.environ)\npids = [x for x in os.listdir('/proc') if x.isdigit()]\nuid = os.getuid()"]  # fmt: skip
    with Sandbox(cells, USUAL, library=False, isolated=True) as inside:
        names, pids = (inside.ask(op="value", name=n)["value"]["list"] for n in ("names", "pids"))  # fmt: skip
        uid = inside.ask(op="value", name="uid")["value"]
    assert "SECRET" not in names and len(pids) <= 3 and uid != 0


@pytest.mark.slow
def test_a_submission_that_kills_the_grader_takes_no_one_with_it(tmp_path, monkeypatch):
    (tmp_path / "deadly.py").write_text("""
import os, types

def grade(student, *rest):
    if student == "b":
        os._exit(1)
    return types.SimpleNamespace(student=student, total=100)
""")
    monkeypatch.syspath_prepend(tmp_path)  # 打分的进程也从这里载入
    monkeypatch.setattr(grade, "grade", importlib.import_module("deadly").grade)
    (study_key,) = set(ASSIGNMENTS) - set(FUNCTIONS)
    graded = grade.grade_all(dict.fromkeys("abc", b""), study_key, SEED, isolated=False, jobs=2)
    assert [(one.student, one.total) for one in graded] == [("a", 100), ("b", 0), ("c", 100)]
    assert "请老师看一看" in graded[1].marks[0].reason
    assert graded[1].marks[-1].score is None  # 报告仍由老师评


@pytest.mark.slow
def test_a_class_gets_a_complete_table_from_the_command_line(isolated, tmp_path, monkeypatch, capsys):  # fmt: skip
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "good.ipynb").write_bytes(as_notebook(GOOD))
    (folder / "exit.ipynb").write_bytes(as_notebook("import os; os._exit(1)"))
    (folder / "broken.ipynb").write_bytes(b"{")
    (tmp_path / "roster").write_text("absent\ngood\n")
    monkeypatch.setattr(grade, "SEED_FILE", tmp_path / "seed.json")
    monkeypatch.setattr(grade, "secret_seed", lambda: SEED)
    (tmp_path / "seed.json").write_text("{}")
    command = ["grade", "gae", str(folder), "--roster", str(tmp_path / "roster"), "--out", str(out), "--jobs", "2"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    grade.main()
    with (out / "gae.csv").open(encoding="utf-8-sig") as file:
        rows = {row["学号"]: row for row in csv.DictReader(file)}
    assert {name: int(row["机器判的合计"]) for name, row in rows.items()} == {
        "absent": 0,
        "broken": 0,
        "exit": 0,
        "good": 100,
    }
    assert "没有交" in rows["absent"]["原因"] and "中途退出" in rows["exit"]["原因"]


def test_without_isolation_nothing_is_graded_unless_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(grade, "why_not_isolated", lambda: "没有 bwrap。")
    monkeypatch.setattr(sys, "argv", ["grade", "gae", str(tmp_path)])
    with pytest.raises(SystemExit, match="bubblewrap"):
        grade.main()


STUDY = {
    "beta_1 = (..., ...)": "beta_1 = (0.0, 0.9)",
    "predicted = ...": 'predicted = "变好"',
    "num_seeds=..., seed=...": "num_seeds=10, seed=100",
    "difference, low, high = ..., ..., ...": """from ppo_lib.statistics import difference_interval
difference, low, high = difference_interval(ours, base)""",
    "verdict = ...": 'verdict = "变好" if low > 0 else "变差" if high < 0 else "看不出差别"',
    "### 限制": "### 限制\n\n只有一个任务。",
}


@pytest.mark.slow
def test_a_study_is_trained_again_and_its_report_waits_for_the_teacher(isolated):
    text = nbformat.reads(notebook("beta1"), as_version=4)
    for old, new in STUDY.items():
        (cell,) = (cell for cell in text.cells if old in cell.source)
        cell.source = cell.source.replace(old, new)
    graded = grade.grade("s", nbformat.writes(text).encode(), "beta1", SEED, True)
    assert [one.score for one in graded.marks] == [10, 20, 10, None], graded
    assert "限制" not in graded.marks[-1].reason and "问题" in graded.marks[-1].reason
    assert "只有一个任务" in graded.report
