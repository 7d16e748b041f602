"""勘误：每一条都有断言的一格和出处的一章，总表与正文一致，最初列出的十五条一条不少。"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[1] / "book/errata.md"
TEXT = PAGE.read_text(encoding="utf-8")
ENTRIES, _, PRAISE = TEXT.partition("\n## 指南说对了的\n")
VERDICTS = ("不成立", "有条件", "缺了")


class Entry(NamedTuple):
    """一条勘误。"""

    number: int
    title: str
    text: str

    @property
    def cells(self) -> list[str]:
        return re.findall(r"```\{code-cell\} ipython3\n(.*?)```", self.text, flags=re.DOTALL)

    @property
    def verdict(self) -> str:
        return re.search(r"\*\*指南的说法\*\*（(.+?)）：", self.text)[1]

    @property
    def chapters(self) -> set[int]:
        """“详见”里写的各章。"""
        source = re.search(r"详见(.*)。$", self.text, flags=re.MULTILINE)
        return {int(n) for n in re.findall(r"第 (\d+) 章", source[1])} if source else set()


def entries() -> list[Entry]:
    body = re.split(r"^#{2,3} (?=\S)", ENTRIES, flags=re.MULTILINE)
    found = [re.match(r"(\d+)\. (.+)\n", part) for part in body]
    return [Entry(int(m[1]), m[2], m.string) for m in found if m]


def table() -> dict[int, tuple[str, str, set[int]]]:
    """总表：号 → (指南的说法, 结论, 各章)。"""
    row = re.compile(
        r"^\| \[(\d+)\]\(#errata-\1\)\. (.+) \| (\S+) \| ([\d、]+) \|$", re.MULTILINE
    )
    return {
        int(m[1]): (m[2], m[3], set(map(int, m[4].split("、")))) for m in row.finditer(ENTRIES)
    }


ALL = entries()
each = pytest.mark.parametrize("entry", ALL, ids=lambda entry: str(entry.number))


def test_numbers_run_from_one_and_each_can_be_linked_to():
    assert [entry.number for entry in ALL] == list(range(1, len(ALL) + 1)) and len(ALL) >= 15
    assert [int(n) for n in re.findall(r"^\(errata-(\d+)\)=$", TEXT, re.MULTILINE)] == [
        entry.number for entry in ALL
    ]


def test_links_between_entries_exist():
    assert {int(n) for n in re.findall(r"#errata-(\d+)", TEXT)} == {e.number for e in ALL}


@each
def test_every_entry_asserts_what_it_says(entry):
    trees = [ast.parse(cell) for cell in entry.cells]
    assert trees and all(
        any(isinstance(node, ast.Assert) for node in ast.walk(tree)) for tree in trees
    )
    for tree in trees:
        calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
        assert any(name.endswith(("print", "versus")) for name in calls)  # versus 写出它的比较


@each
def test_every_entry_says_what_the_guide_says_the_fact_and_the_chapter(entry):
    assert entry.verdict in VERDICTS and "**事实**：" in entry.text
    assert entry.chapters and entry.chapters <= set(range(1, 17))


def test_the_table_and_the_entries_agree():
    rows = table()
    assert list(rows) == [entry.number for entry in ALL]
    for entry in ALL:
        _, verdict, chapters = rows[entry.number]
        assert (verdict, chapters) == (entry.verdict, entry.chapters), entry.title


# 最初列出的十五条：一条里各处的关键词，要在同一条勘误（或几条）里都找得到
ORIGINAL = {
    1: [("976.5625", "1_998_848", "977.5")],
    2: [("0.366", "100 步", "有效视野")],
    3: [("shared_trunk", "共用"), ("加速学习", "ch04_trunk")],
    4: [("env.step", "下一个", "ch05_mistakes")],
    5: [("done", "截断", "终止", "MountainCar")],
    6: [("打乱", "envs_once", "samples")],
    7: [("较小者", "最大化", "负号")],
    8: [("界外", "slope(0.7, 1.0, 0.2) == 1"), ("1 ± ε", "slope(1.1, 1.0, 0.2) == 1")],
    9: [("Adam", "偏差修正", "0.999")],
    10: [("std", "1e-8", "isnan")],
    11: [("近端策略优化",), ("RMSprop", "2012"), ("价值裁剪", "clip_value"), ("LunarLander",)],
    12: [("grad_norm",), ("余弦", "0.7"), ("clip_frac",), ("return", "NaN", "0.36")],
    13: [("整形", "位置", "Ng")],
    14: [("滑动", "含有", "余弦")],
    15: [("总损失", "L_CLIP", "负号")],
}


@pytest.mark.parametrize("item", ORIGINAL)
def test_the_fifteen_original_items_are_all_there(item):
    texts = [entry.text + table()[entry.number][0] for entry in ALL]
    for words in ORIGINAL[item]:
        assert any(all(word in text for word in words) for text in texts), words


def test_what_the_guide_gets_right_has_evidence_and_errors_can_be_reported():
    rows = re.findall(r"^\| .+ \| .+ \| 第 \d+ 章 \|$", PRAISE, flags=re.MULTILINE)
    assert len(rows) >= 10 and "## 怎样报告这本书的错" in PRAISE


def test_it_quotes_no_line_of_code_of_the_guide():
    """抄来的代码会带着指南的名字。"""
    for name in ("loss_actor_unclipped", "gae_minibatch", "traj_batch", "new_running_grad"):
        assert name not in TEXT


def test_the_recorded_runs_it_reads_exist():
    data = PAGE.parent / "data"
    for kind, call in (
        ("runs", r"\b(?:scores|whole|load_runs)"),
        ("grid", r"\bgrid_(?:scores|iqm)"),
    ):
        names = re.findall(rf'{call}\("(\w+)"\)', TEXT)
        assert names and all((data / f"{kind}_{name}.npz").exists() for name in names)
