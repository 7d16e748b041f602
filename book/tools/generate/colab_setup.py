"""生成的 .ipynb 的第一格：在 Colab 上装好 ppo_lib，别处什么也不装；说出在什么设备上、要多久。

它只补 Colab 缺的包，不动 Colab 自己的 jax：那个 jax 与 Colab 的 CUDA 插件是配好的。
"""

import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[3]

SETUP_TAG = "colab-setup"
"""第一格的标记。只有 .ipynb 里有这一格。"""

SETUP = '''\
# @title 准备环境：请先运行这一格（Colab 上要一两分钟；装好了课程的机器上什么也不装）
import importlib, json, os, subprocess, sys
from importlib import metadata
from pathlib import Path

SOURCE = ""  # ppo_lib 从哪里安装
TRIED = ""  # Colab 缺的包，试过的版本
CHAPTER = ""


def _pip(*packages):
    """只装这几个包，不管它们的依赖，所以这里已有的包（尤其是 jax）都不会动。返回错误信息。"""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *packages]
    done = subprocess.run(pip, capture_output=True, text=True)
    return (done.stderr[-2000:] or "（没有说原因）") if done.returncode else ""


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _missing(packages):
    """packages 要用而这里没有的包。版本不合的只提醒，不替换：Colab 的 jax 和它的显卡插件是配好的。"""
    from packaging.requirements import Requirement

    for package in packages:
        for need in map(Requirement, metadata.requires(package) or []):
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            have = _version(need.name)
            if have is None:
                yield need
            elif package == "ppo-lib" and not need.specifier.contains(have, prereleases=True):
                print(f"注意：{need.name} 是 {have}，课程要的是 {need.specifier}；没有替换它。")


def _install():
    print("正在安装课程要用、而这里没有的包……")
    error, new = "", ["ppo-lib"]
    if _version("ppo-lib") is None:
        if not SOURCE:
            raise RuntimeError(
                "这本笔记本还不知道到哪里去取 ppo_lib。请把上面的 SOURCE 改成仓库的地址，例如 "
                "SOURCE = 'git+https://github.com/用户/仓库'，再运行这一格。（想一次改好所有的笔记本："
                "在 pyproject.toml 的 [project.urls] 里写上 Repository，然后 make notebooks。）"
            ) from None
        error = _pip(SOURCE)
    tried = {pin.split("==")[0]: pin for pin in TRIED.split()}
    while not error and (missing := list(_missing(new))):
        # 先用试过的版本；装不上，再用合要求的最新版本
        error = _pip(*(tried.get(need.name, str(need)) for need in missing))
        error = error and _pip(*map(str, missing))
        new = [need.name for need in missing]
    if error:
        raise RuntimeError(
            "没有装好。请先检查网络，再运行这一格；还是不行，就重启运行时，从这一格重来。"
            f"pip 说：\\n{error}"
        ) from None
    importlib.invalidate_caches()


try:
    import ppo_lib
except ImportError:
    _install()
    import ppo_lib


def _report():
    """说出用的是什么设备，这一章大约要多久。"""
    import jax

    device = jax.devices()[0]
    kind = "cpu" if device.platform == "cpu" else "gpu"
    name = f"{os.cpu_count()} 个核" if kind == "cpu" else device.device_kind
    print(f"设备：{device.platform.upper()}（{name}），jax {jax.__version__}")
    timings = Path(ppo_lib.__file__).with_name("course") / "timings.json"
    measured = json.loads(timings.read_text(encoding="utf-8")).get(CHAPTER, {}).get(kind)
    if measured:
        print(f"这一章从头到尾约 {measured['seconds']} 秒（在 {measured['device']}上量的，这里会有出入）")
    else:
        print(f"这一章在 {kind.upper()} 上要多久，还没有量过")
    if kind == "cpu" and "google.colab" in sys.modules:
        print("想用 GPU：菜单“代码执行程序”→“更改运行时类型”，选好后从这一格重新运行")


_report()'''


def repository() -> str:
    """课程代码仓库的网址，写在 pyproject.toml 的 [project.urls] Repository；没有写就是空的。"""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "").rstrip("/")


def tried_versions() -> list[str]:
    """第一格要补上的包和试过的版本：requirements-colab.in 的后半部分。"""
    text = (ROOT / "requirements-colab.in").read_text(encoding="utf-8")
    _, _, added = text.partition("# ---- ")
    return [line for line in added.splitlines()[1:] if line and not line.startswith("#")]


def setup_source(chapter: str) -> str:
    """第一格的代码。"""
    source = f"git+{repository()}" if repository() else ""
    values = {"SOURCE": source, "TRIED": " ".join(tried_versions()), "CHAPTER": chapter}
    text = SETUP
    for name, value in values.items():
        text = text.replace(f'\n{name} = ""', f'\n{name} = "{value}"', 1)
    return text


def setup_cell(chapter: str):
    cell = nbformat.v4.new_code_cell(setup_source(chapter))
    cell.metadata = nbformat.from_dict({"tags": [SETUP_TAG, "hide-input"]})
    return cell
