"""静态书：构建没有警告，页面齐全，在浏览器里好用。"""

import json
import os
import re
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import pytest
import yaml
from conftest import give_up
from docutils import nodes
from fontTools.ttLib import TTFont

from book.tools.checks.book import check_html
from book.tools.extension import progress as book_progress
from book.tools.extension import search as book_search
from book.tools.site import build, chapters, serve

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import page_weight  # noqa: E402

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(page["file"] for part in TOC["parts"] for page in part["chapters"])]


# ---- 工具：快 ----------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_the_toc_has_a_source(page):
    assert (ROOT / page).with_suffix(".md").exists()


def test_execution_cache_key_follows_the_library(tmp_path):
    library = tmp_path / "ppo_lib"
    library.mkdir()
    (library / "loss.py").write_text("a = 1\n")
    before = chapters.execution_hash(tmp_path)
    assert chapters.execution_hash(tmp_path) == before
    (library / "loss.py").write_text("a = 2\n")
    assert chapters.execution_hash(tmp_path) != before


def test_glossary_terms_are_found():
    terms = book_search.glossary_terms((ROOT / "book/glossary.md").read_text(encoding="utf-8"))
    assert {"强化学习", "优势函数", "裁剪"} <= set(terms)


def test_splitting_keeps_identifiers_and_terms_whole():
    book_search.teach_terms(None, None)
    words = book_search.split_words("__main__：clip_eps 是裁剪的界，优势函数 A(s, a)")
    assert {"main", "clip_eps", "裁剪", "优势函数", "优势", "函数", "A"} <= set(words)
    assert not {"clip", "__main__", "_"} & set(words)


def test_a_glossary_entry_is_indexed_under_every_name():
    entry = ("single", "四分位均值（interquartile mean，IQM）", "term-iqm", "main", None)
    names = [name for _, name, *_ in book_search.split_entry(entry)]
    assert names == ["四分位均值", "interquartile mean", "IQM"]


def test_quizzes_of_a_page_are_found_in_its_widget_state():
    models = {
        "a": {"state": {"quiz_id": "clip", "questions": []}},
        "b": {"state": {"value": 3}},
        "c": {"state": {"exercise_id": "1.1"}},
    }
    script = (None, {"body": json.dumps({"state": models})})
    env = SimpleNamespace(nb_metadata={"page": {"js_files": {"ipywidgets_state": script}}})
    assert book_progress.widget_items(env, "page") == ["quiz:clip", "exercise:1.1"]
    assert book_progress.widget_items(env, "another") == []


def test_an_exercise_is_named_by_its_number_and_a_check_by_its_text():
    assert book_progress.item_name("练习 7.1 做完了", 1) == "exercise:7.1"
    assert book_progress.item_name("练习 12 做完了。", 1) == "exercise:12"
    names = [
        book_progress.item_name(text, repeated)
        for text in ("练习 7.1 做完了", "做完了练习 7.1", "能手算 GAE")
        for repeated in (2, 3)
    ]
    assert len(set(names)) == 6 and all(name.startswith("check:") for name in names)


def test_boxes_become_checks_and_exercises():
    """一页上有检查清单和练习，各有各的编号和标签；点文字也能勾。"""
    page = nodes.document("", "")
    for text in ("能手算 GAE", "练习 7.1 做完了", "练习 7.2 做完了"):
        box = nodes.raw("", '<input type="checkbox"> ', format="html")
        item = nodes.list_item("", nodes.paragraph("", "", box, nodes.Text(text)))
        item["classes"] = ["task-list-item"]
        page += item
    book_progress.name_checkboxes(None, page)
    written = "".join(node.astext() for node in page.findall(nodes.raw))
    named = re.findall(r'<input id="([^"]+)" data-progress="([^"]+)"', written)
    assert named[1:] == [("exercise-7.1", "exercise:7.1"), ("exercise-7.2", "exercise:7.2")]
    assert named[0][1].startswith("check:")
    assert re.findall(r'<label for="([^"]+)">', written) == [box for box, _ in named]


def test_every_arxiv_number_is_a_link():
    text = (ROOT / "book/references.md").read_text(encoding="utf-8")
    linked = re.findall(r"\[arXiv:([\d.]+)\]\(https://arxiv\.org/abs/\1\)", text)
    assert linked and linked == re.findall(r"(?<=arXiv:)[\d.]+", text)


def test_the_same_pages_make_the_same_zip(tmp_path):
    page = tmp_path / "html/书/a.html"
    page.parent.mkdir(parents=True)
    page.write_text("一")
    one = build.pack(tmp_path / "html", tmp_path / "1.zip")
    os.utime(page, (1e9, 1e9))
    two = build.pack(tmp_path / "html", tmp_path / "2.zip")
    assert one.read_bytes() == two.read_bytes()
    assert zipfile.ZipFile(one).namelist() == ["ppo-book/书/a.html"]


