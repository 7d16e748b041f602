"""样式表里只留网页用得到的规则：主题带着整个 Bootstrap，这本书用到的不到三成。

一条规则要的类和编号，在网页和脚本里从来没有出现过，就去掉。拿不准的都留着：括号里的（``:not(.a)``）不看，
脚本里出现过的词都算用到。读样式表用 tinycss2；修剪自己做，因为现成的（PurgeCSS）要 Node，做书的人不一定有。
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import tinycss2
from tinycss2.ast import Node

TRIMMED = (
    "styles/pydata-sphinx-theme.css",
    "styles/sphinx-book-theme.css",
    "sphinx-design.min.css",
    "mystnb.*.css",
)
"""要修剪的样式表，在 _static 里。别的本来就小，或者是本书自己的。"""

GROUPS = {"media", "supports", "layer", "container"}
"""花括号里还是规则的 @ 语句。"""

ATTRIBUTE = re.compile(r"""\b(?:class|id)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", flags=re.DOTALL)
WORD = re.compile(r"[\w-]+")
VARIABLE = re.compile(r"--[\w-]+")


def split_at(tokens: Iterable[Node], separator: str) -> Iterator[list[Node]]:
    """在 separator 处切开；括号里的不算。"""
    part: list[Node] = []
    for token in tokens:
        if token == separator:
            yield part
            part = []
        else:
            part.append(token)
    yield part


def names_wanted(selector: list[Node]) -> set[str]:
    """一个选择器要有哪些类和编号才可能选中；括号里的不算。"""
    classes = {
        name.value
        for dot, name in zip(selector, selector[1:])
        if dot == "." and name.type == "ident"
    }
    return classes | {token.value for token in selector if token.type == "hash"}


def without_comments(tokens: Iterable[Node]) -> list[Node]:
    return [token for token in tokens if token.type != "comment"]


def keep_used(rules: Iterable[Node], words: set[str], variables: set[str]) -> str:
    """一串规则修剪之后的文字。

    Args:
        rules: 样式表或 @media 里的规则。
        words: 网页和脚本里出现过的词；选择器要的类和编号不在其中，就去掉。
        variables: 有谁用的 CSS 变量；别的变量的声明去掉。
    """
    kept = []
    for rule in rules:
        if rule.type == "at-rule":
            if rule.lower_at_keyword in GROUPS and rule.content is not None:
                inside = tinycss2.parse_rule_list(rule.content, True, True)
                body = keep_used(inside, words, variables)
                kept += [f"@{rule.at_keyword}{text(rule.prelude)}{{{body}}}"] if body else []
            else:
                kept.append(rule.serialize())
        elif rule.type == "qualified-rule":
            prelude = without_comments(rule.prelude)
            used = [s for s in split_at(prelude, ",") if names_wanted(s) <= words]
            body = ";".join(
                written
                for one in split_at(without_comments(rule.content), ";")
                if (written := text(one).strip())
                and not (declares(written) and declares(written) not in variables)
            )
            kept += (
                [f"{','.join(text(s).strip() for s in used)}{{{body}}}"]
                if used and body
                else []
            )
    return "".join(kept)


def text(tokens: Iterable[Node]) -> str:
    return tinycss2.serialize(tokens)


def declares(declaration: str) -> str | None:
    """一条声明定义的 CSS 变量，例如 ``--blue``；不是定义变量就是 None。"""
    match = re.match(r"(--[\w-]+)\s*:", declaration)
    return match[1] if match else None


def trim(css: str, words: set[str], variables: set[str]) -> str:
    """修剪一张样式表，见 ``keep_used``。"""
    return keep_used(tinycss2.parse_stylesheet(css, True, True), words, variables)


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
    mentioned = {name for text in [*texts, *scripts] for name in VARIABLE.findall(text)}
    paths = {path for pattern in TRIMMED for path in static.glob(pattern)}
    sheets = {path: path.read_text(encoding="utf-8") for path in static.rglob("*.css")}
    before: dict[Path, str] = {}
    while sheets != before:  # 去掉一个变量，它用到的变量也可能就没有谁用了
        before = dict(sheets)
        variables = mentioned | used_variables(sheets.values())
        sheets |= {path: trim(sheets[path], words, variables) for path in paths}
    for path in paths:
        path.write_text(sheets[path], encoding="utf-8")


def used_variables(sheets: Iterable[str]) -> set[str]:
    """样式表里 ``var(--…)`` 用到的变量。"""
    return {name for css in sheets for name in re.findall(r"var\(\s*(--[\w-]+)", css)}
