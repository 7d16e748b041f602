"""幻灯片：内容都从网页里来，不联网就能放，一张也不溢出，小组件是活的。"""

import re
import time

import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

from book.tools.teach import slides

PAGE = """<html><head><title>6. 试</title><link href="../_static/book.css" rel="stylesheet"/>
<script defer src="../_static/progress.js"></script><script defer src="../_static/widgets.js"></script></head><body>
<article><section><h1>试<a class="headerlink">#</a></h1><ul><li>目标</li></ul>
<section><h2>甲</h2><p>引出公式：</p><div class="math">\\[x\\]</div><p>不放。</p>
<div class="cell"><div class="cell_input"><pre>code = 1</pre></div><div class="cell_output"><pre>不放的字</pre></div></div>
<section><h3>乙</h3><div class="cell"><div class="cell_output"><table><tr><td>1</td></tr></table></div></div></section></section>
<section><h2>小测验</h2><div class="cell"><div class="cell_output"><script type="VIEW">{"model_id": "q"}</script></div></div></section>
<section><h2>练习</h2><table><tr><td>答案</td></tr></table></section>
<section><h2>小结</h2><ul><li>记住</li></ul></section></section></article>
<script type="STATE">{"state": {"q": {"state": {"quiz_id": "t", "questions": [{"text": "一"}, {"text": "二</script>"}]}},
"answer": {"state": {}}}, "shared": []}</script></body></html>""".replace("二</script>", "二<\\/script>").replace("VIEW", slides.VIEW).replace("STATE", slides.STATE)  # fmt: skip

OVERFLOWING = """[...document.querySelectorAll(".content")].filter((x) => x.scrollHeight > x.clientHeight + 1
    || x.scrollWidth > x.clientWidth + 1).map((x) => x.innerText.slice(0, 40))"""


def test_a_deck_is_what_the_page_shows_and_nothing_else():
    deck = BeautifulSoup(slides.deck(PAGE), "html.parser")
    found = deck.find_all("section", class_="slide")
    titles = [slide.find(["h1", "h2", "h3"]).get_text() for slide in found]
    assert titles == ["试", "甲", "乙", "小测验", "小测验", "小结"]
    text = " ".join(slide.get_text() for slide in found)
    assert "引出公式" in text and "记住" in text
    assert not re.search("不放|code = 1|答案|#", text)
    assert "_static/widgets.js" in str(deck.head) and "progress.js" not in str(deck.head)


def test_a_quiz_is_one_question_a_slide_and_unused_widgets_stay_behind():
    deck = BeautifulSoup(slides.deck(PAGE), "html.parser")
    state = slides.json.loads(deck.find("script", type=slides.STATE).string)["state"]
    assert [x["state"]["questions"][0]["text"] for x in state.values()] == ["二</script>", "一"]


@pytest.mark.slow
def test_decks_of_the_book_run_without_a_network_and_nothing_overflows(
    book_html, browser, tmp_path
):
    decks = slides.write(book_html, tmp_path / "slides")
    assert len(decks) == len(list((ROOT / "chapters").glob("*.md")))
    context = browser.new_context(viewport={"width": 1280, "height": 720}, offline=True)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else None)
    for deck in decks:
        page.goto(deck.as_uri())
        page.wait_for_function("!document.querySelector('.math:not(:has(mjx-container))')")
        page.wait_for_function(
            "[...document.querySelectorAll('.ppo-widget-view')].every((x) => x.childElementCount)"
        )
        deadline = time.monotonic() + 30  # 缩小要试几次，每次等小组件重画
        while (over := page.evaluate(OVERFLOWING)) and time.monotonic() < deadline:
            page.wait_for_timeout(200)
        assert over == [], deck.name
    page.goto(decks[5].as_uri())  # 第 6 章
    page.keyboard.press("ArrowRight")
    assert page.evaluate("scrollY") == 720
    slider = page.get_by_label("GAE 的 λ").first
    before = page.locator(".ppo-widget .sentence").first.inner_text()
    slider.fill("0.5")
    assert page.locator(".ppo-widget .sentence").first.inner_text() != before
    assert wrong == []
    context.close()
