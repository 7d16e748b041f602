"""这本书用的 Sphinx 扩展，由 _config.yml 的 local_extensions 载入。

它做的事都是配置文件自己办不到的：源文件里汉字间的换行不变成空格；整个折起来的一格，折叠的标签是它的第一行注释；
章节里可以写检查清单。另外五件各有一个文件：中文搜索（search.py），检查清单和进度（progress.py），
去别处运行的链接（launch.py），还没运行完的页（waiting.py），做完后减重（slim.py）。
"""

import dataclasses
import re

import myst_nb.core.read
from docutils import nodes
from sphinx.application import Sphinx

from book.tools.extension import launch, progress, search, slim, waiting

CJK = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef\u2018-\u201d\u2014\u2026]")


def join_chinese_lines(app: Sphinx, doctree: nodes.document) -> None:
    """源文件里一段话可以分行写；两个汉字（或全角标点）之间的换行不该变成空格。"""
    for parent in doctree.findall(nodes.TextElement):
        for place in reversed(range(1, len(parent) - 1)):
            around = parent[place - 1].astext()[-1:], parent[place + 1].astext()[:1]
            if parent[place].astext() == "\n" and all(map(CJK.match, around)):
                del parent[place]


def label_folded_cells(app: Sphinx, doctree: nodes.document) -> None:
    """整个折起来的一格，标签写它的第一行注释：“参考答案”不该也叫“展开代码”。"""
    for cell in doctree.findall(nodes.container):
        if cell.get("hide_mode") == "all":
            code = next(cell.findall(nodes.literal_block)).astext()
            if label := re.match(r"# (?:@title )?(.+)", code):
                cell["prompt_show"], cell["prompt_hide"] = label[1], "收起"


create_md_parser = myst_nb.core.read.create_md_parser


def create_parser_without_tasklists(config, renderer):
    """myst-nb 把一章切成单元时只解析到段落，任务列表的插件却要用行内的内容，两者相遇会崩溃。

    切单元用不着任务列表，所以只在那一步不装这个插件；正文的渲染照旧。
    """
    extensions = set(config.enable_extensions) - {"tasklist"}
    return create_md_parser(dataclasses.replace(config, enable_extensions=extensions), renderer)


def setup(app: Sphinx) -> dict:
    myst_nb.core.read.create_md_parser = create_parser_without_tasklists
    app.connect("doctree-read", join_chinese_lines)
    app.connect("doctree-read", label_folded_cells)
    for part in (search, progress, launch, waiting, slim):
        part.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
