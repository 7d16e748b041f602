"""每章开头的一行：读多久，跑多久，在什么机器上量的。"""

from __future__ import annotations

import json
from pathlib import Path

TIMINGS_FILE = Path(__file__).with_name("timings.json")
"""由 book/tools/generate/timings.py 量出并写下。"""


def chapter_card(chapter: str):
    """显示一章的阅读时间和运行时间。chapter 是两位数字，例如 ``"01"``。"""
    from IPython.display import Markdown

    timing = json.loads(TIMINGS_FILE.read_text(encoding="utf-8"))[chapter]
    return Markdown(
        f"**阅读**约 {timing['read_minutes']} 分钟。"
        f"**运行**（首次，含编译）：CPU 上{describe(timing['cpu'])}；GPU 上{describe(timing['gpu'])}。"
    )


def describe(measurement: dict | None) -> str:
    """一次测量写成半句话；没有量过就如实说。"""
    if measurement is None:
        return "尚未测量"
    return f" {measurement['seconds']} 秒（{measurement['device']}，{measurement['date']}）"
