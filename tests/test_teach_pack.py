"""老师的一包：课表的数来自量过的，报告的数和分数对得上，卷子的答案另算一遍也相同；学生拿到的书里没有它。"""

import json
import re

import numpy as np
import optax
import pytest
import xarray as xr
from conftest import ROOT

from book.tools.site import build
from book.tools.teach import exam, pack, reports, syllabus
from ppo_lib.statistics import iqm

# ---- 课表


@pytest.mark.parametrize(
    ("costs", "parts", "wanted"),
    [
        ([3, 1, 1, 3], 2, [[0, 1], [2, 3]]),
        ([5, 1, 1, 1], 2, [[0], [1, 2, 3]]),
        ([1, 2, 3], 3, [[0], [1], [2]]),
        ([1, 1, 1, 9, 1], 3, [[0, 1, 2], [3], [4]]),
    ],
)
def test_chapters_are_split_so_that_the_heaviest_week_is_light(costs, parts, wanted):
    assert [list(piece) for piece in syllabus.split(costs, parts)] == wanted


@pytest.mark.parametrize("weeks", pack.WEEKS)
def test_a_syllabus_has_every_chapter_once_and_the_measured_minutes(weeks):
    timings = json.loads(syllabus.TIMINGS_FILE.read_text(encoding="utf-8"))
    rows = [line.split("|")[1:-1] for line in syllabus.syllabus(weeks).splitlines() if re.match(r"\| \d", line)]  # fmt: skip
    assert [int(row[0]) for row in rows] == list(range(1, weeks + 1))
    taught = [int(n) for row in rows[:-1] for n in re.findall(r"(?:^|；) ?(\d+) ", row[1].strip())]  # fmt: skip
    assert taught == list(range(1, 17))
    assert sum(int(row[2]) for row in rows[:-1]) == sum(x["read_minutes"] for x in timings.values())  # fmt: skip
    assert sum(int(row[3]) for row in rows[:-1]) == sum(x["cpu"]["seconds"] for x in timings.values())  # fmt: skip
    given = " ".join(row[5] for row in rows)
    assert all(f"布置作业{n}" in given for n in "一二三")


def test_every_chapter_has_misconceptions_from_its_own_exercises():
    text = syllabus.misconceptions()
    chapters = re.split(r"^## ", text, flags=re.M)[1:]
    assert len(chapters) == 16 and all("**练习" in x and "\n- " in x for x in chapters)
    assert "优势只在终止处断开了；截断之后也是新的一回合，同样要断开。" in text


# ---- 报告


def made_up(seed: int = 0) -> xr.Dataset:
    """编的训练：0.5 学得快些。"""
    rng = np.random.default_rng(seed)
    shape = (3, reports.SEEDS, 40)
    rise = np.linspace(0, 1, 40) * np.array([300, 200, 210])[:, None, None]
    returns = np.clip(rise + rng.normal(20, 40, shape[:2])[..., None], 0, 500)
    kl = np.broadcast_to(np.array([0.004, 0.003, 0.002])[:, None, None], shape)
    dims = ("beta_1", "seed", "update")
    return xr.Dataset(
        {"return": (dims, returns), "approx_kl": (dims, kl)}, {"beta_1": list(reports.BETA_1)}
    )


def test_the_rubric_is_the_chapter_s():
    assert reports.rubric() == {
        "问题": 10, "预测": 10, "设计": 20, "统计": 20, "结论": 15, "诊断": 10, "可重做": 10, "文字": 5,
    }  # fmt: skip


def test_three_reports_are_marked_by_every_line_of_the_rubric():
    written = [make(made_up()) for make in (reports.good, reports.middling, reports.flawed)]
    for report in written:
        assert set(report.marks) == set(reports.rubric())
        assert {share for share, _ in report.marks.values()} <= {0, 0.5, 1}
        assert all(why for _, why in report.marks.values())
    assert [one.score for one in written] == [100, 62.5, 10]
    text = reports.reports(made_up())
    assert all(f"：{one.score:g} 分" in text for one in written)


def test_the_numbers_of_a_report_are_those_of_its_runs():
    runs = made_up(3)
    last = runs["return"].values[..., -4:].mean(axis=-1)  # (beta_1, seed)
    good, middling = reports.good(runs).text, reports.middling(runs).text
    assert f"0.5 是 {iqm(last[0, reports.PILOT :]):.0f}，0.9 是 {iqm(last[1, reports.PILOT :]):.0f}" in good  # fmt: skip
    assert f"0.5 的四分位均值是 {iqm(last[0, :5]):.0f}" in middling
    same = made_up(3).assign({"return": runs["return"] * 0 + runs["return"].isel(beta_1=0)})
    assert "看不出差别" in reports.good(same).text.partition("### 结论")[2]


