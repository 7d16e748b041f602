"""让网页轻一些、快一些：去掉用不着的东西，图标和样式只留用到的，脚本不挡住第一眼，公式的字体早一点去取。

顺便把主题没有译的英文换成中文。
"""

import hashlib
import json
import logging
import re
from pathlib import Path

from fontTools import subset
from sphinx.application import Sphinx

from book.tools.extension import css

ICON_NAMES = re.compile(r"fa-[a-z0-9-]+")
ICON_RULE = re.compile(r'((?:\.fa-[a-z0-9-]+:+before,?)+)\{content:"\\([0-9a-f]+)"\}')
"""主题样式里的一条图标，例如 ``.fa-bars:before,.fa-navicon:before{content:"\\f0c9"}``。"""

TRANSLATIONS = {
    # 名字要含有看得见的字：去掉盖住它的 aria-label
    'search-button-field search-button__button pst-js-only" title="搜索" aria-label="搜索"': (
        'search-button-field search-button__button pst-js-only" title="搜索"'
    ),
    '<summary aria-label="Toggle hidden content">': "<summary>",
    'title="Toggle primary sidebar"': 'title="开关侧栏" aria-label="开关侧栏"',
    'title="Toggle secondary sidebar"': 'title="开关本页目录" aria-label="开关本页目录"',
    'aria-label="Color mode" data-bs-title="Color mode"': 'aria-label="明暗" title="明暗"',
    'title="System Settings"': 'title="跟随系统"',
    'title="Link to this heading"': 'title="这一节的链接"',
    'title="Link to this image"': 'title="这张图的链接"',
    'title="Link to this table"': 'title="这张表的链接"',
    'title="Link to this term"': 'title="这一条的链接"',
    'title="Permalink to this term"': 'title="这一条的链接"',
    '<span class="btn__text-container">.md<': '<span class="btn__text-container">源文件 .md<',
    '<span class="btn__text-container">.pdf<': '<span class="btn__text-container">打印成 PDF<',
    'title="列印成 PDF"': 'title="打印，或存成 PDF"',
    '<nav class="bd-links bd-docs-nav" aria-label="Main">': (
        '<nav class="bd-links bd-docs-nav" aria-label="全书">'
    ),
    '<nav aria-label="Page">': '<nav aria-label="本页">',
}
"""主题没有译成中文的提示。两个没有名字的按钮顺便有了名字，读屏软件才念得出来。"""


SPARE_SCRIPTS = re.compile(
    r'<link rel="preload" as="script"[^>]*>'
    r'|<script [^>]*src="[^"]*/(?:fontawesome|bootstrap)\.js[^"]*"></script>'
)
"""主题催着先取的脚本，页末才用到，却与样式表争带宽；清空了的 fontawesome.js；frame.js 代替了的 bootstrap.js。"""

HIGHLIGHT = (
    'const body = divBody.length ? divBody[0] : document.querySelector("body");',
    'const body = document.querySelector("article"); if (!body) return;',
)
"""sphinx_highlight.js 亮出搜索的词：原来连侧栏也亮；改成只在正文里。"""

OPTIONS = re.compile(r'<script src="[^"]*documentation_options\.js[^"]*"></script>')
PLAIN_SCRIPT = re.compile(r"<script (?=[^>]*src=)(?![^>]*(?:defer|async))")
MATHJAX = re.compile(r'<script defer="defer" (?=src="[^"]*/mathjax/)')
WIDGET_STATE = re.compile(
    r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>\s*',
    flags=re.DOTALL,
)


def let_page_come_first(text: str, options: str) -> str:
    """头部的脚本都等页面读完再运行，小组件的状态挪到页末：首次绘制不必等它们。

    Args:
        text: 一页网页。
        options: documentation_options.js 的内容。别的脚本一开头就要它，所以直接写进网页。
    """
    if "</head>" not in text:  # 只管转到封面的那一页
        return text
    head, body = text.split("</head>", 1)
    head = OPTIONS.sub(lambda _: f"<script>{options.strip()}</script>", head, count=1)
    head = MATHJAX.sub("<script async ", PLAIN_SCRIPT.sub("<script defer ", head))
    states = [pack_state(state) for state in WIDGET_STATE.findall(head)]
    start, end = WIDGET_STATE.sub("", head), "</body>"
    rest, after = body.rsplit(end, 1)
    return start + "</head>" + rest + "".join(states) + end + after


