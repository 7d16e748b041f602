"""项目自身的约定：依赖锁得住，几处版本一致，仓库里没有本机的痕迹，字体够用。"""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from book.tools.generate.environment import direct_dependencies, locked_versions

ROOT = Path(__file__).parents[1]
LOCKS = [
    "requirements.lock",
    "requirements-build.lock",
    "requirements-colab.lock",
    "requirements-newest.lock",
    "requirements-zig.lock",
    "requirements-cluster.lock",
]
FONT = ROOT / "ppo_lib/plotting/fonts/NotoSansSC-subset.otf"


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip("不在 git 仓库里")
    return [path for name in listing.stdout.splitlines() if (path := ROOT / name).is_file()]


# ---- 依赖 --------------------------------------------------------------------


def test_direct_dependencies_are_locked_within_their_ranges():
    versions = locked_versions()
    for requirement in direct_dependencies():
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} 不在锁文件里，请运行 make lock"
        assert requirement.specifier.contains(version, prereleases=True), requirement.name


def test_chosen_versions_are_the_locked_ones():
    versions = locked_versions()
    for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines():
        if pin := line.partition("#")[0].strip():
            name, version = pin.split("==")
            assert versions[canonicalize_name(name)] == version, f"{name}：请运行 make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_lock_has_hashes_and_no_addresses(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text and " @ " not in text
    assert not re.search(r"^\s*-", text.replace("--hash=sha256:", ""), flags=re.MULTILINE)
    for entry in re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)):
        assert "==" in entry and "--hash=sha256:" in entry, entry


def test_environment_yml_has_the_pins_of_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, _, pip = environment["dependencies"]
    pinned = {
        canonicalize_name(requirement.name): str(requirement.specifier)
        for line in pip["pip"]
        if not line.startswith("-")
        for requirement in [Requirement(line)]
    }
    versions = locked_versions(python.removeprefix("python="))
    direct = {canonicalize_name(r.name) for r in direct_dependencies()}
    assert pinned == {name: f"=={versions[name]}" for name in direct}, "请运行 make lock"
    assert pip["pip"][-1] == "--editable ."


@pytest.mark.slow
def test_library_imports_only_declared_dependencies():
    declared = {canonicalize_name(r.name) for r in direct_dependencies()}
    distributions = packages_distributions()
    for source in (ROOT / "ppo_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            else:
                continue
            for module in (name.partition(".")[0] for name in modules):
                if module in sys.stdlib_module_names or module == "ppo_lib":
                    continue
                owners = {canonicalize_name(name) for name in distributions.get(module, [])}
                assert not owners or owners & declared, (
                    f"{source.relative_to(ROOT)} 用了 {module}，pyproject.toml 里没有写"
                )


# ---- 仓库 --------------------------------------------------------------------


def test_no_machine_paths_or_registry_hosts_in_git():
    # 拆开来写，免得这个文件自己被查到
    folders = "|".join(["work", "root", "home/[a-z]"])
    hosts = "|".join(["py" r"pi\.org", "python" r"hosted\.org", "npm" r"js\.(org|com)"])
    forbidden = re.compile(rf"(?<![\w.~}}*])/({folders})/|({hosts})|deb" r"\.debian\.org")
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # 字体、图片
        match = forbidden.search(text)
        assert match is None, f"{path.relative_to(ROOT)}：{match and match[0]}"


def test_generated_files_are_not_in_git():
    names = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert not names & {".venv", "_build", "_static"}


def test_the_generated_mathjax_is_there_and_is_the_one_the_book_uses():
    from book.tools.generate.mathjax import TARGET

    options = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    path = options["sphinx"]["config"]["mathjax_path"]
    assert TARGET.is_file() and ROOT / "book/static" / path == TARGET


# ---- 字体 --------------------------------------------------------------------


def test_font_is_small_and_known_to_matplotlib_by_name():
    from matplotlib import font_manager

    assert FONT.stat().st_size < 1_000_000
    assert (FONT.parent / "OFL.txt").exists()
    assert font_manager.get_font(str(FONT)).family_name == "Noto Sans SC"


def test_font_covers_every_hanzi_that_code_may_draw():
    """章节的代码单元和 ppo_lib 里出现的汉字，都可能画进图里。"""
    from fontTools.ttLib import TTFont

    covered = {chr(code) for code in TTFont(FONT).getBestCmap()}
    cells = re.compile(r"^```\{code-cell\}.*?^```", flags=re.MULTILINE | re.DOTALL)
    texts = {
        path: path.read_text(encoding="utf-8") for path in (ROOT / "ppo_lib").rglob("*.py")
    }
    for path in (ROOT / "chapters").glob("*.md"):
        texts[path] = "\n".join(cells.findall(path.read_text(encoding="utf-8")))
    for path, text in texts.items():
        missing = set(re.findall("[\u4e00-\u9fff]", text)) - covered
        assert not missing, (
            f"{path.relative_to(ROOT)} 里的 {missing}：加进 book/tools/generate/font.py"
        )


def test_code_is_formatted_and_lint_free():
    """``ruff format`` 和 ``ruff check`` 没有话说；规则在 pyproject.toml。"""
    folders = ["ppo_lib", "benchmarks", "book", "tests"]
    for command in (["format", "--check", "--quiet"], ["check", "--quiet"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *folders],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_processes_take_turns_at_the_book(tmp_path):
    """几个进程一起要书时，只有一个在做，后来的读到它留下的记录。"""
    path = tmp_path / "record.json"
    turn = (
        "import sys, time; from pathlib import Path; from turns import one_at_a_time\n"
        "with one_at_a_time(Path(sys.argv[1])) as record:\n"
        "    turns = record.get('turns', 0); time.sleep(0.1); record['turns'] = turns + 1"
    )
    command = [sys.executable, "-c", turn, str(path)]
    started = [subprocess.Popen(command, cwd=ROOT / "tests") for _ in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    assert json.loads(path.read_text(encoding="utf-8")) == {"turns": 4}
