"""讲课用的幻灯片：从做好的网页里摘出来，不联网就能放，图和小组件都是活的。

    python -m book.tools.teach.slides          （先 make html）→ _build/teacher/slides/index.html

一章一个文件，一屏一张：标题、这一章的目标、公式、图、表、小组件、小测验一题一张、小结，都是那一页自己的，连同它前面
引出它的一段。没有用 nbconvert 的 reveal.js：它要另带一份 reveal，从笔记本重做一遍，公式、图和小组件的样式都得再配；
这里只多一个样式和一个脚本（滚动吸附），其余就是书。
"""

import copy
import html
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Template

from bs4 import BeautifulSoup, Tag

from book.tools.teach.table import html_page

ROOT = Path(__file__).parents[3]
HTML = ROOT / "_build/html"
OUT = ROOT / "_build/teacher/slides"
HERE = Path(__file__).parent

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"

SKIPPED = ("练习", "本章检查清单")
"""不放上去的节：学生自己做的。"""

SHOWN = f"svg[role=img], img, table, script[type='{VIEW}']"
"""单元格的输出里有这些，才放上去；代码和打印的字不放。"""

SCRIPTS = ("window.MathJax", "mathjax/", "widgets.js")
"""网页的脚本里要留下的。"""

PAGE = Template("""<!doctype html>
<html lang="zh-CN" data-theme="light">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>$title</title>
$head
<style>$style</style></head>
<body class="bd-article">
$slides
<script type="$kind">$state</script>
<script>$script</script>
</body></html>
""")


def worth_showing(block: Tag) -> Tag | None:
    """一块里能放上去的部分；没有就是 None。"""
    classes = block.get("class", [])
    if "cell" in classes:
        output = block.find("div", class_="cell_output")
        if output is None or output.find_parent("details") or not output.select_one(SHOWN):
            return None
        return output
    figure = block.name in ("table", "ol", "blockquote", "figure", "img") or "math" in classes
    return block if figure or "pst-scrollable-table-container" in classes else None


def lead(block: Tag) -> list[Tag]:
    """引出这一块的那一段：紧挨在它前面。"""
    before = block.find_previous_sibling()
    return [before] if before is not None and before.name == "p" else []


def blocks(section: Tag, title: Tag) -> Iterator[tuple[Tag, list[Tag]]]:
    """一节里的各张：标题和内容。小节用它自己的标题。"""
    name = title.find(string=True, recursive=False) or ""
    for block in section.find_all(True, recursive=False):
        if block.name == "section":
            yield from blocks(block, block.find(["h3", "h4"]))
        elif name.strip() == "小结" and block.name == "ul":
            yield title, [block]
        elif (shown := worth_showing(block)) is not None:
            yield title, [*lead(block), shown]


def slides(article: Tag) -> Iterator[tuple[Tag, list[Tag]]]:
    """一章的各张：第一张是章名和目标，然后一节节来；没有图表的节，只有一张标题和它的第一段。"""
    chapter = article.find("section")
    top = chapter.find("h1")
    yield top, [*chapter.find_all(["div", "p", "ul"], recursive=False)][:4]
    for section in chapter.find_all("section", recursive=False):
        title = section.find("h2")
        if title.find(string=True, recursive=False).strip() in SKIPPED:
            continue
        found = list(blocks(section, title))
        yield from found or [(title, section.find_all("p", recursive=False)[:1])]


def one_question_each(model: str, states: dict) -> list[str]:
    """一个小测验拆成一题一个；返回各个的编号，加进 states。别的小组件原样。"""
    questions = states[model]["state"].get("questions", [])
    for i, question in enumerate(questions):
        states[f"{model}-{i}"] = part = copy.deepcopy(states[model])
        part["state"] |= {"questions": [question], "quiz_id": f"slide-{i}"}
    return [f"{model}-{i}" for i in range(len(questions))] or [model]


def plain(tag: Tag) -> str:
    """放上去的样子：没有链接、折叠着的和打印的字。"""
    tag = copy.copy(tag)
    for link in tag.find_all("a", class_="headerlink"):
        link.decompose()
    for gone in tag.select("details, .output.stream, .output.text_plain"):
        gone.decompose()
    for link in tag.find_all("a"):
        if not link.find_parent("svg"):
            link.unwrap()
    return str(tag)


def deck(page: str) -> str:
    """做好的一章网页 → 它的幻灯片。"""
    soup = BeautifulSoup(page, "html.parser")
    saved = json.loads(
        (soup.find("script", type=STATE) or Tag(name="x")).string or '{"state": {}}'
    )
    states, used, made = saved["state"], [], []
    for title, content in slides(soup.find("article")):
        views = [view for tag in content for view in tag.find_all("script", type=VIEW)]
        parts = [[]]
        if len(views) == 1:
            models = one_question_each(json.loads(views[0].string)["model_id"], states)
            parts = [[model] for model in models]
        for models in parts:
            if models:
                views[0].string = json.dumps({"model_id": models[0]})
            used += [json.loads(view.string)["model_id"] for view in views]
            body = "".join(map(plain, content))
            made.append(f'<section class="slide">{plain(title)}<div class="content">{body}</div></section>')  # fmt: skip
    wanted, waiting = {}, used
    while waiting:  # 框里的小组件也要
        name = waiting.pop().removeprefix("IPY_MODEL_")
        wanted[name] = states[name]
        waiting += states[name]["state"].get("children", [])
    scripts = [
        x for x in soup.head.find_all("script") if any(mark in str(x) for mark in SCRIPTS)
    ]
    head = "\n".join(map(str, [*soup.head.find_all("link", rel="stylesheet"), *scripts]))
    state = json.dumps(saved | {"state": wanted}, ensure_ascii=False).replace("</", "<\\/")
    return PAGE.substitute(
        title=html.escape(soup.title.get_text()),
        head=head.replace("../_static/", "_static/"),
        style=(HERE / "slides.css").read_text(encoding="utf-8"),
        script=(HERE / "slides.js").read_text(encoding="utf-8"),
        slides="\n".join(made),
        state=state,
        kind=STATE,
    )


def write(source: Path = HTML, target: Path = OUT) -> list[Path]:
    """写出各章的幻灯片和目录；返回各章的文件。"""
    pages = sorted((source / "chapters").glob("*.html"))
    if not pages:
        sys.exit(f"{source} 里没有做好的书：先 make html。")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source / "_static", target / "_static", ignore=shutil.ignore_patterns("locales"))  # fmt: skip
    rows, decks = [], [target / page.name for page in pages]
    for page, path in zip(pages, decks):
        text = deck(page.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
        title = text.partition("<title>")[2].partition(" &#")[0].partition(" —")[0]
        count = text.count('class="slide"')
        rows.append(f'<li><a href="{path.name}">{title}</a>（{count} 张）</li>')
    body = (
        f"<p>方向键、空格或翻页键换页，F11 全屏；打印时一张一页。</p><ul>{''.join(rows)}</ul>"
    )
    (target / "index.html").write_text(html_page("讲课用的幻灯片", body), encoding="utf-8")
    return decks


if __name__ == "__main__":
    print(f"写出 {len(write())} 章的幻灯片：{OUT.relative_to(ROOT)}/index.html")
