"""三份作业：由各章的源和练习的声明写出学生的笔记本和老师的材料。

    python -m book.tools.teach.assignments

写进 _build/assignments：``student/`` 发给学生；``teacher/`` 自己留着，里面有带答案的笔记本和一个秘密的种子。
题目、空着的函数、提示和参考答案都取自各章的“练习”，判法是 ppo_lib.course 里的同一份声明；打分用的输入由秘密的
种子生成，与学生看得到的不同。要写出的东西里漏了答案或隐藏的输入，就报错，什么也不写。
"""

import ast
import dataclasses
import functools
import inspect
import json
import os
import re
import secrets
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import jupytext
import numpy as np

from book.tools.generate.notebooks import to_ipynb
from book.tools.teach.sandbox import Limits
from book.tools.teach.study import STUDY_PARTS
from ppo_lib.course import ch06, ch07, ch16
from ppo_lib.course.exercises import FunctionExercise
from ppo_lib.course.exercises.sameness import show

ROOT = Path(__file__).parents[3]
OUT = ROOT / "_build/assignments"
SEED_FILE = OUT / "teacher/seed.json"
STUDY_SOURCE = Path(__file__).with_name("beta1.myst")

# ---- 声明 --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FunctionPart:
    """作业里的一题：书里的一道写函数的练习。"""

    number: str  # 练习的题号，例如 "6.2"
    check: FunctionExercise
    points: int

    @property
    def title(self) -> str:
        """题目的一句话，不带题号。"""
        return self.check.task.partition("：")[2]

    @functools.cached_property
    def block(self) -> "Block":
        """这道题在章里的几格。"""
        return exercise_block(self.number)

    @property
    def name(self) -> str:
        """学生要写的函数的名字。"""
        return re.search(r"^def (\w+)", self.block.stub, re.MULTILINE)[1]

    @property
    def solution(self) -> str:
        """参考答案的一格，函数用学生的名字：这样的一本也能打分。"""
        name = re.search(r"^def (\w+)", self.block.solution, re.MULTILINE)[1]
        return self.block.solution.replace(name, self.name)


@dataclasses.dataclass(frozen=True)
class ValuePart:
    """作业里的一题：由笔记本算出的几个值来判；``judge`` 收到普通的数，返回肯定的话或抛 ``Mistake``。"""

    title: str
    names: tuple[str, ...]
    judge: Callable[..., str]
    points: int


@dataclasses.dataclass(frozen=True)
class Assignment:
    """一份作业。report 是报告的满分，由老师按评分表给。"""

    title: str
    parts: tuple[FunctionPart | ValuePart, ...]
    report: int = 0
    library: bool = False  # 打分时有没有 ppo_lib
    limits: Limits = Limits()


ASSIGNMENTS = {
    "gae": Assignment(
        "作业一：广义优势估计",
        (
            FunctionPart("6.2", ch06.check_my_gae, 40),
            FunctionPart("6.4", ch06.check_my_target, 40),
            FunctionPart("16.7", ch16.check_batch_normalize, 20),
        ),
    ),
    "clip": Assignment(
        "作业二：裁剪的损失和它的梯度",
        (
            FunctionPart("7.2", ch07.check_my_objective, 45),
            FunctionPart("7.3", ch07.check_my_slope, 35),
            FunctionPart("7.4", ch07.check_kl_estimate, 20),
        ),
    ),
    "beta1": Assignment(
        "作业三：beta_1 的一个小研究",
        tuple(ValuePart(*part) for part in STUDY_PARTS),
        report=60,
        library=True,
        limits=Limits(seconds=400, cell_seconds=300),
    ),
}

# ---- 从章里取一道练习 -----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Block:
    """一道练习在章里的几格。"""

    prose: str
    stub: str  # 学生要填的一格，不带 import
    hint: str
    solution: str


def chapter_source(number: str) -> str:
    """练习 number 所在的章的源。"""
    (path,) = (ROOT / "chapters").glob(f"{int(number.split('.')[0]):02d}_*.md")
    return path.read_text(encoding="utf-8")