def test_publishing_tells_the_book_its_own_repository():
    """发布的流程用 make html 做书，并把仓库的地址交给它；动作都钉住主版本。"""
    flow = yaml.safe_load((ROOT / ".github/workflows/pages.yml").read_text(encoding="utf-8"))
    steps = flow["jobs"]["publish"]["steps"]
    (make,) = [step for step in steps if step.get("run") == "make html"]
    assert "github.repository" in make["env"]["BOOK_REPOSITORY"]
    for step in steps:
        assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])


def test_server_moves_on_when_a_port_is_taken(tmp_path):
    with (
        serve.open_server(folder=tmp_path) as first,
        serve.open_server(folder=tmp_path) as second,
    ):
        assert first.server_port < second.server_port
        with pytest.raises(OSError):
            serve.open_server(port=first.server_port, folder=tmp_path)


# ---- 做好的书：慢 ------------------------------------------------------------


class Visit(NamedTuple):
    """打开的一页，和打开以来的出错记录、外部网站、要过的网址。"""

    page: object
    errors: list[str]
    hosts: set[str]
    urls: list[str]


@contextmanager
def visits(browser):
    """打开一个网址的函数。外部请求一律拦下，读者那里也常常不通；出错和失败的请求都记下来。"""
    contexts = []

    def open_(url: str, width: int = 1280, context=None, before: str = "", theme="light"):
        if context is None:
            context = browser.new_context(viewport={"width": width, "height": 900})
            contexts.append(context)
        page, errors, hosts, urls = context.new_page(), [], set(), []
        own = url.split("/", 3)[:3]  # 协议和主机

        def block_foreign(route):
            address = route.request.url
            if address.split("/", 3)[:3] == own or address.startswith(("data:", "blob:")):
                route.fallback()
            else:
                hosts.add(urlsplit(address).hostname)
                route.abort()

        def note_failure(request):
            if request.failure != "net::ERR_ABORTED":  # 翻到下一页时还没取完的不算
                errors.append(f"{request.failure} {request.url}")

        def note_response(response):
            if response.status >= 400:
                errors.append(f"{response.status} {response.url}")

        page.route("**/*", block_foreign)
        page.on("request", lambda request: urls.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("requestfailed", note_failure)
        page.on("response", note_response)
        page.on(
            "console",
            lambda message: message.type == "error" and errors.append(message.text),
        )
        if theme != "light":
            page.add_init_script(
                f"localStorage.setItem('mode', '{theme}');"
                f"localStorage.setItem('theme', '{theme}');"
            )
        if before:
            page.add_init_script(before)
        page.goto(url, wait_until="load")
        return Visit(page, errors, hosts, urls)

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def open_url(browser):
    with visits(browser) as open_:
        yield open_


@pytest.fixture
def open_page(open_url, book_url):
    """打开书里的一页。"""
    return lambda path, *args, **options: open_url(f"{book_url}/{path}", *args, **options)


@pytest.fixture(scope="session")
def unpacked(book_html, tmp_path_factory):
    """make zip 打出的包，解开在一个名字里有汉字和空格的文件夹里；返回它的 file:// 网址。"""
    folder = tmp_path_factory.mktemp("zip")
    archive = build.pack(book_html, folder / "ppo-book.zip")
    home = folder / "我的书 一"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(home)
    return (home / "ppo-book").as_uri()


@pytest.fixture
def open_from_disk(open_url, unpacked):
    """从磁盘打开书里的一页，没有服务器。"""
    return lambda path, **options: open_url(f"{unpacked}/{path}", **options)


EVERY_PAGE = [*PAGES, "search", "genindex"]


@pytest.fixture(scope="module", params=EVERY_PAGE)
def desk(request, browser, book_url):
    """(页名, 在电脑上打开的这一页)。只看不动，所以几个测试合看一次。"""
    query = f"?q={quote('优势函数')}" if request.param == "search" else ""
    with visits(browser) as open_:
        visit = open_(f"{book_url}/{request.param}.html{query}")
        visit.page.wait_for_load_state("networkidle")
        yield request.param, visit


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page_is_in_the_book(book_html, page):
    html = (book_html / page).with_suffix(".html").read_text(encoding="utf-8")
    assert '<html lang="zh-CN"' in html
    assert 'rel="icon"' in html
    assert "Toggle primary sidebar" not in html


def opens_well(visit: Visit, width: int) -> None:
    """没有出错，没有外部请求，不比屏幕宽。"""
    assert (visit.errors, visit.hosts) == ([], set())
    scroll_width = visit.page.evaluate("document.documentElement.scrollWidth")
    assert scroll_width <= width, f"页面宽 {scroll_width}，比屏幕的 {width} 宽"


@pytest.mark.slow
def test_page_opens_without_errors_or_overflow(desk):
    opens_well(desk[1], 1280)


@pytest.mark.slow
def test_no_mark_begins_a_line_after_a_formula(desk):
    """公式和紧跟着的标点在同一行。"""
    apart = """all => all.filter(formula => {
      const next = formula.nextSibling, range = document.createRange();
      if (!/^[，。；：、！？）”]/.test(next?.textContent ?? "")) return false;
      range.setStart(next, 0);
      range.setEnd(next, 1);
      return range.getBoundingClientRect().top > formula.getBoundingClientRect().bottom - 4;
    }).map(formula => formula.parentElement.textContent)"""
    assert desk[1].page.eval_on_selector_all("article span.math", apart) == []


@pytest.mark.slow
def test_every_page_of_the_build_is_tested(book_html):
    """做出的页面都在上面那张表里，没有漏查的。"""
    built = {path.relative_to(book_html).as_posix() for path in book_html.rglob("*.html")}
    built = {name for name in built if not name.startswith("_static/")}
    assert built == {"index.html", *(f"{name}.html" for name in EVERY_PAGE)}


@pytest.mark.slow
def test_links_of_the_pages_lead_somewhere_and_pictures_have_words(book_html):
    assert check_html(book_html) == []


@pytest.mark.slow
def test_the_pages_name_no_foreign_script_style_font_or_image(book_html):
    """网页和样式表里没有要从别处取的东西；链接不算，那要读者自己点。"""
    wanted = re.compile(
        r"<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]*"
        r"|url\(['\"]?(?:https?:)?//[^)]*|@import ['\"](?:https?:)?//[^'\"]*"
    )
    for path in [*book_html.rglob("*.html"), *book_html.rglob("*.css")]:
        assert wanted.findall(path.read_text(encoding="utf-8")) == [], path.name


@pytest.mark.slow
def test_every_part_of_a_figure_is_on_its_page(book_html):
    """图里引用的字形、记号、裁剪框都在同一页上：几张图共用字形，一个也不能落下。"""
    used_anywhere = 0
    for page in EVERY_PAGE:
        text = (book_html / f"{page}.html").read_text(encoding="utf-8")
        text = re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)
        used = set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', text))
        there = set(re.findall(r'\bid="([^"]+)"', text))
        assert used <= there, (page, sorted(used - there)[:5])
        used_anywhere += len(used)
    assert used_anywhere > 1000


