"""_runtime.py：不卡死的调度器开关和编译缓存。每一个次序都在新的进程里试，因为它们只在进程开头起作用。"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppo_lib._runtime import SCHEDULER_FLAG

pytestmark = pytest.mark.slow

TRAIN = """
from ppo_lib import PPOConfig, train
cfg = PPOConfig(env_name="CartPole-v1", num_envs=2, num_steps=16, hidden_sizes=(8,), num_minibatches=2,
                update_epochs=1, total_timesteps=320, num_seeds=3)
run = train(cfg, progress=False, parallel="vmap")
assert run.metrics.sizes["update"] == 10
"""

REPORT = """
import json, os, jax
print(json.dumps(dict(
    xla_flags=os.environ.get("XLA_FLAGS"),
    cache_dir=jax.config.jax_compilation_cache_dir,
    min_seconds=jax.config.jax_persistent_cache_min_compile_time_secs)))
"""

OWN_CACHE = (
    "XDG_CACHE_HOME",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)


def python(code, env=None, timeout=120):
    """在新的进程里运行；返回 (最后一行 JSON, stderr)。JAX 相关的环境变量从干净的开始。"""
    clean = {
        k: v
        for k, v in os.environ.items()
        if k not in (*OWN_CACHE, "XLA_FLAGS", "JAX_PLATFORMS")
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=clean | {"JAX_PLATFORMS": "cpu", "PYTHONIOENCODING": "utf-8"} | (env or {}),
    )
    assert result.returncode == 0, result.stderr
    last = (result.stdout.strip().splitlines() or ["null"])[-1]
    return json.loads(last), result.stderr


def compiled_safely(folder):
    """XLA 编译各个程序时真正用的选项：{模块名: 会卡死的调度器是否关掉了}。"""
    texts = {path.name: path.read_text() for path in folder.glob("*debug_options*")}
    off = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED", "concurrency_optimized_scheduler: false"
    return {name: any(word in text for word in off) for name, text in texts.items()}


# ---------------------------------------------------------------- 调度器开关


@pytest.mark.parametrize(
    "first_line",
    ["", "import jax, jax.numpy, flax.linen, optax"],
    ids=["ppo_lib first", "jax first"],
)
def test_import_sets_the_flag_and_xla_obeys_it(tmp_path, first_line):
    """后端启动之前 import，开关就起作用：连用户自己的 jit 也护住。原有的 XLA_FLAGS 还在。"""
    code = f"""
{first_line}
import ppo_lib
import jax
jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((4, 4))).block_until_ready()
{REPORT}
"""
    report, err = python(code, {"XLA_FLAGS": f"--xla_dump_to={tmp_path}"})
    assert report["xla_flags"] == f"--xla_dump_to={tmp_path} {SCHEDULER_FLAG}"
    assert "RuntimeWarning" not in err
    safe = compiled_safely(tmp_path)
    assert safe and all(safe.values()), safe


def test_a_backend_already_started_warns_in_chinese_and_training_is_still_safe(tmp_path):
    code = f"""
import jax
jax.numpy.ones(3).sum().block_until_ready()
import ppo_lib
{TRAIN}
{REPORT}
"""
    report, err = python(code, {"XLA_FLAGS": f"--xla_dump_to={tmp_path}"})
    assert (
        "RuntimeWarning" in err
        and "请重启 Python" in err
        and "import ppo_lib 放在第一行" in err
    )
    assert "<string>:4: RuntimeWarning" in err  # 警告指着用户的那一行，不是库里的
    assert report["xla_flags"] == f"--xla_dump_to={tmp_path}"  # 改了也没用，就不改
    safe = compiled_safely(tmp_path)
    ours = {
        name: is_safe
        for name, is_safe in safe.items()
        if "run_chunk" in name or "jit_init" in name
    }
    assert len(ours) == 2 and all(ours.values()), safe
    assert not all(safe.values())  # 对照：用户自己的那个程序没有护住


def test_gymnax_starts_the_backend_so_importing_it_first_warns():
    _, err = python("import gymnax\nimport ppo_lib")
    assert "<string>:2: RuntimeWarning" in err and "请重启 Python" in err


def test_the_users_own_choice_is_respected():
    flags = (
        "--xla_cpu_enable_concurrency_optimized_scheduler=true --xla_cpu_enable_fast_math=false"
    )
    report, err = python("import ppo_lib" + REPORT, {"XLA_FLAGS": flags})
    assert report["xla_flags"] == flags
    assert "RuntimeWarning" not in err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="从 /proc 里找载入的库")
@pytest.mark.parametrize("chosen, scipys", [(None, 1), ("2", 2)])
def test_only_scipys_openblas_is_kept_to_one_thread(chosen, scipys):
    """NumPy 的那份照旧用全部的核；用户自己定过的，尊重他。"""
    code = """
