"""全班的进度：由网页导出的文件合成表和图；坏的、改过的说得出，不妨碍别人。"""

import csv
import json

import pytest
from conftest import ROOT

from book.tools.teach import collate

BOOK = collate.chapters()
GAE = "chapters/06_gae"


def export(pages: dict) -> bytes:
    return json.dumps({"kind": "ppo-progress", "version": 1, "pages": pages}).encode()


def finished(count: int) -> dict:
    """前 count 章全做完。"""
    quiz = {"done": True, "correct": 2, "total": 3}
    return {
        page: {x: quiz if x.startswith("quiz:") else {"done": True} for x in items}
        for page, items in list(BOOK.items())[:count]
    }


# ---- 书里有什么


def test_items_are_named_as_the_page_names_them():
    source = '- [ ] 练习 6.1 做完了\n\n- [ ] 我能算 $\\hat A_t$ 和 `calculate_gae`，\n  还有**两行**\n\nQuiz(\n    "gae",\nsearch_game("lab")'
    exercise, check, quiz, guess = collate.items_of(source)
    assert (exercise, quiz, guess) == ("exercise:6.1", "quiz:gae", "guess:lab")
    assert check.startswith("check:")


def test_wrong_predictions_do_not_spoil_the_quizzes():
    lab = next(page for page in BOOK if "lab" in page)
    guesses = {"guess:lab": {"done": True, "correct": 20, "total": 43}}
    one = collate.read("a", export({lab: guesses}), BOOK)
    assert one.done[lab] == {"guess:lab"} and (one.correct, one.answered, one.unknown) == (
        0,
        0,
        0,
    )


def test_every_chapter_has_exercises_a_checklist_and_a_quiz():
    assert len(BOOK) == 16
    for page, items in BOOK.items():
        kinds = {x.partition(":")[0] for x in items} - {"guess"}  # 只有实验室有预测
        assert kinds == {"exercise", "check", "quiz"}, page
        assert len(items) == len(set(items))


@pytest.mark.slow
def test_the_built_book_knows_the_same_items(book_html):
    text = (book_html / f"{GAE}.html").read_text(encoding="utf-8")
    told = json.loads(text.partition("const PPO_PAGES = ")[2].partition(";</script>")[0])
    assert {page: set(told[page]) for page in BOOK} == {p: set(x) for p, x in BOOK.items()}


# ---- 一个文件


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "不是 JSON"),
        (b"{", "不是 JSON"),
        (b"\xff", "不是 JSON"),
        (b"[" * 100_000, "不是 JSON"),
        (b"[]", "不是这本书"),
        (b'{"kind": "ppo-progress", "version": 2, "pages": {}}', "不是这本书"),
        (export([]), "不是导出的样子"),
        (export({GAE: []}), "不是导出的样子"),
        (export({GAE: {"exercise:6.1": True}}), "没有写做完没有"),
        (export({GAE: {"exercise:6.1": {"done": 1}}}), "没有写做完没有"),
        (export({GAE: {"exercise:6.1": {"done": True, "score": 1}}}), "多出了 score"),
        (
            export({GAE: {"quiz:gae": {"done": True, "correct": 4, "total": 3}}}),
            "3 题对了 4 题",
        ),
        (export({GAE: {"quiz:gae": {"done": True, "correct": 0.5, "total": 3}}}), "不是整数"),
        (export({GAE: {"成绩": {"done": True}}}), "不是一项的编号"),
        (bytes(collate.LARGEST + 1), "太大"),
    ],
)
def test_a_broken_or_edited_file_is_told_apart(content, reason):
    with pytest.raises(collate.Broken, match=reason):
        collate.read("s", content, BOOK)


