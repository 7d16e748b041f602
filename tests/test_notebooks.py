"""各章的源与生成的 .ipynb。

运行 .ipynb 的是 nbval，用 Colab 的版本；内核由 book/tools/checks/colab.py 备好，见 Makefile 的 test。
"""

import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import jax
import jupyter_client
import nbformat
import pytest
import yaml
from jupyter_cache import get_cache
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from book.tools.checks import colab, twice
from book.tools.generate import colab_setup, notebooks, plain_markdown

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "chapters").glob("*.md"))
SAMPLE = """\
---
kernelspec:
  display_name: Python 3
  name: python3
---

# 标题

```{code-cell} ipython3
1 + 1
```

```{code-cell} ipython3
1 + 1
```
"""


def test_notebooks_are_up_to_date():
    stale = [path.name for path in notebooks.out_of_date()]
    assert stale == [], "请运行 make notebooks"


def test_conversion_is_reproducible():
    assert notebooks.to_ipynb(SAMPLE) == notebooks.to_ipynb(SAMPLE)


def test_equal_cells_get_different_ids():
    notebook = nbformat.reads(notebooks.to_ipynb(SAMPLE), as_version=4)
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids)) == 4  # 第一格，标题，两格代码


def test_an_edit_changes_only_its_own_cell_id():
    before, after = (
        nbformat.reads(notebooks.to_ipynb(text), as_version=4)
        for text in (SAMPLE, SAMPLE.replace("标题", "新标题"))
    )
    changed = [a.id != b.id for a, b in zip(before.cells, after.cells, strict=True)]
    assert changed == [False, True, False, False]


def test_check_lists_stale_and_orphaned_notebooks(tmp_path):
    (tmp_path / "01_a.md").write_text(SAMPLE, encoding="utf-8")
    (tmp_path / "02_gone.ipynb").write_text("{}", encoding="utf-8")
    changes = notebooks.out_of_date(tmp_path)
    assert {path.name for path in changes} == {"01_a.ipynb", "02_gone.ipynb"}
    assert changes[tmp_path / "02_gone.ipynb"] is None


# ---- 第一格 ------------------------------------------------------------------


def read(path):
    return nbformat.read(path.with_suffix(".ipynb"), as_version=4)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_the_setup_cell_comes_first_and_once(chapter):
    cells = read(chapter).cells
    tagged = [colab_setup.SETUP_TAG in cell.metadata.get("tags", []) for cell in cells]
    assert tagged == [True] + [False] * (len(cells) - 1)
    assert cells[0].source == colab_setup.setup_source(chapter.name[:2])
    assert f'CHAPTER = "{chapter.name[:2]}"' in cells[0].source
    assert colab_setup.SETUP_TAG not in chapter.read_text(encoding="utf-8")


@pytest.fixture
def setup(monkeypatch):
    """运行过的第一格，它要 pip 装的包（并不真的装），和 pip 每次的结果（默认成功）。

    运行过之后，再假装 ppo_lib 没有装。
    """
    asked, results, version = [], [], metadata.version

    def pip(command, **options):
        assert command[1:6] == ["-m", "pip", "install", "--quiet", "--no-deps"]
        asked.append(command[6:])
        return subprocess.CompletedProcess(
            command, results.pop(0) if results else 0, "", "断了"
        )

    monkeypatch.setattr(subprocess, "run", pip)
    names = {}
    exec(colab_setup.setup_source("01"), names)
    names["_version"] = lambda name: (
        None if "no-such" in name or name == "ppo-lib" else version(name)
    )
    return names, asked, results


def fake_packages(monkeypatch, requirements):
    """假装 ``requirements`` 是各个包的依赖。没有这些包，但 numpy、jax 是真有的。"""
    monkeypatch.setattr(metadata, "requires", lambda name: requirements.get(name))


def test_the_setup_cell_installs_nothing_where_ppo_lib_is(monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: pytest.fail(command))
    exec(colab_setup.setup_source("01"), {})
    printed = capsys.readouterr().out
    assert re.search(r"^设备：(CPU|GPU|TPU)（.+），jax \d", printed)
    assert "这一章" in printed and "菜单" not in printed