@pytest.mark.slow
def test_front_page_leads_to_the_cover(open_page):
    page, errors, *_ = open_page("index.html")
    page.wait_for_url("**/book/index.html")
    assert errors == []


@pytest.mark.slow
def test_the_favicon_is_there(open_page):
    page, *_ = open_page("chapters/01_overview.html")
    status = page.evaluate(
        "fetch(document.querySelector('link[rel~=icon]').href).then(got => got.status)"
    )
    assert status == 200


# 直接从磁盘打开


NEXT = ".prev-next-area a.right-next"
FOLLOWING = dict(zip(PAGES, PAGES[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_PAGE)
def test_page_opens_on_a_phone_from_disk(open_from_disk, unpacked, name):
    """没有服务器，屏幕又窄，“下一页”指着目录里的下一页。有服务器的宽屏另有一个测试；一次查几样，少开一遍。"""
    visit = open_from_disk(f"{name}.html", width=390)
    visit.page.wait_for_load_state("networkidle")
    opens_well(visit, 390)
    links = visit.page.locator(f"{NEXT}:visible").evaluate_all("all => all.map(a => a.href)")
    following = FOLLOWING.get(name)
    assert links == ([f"{unpacked}/{following}.html"] if following else [])


@pytest.mark.slow
def test_the_whole_book_can_be_leafed_through_from_disk(open_from_disk):
    """真的翻两页；其余各页的“下一页”指得对不对，上面查。"""
    page, errors, *_ = open_from_disk("index.html")
    page.wait_for_url("**/book/index.html")
    for name in PAGES[1:3]:
        page.locator(NEXT).click()
        page.wait_for_url(f"**/{name}.html")
    page.locator("a.navbar-brand").click()
    page.wait_for_url("**/book/index.html")
    assert errors == []


@pytest.mark.slow
def test_figures_formulas_and_boxes_work_from_disk(open_from_disk):
    page, errors, *_ = open_from_disk("chapters/01_overview.html")
    page.wait_for_selector("mjx-container mjx-mi")
    page.evaluate("document.fonts.ready")
    fonts = page.evaluate(
        "[...document.fonts].filter(f => f.status === 'loaded').map(f => f.family)"
    )
    assert any("MJXTEX" in font for font in fonts)
    assert any("Font Awesome" in font for font in fonts)
    figure = page.locator(".ppo-figure svg").first.bounding_box()
    assert figure["width"] > 200 and figure["height"] > 100
    page.locator(".task-list-item-checkbox").first.check()
    page.reload()
    assert page.locator(".task-list-item-checkbox").first.is_checked()
    assert errors == []


@pytest.mark.slow
def test_search_works_from_disk(open_from_disk):
    """结果和次序都一样，只是没有摘要：浏览器不许一页读磁盘上的另一页。"""
    page, errors, *_ = open_from_disk("book/index.html")
    page.locator(".search-button-field").click()
    page.locator("dialog input[name=q]").fill("优势函数")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    first = page.locator("#search-results ul.search li a").first
    first.wait_for()
    assert "book/glossary.html#term-advantage-function" in first.get_attribute("href")
    page.wait_for_timeout(300)
    first.click()
    page.wait_for_url("**/book/glossary.html*")
    assert errors == []


# ---- 搜索

GLOSSARY = "book/glossary.html"
FIRST_RESULT = {
    "优势函数": GLOSSARY,
    "强化学习": GLOSSARY,
    "裁剪": GLOSSARY,
    "重要性采样": GLOSSARY,
    "GAE": GLOSSARY,
    "clip_eps": "chapters/07_clipping.html",
    "概率比": GLOSSARY,
    "熵": GLOSSARY,
    "截断": GLOSSARY,
    "终止": GLOSSARY,
    "折扣因子": GLOSSARY,
    "价值函数": GLOSSARY,
    "四分位均值": GLOSSARY,
    "置信带": GLOSSARY,
    "种子": GLOSSARY,
    "小批次": GLOSSARY,
    "学习率": GLOSSARY,
    "近端策略优化": GLOSSARY,
    "PPO": GLOSSARY,
    "编译": GLOSSARY,
    "静态": GLOSSARY,
    "动态": GLOSSARY,
    "一阶矩": GLOSSARY,
    "beta_1": "chapters/08_adam.html",
    "num_envs": "chapters/05_rollout.html",
    "更新次数": "chapters/03_config.html",
    "advantage function": GLOSSARY,
    "total_timesteps": "chapters/03_config.html",
    "gae_lambda": "chapters/06_gae.html",
    "ent_coef": "chapters/09_training.html",
}
"""查询和应当排第一的页：名词解释在术语表，配置的键在细讲它的那一章。"""


def search_results(page) -> list[str]:
    page.wait_for_selector("#search-results p.search-summary:not(:empty)")
    return page.eval_on_selector_all("#search-results li a", "all => all.map(a => a.href)")


@pytest.fixture(scope="module")
def search_page(browser, book_url):
    """打开的搜索页，索引已经载入。许多查询合用一页。"""
    with visits(browser) as open_:
        visit = open_(f"{book_url}/search.html")
        visit.page.wait_for_function("Search.hasIndex()")
        yield visit


def found_in(page, query: str) -> list[str]:
    """在打开的搜索页里查，结果按页面列出的次序；不画出来。"""
    search = "query => Search._performSearch(...Search._parseQuery(query))"
    results = reversed(page.evaluate(search, query))  # 页面从最后一个列起
    return [f"{name}.html{anchor}" for name, _, anchor, *_ in results]


@pytest.mark.slow
@pytest.mark.parametrize("query", FIRST_RESULT)
def test_search_finds_the_right_page_first(search_page, query):
    first = found_in(search_page.page, query)[0]
    assert FIRST_RESULT[query] in first
    if FIRST_RESULT[query] == GLOSSARY:
        assert "#term-" in first  # 直接跳到那一条
    assert search_page.errors == []


@pytest.mark.slow
@pytest.mark.parametrize("query", ["优势函数裁剪", "什么是优势函数", "advantages", "gae"])
def test_search_understands_loose_queries(open_page, query):
    page, errors, *_ = open_page(f"search.html?q={quote(query)}")
    links = search_results(page)
    assert any(GLOSSARY in link for link in links)
    assert len(links) == len(set(links))
    listed = [link.split("/", 3)[3] for link in links]  # 指到整页的，又改成了指到一节
    assert all(map(str.startswith, listed, found_in(page, query)))
    assert errors == []


@pytest.mark.slow
def test_search_explains_a_term_in_place(open_page):
    page, *_ = open_page(f"search.html?q={quote('截断')}")
    page.wait_for_selector("#search-results li p.context")
    first = page.locator("#search-results li").first.inner_text()
    assert "术语表 > 截断" in first and "步数到了上限" in first


@pytest.mark.slow
def test_search_leads_to_the_section_and_quotes_it(open_page):
    """结果指到讲它的那一节；摘要是那一节的话，公式写成一行字，没有本页目录。"""
    page, errors, *_ = open_page(f"search.html?q={quote('偏差修正')}")
    found = page.locator("#search-results li", has_text="8. Adam 内部")
    found.locator("p.context").wait_for()
    summary = found.inner_text()
    assert "1-β^t" in summary and "\\" not in summary and "目录" not in summary
    found.locator("a").click()
    page.wait_for_url("**/chapters/08_adam.html#*")
    assert "偏差修正" in page.locator(":target > h2").inner_text()
    assert errors == []


@pytest.mark.slow
def test_words_searched_for_are_marked_in_the_text_only(open_page):
    searched = "localStorage.setItem('sphinx_highlight_terms', '什么')"
    page, *_ = open_page(f"{CHAPTER}.html", before=searched)
    page.wait_for_selector("article .highlighted")
    assert page.locator(".bd-sidebar-primary .highlighted").count() == 0
    page, *_ = open_page("search.html", before=searched)
    page.wait_for_timeout(300)
    assert page.locator(".highlighted").count() == 0


@pytest.mark.slow
def test_search_for_unknown_words_finds_nothing(open_page):
    page, *_ = open_page(f"search.html?q={quote('蚯蚓')}")
    assert search_results(page) == []


# ---- 检查清单和进度

CHAPTER = "chapters/01_overview"
FIRST_ITEM = "我能不看书，画出一次更新的四步"


def sidebar_count(page, name: str = "项目全景图") -> str:
    return (
        page.locator(".bd-sidenav a", has_text=name).locator(".ppo-count").inner_text().strip()
    )


def chapter_total(page) -> int:
    return int(sidebar_count(page).split("/")[1])


@pytest.mark.slow
@pytest.mark.parametrize("desk", PAGES, indirect=True)
def test_every_checkbox_is_counted_and_labelled(desk):
    name, (page, *_) = desk
    boxes = page.eval_on_selector_all(
        "input.task-list-item-checkbox",
        "all => all.map(box => [box.dataset.progress, box.labels[0]?.textContent.trim()])",
    )
    known = page.evaluate(f"PPO_PAGES['{name}'] ?? []")
    ticked = [item for item in known if item.startswith(("check:", "exercise:"))]
    assert ticked == [item for item, _ in boxes]
    assert all(label for _, label in boxes)


@pytest.mark.slow
def test_a_tick_survives_a_reload_and_shows_in_the_sidebar(open_page):
    page, errors, *_ = open_page(f"{CHAPTER}.html")
    total = chapter_total(page)
    assert total >= 5 and sidebar_count(page) == f"0/{total}"
    page.get_by_role("checkbox", name=FIRST_ITEM).check()
    assert sidebar_count(page) == f"1/{total}"
    page.reload()
    assert page.get_by_role("checkbox", name=FIRST_ITEM).is_checked()
    assert page.locator(".task-list-item-checkbox:checked").count() == 1
    page.goto(page.url.replace(CHAPTER, "book/usage"))
    assert sidebar_count(page) == f"1/{total}"
    page.go_back()
    page.locator("label", has_text=FIRST_ITEM).click()  # 点文字也能取消
    page.reload()
    assert not page.get_by_role("checkbox", name=FIRST_ITEM).is_checked()
    assert errors == []


@pytest.mark.slow
def test_ticks_follow_their_text_when_the_items_move(open_page):
    page, *_ = open_page(f"{CHAPTER}.html")
    page.get_by_role("checkbox", name=FIRST_ITEM).check()

    def reverse_items(route):
        response = route.fetch()
        items = re.compile(r"(?:<li class=\"task-list-item.*?</li>\s*)+", flags=re.DOTALL)
        lines = re.compile(r"<li.*?</li>", flags=re.DOTALL)
        body = items.sub(
            lambda found: "\n".join(reversed(lines.findall(found[0]))), response.text()
        )
        route.fulfill(response=response, body=body)

    page.route(f"**/{CHAPTER}.html", reverse_items)
    page.reload()
    assert page.get_by_role("checkbox", name=FIRST_ITEM).is_checked()
    assert page.locator(".task-list-item-checkbox").last.is_checked()
    assert page.locator(".task-list-item-checkbox:checked").count() == 1


REPORT = """([id, done]) => document.querySelector("article").dispatchEvent(new CustomEvent(
  "ppo:progress", {bubbles: true, detail: {kind: "quiz", id, done, correct: 2, total: 3}}))"""


@pytest.mark.slow
def test_results_of_widgets_count_too(open_page):
    page, errors, *_ = open_page(f"{CHAPTER}.html")
    total = chapter_total(page)
    page.evaluate(REPORT, ["a-test", False])
    assert sidebar_count(page) == f"0/{total + 1}"
    page.evaluate(REPORT, ["a-test", 2])  # 三题里答了两题
    assert sidebar_count(page) == f"0/{total + 1}"
    page.evaluate(REPORT, ["a-test", 3])
    page.evaluate(REPORT, ["a-test", True])
    assert sidebar_count(page) == f"1/{total + 1}"
    page.reload()
    assert sidebar_count(page) == f"1/{total + 1}"
    kept = page.evaluate("JSON.parse(localStorage.getItem('ppo-progress'))")
    assert kept[CHAPTER]["quiz:a-test"] == {"done": True, "correct": 2, "total": 3}
    assert errors == []


def bar(page) -> tuple[float, float]:
    found = page.locator(f'progress[data-page="{CHAPTER}"]')
    return found.evaluate("bar => [bar.value, bar.max]")


@pytest.mark.slow
def test_roadmap_lists_the_chapters_and_keeps_up(open_page):
    """路线图列出目录里的各章；别的标签页里勾了一项，这里的进度条跟着动。"""
    page, errors, *_ = open_page("book/roadmap.html")
    chapters = [name for name in PAGES if name.startswith("chapters/")]
    for table in (".ppo-chapters", ".ppo-days"):  # 七天的排法也一章不少
        links = page.locator(f"{table} a").evaluate_all("all => all.map(a => a.href)")
        assert [link.split("/", 3)[3] for link in links] == [
            f"{name}.html" for name in chapters
        ]
    total = chapter_total(page)
    assert bar(page) == [0, total]
    other, *_ = open_page(f"{CHAPTER}.html", context=page.context)
    other.get_by_role("checkbox", name=FIRST_ITEM).check()
    page.wait_for_function("document.querySelector('progress[data-page]').value === 1")
    assert page.locator(f'[data-count="{CHAPTER}"]').inner_text() == f"1/{total}"
    assert errors == []


@pytest.mark.slow
def test_kinds_of_items_are_counted_apart(open_page):
    """路线图分开写检查清单、小测验、练习各做了几项；侧栏合在一起数，提示里分开说。"""
    items = ["check:a", "check:b", "quiz:c", "exercise:1.1", "exercise:1.2", "exercise:1.3"]
    kept = {CHAPTER: {name: {"done": True} for name in ("check:b", "exercise:1.1")}}
    page, errors, *_ = open_page("book/roadmap.html")
    page.route(
        "**/roadmap.html",
        lambda route: route.fulfill(
            response=(response := route.fetch()),
            body=re.sub(
                "const PPO_PAGES = .*?;",
                f"const PPO_PAGES = {json.dumps({CHAPTER: items})};",
                response.text(),
            ),
        ),
    )
    page.evaluate("kept => localStorage.setItem('ppo-progress', JSON.stringify(kept))", kept)
    page.reload()
    words = "检查清单 1/2，小测验 0/1，练习 1/3"
    assert page.locator(f'[data-kinds="{CHAPTER}"]').inner_text() == words
    assert page.locator(f'[data-count="{CHAPTER}"]').inner_text() == "2/6"
    assert sidebar_count(page) == "2/6"
    badge = page.locator(".bd-sidenav .ppo-count").first
    assert badge.get_attribute("title") == f"完成了 6 项里的 2 项：{words}"
    assert errors == []


@pytest.mark.slow
def test_progress_is_exported_cleared_and_imported(open_page, tmp_path):
    page, errors, *_ = open_page(f"{CHAPTER}.html")
    page.locator(".task-list-item-checkbox").first.check()
    page.goto(page.url.replace(CHAPTER, "book/roadmap"))
    total = chapter_total(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="导出").click()
    saved = tmp_path / "progress.json"
    download.value.save_as(saved)
    assert list(json.loads(saved.read_text())["pages"]) == [CHAPTER]

    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="清空").click()
    assert bar(page) == [1, total]
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="清空").click()
    assert bar(page) == [0, total]
    page.reload()
    assert bar(page) == [0, total]

    for text in ("不是 JSON", '{"kind": "别的"}', "null"):
        page.locator("#ppo-said").evaluate("said => { said.textContent = ''; }")
        page.locator("#ppo-file").set_input_files(
            {"name": "x.json", "mimeType": "application/json", "buffer": text.encode()}
        )
        page.wait_for_function(
            "document.querySelector('#ppo-said').textContent.startsWith('没有导入')"
        )
        assert bar(page) == [0, total]
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="导入").click()
    chooser.value.set_files(saved)
    page.wait_for_function("document.querySelector('progress[data-page]').value === 1")
    page.reload()
    assert bar(page) == [1, total]
    assert errors == []


