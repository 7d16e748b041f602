"""把 MyST 的指令和角色变成普通的 Markdown：Colab 不认得 MyST。

不认得的写法会报错，不会悄悄漏过去；要添一种，写进 ``DIRECTIVES`` 或 ``ROLES``。
没有用现成的：sphinx-markdown-builder 只写整页，分不回一格一格；mystmd 要 Node；mdformat 会重排全文。
"""

import base64
import html
import mimetypes
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

CHAPTERS = Path(__file__).parents[3] / "chapters"


class Unsupported(ValueError):
    """Colab 不认得的写法，这里也还不会把它变成普通的 Markdown。"""


# ---- 块 ----------------------------------------------------------------------


@dataclass
class Names:
    """正文引用得到的名字。"""

    folder: Path = CHAPTERS
    titles: dict[str, str] = field(default_factory=dict)
    """标签或文件 -> 标题"""
    equations: dict[str, int] = field(default_factory=dict)
    """公式的标签 -> 编号"""


FENCE = re.compile(r"^(?P<indent> *)(?P<fence>:{3,}|~{3,}|`{3,}(?=[^`]*$)) *(?P<info>.*)$")


def convert(text: str, names: Names) -> str:
    """把一格正文里的 MyST 变成普通的 Markdown。代码块照抄。"""
    lines, result, prose, at = text.split("\n"), [], [], 0
    while at < len(lines):
        opening = FENCE.match(lines[at])
        if opening is None:
            prose.append(lines[at])
            at += 1
            continue
        end = closing_line(lines, at, opening["fence"])
        if prose:
            result += convert_prose("\n".join(prose), names).split("\n")
            prose = []
        if opening["info"].startswith("{"):
            # 指令的前后空一行：引用和 HTML 后面紧跟着的字，会被当成它们的一部分
            before = [""] if result and result[-1] else []
            after = [""] if lines[end + 1 :] and lines[end + 1] else []
            result += [*before, *directive(opening, lines[at + 1 : end], names), *after]
        elif opening["fence"].startswith(":"):
            raise Unsupported(f"没有名字的指令：{lines[at]}")
        else:
            result += lines[at : end + 1]
        at = end + 1
    if prose:
        result += convert_prose("\n".join(prose), names).split("\n")
    return "\n".join(result)


def closing_line(lines: list[str], start: int, fence: str) -> int:
    closing = re.compile(rf"^ *{fence[0]}{{{len(fence)},}} *$")
    for number in range(start + 1, len(lines)):
        if closing.match(lines[number]):
            return number
    raise Unsupported(f"没有结尾：{lines[start]}")


def directive(opening: re.Match, block: list[str], names: Names) -> list[str]:
    """一个指令变成的 Markdown，一行一项。开头一行是 ``{名字} 参数``。"""
    name, _, argument = opening["info"][1:].partition("}")
    if name not in DIRECTIVES:
        raise Unsupported(
            f"指令 {{{name}}}：Colab 不认得它。请换一种写法，"
            "或在 plain_markdown.py 的 DIRECTIVES 里写明它变成什么"
        )
    indent = opening["indent"]
    options, body = split_options([line.removeprefix(indent) for line in block])
    text = DIRECTIVES[name](argument.strip(), options, body, names)
    return [f"{indent}{line}".rstrip() for line in text.split("\n")]


def split_options(block: list[str]) -> tuple[dict[str, str], str]:
    """把指令的内容分成 ``:名字: 值`` 和正文。"""
    options, at = {}, 0
    while at < len(block) and (match := re.match(r"^:([\w-]+):\s*(.*)$", block[at])):
        options[match[1]] = match[2].strip()
        at += 1
    if block[at:] and block[at].strip() == "---":
        raise Unsupported("指令的选项请写成 :名字: 值，不要用 ---")
    return options, "\n".join(block[at:]).strip("\n")


def admonition(title: str):
    """提示框变成引用，标题加粗。"""

    def render(argument, options, body, names):
        if "dropdown" in options.get("class", ""):
            return details(argument or title, options, body, names)
        heading = convert_prose(argument, names) if argument else title
        lines = [f"**{heading}**", "", *convert(body, names).split("\n")]
        return "\n".join(f"> {line}".rstrip() for line in lines)

    return render


