"""给一个文件夹的作业打分，写出一张表：每人每题的分数，和每一处丢分的原因。

    python -m book.tools.teach.grade gae 交来的/ --roster 名单.txt

文件夹里一人一本 .ipynb，文件名是学号；名单一行一个学号，没有交的也列出来。表写在
_build/assignments/teacher/grades：.csv 给电子表格，.html 给人看（作业三的报告也在里面）。

学生的函数在沙盒里运行；判它的仍是 ppo_lib.course 里的那份声明，在外面运行，手里是函数的一个替身（``Remote``）：
调用替身，就是把输入送进去，把数取回来。沙盒里改了什么类、打印了什么分数，都与判它的这一边无关。
"""

import argparse
import builtins
import html
import multiprocessing
import re
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import nbformat

from book.tools.generate.colab_setup import SETUP_TAG
from book.tools.site.chapters import side_by_side
from book.tools.teach.assignments import (
    ASSIGNMENTS,
    OUT,
    SEED_FILE,
    Assignment,
    FunctionPart,
    ValuePart,
    grading_seeds,
    secret_seed,
)
from book.tools.teach.driver import decode, encode
from book.tools.teach.sandbox import (
    NO_ISOLATION,
    NotStarted,
    Sandbox,
    Stopped,
    why_not_isolated,
)
from book.tools.teach.table import html_page, html_table, write_csv
from ppo_lib.course.exercises import Mistake
from ppo_lib.course.exercises.running import run

LARGEST = 5 * 2**20
"""一本作业至多多少字节。"""

HEADINGS = ("问题", "预测", "设计", "结果", "结论", "限制", "重做")
"""报告的小标题。"""


class Mark(NamedTuple):
    """一题的分数。score 是 None 的，等老师给。"""

    title: str
    score: int | None
    points: int
    reason: str  # 丢分的原因；满分是空的


class Graded(NamedTuple):
    """一个人的作业。"""

    student: str
    marks: list[Mark]
    report: str = ""

    @property
    def total(self) -> int:
        """机器判的合计。"""
        return sum(mark.score or 0 for mark in self.marks)

    @property
    def reasons(self) -> str:
        """各处丢分的原因，一段话。"""
        return "\n".join(f"{mark.title}：{mark.reason}" for mark in self.marks if mark.reason)


# ---- 沙盒里的函数的替身 ---------------------------------------------------------


class Remote:
    """沙盒里一个函数的替身：像函数一样调用，也能求导（对第 ``gradients`` 个参数）。"""

    def __init__(self, sandbox: Sandbox, name: str, gradients: tuple[int, ...]):
        self.sandbox, self.name, self.gradients = sandbox, name, gradients
        self.differentiable = jax.custom_vjp(self.call)
        self.differentiable.defvjp(self.forward, self.backward)

    def __call__(self, *args):
        traced = any(isinstance(x, jax.core.Tracer) for x in args)
        return self.differentiable(*args) if traced else self.call(*args)

    def call(self, *args):
        return self.ask(op="call", args=[encode(x) for x in args])

    def forward(self, *args):
        return self.call(*args), args

    def backward(self, args, cotangent):
        which = list(self.gradients)
        sent = [encode(x) for x in args]
        found = self.ask(op="vjp", args=sent, which=which, cotangent=encode(cotangent))
        full = [None] * len(args)
        for i, gradient in zip(which, found):
            full[i] = jnp.asarray(gradient)
        return tuple(full)

    def ask(self, **request):
        """问沙盒一句，交出它返回的值，或者抛出它抛的异常。"""
        return value_of(self.sandbox.ask(name=self.name, **request))


def value_of(reply: dict):
    """一个回答里的值。

    Raises:
        Exception: 学生的函数抛出的（同样的类型和原文）。
        Stopped: 回答读不懂。
    """
    if "error" in reply:
        raise revive(reply["error"])
    try:
        return decode(reply["value"])
    except Exception:
        raise Stopped("程序答非所问：交回来的不是它该交的东西。") from None


