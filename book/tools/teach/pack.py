"""老师的一包：幻灯片、课表、学生常错在哪里、三份打过分的样板报告、一份笔试和答案。

    python -m book.tools.teach.pack [卷子的种子]

写进 _build/teacher，不进书，也不进 make zip 的包。幻灯片从做好的书里摘（make teacher 先做书）；样板报告要训练两百多次，
两个核上约一分半钟。
"""

import secrets
import sys
from pathlib import Path

import xarray as xr

from book.tools.teach import slides
from book.tools.teach.exam import exam
from book.tools.teach.reports import reports, train
from book.tools.teach.syllabus import SYLLABUS_NOTE, misconceptions, syllabus

ROOT = Path(__file__).parents[3]
OUT = ROOT / "_build/teacher"
WEEKS = (8, 16)


def pages(runs: xr.Dataset, seed: int) -> dict[str, str]:
    """文件名 → 内容。"""
    paper, answers = exam(seed)
    return {
        "syllabus.md": SYLLABUS_NOTE + "\n".join(map(syllabus, WEEKS)),
        "misconceptions.md": misconceptions(),
        "reports.md": reports(runs),
        "exam.md": paper,
        "exam_answers.md": answers,
    }


def main() -> None:
    seed = int(sys.argv[1]) if sys.argv[1:] else secrets.randbelow(10**6)
    OUT.mkdir(parents=True, exist_ok=True)
    print(
        f"写出 {len(slides.write())} 章的幻灯片：{(slides.OUT / 'index.html').relative_to(ROOT)}"
    )
    print("正在训练样板报告要用的三组，约一分半钟……", flush=True)
    for name, text in pages(train(), seed).items():
        (OUT / name).write_text(text, encoding="utf-8")
        print(f"写出 {(OUT / name).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