import ppo_lib, ctypes, json, os
paths = {line.split()[-1] for line in open("/proc/self/maps") if "libscipy_openblas" in line}
found = {}
for path in paths:
    library = ctypes.CDLL(path)
    for suffix in ("", "64_"):
        if function := getattr(library, "scipy_openblas_get_num_threads" + suffix, None):
            found["numpy" if "numpy.libs" in path else "scipy"] = function()
print(json.dumps([found, os.environ.get("OPENBLAS_NUM_THREADS")]))
"""
    found, left = python(code, {"OPENBLAS_NUM_THREADS": chosen} if chosen else None)[0]
    assert left == chosen
    assert found.get("scipy", scipys) == scipys  # 别的 LAPACK（MKL 等）不归这里管
    if not chosen and "numpy" in found:
        assert found["numpy"] == len(os.sched_getaffinity(0))


def test_importing_loads_only_what_training_needs_and_gymnax_can_still_draw():
    code = """
import ppo_lib, json, sys
slow = {"seaborn", "matplotlib.pyplot", "orbax.checkpoint", "scipy.stats"}
loaded = sorted(slow & sys.modules.keys())
from gymnax.environments.misc import pong
colors = len(pong.sns.color_palette("cubehelix", 4))
import matplotlib.pyplot, seaborn
same = pong.plt.figure is matplotlib.pyplot.figure and pong.sns.heatmap is seaborn.heatmap
print(json.dumps([loaded, colors, same]))
"""
    assert python(code)[0] == [[], 4, True]


def test_importing_twice_adds_the_flag_once():
    report, _ = python("import ppo_lib, importlib; importlib.reload(ppo_lib)" + REPORT)
    assert report["xla_flags"] == SCHEDULER_FLAG


@pytest.mark.parametrize("before", ["enable", "disable"])
def test_importing_leaves_garbage_collection_as_it_was(before):
    code = f"import gc, json; gc.{before}(); import ppo_lib; print(json.dumps(gc.isenabled()))"
    assert python(code)[0] == (before == "enable")


# ---------------------------------------------------------------- 编译缓存


COUNT_HITS = """
import jax
hits = []
jax.monitoring.register_event_listener(lambda name, **rest: hits.append(name))
"""

PRINT_HITS = """
import json, jax
print(json.dumps(dict(
    hits=hits.count("/jax/compilation_cache/cache_hits"), misses=hits.count("/jax/compilation_cache/cache_misses"),
    compile_seconds=run.compile_seconds, cache_dir=jax.config.jax_compilation_cache_dir,
    entropy=run.metrics["entropy"].values.tolist())))
