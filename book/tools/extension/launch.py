"""每一章开头的“在别处运行”：去 Colab、Binder 和魔搭打开这一章的笔记本。各处的限制写在《如何使用》里。

仓库的地址只写在一处：pyproject.toml 的 [project.urls] Repository（环境变量 BOOK_REPOSITORY 可以临时换一个，
都没有时看 git 的远端）。不在 GitHub 上、或者还不知道在哪里，就没有这一行，免得链接指向别处。
"""

import html
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from book.tools.generate.colab_setup import repository

ROOT = Path(__file__).parents[3]
BRANCH = "main"


class Host(NamedTuple):
    """一个能打开 GitHub 上的笔记本的地方。"""

    name: str
    address: str
    note: str


HOSTS = (
    Host(
        "Colab",
        "https://colab.research.google.com/github/{repository}/blob/{branch}/{path}",
        "要 Google 账号，可以用 GPU",
    ),
    Host(
        "Binder",
        "https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{path}",
        "不要账号，内存小，第一次要等很久",
    ),
    Host(
        "魔搭 ModelScope",
        "https://modelscope.cn/notebook/share/github/{repository}/blob/{branch}/{path}",
        "在中国境内，要魔搭和阿里云账号，可以用 GPU",
    ),
)


# ---- 仓库在哪里


def github_url(remote: str) -> str | None:
    """把 git 远端地址变成 GitHub 网址；不在 GitHub 上就返回 None。"""
    match = re.fullmatch(
        r"(?:https://|git@|ssh://git@)github\.com[:/](.+?)(?:\.git)?/?", remote
    )
    return f"https://github.com/{match[1]}" if match else None


def find_repository() -> str | None:
    """依次看环境变量 BOOK_REPOSITORY、pyproject.toml、git 的远端 origin。"""
    git = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    return github_url(
        os.environ.get("BOOK_REPOSITORY")
        or repository()
        or subprocess.run(git, capture_output=True, text=True).stdout.strip()
    )


def set_repository(app: Sphinx, config: Config) -> None:
    """记下仓库的地址。Jupyter Book 默认填的是它自己的仓库，去掉。"""
    config.book_repository = find_repository() or ""
    for option in ("repository_url", "launch_buttons"):
        config.html_theme_options.pop(option, None)


# ---- 每一章的一行


def launch_links(docname: str, url: str) -> dict[str, str]:
    """一章在各处的网址，``{名字: 网址}``。url 是仓库的 GitHub 网址。"""
    place = {
        "repository": url.removeprefix("https://github.com/"),
        "branch": BRANCH,
        "path": f"{docname}.ipynb",
    }
    return {host.name: host.address.format(**place) for host in HOSTS}


def launch_row(docname: str, url: str, limits: str) -> str:
    """“在别处运行”那一行。limits 是讲各处限制的那一节的网址。"""
    notes = {host.name: host.note for host in HOSTS}
    items = "".join(
        f'<li><a href="{html.escape(link)}" title="{notes[name]}">{name}</a></li>'
        for name, link in launch_links(docname, url).items()
    )
    more = f'<li><a href="{limits}">各处的限制</a></li>'
    return f'<div class="ppo-launch"><span>在别处运行：</span><ul>{items}{more}</ul></div>'


def add_launch_row(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """放在章名之后；紧跟着章名的是这一章的卡片，就放在卡片之后。"""
    url = app.config.book_repository
    if not url or not docname.startswith("chapters/") or app.builder.format != "html":
        return
    section = next(doctree.findall(nodes.section))
    place = section.first_child_matching_class(nodes.title) + 1
    if place < len(section) and "cell" in section[place].get("classes", ()):
        place += 1
    limits = app.builder.get_relative_uri(docname, "book/usage") + "#elsewhere"
    section.insert(place, nodes.raw("", launch_row(docname, url, limits), format="html"))


def setup(app: Sphinx) -> dict:
    app.add_config_value("book_repository", "", "html", str)
    app.connect("config-inited", set_repository)
    app.connect("doctree-resolved", add_launch_row)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