def pack_state(state: str) -> str:
    """小组件的状态：代码和样式收到一处，一样的只写一遍，相近的挨着，gzip 压得掉。widgets.js 认得。"""
    content = json.loads(state)
    models = [model["state"] for model in content["state"].values()]
    shared = []
    for name in ("_esm", "_css"):
        for model in models:
            if isinstance(model.get(name), str):
                if model[name] not in shared:
                    shared.append(model[name])
                model[name] = shared.index(model[name])
    packed = json.dumps(
        content | {"shared": shared}, ensure_ascii=False, separators=(",", ":")
    ).replace("</", "<\\/")  # JSON 里与 </ 同义，却不会提前结束脚本
    return f'<script type="application/vnd.jupyter.widget-state+json">{packed}</script>\n'


def set_engine_aside(page: str, static: Path) -> str:
    """训练引擎另存为 static 里的一个文件，小组件里只留文件名：按了“训练”才去取，几章共用一份。

    文件名带散列，换了引擎，浏览器不会用旧的。取的一头是 ppo_lib/widgets/engine/pool.js。
    """

    def replace(script: re.Match) -> str:
        content = json.loads(script[1])
        for model in content["state"].values():
            source = model["state"].get("engine", "")
            if source and not source.endswith(".js"):
                name = f"engine-{hashlib.sha256(source.encode()).hexdigest()[:8]}.js"
                text = f"window.PPO_ENGINE = {json.dumps(source, ensure_ascii=False)};\n"
                (static / name).write_text(text, encoding="utf-8")
                model["state"]["engine"] = name
        packed = json.dumps(content, ensure_ascii=False).replace("</", "<\\/")
        return f'<script type="application/vnd.jupyter.widget-state+json">{packed}</script>\n'

    return WIDGET_STATE.sub(replace, page)


GLYPH = re.compile(r'<path id="([^"]+)" (d="[^"]+" transform="scale\([\d.]+\)")/>')


def share_glyphs(text: str) -> str:
    """一页上的几张图里，一样的字形只留第一份，别处都指向它。"""
    first, moved = {}, {}

    def keep_first(glyph: re.Match) -> str:
        name, shape = glyph.groups()
        moved[name] = first.setdefault(shape, name)
        return glyph[0] if moved[name] == name else ""

    text = GLYPH.sub(keep_first, text)
    return re.sub(
        r'(xlink:href="#)([^"]+)', lambda use: use[1] + moved.get(use[2], use[2]), text
    )


FORMULA = re.compile(
    r'([（“‘《「]*)(<span class="math [^>]*>[^<]*</span>)([，。；：、！？）”’》」…]*)'
)


def keep_marks(text: str) -> str:
    """行内公式在浏览器眼里是一个方块，前后都可以换行：把它和挨着的标点包在一起，book.css 不许在里面换行。"""
    return FORMULA.sub(
        lambda m: f'<span class="ppo-kept">{m[0]}</span>' if m[1] or m[3] else m[0], text
    )


def mend(pages: list[Path], static: Path) -> None:
    """译出提示，去掉 SPARE_SCRIPTS，合并字形，标点不离开公式，训练引擎另存，让页面先出来。"""
    options = (static / "documentation_options.js").read_text(encoding="utf-8")
    for page in pages:
        text = share_glyphs(SPARE_SCRIPTS.sub("", page.read_text(encoding="utf-8")))
        text = keep_marks(text)
        text = set_engine_aside(text, static)
        for english, chinese in TRANSLATIONS.items():
            text = text.replace(english, chinese)
        page.write_text(let_page_come_first(text, options), encoding="utf-8")


def used_icons(out: Path, pages: list[Path]) -> set[str]:
    """网页和脚本里提到的图标的名字，例如 ``{"fa-bars"}``。"""
    scripts = (out / "_static").rglob("*.js")
    sources = [*pages, *(path for path in scripts if "mathjax" not in path.parts)]
    return {
        name
        for source in sources
        for name in ICON_NAMES.findall(source.read_text(encoding="utf-8"))
    }


