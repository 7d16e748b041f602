"""一种样子：字体、颜色、线宽，和把图放进页面的办法。

图以 SVG 直接写进页面，文字和坐标轴用页面自己的文字颜色（``currentColor``），所以亮色、暗色
页面都清楚，放大也不糊。字画成了路径，读者的机器上不需要中文字体。
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib import font_manager
from matplotlib.figure import Figure

from ppo_lib.plotting.svg import shorten

FONT_FILE = Path(__file__).with_name("fonts") / "NotoSansSC-subset.otf"

INK = "#1a1b1c"
"""文字和坐标轴的颜色；写进页面时换成 currentColor。"""

COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
"""色盲也分得清的一组颜色（Okabe & Ito）。"""

STYLE = {
    "font.family": ["Noto Sans SC", "DejaVu Sans"],  # 中文字体在前，中西文混排才不缺字
    "font.size": 10.5,
    "axes.unicode_minus": False,
    "axes.prop_cycle": mpl.cycler(color=COLORS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.dpi": 100,
    "savefig.transparent": True,
    "svg.fonttype": "path",
    "mathtext.fontset": "cm",
}


def use_style() -> None:
    """登记中文字体，换上这本书的样子。可以重复调用。"""
    if FONT_FILE.name not in {
        Path(font.fname).name for font in font_manager.fontManager.ttflist
    }:
        font_manager.fontManager.addfont(FONT_FILE)
    mpl.rcParams.update(STYLE)


def new_figure(width: float = 7.0, height: float = 3.6, **kwargs):
    """一张新图，尺寸以英寸计；返回 (figure, axes)，同 ``plt.subplots``。"""
    use_style()
    return plt.subplots(figsize=(width, height), layout="constrained", **kwargs)


def to_svg(fig: Figure, alt: str) -> str:
    """把图变成一段可以直接写进网页的 SVG，alt 是给读屏软件的一句话。"""
    buffer = io.StringIO()
    salt = hashlib.sha256(alt.encode()).hexdigest()[:8]  # 同一页上几张图的内部编号不相撞
    with mpl.rc_context({"svg.hashsalt": salt}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', rf'id="{salt}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{salt}-", svg)
    width, height = (
        float(x) for x in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()
    )
    pixels = width * 4 / 3  # 窄屏上缩到六成为止，再窄就在框里左右滑动，字不至于看不清
    opening = (
        f'<svg role="img" aria-label="{html.escape(alt)}" viewBox="0 0 {width} {height}" '
        f'style="width:100%;min-width:{0.6 * pixels:.0f}px;max-width:{pixels:.0f}px;height:auto" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return shorten(re.sub(r"<svg[^>]*>", opening, svg, count=1))


class Picture:
    """一张可以显示在笔记本和静态页面里的图。"""

    def __init__(self, fig: Figure, alt: str):
        self.svg, self.alt = to_svg(fig, alt), alt
        plt.close(fig)

    def _repr_html_(self) -> str:
        return f'<div class="ppo-figure" style="overflow-x:auto">{self.svg}</div>'

    def __repr__(self) -> str:
        return f"[图：{self.alt}]"


def show(fig: Figure, alt: str) -> Picture:
    """把图放进页面：作为单元格的最后一个表达式。

    Args:
        fig: matplotlib 的图，之后会关掉。
        alt: 一句话说出图里是什么，给看不见图的读者。
    """
    return Picture(fig, alt)
