"""预览一章：只运行它，做成 _build/preview/<章>/html，不动整本书和缓存。

    python -m book.tools.site.preview chapters/07_clipping.md

指向别的章的链接在这里是断的，所以有警告也不算失败；整本书仍由 make html 从严检查。
"""

import sys
from pathlib import Path

import yaml

from book.tools.site.build import ROOT, Site, shown


def preview(chapter: Path) -> Path:
    """做一章，返回网页的路径；运行出错就抛出那一格的错。"""
    document = chapter.resolve().relative_to(ROOT).with_suffix("").as_posix()
    folder = ROOT / "_build/preview" / chapter.stem
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["execute"]["execute_notebooks"] = "force"
    config["html"]["favicon"] = str(ROOT / config["html"]["favicon"])
    toc = {"format": "jb-book", "root": "book/index"}
    toc["parts"] = [{"caption": "正文", "numbered": True, "chapters": [{"file": document}]}]
    for name, content in (("config", config), ("toc", toc)):
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        (folder / f"_{name}.yml").write_text(text, encoding="utf-8")
    with (folder / "log").open("w", encoding="utf-8") as log:
        Site(ROOT, folder, folder, folder / "cache", log).update(())
    return folder / "html" / f"{document}.html"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(shown(preview(Path(argument))))