def exercise_block(number: str) -> Block:
    """练习 number 的题目、空着的函数、提示和参考答案。"""
    start, end = f"**练习 {number}** ", f"- [ ] 练习 {number} 做完了"
    text = start + chapter_source(number).partition(start)[2].partition(end)[0]
    codes = re.findall(r"```\{code-cell\}[^\n]*\n(.*?)```", text, re.DOTALL)
    (solution,) = (code for code in codes if "# 参考答案" in code)
    (stub,) = (code for code in codes if re.match(r"(?:from .*?\n\n)?def ", code, re.DOTALL) and code != solution)  # fmt: skip
    return Block(
        prose=text.partition("```{code-cell}")[0].removeprefix(start).strip(),
        stub=stub[stub.index("def ") :].strip(),
        hint=re.search(r":::\{dropdown\} 提示\n(.*?)\n:::", text, re.DOTALL)[1],
        solution=solution.partition("# 参考答案\n")[2].strip(),
    )


# ---- 笔记本 -------------------------------------------------------------------

HEADER = """---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""

CHECKED = "把 `...` 换成你的代码。每一题下面的检查，错了会说错在哪里；打分用的是**同一个检查，另外的输入**，所以别把数写死。"

RULES = """打分时，每份作业在一个隔开的进程里从上到下运行一遍：{library}没有网络，也没有别的文件；一格至多 {cell} 秒，全部至多 {total} 秒，内存至多 {memory:g} GB。
交上来的就是这一本，文件名写成学号，例如 `20260001.ipynb`。名字和参数不要改。"""


def code_cell(source: str) -> str:
    """MyST 里的一个代码格。"""
    return f"```{{code-cell}} ipython3\n{source}\n```\n\n"


def example(part: FunctionPart) -> str:
    """一组看得到的输入，和应有的结果：检查里第一组不止一个数、结果不全是 0 的。"""
    exercise = part.check
    case, expected = next(
        (case, expected)
        for case, expected in zip(exercise.cases, exercise.expected)
        if np.size(case[0]) > 1 and np.any(expected.value)
    )
    given = "，".join(f"`{name} = {show(x)}`" for name, x in zip(exercise.names, case))
    return f"例：{given} 时，应当得到 `{show(expected.value)}`（写到四位有效数字）。"


def rules(assignment: Assignment) -> str:
    """作业开头的几句话。"""
    limits = assignment.limits
    return RULES.format(
        library="有 NumPy、JAX 和 `ppo_lib`，" if assignment.library else "有 NumPy 和 JAX，**没有** `ppo_lib`（所以检查的几行在打分时会跳过），",
        cell=limits.cell_seconds,
        total=limits.seconds,
        memory=limits.memory / 2**30,
    )  # fmt: skip


def function_source(assignment: Assignment, solutions: bool) -> str:
    """写函数的作业，MyST 的文本；solutions 是老师的一份：多出提示和答案。"""
    text = f"{HEADER}# {assignment.title}\n\n{CHECKED}\n\n{rules(assignment)}\n\n"
    text += code_cell("import jax\nimport jax.numpy as jnp\nimport numpy as np")
    modules = {part.number.split(".")[0] for part in assignment.parts}
    for chapter in sorted(modules, key=int):
        checks = [part for part in assignment.parts if part.number.split(".")[0] == chapter]
        names = ", ".join(part.block.stub.splitlines()[-1].partition("(")[0] for part in checks)
        text += code_cell(f"from ppo_lib.course.ch{int(chapter):02d} import {names}")
    for i, part in enumerate(assignment.parts, 1):
        text += f"## 第 {i} 题：{part.title}（{part.points} 分）\n\n{part.block.prose}\n\n{example(part)}\n\n"
        if solutions:
            text += f"**提示。** {part.block.hint}\n\n"
        text += code_cell(part.solution if solutions else part.block.stub)
    return text


def study_source(assignment: Assignment) -> str:
    """beta_1 研究的作业，MyST 的文本。"""
    text = STUDY_SOURCE.read_text(encoding="utf-8")
    rubric = chapter_source("16").partition("### 评分表\n")[2].partition("```")[0].strip()
    return text.replace("RULES", rules(assignment)).replace("RUBRIC", rubric)


def notebook(key: str, solutions: bool = False) -> str:
    """作业 key 的 .ipynb 的文本。"""
    assignment = ASSIGNMENTS[key]
    study = all(isinstance(part, ValuePart) for part in assignment.parts)
    source = study_source(assignment) if study else function_source(assignment, solutions)
    return to_ipynb(source)


# ---- 有没有漏出去 ---------------------------------------------------------------


def significant_lines(source: str) -> set[str]:
    """一段代码里看得出是答案的行：函数体里不短的语句，不计空白。"""
    lines = set()
    for node in ast.walk(ast.parse(textwrap.dedent(source))):
        if isinstance(node, ast.stmt) and not isinstance(
            node, (ast.FunctionDef, ast.For, ast.If)
        ):
            text = "".join(ast.unparse(node).split())
            if len(text) >= 16 and not text.startswith(("'", '"', "check_")):
                lines.add(text)
    return lines


def plain(text: str) -> str:
    """去掉空白，引号统一，好比较。"""
    return "".join(text.split()).replace('"', "'")


def hidden_values(part: FunctionPart, seed: int) -> set[str]:
    """隐藏的输入里认得出的数组，写成笔记本里会有的样子；学生本来就看得到的不算。"""

    def arrays(exercise):
        values = (np.asarray(x) for case in exercise.cases for x in case if not callable(x))
        return {plain(show(x)) for x in values if x.dtype.kind == "f" and 3 <= x.size <= 24}

    hidden = (arrays(part.check.with_seed(one)) for one in grading_seeds(seed))
    return set().union(*hidden) - arrays(part.check)


def leaks(text: str, assignment: Assignment, seed: int) -> list[str]:
    """学生的一份 text（.ipynb）里漏出的东西：答案的行，参考答案的行，秘密的种子，隐藏的输入。"""
    cells = jupytext.reads(text, fmt="ipynb").cells
    written = plain("\n".join(cell.source for cell in cells) + text)
    found = [f"秘密的种子 {seed}"] if str(seed) in text else []
    for part in assignment.parts:
        if isinstance(part, ValuePart):
            continue
        answers = part.block.solution, inspect.getsource(part.check.reference)
        lines = set().union(*map(significant_lines, answers))
        found += [
            f"练习 {part.number} 的答案：{line}" for line in sorted(lines) if line in written
        ]
        values = sorted(hidden_values(part, seed))
        found += [f"练习 {part.number} 的隐藏输入：{x}" for x in values if x in written]
    return found


# ---- 种子，写出 -----------------------------------------------------------------


def grading_seeds(seed: int) -> list[int]:
    """打分用的几批输入的种子。"""
    return [seed + i for i in range(3)]


def secret_seed(path: Path = SEED_FILE) -> int:
    """秘密的种子；第一次随机取一个，存下来，只有自己读得到。"""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"seed": 10**9 + secrets.randbelow(10**12)}, file)
    return json.loads(path.read_text(encoding="utf-8"))["seed"]


def write(out: Path = OUT) -> list[Path]:
    """写出学生的和老师的材料，返回写了哪些文件。

    Raises:
        ValueError: 学生的一份里漏出了答案或隐藏的输入；什么也没有写。
    """
    seed = secret_seed(out / "teacher/seed.json")
    files = {}
    for key, assignment in ASSIGNMENTS.items():
        files[out / f"student/{key}.ipynb"] = notebook(key)
        if found := leaks(notebook(key), assignment, seed):
            raise ValueError(f"{assignment.title}漏出了：" + "；".join(found))
        if not assignment.report:
            files[out / f"teacher/{key}_answers.ipynb"] = notebook(key, solutions=True)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)


def main() -> None:
    try:
        written = write()
    except ValueError as error:
        sys.exit(str(error))
    for path in written:
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
