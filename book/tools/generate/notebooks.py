"""由 chapters/*.md 生成旁边的 .ipynb（给 Colab 用）。

    python -m book.tools.generate.notebooks           写出
    python -m book.tools.generate.notebooks --check   只检查是否一致，不一致就列出来并失败

.md 是唯一的源。同样的 .md 总生成同样的字节：没有输出，单元编号由内容算出，元数据固定。
.ipynb 与 .md 不同的有三处：多出第一格，它准备环境；MyST 的指令和角色变成普通的 Markdown；
隐藏的单元带上 Colab 和 JupyterLab 认得的记号。Colab 不认得、这里也不会变的写法会报错，不会悄悄漏过去。
"""

import hashlib
import re
import sys
from collections import Counter
from pathlib import Path

import jupytext
import nbformat

from book.tools.generate.colab_setup import setup_cell
from book.tools.generate.plain_markdown import Unsupported, convert, find_names, leftovers

ROOT = Path(__file__).parents[3]
CHAPTERS = ROOT / "chapters"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


# ---- 隐藏的单元 --------------------------------------------------------------

HIDES_SOURCE = {"hide-input", "remove-input", "hide-cell", "remove-cell"}
HIDES_OUTPUT = {"hide-output", "remove-output", "hide-cell", "remove-cell"}


def hide(cell) -> None:
    """按标签收起一格。``cellView`` 和 ``collapsed`` 给 Colab 看，``jupyter`` 里的给 JupyterLab 看。

    收起的代码若以注释开头，这条注释就是 Colab 上露在外面的标题。
    """
    tags = set(cell.metadata.get("tags", []))
    jupyter = {}
    if tags & HIDES_SOURCE:
        cell.metadata["cellView"] = "form"
        cell.source = re.sub(r"\A# (?!@)", "# @title ", cell.source)
        jupyter["source_hidden"] = True
    if tags & HIDES_OUTPUT:
        cell.metadata["collapsed"] = True
        jupyter["outputs_hidden"] = True
    if jupyter:
        cell.metadata["jupyter"] = nbformat.from_dict(jupyter)


# ---- 整本笔记本 --------------------------------------------------------------


def to_ipynb(markdown: str, chapter: str = "", folder: Path = CHAPTERS) -> str:
    """把一章 MyST 文本变成 .ipynb 的文本。chapter 是两位数字，例如 ``"01"``。

    Raises:
        Unsupported: 正文里有 Colab 不认得、这里也不会变的写法。
    """
    notebook = jupytext.reads(markdown, fmt="md:myst")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    prose = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    names = find_names("\n\n".join(prose), folder)
    notebook.cells.insert(0, setup_cell(chapter))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = convert(cell.source, names).strip("\n")
            if left := leftovers(cell.source):
                raise Unsupported("漏下了 MyST 的写法：" + "；".join(left))
        else:
            hide(cell)
    give_ids(notebook)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def give_ids(notebook) -> None:
    """单元编号由内容算出；代码单元没有输出。"""
    seen = Counter()
    for cell in notebook.cells:
        content = f"{cell.cell_type}\n{cell.source}"
        seen[content] += 1  # 两个一样的单元也要有不同的编号
        cell.id = hashlib.sha256(f"{content}\n{seen[content]}".encode()).hexdigest()[:12]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def convert_file(source: Path) -> str:
    try:
        text = source.read_text(encoding="utf-8")
        return to_ipynb(text, source.name[:2], source.parent)
    except Unsupported as error:
        raise Unsupported(f"{source.name}：{error}") from None


def out_of_date(chapters: Path = CHAPTERS) -> dict[Path, str | None]:
    """不一致的 .ipynb 和它应有的内容；没有源的 .ipynb 应有的内容是 None（该删去）。"""
    wanted = {
        source.with_suffix(".ipynb"): convert_file(source)
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
    try:
        changes = out_of_date()
    except Unsupported as error:
        sys.exit(str(error))
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
