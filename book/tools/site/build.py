"""做书：运行每一章（结果有缓存），写出静态网页到 _build/html。有任何警告就失败。

python -m book.tools.site.build           做书
python -m book.tools.site.build --zip     做书，再打成 _build/ppo-book.zip，解开就能读
"""

import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
HTML = ROOT / "_build/html"
ZIP = ROOT / "_build/ppo-book.zip"

FRONT_DOOR = """<!DOCTYPE html>
<html lang="zh-CN">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>PPO 从 0 到 100%</title>
<link rel="icon" href="_static/favicon.svg" type="image/svg+xml">
<meta http-equiv="refresh" content="0; url=book/index.html">
</head>
<body><main><h1>PPO 从 0 到 100%</h1><p><a href="book/index.html">翻开封面</a></p></main></body>
</html>
"""
"""网址不写页名时看到的页，马上转到封面。"""


def build(quiet: bool = False) -> None:
    """做整本书。

    每次都从头读所有页面（``--all``）：增量构建不会重报旧警告，也看不出 ppo_lib 变了。
    慢的只有运行各章，而那一步由 ppo_book.py 按 ppo_lib 的内容缓存。

    Raises:
        subprocess.CalledProcessError: 某一章运行出错，或构建有警告。
    """
    shutil.rmtree(HTML, ignore_errors=True)
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["--all", "--warningiserror", "--keep-going", *(["--quiet"] if quiet else [])]
    subprocess.run([*jupyter_book, "build", str(ROOT), *options], cwd=ROOT, check=True)
    (HTML / "index.html").write_text(FRONT_DOOR, encoding="utf-8")
    (HTML / ".nojekyll").touch()  # 否则 GitHub Pages 会略过 _static


def pack(html: Path = HTML, target: Path = ZIP) -> Path:
    """把网页打成一个 zip，都在文件夹 ppo-book 里。同样的网页打成同样的字节。"""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(html.rglob("*")):
            if path.is_file():
                name = f"ppo-book/{path.relative_to(html).as_posix()}"
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    return target


if __name__ == "__main__":
    start = time.perf_counter()
    try:
        build(quiet="--quiet" in sys.argv)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    print(
        f"书做好了（{time.perf_counter() - start:.0f} 秒）：{HTML.relative_to(ROOT)}/index.html"
    )
    if "--zip" in sys.argv:
        size = pack().stat().st_size / 1e6
        print(f"打包好了（{size:.1f} MB）：{ZIP.relative_to(ROOT)}，解开后打开 index.html")
