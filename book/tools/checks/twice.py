"""把各章的 .ipynb 做成“运行两遍”的笔记本，放在 _build/twice；make test 用 nbval 运行它们。

    python -m book.tools.checks.twice    只做笔记本，不运行

读者会把一格再运行一次，也会在同一个内核里把整本从头再来。所以每一格先连着运行两次，全部做完以后，
整本再来一遍：第一格，第一格，第二格，第二格……最后一格，最后一格，第一格，第二格……最后一格。
读者还会打开 %autoreload 改库的源码。所以每本用自己的一份 ppo_lib，第二遍之前把各个文件都改一改，重新载入。
训练是确定的，所以只有每格的头一次真的编译和计算，以后交出记下的结果和用时；其余的（查缓存、存盘、画图、
小组件、检查）每次都真做。
"""

import copy
import inspect
import shutil
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "_build/twice"
TIMES = {"first": "头一次", "again": "紧接着再来一次", "round2": "整本的第二遍"}

HEAVY = (
    "ppo_lib.course.beta1_update.branch",
    "ppo_lib.course.ch02.compare_numpy_jax",
    "ppo_lib.course.ch02.learn_corridor",
    "ppo_lib.course.ch07.watch_one_update",
    "ppo_lib.course.ch08.split_one_update",
    "ppo_lib.course.ch09.watch_critic",
)
"""训练之外费时的函数：只算数，同样的参数给出同样的结果。"""


LEFT_ALONE = ("ppo_lib.members", *sorted({path.rpartition(".")[0] for path in HEAVY}))
"""第二遍之前不改的文件：里面有 ``remember`` 换过的函数，重新载入就换回去了。"""


def own_copy():
    """这个内核自己的一份 ppo_lib，改了不碍别的；打开 %autoreload。

    Colab 的 IPython 还在用 Python 3.12 起没有的 imp，它的 %autoreload 载入不了；这里补上它要的那一个函数。
    """
    import importlib.util
    import shutil
    import sys
    import tempfile
    import types

    from IPython import get_ipython

    (installed,) = importlib.util.find_spec("ppo_lib").submodule_search_locations
    folder = tempfile.mkdtemp()
    shutil.copytree(installed, f"{folder}/ppo_lib")
    sys.path.insert(0, folder)
    sys.modules.setdefault("imp", types.SimpleNamespace(reload=importlib.reload))
    get_ipython().run_line_magic("load_ext", "autoreload")
    get_ipython().run_line_magic("autoreload", "2")


def edit(left_alone: tuple[str, ...]):
    """在载入了的库文件末尾加一行。

    只改只有函数的文件：Colab 的 IPython 7 重新载入一个文件，里面的类就换成新的，手里的对象还是旧的类；
    重新载入一个包，就忘了它的子模块。新的 IPython 没有这两样毛病。
    """
    import os
    import sys
    import time
    from pathlib import Path

    later = time.time() + 2  # 有的文件系统，修改时间只到秒
    for name, module in list(sys.modules.items()):
        classes = [x for x in vars(module).values() if getattr(x, "__module__", "") == name]
        classes = [x for x in classes if isinstance(x, type)]
        if name.startswith("ppo_lib.") and name not in left_alone:
            if not classes and not hasattr(module, "__path__"):
                with Path(module.__file__).open("a", encoding="utf-8") as file:
                    file.write("\nEDITED = True\n")
                os.utime(module.__file__, (later, later))


def check_reloaded():
    """改过的都重新载入了，没有一个失败。"""
    import sys
    from pathlib import Path

    from IPython import get_ipython

    reloader = get_ipython().magics_manager.registry["AutoreloadMagics"]._reloader
    ours = {name: x for name, x in sys.modules.items() if name.startswith("ppo_lib.")}
    edited = [
        name for name, x in ours.items() if "\nEDITED = True" in Path(x.__file__).read_text()
    ]
    stale = [name for name in edited if not hasattr(ours[name], "EDITED")] + [*reloader.failed]
    print("改过并且重新载入了：", *edited)
    assert "ppo_lib.advantage" in edited and not stale, stale