def test_the_setup_cell_tells_colab_users_how_to_get_a_gpu(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    exec(colab_setup.setup_source("01"), {})
    assert ("更改运行时类型" in capsys.readouterr().out) == (jax.default_backend() == "cpu")


def test_the_setup_cell_installs_missing_packages_only(setup, monkeypatch, capsys):
    names, asked, _ = setup
    wanted = ["jax>=0.7", "no-such-a>=1", "numpy<1", "pytest; extra == 'test'"]
    fake_packages(monkeypatch, {"ppo-lib": wanted, "no-such-a": ["no-such-b<3", "jax>99"]})
    names["SOURCE"], names["TRIED"] = "git+地址", "no-such-a==1.2 jax==99"
    names["_install"]()
    assert asked == [["git+地址"], ["no-such-a==1.2"], ["no-such-b<3"]]
    printed = capsys.readouterr().out
    assert "注意：numpy" in printed and "注意：jax" not in printed  # 不合的，只提醒


def test_tried_versions_that_fail_are_followed_by_the_newest(setup, monkeypatch):
    names, asked, results = setup
    fake_packages(monkeypatch, {"ppo-lib": ["no-such-a>=1"]})
    names["SOURCE"], names["TRIED"] = "git+地址", "no-such-a==1.2"
    results[:] = [0, 1, 0]
    names["_install"]()
    assert asked[1:] == [["no-such-a==1.2"], ["no-such-a>=1"]]


def test_the_setup_cell_explains_its_failures_in_chinese(setup):
    names, asked, results = setup
    names["SOURCE"] = ""
    with pytest.raises(RuntimeError, match="SOURCE 改成仓库的地址"):
        names["_install"]()
    assert asked == []
    names["SOURCE"], results[:] = "git+地址", [1]
    with pytest.raises(RuntimeError, match="没有装好。请先检查网络(.|\n)*断了"):
        names["_install"]()


def test_an_installed_ppo_lib_is_not_fetched_again(setup, monkeypatch):
    names, asked, _ = setup
    names["_version"] = {"ppo-lib": "0.1"}.get
    fake_packages(monkeypatch, {"ppo-lib": ["no-such-a>=1"]})
    names["_install"]()
    assert asked == [["no-such-a>=1"]]


def test_the_repository_is_written_in_one_place(tmp_path, monkeypatch):
    monkeypatch.setattr(colab_setup, "ROOT", tmp_path)
    (tmp_path / "requirements-colab.in").write_text("jax==1\n# ---- 补\n# 说明\nb==2\nc==3\n")
    project = tmp_path / "pyproject.toml"
    project.write_text("[project]\nname = 'ppo-lib'\n")
    assert 'SOURCE = ""  #' in colab_setup.setup_source("01")
    project.write_text("[project.urls]\nRepository = 'https://github.com/someone/ppo/'\n")
    source = colab_setup.setup_source("01")
    assert 'SOURCE = "git+https://github.com/someone/ppo"  #' in source
    assert 'TRIED = "b==2 c==3"  #' in source


# ---- 隐藏的单元 --------------------------------------------------------------


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_hidden_cells_are_hidden_in_colab_and_in_jupyterlab(chapter):
    for cell in read(chapter).cells[1:]:
        tags = set(cell.metadata.get("tags", []))
        source = bool(tags & {"hide-input", "remove-input", "hide-cell", "remove-cell"})
        outputs = bool(tags & {"hide-output", "remove-output", "hide-cell", "remove-cell"})
        jupyter = cell.metadata.get("jupyter", {})
        assert jupyter.get("source_hidden", False) == source
        assert (cell.metadata.get("cellView") == "form") == source
        assert jupyter.get("outputs_hidden", False) == outputs
        if source and "参考答案" in cell.source:
            assert cell.source.startswith("# @title ")


# ---- MyST 变成普通的 Markdown ------------------------------------------------


def plain(text, **options):
    return plain_markdown.convert(text, plain_markdown.Names(**options))


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        (
            ":::{dropdown} 提示：`lr < 1`\n先算 `x`。\n:::",
            "<details><summary>提示：<code>lr &lt; 1</code></summary>\n\n先算 `x`。\n\n</details>",
        ),
        (
            "```{toggle}\n:open:\n内容\n```",
            "<details open><summary></summary>\n\n内容\n\n</details>",
        ),
        (":::{note}\n一\n\n二\n:::", "> **备注**\n>\n> 一\n>\n> 二"),
        (
            ":::{admonition} 猜一猜\n:class: tip\n- [ ] 一\n:::",
            "> **猜一猜**\n>\n> - [ ] 一",
        ),
        (
            ":::{admonition} 展开\n:class: dropdown\n内容\n:::",
            "<details><summary>展开</summary>\n\n内容\n\n</details>",
        ),
        (
            "::::{warning}\n:::{dropdown} 为什么\n因为\n:::\n::::",
            "> **警告**\n>\n> <details><summary>为什么</summary>\n>\n> 因为\n>\n> </details>",
        ),
        ("前\n:::{tip}\n中\n:::\n后", "前\n\n> **小技巧**\n>\n> 中\n\n后"),
        ("```{math}\nx^2\n```", "$$\nx^2\n$$"),
        ("```{code-block} python\n:caption: 例\nx = 1\n```", "```python\nx = 1\n```"),
        (
            "```{glossary}\n种子（seed）\n  一个整数。\n\n更新\n  一圈。\n```",
            "**种子（seed）**<br>\n一个整数。\n\n**更新**<br>\n一圈。",
        ),
        ("```{exercise} 二\n:label: ex\n做。\n```", "**练习 二**\n\n做。"),
        (
            "```{solution} ex\n答。\n```",
            "<details><summary>参考解答</summary>\n\n答。\n\n</details>",
        ),
        (
            "::::{tab-set}\n:::{tab-item} 甲\n一\n:::\n:::{tab-item} 乙\n二\n:::\n::::",
            "**甲**\n\n一\n\n**乙**\n\n二",
        ),
        ("- 一\n\n  :::{tip}\n二\n  :::", "- 一\n\n  > **小技巧**\n  >\n  > 二"),
        ("```python\n{term}`x`\n% 注释\n```", "```python\n{term}`x`\n% 注释\n```"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("- [ ] 会算\n- [x] 会画", "- [ ] 会算\n- [x] 会画"),
        ("(标签)=\n## 标题\n% 给作者看的\n正文", "## 标题\n正文"),
        ("步长\n: 一步有多大。\n\n后文", "**步长**<br>\n一步有多大。\n\n后文"),
        ("见{term}`种子`和{term}`它 <种子>`。", "见种子和它。"),
        ("{math}`x_1`、`{x}`、`` `{a}` ``", "$x_1$、`{x}`、`` `{a}` ``"),
        (
            "H{sub}`2`O，{kbd}`Esc`，{abbr}`PPO (近端)`",
            "H<sub>2</sub>O，<kbd>Esc</kbd>，PPO（近端）",
        ),
        ("$a_{[1]}(x)$ 与 $$b % c$$", "$a_{[1]}(x)$ 与 $$b % c$$"),
        ("[字]{.red}，`x`{l=python}，[a, b]", "字，`x`，[a, b]"),
        ("[网站](https://example.com){target=x}", "[网站](https://example.com)"),
        ("话[^1]\n\n[^1]: 出处", "话<sup>[1]</sup>\n\n<sup>[1]</sup> 出处"),
        (
            "\\begin{align*}\na &= b\n\\end{align*}",
            "$$\n\\begin{aligned}\na &= b\n\\end{aligned}\n$$",
        ),
    ],
)
def test_directives_become_plain_markdown(myst, markdown):
    assert plain(myst) == markdown
    assert plain_markdown.leftovers(markdown) == []


