"""查书的工具：种下的每一种毛病都查得出，干净的文字没有话说，整本书没有毛病。"""

import re
from pathlib import Path

import pytest

from book.tools.checks import book as cb
from book.tools.generate import notebooks

ROOT = Path(__file__).parents[1]

CHAPTER = """---
kernelspec:
  display_name: Python 3
  name: python3
---

# 一章

```{code-cell} ipython3
:tags: [remove-input]

from ppo_lib.course import chapter_card

chapter_card("07")
```

**读完这一章，你能：**

- 说出裁剪做什么。

**先要会：** 第 6 章的优势。

## 裁剪做什么

采样之后改进策略。训练 50 万步。

```{code-cell} ipython3
from ppo_lib.course import show_source
from ppo_lib.course.ch07 import check_a, check_b, check_c, watch

show_source(ppo_lib.loss)
```

```{code-cell} ipython3
run = train(PPOConfig(total_timesteps=500_000))
assert run
```

## 动手：让它学会

**只改一个键。**

```{code-cell} ipython3
change = dict()
```

## 小测验

```{code-cell} ipython3
Quiz("a", [])
```

## 练习

**练习 7.1** 一

```{code-cell} ipython3
check_a(...)
```

:::{dropdown} 提示
想一想。
:::

```{code-cell} ipython3
:tags: [hide-cell]

# 参考答案
check_a(1)
```

- [ ] 练习 7.1 做完了

**练习 7.2** 二

```{code-cell} ipython3
check_b(...)
```

:::{dropdown} 提示
想一想。
:::

```{code-cell} ipython3
:tags: [hide-cell]

# 参考答案
check_b(1)
```

- [ ] 练习 7.2 做完了

**练习 7.3** 三

```{code-cell} ipython3
check_c(...)
```

:::{dropdown} 提示
想一想。
:::

```{code-cell} ipython3
:tags: [hide-cell]

# 参考答案
check_c(1)
```

- [ ] 练习 7.3 做完了

## 与原指南对照

| 指南的说法 | 结论 |
|---|---|
| 训练 977 次 | 不成立 |

## 小结

- 裁剪去掉走远的好处。

## 本章检查清单

- [ ] 一
- [ ] 二
- [ ] 三
"""


def page(text: str, name: str = "07_clipping.md") -> cb.Page:
    return cb.read_page(ROOT / "chapters" / name, text)


def cell(code: str) -> str:
    return f"```{{code-cell}} ipython3\n{code}\n```\n"


def all_findings(text: str) -> list[cb.Finding]:
    return cb.check_page(page(text), set(), set())


def messages(findings) -> str:
    return "\n".join(map(str, findings))


# ---- 整本书 ------------------------------------------------------------------


@pytest.fixture(scope="module")
def findings():
    return cb.check()


@pytest.mark.parametrize("path", cb.sources(), ids=lambda path: path.name)
def test_every_page_is_clean(findings, path):
    assert messages(finding for finding in findings if finding.path == path) == ""


def test_the_library_draws_only_what_its_font_has():
    assert messages(cb.check_library_tofu()) == ""


def test_the_sample_chapter_is_clean():
    assert messages(all_findings(CHAPTER)) == ""


