"""检查清单和进度在做书时的一半：给每个勾选框一个编号，数出每页有几项，写出路线图的表。

在浏览器里的一半是 book/static/progress.js。检查清单的编号由文字算出，所以条目换了次序也不会记错；
改了文字就是新的一条。“练习 7.1 做完了”这样的一条记成练习，编号就是 7.1：网页上没有内核，做没做完由读者自己说。
"""

import hashlib
import html
import json
import re
from collections import Counter
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[3]

MEMORY_STORAGE = """<script>
for (const name of ["localStorage", "sessionStorage"]) {
  try {
    window[name].setItem("ppo-try", "1");
    window[name].removeItem("ppo-try");
  } catch {
    const kept = new Map();
    try { Object.entries(window[name]).forEach(([key, value]) => kept.set(key, value)); } catch {}
    const value = {
      getItem: (key) => (kept.has(key) ? kept.get(key) : null),
      setItem: (key, value) => void kept.set(key, String(value)),
      removeItem: (key) => void kept.delete(key),
      clear: () => kept.clear(),
    };
    Object.defineProperty(window, name, { value, configurable: true });
  }
}
</script>"""
"""浏览器存不进东西时（隐私模式、禁了 cookie、满了），主题的脚本会出错；给它一个关页就忘的替身。"""


# ---- 勾选框

EXERCISE = re.compile(r"练习\s*(\d+(?:\.\d+)*)\s*做完了")


def item_name(text: str, repeated: int) -> str:
    """一条的编号，例如 ``"check:1a2b3c4d"`` 或 ``"exercise:7.1"``。

    Args:
        text: 这一条的文字。
        repeated: 这一页上第几次出现同样的文字，从 1 数。
    """
    exercise = EXERCISE.match(text)
    if exercise and repeated == 1:
        return f"exercise:{exercise[1]}"
    digest = hashlib.sha256(f"{text}\n{repeated}".encode()).hexdigest()[:8]
    return f"check:{digest}"


def name_checkboxes(app: Sphinx, doctree: nodes.document) -> None:
    """给每个勾选框加上编号和标签：点文字也能勾选，读屏软件会念出文字。"""
    seen = Counter()
    for item in doctree.findall(nodes.list_item):
        first = item[0] if len(item) else None
        if "task-list-item" not in item["classes"] or not isinstance(first, nodes.TextElement):
            continue
        box = next(node for node in first if isinstance(node, nodes.raw))
        text = " ".join("".join(n.astext() for n in first if n is not box).split())
        seen[text] += 1  # 一页上有两条一样的文字，也各记各的
        name = item_name(text, seen[text])
        key = name.replace(":", "-")
        tag = re.sub(r"<input ", f'<input id="{key}" data-progress="{name}" ', box.astext())
        place = first.index(box)
        first[place] = nodes.raw("", f'{tag}<label for="{key}">', format="html")
        first += nodes.raw("", "</label>", format="html")


# ---- 每页有哪些项


def widget_items(env: BuildEnvironment, docname: str) -> list[str]:
    """页面上小测验、练习和预测的编号：小组件的状态里有 quiz_id、exercise_id 或 guess_id 的那些。"""
    files = getattr(env, "nb_metadata", {}).get(docname, {}).get("js_files", {})
    state = files.get("ipywidgets_state")
    if not state:
        return []
    models = json.loads(state[1]["body"])["state"].values()
    return [
        f"{kind}:{model['state'][f'{kind}_id']}"
        for model in models
        for kind in ("quiz", "exercise", "guess")
        if model["state"].get(f"{kind}_id")
    ]


def page_items(env: BuildEnvironment, docname: str) -> list[str]:
    """一页上要完成的各项，例如 ``["check:1a2b3c4d", "quiz:clip"]``。"""
    written = "".join(node.astext() for node in env.get_doctree(docname).findall(nodes.raw))
    marked = re.findall(r'data-progress="([^"]+)"', written)
    return list(dict.fromkeys(marked + widget_items(env, docname)))


def count_items(app: Sphinx, env: BuildEnvironment) -> None:
    items = {docname: page_items(env, docname) for docname in sorted(env.all_docs)}
    env.book_items = {docname: found for docname, found in items.items() if found}


def tell_pages(app: Sphinx, pagename, templatename, context, doctree) -> None:
    """把每页的各项写进网页，好让侧栏和路线图知道别的页有几项。"""
    script = f"<script>const PPO_PAGES = {json.dumps(app.env.book_items)};</script>"
    context["metatags"] = script + context.get("metatags", "")


