"""做完书后的减重：去掉的都是用不着的，留下的意思不变。"""

import json
import re

import tinycss2

from book.tools.extension import css as book_css
from book.tools.extension import slim as book_slim

WORDS = {"a", "b", "used"}


def trim(css: str, *variables: str) -> str:
    return book_css.trim(css, WORDS, set(variables))


def test_rules_that_select_nothing_are_dropped():
    assert trim(".a{x:1}.gone{x:2}") == ".a{x:1}"
    assert trim(".a .gone,.b>p{x:1}") == ".b>p{x:1}"
    assert trim("#gone{x:1}p{x:2}*{x:3}") == "p{x:2}*{x:3}"


def test_what_is_uncertain_is_kept():
    for css in (
        ".a:not(.gone){x:1}",
        ":is(.gone,.a) p{x:1}",
        '[class*=".gone"]{x:1}',
        "@font-face{font-family:gone}",
        "@keyframes gone{0%{x:1}to{x:2}}",
        '.a{content:"} .b{"}',
        ".a{background:url(\"data:image/svg+xml;charset=utf-8,%3Csvg d='M0;0'/%3E\")}",
        '@charset "UTF-8";',
    ):
        assert trim(css) == css


def test_blocks_inside_media_queries_are_trimmed_too():
    css = "/* 注释 { */@media print{.gone{x:1}.a{x:2}}@media (width>1px){.gone{x:3}}"
    assert trim(css) == "@media print{.a{x:2}}"
    assert trim("@supports (a:b){@media print{.gone{x:1}}}") == ""


def test_escaped_names_are_understood():
    selector = tinycss2.parse_component_value_list(r".sd-w\:1\/2.b[data-x='.c']:hover #d")
    assert book_css.names_wanted(selector) == {"sd-w:1/2", "b", "d"}


def test_variables_that_nobody_uses_are_dropped(tmp_path):
    assert trim(":root{--one:1;--two:var(--one)}", "--one") == ":root{--one:1}"
    css = '.a{--gone:2;--five:url("data:,;--one:3");z:1 !important}'
    assert trim(css) == ".a{z:1 !important}"
    assert book_css.used_variables(["p{x:var(--one);y:var( --two, 3)}"]) == {"--one", "--two"}


def test_a_sheet_is_trimmed_until_nothing_more_can_go(tmp_path):
    """--three 只有 --two 用，--two 没有谁用：两个都去掉。脚本里提到的留下。"""
    sheet = tmp_path / "sphinx-design.min.css"
    sheet.write_text(":root{--one:1;--two:var(--three);--three:'a;b';--said:4}.a{x:var(--one)}")
    (tmp_path / "x.js").write_text("style.getPropertyValue('--said')")
    page = tmp_path / "page.html"
    page.write_text('<p class="a">')
    book_css.keep_used_rules(tmp_path, [page])
    assert sheet.read_text() == ":root{--one:1;--said:4}.a{x:var(--one)}"


def test_words_come_from_attributes_and_scripts_not_from_prose():
    page = (
        '<p class="a b" id=\'c\'>gone <b data-x="class=">too</b></p>'
        "<script>list.add('used-word')</script>"
    )
    words = book_css.words_used(page)
    assert {"a", "b", "c", "used-word"} <= words and not {"gone", "too"} & words


def state(*codes: str) -> str:
    models = {
        str(i): {"model_name": "AnyModel", "state": {"_esm": code, "_css": "同", "n": i}}
        for i, code in enumerate(codes)
    }
    return json.dumps({"version_major": 2, "state": models | {"l": {"state": {}}}})


def test_code_shared_by_widgets_is_written_once():
    packed = book_slim.pack_state(state("甲", "乙</b>", "甲"))
    script = packed.split(">", 1)[1].rsplit("</script>", 1)[0]
    assert packed.count("甲") == 1 and "</b>" not in script
    content = json.loads(script)
    assert content["shared"] == ["甲", "乙</b>", "同"] and content["version_major"] == 2
    models = content["state"]
    assert [models[str(i)]["state"]["_esm"] for i in range(3)] == [0, 1, 0]
    assert [models[str(i)]["state"]["n"] for i in range(3)] == [0, 1, 2]