DENY_STORAGE = """for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, {
    configurable: true,
    get() { throw new DOMException("denied", "SecurityError"); },
  });"""
FULL_STORAGE = """Storage.prototype.setItem = () => {
  throw new DOMException("full", "QuotaExceededError");
};"""


@pytest.mark.slow
@pytest.mark.parametrize("before", [DENY_STORAGE, FULL_STORAGE], ids=["denied", "full"])
def test_boxes_work_where_nothing_can_be_stored(open_page, before):
    page, errors, *_ = open_page(f"{CHAPTER}.html", before=before)
    page.locator(".task-list-item-checkbox").nth(0).check()
    page.locator(".task-list-item-checkbox").nth(1).check()
    assert sidebar_count(page).startswith("2/")
    page.reload()
    assert sidebar_count(page).startswith("0/")
    assert errors == []


# ---- 分量、无障碍、打印


@pytest.mark.slow
@pytest.mark.parametrize("desk", PAGES, indirect=True)
def test_a_page_stays_light(desk, book_html):
    """一页连同它载入的一切，gzip 后不到 700 kB，回放的数据不计。"""
    name, visit = desk
    weight = page_weight.weigh(book_html, f"{name}.html", visit.urls)
    assert 10_000 < weight.without_replays < 700_000, weight.files


