"""查书：用错的术语、来历不明的数、断了的链接、没有替代文字的图、画不出的字、不起作用的加粗、比大小的区间、缺了的部分。

    python -m book.tools.checks.book                            查 chapters/ 和 book/ 的全部源文件
    python -m book.tools.checks.book chapters/07_clipping.md    只查这一章
    python -m book.tools.checks.book --html _build/html         再查做好的网页里的链接和图

一行一处毛病，有毛病就以 1 退出。确有必要破例，就在那一行的末尾写 ``<!-- check: 允许 -->``
（代码里写 ``# check: 允许``），或在它前面单独写一行；“允许”后面可以接着写理由。
破例只管术语、数、替代文字、缺字和区间，不管链接和部分。
链接没有用现成的（Sphinx 的 linkcheck 只查向外的，LinkChecker 要开着服务器），因为这里的一次读完源文件，几秒就好。
"""

import argparse
import ast
import operator
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[3]
GLOSSARY = ROOT / "book/glossary.md"
FONT = ROOT / "ppo_lib/plotting/fonts/NotoSansSC-subset.otf"
DRAWING = ("plotting", "course", "replay")
"""ppo_lib 里会往图里写字的几间。"""
ALLOW = "check: 允许"


def allowed(lines: list[str], line: int) -> bool:
    """第 line 行的末尾，或者它前面单独的一行，写着破例的记号。"""
    before = [text.strip() for text in lines[: line - 1] if text.strip()][-1:]
    alone = bool(before) and re.fullmatch(rf"(<!--|#) *{ALLOW}.*", before[0]) is not None
    return alone or ALLOW in lines[line - 1]


class Finding(NamedTuple):
    """一处毛病。"""

    path: Path
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        path = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{path}:{self.line}: [{self.rule}] {self.message}"


class Cell(NamedTuple):
    """一格代码。"""

    line: int  # 代码的第一行
    tags: tuple[str, ...]
    source: str
    tree: ast.Module | None  # None：不是合法的 Python


class Page(NamedTuple):
    """一个源文件。text、markdown、prose 一样长，同一个位置是同一个字。"""

    path: Path
    text: str
    markdown: str  # 去掉（换成空格）代码块
    prose: str  # 再去掉公式、行内代码、网址、注释：剩下给人读的字
    cells: tuple[Cell, ...]

    def line(self, position: int) -> int:
        return self.text.count("\n", 0, position) + 1

    def allows(self, line: int) -> bool:
        """这一行，或者它前面单独的一行，写着破例的记号。"""
        return allowed(self.text.split("\n"), line)

    def number(self) -> int | None:
        """第几章；不是章就是 None。"""
        match = re.match(r"(\d\d)_", self.path.name)
        return int(match[1]) if match else None


# ---- 读一页 ------------------------------------------------------------------

FENCE = re.compile(r"^ *(?P<fence>:{3,}|`{3,}|~{3,}) *(?:\{(?P<name>[\w-]+)\})?(?P<rest>.*)$")
NOT_PROSE = {"code-cell", "code", "code-block", "math", "raw", "mermaid", "image", "toctree"}
"""内容不是给人读的字的指令；没有名字的代码块也不是。"""

INLINE = {
    "comment": re.compile(r"<!--.*?-->", flags=re.DOTALL),
    "code": re.compile(
        r"(?:\{[\w:-]+\})?(?<!`)(`+)(?!`)(?:(?!\n\n).)+?(?<!`)\1(?!`)", flags=re.DOTALL
    ),
    "display": re.compile(r"\$\$.*?\$\$|\\begin\{(\w+\*?)\}.*?\\end\{\1\}", flags=re.DOTALL),
    "formula": re.compile(r"(?<![\\$])\$(?![\s$])(?:(?!\n\n)[^$])*?(?<![\s\\])\$"),
    "target": re.compile(
        r"(?<=\])\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?: \"[^\"]*\")?\)|^\([^)\n]+\)=",
        flags=re.MULTILINE,
    ),
    "attributes": re.compile(r"(?<=[\]\)$`])\{[#.:\w][^}\n]*\}"),
    "url": re.compile(r"https?://[^\s）】》]+"),
    "tag": re.compile(r"</?[a-zA-Z][^>\n]*>"),
}
"""正文里不是字的部分，按这个次序去掉。"""


def blank(text: str) -> str:
    """同样长短的空白，换行照旧。"""
    return re.sub(r"[^\n]", " ", text)


def read_page(path: Path, text: str | None = None) -> Page:
    """读一个源文件；也可以直接给出内容。"""
    text = path.read_text(encoding="utf-8") if text is None else text
    markdown, cells = split_code(text)
    prose = markdown
    for pattern in INLINE.values():
        prose = pattern.sub(lambda match: blank(match[0]), prose)
    return Page(path, text, markdown, prose, tuple(cells))