def titled(title: str):
    """没有框的一段：加粗的标题，后面是正文。"""

    def render(argument, options, body, names):
        heading = " ".join(filter(None, [title, convert_prose(argument, names)]))
        return "\n\n".join(filter(None, [f"**{heading}**", convert(body, names)]))

    return render


def details(argument, options, body, names) -> str:
    """可以展开的一段。前后的空行让里面的 Markdown 照常显示。"""
    summary = re.sub(
        "`([^`]+)`",
        lambda match: f"<code>{html.escape(match[1])}</code>",  # 标题在 HTML 里，不是 Markdown
        convert_prose(argument, names),
    )
    state = " open" if "open" in options else ""
    text = convert(body, names)
    return f"<details{state}><summary>{summary}</summary>\n\n{text}\n\n</details>"


def solution(argument, options, body, names) -> str:
    return details("参考解答", options, body, names)


def display_math(argument, options, body, names) -> str:
    formula = "\n".join(filter(None, [argument, body]))
    return tag_equation(formula, options.get("label"), names)


def tag_equation(formula: str, label: str | None, names: Names) -> str:
    tag = f" \\tag{{{equation_number(label, names)}}}" if label else ""
    return f"$$\n{formula.strip()}{tag}\n$$"


def equation_number(label: str, names: Names) -> int:
    if label not in names.equations:
        raise Unsupported(f"这一章里没有标签是 {label} 的公式；别的章的公式请用文字指明")
    return names.equations[label]


def figure(argument, options, body, names) -> str:
    image = f"![{options.get('alt', '')}]({embed(argument, names)})"
    caption = convert(body, names)
    return f"{image}\n\n{caption}" if caption else image


def glossary(argument, options, body, names) -> str:
    """术语表：术语加粗，解释另起一行。"""
    entries = re.split(r"\n(?=\S)", body)
    pairs = (entry.partition("\n") for entry in entries)
    return "\n\n".join(
        f"**{term}**<br>\n{convert(dedent_lines(text), names).strip()}"
        for term, _, text in pairs
    )


def code(argument, options, body, names) -> str:
    return f"```{argument}\n{body}\n```"


def body_only(argument, options, body, names) -> str:
    return convert(body, names)


def nothing(argument, options, body, names) -> str:
    return ""


ADMONITIONS = {
    "admonition": "",
    "attention": "注意",
    "caution": "谨慎",
    "danger": "危险",
    "error": "错误",
    "hint": "提示",
    "important": "重要",
    "note": "备注",
    "seealso": "参见",
    "tip": "小技巧",
    "warning": "警告",
    "margin": "旁注",
    "sidebar": "旁注",
}
DIRECTIVES = {
    **{name: admonition(title) for name, title in ADMONITIONS.items()},
    "dropdown": details,
    "toggle": details,
    "math": display_math,
    "figure": figure,
    "image": figure,
    "glossary": glossary,
    "code": code,
    "code-block": code,
    "table": titled("表"),
    "exercise": titled("练习"),
    "exercise-start": titled("练习"),
    "exercise-end": nothing,
    "solution": solution,
    "solution-start": titled("参考解答"),
    "solution-end": nothing,
    "tab-set": body_only,
    "tab-item": titled(""),
    "contents": nothing,
}


# ---- 行内 --------------------------------------------------------------------