def test_weight_leaves_replays_out(tmp_path):
    noise = os.urandom(4000).hex()
    (tmp_path / "a.html").write_text(f"<p>\nconst film = {noise};\n</p>")
    (tmp_path / "b.js").write_text("1")
    urls = ["http://127.0.0.1:1/a.html?x=1", "http://127.0.0.1:1/b.js", "data:,x"]
    weight = page_weight.weigh(tmp_path, "a.html", urls)
    assert set(weight.files) == {"a.html", "b.js"}
    assert weight.total - weight.without_replays > 1000 > weight.without_replays


def test_axe_is_pinned_without_addresses():
    lock = (ROOT / "tests/axe/package-lock.json").read_text(encoding="utf-8")
    package = json.loads(lock)["packages"]["node_modules/axe-core"]
    wanted = json.loads((ROOT / "tests/axe/package.json").read_text())["dependencies"]
    assert package["version"] == wanted["axe-core"]
    assert package["integrity"].startswith("sha512-")
    assert "resolved" not in lock


def serious_flaws(page, rules: tuple[str, ...] = ()) -> list[str]:
    """axe-core 挑出的严重（serious、critical）的毛病；rules 是只查的几条，缺省全查。"""
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    violations = page.evaluate("options => axe.run(options)", options)["violations"]
    return [
        f"{found['impact']} {found['id']}：{node['html'][:200]} {node['failureSummary']}"
        for found in violations
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def switch_theme(page, theme: str) -> None:
    """按换颜色的按钮，到换成 theme 为止；颜色一步变到底，不等它慢慢变。"""
    while page.evaluate("document.documentElement.dataset.theme") != theme:
        page.locator(".theme-switch-button").first.click()
    page.evaluate(
        "document.getAnimations().forEach(x => x instanceof CSSTransition && x.finish())"
    )


@pytest.mark.slow
def test_page_is_accessible_in_light_and_dark(desk, axe_script):
    """浅色的页面全查；换成深色，别的不变，只查颜色。"""
    _, (page, *_) = desk
    page.evaluate(axe_script)
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert serious_flaws(page) == []
    switch_theme(page, "dark")
    assert serious_flaws(page, ("color-contrast", "link-in-text-block")) == []
    switch_theme(page, "light")


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_printing_gives_readable_paper(open_page, theme):
    page, *_ = open_page(f"{CHAPTER}.html", theme=theme)
    page.wait_for_selector("mjx-container mjx-mi")
    assert page.locator(".bd-sidebar-primary").is_visible()
    page.emulate_media(media="print")
    for gone in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".prev-next-footer"):
        assert not page.locator(gone).first.is_visible()
    color = "element => [getComputedStyle(element).color, getComputedStyle(element).backgroundColor]"
    assert page.locator("body").evaluate(color) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    paragraph = page.locator(".bd-article p").first.evaluate(color)
    assert paragraph[0] == "rgb(0, 0, 0)"
    pages = re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", print_background=True))
    assert len(pages) > 1