def split_code(text: str) -> tuple[str, list[Cell]]:
    """把代码块换成空白；另外给出各格代码。提示框里的字仍是正文。"""
    front = re.match(r"---\n.*?\n---\n", text, flags=re.DOTALL)
    text = blank(front[0]) + text[front.end() :] if front else text
    lines, kept, cells = text.split("\n"), [], []
    inside, options = None, False  # 正在哪个代码块里：(围栏, 名字, 第几行)；正在读指令的选项
    for number, line in enumerate(lines, start=1):
        fence = FENCE.match(line)
        if inside:
            kept.append(blank(line))
            if re.fullmatch(rf" *{inside[0][0]}{{{len(inside[0])},}} *", line):
                if inside[1] == "code-cell":
                    cells.append(make_cell(inside[2] + 1, lines[inside[2] : number - 1]))
                inside = None
        elif fence and "`" not in fence["rest"]:
            code = fence["name"] in NOT_PROSE or not (fence["name"] or fence["fence"][0] == ":")
            title = "" if code or fence["name"] in ("figure", None) else fence["rest"]
            kept.append(" " * (len(line) - len(title)) + title)
            inside = (fence["fence"], fence["name"], number) if code else None
            options = not code
        elif options and re.match(r" *:[\w-]+:", line):
            kept.append(blank(line))
        else:
            kept.append(line)
            options = False
    return "\n".join(kept), cells


def make_cell(line: int, lines: list[str]) -> Cell:
    """一格代码；开头的 ``:tags: [...]`` 是选项。IPython 的 ``%`` 和 ``!`` 命令当作空行。"""
    tags: tuple[str, ...] = ()
    while lines and (option := re.match(r":(\w+): *(.*)", lines[0])):
        if option[1] == "tags":
            tags = tuple(re.findall(r"[\w-]+", option[2]))
        line, lines = line + 1, lines[1:]
    source = "\n".join(lines)
    try:
        tree = ast.parse(re.sub(r"^[ \t]*[%!].*$", "", source, flags=re.MULTILINE))
    except SyntaxError:
        tree = None
    return Cell(line, tags, source, tree)


def read_pages(paths: Iterable[Path]) -> list[Page]:
    return [read_page(path) for path in paths]


def sources() -> list[Path]:
    """这本书的全部源文件。"""
    return [*sorted((ROOT / "chapters").glob("*.md")), *sorted((ROOT / "book").glob("*.md"))]


# ---- 语法树 ------------------------------------------------------------------


def called(node: ast.AST) -> str | None:
    """调用的函数的名字，不带前面的模块；不是调用就是 None。"""
    if not isinstance(node, ast.Call):
        return None
    return getattr(node.func, "id", None) or getattr(node.func, "attr", None)


def calls(cell: Cell) -> list[str]:
    """一格里调用到的函数的名字。"""
    return [
        name for node in ast.walk(cell.tree or ast.Module([], [])) if (name := called(node))
    ]


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """语法树里的字符串（含 f 字符串里的字），和它的行号；文档字符串不算。"""
    documents = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in documents:
            if isinstance(node.value, str):
                yield node.lineno, node.value


# ---- 部分：每一章有没有该有的部分 --------------------------------------------------

EXPERIMENTS = re.compile(
    r"(train|sweep|evaluate|make_train|(run|train|load|watch|measure|compare|record)_\w+)"
)
"""算作做实验的函数；此外，从 ppo_lib.course.chNN 引入的函数（check_ 开头的除外）也算。"""


class Section(NamedTuple):
    """一个二级标题下的内容。"""

    title: str
    line: int
    text: str
    cells: tuple[Cell, ...]


def sections(page: Page) -> list[Section]:
    """按二级标题切开；标题之前的是第一节，没有标题。"""
    starts = [0, *(match.start() for match in re.finditer(r"^## ", page.markdown, re.M))]
    ends = [*starts[1:], len(page.text)]
    parts = []
    for start, end in zip(starts, ends):
        line, last = page.line(start), page.line(end - 1)
        title = page.markdown[start:end].split("\n", 1)[0].removeprefix("## ").strip()
        cells = tuple(cell for cell in page.cells if line <= cell.line <= last)
        parts.append(Section(title if start else "", line, page.text[start:end], cells))
    return parts


def experiment_names(page: Page) -> set[str]:
    """从 ppo_lib.course.chNN 引入的函数，检查练习的除外。"""
    return {
        alias.asname or alias.name
        for cell in page.cells
        for node in ast.walk(cell.tree or ast.Module([], []))
        if isinstance(node, ast.ImportFrom)
        and re.match(r"ppo_lib\.course\.ch", node.module or "")
        for alias in node.names
        if not alias.name.startswith("check_")
    }


def check_parts(page: Page) -> list[Finding]:
    """一章依次有：卡片，能做什么，先要会，源码，实验，动手，小测验，练习，对照，小结，清单。"""
    found: list[Finding] = []

    def complain(line: int, message: str) -> None:
        found.append(Finding(page.path, line, "部分", message))

    for cell in page.cells:
        if cell.tree is None:
            complain(cell.line, "这一格不是合法的 Python")
    parts = sections(page)
    check_opening(page, parts[0], complain)
    check_body(page, parts, complain)
    check_closing(page, parts, complain)
    return found


