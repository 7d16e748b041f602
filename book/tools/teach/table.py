"""老师的表：同样的几行，写成 .csv 给电子表格，写成网页给人看。"""

import csv
import html
from collections.abc import Sequence
from pathlib import Path

STYLE = """body { font-family: sans-serif; margin: 2rem; max-width: 75rem } table { border-collapse: collapse }
td, th { border: 1px solid #999; padding: .3rem .6rem; text-align: left; vertical-align: top; white-space: pre-line }
pre { white-space: pre-wrap }"""


def safe(text: str) -> str:
    """电子表格不会当作公式的文字。"""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t")) else text


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """写出 rows，第一行是列名。带 BOM，Excel 才认得中文。"""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([[safe(x) for x in row] for row in rows])


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """rows 写成一张表，第一行是列名；里面的文字都不当作 HTML。"""
    lines = [
        "<tr>" + "".join(f"<{tag}>{html.escape(x)}</{tag}>" for x in row) + "</tr>"
        for tag, row in zip(["th"] + ["td"] * (len(rows) - 1), rows)
    ]
    return f"<table>{''.join(lines)}</table>"


def html_page(title: str, body: str) -> str:
    """一页网页。"""
    return (
        f'<!doctype html><html lang="zh"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>{body}</html>\n"
    )