# ---- 笔试


def cells(text: str) -> list[list[str]]:
    """一段 Markdown 里的表，不含列名。"""
    lines = [line for line in text.splitlines() if re.match(r"\| *\d", line)]
    return [[x.strip() for x in line.split("|")[1:-1]] for line in lines]


def numbers(text: str) -> list[list[float]]:
    """方括号里的几列数。"""
    return [[float(x) for x in row.split(",")] for row in re.findall(r"\[([^\]]+)\]", text)]


@pytest.mark.parametrize("seed", range(5))
def test_the_exam_adds_up_and_another_seed_is_another_exam(seed):
    assert sum(question.points for question in exam.questions(seed)) == 100
    paper, answers = exam.exam(seed)
    assert paper == exam.exam(seed)[0] != exam.exam(seed + 1)[0]
    assert answers.count("\n**") == paper.count("\n**") == 8
    assert not any(question.answer in paper for question in exam.questions(seed))


@pytest.mark.parametrize("seed", range(5))
def test_answers_on_gae_are_right(seed):
    question = exam.ask_gae(np.random.default_rng(seed))
    gamma, lam = (float(x) for x in re.findall(r"= ([\d.]+)\$", question.text))
    rows = [(float(r), float(v), float(w), end) for _, r, v, w, end in cells(question.text)]  # fmt: skip
    delta = [r + (0 if end == "终止" else gamma * w) - v for r, v, w, end in rows]
    advantage = []
    for one, (*_, end) in zip(delta[::-1], rows[::-1]):
        later = advantage[-1] if advantage and not end else 0
        advantage.append(one + gamma * lam * later)
    told = numbers(question.answer)
    np.testing.assert_allclose(told, [delta, advantage[::-1]], atol=0.0051)
    assert {"终止", "截断"} <= {end for *_, end in rows}


@pytest.mark.parametrize("seed", range(5))
def test_answers_on_clipping_are_right(seed):
    question = exam.ask_clip(np.random.default_rng(seed))
    pairs = [(float(row[1]), float(row[2])) for row in cells(question.text)]
    values = [min(r * a, min(max(r, 0.8), 1.2) * a) for r, a in pairs]
    slopes = [a if r * a <= min(max(r, 0.8), 1.2) * a else 0 for r, a in pairs]
    np.testing.assert_allclose(numbers(question.answer), [values, slopes], atol=0.0051)


@pytest.mark.parametrize("seed", range(5))
def test_answers_on_adam_are_right(seed):
    question = exam.ask_adam(np.random.default_rng(seed))
    grads = [float(x) for x in re.search(r"依次是 (\S+) 和 (\S+)。", question.text).groups()]
    adam = optax.adam(0.1, b1=0.5, b2=0.75, eps=0.0)
    param, state = np.float32(1), adam.init(np.float32(1))
    for grad, told in zip(grads, re.findall(r"参数 ([-\d.]+)", question.answer)):
        update, state = adam.update(np.float32(grad), state)
        param = param + update
        assert float(told.rstrip(".")) == pytest.approx(float(param), abs=6e-5)


def test_answers_on_holm_are_right():
    question = exam.ask_holm(np.random.default_rng(7))
    p = [float(x) for x in re.search("依次是 (.+?)。", question.text)[1].split("、")]
    order, corrected, before = np.argsort(p), [0.0] * 4, 0.0
    for rank, i in enumerate(order):
        before = corrected[i] = max(before, (4 - rank) * p[i])
    told = [float(x) for x in re.search("依次是 (.+?)；", question.answer)[1].split("、")]
    np.testing.assert_allclose(told, corrected, atol=1e-4)


# ---- 学生拿不到

MARKS = ("先让学生自己打分，再对照", "笔试的答案", "# 参考答案\ndef my_", "每处 5 分")
"""只在老师的材料里的话。"""


def test_the_pack_is_outside_what_is_published():
    published = build.ROOT / "_build/html"
    for folder in (pack.OUT, ROOT / "_build/assignments"):
        assert published not in (folder, *folder.parents) and folder not in published.parents
    assert not list((ROOT / "book/tools").rglob("*.md"))  # Sphinx 会把 book/ 下的 .md 当作书页


def test_the_teacher_s_words_are_in_the_pack():
    """下一个测试要找的话，老师的材料里真的有。"""
    together = "".join(pack.pages(made_up(), 0).values())
    assert all(mark in together for mark in MARKS if "my_" not in mark)


@pytest.mark.slow
def test_the_built_book_has_nothing_of_the_pack(book_html):
    for path in book_html.rglob("*"):
        if path.suffix in (".html", ".js", ".md", ".ipynb", ".txt"):
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not [mark for mark in MARKS if mark in text], path
    assert not list(book_html.rglob("*teach*"))
