"""所有测试共用的部分：次序（一个文件里，快的在前），做好的书，浏览器，几个文件都用的夹具。"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import jax
import pytest
from hypothesis import HealthCheck, settings
from turns import one_at_a_time

# 不限时间：第一个例子要编译，机器忙时更慢。也不限筛掉的比例：文本策略自己会筛掉许多字符，
# 机器忙时容易误报。CI 里例子固定，失败可以重现。
settings.register_profile(
    "course",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
settings.load_profile("course")

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
"""测试看的是对不对，不是快不快：这样编译，一个训练程序从 7.6 CPU 秒减到 3 秒。"""

AS_USUAL = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_use_fusion_emitters": True,
}
"""XLA 的缺省值。"""


def compile_quickly() -> None:
    """只管测试自己的进程：XLA_FLAGS 在后端启动时读一次，读过就恢复，子进程和笔记本照常。"""
    flags = [os.environ.get("XLA_FLAGS", ""), *(f"--{k}={v}".lower() for k, v in QUICK.items())]
    with mock.patch.dict(os.environ, XLA_FLAGS=" ".join(flags)):
        import ppo_lib  # noqa: F401  在后端启动之前，加上它自己的开关

        jax.devices()


compile_quickly()

# Chromium 在没有外网的机器上也要安静：不查更新，不同步，不用 QUIC。
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    """笔记本都算慢测试。一个文件里，快的在前；笔记本在最后，久的在前。

    xdist 照各个文件第一个测试的次序，把文件一个个分给空下来的进程。最后分到的最短，各个进程差不多同时做完。
    """
    timings = json.loads((ROOT / "ppo_lib/course/timings.json").read_text(encoding="utf-8"))

    def place(item) -> tuple[int, float]:
        if item.path.suffix == ".ipynb":
            timing = (timings.get(item.path.name[:2]) or {}).get("cpu")
            return 2, -timing["seconds"] if timing else 0
        return int(item.get_closest_marker("slow") is not None), 0

    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.slow)
    items.sort(key=place)


def give_up(reason: str) -> None:
    """这台机器缺测试要用的东西：开发者的机器上跳过，CI 里算失败。"""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def find_chromium() -> str | None:
    """系统里的 Chromium 或 Chrome；环境变量 CHROMIUM 可以指定。"""
    names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    found = [os.environ.get("CHROMIUM"), *map(shutil.which, names)]
    return next((path for path in found if path), None)


@pytest.fixture(scope="session")
def book_html(testrun_uid):
    """做好的书所在的文件夹；做书时有警告就失败。

    整轮测试只做一次：谁先要谁做，别的测试进程等它做完。两个进程同时做会互相删去文件。
    """
    from book.tools.site import build

    with one_at_a_time(ROOT / "_build/tested.json") as record:
        if record.get("run") != testrun_uid:
            command = [sys.executable, "-m", "book.tools.site.build"]
            result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            ending = f"{result.stdout[-8000:]}\n{result.stderr[-8000:]}"
            record.update(run=testrun_uid, failure=ending if result.returncode else "")
    if record["failure"]:
        pytest.fail(f"做书失败：\n{record['failure']}", pytrace=False)
    return build.HTML


@pytest.fixture(scope="module")
def fully_optimized():
    """这个文件里 ppo_lib 的程序照常优化：训练得久的，和要与录下的、与别的进程里的逐位相同的。"""
    from ppo_lib import members, policy
    from ppo_lib._runtime import compiler_options

    programs = {members: members.compiled_programs, policy: policy.compiled_evaluation}
    options = compiler_options() | AS_USUAL
    with pytest.MonkeyPatch.context() as patch:
        for room, program in programs.items():
            patch.setattr(room, "compiler_options", lambda: options)
            program.cache_clear()
        yield
    for program in programs.values():
        program.cache_clear()


@pytest.fixture(scope="session")
def book_url(book_html):
    """本机上打开的书的网址。"""
    import threading

    from book.tools.site import serve

    server = serve.open_server(port=0, folder=book_html)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser():
    """无界面的 Chromium。"""
    executable = find_chromium()
    if executable is None:
        give_up("没有找到 Chromium（apt-get install chromium，或设环境变量 CHROMIUM）")
    from playwright.sync_api import sync_playwright

    manager = sync_playwright()
    try:
        playwright = manager.start()
    except Exception as error:
        give_up(f"Playwright 起不来（Debian 上试试 apt-get install libatomic1）：{error}")
    chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
    yield chromium
    chromium.close()
    playwright.stop()


@pytest.fixture(scope="session")
def axe_script(tmp_path_factory):
    """axe-core 的脚本。版本和散列锁在 tests/axe/package-lock.json，由 npm 核对。"""
    if shutil.which("npm") is None:
        give_up("没有 npm，查不了无障碍（apt-get install npm）")
    folder = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "tests/axe" / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode != 0:
        give_up(f"npm 装不了 axe-core，可能没有网：{result.stderr[-500:]}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """在一个空目录里、就在这个进程里运行命令行；返回退出时的话或退出码，0 是正常结束。"""
    from command_line import command_line

    with command_line(tmp_path, monkeypatch) as run:
        yield run


@pytest.fixture(scope="session")
def in_node(tmp_path_factory):
    """在 Node 里做一串事：in_node([{do: …}, …]) → 结果的列表。"""
    from engine_calls import NODE, runner

    if NODE is None:
        give_up("没有找到 node")
    return runner(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def call_js(browser):
    """调用小组件代码里导出的函数：call_js(类, "函数名", 参数…)。"""
    page = browser.new_page()

    def call(cls, function, *arguments):
        return page.evaluate(
            """async ([code, name, args]) => {
              const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
              return (await import(url))[name](...args);
            }""",
            [cls._esm, function, list(arguments)],
        )

    yield call
    page.close()


@pytest.fixture
def open_file(browser):
    """打开一个本机文件，返回页面；有出错、或有请求去了别处，就失败。"""
    contexts, problems = [], []

    def open_(path: Path, width=1000, prepare=None, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: m.type != "error" or problems.append(m.text))
        local = (path.parent.as_uri() + "/", "blob:", "data:")
        page.on(
            "request", lambda r: r.url.startswith(local) or problems.append(f"请求了 {r.url}")
        )
        if prepare:
            page.add_init_script(prepare)
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def open_widgets(open_file, tmp_path):
    """打开一页含有几个小组件的文件。"""
    from widget_pages import static_page

    def open_(*widgets, **options):
        path = tmp_path / "page.html"
        path.write_text(static_page(*widgets), encoding="utf-8")
        page = open_file(path, **options)
        page.wait_for_function(
            "n => document.querySelectorAll('.ppo-widget').length === n", arg=len(widgets)
        )
        return page

    return open_