def check_opening(page: Page, opening: Section, complain) -> None:
    """第一个二级标题之前：卡片、目标、先修，依次出现。"""
    wanted = {
        f'chapter_card("{page.number():02}")': rf'chapter_card\("{page.number():02}"\)',
        "**读完这一章，你能：** 和其后的列表": r"\*\*读完这一章，你能[：:]?\*\*[：:]?\s*\n\s*\n?[-*] ",
        "**先要会：**": r"\*\*先要会[：:]?\*\*",
    }
    last = -1
    for name, pattern in wanted.items():
        match = re.search(pattern, opening.text)
        if match is None:
            complain(opening.line, f"第一个二级标题之前缺少 {name}")
        elif match.start() < last:
            complain(page.line(match.start()), f"次序不对：{name} 应当在前一部分之后")
        else:
            last = match.start()


def check_body(page: Page, parts: list[Section], complain) -> None:
    """小测验之前：展示源码，做实验并断言结果，动手。"""
    body = []
    for part in parts:
        if part.title == "小测验":
            break
        body.append(part)
    cells = [cell for part in body for cell in part.cells]
    if not any("show_source" in calls(cell) for cell in cells):
        complain(1, "小测验之前没有一格调用 show_source(…)：要展示库里的源码")
    own = experiment_names(page)
    made = [name for cell in cells for name in calls(cell)]
    if not any(EXPERIMENTS.fullmatch(name) or name in own for name in made):
        complain(
            1,
            "小测验之前没有实验：要有一格调用 train、sweep、run_experiment、load_runs 等，或本章自己的实验函数",
        )
    if not any(isinstance(node, ast.Assert) for cell in cells if cell.tree
               for node in ast.walk(cell.tree)):  # fmt: skip
        complain(1, "小测验之前没有 assert：实验的结论要在格里断言，变了就会被发现")
    movable = [part for part in body if part.title.startswith("动手")]
    if not movable:
        complain(1, "小测验之前没有以“动手”开头的二级标题")
    for part in movable:
        if not part.cells:
            complain(part.line, f"“{part.title}”里没有代码格：要有一样能动的东西")
        if not re.search(r"\*\*.+?\*\*|目标", part.text):
            complain(part.line, f"“{part.title}”里没有目标：用粗体的一句话写出来")


def check_closing(page: Page, parts: list[Section], complain) -> None:
    """小测验、练习、与原指南对照、小结、本章检查清单：依次出现，内容齐全。"""
    checks = {
        "小测验": check_quiz,
        "练习": check_exercises,
        "与原指南对照": check_comparison,
        "小结": check_summary,
        "本章检查清单": check_checklist,
    }
    titles, last = [part.title for part in parts], 0
    for title, check_section in checks.items():
        if titles.count(title) != 1:
            complain(1, f"二级标题“{title}”应当恰有一个，现有 {titles.count(title)} 个")
            continue
        place = titles.index(title)
        if place < last:
            complain(parts[place].line, f"次序不对：“{title}”应当在“{titles[last]}”之后")
        last = max(last, place)
        check_section(page, parts[place], complain)


def check_quiz(page: Page, part: Section, complain) -> None:
    if not any("Quiz" in calls(cell) for cell in part.cells):
        complain(part.line, "小测验里没有一格调用 Quiz(…)")


def check_exercises(page: Page, part: Section, complain) -> None:
    """至少三题，编号连续；每题依次有检查、提示、参考答案，和可以勾的一行。"""
    starts = list(re.finditer(r"^\*\*练习 (\d+)\.(\d+)", part.text, flags=re.MULTILINE))
    if len(starts) < 3:
        complain(
            part.line, f"练习至少三题，写成 **练习 {page.number()}.1**；现有 {len(starts)} 题"
        )
    ends = [*(start.start() for start in starts[1:]), len(part.text)]
    for number, (start, end) in enumerate(zip(starts, ends), start=1):
        name = f"练习 {start[1]}.{start[2]}"
        line = part.line + part.text.count("\n", 0, start.start())
        wanted = f"练习 {page.number()}.{number}"
        if name != wanted:
            complain(line, f"编号是 {name}，应当是 {wanted}")
        stop = part.line + part.text.count("\n", 0, end)
        cells = [cell for cell in part.cells if line <= cell.line < stop]
        is_answer = [cell.source.lstrip().startswith("# 参考答案") for cell in cells]
        asks = [c for c, answer in zip(cells, is_answer) if not answer and has_check(c)]
        answers = [c for c, answer in zip(cells, is_answer) if answer and "hide-cell" in c.tags]
        hint = re.search(
            r"^ *[:`]{3,} *\{dropdown\} *提示", part.text[start.start() : end], re.M
        )
        if not asks:
            complain(line, f"{name} 没有一格调用 check_…(…)")
        if not hint:
            complain(line, f"{name} 没有提示：要有 :::{{dropdown}} 提示")
        if not answers:
            complain(line, f"{name} 没有参考答案：带标签 hide-cell、以 # 参考答案 开头的一格")
        elif not any(map(has_check, answers)):
            complain(answers[0].line, f"{name} 的参考答案没有交给 check_…(…) 检查")
        if f"\n- [ ] {name} 做完了" not in part.text[start.start() : end]:
            complain(line, f"{name} 的末尾要有一行：- [ ] {name} 做完了")
        if asks and answers and answers[0].line < asks[0].line:
            complain(answers[0].line, f"{name} 的参考答案应当在题目的检查之后")


def has_check(cell: Cell) -> bool:
    return any(name.startswith("check_") for name in calls(cell))