@pytest.mark.slow
def test_command_prints_findings_and_fails(tmp_path, capsys):
    good, bad = tmp_path / "07_good.md", tmp_path / "07_bad.md"
    good.write_text(CHAPTER, encoding="utf-8")
    bad.write_text(CHAPTER.replace("训练 50 万步", "智能代理训练 60 万步"), encoding="utf-8")
    assert cb.main([str(good)]) == 0 and capsys.readouterr().out == ""
    assert cb.main([str(good), str(bad)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    line = CHAPTER[: CHAPTER.index("训练 50 万步")].count("\n") + 1
    assert all(text.startswith(f"{bad}:{line}: [") for text in lines)


# ---- 部分 --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('chapter_card("07")', "pass", "chapter_card"),
        ('chapter_card("07")', 'chapter_card("08")', 'chapter_card("07")'),
        ("**读完这一章，你能：**", "目标", "读完这一章"),
        ("- 说出裁剪做什么。", "说出裁剪做什么。", "读完这一章"),
        ("**先要会：** 第 6 章的优势。", "", "先要会"),
        ("show_source(ppo_lib.loss)", "pass", "show_source"),
        ("run = train(PPOConfig(total_timesteps=500_000))", "run = 500_000", "没有实验"),
        ("assert run\n", "", "没有 assert"),
        ("## 动手：让它学会", "## 让它学会", "动手"),
        ("**只改一个键。**", "随便改。", "没有目标"),
        (cell("change = dict()"), "", "没有代码格"),
        ("## 小测验", "## 测验", "“小测验”应当恰有一个"),
        ('Quiz("a", [])', "pass", "Quiz"),
        ("## 练习", "## 习题", "“练习”应当恰有一个"),
        ("**练习 7.3** 三", "第三题", "至少三题"),
        ("**练习 7.2** 二", "**练习 7.4** 二", "应当是 练习 7.2"),
        ("**练习 7.1** 一", "**练习 6.1** 一", "应当是 练习 7.1"),
        ("check_b(...)", "pass", "练习 7.2 没有一格调用 check_"),
        ("- [ ] 练习 7.2 做完了", "", "练习 7.2 的末尾要有一行"),
        ("check_c(1)", "pass", "练习 7.3 的参考答案没有交给"),
        ("# 参考答案\ncheck_a", "# 答案\ncheck_a", "练习 7.1 没有参考答案"),
        (":tags: [hide-cell]\n\n# 参考答案\ncheck_b", "# 参考答案\ncheck_b", "练习 7.2 没有参考答案"),
        (":::{dropdown} 提示\n想一想。\n:::\n\n```{code-cell} ipython3\n:tags: [hide-cell]\n\n"
         "# 参考答案\ncheck_c", "```{code-cell} ipython3\n:tags: [hide-cell]\n\n# 参考答案\ncheck_c",
         "练习 7.3 没有提示"),
        ("## 与原指南对照", "## 指南", "“与原指南对照”应当恰有一个"),
        ("不成立", "无", "没有结论"),
        ("## 小结", "## 总结", "“小结”应当恰有一个"),
        ("- 裁剪去掉走远的好处。", "裁剪去掉走远的好处。", "小结要写成列表"),
        ("## 本章检查清单", "## 清单", "“本章检查清单”应当恰有一个"),
        ("- [ ] 三\n", "", "现有 2 项"),
        ("## 小结", "## 小结\n\n- 一\n\n## 小结", "现有 2 个"),
        ("change = dict()", "change = dict(", "不是合法的 Python"),
    ],
)  # fmt: skip
def test_a_missing_part_is_found(old, new, said):
    assert old in CHAPTER
    found = cb.check_parts(page(CHAPTER.replace(old, new, 1)))
    assert said in messages(found)


def test_parts_out_of_order_are_found():
    summary, checklist = "## 小结", "## 本章检查清单"
    head, _, rest = CHAPTER.partition(summary)
    body, _, tail = rest.partition(checklist)
    swapped = head + checklist + tail + "\n" + summary + body
    assert "次序不对" in messages(cb.check_parts(page(swapped)))


@pytest.mark.parametrize("name", ["sweep", "run_experiment", "load_runs", "load_grid", "watch"])
def test_every_kind_of_experiment_counts(name):
    other = CHAPTER.replace("train(PPOConfig(total_timesteps=500_000))", f"{name}(x, 500_000)")
    assert cb.check_parts(page(other)) == []


# ---- 术语 --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("智能代理看到观测。", "智能代理"),
        ("代理看到观测。", "代理"),
        ("把比值裁切到界内。", "裁切"),
        ("每个小批量用两遍。", "小批量"),
        ("每个小批\n量用两遍。", "小批量"),
        ("调一调超参。", "超参"),
        ("**超参**很多，超参数也是。", "超参"),
        ("回合的累积奖励。", "累积奖励"),
        ("画出误差带。", "误差带"),
        (":::{note} 通用优势估计\n见下。\n:::", "通用优势估计"),
        ("## 批评家的损失", "批评家"),
        ("- [ ] 我会算折扣率", "折扣率"),
        ("它叫“小批量”。", "小批量"),
        ("这里的值函数。", "值函数"),
    ],
)
def test_a_wrong_term_is_found(text, wrong):
    (found,) = cb.check_terms(page(f"# 章\n\n{text}\n"))
    assert found.line == 3 and found.message.startswith(f"“{wrong}”")