def test_the_engine_waits_in_a_file_of_its_own(tmp_path):
    """每个小组件里只剩文件名；换了引擎，换文件名。"""
    content = json.loads(state("甲", "乙"))
    for model in ("0", "1"):
        content["state"][model]["state"]["engine"] = "const s = '</b>';"
    kind = "application/vnd.jupyter.widget-state+json"
    page = f'<head><script type="{kind}">{json.dumps(content)}</script></head>'
    mended = book_slim.set_engine_aside(page, tmp_path)
    (file,) = tmp_path.iterdir()
    assert re.fullmatch(r"engine-[0-9a-f]{8}\.js", file.name)
    assert mended.count(file.name) == 2 and "const s" not in mended
    assert file.read_text(encoding="utf-8") == "window.PPO_ENGINE = \"const s = '</b>';\";\n"
    assert book_slim.set_engine_aside(mended, tmp_path) == mended
    book_slim.set_engine_aside(page.replace("const s", "const t"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


PAGE = """<html><head>
<script src="../_static/documentation_options.js?v=1"></script>
<script src="../_static/doctools.js?v=2"></script>
<script>let hint = 1;</script>
<script data-x="1" src="../_static/tabs.js"></script>
<script defer="defer" src="../_static/mathjax/tex.js?v=3"></script>
<script type="application/vnd.jupyter.widget-state+json">%s</script>
<script>DOCUMENTATION_OPTIONS.pagename = 'x';</script>
</head><body><p>正文</p><script>inline()</script>
<script defer src="../_static/late.js"></script></body></html>
"""


def test_the_page_comes_before_its_scripts():
    page = book_slim.let_page_come_first(PAGE % state("甲"), "const OPTIONS = {};\n")
    head, body = page.split("</head>")
    assert "<script>const OPTIONS = {};</script>" in head
    assert '<script defer src="../_static/doctools.js?v=2">' in head
    assert '<script defer data-x="1" src="../_static/tabs.js">' in head
    assert '<script async src="../_static/mathjax/tex.js?v=3">' in head
    assert "widget-state" not in head and body.index("正文") < body.index("widget-state")
    assert body.endswith("</script>\n</body></html>\n")
    assert book_slim.let_page_come_first(page, "const OPTIONS = {};\n") == page
    assert book_slim.let_page_come_first("<p>转到封面</p>", "") == "<p>转到封面</p>"


def test_scripts_that_nothing_needs_are_not_asked_for():
    tags = (
        '<link rel="preload" as="script" href="_static/scripts/bootstrap.js?digest=1"/>'
        '<script defer src="_static/scripts/bootstrap.js?digest=1"></script>'
        '<script src="_static/scripts/fontawesome.js"></script>'
    )
    kept = '<script defer src="_static/scripts/pydata-sphinx-theme.js"></script>'
    assert book_slim.SPARE_SCRIPTS.sub("", tags + kept) == kept


def test_glyphs_shared_by_figures_are_written_once():
    def figure(salt: str, *shapes: str) -> str:
        glyphs = "".join(
            f'<path id="{salt}-{shape}" d="M0 {shape}z" transform="scale(0.15625)"/>'
            for shape in shapes
        )
        uses = "".join(f'<use xlink:href="#{salt}-{shape}" x="1"/>' for shape in shapes)
        return f"<svg><defs>{glyphs}</defs>{uses}</svg>"

    shared = book_slim.share_glyphs(figure("a", "1", "2") + figure("b", "2", "3"))
    assert shared.count("<path") == 3 and 'id="b-2"' not in shared
    second = shared.split("</svg>")[1]
    assert 'href="#a-2"' in second and 'href="#b-3"' in second

    marker = '<path id="a-m" d="M0 0z" style="stroke: red"/><path id="b-m" d="M0 0z"/>'
    assert book_slim.share_glyphs(marker) == marker  # 只合并字形


def test_marks_stay_with_the_formula_they_touch():
    """挨着公式的标点与它包在一起；别的字、隔着字的标点，都不动。"""
    formula = '<span class="math notranslate nohighlight">\\(x\\)</span>'
    assert book_slim.keep_marks(f"一（{formula}），二。") == (
        f'一<span class="ppo-kept">（{formula}），</span>二。'
    )
    assert book_slim.keep_marks(f"一{formula}二，") == f"一{formula}二，"