def check_comparison(page: Page, part: Section, complain) -> None:
    if not re.search(r"成立|有条件", part.text):
        complain(part.line, "“与原指南对照”里没有结论：成立、不成立或有条件")


def check_summary(page: Page, part: Section, complain) -> None:
    if not re.search(r"^[-*] ", part.text, flags=re.MULTILINE):
        complain(part.line, "小结要写成列表")


def check_checklist(page: Page, part: Section, complain) -> None:
    items = len(re.findall(r"^[-*] \[ \] ", part.text, flags=re.MULTILINE))
    if items < 3:
        complain(part.line, f"本章检查清单至少三项（- [ ] ……），现有 {items} 项")


# ---- 术语：以术语表为准 -------------------------------------------------------

QUOTE = re.compile(r"[“「]([^”」\n]*)[”」]")
SAID_BY_OTHERS = re.compile(
    r"(有人|有的|有些|常见|别处|也叫|又叫|又称|也称|也译|旧译|译作|译成|写成|写作|说成|原文|论文|指南)[^。！？\n]{0,15}$"
)


class Variant(NamedTuple):
    """一种不用的说法。"""

    wrong: str
    right: str
    fine: tuple[str, ...]  # 含有它、但可以说的词


@cache
def variants(path: Path = GLOSSARY) -> tuple[Variant, ...]:
    """术语表“不这样说”一节的表：不说、说、可以说，各词以顿号隔开。"""
    text = path.read_text(encoding="utf-8").partition("\n## 不这样说\n")[2]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.partition("\n## ")[0].splitlines()
        if line.startswith("|")
    ][2:]
    return tuple(
        Variant(wrong, right, tuple(word for word in fine.split("、") if wrong in word))
        for wrongs, right, fine in rows
        for wrong in wrongs.split("、")
    )


def without_quotations(prose: str) -> str:
    """去掉别人的话：引用块，和前面说了“有人”“指南”之类的引号里的字。"""
    prose = re.sub(r"^ *>.*$", lambda match: blank(match[0]), prose, flags=re.MULTILINE)

    def hide(match: re.Match) -> str:
        before = prose[max(0, match.start() - 30) : match.start()]
        return blank(match[0]) if SAID_BY_OTHERS.search(before) else match[0]

    return QUOTE.sub(hide, prose)


def across_lines(word: str) -> re.Pattern:
    """一个词，中间可以换行。"""
    return re.compile(r"\n? *".join(map(re.escape, word)))


def check_terms(page: Page) -> list[Finding]:
    """正文里没有“不这样说”的说法。"""
    prose = without_quotations(page.prose)
    if page.path.name == "glossary.md":
        prose = prose.partition("\n## 不这样说\n")[0]
    found = []
    for variant in sorted(variants(), key=lambda variant: -len(variant.wrong)):
        hidden = prose
        for word in variant.fine:
            hidden = across_lines(word).sub(lambda match: blank(match[0]), hidden)
        for match in across_lines(variant.wrong).finditer(hidden):
            prose = prose[: match.start()] + blank(match[0]) + prose[match.end() :]
            line = page.line(match.start())
            if not page.allows(line):
                message = f"“{variant.wrong}”不合术语表，应当说“{variant.right}”"
                found.append(Finding(page.path, line, "术语", message))
    return found


# ---- 数：正文里的数都出自同一章的代码 ----------------------------------------------

NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(?P<digits>\d{1,3}(?:,\d{3})++|\d++)(?P<decimals>\.\d++)?+"
    r"(?P<power>[eE][-+]?\d++)?+(?!(?![kKM](?![A-Za-z]))[A-Za-z_]|\.\d)"
    r"(?P<unit> ?(?:%|‰|[kKM]|百万|千万|万|亿|千|百))?"
)
UNITS = {
    "%": 0.01, "‰": 0.001, "k": 1e3, "K": 1e3, "M": 1e6,
    "百": 1e2, "千": 1e3, "万": 1e4, "百万": 1e6, "千万": 1e7, "亿": 1e8,
}  # fmt: skip
REFERENCE_BEFORE = re.compile(
    r"(练习|习题|例|图|表|式|公式|方程|算法|定理|附录|版本|编号|arXiv[:：]?|[Ee]q(uation|s)?\.?|[Ss]ec(tion)?\.?|§"
    r"|[Ff]ig(ure)?\.?|[Tt]able|[Aa]lgorithm|[Cc]hapter|[Vv]ol\.?|pp?\.|第|Python|JAX|NumPy|CUDA|Jupyter Book)"
    r" *[(（]?(?:[\d.,、~–— -]|和|到|至)*$"
)
REFERENCE_AFTER = re.compile(r" *(章|节|页|版|式|卷|条|号|附录)")
YEAR = re.compile(r"(19[5-9]\d|20[0-3]\d)")
FREE = {"95%", "100%"}
"""95% 是置信带的定义（见术语表），100% 是“全部”。"""


class Source(NamedTuple):
    """代码里的数：一个个的值，和断言里的范围。"""

    values: frozenset[float]
    ranges: tuple[tuple[float, float], ...]


OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Mod: operator.mod,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Pow: operator.pow,
}  # fmt: skip