INLINE = re.compile(
    r"""
      (?P<target>^\([^()\n]+\)=[ ]*(?:\n|\Z))
    | (?P<comment>^%[^\n]*(?:\n|\Z))
    | (?P<stray>^:[ ]|\{\{)
    | \{(?P<role>[a-zA-Z][\w:+.-]*)\}(?P<ticks>`+)(?P<content>.+?)(?P=ticks)
    | (?P<code>(?<!`)(?P<mark>`+)(?!`)(?:(?!\n\n).)+?(?<!`)(?P=mark)(?!`))(?:\{[^{}`\n]*\}(?!`))?
    | \$\$(?P<display>.+?)\$\$(?:[ ]*\((?P<label>[a-zA-Z][\w:.-]*)\))?
    | (?P<math>(?<!\\)\$(?=\S)(?:(?!\n\n)[^$])+?\$)
    | ^\\begin\{(?P<env>equation|align|gather|multline)\*?\}(?P<ams>.+?)\\end\{(?P=env)\*?\}
    | \[\^(?P<note>[^\]\s]+)\](?P<defines>:[ ]*)?
    | (?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\](?:\((?P<href>[^()\s]+)\))?(?P<attrs>\{[^{}`\n]*\}(?!`))?
    """,
    flags=re.VERBOSE | re.MULTILINE | re.DOTALL,
)
DEFINITION = re.compile(
    r"(?:\A|(?<=\n\n))(?P<term>[^\s>|#*+-][^\n]*)\n: +(?P<text>[^\n]+(?:\n +[^\n]+)*)"
)


def convert_prose(text: str, names: Names) -> str:
    """一段没有指令的正文：定义列表、角色、标签、引用、公式、图。"""
    text = DEFINITION.sub(lambda m: f"**{m['term']}**<br>\n{dedent_lines(m['text'])}", text)
    return INLINE.sub(lambda match: convert_inline(match, names), text)


def dedent_lines(text: str) -> str:
    return re.sub("(?m)^ +", "", text)


def convert_inline(match: re.Match, names: Names) -> str:
    if match["target"] or match["comment"]:
        return ""
    if match["stray"]:
        line = match.string[match.start() :].partition("\n")[0]
        raise Unsupported(f"Colab 不认得的写法：{line}")
    if match["role"]:
        return convert_role(match["role"], match["content"], names)
    if match["code"]:
        return match["code"]
    if match["display"]:
        return display(match, names)
    if match["env"]:
        return f"$$\n{environment(match['env'], match['ams'])}\n$$"
    if match["note"]:
        return f"<sup>[{match['note']}]</sup>" + (" " if match["defines"] else "")
    if match["text"] is not None:
        return convert_link(match, names)
    return match[0]


def display(match: re.Match, names: Names) -> str:
    if match["label"] is None:
        return match[0]
    return tag_equation(match["display"], match["label"], names)


def environment(env: str, formula: str) -> str:
    """``align`` 等环境在 ``$$`` 里的写法。"""
    if env == "equation":
        return formula.strip()
    inner = "aligned" if env == "align" else "gathered"
    return f"\\begin{{{inner}}}{formula}\\end{{{inner}}}"


def convert_role(role: str, content: str, names: Names) -> str:
    if role not in ROLES:
        raise Unsupported(
            f"角色 {{{role}}}`{content}`：Colab 不认得它。请换一种写法，"
            "或在 plain_markdown.py 的 ROLES 里写明它变成什么"
        )
    return ROLES[role](content, names)


def split_title(content: str) -> tuple[str, str]:
    """``文字 <目标>`` 分成两半；只有目标时，文字是空的。"""
    match = re.fullmatch(r"(.*?)\s*<([^<>]+)>", content, flags=re.DOTALL)
    return (match[1], match[2]) if match else ("", content)


def title_of(target: str, names: Names) -> str:
    if target not in names.titles:
        raise Unsupported(
            f"没有找到 {target} 的标题；请写明文字，例如 {{ref}}`文字 <{target}>`"
        )
    return names.titles[target]


def reference(content: str, names: Names) -> str:
    text, target = split_title(content)
    return text or title_of(target, names)


def document(content: str, names: Names) -> str:
    text, target = split_title(content)
    return link(text, re.sub("^/", "../", target) + ".md", names)


def equation(content: str, names: Names) -> str:
    return f"({equation_number(content, names)})"


ROLES = {
    "term": lambda content, names: split_title(content)[0] or content,
    "ref": reference,
    "numref": reference,
    "eq": equation,
    "doc": document,
    "math": lambda content, names: f"${content}$",
    "code": lambda content, names: f"`{content}`",
    "sub": lambda content, names: f"<sub>{content}</sub>",
    "sup": lambda content, names: f"<sup>{content}</sup>",
    "kbd": lambda content, names: f"<kbd>{content}</kbd>",
    "abbr": lambda content, names: re.sub(r"\s*\((.*)\)$", r"（\1）", content),
}


