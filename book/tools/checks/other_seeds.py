"""换几批种子，再运行各章：页上的断言，是不是只对碰巧的那一批成立？

    python -m book.tools.checks.other_seeds                     各章和勘误，各换三批
    python -m book.tools.checks.other_seeds chapters/07_*.md --sets 10
    JUPYTER_PATH=_build/colab python -m book.tools.checks.other_seeds --kernel colab   在像 Colab 的内核上

CPU 不同、JAX 的版本不同，舍入就不同，训练走不了多远便分道扬镳，与换一批种子无异。所以在这里站不住的
话，换一台机器也会站不住。它不在 make test 里：一批要好几分钟。改了现场训练的格以后，请运行一遍。

页里写的种子不变，变的是它们的钥匙：第 i 批里，种子 s 用的是 1000·i + s 的钥匙。有的格把训练与不经过
``ppo_lib.training`` 的东西逐位比较，换了钥匙自然不等；这样的格打上标签 ``this-seed``，不算。
"""

import argparse
import sys
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[3]
EXPECTED = {"this-seed", "raises-exception"}
"""有这些标签的格，出错不算。"""

SHIFT = """
import ppo_lib, ppo_lib.training
usual_key = ppo_lib.training.make_key
ppo_lib.training.make_key = lambda seed: usual_key({shift} + seed)
"""


def failures(path: Path, shift: int, kernel: str = "python3") -> list[str]:
    """换了种子以后运行一页，返回出错的各格：错误和这一格的代码。出错之后接着运行下一格。"""
    notebook = jupytext.read(path)
    notebook.cells.insert(0, new_code_cell(SHIFT.format(shift=shift)))
    client = NotebookClient(notebook, timeout=900, kernel_name=kernel, allow_errors=True)
    client.execute(cwd=path.parent)
    return [
        f"{output.ename}: {output.evalue}\n{cell.source}"
        for cell in notebook.cells
        if cell.cell_type == "code" and not EXPECTED & set(cell.metadata.get("tags", []))
        for output in cell.outputs
        if output.output_type == "error"
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="换几批种子，再运行各章")
    parser.add_argument("pages", nargs="*", type=Path, help="缺省是各章和勘误")
    parser.add_argument("--sets", type=int, default=3, help="换几批")
    parser.add_argument("--kernel", default="python3")
    args = parser.parse_args()
    pages = args.pages or [*sorted((ROOT / "chapters").glob("*.md")), ROOT / "book/errata.md"]
    fragile = 0
    for page in pages:
        for i in range(1, args.sets + 1):
            found = failures(page.resolve(), 1000 * i, args.kernel)
            fragile += len(found)
            print(
                f"{page.name}，第 {i} 批：{len(found)} 格出错", *found, sep="\n\n", flush=True
            )
    return fragile > 0


if __name__ == "__main__":
    sys.exit(main())
