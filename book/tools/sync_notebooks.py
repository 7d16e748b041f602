"""由 chapters/*.md 生成旁边的 .ipynb（给 Colab 用）。

    python book/tools/sync_notebooks.py           写出
    python book/tools/sync_notebooks.py --check   只检查是否一致，不一致就列出来并失败

.md 是唯一的源。同样的 .md 总生成同样的字节：没有输出，单元编号由内容算出，元数据固定。
"""

import hashlib
import sys
from collections import Counter
from pathlib import Path

import jupytext
import nbformat

CHAPTERS = Path(__file__).parents[2] / "chapters"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def to_ipynb(markdown: str) -> str:
    """把一章 MyST 文本变成 .ipynb 的文本。"""
    notebook = jupytext.reads(markdown, fmt="md:myst")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen = Counter()
    for cell in notebook.cells:
        content = f"{cell.cell_type}\n{cell.source}"
        seen[content] += 1  # 两个一样的单元也要有不同的编号
        cell.id = hashlib.sha256(f"{content}\n{seen[content]}".encode()).hexdigest()[:12]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def out_of_date(chapters: Path = CHAPTERS) -> dict[Path, str | None]:
    """不一致的 .ipynb 和它应有的内容；没有源的 .ipynb 应有的内容是 None（该删去）。"""
    wanted = {
        source.with_suffix(".ipynb"): to_ipynb(source.read_text(encoding="utf-8"))
        for source in sorted(chapters.glob("*.md"))
    }
    found = {
        path: path.read_text(encoding="utf-8") for path in sorted(chapters.glob("*.ipynb"))
    }
    return {
        path: wanted.get(path)
        for path in sorted({*wanted, *found})
        if wanted.get(path) != found.get(path)
    }


def main() -> None:
    changes = out_of_date()
    if "--check" in sys.argv:
        if changes:
            names = "、".join(path.name for path in changes)
            sys.exit(f"这些笔记本与 .md 不一致：{names}。请运行 make notebooks")
        return
    for path, text in changes.items():
        if text is None:
            path.unlink()
            print("删去", path.name)
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            print("写出", path.name)


if __name__ == "__main__":
    main()