@pytest.mark.parametrize(
    "text",
    [
        "智能体选动作，超参数、小批次、价值函数、随机种子、代码片段都可以说。",
        "有人把它叫做“小批量”，常见的译法还有“批评家”。",
        "指南说：“智能代理的累积奖励”。",
        "> 智能代理的累积奖励",
        "每个小批量用两遍。 <!-- check: 允许 -->",
        "<!-- check: 允许 这里说的是投资 -->\n每个月的收益。",
        "行内代码 `小批量` 和注释 <!-- 小批量 --> 不查。",
        "```python\n# 小批量\n```",
        cell("# 小批量\nprint('小批量')"),
    ],
)
def test_right_terms_quotations_and_code_pass(text):
    assert messages(cb.check_terms(page(f"# 章\n\n{text}\n"))) == ""


def test_the_table_of_variants_follows_the_glossary():
    rows = cb.variants()
    assert len(rows) > 50 and len({row.wrong for row in rows}) == len(rows)
    names = (ROOT / "book/glossary.md").read_text(encoding="utf-8").partition("## 不这样说")[0]
    for row in rows:
        assert row.wrong not in row.right or row.right in row.fine, row
        first = re.split("[、（]", row.right)[0]
        assert first in names or first in ("Actor-Critic", "动作空间", "终止状态"), row


# ---- 数 ----------------------------------------------------------------------

CODE = cell(
    'cfg = PPOConfig(total_timesteps=2_000_000, clip_eps=0.2)\nload_config(["lr=4e-3"])\n'
    "assert 0.36 < kl < 0.38 and round(exact, 2) == 976.56 and score == -118\n"
    "assert 100 < wide < 900 and steps == 16 * 128  # 777"
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("一共 300 步。", "300"),
        ("一共 30 万步。", "30 万"),
        ("占了 39.5%。", "39.5%"),
        ("占了 5%。", "5%"),
        ("快 1.5 倍。", "1.5"),
        ("得 -119 分。", "-119"),
        ("得 118 分。", None),
        ("一共 1,234,567 步。", "1,234,567"),
        ("注释里的 777 不算。", "777"),
        ("太宽的范围不算：500。", "500"),
        ("**0.41** 太大", "0.41"),
        ("- [ ] 过了 475 分", "475"),
        ("| 甲 | 乙 |\n|---|---|\n| 一 | 451 |", "451"),
        (":::{note}\n到 451 为止。\n:::", "451"),
        ("约 1e-5。", "1e-5"),
        ("GPU 上 120k 步", "120k"),
        ("走 2012 步。", "2012"),
        ("## 只给 450 步", "450"),
    ],
)
def test_a_number_from_nowhere_is_found(text, number):
    found = cb.check_numbers(page(f"# 章\n\n{text}\n\n{CODE}"))
    assert [re.search(r"正文里的 (.*?) 在", one.message)[1] for one in found] == (
        [number] if number else []
    )


@pytest.mark.parametrize(
    "text",
    [
        "一共 200 万步，就是 2,000,000 步，也是 2000000 步。",
        "裁剪到 0.2，就是 20%。",
        "学习率 0.004，写作 4e-3。",
        "KL 约 0.37。",
        "商是 976.56，约 977，或 976.6。",
        "得 -118 分，一次更新 2048 步，16 个环境。",
        "三件事，10 个种子，第 3 遍，-1 分。",
        "第 12 章，第 5 到第 8 章，第 11、12 章，练习 7.1 和 7.12，图 12.3，式（13），§ 11.2。",
        "Schulman 等（2017，式 7；arXiv:1707.06347），Huang et al. (2022)，2026 年，2026-11-22。",
        "Python 3.11，CartPole-v1，PPO2，float32，GPT-42，H100，`lr=77`。",
        "当 $x = 0.77$ 时，0.77 也可以在正文里说。",
        "$$\n0.123 + 0.456\n$$",
        "95% 的置信带，从 0 到 100%。",
        "12. 第十二条",
        "指南说“要跑 977 次”。",
        "> 要跑 977 次",
        "| 指南的说法 | 结论 |\n|---|---|\n| 约 977.5 次 | 不成立 |",
        "| 文件 | 哪一章细讲 |\n|---|---|\n| `a.py` | 12 |",
        "细节有 37 条。 <!-- check: 允许 论文里的数 -->",
        "<!-- check: 允许 -->\n\n细节有 37 条。",
        "见 [说明](https://example.org/12345) 和 https://example.org/67890 。",
        "```\n777\n```",
        '```{figure} a-123.png\n:alt: 图\n:width: 480px\n```',
    ],
)  # fmt: skip
def test_numbers_of_the_page_and_references_pass(text):
    assert messages(cb.check_numbers(page(f"# 章\n\n{text}\n\n{CODE}"))) == ""