def test_references_become_titles_numbers_and_links(tmp_path):
    folder = tmp_path / "chapters"
    folder.mkdir()
    (folder / "02_b.md").write_text("# 第二章\n\n(gae)=\n## 优势\n", encoding="utf-8")
    (tmp_path / "book").mkdir()
    (tmp_path / "book/glossary.md").write_text("# 术语表\n", encoding="utf-8")
    text = """\
$$ a $$ (eq-a)

```{exercise}
:label: ex-a
一
```

```{math}
:nowrap:
:label: eq-b
b
```

{eq}`eq-b`，{ref}`gae`，{ref}`那里 <gae>`，[](#gae)，{doc}`02_b`，[书](../book/glossary.md#x)，[](02_b.md)，{doc}`/book/glossary`
"""
    result = plain_markdown.convert(text, plain_markdown.find_names(text, folder))
    assert "$$\na \\tag{1}\n$$" in result and "$$\nb \\tag{2}\n$$" in result
    assert result.strip().split("\n")[-1] == (
        "(2)，优势，那里，优势，[第二章](02_b.ipynb)，[书](../book/glossary.md)，"
        "[第二章](02_b.ipynb)，[术语表](../book/glossary.md)"
    )


def test_images_travel_inside_the_notebook(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    embedded = "data:image/png;base64,cG5n"
    assert plain("![图](a.png){width=50%}", folder=tmp_path) == f"![图]({embedded})"
    figure = ":::{figure} a.png\n:alt: 图\n一张`图`\n:::"
    assert plain(figure, folder=tmp_path) == f"![图]({embedded})\n\n一张`图`"
    (tmp_path / "a.png").write_bytes(bytes(plain_markdown.IMAGE_LIMIT + 1))
    with pytest.raises(plain_markdown.Unsupported, match="太大"):
        plain("![图](a.png)", folder=tmp_path)


@pytest.mark.parametrize(
    "myst",
    [
        "```{mermaid}\nx\n```",
        ":::{note}\n```{code-cell}\n1\n```\n:::",
        ":::{note}\n没有结尾",
        ":::\n没有名字\n:::",
        ":::{note}\n---\nclass: tip\n---\n:::",
        "{glue:text}`x`",
        "{{ 变量 }}",
        "{ref}`没有这个标签`",
        "{eq}`没有这个公式`",
        "[](没有.md)",
        "![](没有.png)",
        "- 一\n: 二",
    ],
)
def test_what_colab_does_not_know_is_an_error(myst):
    with pytest.raises(plain_markdown.Unsupported):
        plain(myst)


def test_an_error_names_the_chapter(tmp_path):
    (tmp_path / "03_c.md").write_text(SAMPLE + "\n```{mermaid}\n```\n", encoding="utf-8")
    with pytest.raises(plain_markdown.Unsupported, match="03_c.md：指令 {mermaid}"):
        notebooks.out_of_date(tmp_path)


@pytest.mark.parametrize(
    "left", [":::{note}", "> ```{math}", "{term}`x`", "(a)=", ": 解释", "- :::{tip}"]
)
def test_leftovers_are_seen(left):
    assert plain_markdown.leftovers(f"前\n{left}\n后") == [left]


def test_what_slips_through_the_conversion_is_an_error():
    with pytest.raises(plain_markdown.Unsupported, match="漏下了"):
        notebooks.to_ipynb(SAMPLE + "\n> :::{note}\n> 引用里的指令\n> :::\n")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_generated_notebook_is_valid_and_has_no_myst(chapter):
    notebook = read(chapter)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert plain_markdown.leftovers(cell.source) == []


# ---- 在 Colab 的版本上 -------------------------------------------------------


def test_colab_lock_has_hashes_and_agrees_with_its_pins():
    text = colab.LOCK.read_text(encoding="utf-8")
    assert "://" not in text and " @ " not in text and "\n-" not in text
    for line in (ROOT / "requirements-colab.in").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.search(f"^{re.escape(line)}( |$)", text, flags=re.MULTILINE), line
    assert text.count("==") <= text.count("--hash=sha256:")


def test_the_colab_environment_lacks_what_the_setup_cell_adds():
    lock = colab.colab_lock()
    assert re.search("^jax==0.7.2 ", lock, flags=re.MULTILINE)
    for pin in colab_setup.tried_versions():
        assert pin in colab.LOCK.read_text(encoding="utf-8") and f"\n{pin}" not in lock


def test_the_colab_check_changes_only_where_ppo_lib_comes_from():
    notebook = nbformat.reads(notebooks.to_ipynb(SAMPLE, "01"), as_version=4)
    before = [cell.source.splitlines() for cell in notebook.cells]
    after = [cell.source.splitlines() for cell in colab.with_source(notebook, "一个包").cells]
    assert before[1:] == after[1:]
    (changed,) = (new for old, new in zip(before[0], after[0], strict=True) if old != new)
    assert changed.startswith("SOURCE = '一个包'  #")


def test_the_colab_check_sees_a_replaced_jax():
    before = {"jax": "0.7.2", "numpy": "2.1.3"}
    assert colab.changed_versions(before, before | {"gymnax": "1.0.1"}) == []
    changed = colab.changed_versions(before, before | {"jax": "0.10.2"})
    assert changed == ["jax 0.7.2 变成了 0.10.2"]


def test_the_colab_check_sees_missing_glyphs_and_myst_in_outputs():
    tofu = "UserWarning: Glyph 20048 missing from font(s) DejaVu Sans."
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text=tofu),
        nbformat.v4.new_output("display_data", {"text/markdown": "见{term}`种子`"}),
        nbformat.v4.new_output("display_data", {"text/markdown": "见 `种子`"}),
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs)
    complaints = list(colab.complaints(nbformat.v4.new_notebook(cells=[cell])))
    assert complaints == [f"图里缺字：{tofu}", "输出里有 Colab 不认得的写法：见{term}`种子`"]


