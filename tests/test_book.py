"""静态书：构建没有警告，页面齐全，在浏览器里好用。"""

from pathlib import Path
from urllib.parse import urlsplit

import ppo_book
import pytest
import serve
import yaml
from conftest import give_up

ROOT = Path(__file__).parents[1]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(page["file"] for part in TOC["parts"] for page in part["chapters"])]

# 页面还会去要东西的外部网站。只许减少，不许增加。
KNOWN_HOSTS: set[str] = set()


# ---- 工具：快 ----------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_the_toc_has_a_source(page):
    assert (ROOT / page).with_suffix(".md").exists()


def test_execution_cache_key_follows_the_library(tmp_path):
    library = tmp_path / "ppo_lib"
    library.mkdir()
    (library / "loss.py").write_text("a = 1\n")
    before = ppo_book.execution_hash(tmp_path)
    assert ppo_book.execution_hash(tmp_path) == before
    (library / "loss.py").write_text("a = 2\n")
    assert ppo_book.execution_hash(tmp_path) != before


def test_glossary_terms_are_found():
    terms = ppo_book.glossary_terms((ROOT / "book/glossary.md").read_text(encoding="utf-8"))
    assert {"强化学习", "优势函数", "裁剪"} <= set(terms)


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
    assert ppo_book.github_url(remote) == url


def test_server_moves_on_when_a_port_is_taken(tmp_path):
    with (
        serve.open_server(folder=tmp_path) as first,
        serve.open_server(folder=tmp_path) as second,
    ):
        assert first.server_port < second.server_port
        with pytest.raises(OSError):
            serve.open_server(port=first.server_port, folder=tmp_path)


# ---- 做好的书：慢 ------------------------------------------------------------


@pytest.fixture
def open_page(browser, book_url):
    """打开一页，返回 (页面, 出错记录, 外部网站)。外部请求一律拦下，读者那里也常常不通。"""
    contexts = []

    def open_(path: str, width: int = 1280):
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page, errors, hosts = context.new_page(), [], set()

        def block_foreign(route):
            if route.request.url.startswith((book_url, "data:", "blob:")):
                route.continue_()
            else:
                hosts.add(urlsplit(route.request.url).hostname)
                route.abort()

        def note_console(message):
            if message.type == "error" and message.location.get("url", "").startswith(book_url):
                errors.append(message.text)

        page.route("**/*", block_foreign)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", note_console)
        page.goto(f"{book_url}/{path}", wait_until="load")
        return page, errors, hosts

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page_is_in_the_book(book_html, page):
    html = (book_html / page).with_suffix(".html").read_text(encoding="utf-8")
    assert '<html lang="zh-CN"' in html


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_page_opens_without_errors_or_overflow(open_page, name, width):
    page, errors, hosts = open_page(f"{name}.html", width)
    assert errors == []
    assert hosts <= KNOWN_HOSTS
    scroll_width = page.evaluate("document.documentElement.scrollWidth")
    assert scroll_width <= width, f"页面宽 {scroll_width}，比屏幕的 {width} 宽"


@pytest.mark.slow
def test_front_page_leads_to_the_cover(open_page):
    page, _, _ = open_page("index.html")
    page.wait_for_url("**/book/index.html")


@pytest.mark.slow
@pytest.mark.parametrize("query", ["裁剪", "优势函数", "强化学习", "优势函数裁剪", "GAE"])
def test_search_finds_the_glossary(open_page, query):
    page, errors, _ = open_page(f"search.html?q={query}")
    page.wait_for_selector("#search-results ul.search li a")
    links = page.eval_on_selector_all("#search-results li a", "all => all.map(a => a.href)")
    assert any("book/glossary.html" in link for link in links)
    assert errors == []


@pytest.mark.slow
def test_search_for_unknown_words_finds_nothing(open_page):
    page, _, _ = open_page("search.html?q=蚯蚓")
    page.wait_for_selector("#search-results p.search-summary:not(:empty)")
    assert page.locator("#search-results ul.search li").count() == 0


@pytest.mark.slow
def test_chinese_glyphs_are_drawn(open_page):
    """两个不同的汉字画出来不同：不是同一个方框。"""
    page, _, _ = open_page("book/index.html")
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
    page, errors, _ = open_page("chapters/01_overview.html")
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


@pytest.mark.slow
def test_icons_need_no_script(book_html, open_page):
    """fontawesome.js 清空以后，图标仍由字体画出。"""
    assert (book_html / "_static/scripts/fontawesome.js").stat().st_size == 0
    page, _, _ = open_page("book/index.html")
    content = (
        "getComputedStyle(document.querySelector('.fa-magnifying-glass'), '::before').content"
    )
    assert page.evaluate(content) not in ("none", "normal", '""')
