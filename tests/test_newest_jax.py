"""最新一版 jax：编译得出来，学得会。

锁住的 jax 不是允许的最新一版，而新版的编译器对同样的程序可以有完全不同的表现：同样的随机数，
jax 0.10 几秒编译完，jax 0.11 五分钟也编译不完。这里把 requirements-newest.lock 叠在像 Colab 的环境上，真的训练一次。
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from conftest import give_up
from packaging.requirements import Requirement

from book.tools.checks import colab

ROOT = Path(__file__).parents[1]
(NEWEST,) = re.findall(
    r"^jax==(.+)$", (ROOT / "requirements-newest.in").read_text(encoding="utf-8"), re.MULTILINE
)
TRAIN = """
import json
from ppo_lib import PPOConfig, train

cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=5)
final = {}
for parallel in ("threads", "vmap"):
    returns = train(cfg, parallel=parallel, progress=False).metrics["return"]
    final[parallel] = returns.isel(update=slice(-10, None)).mean("update").values.tolist()
print(json.dumps(final))
"""


def run(*command, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_newest_jax_is_the_highest_minor_version_that_gymnax_allows():
    """gymnax 放宽了上限，这里就该跟着走：pyproject.toml 的范围，和试的这一版。"""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    major, minor, _ = NEWEST.split(".")
    for source in (project["dependencies"], metadata.requires("gymnax")):
        (jax,) = (
            r for r in map(Requirement, source)
            if r.name == "jax" and (r.marker is None or r.marker.evaluate())
        )  # fmt: skip
        assert jax.specifier.contains(NEWEST)
        assert not jax.specifier.contains(f"{major}.{int(minor) + 1}.0"), (
            "有更新的一版可用了，请换上"
        )


@pytest.mark.slow
def test_training_compiles_and_learns_on_the_newest_jax(tmp_path):
    python = colab.PYTHON
    if not python.exists():
        give_up("先运行 python -m book.tools.checks.colab --setup-only，备好像 Colab 的环境")
    if run(python, "-c", "import sys; print(sys.version_info >= (3, 12))").strip() != "True":
        pytest.skip("最新的 jax 要 Python 3.12 以上")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps"]
    run(*install, "--require-hashes", "--requirement", ROOT / "requirements-newest.lock",
        "--python", python, "--target", tmp_path)  # fmt: skip

    env = os.environ | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    version = run(python, "-c", "import jax; print(jax.__version__)", env=env)
    assert version.strip() == NEWEST
    final = json.loads(run(python, "-c", TRAIN, env=env, timeout=300).splitlines()[-1])
    for parallel, scores in final.items():
        assert sorted(scores)[2] > 450, (parallel, scores)
