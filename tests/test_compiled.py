"""compiled.py：编译好的程序跟着源码走；改了却没有载入，就说出来。"""

import dataclasses
import importlib
import os
import shutil
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest
from tiny import TINY

import ppo_lib
from ppo_lib import compiled, envs, loss, train, training
from ppo_lib.compiled import compiled_once

CFG = dataclasses.replace(TINY, total_timesteps=10 * 32, num_seeds=1)


@pytest.fixture
def made():
    """一个缓存起来的“编译”，和它编译了几次。"""
    count = []
    return compiled_once(lambda cfg: count.append(cfg)), count


def test_the_same_source_compiles_once(made):
    make, count = made
    make(1), make(1), make(2)
    assert count == [1, 2]


@pytest.mark.parametrize(
    ("home", "name", "value"),
    [
        (training, "ppo_loss", lambda *_: None),
        (training, "CHUNK", 128),
        (loss.Minibatch, "_asdict", lambda self: {}),
    ],
)
def test_a_replaced_function_constant_or_method_compiles_again(
    made, monkeypatch, home, name, value
):
    make, count = made
    make(1)
    with monkeypatch.context() as patch:
        patch.setattr(home, name, value)
        make(1), make(1)
    make(1)
    assert count == [1, 1, 1]


def test_a_dict_changed_in_place_compiles_again(made, monkeypatch):
    make, count = made
    make(1)
    monkeypatch.setitem(envs.SHAPING, "position", lambda *_: 100.0)
    make(1), make(1)
    assert count == [1, 1]


@pytest.mark.parametrize(
    ("new", "same"),
    [
        ('def f(x):\n    "另一句。"\n    return x + "b"', True),
        ('def f(x):\n    return x + "b"', True),
        ('def f(x):\n    "一句。"\n    return x + "c"', False),
    ],
)
def test_a_changed_string_is_a_change_and_a_docstring_is_none(new, same):
    def of(source):
        ((_, code),) = compiled.codes(compile(source, "f.py", "exec"))
        return compiled.body(code)

    assert (of('def f(x):\n    "一句。"\n    return x + "b"') == of(new)) == same


def test_a_file_loaded_later_changes_nothing(made, monkeypatch):
    make, count = made
    monkeypatch.delitem(sys.modules, "ppo_lib.loss")
    make(1)
    monkeypatch.undo()
    make(1)
    assert count == [1]


def test_new_code_in_the_same_function_compiles_again(made, monkeypatch):
    """``%autoreload`` 就是这样换的：函数还是那个对象，字节码是新的。"""
    make, count = made
    make(1)
    monkeypatch.setattr(loss.ppo_loss, "__code__", (lambda *_, **__: None).__code__)
    make(1)
    assert count == [1, 1]


def test_the_source_is_still_followed_after_compiled_itself_is_loaded_again(made, monkeypatch):
    """``%autoreload`` 也会重新载入 compiled.py；用它做好的程序照样跟着源码走。"""
    make, count = made
    make(1)
    for name, value in vars(compiled).items():  # 出来时都恢复原样
        monkeypatch.setattr(compiled, name, value)
    importlib.reload(compiled)
    monkeypatch.setattr(training, "ppo_loss", lambda *_: None)
    make(1)
    assert count == [1, 1]


def test_two_functions_with_the_same_code_are_told_apart(made, monkeypatch):
    make, count = made
    for gain in (1, 2):
        monkeypatch.setattr(training, "normalize", lambda x, gain=gain: x * gain)
        make(1)
    assert count == [1, 1]


def test_a_file_that_changed_and_was_not_loaded_is_named_once(tmp_path, monkeypatch):
    source = Path(loss.__file__).read_text(encoding="utf-8")
    file = tmp_path / "loss.py"
    monkeypatch.setattr(loss, "__file__", str(file))
    monkeypatch.setattr(compiled, "told", set())
    file.write_text(source.replace('"""', '"""改了文档。', 1), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled.warn_if_not_loaded()  # 只改了文档和行号，做的事没有变

    file.write_text(source.replace("jnp.minimum(", "jnp.maximum("), encoding="utf-8")
    with pytest.warns(RuntimeWarning) as said:
        compiled.warn_if_not_loaded()
        compiled.warn_if_not_loaded()
    assert len(said) == 1
    assert "loss.py 改过了（clipped_objective）" in str(said[0].message)
    assert "autoreload" in str(said[0].message)


def test_every_room_that_is_compiled_is_watched():
    """训练的程序里用到的函数，都在看着的文件里。"""
    rooms = {f"ppo_lib.{room}" for room in compiled.ROOMS}
    used = {
        value.__module__
        for room in rooms
        for value in vars(importlib.import_module(room)).values()
        if isinstance(value, types.FunctionType) and value.__module__.startswith("ppo_lib")
    }
    assert used - rooms <= {
        "ppo_lib._runtime",
        "ppo_lib.compiled",
        "ppo_lib.config",
        "ppo_lib.files",
        "ppo_lib.statistics",
    }


NOTEBOOK = """
import sys, time
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()

def run(cell):
    shell.run_cell(cell).raise_error()

run("%load_ext autoreload\\n%autoreload 2")
run("from ppo_lib import PPOConfig, train")
run(f"cfg = {sys.argv[2]}")
run("first = float(train(cfg, progress=False).metrics['entropy'].sum())")
file = Path(sys.argv[1]) / "ppo_lib/loss.py"
time.sleep(1.1)  # 文件的时间精确到秒的地方，也看得出改过
source = file.read_text(encoding="utf-8")
changed = source.replace("jnp.minimum(", "-jnp.minimum(")
assert changed != source
file.write_text(changed, encoding="utf-8")
run("second = float(train(cfg, progress=False).metrics['entropy'].sum())")
print(shell.user_ns["first"], shell.user_ns["second"])
"""


@pytest.mark.slow
@pytest.mark.usefixtures("fully_optimized")  # 与别的进程里的逐位相同
def test_a_notebook_with_autoreload_trains_what_the_file_says(tmp_path):
    """真的 IPython、真的 %autoreload：改了 loss.py，下一次训练就是新的，与重开一个进程的相同。"""
    shutil.copytree(Path(ppo_lib.__file__).parent, tmp_path / "ppo_lib")
    shutil.copytree(Path(ppo_lib.__file__).parents[1] / "book/data", tmp_path / "book/data")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}

    def python(*arguments):
        result = subprocess.run(
            [sys.executable, "-c", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert "改过了" not in result.stderr
        return [float(x) for x in result.stdout.split()[-2:]]

    first, second = python(NOTEBOOK, str(tmp_path), repr(CFG))
    fresh = (
        "from ppo_lib import *; "
        f"print(0, float(train({CFG!r}, progress=False).metrics['entropy'].sum()))"
    )
    assert (
        second
        == python(fresh)[1]
        != first
        == float(train(CFG, progress=False).metrics["entropy"].sum())
    )
