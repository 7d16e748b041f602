"""几个测试文件共用的：在 Node 里驱动网页的引擎，让它做的事怎样写。"""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

from ppo_lib import PPOConfig
from ppo_lib.widgets import engine

DRIVER = Path(__file__).with_name("engine_driver.js")
NODE = shutil.which("node")


def runner(folder):
    """在 Node 里做一串事的函数，脚本和要做的事写在 folder 里：run([{do: …}, …]) → 结果的列表。"""
    script, commands = folder / "engine.js", folder / "commands.json"
    script.write_text(engine.engine_script(), encoding="utf-8")

    def run(todo: list[dict]) -> list:
        commands.write_text(json.dumps(todo), encoding="utf-8")
        command = [NODE, str(DRIVER), str(script), str(commands)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr[-3000:]
        return json.loads(result.stdout)

    return run


def create(cfg: PPOConfig, seed: int = 0, build: str = "simd") -> dict:
    config = {name: getattr(cfg, name) for name in engine.KEYS}
    return {"do": "create", "config": config, "seed": seed, "build": build}


def call(method: str, *args) -> dict:
    return {"do": "call", "method": method, "args": args}


def read(array: str, length: int, kind: str = "float") -> dict:
    return {"do": "read", "array": array, "length": length, "type": kind}


def write(array: str, values, kind: str = "float") -> dict:
    values = np.ravel(values).astype(float if kind == "float" else int).tolist()
    return {"do": "write", "array": array, "values": values, "type": kind}
