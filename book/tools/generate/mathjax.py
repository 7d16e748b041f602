"""由 npm 包 mathjax 做出 book/static/mathjax/：照 tex-chtml.js 的样子，但不带右键菜单，字体换成 woff2。

    python -m book.tools.generate.mathjax

菜单占了一百多 KB，用处却不大：里面有几项要的文件没有随书发布。各个部件接在一起，只改了字体的格式；
字体里的字一个不少，换成 woff2 约小两成。只在换 MathJax 的版本时才要运行；要用 npm。
"""

import base64
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from fontTools.ttLib import TTFont

FOLDER = Path(__file__).parents[2] / "static/mathjax"
TARGET = FOLDER / "tex-chtml-nomenu.js"
FONTS = "output/chtml/fonts/woff-v2"
PACKAGE = "mathjax@3.2.2"
INTEGRITY = (
    "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw=="
)
PARTS = ["core", "input/tex", "output/chtml", "output/chtml/fonts/tex", "a11y/assistive-mml"]


def combine(folder: Path) -> str:
    """startup 在前；告诉它其余的部件已经在了，不必去取。"""

    def read(part: str) -> str:
        return (folder / f"{part}.js").read_text(encoding="utf-8")

    names = ", ".join(f'"{part}"' for part in PARTS)
    told = f"MathJax.loader.preLoad({names});"
    script = "\n;".join([read("startup"), told, *map(read, PARTS)]) + "\n"
    return script.replace('.woff") format("woff")', '.woff2") format("woff2")')


def convert_fonts(source: Path, target: Path) -> None:
    """每个 woff 字体换成同名的 woff2，字不增不减。"""
    for old in target.glob("*.woff*"):
        old.unlink()
    for path in sorted(source.glob("*.woff")):
        font = TTFont(path, recalcTimestamp=False)
        font.flavor = "woff2"
        font.save(target / f"{path.stem}.woff2")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pack = ["npm", "pack", PACKAGE, "--silent"]
        name = subprocess.run(pack, cwd=folder, check=True, capture_output=True, text=True)
        archive = Path(folder) / name.stdout.split()[-1]
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != INTEGRITY:
            raise SystemExit(f"{PACKAGE} 的散列不对：{digest}")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        package = Path(folder) / "package/es5"
        TARGET.write_text(combine(package), encoding="utf-8")
        convert_fonts(package / FONTS, FOLDER / FONTS)
    print(f"写出 {TARGET.name}，{TARGET.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
