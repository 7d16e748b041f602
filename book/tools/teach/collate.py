"""把一个班导出的进度合成一张表和一张图：谁做到了哪里，卡在哪里。

    python -m book.tools.teach.collate 进度/

文件夹里一人一个 .json，是路线图页上“导出”的那个文件，文件名改成学号。写出 _build/progress 下的 progress.csv
和 progress.html（图在里面）。坏的、改过的文件说出是哪个、为什么，别人的照常。进度是学生自己勾的，不能当成绩。
"""

import html
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from docutils import nodes
from docutils.core import publish_doctree
from myst_parser.parsers.docutils_ import Parser

from book.tools.extension.progress import name_checkboxes
from book.tools.teach.table import html_page, html_table, write_csv
from ppo_lib.plotting import COLORS, new_figure, show

ROOT = Path(__file__).parents[3]
OUT = ROOT / "_build/progress"
LARGEST = 2**20
"""一个进度文件至多多少字节；全做完的约 10 KB。"""

ITEM = re.compile(r"(check|exercise|quiz|guess):\S+")

# ---- 书里有什么 ----------------------------------------------------------------


def chapters() -> dict[str, list[str]]:
    """各章 → 要完成的各项，与做书时写进网页的编号相同；按目录的次序。"""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = [page["file"] for part in toc["parts"] for page in part["chapters"]]
    return {
        page: items_of((ROOT / f"{page}.md").read_text(encoding="utf-8"))
        for page in pages
        if page.startswith("chapters/")
    }


def items_of(source: str) -> list[str]:
    """一章的源里的勾选框、小测验和预测的编号。"""
    boxes = "\n".join(re.findall(r"^- \[ \] .*(?:\n  .*)*", source, re.MULTILINE))
    settings = {"myst_enable_extensions": {"tasklist", "dollarmath"}, "myst_enable_checkboxes": True, "report_level": 5}  # fmt: skip
    tree = publish_doctree(boxes, parser=Parser(), settings_overrides=settings)
    name_checkboxes(None, tree)
    written = "".join(node.astext() for node in tree.findall(nodes.raw))
    quizzes = re.findall(r'\bQuiz\(\s*"([^"]+)"', source)
    guesses = re.findall(r'\bsearch_game\(\s*"([^"]+)"', source)
    asked = [f"quiz:{name}" for name in quizzes] + [f"guess:{name}" for name in guesses]
    return re.findall(r'data-progress="([^"]+)"', written) + asked


# ---- 一个人的进度 ---------------------------------------------------------------


class Broken(ValueError):
    """不是这本书导出的进度，或者改坏了；信息是原因。"""


class Progress(NamedTuple):
    """一个人的进度。"""

    student: str
    done: dict[str, set[str]]  # 章 → 做完的项
    correct: int  # 小测验答对的题
    answered: int  # 小测验做完的几份，一共多少题
    unknown: int  # 这一版的书里没有的项


def read(student: str, content: bytes, book: dict[str, list[str]]) -> Progress:
    """读一个导出的文件。

    Raises:
        Broken: 不是导出的样子。
    """
    if len(content) > LARGEST:
        raise Broken("文件太大")
    try:
        exported = json.loads(content)
    except (ValueError, RecursionError):
        raise Broken("不是 JSON") from None
    if not isinstance(exported, dict) or (exported.get("kind"), exported.get("version")) != ("ppo-progress", 1):  # fmt: skip
        raise Broken("不是这本书导出的进度")
    pages = exported.get("pages")
    if not isinstance(pages, dict) or not all(isinstance(x, dict) for x in pages.values()):
        raise Broken("改过：pages 不是导出的样子")
    done, correct, answered, unknown = {page: set() for page in book}, 0, 0, 0
    for page, items in pages.items():
        for item, result in items.items():
            check(page, item, result)
            if item not in book.get(page, ()):
                unknown += 1
            elif result["done"]:
                done[page].add(item)
                if item.startswith("quiz:"):  # 预测猜错是常事，不算进小测验
                    correct += result.get("correct", 0)
                    answered += result.get("total", 0)
    return Progress(student, done, correct, answered, unknown)


def check(page: str, item: str, result) -> None:
    """一项是不是网页写得出来的。

    Raises:
        Broken: 不是。
    """
    where = f"改过：{page} 的 {item}"
    if not ITEM.fullmatch(item):
        raise Broken(f"{where} 不是一项的编号")
    if not isinstance(result, dict) or not isinstance(result.get("done"), bool):
        raise Broken(f"{where} 没有写做完没有")
    if not set(result) <= {"done", "correct", "total"}:
        raise Broken(f"{where} 多出了 {'、'.join(sorted(set(result) - {'done', 'correct', 'total'}))}")  # fmt: skip
    counts = [result.get(name, 0) for name in ("correct", "total")]
    if not all(isinstance(x, int) and not isinstance(x, bool) for x in counts):
        raise Broken(f"{where} 的题数不是整数")
    if not 0 <= counts[0] <= counts[1] <= 100:
        raise Broken(f"{where} 写着 {counts[1]} 题对了 {counts[0]} 题")


