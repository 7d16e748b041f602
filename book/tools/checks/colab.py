"""在 Colab 的版本上（CPU）运行各章的 .ipynb。

    python -m book.tools.checks.colab              全部
    python -m book.tools.checks.colab 01           只查一章
    python -m book.tools.checks.colab --setup-only 只运行第一章的第一格：备好环境，给 make test 用

先按 requirements-colab.lock 装出一个像 Colab 的环境，放在 _build/colab：有 Colab 自带的包，没有
ppo_lib，也没有 Colab 缺的那几个。然后从头运行笔记本，由它的第一格自己补齐。与在 Colab 上相比，
只有一处不同：ppo_lib 取自工作目录，不取自网上的仓库。有一格出错，或 Colab 自带的包被换了版本，就失败。
做好的环境是一个名叫 colab 的内核（JUPYTER_PATH=_build/colab），make test 再用它运行全部各章。
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from packaging.utils import canonicalize_name

from book.tools.generate import colab_setup, plain_markdown

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "_build/colab"
LOCK = ROOT / "requirements-colab.lock"
PYTHON = FOLDER / "venv/bin/python"
COLAB_PYTHON = "3.13"
UV = [sys.executable, "-m", "uv", "--quiet"]


# ---- 环境 --------------------------------------------------------------------


def find_python() -> str:
    """与 Colab 相同的 Python；这台机器上没有，就用当前的。"""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    names = [f"python{COLAB_PYTHON}", *pyenv.glob(f"versions/{COLAB_PYTHON}.*/bin/python")]
    for name in names:
        try:
            subprocess.run([name, "-c", "import venv"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue  # 没有，或者只是 pyenv 的空壳
        return str(name)
    return sys.executable


def colab_lock() -> str:
    """锁文件里 Colab 自带的那些包。第一格要补的，留给第一格。"""
    added = {canonicalize_name(pin.split("==")[0]) for pin in colab_setup.tried_versions()}
    entries = re.split(r"\n(?=[a-zA-Z])", LOCK.read_text(encoding="utf-8"))
    names = [canonicalize_name(entry.partition("==")[0]) for entry in entries]
    return "\n".join(entry for name, entry in zip(names, entries) if name not in added)


def make_environment() -> None:
    """从头做环境，好让第一格每次都真的去装。"""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = FOLDER / "colab.lock"
    lock.write_text(colab_lock(), encoding="utf-8")
    install = [*UV, "pip", "install", "--no-deps", "--require-hashes", "--requirement", lock]
    venv = [*UV, "venv", "--clear", "--python", find_python(), PYTHON.parents[1]]
    subprocess.run(venv, check=True)
    subprocess.run([*install, "--python", PYTHON], check=True)


def versions() -> dict[str, str]:
    """环境里每个包的版本。"""
    listing = subprocess.run(
        [*UV, "pip", "list", "--format", "json", "--python", PYTHON],
        check=True,
        capture_output=True,
        text=True,
    )
    return {package["name"]: package["version"] for package in json.loads(listing.stdout)}


def build_wheel() -> Path:
    """把工作目录里的 ppo_lib 打成一个包。"""
    out = FOLDER / "dist"
    shutil.rmtree(out, ignore_errors=True)
    build = [*UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", out, ROOT], check=True)
    (wheel,) = out.glob("*.whl")
    return wheel


def add_kernel() -> None:
    """让 nbclient 找得到那个环境的内核。"""
    folder = FOLDER / "kernels/colab"
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": command, "display_name": "Colab", "language": "python"}
    # 不从别处借 ppo_lib；不要调试器的一条无关的警告；源码编译一次就存下，各个内核不必都从头编译
    kernel["env"] = {
        "PYTHONPATH": "",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    (folder / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
    os.environ["JUPYTER_PATH"] = str(FOLDER)


# ---- 运行 --------------------------------------------------------------------


def with_source(notebook, source: str):
    """把第一格里 ppo_lib 的来处换成 ``source``，别的不动。"""
    setup = notebook.cells[0]
    setup.source, count = re.subn(
        '^SOURCE = ".*"', f"SOURCE = {source!r}", setup.source, flags=re.MULTILINE
    )
    if count != 1:
        raise ValueError("第一格里没有 SOURCE 这一行，请运行 make notebooks")
    return notebook


def run_chapter(path: Path, wheel: Path, last: int | None = None) -> None:
    """运行一章的前 last 格（缺省是全部），当前目录是空的：和 Colab 上一样，旁边没有 ppo_lib。"""
    notebook = with_source(nbformat.read(path, as_version=4), str(wheel))
    notebook.cells = notebook.cells[:last]
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, kernel_name="colab", timeout=900, resources=resources)
        client.execute()
    first = "".join(output.get("text", "") for output in notebook.cells[0].outputs)
    print(first, end="")
    problems = [*complaints(notebook)]
    if problems:
        raise RuntimeError("\n".join(problems))


def complaints(notebook):
    """输出里不该有的东西：缺字的警告，Colab 不认得的 MyST。"""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("text", "")
            if output.get("name") == "stderr" and "missing from" in text:
                yield f"图里缺字：{text}"
            markdown = output.get("data", {}).get("text/markdown", "")
            for line in plain_markdown.leftovers(markdown):
                yield f"输出里有 Colab 不认得的写法：{line}"


def changed_versions(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [
        f"{name} {version} 变成了 {after.get(name)}"
        for name, version in before.items()
        if after.get(name) != version
    ]


def chosen_chapters(wanted: list[str]) -> list[Path]:
    """命令行上点名的章；没有点名，就是全部。"""
    paths = sorted((ROOT / "chapters").glob("*.ipynb"))
    if unknown := set(wanted) - {path.name[:2] for path in paths}:
        sys.exit("没有这几章：" + "、".join(sorted(unknown)))
    return [path for path in paths if not wanted or path.name[:2] in wanted]


def main() -> None:
    start = time.perf_counter()
    arguments = sys.argv[1:]
    setup_only = arguments == ["--setup-only"]
    chapters = chosen_chapters(["01"] if setup_only else arguments)
    make_environment()
    add_kernel()
    wheel, before = build_wheel(), versions()
    print(
        f"环境做好了：{len(before)} 个包，用了 {time.perf_counter() - start:.0f} 秒", flush=True
    )
    for path in chapters:
        run_chapter(path, wheel, last=1 if setup_only else None)
        print(f"{path.name}：通过，至此 {time.perf_counter() - start:.0f} 秒", flush=True)
    after = versions()
    if changed := changed_versions(before, after):
        sys.exit("第一格换掉了 Colab 自带的包：" + "；".join(changed))
    for pin in colab_setup.tried_versions():
        name, version = pin.split("==")
        if after.get(canonicalize_name(name)) != version:
            sys.exit(f"{name} 装成了 {after.get(name)}，不是试过的 {version}")
    print("第一格装上了：" + "、".join(sorted(set(after) - set(before))))


if __name__ == "__main__":
    main()
