"""把 matplotlib 写的 SVG 写短：坐标取到看不出差别的位数，路径用相对坐标，用不着的编号和注释去掉。"""

from __future__ import annotations

import re

FINE = 0.01
"""线和框的坐标取到百分之一点（1/7200 英寸）。"""

GLYPH = 10.0
"""字形的坐标取到一个字高的 1/640；matplotlib 写字形时，一个字高是 6400。"""

GLYPH_SCALE = 0.015625
"""matplotlib 给字形的缩放，即 1/64。"""

PATH = re.compile(r'(<path\b[^>]*?\bd=")([^"]*)("[^>]*>)')
COMMAND = re.compile(r"([A-Za-z])([^A-Za-z]*)")
PLACED = re.compile(r'(\b(?:x|y|width|height)="|\btranslate\()([^")]*)')


def shorten(svg: str) -> str:
    """同一张图，短一些。"""
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = PATH.sub(shorten_path, svg)
    svg = PLACED.sub(lambda found: found[1] + round_numbers(found[2]), svg)
    svg = re.sub(r">\s+<", "><", svg)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)


def shorten_path(found: re.Match) -> str:
    """一个 <path>。字形连同它的缩放一起换单位。"""
    opening, data, rest = found.groups()
    scale = f'transform="scale({GLYPH_SCALE:g})"'
    if scale not in rest:
        return opening + relative(data, FINE, FINE) + rest
    enlarged = f'transform="scale({GLYPH_SCALE * GLYPH:g})"'
    return opening + relative(data, GLYPH, 1.0) + rest.replace(scale, enlarged)


def relative(data: str, grid: float, unit: float) -> str:
    """路径改用相对坐标。每一点先落到间隔 grid 的格子上再相减，所以误差不会越积越多。

    Args:
        data: 只有 M、L、Q、C、z 的路径，坐标都是绝对的，matplotlib 只写这几种。
        grid: 格子的间隔。
        unit: 一格写成多少。
    """
    written, here, start = [], (0, 0), (0, 0)
    for command, numbers in COMMAND.findall(data):
        if command in "zZ":
            written.append("z")
            here = start
            continue
        if command not in "MLQC":
            raise ValueError(f"路径里有不认得的命令 {command!r}。")
        places = [round(float(number) / grid) for number in numbers.split()]
        points = list(zip(places[::2], places[1::2], strict=True))
        origin = (0, 0) if command == "M" else here
        steps = [place - from_ for point in points for place, from_ in zip(point, origin)]
        text = " ".join(write(step * unit) for step in steps).replace(" -", "-")
        written.append((command if command == "M" else command.lower()) + text)
        here = points[-1]
        start = here if command == "M" else start
    return "".join(written)


def round_numbers(text: str) -> str:
    """一串数各取到 FINE。"""
    return " ".join(write(round(float(number) / FINE) * FINE) for number in text.split())


def write(number: float) -> str:
    """最短的写法：不带末尾的零，不写 -0。"""
    text = f"{number:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
