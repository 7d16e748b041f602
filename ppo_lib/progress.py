"""进度条：终端里画在 stderr，笔记本里画在输出格里，每秒步数、剩余时间、当前回报。"""

from __future__ import annotations

import contextlib
import sys

import numpy as np
from tqdm import tqdm

from ppo_lib.members import Members, Observer

FORMAT = (
    "{percentage:3.0f}% {bar:10} {n_fmt}/{total_fmt} 步，{rate_fmt}，剩余 {remaining}{postfix}"
)


def put(stream, text: str) -> None:
    """写到终端。写不出去（它不认得中文，或者已经关上）也不出错：训练比这几个字要紧。"""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


def say(text: str) -> None:
    """打印一行。"""
    put(sys.stdout, f"{text}\n")


class Terminal:
    """stderr，给 tqdm 当文件用。"""

    def write(self, text: str) -> None:
        put(sys.stderr, text)

    def flush(self) -> None:
        pass

    def __getattr__(self, name: str):
        return getattr(sys.stderr, name)


class NotebookLine:
    """一行会更新的笔记本输出，给 tqdm 当文件用。

    不写 stdout 或 stderr：那样每刷新一次就多一行，存进静态页面的也不只是最后一行。
    """

    def __init__(self):
        from IPython.display import display

        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> None:
        if text.strip():
            self.handle.update({"text/plain": text.strip()}, raw=True)

    def flush(self) -> None:
        pass


def in_notebook() -> bool:
    """是否运行在 Jupyter 的内核里。"""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


class Progress(Observer):
    """一次训练的进度条；单位是所有成员合计的环境步数。"""

    def __init__(self, members: Members, *, enabled: bool):
        cfg = members.cfg
        self.steps_per_update = cfg.batch_size * members.size
        if enabled and cfg.dropped_timesteps:
            say(
                f"total_timesteps = {cfg.total_timesteps} 不是 {cfg.batch_size} 的整数倍："
                f"做 {cfg.num_updates} 次更新，最后 {cfg.dropped_timesteps} 步不跑。"
            )
        self.bar = tqdm(
            total=cfg.num_updates * self.steps_per_update,
            initial=members.done * self.steps_per_update,  # 接着训练时，从上次停下的地方数起
            disable=not enabled,
            file=NotebookLine() if enabled and in_notebook() else Terminal(),
            unit=" 步",
            unit_scale=True,
            bar_format=FORMAT,
            ascii=False,
        )

    def chunk(self, members: Members) -> None:
        returns = members.rows["return"]  # (members, 这块的更新次数)，没有回合结束处是 NaN
        if np.isfinite(returns).any():
            self.bar.set_postfix_str(f"回报 {np.nanmean(returns):.1f}", refresh=False)
        self.bar.update(returns.shape[1] * self.steps_per_update)

    def stopped(self, members: Members) -> None:
        self.close()  # 别的旁观者收尾时要说的话，另起一行

    def close(self) -> None:
        self.bar.close()
