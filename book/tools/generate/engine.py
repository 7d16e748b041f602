"""由 C 编译出网页引擎的两个 Wasm：有 SIMD 的和没有的。

    python -m book.tools.generate.engine

编译器是 Python 包 ziglang，四百多 MB，读者用不着：版本锁在 requirements-zig.lock，要编译时才装进 _build/zig。

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

ROOT = Path(__file__).parents[3]
LOCK = ROOT / "requirements-zig.lock"
ZIG = ROOT / "_build/zig"

FEATURES = {"simd": "-msimd128", "plain": "-mno-simd128"}

FLAGS = [
    "-target", "wasm32-freestanding", "-nostdlib", "-std=c11", "-ffp-contract=off",
    "-O2", "-fno-unroll-loops", "-mllvm", "-inline-threshold=25",  # 后三项：小一半，一样快
    "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers",
    "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=16384",
]  # fmt: skip


def install_zig() -> None:
    """把锁定的编译器装进 _build/zig；uv 的缓存里有，就只要一秒。"""
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run(
        [*install, "--require-hashes", "--target", ZIG, "--requirement", LOCK], check=True
    )


def compile_engine(source: Path, target: Path, build: str) -> None:
    """source 里的全部 .c 编译成 target；build 是 ``simd`` 或 ``plain``。编译器的缓存放进临时文件夹。

    先要 ``install_zig``。
    """
    files = sorted(path.name for path in source.glob("*.c"))
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, FEATURES[build]]
    with tempfile.TemporaryDirectory() as cache:
        caches = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        subprocess.run(
            [*command, *files, "-o", str(target.resolve())],
            cwd=source,
            env=os.environ | caches | {"PYTHONPATH": str(ZIG)},
            check=True,
        )


if __name__ == "__main__":
    install_zig()
    for build, name in BUILDS.items():
        compile_engine(HERE, HERE / name, build)
        print(f"写出 {name}，{(HERE / name).stat().st_size / 1e3:.1f} kB")