def test_the_mark_of_an_exception_survives_the_conversion_to_a_notebook():
    text = CHAPTER.replace("训练 50 万步。", "训练 60 万步。 <!-- check: 允许 -->")
    assert messages(all_findings(text)) == ""
    assert "60 万步" in notebooks.to_ipynb(text, "07")


# ---- 链接 --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "[坏](99_nothing.md)",
        "[坏](../book/nothing.md)",
        "![一张图在这里](../book/static/nothing.png)",
        "[坏](#nothing)",
        "[坏](../book/usage.md#nothing)",
        "[坏]()",
        "{ref}`nothing`",
        "{ref}`字 <nothing>`",
        "{eq}`nothing`",
        "{numref}`图 %s <nothing>`",
        "{doc}`nothing`",
        "{doc}`/book/nothing`",
        "{term}`种子`",
        "{download}`nothing.csv`",
        '<a href="nothing.html">坏</a>',
        "```{figure} nothing.png\n:alt: 图里有一条线\n```",
        "没有的脚注[^1]。",
    ],
)
def test_a_broken_link_is_found(text):
    found = cb.check_links(page(f"# 章\n\n{text}\n"), {"here"}, {"种子（seed）"})
    assert [one.line for one in found] == [3], messages(found)


@pytest.mark.parametrize(
    "text",
    [
        "[好](01_overview.md)，[好](../book/usage.md)，[好](/book/usage.md)，[好](#here)",
        "[好](../book/usage.md#here)，<https://example.org>，[好](https://example.org/nothing)",
        "![封面上的一页](../book/static/screenshot.png)",
        "{ref}`here`，{ref}`字 <here>`，{eq}`here`，{numref}`here`，{term}`种子（seed）`",
        "{doc}`01_overview`，{doc}`/book/usage`",
        "代码里的 `[坏](nothing.md)` 不查。 <!-- [坏](nothing.md) -->",
        "有脚注[^1]。\n\n[^1]: 在这里",
        cell("'[坏](nothing.md)'"),
    ],
)
def test_good_links_pass(text):
    found = cb.check_links(page(f"# 章\n\n{text}\n"), {"here"}, {"种子（seed）"})
    assert messages(found) == ""


def test_labels_of_every_kind_are_known():
    text = "(a)=\n## 节\n\n$$ x $$ (b)\n\n```{math}\n:label: c\nx\n```\n\n[字]{#d}\n"
    assert cb.labels([page(text)]) == {"a", "b", "c", "d"}
    assert cb.terms([page("```{glossary}\n种子（seed）\n  说明\n```\n")]) == {"种子（seed）"}


