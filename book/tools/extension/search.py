"""中文搜索：按课程的术语切词，术语表的每个名字都是词条，按出现的次数排先后。

建索引在这里；查询在浏览器里，由 search.js 用同样的切法去查。
"""

import json
import logging
import re
from collections import Counter
from pathlib import Path

import jieba
import sphinx.search
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.search.zh import SearchChinese

from ppo_lib.config import FIELDS

ROOT = Path(__file__).parents[3]
PIECES = re.compile(r"[\u4e00-\u9fff]+|[^\W\u4e00-\u9fff]+")

KEY_CHAPTERS = {
    "04_networks": ("hidden_sizes", "activation", "shared_trunk", "obs_scaling"),
    "05_rollout": ("num_envs", "num_steps", "bootstrap_truncation"),
    "06_gae": ("gae_lambda",),
    "07_clipping": ("clip_eps", "update_epochs", "vf_coef"),
    "08_adam": (
        "beta_1",
        "beta_2",
        "adam_eps",
        "max_grad_norm",
        "optimizer",
        "anneal_lr",
    ),
    "09_training": ("ent_coef", "critic_bias"),
    "11_metrics": ("clip_value", "running_grad_decay"),
    "12_improvements": ("advantage_norm", "reward_shaping", "shaping_scale"),
    "15_beta1": ("critic_beta_1",),
}
"""配置的键由哪一章细讲；没有列出的在第 3 章。"""


def key_pages() -> dict[str, str]:
    """{配置的键: 细讲它的那一页}。"""
    told = {key: f"chapters/{name}" for name, keys in KEY_CHAPTERS.items() for key in keys}
    return dict.fromkeys(FIELDS, "chapters/03_config") | told


def glossary_terms(text: str) -> list[str]:
    """术语表里的中文词：行首的“优势函数（advantage function）”给出“优势函数”。"""
    return re.findall(r"^([\u4e00-\u9fff]+)（", text, flags=re.MULTILINE)


def split_words(text: str) -> list[str]:
    """汉字按词切，词里的短词也算；其余按标识符切，clip_eps 是一个词。"""
    words = []
    for piece in PIECES.findall(text):
        han = "\u4e00" <= piece[0] <= "\u9fff"
        words += jieba.cut_for_search(piece) if han else [piece.strip("_")]
    return [word for word in words if word]


class SearchCourse(SearchChinese):
    """替换 Sphinx 自带的中文切词。单个汉字只收术语，例如“熵”。"""

    js_stemmer_code = ""  # 词干和切词都在 search.js 里
    js_splitter_code = f"const KEY_PAGES = {json.dumps(key_pages())};\n" + Path(
        __file__
    ).with_name("search.js").read_text(encoding="utf-8")
    single_terms: set[str] = set()

    def split(self, input: str) -> list[str]:
        return split_words(input)

    def stem(self, word: str) -> str:
        return word.lower()

    def word_filter(self, stemmed_word: str) -> bool:
        return len(stemmed_word) > 1 or stemmed_word in self.single_terms


class CountingIndex(sphinx.search.IndexBuilder):
    """在索引里多记一样：每个词在每一页出现几次。"""

    def __init__(self, env, *args) -> None:
        super().__init__(env, *args)
        if not hasattr(env, "word_counts"):  # 记在 env 里：只重写几页时，别的页的还在
            env.word_counts = {}
        self.counts: dict[str, Counter] = env.word_counts

    def feed(self, docname: str, filename: str, title: str, doctree: nodes.document) -> None:
        super().feed(docname, filename, title, doctree)
        words = map(self.lang.stem, self._word_collector(doctree).words)
        self.counts[docname] = Counter(filter(self.lang.word_filter, words))

    def freeze(self) -> dict:
        frozen = super().freeze()
        counts: dict[str, dict[int, int]] = {}
        for number, docname in enumerate(frozen["docnames"]):
            for word, count in self.counts.get(docname, {}).items():
                counts.setdefault(word, {})[number] = count
        return frozen | {"counts": counts}


def teach_terms(app: Sphinx, config: Config) -> None:
    """让切词认得术语表里的词。"""
    jieba.setLogLevel(logging.WARNING)
    terms = glossary_terms((ROOT / "book/glossary.md").read_text(encoding="utf-8"))
    SearchCourse.single_terms = {term for term in terms if len(term) == 1}
    for term in terms:
        jieba.add_word(term)


def split_entry(entry: tuple) -> list[tuple]:
    """索引里的“熵（entropy）”变成“熵”和“entropy”两条，各自都能查到。"""
    kind, value, *rest = entry
    match = re.fullmatch(r"(.+?)（(.+)）", value)
    names = [match[1], *match[2].split("，")] if match else [value]
    return [(kind, name, *rest) for name in names]


def split_entries(app: Sphinx, doctree: nodes.document) -> None:
    """拆开这一页的全部索引条目；书后的索引页也跟着拆开。"""
    for node in doctree.findall(addnodes.index):
        node["entries"] = [new for entry in node["entries"] for new in split_entry(entry)]
    everything = app.env.get_domain("index").entries
    docname = app.env.docname
    everything[docname] = [
        new for entry in everything.get(docname, []) for new in split_entry(entry)
    ]


def setup(app: Sphinx) -> dict:
    sphinx.search.IndexBuilder = CountingIndex
    app.add_search_language(SearchCourse)
    app.connect("config-inited", teach_terms)
    app.connect("doctree-read", split_entries)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