def convert_link(match: re.Match, names: Names) -> str:
    """图、链接，和带属性的文字。属性（``{.class}``、``{width=50%}``）Colab 不认得，去掉。"""
    if match["image"] and match["href"]:
        return f"![{match['text']}]({embed(match['href'], names)})"
    if match["href"]:
        return link(convert_prose(match["text"], names), match["href"], names)
    text = match["text"]
    if match["attrs"]:
        return convert_prose(text, names)
    return f"{match['image']}[{convert_prose(text, names)}]" if text.strip() else match[0]


def link(text: str, href: str, names: Names) -> str:
    """链接。书里的标签没有地址可去，只留文字；别的章指向它的 .ipynb。"""
    if re.match(r"^(https?|mailto):", href):
        return f"[{text}]({href})"
    label = href.removeprefix("#")
    if href.startswith("#") or (label in names.titles and not label.endswith(".md")):
        return text or title_of(label, names)
    path = href.partition("#")[0]
    if not (names.folder / path).exists():
        raise Unsupported(f"链接指向的 {href} 不存在")
    target = re.sub(r"^([^/]+)\.md$", r"\1.ipynb", path)
    return f"[{text or title_of(path, names)}]({target})"


IMAGE_LIMIT = 500_000


def embed(path: str, names: Names) -> str:
    """本地的图嵌进笔记本：在 Colab 上，相对的路径什么也找不到。"""
    if re.match("^(https?|data):", path):
        return path
    if not (names.folder / path).exists():
        raise Unsupported(f"没有找到图 {path}")
    data = (names.folder / path).read_bytes()
    if len(data) > IMAGE_LIMIT:
        raise Unsupported(f"{path} 有 {len(data)} 字节，放进笔记本太大（至多 {IMAGE_LIMIT}）")
    kind = mimetypes.guess_type(path)[0]
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# ---- 查有没有漏下的 ----------------------------------------------------------

LEFTOVER = re.compile(
    r"^ *(?:>|[-*+] )* *(?::{3,}|[`~]{3,} *\{).*|^\([^()\n]+\)=|^: .*|\{[a-zA-Z][\w:+.-]*\}`.*"
)


def leftovers(markdown: str) -> list[str]:
    """Markdown 里还剩下的 MyST：指令、角色、标签。代码块里的不算。"""
    found, closing = [], None
    for line in markdown.split("\n"):
        plain = line.lstrip("> ")
        if closing:
            closing = None if re.fullmatch(closing, plain) else closing
        elif LEFTOVER.search(re.sub(r"(?<![`}])(`+)(?!`).+?(?<!`)\1(?!`)", "", line)):
            found.append(line)
        elif opening := re.match(r"(`{3,}|~{3,})[^`]*$", plain):
            closing = rf"{opening[1][0]}{{{len(opening[1])},}} *"
    return found


# ---- 名字从哪里来 ------------------------------------------------------------

LABELLED_HEADING = re.compile(r"^\(([^()\n]+)\)=\s*\n#+ +(.+)$", flags=re.MULTILINE)
EQUATION_LABEL = re.compile(
    r"\$\$(?:(?!\$\$).)+\$\$(?: *\(([a-zA-Z][\w:.-]*)\))?"
    r"|\{math\}[^\n]*\n(?: *:[\w-]+:[^\n]*\n)*? *:label: *(\S+)",
    flags=re.DOTALL,
)


def find_names(prose: str, folder: Path = CHAPTERS) -> Names:
    """这一章正文里的公式编号，和所有章节的标题。"""
    titles = {}
    for page in sorted({*folder.glob("*.md"), *folder.parent.glob("book/*.md")}):
        text = page.read_text(encoding="utf-8")
        titles.update(LABELLED_HEADING.findall(text))
        if heading := re.search("^# (.+)$", text, flags=re.MULTILINE):
            titles[Path(os.path.relpath(page, folder)).as_posix()] = heading[1]
    titles.update(LABELLED_HEADING.findall(prose))
    labels = filter(None, (a or b for a, b in EQUATION_LABEL.findall(prose)))
    return Names(folder, titles, {label: n for n, label in enumerate(labels, start=1)})