def test_what_is_done_and_answered_is_counted():
    pages = finished(6)
    pages["chapters/07_clipping"] = {
        "exercise:7.1": {"done": True},
        "exercise:7.2": {"done": False},
        "exercise:99": {"done": True},
    }
    pages["chapters/99_old"] = {"exercise:99.1": {"done": True}}
    one = collate.read("s", export(pages), BOOK)
    assert one.done[GAE] == set(BOOK[GAE]) and one.done["chapters/07_clipping"] == {
        "exercise:7.1"
    }
    assert (one.correct, one.answered, one.unknown) == (12, 18, 2)
    assert collate.stuck_at(one, BOOK) == "chapters/07_clipping"


@pytest.mark.parametrize(("count", "told"), [(0, "第 1 章"), (5, "第 6 章"), (16, "都做完了")])
def test_where_one_is_stuck(count, told):
    one = collate.read("s", export(finished(count)), BOOK)
    assert collate.place(collate.stuck_at(one, BOOK)) == told


# ---- 一个班


def test_forty_files_make_one_table_and_one_picture(tmp_path):
    for i in range(36):
        (tmp_path / f"s{i:02d}.json").write_bytes(export(finished(i % 17)) + b" " * i)
    (tmp_path / "copied.json").write_bytes((tmp_path / "s05.json").read_bytes())
    (tmp_path / "old.json").write_bytes(export({GAE: {"exercise:6.9": {"done": True}}}))
    (tmp_path / "broken.json").write_bytes(b"{")
    (tmp_path / "edited.json").write_bytes(export({GAE: {"exercise:6.1": {"done": "是"}}}))
    found, trouble = collate.write(tmp_path, tmp_path / "out")
    assert len(found) == 38 and set(trouble) == {"s05.json", "old.json", "broken.json", "edited.json"}  # fmt: skip
    assert "copied.json 一模一样" in trouble["s05.json"] and "6.1" in trouble["edited.json"]
    with (tmp_path / "out/progress.csv").open(encoding="utf-8-sig") as file:
        rows = {row["学号"]: row for row in csv.DictReader(file)}
    assert len(rows) == 38 and rows["s07"]["卡在"] == "第 8 章" and rows["s07"]["小测验"] == "14/21"  # fmt: skip
    assert rows["s07"]["07"] == f"{len(BOOK['chapters/07_clipping'])}/{len(BOOK['chapters/07_clipping'])}"  # fmt: skip
    text = (tmp_path / "out/progress.html").read_text(encoding="utf-8")
    assert "<svg" in text and "38 人" in text and "broken.json：不是 JSON" in text


def test_an_empty_folder_is_an_empty_table(tmp_path):
    found, trouble = collate.write(tmp_path, tmp_path / "out")
    assert found == [] and trouble == {}


# ---- 网页自己导出的

PAGE = """<!doctype html><html data-content_root="./"><body>
<input type="checkbox" data-progress="exercise:6.1"><button id="ppo-export">导出</button><p id="ppo-said"></p>
<script>const DOCUMENTATION_OPTIONS = {pagename: "chapters/06_gae"}; const PPO_PAGES = {};</script>
<script src="progress.js"></script></body></html>"""


@pytest.mark.slow
def test_the_page_s_own_export_is_read(browser, tmp_path):
    script = (ROOT / "book/static/progress.js").read_text(encoding="utf-8")
    page = browser.new_page()
    page.route("**/progress.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))  # fmt: skip
    page.route("**/page.html", lambda route: route.fulfill(body=PAGE, content_type="text/html; charset=utf-8"))  # fmt: skip
    page.goto("http://book.test/page.html")
    page.locator("input").check()
    page.evaluate(
        "document.dispatchEvent(new CustomEvent('ppo:progress',"
        " {detail: {kind: 'quiz', id: 'gae', done: 5, correct: 4, total: 5}}))"
    )
    with page.expect_download() as download:
        page.locator("#ppo-export").click()
    download.value.save_as(tmp_path / "s1.json")
    page.close()
    ((one,), trouble) = collate.collect(tmp_path, BOOK)
    assert trouble == {} and (one.correct, one.answered) == (4, 5)
    assert one.done[GAE] == {"exercise:6.1", "quiz:gae"}
