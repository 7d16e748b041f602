"""几个测试文件共用的：在测试自己的进程里运行命令行。"""

import logging
import sys
from contextlib import contextmanager

from ppo_lib import jobs, train
from ppo_lib.__main__ import main

FEW = ["num_envs=4", "num_steps=16", "num_minibatches=2", "total_timesteps=320", "tracker=none"]


@contextmanager
def command_line(folder, patch):
    """在 folder 里、就在这个进程里运行命令行的函数；返回退出时的话或退出码，0 是正常结束。"""
    patch.chdir(folder)
    patch.setattr(logging, "_handlerList", [])  # Hydra 会关掉里面的，包括 pytest 的
    handlers, level = logging.root.handlers[:], logging.root.level

    def run(*arguments):
        patch.setattr(sys, "argv", ["ppo_lib", *arguments])
        try:
            main()
        except SystemExit as end:
            return end.code
        return 0

    yield run
    logging.root.handlers[:], logging.root.level = handlers, level


def press_ctrl_c(monkeypatch):
    """每次训练，做完一块就有人按 Ctrl-C。"""

    def pressed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        jobs, "train", lambda *a, **k: train(*a, **k, chunk_updates=1, on_chunk=pressed)
    )
