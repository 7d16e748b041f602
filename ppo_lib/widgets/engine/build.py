"""由 C 编译出两个 Wasm：有 SIMD 的和没有的。用 PyPI 上的 ziglang，版本锁在 requirements.lock。

    python -m ppo_lib.widgets.engine.build

同样的源码、同样的 ziglang，在任何文件夹里编译都得到同样的字节（tests/test_engine.py 查），所以结果随书提交。
没有标准库；严格的 IEEE 运算：不合并乘加，不改次序。
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ppo_lib.widgets.engine import BUILDS, HERE

FEATURES = {"simd": "-msimd128", "plain": "-mno-simd128"}

FLAGS = [
    "-target", "wasm32-freestanding", "-nostdlib", "-std=c11", "-ffp-contract=off",
    "-O2", "-fno-unroll-loops", "-mllvm", "-inline-threshold=25",  # 后三项：小一半，一样快
    "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers",
    "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=16384",
]  # fmt: skip


def compile_engine(source: Path, target: Path, build: str) -> None:
    """source 里的全部 .c 编译成 target；build 是 ``simd`` 或 ``plain``。编译器的缓存放进临时文件夹。"""
    files = sorted(path.name for path in source.glob("*.c"))
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, FEATURES[build]]
    with tempfile.TemporaryDirectory() as cache:
        subprocess.run(
            [*command, *files, "-o", str(target.resolve())],
            cwd=source,
            env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache},
            check=True,
        )


if __name__ == "__main__":
    for build, name in BUILDS.items():
        compile_engine(HERE, HERE / name, build)
        print(f"写出 {name}，{(HERE / name).stat().st_size / 1e3:.1f} kB")
