"""Ctrl-C 与 SIGTERM：训练只在等结果、或叫用户的函数时停得下来，记账和存盘做完了才停。

不这样，信号可能落在存盘的半路，或者指标记下了、状态还没有记下的一刻，留下的就不是同一刻的东西。
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager

SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")  # 最后一个是终端断开时发来的
    if hasattr(signal, name)
]


class Interrupts:
    """``with`` 里面，信号先记下，到 ``allowed()`` 里才起作用；出来时恢复原来的处理。

    起作用就是照原来的处理：通常 SIGINT 抛出 KeyboardInterrupt。原来会让进程就地结束的（SIGTERM），
    也先抛出 KeyboardInterrupt，好让训练收尾，``with`` 结束时进程再由这个信号结束。

    只有主线程收得到信号；在别的线程里，什么也不做。
    """

    def __init__(self):
        self.before: dict[int, object] = {}  # 信号 → 原来的处理
        self.listening = False
        self.pending: int | None = None  # 收到了、还没有起作用的信号
        self.deadly: int | None = None  # 收尾之后，进程要由它结束

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if handler not in (signal.SIG_IGN, None):  # 忽略的照旧忽略
                    self.before[number] = handler
                    signal.signal(number, self.arrived)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.deadly is not None:
            os.kill(os.getpid(), self.deadly)

    def arrived(self, number: int, frame) -> None:
        """收到一个信号。"""
        if self.before[number] is signal.SIG_DFL:
            self.deadly = number
        if self.listening:
            self.deliver(number, frame)
        else:
            self.pending = number

    def deliver(self, number: int, frame=None) -> None:
        """让一个信号起作用。"""
        self.listening, self.pending = False, None
        handler = self.before[number]
        if handler is signal.SIG_DFL:
            raise KeyboardInterrupt
        handler(number, frame)
        self.listening = True  # 它没有抛出，里面还没有做完

    @contextmanager
    def allowed(self):
        """这里面可以被打断；先前记下的信号，一进来就起作用。"""
        self.listening = True  # 先听，后看：夹在中间来的也不漏
        try:
            if self.pending is not None:
                self.deliver(self.pending)
            if self.deadly is not None:  # 里面套着的一次训练先收到了
                raise KeyboardInterrupt
            yield
        finally:
            self.listening = False