def test_links_of_the_built_pages_are_checked(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static/a.css").write_text("")
    (tmp_path / "book/b.html").write_text('<h1 id="种子">B</h1>', encoding="utf-8")
    good = (
        '<link href="_static/a.css?v=1"><a href="book/b.html">b</a><a href="#x">x</a>'
        '<p id="x"><a href="book/b.html#%E7%A7%8D%E5%AD%90">b</a><a href="#">顶</a>'
        '<a href="https://example.org/none">外</a><img src="data:," alt="">'
    )
    (tmp_path / "a.html").write_text(good, encoding="utf-8")
    assert messages(cb.check_html(tmp_path)) == ""
    bad = (
        '<a href="no.html">1</a><a href="#no">2</a><a href="book/b.html#no">3</a>'
        '<script src="_static/no.js"></script><img src="_static/a.css">'
    )
    (tmp_path / "a.html").write_text(bad, encoding="utf-8")
    assert len(cb.check_html(tmp_path)) == 5


# ---- 替代文字 ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "![](../book/static/screenshot.png)",
        "![ ](a.png)",
        '<img src="a.png">',
        '<img src="a.png" alt="">',
        "```{figure} a.png\n图的说明\n```",
        "```{image} a.png\n:width: 300px\n```",
        ":::{figure} a.png\n:alt:\n说明\n:::",
        cell("show(fig)"),
        cell('show(fig, "")'),
        cell('show(fig, "图")'),
        cell('show(fig, alt="一张图")'),
        cell('show(fig, f"{x}图")'),
        cell("show(fig, text)"),
        cell("plt.show()"),
        cell("fig.show()"),
        cell("fig, ax = plt.subplots()"),
        cell("fig, ax = new_figure()\nax.plot(x)"),
        cell("Image('a.png')"),
        cell("HTML('<img src=a.png>')"),
    ],
)
def test_an_image_without_alt_is_found(text):
    assert len(cb.check_alt(page(f"# 章\n\n{text}\n"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "![封面上的一页](../book/static/screenshot.png)",
        '<img src="a.png" alt="封面上的一页">',
        "```{figure} a.png\n:width: 300px\n:alt: 两条上升的线\n图的说明\n```",
        cell('show(fig, "两条线，一条在上升，一条不动")'),
        cell('show(fig, alt="两条线，一条在上升，一条不动")'),
        cell('show(fig, f"两条线，{x} 在上升")'),
        cell('show(fig, "两条线，" + f"{x} 在上升")'),
        cell('text = "两条线，一条在上升"\nshow(fig, text)'),
        cell("show(dashboard(run), dashboard_alt(run))"),
        cell("def draw(x):\n    fig, ax = new_figure()\n    return fig"),
        cell("plt.show()  # check: 允许"),
        "`![](a.png)`",
    ],
)
def test_images_with_alt_pass(text):
    assert messages(cb.check_alt(page(f"# 章\n\n{text}\n"))) == ""


# ---- 画不出的字 ---------------------------------------------------------------


@pytest.mark.parametrize("text", ["燚", "标题 🚀", "✅ 通过", "籖"])
def test_tofu_is_found(text):
    for code in (f'ax.set_title("{text}")', f'ax.set_title(f"{{x}}{text}")'):
        (found,) = cb.check_tofu(page(f"# 章\n\n{cell(code)}"))
        assert found.line == 4 and "会画成方框" in found.message


def test_drawable_characters_comments_and_prose_pass():
    code = 'ax.set_title("优势 $\\\\hat A$ 的熵 ≤ σ² · ε₁ → ∞，⌊x⌋\\n")  # 燚'
    assert messages(cb.check_tofu(page(f"# 章 燚\n\n{cell(code)}"))) == ""
    assert cb.check_tofu(page(cell('print("燚")  # check: 允许'))) == []


def test_tofu_in_the_library_is_found(tmp_path):
    (tmp_path / "plotting").mkdir()
    (tmp_path / "networks").mkdir()
    (tmp_path / "plotting/a.py").write_text('"""燚"""\n\nTITLE = "燚"\n', encoding="utf-8")
    (tmp_path / "networks/b.py").write_text('TITLE = "燚"\n', encoding="utf-8")
    (found,) = cb.check_library_tofu(tmp_path)
    assert (found.path.name, found.line) == ("a.py", 3)


# ---- 加粗 --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["**看不出差别。**用 10 遍", "是**“好处”**的意思", "值是**$x$**吗"],
)
def test_bold_that_does_not_work_is_found(text):
    page = cb.read_page(ROOT / "chapters/99_x.md", text)
    assert len(cb.check_bold(page)) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "**看不出差别**。用 10 遍",
        "（**重点**）",
        "先说：**重点**，再说",
        "`a**b` 和 **c**",
        "$a^{**}$",
    ],
)
def test_bold_that_works_passes(text):
    page = cb.read_page(ROOT / "chapters/99_x.md", text)
    assert cb.check_bold(page) == []


def test_bold_in_the_strings_of_a_cell_is_checked():
    cell = '```{code-cell} ipython3\nMarkdown(f"**只有 {x}。**后来")\n```\n'
    page = cb.read_page(ROOT / "chapters/99_x.md", cell)
    assert [finding.line for finding in cb.check_bold(page)] == [2]


# ---- 区间 --------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "assert bootstrap_band(a)[1] < bootstrap_band(b)[0]",
        "bands = {v: bootstrap_band(x) for v, x in runs.items()}\nworse = [v for v in bands if bands[v][1] < bands['默认'][0]]",
    ],
)
def test_two_intervals_compared_by_size_are_found(code):
    assert "差的区间" in messages(cb.check_intervals(page(cell(code))))


@pytest.mark.parametrize(
    "code",
    [
        "assert bootstrap_band(a)[1] < 475",
        "low, high = bootstrap_band(a)\nassert low <= 0 <= high",
        "found = compare({'甲': (a, b)})\nassert found['甲'].low > 0",
        "assert bootstrap_band(a)[1] < 4 < bootstrap_band(b)[0]  # check: 允许 各与 4 比",
    ],
)
def test_one_interval_and_the_interval_of_the_difference_pass(code):
    assert cb.check_intervals(page(cell(code))) == []
