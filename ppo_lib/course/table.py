"""页面上的表：由一列列的数做成 Markdown 表，样子与正文里的表一致。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def show_table(columns: Mapping[str, Sequence], digits: int = 3):
    """显示一张表。columns 是 {列名: 一列}；小数留 digits 位，整数和文字照写。

    >>> show_table({"步": [1, 2], "概率比 r": [1.462, 0.62]})
    """
    from IPython.display import Markdown

    cells = [[write(x, digits) for x in column] for column in columns.values()]
    align = ["---:" if is_number(column[0]) else "---" for column in columns.values()]
    rows = [list(columns), align, *zip(*cells, strict=True)]
    return Markdown("\n".join(f"| {' | '.join(row)} |" for row in rows))


def is_number(x) -> bool:
    """是不是一个数（布尔值不算）。"""
    return (
        hasattr(x, "__float__") and not isinstance(x, str) and str(x) not in ("True", "False")
    )


def write(x, digits: int) -> str:
    """一格里的字。-0 写成 0。"""
    if not is_number(x):
        return str(x)
    if float(x).is_integer() and "." not in str(x):
        return str(x)
    return f"{round(float(x), digits) + 0.0:.{digits}f}"
