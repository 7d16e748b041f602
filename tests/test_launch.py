"""去别处运行：每一章都有三个链接，指对地方；不知道仓库在哪里，就一个也没有。"""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from book.tools.extension import launch as book_launch

ROOT = Path(__file__).parents[1]
URL = "https://github.com/someone/ppo-book"
CHAPTER = "chapters/07_clipping"


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://github.com/someone/ppo.git", "https://github.com/someone/ppo"),
        ("git@github.com:someone/ppo.git", "https://github.com/someone/ppo"),
        ("https://github.com/someone/ppo/", "https://github.com/someone/ppo"),
        ("https://gitlab.com/someone/ppo", None),
        ("", None),
    ],
)
def test_github_url(remote, url):
    assert book_launch.github_url(remote) == url


def test_links_lead_to_the_notebook_of_the_chapter():
    assert book_launch.launch_links(CHAPTER, URL) == {
        "Colab": "https://colab.research.google.com/github/someone/ppo-book/blob/main/"
        "chapters/07_clipping.ipynb",
        "Binder": "https://mybinder.org/v2/gh/someone/ppo-book/main"
        "?urlpath=lab/tree/chapters/07_clipping.ipynb",
        "魔搭 ModelScope": "https://modelscope.cn/notebook/share/github/someone/ppo-book/blob/"
        "main/chapters/07_clipping.ipynb",
    }


def test_every_chapter_has_the_notebook_that_the_links_name():
    for source in (ROOT / "chapters").glob("*.md"):
        assert source.with_suffix(".ipynb").exists(), source.name


def test_the_repository_is_written_in_one_place(monkeypatch):
    """环境变量临时换一个；否则是 pyproject.toml 里写的；再否则是 git 的远端。"""
    monkeypatch.setenv("BOOK_REPOSITORY", URL)
    assert book_launch.find_repository() == URL
    monkeypatch.delenv("BOOK_REPOSITORY")
    monkeypatch.setattr(book_launch, "repository", lambda: "https://github.com/other/ppo")
    assert book_launch.find_repository() == "https://github.com/other/ppo"
    monkeypatch.setattr(book_launch, "repository", lambda: "")
    monkeypatch.setattr(
        book_launch.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="")
    )
    assert book_launch.find_repository() is None


def test_the_setup_cell_of_the_notebooks_reads_the_same_place():
    from book.tools.generate import colab_setup

    assert book_launch.repository is colab_setup.repository


def test_the_default_repository_of_jupyter_book_is_dropped(monkeypatch):
    monkeypatch.setenv("BOOK_REPOSITORY", "https://example.com/x")
    options = {"repository_url": "https://github.com/not/ours", "launch_buttons": {}}
    config = SimpleNamespace(html_theme_options=options)
    book_launch.set_repository(None, config)
    assert config.book_repository == "" and config.html_theme_options == {}


# ---- 真的做一本小书


CONF = """\
import sys
sys.path.insert(0, %r)
extensions = ["myst_parser", "book.tools.extension.launch"]
html_theme = "basic"
language = "zh_CN"
html_theme_options = {}
"""


def make_book(folder: Path, environment: dict) -> dict[str, str]:
    """做一本三页的书：{页名: 网页}。"""
    pages = {
        "index": "# 封面\n\n```{toctree}\nbook/usage\nchapters/01_overview\n```\n",
        "book/usage": "# 如何使用\n\n(elsewhere)=\n## 在别处运行\n\n各处的限制。\n",
        "chapters/01_overview": "# 项目全景图\n\n第一段。\n",
    }
    for name, text in pages.items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "conf.py").write_text(CONF % str(ROOT), encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", str(folder), str(folder / "html")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return {name: (folder / f"html/{name}.html").read_text("utf-8") for name in pages}


def foreign_links(page: str) -> list[str]:
    hosts = r"https://(?:colab\.research\.google\.com|mybinder\.org|modelscope\.cn)/[^\"]*"
    return re.findall(f'<a href="({hosts})"', page)


@pytest.mark.slow
def test_chapters_have_three_links_and_other_pages_none(tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_REPOSITORY", f"{URL}.git")
    pages = make_book(tmp_path, dict(book_launch.os.environ))
    chapter = pages["chapters/01_overview"]
    links = book_launch.launch_links("chapters/01_overview", URL)
    assert foreign_links(chapter) == list(links.values())
    assert 'href="../book/usage.html#elsewhere"' in chapter
    assert 'id="elsewhere"' in pages["book/usage"]
    heading, row, paragraph = (
        chapter.index(text) for text in ("<h1>", "ppo-launch", "第一段。")
    )
    assert heading < row < paragraph
    assert foreign_links(pages["book/usage"]) == foreign_links(pages["index"]) == []
    for page in pages.values():  # 链接要读者自己点，页面不去取
        assert not re.findall(r'<(?:img|script|link|iframe)\b[^>]*"https?://', page)


def children_with_a_row(url):
    """一章的章名、卡片、正文，加过那一行以后的各块。"""
    from docutils import nodes

    title = nodes.title("", "裁剪")
    card, text = (
        nodes.container(classes=["cell", "tag_remove-input"]),
        nodes.paragraph("", "一"),
    )
    section = nodes.section("", title, card, text)
    page = nodes.document("", "")
    page += section
    builder = SimpleNamespace(format="html", get_relative_uri=lambda *_: "../book/usage.html")
    app = SimpleNamespace(builder=builder, config=SimpleNamespace(book_repository=url))
    book_launch.add_launch_row(app, page, CHAPTER)
    return [type(child).__name__ for child in section]


def test_the_row_comes_after_the_card_of_the_chapter():
    assert children_with_a_row(URL) == ["title", "container", "raw", "paragraph"]


def test_without_a_repository_there_is_no_row():
    assert children_with_a_row("") == ["title", "container", "paragraph"]


def test_usage_tells_the_limits_of_every_host():
    usage = (ROOT / "book/usage.md").read_text(encoding="utf-8")
    _, section = usage.split("(elsewhere)=\n## 在别处运行\n", 1)
    section = section.split("\n## ", 1)[0]
    for host in book_launch.HOSTS:
        assert host.name in section
    for limit in ("账号", "GPU", "内存", "时限", "存", "试过"):
        assert limit in section


# ---- Binder 要的


def test_environment_yml_is_what_binder_needs():
    """repo2docker 在仓库根上找 environment.yml，用它更新自己的环境，名字不起作用。

    它要见到以“.”开头的本地路径，才会先放进整个仓库，再装环境；否则 ppo_lib 无处可装。
    """
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    python, pip, section = environment["dependencies"]
    assert re.fullmatch(r"python=3\.(1[1-3])", python) and pip == "pip"
    flag, path = section["pip"][-1].split(None, 1)
    assert flag in ("-e", "--editable") and path.startswith(".")
    assert any(line.startswith("jupyterlab==") for line in section["pip"])
    # 这几样会让 repo2docker 不看 environment.yml，或不看根上的这一份
    for other in ("Dockerfile", "binder", ".binder"):
        assert not (ROOT / other).exists()
