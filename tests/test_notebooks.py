"""各章的源与生成的 .ipynb。运行 .ipynb 的是 nbval，见 Makefile 的 test。"""

import time
from pathlib import Path

import jupyter_client
import nbformat
import pytest
import sync_notebooks
import yaml

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
    stale = [path.name for path in sync_notebooks.out_of_date()]
    assert stale == [], "请运行 make notebooks"


def test_conversion_is_reproducible():
    assert sync_notebooks.to_ipynb(SAMPLE) == sync_notebooks.to_ipynb(SAMPLE)


def test_equal_cells_get_different_ids():
    notebook = nbformat.reads(sync_notebooks.to_ipynb(SAMPLE), as_version=4)
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids)) == 3


def test_an_edit_changes_only_its_own_cell_id():
    before, after = (
        nbformat.reads(sync_notebooks.to_ipynb(text), as_version=4)
        for text in (SAMPLE, SAMPLE.replace("标题", "新标题"))
    )
    changed = [a.id != b.id for a, b in zip(before.cells, after.cells, strict=True)]
    assert changed == [True, False, False]


def test_check_lists_stale_and_orphaned_notebooks(tmp_path):
    (tmp_path / "01_a.md").write_text(SAMPLE, encoding="utf-8")
    (tmp_path / "02_gone.ipynb").write_text("{}", encoding="utf-8")
    changes = sync_notebooks.out_of_date(tmp_path)
    assert {path.name for path in changes} == {"01_a.ipynb", "02_gone.ipynb"}
    assert changes[tmp_path / "02_gone.ipynb"] is None


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