def keep_used_icons(out: Path, pages: list[Path]) -> None:
    """样式表和图标字体里只留用到的图标：字体从三百 KB 变成几 KB。"""
    names = used_icons(out, pages)

    def keep(rule: re.Match) -> str:
        used = names & set(ICON_NAMES.findall(rule[1]))
        return rule[0] if used else ""

    characters = set()
    for sheet in (out / "_static").rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        if ICON_RULE.search(text):
            text = ICON_RULE.sub(keep, text)
            sheet.write_text(text, encoding="utf-8")
        # 留下的图标，和样式表直接写出的码位；减过的样式表里写的是字符本身
        characters |= {int(code, 16) for code in re.findall(r'"\\([ef][0-9a-f]{3})"', text)}
        characters |= {ord(character) for character in re.findall("[\ue000-\uf8ff]", text)}
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    fonts = out / "_static/vendor/fontawesome/webfonts"
    for font in fonts.glob("*.woff2"):
        options = subset.Options(flavor="woff2", drop_tables=["FFTM"], notdef_outline=True)
        glyphs = subset.load_font(str(font), options)
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=characters)
        cutter.subset(glyphs)
        subset.save_font(glyphs, str(font), options)
    for spare in fonts.glob("*.ttf"):  # 认不得 woff2 的浏览器也打不开这本书
        spare.unlink()


FETCH_FONTS = """<script>
if (location.protocol.startsWith("http"))
  requestAnimationFrame(() => setTimeout(() => {
    for (const name of "%(names)s".split(" ")) {
      const href = "%(folder)s/MathJax_" + name + ".woff2";
      const link = Object.assign(document.createElement("link"), { rel: "preload", href });
      document.head.append(Object.assign(link, { as: "font", crossOrigin: "" }));
    }
  }));
</script>"""
"""等 MathJax 排完公式才去取字体就晚了；首次绘制之后马上去取，又不会拖慢它。磁盘上没有快慢之分。"""


FONTS = "Main-Regular Math-Italic Zero Size1-Regular Size3-Regular"
"""几乎每个有公式的页都要的字体。"""

MORE_FONTS = {"AMS-Regular": r"\\mathbb", "Size2-Regular": r"\\(?:sum|Bigl)"}
"""有些页还要的字体 → 公式里的什么用得着它。"""


def fetch_fonts_early(app, pagename, templatename, context, doctree) -> None:
    """只在有公式的页上。"""
    if any("mathjax" in str(script.filename) for script in context["script_files"]):
        folder = context["pathto"]("_static/mathjax/output/chtml/fonts/woff-v2", resource=True)
        more = [name for name, tex in MORE_FONTS.items() if re.search(tex, context["body"])]
        script = FETCH_FONTS % dict(names=" ".join([FONTS, *more]), folder=folder)
        context["metatags"] = context.get("metatags", "") + script


def slim_down(out: Path, styles: bool = True) -> None:
    """减轻 Sphinx 写出的网页。

    fontawesome.js（1.5 MB）是图标字体之外多余的一份；调试用的 .map 也不必发布。搜索的词只在正文里亮出。

    Args:
        out: 网页所在的文件夹，里面是 Sphinx 写出的原样。
        styles: 样式表和图标字体也减。书还没有做完时不必，那要看全部网页。
    """
    (out / "_static/scripts/fontawesome.js").write_text("", encoding="utf-8")
    (out / "_static/scripts/bootstrap.js").write_text("", encoding="utf-8")
    highlight = out / "_static/sphinx_highlight.js"
    text = highlight.read_text(encoding="utf-8").replace(*HIGHLIGHT)
    highlight.write_text(text, encoding="utf-8")
    for source_map in (out / "_static").rglob("*.map"):
        source_map.unlink()
    pages = sorted(path for path in out.rglob("*.html") if "_static" not in path.parts)
    mend(pages, out / "_static")
    if styles:
        css.keep_used_rules(out / "_static", pages)
        keep_used_icons(out, pages)


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", fetch_fonts_early, priority=900)  # 在 mathjax 之后
    return {"parallel_read_safe": True, "parallel_write_safe": True}