@pytest.mark.slow
def test_chinese_glyphs_are_drawn(open_page):
    """两个不同的汉字画出来不同：不是同一个方框。"""
    page, *_ = open_page("book/index.html")
    same = page.evaluate(
        """() => {
          const draw = (text) => {
            const canvas = document.createElement('canvas');
            canvas.width = canvas.height = 64;
            const pen = canvas.getContext('2d');
            pen.font = '48px ' + getComputedStyle(document.body).fontFamily;
            pen.fillText(text, 8, 52);
            return canvas.toDataURL();
          };
          return draw('裁') === draw('熵');
        }"""
    )
    if same:
        give_up("这台机器没有中文字体（apt-get install fonts-noto-cjk）")


@pytest.mark.slow
def test_the_replay_plays_on_the_static_page(open_page):
    """没有内核，第 1 章的回放也能播放：按下“播放”，步数往前走，画面变了。"""
    page, errors, *_ = open_page("chapters/01_overview.html")
    player = page.locator(".ppo-replay").first
    before = player.locator(".caption").first.inner_text()
    picture = "canvas => canvas.toDataURL()"
    first_frame = player.locator("canvas").first.evaluate(picture)
    player.get_by_role("button", name="播放").click()
    page.wait_for_function(
        "([player, before]) => player.querySelector('.caption').innerText !== before",
        arg=[player.element_handle(), before],
    )
    assert player.locator("canvas").first.evaluate(picture) != first_frame
    assert errors == []