def revive(described: dict) -> Exception:
    """由 ``driver.describe`` 的描述造出同类的异常，好用同一套话来解释。"""
    described = {key: str(x)[:500] for key, x in dict(described).items()}
    name = re.sub(r"\W", "", described["kind"])[:60] or "Exception"
    kind = getattr(builtins, name, None) or getattr(jax.errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = type(name, (Exception,), {})
    error = kind.__new__(kind, described["text"])
    if isinstance(error, (NameError, ImportError, AttributeError)):
        error.name = described["name"]
    if isinstance(error, AttributeError):
        error.obj = type(described["owner"], (), {})()
    return error


# ---- 一份作业 ------------------------------------------------------------------


def grade_function(part: FunctionPart, sandbox: Sandbox, seed: int) -> tuple[int, str]:
    """一道写函数的题：全对得满分；不然，按隐藏的输入里对了几组，至多得一半。"""
    seen = sandbox.ask(op="look", name=part.name)
    if not seen.get("callable"):
        return 0, f"{part.name}：{missing(seen) or '不是函数'}。{cell_errors(sandbox)}"
    function = Remote(sandbox, part.name, part.check.gradients)
    complaint, right, total = "", 0, 0
    for one in grading_seeds(seed):
        exercise = part.check.with_seed(one)
        verdict = exercise(function)
        complaint = complaint or ("" if verdict else verdict.message)
        for case, expected in zip(exercise.cases, exercise.expected):
            right += verdict.passed or exercise.agree(run(function, case), expected)
            total += 1
    if not complaint:
        return part.points, ""
    score = part.points * right // (2 * total)
    return (
        score,
        f"{complaint}（打分的 {total} 组输入里，值对的有 {right} 组，得 {score} 分。）",
    )


SILENT = ("ModuleNotFoundError", "NameError")
"""不必说的：打分时没有检查，调用它的几行本来就会出错。"""
MEANING = {"CellTimeUp": "超时", "MemoryError": "内存不够", "SyntaxError": "语法错误"}


def missing(reply: dict) -> str:
    """名字不在，或者还没有写；在的话是空的。"""
    return str(reply.get("missing", ""))[:20]


def cell_errors(sandbox: Sandbox) -> str:
    """笔记本里没有运行完的格，一句话。"""
    kinds = [MEANING.get(kind, kind) for kind in sandbox.errors if kind not in SILENT]
    return f"笔记本里有 {len(kinds)} 格没有运行完（{'、'.join(sorted(set(kinds)))}）。" if kinds else ""  # fmt: skip


def grade_values(part: ValuePart, sandbox: Sandbox) -> tuple[int, str]:
    """一道由几个值来判的题。"""
    values = []
    for name in part.names:
        reply = sandbox.ask(op="look", name=name)
        if missing(reply):
            return 0, f"{name}：{missing(reply)}。{cell_errors(sandbox)}"
        values.append(value_of(sandbox.ask(op="value", name=name)))
    try:
        part.judge(*values)
    except Mistake as mistake:
        return 0, str(mistake)
    return part.points, ""


def unexpected(error: Exception) -> str:
    """打分的这一边没有料到的错，写给老师。"""
    return f"请老师看一看，打分时出了意外：{type(error).__name__}：{str(error)[:200]}"


def grade_part(part: FunctionPart | ValuePart, sandbox: Sandbox, seed: int) -> Mark:
    """给一题打分；里面停下了，或者出了意外，都是一个有原因的 0 分。"""
    try:
        if isinstance(part, FunctionPart):
            score, reason = grade_function(part, sandbox, seed)
        else:
            score, reason = grade_values(part, sandbox)
    except Stopped as stopped:
        score, reason = 0, str(stopped)
    except Exception as error:
        score, reason = 0, unexpected(error)
    return Mark(part.title, score, part.points, reason)


def grade_cells(cells: list[str], assignment: Assignment, seed: int, isolated: bool) -> list[Mark]:  # fmt: skip
    """在沙盒里运行一本作业，逐题打分。一题里停下了，下一题换一个新的沙盒。"""

    def open_sandbox() -> Sandbox:
        return Sandbox(cells, assignment.limits, assignment.library, isolated)

    marks, sandbox = [], None
    try:
        for part in assignment.parts:
            sandbox = open_sandbox() if sandbox is None or sandbox.closed else sandbox
            marks.append(grade_part(part, sandbox, seed))
    except Stopped as stopped:  # 笔记本自己就运行不到头，再试也一样
        rest = assignment.parts[len(marks) :]
        marks += [Mark(x.title, 0, x.points, f"运行笔记本时，{stopped}") for x in rest]
    finally:
        if sandbox is not None:
            sandbox.close()
    return marks


class Unreadable(Exception):
    """交上来的不是笔记本；信息是原因。"""


def read_notebook(content: bytes | None) -> nbformat.NotebookNode:
    """读一本作业；content 是 None 表示没有交。"""
    if content is None:
        raise Unreadable("没有交。")
    if len(content) > LARGEST:
        raise Unreadable(f"文件有 {len(content) / 2**20:.0f} MB，不收大于 {LARGEST // 2**20} MB 的：先清除输出再交。")  # fmt: skip
    try:
        notebook = nbformat.reads(content.decode(), as_version=4)
        assert all(isinstance(cell.source, str) for cell in notebook.cells)
    except (Exception, RecursionError):
        raise Unreadable("文件坏了，或者不是笔记本（.ipynb）。") from None
    return notebook


def code_cells(notebook: nbformat.NotebookNode) -> list[str]:
    """要运行的各格：准备环境的那一格在沙盒里用不着。"""
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and SETUP_TAG not in cell.metadata.get("tags", [])
    ]