# ---- 路线图


class roadmap(nodes.General, nodes.Element):
    """路线图的表该在的位置。"""


class Roadmap(SphinxDirective):
    """``{roadmap}``：各章的表，每章一条进度；``{roadmap} days``：七天的排法。"""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        return [roadmap(days=self.arguments == ["days"])]


def chapter_times(number: str) -> tuple[int | None, int | None]:
    """(阅读的分钟, 在 CPU 上运行的秒)；没有量过的是 None。"""
    timings = json.loads((ROOT / "ppo_lib/course/timings.json").read_text(encoding="utf-8"))
    timing = timings.get(number, {})
    return timing.get("read_minutes"), (timing.get("cpu") or {}).get("seconds")


def describe_chapter(docname: str) -> tuple[str, str]:
    """读一章和跑一章要多久；没有量过就写破折号。"""
    read, run = chapter_times(Path(docname).name[:2])
    return (f"{read} 分钟" if read else "—", f"{run} 秒" if run else "—")


def roadmap_rows(app: Sphinx, docname: str) -> list[str]:
    """路线图的各行。链接从 docname 这一页算起。"""
    env, rows = app.env, []
    for chapter in env.toctree_includes[env.config.root_doc]:
        if not chapter.startswith("chapters/"):
            continue
        number = ".".join(map(str, env.toc_secnumbers.get(chapter, {}).get("", ())))
        title = html.escape(f"{number}. {env.titles[chapter].astext()}".removeprefix(". "))
        link = app.builder.get_relative_uri(docname, chapter)
        read, run = describe_chapter(chapter)
        rows.append(
            f'<tr><td><a href="{link}">{title}</a></td><td>{read}</td><td>{run}</td>'
            f'<td class="ppo-bar"><progress data-page="{chapter}" value="0" max="1"'
            f' aria-label="{title}的进度"></progress> <span data-count="{chapter}"></span>'
            f'<div class="ppo-kinds" data-kinds="{chapter}"></div></td></tr>'
        )
    return rows


DAYS = (
    ("01", "02"),
    ("03", "04"),
    ("05", "06"),
    ("07", "08"),
    ("09", "10"),
    ("11", "12"),
    ("13", "14", "15", "16"),
)
"""七天的排法：每天读哪几章。"""


def day_rows(app: Sphinx, docname: str) -> list[str]:
    """七天路线图的各行：哪几章，阅读共几分钟，运行共几秒；还没写的章不列，没量过的写破折号。"""
    env = app.env
    chapters = {
        Path(chapter).name[:2]: chapter
        for chapter in env.toctree_includes[env.config.root_doc]
        if chapter.startswith("chapters/")
    }
    rows = []
    for day, numbers in enumerate(DAYS, 1):
        found = [number for number in numbers if number in chapters]
        links = "；".join(
            f'<a href="{app.builder.get_relative_uri(docname, chapters[number])}">'
            f"{html.escape(env.titles[chapters[number]].astext())}</a>"
            for number in found
        )
        times = [chapter_times(number) for number in found]
        cells = [
            f"{sum(column)} {unit}" if column and all(column) else "—"
            for column, unit in zip(zip(*times), ("分钟", "秒"))
        ] or ["—", "—"]
        rows.append(
            f'<tr><th scope="row">第 {day} 天</th><td>{links or "—"}</td>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    return rows


def draw_roadmap(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for place in list(doctree.findall(roadmap)):
        if place["days"]:
            name, heads = "ppo-days", ("天", "章", "阅读", "运行")
            rows = day_rows(app, docname)
        else:
            name, heads = "ppo-chapters", ("章", "阅读", "运行", "进度")
            rows = roadmap_rows(app, docname)
        head = "".join(f'<th scope="col">{text}</th>' for text in heads)
        table = (
            f'<table class="table ppo-roadmap {name}"><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table>"
        )
        place.replace_self(nodes.raw("", table, format="html"))


def add_memory_storage(app, pagename, templatename, context, doctree) -> None:
    context["metatags"] = MEMORY_STORAGE + context.get("metatags", "")


def setup(app: Sphinx) -> dict:
    app.add_node(roadmap)
    app.add_directive("roadmap", Roadmap)
    app.connect("doctree-read", name_checkboxes)
    app.connect("env-updated", count_items)
    app.connect("doctree-resolved", draw_roadmap)
    app.connect("html-page-context", tell_pages)
    app.connect("html-page-context", add_memory_storage)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