def constant(node: ast.AST) -> float | None:
    """一个全由数写成的式子的值，例如 ``2_000_000 // (16 * 128)``；不是就返回 None。"""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = constant(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = constant(node.left), constant(node.right)
        if left is not None and right is not None:
            try:
                value = OPERATORS[type(node.op)](left, right)
            except (ZeroDivisionError, OverflowError):
                return None
            return None if isinstance(value, complex) else value
    return None


def code_numbers(page: Page) -> Source:
    """代码里写着的数（不含注释），形如 ``lr=1e-3`` 的字符串里的数，行内公式里的数。

    断言里的 ``0.36 < x < 0.38`` 另外给出一个范围；太宽的（差过四分之一）不算。
    """
    values, ranges = set(), []
    for cell in page.cells:
        for node in ast.walk(cell.tree or ast.Module([], [])):
            if (value := constant(node)) is not None:
                values.add(value)
            if isinstance(node, ast.Assert):
                for part in ast.walk(node.test):
                    if isinstance(part, ast.Compare) and len(part.ops) == 2:
                        ends = constant(part.left), constant(part.comparators[1])
                        if None not in ends:
                            ranges.append(tuple(sorted(ends)))
        for _, text in strings(cell.tree or ast.Module([], [])):
            for pair in re.finditer(r"\w+=([-+]?[\d.]+(?:e[-+]?\d+)?)", text):
                values.add(parse(pair[1]))
    for formula in INLINE["formula"].finditer(page.markdown):
        for number in re.findall(r"\d[\d,]*(?:\.\d+)?", formula[0].replace("{,}", ",")):
            values.add(parse(number))
            values.add(-parse(number))
    narrow = tuple((a, b) for a, b in ranges if b - a <= 0.25 * max(abs(a), abs(b)))
    return Source(frozenset(values), narrow)


def parse(text: str) -> float:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return float("nan")


def made_by(source: Source, value: float, decimals: int, scale: float) -> bool:
    """代码里有没有这个数：相等，或者舍入到正文写的那一位之后相等，或者落在断言的范围里。

    带单位的数（20%、200 万）两种写法都认：0.2 或 20，2_000_000 或 200。
    """
    for unit in {1.0, scale}:
        if any(abs(known / unit - value) <= 1e-9 * abs(value) for known in source.values):
            return True
        if len(f"{abs(value):.{decimals}f}".replace(".", "").lstrip("0")) >= 2 and any(
            round(known / unit, decimals) == value for known in source.values if known == known
        ):
            return True
        if any(low <= value * unit <= high for low, high in source.ranges):
            return True
    return False


def is_reference(prose: str, match: re.Match) -> bool:
    """章节、公式、文献的编号，年份，版本，名字的一部分，列表的编号。"""
    line_start = prose.rfind("\n", 0, match.start()) + 1
    before, after = prose[line_start : match.start()], prose[match.end() : match.end() + 8]
    if re.fullmatch(r" *", before) and re.match(r"[.)] ", after):
        return True  # 列表的编号
    if re.search(r"[A-Za-z][-–]$", before):
        return True  # 名字的一部分，例如 GPT-4
    if re.search(r"\d{4}-(\d\d-)?$", before) or re.match(r"-\d\d(-\d\d)?(?!\d)", after):
        return True  # 日期
    reference = REFERENCE_BEFORE.search(before)
    if reference and reference[1] != "第":
        return True
    if reference and REFERENCE_AFTER.match(re.sub(r"^[\d.,、~–— 到至和-]*", "", after)):
        return True  # 第 3 章，第 5 到第 8 章
    if YEAR.fullmatch(match[0]):
        cited = re.search(r"([A-Z][A-Za-z.]+|等|年|[（(,，;；])[，,]? *$", before)
        return bool(
            re.match(r" *年", after) or cited and re.match(r" *[）)\],，;；。、]", after)
        )
    return False


QUOTED_COLUMN = re.compile(r"^(原?指南|论文|文献)|哪一章|章节|编号|^[章节条页#]$")
"""表头是这样的列不查：照抄别处的话，或者只是编号。"""


def without_quoted_columns(prose: str) -> str:
    """去掉表里照抄别处的列，和编号的列。"""
    lines, quoted = [], None  # quoted：这张表里哪几列不查；None：不在表里
    for line in prose.split("\n"):
        cells = line.split("|")
        if not line.lstrip().startswith("|"):
            quoted = None
        elif quoted is None:
            quoted = {i for i, cell in enumerate(cells) if QUOTED_COLUMN.search(cell.strip())}
        else:
            line = "|".join(blank(c) if i in quoted else c for i, c in enumerate(cells))
        lines.append(line)
    return "\n".join(lines)


def check_numbers(page: Page) -> list[Finding]:
    """正文里的数，同一章的代码里也有；十以内的整数不管。"""
    prose = without_quoted_columns(without_quotations(page.prose))
    source, found = code_numbers(page), []
    for match in NUMBER.finditer(prose):
        unit = (match["unit"] or "").strip()
        shown = match[0].strip()
        if shown.replace(" ", "") in FREE or is_reference(prose, match):
            continue
        value = parse(match["digits"] + (match["decimals"] or "") + (match["power"] or ""))
        decimals = len((match["decimals"] or ".")[1:])
        if match["power"]:
            decimals = 12
        if value <= 10 and value == int(value) and not unit:
            continue
        if re.search(r"(?<![\dA-Za-z)）])[-−–]$", prose[: match.start()][-2:]):
            value, shown = -value, f"-{shown}"
        line = page.line(match.start())
        if not made_by(source, value, decimals, UNITS.get(unit, 1.0)) and not page.allows(line):
            message = f"正文里的 {shown} 在这一章的代码里找不到；应当由一格算出，或在一格里断言"
            found.append(Finding(page.path, line, "数", message))
    return found


# ---- 链接 --------------------------------------------------------------------

LINK = re.compile(
    r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(<?([^()\s>]*(?:\([^()]*\)[^()\s>]*)*)>?[^()]*\)"
)
ROLE = re.compile(r"\{(ref|numref|eq|doc|term|download|math:numref)\}`(?:[^`<]*<)?([^`<>]+)>?`")
LABELS = re.compile(
    r"^\(([^)\n]+)\)=|^ *:(?:name|label): *(\S+)|\$\$ *\(([^)\n]+)\)|\{#([\w-]+)[^}\n]*\}", re.M
)
FILES = re.compile(r"^ *[:`]{3,} *\{(figure|image|include|literalinclude)\} *(\S+)", re.M)
LINK_RULE = "链接"


def labels(pages: Iterable[Page]) -> set[str]:
    """源文件里可以引用的标签。"""
    return {
        next(filter(None, match.groups())).strip()
        for page in pages
        for match in LABELS.finditer(page.text)
    }


def terms(pages: Iterable[Page]) -> set[str]:
    """术语表的条目，一字不差才引用得到。"""
    return {
        line.strip()
        for page in pages
        for block in re.findall(r"^```\{glossary\}\n(.*?)^```", page.text, re.M | re.DOTALL)
        for line in block.splitlines()
        if line and not line.startswith((" ", ":"))
    }


def check_links(page: Page, known: set[str], entries: set[str]) -> list[Finding]:
    """链接和图片指向存在的文件，引用的标签和术语都有。"""
    found = []

    def complain(position: int, message: str) -> None:
        found.append(Finding(page.path, page.line(position), LINK_RULE, message))

    comments = INLINE["comment"].sub(lambda match: blank(match[0]), page.markdown)
    for match in ROLE.finditer(comments):
        name, target = match[1], match[2].strip()
        if name == "term" and target not in entries:
            complain(match.start(), f"术语表里没有“{target}”这一条；要写全，例如“种子（seed）”")
        elif name in ("doc", "download"):
            file = (ROOT / target[1:]) if target.startswith("/") else page.path.parent / target
            if not (file.exists() or file.with_name(file.name + ".md").exists()):
                complain(match.start(), f"没有这个文件：{target}")
        elif name not in ("term", "doc", "download") and target not in known:
            complain(match.start(), f"没有这个标签：{target}；要在目标前写 ({target})=")
    spaces = re.sub(INLINE["code"], lambda match: blank(match[0]), comments)
    for match in LINK.finditer(spaces):
        if problem := broken(page, match[3], known):
            complain(match.start(), problem)
    for match in re.finditer(r"""<(?:a|img)\b[^>]*?(?:href|src)=["']([^"']+)""", spaces):
        if problem := broken(page, match[1], known):
            complain(match.start(), problem)
    for match in FILES.finditer(page.text):
        if problem := broken(page, match[2], known):
            complain(match.start(), problem)
    notes = set(re.findall(r"^\[\^([^\]]+)\]:", spaces, flags=re.MULTILINE))
    for match in re.finditer(r"\[\^([^\]]+)\](?!:)", spaces):
        if match[1] not in notes:
            complain(match.start(), f"没有这条脚注：[^{match[1]}]")
    return found


def broken(page: Page, link: str, known: set[str]) -> str | None:
    """一个链接坏在哪里；好的就是 None。向外的网址不查。"""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    if not link:
        return "链接没有目标"
    file = page.path
    if parts.path:
        path = unquote(parts.path)
        file = ROOT / path[1:] if path.startswith("/") else page.path.parent / path
        if not file.exists():
            return f"没有这个文件：{link}"
    if parts.fragment and file.suffix == ".md" and unquote(parts.fragment) not in known:
        return f"没有这个标签：#{parts.fragment}；要在目标前写 ({parts.fragment})="
    return None


# ---- 替代文字 ----------------------------------------------------------------

SHORTEST_ALT = 8
OPENS_FIGURE = {"new_figure", "subplots", "figure"}


def check_alt(page: Page) -> list[Finding]:
    """图都有替代文字：Markdown 和 HTML 的图、figure 和 image 指令、代码里的 show(fig, alt)。"""
    found = []

    def complain(line: int, message: str) -> None:
        if not page.allows(line):
            found.append(Finding(page.path, line, "替代文字", message))

    text = re.sub(INLINE["code"], lambda match: blank(match[0]), page.markdown)
    for match in LINK.finditer(text):
        if match[1] and not match[2].strip():
            complain(
                page.line(match.start()),
                f"图 {match[3]} 没有替代文字：![图里是什么]({match[3]})",
            )
    for match in re.finditer(r"<img\b[^>]*>", text):
        if not re.search(r"""\balt=(["'])\s*[^"'\s]""", match[0]):
            complain(page.line(match.start()), 'HTML 的图没有替代文字：<img alt="图里是什么">')
    for match in FILES.finditer(page.text):
        options = re.match(r"[^\n]*\n((?: *:[\w-]+:[^\n]*\n)*)", page.text[match.start() :])
        if match[1] in ("figure", "image") and not re.search(
            r":alt: *\S", options[1] if options else ""
        ):
            complain(
                page.line(match.start()), f"图 {match[2]} 没有替代文字：加一行 :alt: 图里是什么"
            )
    known = assigned_strings(page)
    for cell in page.cells:
        for line, message in alt_in_code(cell.tree or ast.Module([], []), known):
            complain(cell.line + line - 1, message)
    return found


def assigned_strings(page: Page) -> dict[str, int]:
    """代码里赋给一个名字的字符串有多长。"""
    return {
        target.id: length
        for cell in page.cells
        for node in ast.walk(cell.tree or ast.Module([], []))
        if isinstance(node, ast.Assign) and (length := text_length(node.value, {})) is not None
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def text_length(node: ast.AST | None, known: dict[str, int]) -> int | None:
    """一个字符串写了多少字，f 字符串的一处空算两个字；看不出来就是 None。

    名字里有 alt 的函数（例如 dashboard_alt）给出的，算够长。
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return len(node.value.strip())
    if isinstance(node, ast.JoinedStr):
        return sum(
            len(part.value) if isinstance(part, ast.Constant) else 2 for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        both = text_length(node.left, known), text_length(node.right, known)
        return None if None in both else sum(both)
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if called(node) and "alt" in called(node):
        return SHORTEST_ALT
    return None


def alt_in_code(tree: ast.Module, known: dict[str, int]) -> Iterator[tuple[int, str]]:
    """一格代码里没有替代文字的图：行号和怎么改。"""
    names = [called(node) for node in ast.walk(tree)]
    for node in ast.walk(tree):
        name = called(node)
        if name == "show" and isinstance(node.func, ast.Attribute):
            yield node.lineno, '不用 plt.show() 或 fig.show()：写 show(fig, "图里是什么")'
        elif name == "show":
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            alt = node.args[1] if len(node.args) > 1 else keywords.get("alt")
            length = text_length(alt, known)
            if length is None or length < SHORTEST_ALT:
                yield node.lineno, f"show(fig, alt) 的 alt 要是一句话，至少 {SHORTEST_ALT} 个字"
        elif name == "Image" and not any(keyword.arg == "alt" for keyword in node.keywords):
            yield node.lineno, 'Image(…) 没有替代文字：加上 alt="图里是什么"'
    for line, text in strings(tree):
        for image in re.findall(r"<img\b[^>]*>?", text):
            if "alt=" not in image:
                yield line, 'HTML 的图没有替代文字：<img alt="图里是什么">'
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.Lambda)
        for part in ast.walk(node)
    }
    if "show" not in names and "close" not in names:
        for node in ast.walk(tree):
            if called(node) in OPENS_FIGURE and id(node) not in inside:
                yield node.lineno, "这一格开了一张图，却没有 show(fig, alt)：图会没有替代文字"


# ---- 画不出的字 ---------------------------------------------------------------


@cache
def drawable() -> frozenset[str]:
    """图里画得出的字：随附的中文字体，加上 matplotlib 自带的 DejaVu Sans。"""
    import matplotlib
    from fontTools.ttLib import TTFont

    dejavu = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    codes = {code for font in (FONT, dejavu) for code in TTFont(font).getBestCmap()}
    return frozenset(map(chr, codes))


def missing_glyphs(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """代码的字符串里画不出的字：行号和那些字。"""
    for line, text in strings(tree):
        missing = {c for c in text if c.isprintable() and not c.isspace()} - drawable()
        if missing:
            yield line, "、".join(f"{c}（U+{ord(c):04X}）" for c in sorted(missing))


def check_tofu(page: Page) -> list[Finding]:
    """代码的字符串里，每个字都画得出。"""
    return [
        tofu(page.path, cell.line + line - 1, shown)
        for cell in page.cells
        for line, shown in missing_glyphs(cell.tree or ast.Module([], []))
        if not page.allows(cell.line + line - 1)
    ]


def check_library_tofu(folder: Path = ROOT / "ppo_lib") -> list[Finding]:
    """ppo_lib 里画图的几间，也一样。"""
    found = []
    for path in sorted(path for room in DRAWING for path in (folder / room).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.split("\n")
        for line, shown in missing_glyphs(ast.parse(text)):
            if not allowed(lines, line):
                found.append(tofu(path, line, shown))
    return found


def tofu(path: Path, line: int, shown: str) -> Finding:
    message = (
        f"图里的字体没有 {shown}，会画成方框；换一个字，或加进 book/tools/generate/font.py"
    )
    return Finding(path, line, "缺字", message)


# ---- 加粗 --------------------------------------------------------------------

BOLD_RULE = "加粗"


def is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def bad_bold(text: str) -> Iterator[int]:
    """写了却不起作用的 ``**`` 的位置。

    CommonMark 的规矩：结尾的 ``**`` 前面是标点、后面紧跟着字，就不算结尾；开头的反过来。
    中文的句号写进加粗里，最容易碰到。
    """
    for place, match in enumerate(re.finditer(r"(?<!\*)\*\*(?!\*)", text)):
        before, after = text[: match.start()][-1:] or " ", text[match.end() :][:1] or " "
        inner, outer = (before, after) if place % 2 else (after, before)
        if inner.isspace() or (
            is_punctuation(inner) and not outer.isspace() and not is_punctuation(outer)
        ):
            yield match.start()


def bold_texts(page: Page) -> Iterator[tuple[int, str]]:
    """(第几行, 一段字)：正文的各段，和代码里写给 Markdown 的字符串。"""
    text = page.markdown
    for name in ("code", "formula", "display"):  # 里面的星号不是加粗
        text = INLINE[name].sub(lambda match: match[0].replace("*", "x"), text)
    for match in re.finditer(r"(?:[^\n]+\n?)+", text):
        yield page.line(match.start()), match[0]
    for cell in page.cells:
        for node in ast.walk(cell.tree or ast.Module([], [])):
            if isinstance(node, ast.JoinedStr):
                parts = [x.value if isinstance(x, ast.Constant) else "0" for x in node.values]
                yield cell.line + node.lineno - 1, "".join(map(str, parts))


def check_bold(page: Page) -> list[Finding]:
    """加粗的记号都起作用。"""
    return [
        Finding(
            page.path,
            line + text.count("\n", 0, position),
            BOLD_RULE,
            f"“{text[max(0, position - 8) : position + 6].strip()}”里的 ** 不起作用；把标点移到加粗之外",
        )
        for line, text in bold_texts(page)
        for position in bad_bold(text)
    ]


# ---- 区间 --------------------------------------------------------------------


def check_intervals(page: Page) -> list[Finding]:
    """两组种子谁好，看差的区间；拿两个各自的区间比大小，会漏掉真的差别。"""
    trees = [(cell, cell.tree or ast.Module([], [])) for cell in page.cells]
    bands = {"bootstrap_band"}
    for _, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and names_in(node.value) & {"bootstrap_band"}:
                bands |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return [
        Finding(
            page.path,
            cell.line + node.lineno - 1,
            "区间",
            "拿两个区间比大小；换成差的区间（ppo_lib.course.comparison.compare）",
        )
        for cell, tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and sum(bool(names_in(side) & bands) for side in (node.left, *node.comparators)) > 1
        and not page.allows(cell.line + node.lineno - 1)
    ]


def names_in(tree: ast.AST) -> set[str]:
    """语法树里的名字。"""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


# ---- 做好的网页 ---------------------------------------------------------------


class HtmlPage(HTMLParser):
    """一个网页里的 id、链接和没有替代文字的图。"""

    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[int, str]] = []
        self.bare_images: list[tuple[int, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        line = self.getpos()[0]
        self.links += [(line, values[name]) for name in ("href", "src") if values.get(name)]
        if tag == "img" and values.get("alt") is None:
            self.bare_images.append((line, values.get("src") or ""))


def check_html(folder: Path) -> list[Finding]:
    """网页里的每个站内链接都指向存在的文件和 id；每个 <img> 都有 alt。"""
    folder = folder.resolve()
    pages = {
        path: HtmlPage(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.html"))
        if "_static" not in path.relative_to(folder).parts
    }
    found = []
    for path, page in pages.items():
        for line, link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(Finding(path, line, LINK_RULE, f"没有这个文件：{link}"))
            elif target in pages and parts.fragment:
                if unquote(parts.fragment) not in pages[target].ids | {"top"}:
                    found.append(Finding(path, line, LINK_RULE, f"那一页没有这个 id：{link}"))
        for line, source in page.bare_images:
            found.append(Finding(path, line, "替代文字", f"图 {source} 没有 alt"))
    return found


# ---- 整本书 ------------------------------------------------------------------


def check_page(page: Page, known: set[str], entries: set[str]) -> list[Finding]:
    """一页的全部毛病；部分和数只查各章。"""
    found = [*check_terms(page), *check_links(page, known, entries), *check_alt(page)]
    found += [*check_tofu(page), *check_bold(page), *check_intervals(page)]
    if page.number() is not None:
        found += [*check_parts(page), *check_numbers(page)]
    return found


def check(paths: Iterable[Path] | None = None, html: Path | None = None) -> list[Finding]:
    """查给定的源文件；不给就查全部，连同 ppo_lib 里图上的字。给了 html 也查做好的网页。"""
    everything = read_pages(sources())
    pages = everything if paths is None else read_pages(path.resolve() for path in paths)
    known, entries = labels([*everything, *pages]), terms([*everything, *pages])
    found = [finding for page in pages for finding in check_page(page, known, entries)]
    if paths is None:
        found += check_library_tofu()
    if html is not None:
        found += check_html(html)
    return sorted(set(found))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="查书里的毛病，一行一处")
    parser.add_argument("pages", nargs="*", type=Path, help="源文件；不写就查全部")
    parser.add_argument("--html", type=Path, help="做好的网页，例如 _build/html")
    options = parser.parse_args(arguments)
    for path in filter(None, [*options.pages, options.html]):
        if not path.exists():
            parser.error(f"没有 {path}")
    found = check(options.pages or None, options.html)
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