def report_of(notebook: nbformat.NotebookNode) -> str:
    """报告：“## 报告”之后的正文。"""
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    report = prose.partition("## 报告")[2]
    return (report.partition("一页纸。")[2] or report).strip()  # 评分表不算


def missing_headings(report: str) -> list[str]:
    """报告里没有的，或者下面什么也没有写的小标题。"""
    sections = dict(re.findall(r"^#+ *(\S+)[^\n]*\n(.*?)(?=^#|\Z)", report, re.M | re.S))
    return [name for name in HEADINGS if not sections.get(name, "").strip()]


def all_zero(key: str, reason: str) -> list[Mark]:
    """机器判的各题都是 0 分，同一个原因。"""
    return [Mark(x.title, 0, x.points, reason) for x in ASSIGNMENTS[key].parts]


def grade(student: str, content: bytes | None, key: str, seed: int, isolated: bool) -> Graded:
    """给一个人的作业打分；无论交来什么，都有一行成绩。"""
    assignment, report = ASSIGNMENTS[key], ""
    try:
        notebook = read_notebook(content)
        marks = grade_cells(code_cells(notebook), assignment, seed, isolated)
        report = report_of(notebook) if assignment.report else ""
    except (Unreadable, NotStarted) as error:
        marks = all_zero(key, str(error))
    except Exception as error:  # 一个人的意外，不能让别人没有成绩
        marks = all_zero(key, unexpected(error))
    if assignment.report:
        missing = missing_headings(report)
        reason = f"少了 {'、'.join(missing)}。" if missing else ""
        empty = len(missing) == len(HEADINGS)
        score, reason = (0, "没有写报告。") if empty else (None, f"等老师评。{reason}")
        marks.append(Mark("报告", score, assignment.report, reason))
    return Graded(student, marks, report)


# ---- 一个班 --------------------------------------------------------------------