@pytest.mark.slow
def test_outputs_of_the_book_hold_nothing_that_colab_does_not_know(book_html):
    (folder,) = (book_html.parent / ".jupyter_cache").iterdir()
    executed = get_cache(folder)
    records = executed.list_cache_records()
    assert len(records) >= len(CHAPTERS)
    for record in records:
        notebook = executed.get_cache_bundle(record.pk).nb
        assert list(colab.complaints(notebook)) == [], record.uri


# ---- 章节的源 ----------------------------------------------------------------


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_is_a_myst_notebook_in_the_toc(chapter):
    _, header, body = chapter.read_text(encoding="utf-8").split("---\n", 2)
    header = yaml.safe_load(header)
    assert header["kernelspec"]["name"] == "python3"
    assert header["jupytext"]["text_representation"]["format_name"] == "myst"
    assert body.lstrip().startswith("# ")
    assert f"chapters/{chapter.stem}" in (ROOT / "_toc.yml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_stop_button_returns_what_has_been_trained(tmp_path):
    """笔记本的停止按钮：这一格不报错，run 是到此为止的结果，已经存好。"""
    manager = jupyter_client.KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        client.execute(
            "from ppo_lib import PPOConfig, train\n"
            "cfg = PPOConfig(env_name='CartPole-v1', total_timesteps=50_000_000, num_seeds=1, tracker='none')\n"
            f"run = train(cfg, run_dir={str(tmp_path / 'run')!r})"
        )
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("run/metrics/*.npz")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        manager.interrupt_kernel()
        assert client.get_shell_msg(timeout=60)["content"]["status"] == "ok"
        reply = client.execute(
            "assert run.interrupted and 0 < run.metrics.sizes['update'] < cfg.num_updates",
            reply=True,
            timeout=60,
        )
        assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert (tmp_path / "run/metrics.nc").exists() and (tmp_path / "run/policy.npz").exists()


# ---- 每一格两遍，整本两遍 ----------------------------------------------------


def run_twice(*sources):
    """在普通的内核里照 ``doubled`` 运行一本小笔记本；返回停在哪一格，None 表示都过了。"""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    doubled = twice.doubled(nbformat.v4.new_notebook(cells=cells))
    doubled.cells = [cell for cell in doubled.cells if cell.id[0].isdigit()]  # 不用库
    try:
        NotebookClient(doubled, kernel_name="python3", timeout=60).execute()
    except CellExecutionError:
        return next(
            cell.id
            for cell in doubled.cells
            if any(output.output_type == "error" for output in cell.outputs)
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sources", "stopped"),
    [
        (["x = 1", "print(x)"], None),
        (
            ["import os, tempfile", "os.mkdir(tempfile.gettempdir() + f'/{os.getpid()}')"],
            "02-again",
        ),
        (["done = globals().get('done', 0)", "assert not done", "done = 1"], "02-round2"),
        (["assert False"], "01-first"),
    ],
)
def test_what_fails_when_run_again_is_found_and_named(sources, stopped):
    assert run_twice(*sources) == stopped


@pytest.mark.slow
def test_a_library_that_cannot_be_loaded_again_is_found():
    """再载入就出错的文件：%autoreload 只打印一句，``check_reloaded`` 让它停下。"""
    cells = [
        twice.calling(twice.own_copy),
        nbformat.v4.new_code_cell("import ppo_lib.loss\nppo_lib.loss.__file__"),
        nbformat.v4.new_code_cell(
            "with open(ppo_lib.loss.__file__, 'a') as file:\n    file.write('\\ndef (\\n')"
        ),
        twice.calling(twice.edit, ()),
        twice.calling(twice.check_reloaded),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(CellExecutionError, match="AssertionError(.|\n)*ppo_lib.loss"):
        NotebookClient(notebook, kernel_name="python3", timeout=120).execute()


def test_doubled_notebooks_hold_every_cell_of_every_chapter(tmp_path):
    written = twice.write_all(folder=tmp_path)
    assert [path.name for path in written] == [
        path.with_suffix(".ipynb").name for path in CHAPTERS
    ]
    for path, chapter in zip(written, CHAPTERS):
        once = [cell for cell in read(chapter).cells if cell.cell_type == "code"]
        cells = nbformat.read(path, as_version=4).cells
        ours = [cell.id for cell in cells if not cell.id[0].isdigit()]
        assert ours == ["own-copy", "remember", "edit", "check-reloaded"]
        assert cells[2 + 2 * len(once)].id == "edit"
        cells = [cell for cell in cells if cell.id not in ours]
        times = [cell.id.split("-")[1] for cell in cells]
        assert times == ["first", "again"] * len(once) + ["round2"] * len(once)
        for cell in cells:
            original = once[int(cell.id.split("-")[0]) - 1]
            assert cell.source.endswith(original.source)
            assert cell.metadata.get("tags") == original.metadata.get("tags")


def test_make_test_runs_the_doubled_notebooks():
    rule = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ntest: ")[2]
    assert "checks.twice" in rule.partition("\n\n")[0] and "_build/twice" in rule
