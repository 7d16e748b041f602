"""做书：运行每一章（结果有缓存），写出静态网页到 _build/html。有任何警告就失败。"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build/html"


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


if __name__ == "__main__":
    start = time.perf_counter()
    try:
        build(quiet="--quiet" in sys.argv)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    print(
        f"书做好了（{time.perf_counter() - start:.0f} 秒）：{HTML.relative_to(ROOT)}/index.html"
    )