def collect(folder: Path, roster: Iterable[str] = ()) -> dict[str, bytes | None]:
    """学号 → 交来的内容，打分之前一次读完；名单上没有交的是 None。

    Raises:
        FileNotFoundError: 没有这个文件夹。
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"没有文件夹 {folder}")
    found = {
        path.stem: path.read_bytes() if path.stat().st_size <= LARGEST else bytes(LARGEST + 1)
        for path in folder.iterdir()
        if path.suffix == ".ipynb" and path.is_file() and not path.is_symlink()
    }
    return dict(sorted((dict.fromkeys(roster) | found).items()))


def grade_all(
    submissions: dict[str, bytes | None], key: str, seed: int, isolated: bool, jobs: int = 1
) -> list[Graded]:
    """给全班打分，jobs 份并排；做完一份，说一句。"""
    context = multiprocessing.get_context("spawn")  # JAX 不能 fork
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = [
            pool.submit(grade, student, content, key, seed, isolated)
            for student, content in submissions.items()
        ]
        graded = []
        for (student, content), future in zip(submissions.items(), waiting):
            try:
                one = future.result()
            except BrokenProcessPool:  # 有一份弄死了打分的进程，还没有打完的各自重来
                one = grade_apart(student, content, key, seed, isolated)
            graded.append(one)
            print(f"[{len(graded)}/{len(waiting)}] {one.student}：{one.total} 分", flush=True)
    return graded


def grade_apart(student: str, *rest) -> Graded:
    """同 ``grade``，在自己的进程里；弄死了那个进程的，是 0 分和原因。"""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(grade, student, *rest).result()
        except BrokenProcessPool as error:
            key, reason = rest[1], unexpected(error)
            points = ASSIGNMENTS[key].report
            by_hand = [Mark("报告", None, points, "等老师评。")] if points else []
            return Graded(student, all_zero(key, reason) + by_hand, "")


def rows(graded: list[Graded]) -> list[list[str]]:
    """表：第一行是列名。"""
    heads = [f"{mark.title}（{mark.points}）" for mark in graded[0].marks]
    table = [["学号", *heads, "机器判的合计", "原因"]]
    for one in graded:
        scores = ["待评" if mark.score is None else str(mark.score) for mark in one.marks]
        table.append([one.student, *scores, str(one.total), one.reasons])
    return table


def write_table(graded: list[Graded], key: str, isolated: bool, out: Path) -> list[Path]:
    """写出 .csv 和 .html（作业三再加各人的报告），返回两个文件。"""
    out.mkdir(parents=True, exist_ok=True)
    table, shown = out / f"{key}.csv", out / f"{key}.html"
    write_csv(table, rows(graded))
    how = (
        "每份作业各在一个隔离的沙盒里运行。"
        if isolated
        else "没有隔离（--trust）：只限了时间和内存。"
    )
    note = f"<p>{len(graded)} 人。{how}写函数的题没有全对时，按值对了几组，至多得一半。</p>"
    reports = "".join(
        f"<details><summary>{html.escape(one.student)} 的报告</summary><pre>{html.escape(one.report)}</pre></details>"
        for one in graded
        if one.report
    )
    body = note + html_table(rows(graded)) + reports
    shown.write_text(html_page(ASSIGNMENTS[key].title, body), encoding="utf-8")
    return [table, shown]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m book.tools.teach.grade", description="给一个文件夹的作业打分")  # fmt: skip
    parser.add_argument("assignment", choices=ASSIGNMENTS, help="哪一份作业")
    parser.add_argument("folder", type=Path, help="交来的 .ipynb，文件名是学号")
    parser.add_argument("--roster", type=Path, help="名单，一行一个学号")
    parser.add_argument("--trust", action="store_true", help="不隔离：只给信得过的作业用")
    parser.add_argument("--jobs", type=int, default=side_by_side(), help="几份并排")
    parser.add_argument("--out", type=Path, default=OUT / "teacher/grades", help="表写到哪里")
    options = parser.parse_args()
    if not options.trust and (why := why_not_isolated()):
        sys.exit(NO_ISOLATION.format(why=why))
    if not SEED_FILE.exists():
        sys.exit(
            f"没有 {SEED_FILE.name}：请先运行 make assignments，学生做的要是那时写出的笔记本。"
        )
    roster = options.roster.read_text(encoding="utf-8").split() if options.roster else ()
    try:
        submissions = collect(options.folder, roster)
    except FileNotFoundError as error:
        sys.exit(str(error))
    if not submissions:
        sys.exit(f"{options.folder} 里没有 .ipynb。")
    isolated = not options.trust
    graded = grade_all(submissions, options.assignment, secret_seed(), isolated, options.jobs)
    for path in write_table(graded, options.assignment, isolated, options.out):
        print(f"写出 {path}")


if __name__ == "__main__":
    main()
