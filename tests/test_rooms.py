"""ppo_lib 的各个房间只往一个方向引用：数据怎么流，import 就怎么排，没有房间知道后面的房间。"""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "ppo_lib"

ORDER = [
    "_version",
    "_runtime",
    "files",
    "compiled",
    "interrupts",
    "config",
    "keys",
    "envs",
    "networks",
    "advantage",
    "diagnostics",
    "rollout",
    "loss",
    "optimizer",
    "training",
    "memory",
    "members",
    "progress",
    "statistics",
    "recorded",
    "policy",
    "run_dir",
    "tracking",
    "experiment",
    "hosts",
    "plotting",
    "replay",
    "widgets",
    "course",
    "arguments",
    "jobs",
    "batch",
    "gather",
    "launchers",
    "__main__",
]
"""从前到后；一个房间只能引用排在它前面的。"""

SOURCES = sorted(path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py"))


def room_of(module: str) -> str:
    """ppo_lib.networks.mlp → networks。"""
    return module.split(".")[1]


def imported_rooms(source: str, own_room: str) -> set[str]:
    """一段源代码引用了哪些别的房间；函数里面的 import 也算。相对引用一律算错。"""
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "请写全名：from ppo_lib.…"
            if node.module == "ppo_lib":  # from ppo_lib import envs, train
                modules += [f"ppo_lib.{alias.name}" for alias in node.names]
            else:
                modules.append(node.module)
    rooms = {room_of(m) for m in modules if m.startswith("ppo_lib.")}
    return rooms - {own_room}


@pytest.mark.parametrize("path", [p for p in SOURCES if p != Path("__init__.py")], ids=str)
def test_no_room_imports_a_later_one(path):
    room = path.parts[0].removesuffix(".py")
    assert room in ORDER, f"新的房间 {room}：请在 ORDER 里给它一个位置"
    for other in imported_rooms((LIBRARY / path).read_text(encoding="utf-8"), room):
        assert other in ORDER, f"{room} 引用了 {other}，它不是一个房间；请从它所在的房间引用"
        assert ORDER.index(other) < ORDER.index(room), f"{room} 引用了排在后面的 {other}"


def test_every_room_of_the_order_that_is_built_is_checked():
    checked = {path.parts[0].removesuffix(".py") for path in SOURCES}
    assert checked - {"__init__"} == set(ORDER)


@pytest.mark.parametrize(
    "source, rooms",
    [
        ("from ppo_lib.envs import GOAL", {"envs"}),
        ("import ppo_lib.training as t", {"training"}),
        ("from ppo_lib import loss, optimizer", {"loss", "optimizer"}),
        ("def f():\n    from ppo_lib.experiment import train", {"experiment"}),
        ("from ppo_lib.networks.cpu import matmul", {"networks"}),
        ("import jax, ppo_library.x", set()),
        ("from ppo_lib.config import PPOConfig", set()),  # 自己的房间不算
    ],
)
def test_the_check_sees_every_way_to_import(source, rooms):
    assert imported_rooms(source, own_room="config") == rooms
