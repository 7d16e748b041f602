"""样式表里只留网页用得到的规则：主题带着整个 Bootstrap，这本书用到的不到三成。

一条规则要的类和编号，在网页和脚本里从来没有出现过，就去掉。拿不准的都留着：
圆括号里的（``:not(.a)``）不看，脚本里出现过的词都算用到。
"""

import re
from collections.abc import Iterator
from pathlib import Path

TRIMMED = (
    "styles/pydata-sphinx-theme.css",
    "styles/sphinx-book-theme.css",
    "sphinx-design.min.css",
    "mystnb.*.css",
)
"""要修剪的样式表，在 _static 里。别的本来就小，或者是本书自己的。"""

TOKEN = re.compile(
    r"""/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|[^{};"'/]+|/""", flags=re.DOTALL
)
ATTRIBUTE = re.compile(r"""\b(?:class|id)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", flags=re.DOTALL)
WORD = re.compile(r"[\w-]+")
NAMED = re.compile(r"[.#]((?:\\.|[\w-])+)")
PARENTHESES = re.compile(r"\([^()]*\)")
BRACKETS = re.compile(r"\[[^\]]*\]")
VARIABLE = re.compile(r"--[\w-]+")
DECLARED = re.compile(
    r"""(?<=[;{])(--[\w-]+):(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^;{}"'])*(?:;|(?=\}))"""
)


def rules(css: str) -> Iterator[tuple[str, str | None]]:
    """把样式表切成 (开头, 花括号里的)；没有花括号的语句（例如 @charset）后一项是 None。"""
    depth, prelude, body = 0, [], []
    for token in TOKEN.findall(css):
        if token.startswith("/*"):
            continue
        if token == "{":
            depth += 1
            if depth == 1:
                continue
        if token == "}":
            depth -= 1
            if depth == 0:
                yield "".join(prelude).strip(), "".join(body)
                prelude, body = [], []
                continue
        if token == ";" and depth == 0:
            yield "".join(prelude).strip(), None
            prelude = []
            continue
        (body if depth else prelude).append(token)


def names_wanted(selector: str) -> set[str]:
    """一个选择器要有哪些类和编号才可能选中；圆括号和方括号里的不算。"""
    while selector != (outside := PARENTHESES.sub("", selector)):
        selector = outside
    bare = BRACKETS.sub("", selector)
    return {re.sub(r"\\(.)", r"\1", name) for name in NAMED.findall(bare)}


def split_selectors(prelude: str) -> list[str]:
    """在圆括号以外的逗号处切开。"""
    parts, depth = [""], 0
    for letter in prelude:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def trim(css: str, words: set[str]) -> str:
    """去掉选不中任何东西的规则。words 是网页和脚本里出现过的词。"""
    kept = []
    for prelude, body in rules(css):
        if body is None:
            kept.append(prelude + ";")
        elif prelude.startswith(("@media", "@supports", "@layer", "@container")):
            inside = trim(body, words)
            kept += [f"{prelude}{{{inside}}}"] if inside else []
        elif prelude.startswith("@"):
            kept.append(f"{prelude}{{{body}}}")
        else:
            used = [s for s in split_selectors(prelude) if names_wanted(s) <= words]
            kept += [f"{','.join(used)}{{{body.strip()}}}"] if used and body.strip() else []
    return "".join(kept)


def trim_variables(sheets: dict[Path, str], mentioned: set[str]) -> dict[Path, str]:
    """去掉没有谁用的 CSS 变量。mentioned 是网页和脚本里提到的变量名。"""
    while True:
        used = set(mentioned)
        for text in sheets.values():
            used |= set(re.findall(r"var\(\s*(--[\w-]+)", text))
        trimmed = {
            path: DECLARED.sub(lambda found: found[0] if found[1] in used else "", text)
            for path, text in sheets.items()
        }
        if trimmed == sheets:
            return sheets
        sheets = trimmed


def words_used(page: str) -> set[str]:
    """一页网页里的类、编号，和脚本里的一切词。"""
    values = (first or second for first, second in ATTRIBUTE.findall(page))
    named = {name for value in values for name in value.split()}
    return named | {word for script in SCRIPT.findall(page) for word in WORD.findall(script)}


def keep_used_rules(static: Path, pages: list[Path]) -> None:
    """修剪 _static 里的样式表。pages 是全部网页。"""
    texts = [page.read_text(encoding="utf-8") for page in pages]
    scripts = [
        path.read_text(encoding="utf-8")
        for path in static.rglob("*.js")
        if "mathjax" not in path.relative_to(static).parts
    ]
    words = set().union(
        *map(words_used, texts), *(set(WORD.findall(script)) for script in scripts)
    )
    # searchtools.js 拼出来的类：kind-title、kind-text……
    words |= {f"kind-{kind}" for kind in ("index", "object", "title", "text")}
    paths = [path for pattern in TRIMMED for path in sorted(static.glob(pattern))]
    every = {path: path.read_text(encoding="utf-8") for path in static.rglob("*.css")}
    every |= {path: trim(every[path], words) for path in paths}
    mentioned = {name for text in [*texts, *scripts] for name in VARIABLE.findall(text)}
    for path, text in trim_variables(every, mentioned).items():
        if path in paths:
            path.write_text(text, encoding="utf-8")