def remember(first: str, heavy: tuple[str, ...]):
    """记住这个内核里编译过的程序、做过的训练，和 heavy 里的函数。

    第一行带着 first 的格照样真做；别的格里，同样的程序不再编译，同样的训练只交出记下的结果和用时。
    “同样”的程序，交给编译器的文本相同；“同样”的训练，程序、开头的状态、超参数、各块的长短都相同。
    """
    import copy
    import functools
    import hashlib
    import importlib
    import time

    import jax
    import numpy as np
    from IPython import get_ipython

    from ppo_lib.members import Members, to_plain

    compile, compute, train = jax.stages.Lowered.compile, Members.chunks, Members.train
    programs, texts, trainings, replaying = {}, {}, {}, False

    def notice(info):
        nonlocal replaying
        replaying = first not in info.raw_cell.partition("\n")[0]

    def compile_once(self, *arguments, **named):
        text = hashlib.sha256(self.as_text().encode()).digest()
        if not (replaying and text in programs):
            programs[text] = compile(self, *arguments, **named)
        texts[programs[text]] = text
        return programs[text]

    def chunks(self, lengths):
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves((self.states, self.hypers)):
            digest.update(to_plain(leaf).tobytes())
        key = (
            tuple(texts[p] for p in (self.programs.init, self.programs.run_chunk)),
            tuple(lengths),
            digest.digest(),
        )
        known, self.recorded_seconds = replaying and trainings.get(key) or ([], 0.0)
        for states, rows in known:
            yield list(states), {name: x.copy() for name, x in rows.items()}
        done, start = [*known], time.perf_counter()
        rest = compute(self, lengths[len(done) :])  # 上次中途停下的，从停下处接着算
        try:
            for states, rows in rest:
                done.append((list(states), {name: np.array(x) for name, x in rows.items()}))
                yield states, rows
        finally:
            rest.close()
            self.recorded_seconds += time.perf_counter() - start
            record = done, self.recorded_seconds
            trainings[key] = max(record, trainings.get(key, record), key=longer_then_faster)

    def longer_then_faster(training):
        return len(training[0]), -training[1]

    def train_in_recorded_time(self, *arguments):
        error = train(self, *arguments)
        if replaying:
            self.run_seconds = self.recorded_seconds  # 有的章比较用时
        return error

    def remembered(function):
        results = {}

        @functools.wraps(function)
        def call(*arguments, **named):
            key = repr((arguments, named))
            if not (replaying and key in results):
                results[key] = function(*arguments, **named)
            return copy.deepcopy(results[key])

        return call

    for module, _, name in (path.rpartition(".") for path in heavy):
        room = importlib.import_module(module)
        setattr(room, name, remembered(getattr(room, name)))
    jax.stages.Lowered.compile = compile_once
    Members.chunks, Members.train = chunks, train_in_recorded_time
    Members.recorded_seconds = 0.0
    get_ipython().events.register("pre_run_cell", notice)


def calling(function, *arguments):
    """定义 function 再调用它的一格，名字用过就删。"""
    call = f"{function.__name__}({', '.join(map(repr, arguments))})"
    source = f"{inspect.getsource(function)}\n\n{call}\ndel {function.__name__}"
    return nbformat.v4.new_code_cell(source, id=function.__name__.replace("_", "-"))


def doubled(notebook):
    """每一格连着运行两次、整本再来一遍的笔记本；只留代码。"""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    numbered = [*enumerate(cells, 1)]
    result = nbformat.v4.new_notebook(metadata=notebook.metadata)
    result.cells = [
        calling(own_copy),
        calling(remember, TIMES["first"], HEAVY),
        *[labelled(n, cell, time) for n, cell in numbered for time in ("first", "again")],
        calling(edit, LEFT_ALONE),
        calling(check_reloaded),
        *[labelled(n, cell, "round2") for n, cell in numbered],
    ]
    return result


def labelled(number: int, cell, time: str):
    """一格的副本；编号和第一行的注释说明这是第几格、第几次。"""
    cell = copy.deepcopy(cell)
    cell.id = f"{number:02d}-{time}"
    if not cell.source.startswith("%%"):  # 这样的格，第一行另有用处
        cell.source = f"# 第 {number} 格，{TIMES[time]}\n{cell.source}"
    return cell


def write_all(chapters: Path = ROOT / "chapters", folder: Path = FOLDER) -> list[Path]:
    """从头做出各章的笔记本，返回它们的路径。"""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(chapters.glob("*.ipynb")):
        nbformat.write(doubled(nbformat.read(path, as_version=4)), folder / path.name)
    return sorted(folder.glob("*.ipynb"))


if __name__ == "__main__":
    print(f"做好了 {len(write_all())} 本，在 {FOLDER.relative_to(ROOT)}")