"""


def test_the_second_process_finds_what_the_first_compiled(tmp_path):
    code = COUNT_HITS + TRAIN + PRINT_HITS
    env = {
        "XDG_CACHE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "LOCALAPPDATA": str(tmp_path),
    }
    first, _ = python(code, env)
    assert first["cache_dir"].startswith(str(tmp_path)) and "ppo_lib" in first["cache_dir"]
    files = sorted(path.name for path in (tmp_path / first["cache_dir"]).iterdir())
    assert files and first["hits"] == 0 and first["misses"] >= 1

    second, _ = python(code, env)
    assert second["hits"] >= 1 and second["misses"] == 0
    assert {name for name in files if name.endswith("-cache")} == {
        path.name
        for path in (tmp_path / first["cache_dir"]).iterdir()
        if path.name.endswith("-cache")
    }
    assert second["compile_seconds"] < first["compile_seconds"]
    assert second["entropy"] == first["entropy"]


def test_an_unwritable_cache_dir_does_not_stop_training(tmp_path):
    """用户的缓存目录可能写不进去（只读的家目录）：照样训练。"""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("这里是一个文件，不是目录")
    python(TRAIN, {"XDG_CACHE_HOME": str(in_the_way)})


def test_the_users_own_cache_dir_is_respected(tmp_path):
    mine = str(tmp_path / "mine")
    report, _ = python("import ppo_lib" + REPORT, {"JAX_COMPILATION_CACHE_DIR": mine})
    assert report["cache_dir"] == mine
    assert report["min_seconds"] == 1.0  # JAX 自己的缺省值

    report, _ = python(
        f"import jax; jax.config.update('jax_compilation_cache_dir', {mine!r}); import ppo_lib"
        + REPORT
    )
    assert report["cache_dir"] == mine


# ---------------------------------------------------------------- 不卡死


HANG = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
import jax
import ppo_lib.networks.mlp, ppo_lib.rollout, ppo_lib.training
from ppo_lib import PPOConfig, members, train

how, first_seed = sys.argv[1], int(sys.argv[2])
if how == "flag":  # 读者自己会写的样子：不避开 XLA 的线程池，只靠 XLA_FLAGS
    ppo_lib.networks.mlp.dot_general = jax.lax.dot_general
    ppo_lib.rollout.in_chunks = ppo_lib.training.in_chunks = lambda f, x, size: f(x)
    members.compiler_options = dict
for seed in range(first_seed, first_seed + 6):
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=20_480, num_seeds=10, seed=seed)
    run = train(cfg, progress=False, parallel="vmap")
    assert run.metrics.sizes["update"] == 10
    print(seed, flush=True)
"""

SPIN = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[CORE % len(os.sched_getaffinity(0))]})
while True:
    pass
"""


def train_six_times(how, first_seed, patience=240):
    """一个新进程里训练六次，每次十个种子 vmap 在一起；返回 (how, 训练完几次, 出了什么事, 秒)。"""
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    begin = time.perf_counter()
    command = [sys.executable, "-c", HANG, how, str(first_seed)]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err = "卡住了"
    problem = err if process.returncode else ""
    return how, len(out.split()), problem, time.perf_counter() - begin


def test_vmapped_training_never_hangs_on_two_busy_cores(capsys):
    """两个核都被占着，每次两个进程，一共训练 26 次，都要跑完。

    flag 的写法改用 JAX 的缺省调度器（XLA_FLAGS 写 true），同样的条件下 6 个进程卡住了 5 个，
    训练 18 次卡 5 次；按这个比例，开关失灵而 24 次训练侥幸全部跑完，机会不到千分之一。（一次训练十万步
    时，30 次卡 4 次：卡住多在开头，训练长了并不多卡。）ppo_lib 自己的写法（library）避开了线程池，
    用缺省调度器也没有见它卡住，这里只看它照常跑完。
    """
    spinners = [
        subprocess.Popen([sys.executable, "-c", SPIN.replace("CORE", str(core))])
        for core in range(2)
    ]
    jobs = [("flag", 6 * i) for i in range(4)] + [("library", 0)]
    begin = time.perf_counter()
    pool = ThreadPoolExecutor(2)
    try:
        results = list(pool.map(lambda job: train_six_times(*job), jobs))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
    with capsys.disabled():
        longest = max(seconds for *_, seconds in results)
        total = time.perf_counter() - begin
        print(f"\n五个进程、26 次训练共 {total:.0f} 秒，最慢的进程 {longest:.0f} 秒")
    assert [(how, done) for how, done, *_ in results] == [(how, 6) for how, _ in jobs], results