def stuck_at(progress: Progress, book: dict[str, list[str]]) -> str | None:
    """卡在哪一章：第一个练习没有全做完的；都做完了是 None。"""
    for page, items in book.items():
        if {x for x in items if x.startswith("exercise:")} - progress.done[page]:
            return page
    return None


# ---- 一个班 --------------------------------------------------------------------


def collect(folder: Path, book: dict[str, list[str]]) -> tuple[list[Progress], dict[str, str]]:
    """全班的进度，按学号；和读不了的文件 → 原因（内容一模一样的，也说一声）。"""
    found, trouble, seen = [], {}, {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = path.read_bytes()
            one = read(path.stem, content, book)
        except (Broken, OSError) as error:
            trouble[path.name] = str(error)
            continue
        found.append(one)
        if any(one.done.values()) and content in seen:
            trouble[path.name] = f"与 {seen[content]} 一模一样；仍算在表里"
        seen.setdefault(content, path.name)
        if one.unknown:
            trouble[path.name] = f"有 {one.unknown} 项不在这一版的书里：书的版本不同，或者改过；仍算在表里"  # fmt: skip
    return found, trouble


def number(page: str) -> str:
    """一章的编号，例如 "06"。"""
    return Path(page).name[:2]


def place(page: str | None) -> str:
    """卡在哪里，写给人看。"""
    return "都做完了" if page is None else f"第 {int(number(page))} 章"


def rows(found: list[Progress], book: dict[str, list[str]]) -> list[list[str]]:
    """表：第一行是列名，一人一行。"""
    table = [["学号", *map(number, book), "小测验", "卡在"]]
    for one in found:
        cells = [f"{len(one.done[page])}/{len(items)}" for page, items in book.items()]
        quiz = f"{one.correct}/{one.answered}"
        table.append([one.student, *cells, quiz, place(stuck_at(one, book))])
    return table


def fractions(found: list[Progress], book: dict[str, list[str]]) -> np.ndarray:
    """各人各章做完的比例，0 到 1，(students, chapters)。"""
    return np.array(
        [[len(one.done[page]) / len(items) for page, items in book.items()] for one in found]
    )


def draw(found: list[Progress], book: dict[str, list[str]]):
    """上面是各章卡住几人，下面是各人各章做完的比例，叉是卡住的地方；做得多的排在上面。"""
    share = fractions(found, book)
    order = np.argsort(-share.sum(axis=1), kind="stable")
    pages = list(book)
    stuck = [stuck_at(found[i], book) for i in order]
    height = 1.6 + 0.24 * len(found)
    sizes = {"height_ratios": [1.4, height - 1.4]}
    fig, (top, below) = new_figure(8.4, height + 0.8, nrows=2, sharex=True, gridspec_kw=sizes)
    top.bar(range(len(pages)), [stuck.count(page) for page in pages], color=COLORS[0])
    top.set(ylabel="卡住的人数")
    top.yaxis.get_major_locator().set_params(integer=True)
    image = below.imshow(share[order], cmap="cividis", vmin=0, vmax=1, aspect="auto")
    crosses = [(pages.index(page), row) for row, page in enumerate(stuck) if page is not None]
    below.scatter(
        *zip(*crosses) if crosses else ([], []),
        marker="X",
        color="white",
        edgecolor="black",
        s=40,
    )
    below.set(xticks=range(len(pages)), xticklabels=map(number, pages), xlabel="章")
    below.set(yticks=range(len(found)), yticklabels=[found[i].student for i in order])
    below.grid(False)
    fig.colorbar(image, ax=below, label="做完的比例", fraction=0.03)
    return show(fig, f"{len(found)} 人各章做完的比例，和卡在哪一章")


def page(found: list[Progress], trouble: dict[str, str], book: dict[str, list[str]]) -> str:
    """一页网页：图、有问题的文件、表。"""
    told = f"<p>{len(found)} 人。“卡在”（图里的叉）是第一个练习没有全做完的章；进度是学生自己勾的。</p>"
    picture = draw(found, book)._repr_html_() if found else ""
    noted = "".join(
        f"<li>{html.escape(f'{name}：{why}')}</li>" for name, why in trouble.items()
    )
    table = html_table(rows(found, book))
    return html_page("全班的进度", f"{told}{picture}<ul>{noted}</ul>{table}")


def write(folder: Path, out: Path = OUT) -> tuple[list[Progress], dict[str, str]]:
    """读一个文件夹，写出表和网页；返回读到的和有问题的文件。"""
    book = chapters()
    found, trouble = collect(folder, book)
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "progress.csv", rows(found, book))
    (out / "progress.html").write_text(page(found, trouble, book), encoding="utf-8")
    return found, trouble


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("用法：python -m book.tools.teach.collate 放着各人 .json 的文件夹")
    found, trouble = write(Path(sys.argv[1]))
    for name, why in trouble.items():
        print(f"{name}：{why}")
    print(f"{len(found)} 人；写出 {OUT / 'progress.csv'} 和 progress.html")


if __name__ == "__main__":
    main()