# 页框上的动静：不带 Bootstrap 也都在


@pytest.mark.slow
def test_the_download_menu_opens_by_mouse_and_by_keyboard(open_page):
    page, errors, *_ = open_page(f"{CHAPTER}.html")
    button = page.get_by_role("button", name="下载此页面")
    menu = page.locator(".dropdown-download-buttons .dropdown-menu")
    page.mouse.move(5, 500)  # 指着按钮也会打开，所以先把鼠标挪开
    assert not menu.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert menu.is_visible() and button.get_attribute("aria-expanded") == "true"
    assert menu.inner_text().split("\n") == ["源文件 .md", "打印成 PDF"]
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.classList.contains('dropdown-item')")
    box = menu.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280
    page.keyboard.press("Escape")
    assert not menu.is_visible() and button.evaluate("b => b === document.activeElement")
    button.click()
    page.locator(".bd-article h1").click()
    page.wait_for_function("!document.querySelector('.dropdown-menu.show')")
    assert errors == []


@pytest.mark.slow
def test_the_table_of_contents_follows_the_reader(open_page):
    page, errors, *_ = open_page(f"{CHAPTER}.html")
    page.wait_for_load_state("networkidle")
    links = page.locator(".toc-entry > a[href^='#']")
    third = links.nth(2)
    target = third.get_attribute("href")
    page.evaluate(
        "id => document.getElementById(id).scrollIntoView({behavior: 'instant'})", target[1:]
    )
    page.wait_for_function(
        "target => document.querySelector(`.toc-entry > a.active`)?.hash === target",
        arg=target,
    )
    assert page.locator(".toc-entry > a.active").count() == 1
    top = page.locator("#pst-back-to-top")
    assert not top.is_visible()
    page.set_viewport_size({"width": 1000, "height": 900})  # 再宽，主题就不给这个按钮
    for place in (3000, 2500):
        page.evaluate("top => scrollTo({top, behavior: 'instant'})", place)
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    top.wait_for(state="visible")
    top.click()
    page.wait_for_function("scrollY === 0")
    assert errors == []


@pytest.mark.slow
def test_icons_need_no_script(book_html, open_page):
    """fontawesome.js 清空以后，图标仍由字体画出。"""
    assert (book_html / "_static/scripts/fontawesome.js").stat().st_size == 0
    page, *_ = open_page("book/index.html")
    content = (
        "getComputedStyle(document.querySelector('.fa-magnifying-glass'), '::before').content"
    )
    character = page.evaluate(content).strip('"')
    font = TTFont(book_html / "_static/vendor/fontawesome/webfonts/fa-solid-900.woff2")
    assert ord(character) in font.getBestCmap(), "字体里没有这个图标，画出来是方框"


@pytest.mark.slow
def test_titles_of_boxes_have_no_icon(open_page):
    """提示框的图标要一个没有随书带的字形，画出来是压在字上的方框；没有一种提示框还画它。"""
    page, *_ = open_page("chapters/07_clipping.html")
    shown = """() => {
        const title = document.querySelector(".admonition > .admonition-title");
        return ["note", "warning", "tip", "hint", "important", "danger", "seealso"].map(kind => {
            title.parentElement.className = `admonition ${kind}`;
            return getComputedStyle(title, "::after").display;
        });
    }"""
    assert set(page.evaluate(shown)) == {"none"}
