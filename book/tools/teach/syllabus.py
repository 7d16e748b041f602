"""课表：把各章按阅读的分钟分到各周，和各章学生常犯的错。"""

import importlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from book.tools.teach.assignments import ASSIGNMENTS
from book.tools.teach.collate import chapters, number
from ppo_lib.course.card import TIMINGS_FILE
from ppo_lib.course.exercises import AnswerExercise, FunctionExercise

ROOT = Path(__file__).parents[3]

RELEASED = {"gae": "06", "clip": "07", "beta1": "08"}
"""哪份作业在讲哪一章的那周布置。"""


def minutes() -> dict[str, int]:
    """各章 → 阅读的分钟。"""
    timings = json.loads(TIMINGS_FILE.read_text(encoding="utf-8"))
    return {chapter: timing["read_minutes"] for chapter, timing in sorted(timings.items())}


def split(costs: list[int], parts: int) -> list[range]:
    """把一串章分成 parts 段连着的，最重的一段尽量轻，再尽量匀；返回各段的下标。"""

    def pieces(cuts: tuple[int, ...]) -> list[range]:
        return list(map(range, (0, *cuts), (*cuts, len(costs))))

    def weight(cuts: tuple[int, ...]) -> tuple[int, int]:
        totals = [sum(costs[i] for i in piece) for piece in pieces(cuts)]
        return max(totals), sum(total**2 for total in totals)

    return pieces(min(itertools.combinations(range(1, len(costs)), parts - 1), key=weight))


def title(page: str) -> str:
    """一章的标题。"""
    return re.search("^# (.+)$", (ROOT / f"{page}.md").read_text(encoding="utf-8"), re.M)[1]


def syllabus(weeks: int) -> str:
    """weeks 周的课表，Markdown；最后一周留给报告和考试。

    Args:
        weeks: 2 到 16：至少一周讲课，至多一章一周。
    """
    book, read = chapters(), minutes()
    timings = json.loads(TIMINGS_FILE.read_text(encoding="utf-8"))
    pages = list(book)
    rows = [
        "| 周 | 章 | 阅读（分钟） | 运行（秒） | 练习（道） | 作业 |",
        "|---|---|---|---|---|---|",
    ]
    for week, places in enumerate(split([read[number(p)] for p in pages], weeks - 1), 1):
        here = [pages[i] for i in places]
        numbers = [number(page) for page in here]
        names = "；".join(f"{int(number(page))} {title(page)}" for page in here)
        run = sum(timings[n]["cpu"]["seconds"] for n in numbers)
        count = sum(item.startswith("exercise:") for page in here for item in book[page])
        given = [f"布置{ASSIGNMENTS[k].title}" for k, n in RELEASED.items() if n in numbers]
        rows.append(f"| {week} | {names} | {sum(read[n] for n in numbers)} | {run} | {count} | {'；'.join(given)} |")  # fmt: skip
    rows.append(f"| {weeks} | 毕业项目的报告，考试 | | | | 交作业三 |")
    return (
        f"## {weeks} 周\n\n" + "\n".join(rows) + "\n\n"
        f"一共读 {sum(read.values())} 分钟。分法：各章的次序不变，最重的一周尽量轻。\n"
    )


SYLLABUS_NOTE = """# 课表

阅读的分钟按字数算（每分钟 300 字，一行代码算 15 字），运行的秒数是在两个 CPU 核上量的，都与各章开头写的相同。
做练习和作业要多久**没有量过**，要在第一遍上课时量。作业布置后一周交；作业三要先读第 16 章的“比较两组种子”。

"""

# ---- 常犯的错 -----------------------------------------------------------------


SHOWN = 6
"""每题至多列几条。"""


def hints(exercise) -> Iterator[str]:
    """一道练习声明过的错：学生会怎样错，检查怎样说。"""
    if isinstance(exercise, FunctionExercise):
        yield from exercise.wrong
    elif isinstance(exercise, AnswerExercise):
        for field in exercise.spec["fields"]:
            for table in ("wrong", "extra", "missing"):
                yield from (row[-1] for row in field.get(table, ()))
        yield from (hint for _, hint in exercise.spec["wrong"])


def misconceptions() -> str:
    """各章的练习，和每道题查得出的错，Markdown。"""
    text = f"# 学生常错在哪里\n\n每道练习的检查认得的错，取自练习的声明，每题至多 {SHOWN} 条。讲评时先出那道题，再看谁答成了哪一种。\n"
    for page in chapters():
        module = importlib.import_module(f"ppo_lib.course.ch{number(page)}")
        checks = [x for name, x in vars(module).items() if name.startswith("check_")]
        known = [(check, list(dict.fromkeys(hints(check)))) for check in checks]
        text += f"\n## 第 {int(number(page))} 章 {title(page)}\n"
        for check, found in known:
            if found:
                text += f"\n**{check.task}**\n\n" + "".join(
                    f"- {hint}\n" for hint in found[:SHOWN]
                )
    return text
