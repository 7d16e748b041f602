"""做出图里用的中文字体：Noto Sans SC 的一个子集（约 0.8 MB）。

Colab 和大多数服务器上没有中文字体，matplotlib 会把汉字画成方框，所以课程自带一份。

来源是 Debian 12 的软件包 fonts-noto-cjk 1:20220127+repack1-1（字体版本 2.004，SIL OFL 1.1）：

    apt-get install fonts-noto-cjk
    python -m book.tools.generate.font

平时不用运行它。要用到子集以外的字时（tests/test_project.py 会指出是哪个字），
把字加进 EXTRA_HANZI，再做一遍。
"""

import sys
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTCollection, TTFont

SOURCE = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")
TARGET = Path(__file__).parents[3] / "ppo_lib/plotting/fonts/NotoSansSC-subset.otf"
FAMILY = "Noto Sans SC"

# GB2312 二级字里课程用得着的：熵、阈值、博弈、骰子……
EXTRA_HANZI = "熵阈弈诠悖骰榫瞰缰斓踉跄蹚簸漪瑕囫囵睨"
SYMBOLS = (
    "‐‑–—―‘’“”†‡•…‰′″※¹²³⁴"
    "←↑→↓↔↕↖↗↘↙⇐⇒⇔∀∂∃∅∆∇∈∉∏∑−∓∕√∝∞∠∥∧∨∩∪∫∴∵≈≅≠≡≤≥≪≫⊂⊃⊆⊇⊕⊗⊥"
    "①②③④⑤⑥⑦⑧⑨⑩■□▲△▶▷▼▽◀◁◆◇○◎●★☆✓ℓ№℃"
)


def wanted_characters() -> set[str]:
    """ASCII、Latin-1、希腊字母、图里的符号、中文标点与全角字符、GB2312 一级字 3755 个。"""
    chars = {
        chr(c)
        for c in (
            *range(0x20, 0x7F),
            *range(0xA0, 0x100),
            *range(0x391, 0x3A2),
            *range(0x3A3, 0x3AA),
            *range(0x3B1, 0x3CA),
        )
    }
    chars |= set(SYMBOLS) | set(EXTRA_HANZI)
    # GB2312 的 01 区（标点）、03 区（全角 ASCII），以及 16 到 55 区（一级字）
    for zone in (1, 3, *range(16, 56)):
        for position in range(1, 95):
            try:
                chars.add(bytes([0xA0 + zone, 0xA0 + position]).decode("gb2312"))
            except UnicodeDecodeError:
                pass  # 这个码位没有字
    return chars


def open_simplified_chinese(collection: Path) -> TTFont:
    """从字体合集里取出简体中文的那一款。"""
    for font in TTCollection(collection).fonts:
        if font["name"].getDebugName(1) == "Noto Sans CJK SC":
            return font
    raise SystemExit(f"{collection} 里没有 Noto Sans CJK SC")


def rename(font: TTFont) -> None:
    """改成短名字，好让 matplotlib 用 "Noto Sans SC" 找到它。"""
    names = font["name"]
    postscript = FAMILY.replace(" ", "") + "-Regular"
    for name_id, text in {
        1: FAMILY,
        2: "Regular",
        3: postscript,
        4: FAMILY,
        6: postscript,
    }.items():
        names.setName(text, name_id, 3, 1, 0x409)
    cff = font["CFF "].cff
    cff.fontNames[0] = postscript
    cff.topDictIndex[0].FullName = cff.topDictIndex[0].FamilyName = FAMILY


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE
    if not source.exists():
        raise SystemExit(
            f"找不到 {source}。先 apt-get install fonts-noto-cjk，或把路径写在命令后面。"
        )
    font = open_simplified_chinese(source)
    font.recalcTimestamp = False  # 同样的输入做出同样的字节

    options = Options()
    options.hinting = False  # matplotlib 用自己的自动微调
    options.layout_features = ["kern"]
    options.name_languages = [0x409]
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]  # 版权、名字、版本、许可
    options.notdef_outline = True
    subsetter = Subsetter(options)
    wanted = wanted_characters()
    subsetter.populate(unicodes=map(ord, wanted))
    subsetter.subset(font)
    rename(font)
    font.save(TARGET)

    missing = wanted - {chr(c) for c in font.getBestCmap()}
    print(
        f"{TARGET.name}：{TARGET.stat().st_size / 1e6:.2f} MB，{len(font.getBestCmap())} 个字符"
    )
    if missing:
        print("原字体里没有：", "".join(sorted(missing)))


if __name__ == "__main__":
    main()
