"""由 pyproject.toml 与 requirements.lock 写出 environment.yml（给 Binder 和 conda 用）。

pyproject.toml 说需要哪些包，锁文件说它们的版本。`make lock` 会运行它。
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PYTHON = "3.11"
HEADER = """\
# 由 `make lock` 生成，不要手改：版本与 requirements.lock 一致。
# Binder 用它；本机请用 make book 或 make lab。
name: ppo-lib
channels:
  - conda-forge
dependencies:
  - python={python}
  - pip
  - pip:
"""


def direct_dependencies() -> list[Requirement]:
    """pyproject.toml 里直接写明的每个依赖，含各个可选组，按名字排序。"""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return sorted(
        (Requirement(line) for group in groups for line in group), key=lambda r: r.name
    )


def locked_versions(python: str = PYTHON) -> dict[str, str]:
    """锁文件在某个 Python 版本的 Linux 上选中的版本。"""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }
    versions = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            requirement = Requirement(line.removesuffix("\\"))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                (specifier,) = requirement.specifier
                versions[canonicalize_name(requirement.name)] = specifier.version
    return versions


def render() -> str:
    versions = locked_versions()
    pins = []
    for requirement in direct_dependencies():
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        version = versions[canonicalize_name(requirement.name)]
        pins.append(f"      - {requirement.name}{extras}=={version}\n")
    return HEADER.format(python=PYTHON) + "".join(pins) + "      - --editable .\n"


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(render(), encoding="utf-8", newline="\n")
