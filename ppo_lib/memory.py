"""内存装得下吗：一批在设备上占多少，设备上、主机上各有多少。怎么分成几批，见 members.py。"""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path

import jax

from ppo_lib.training import CHUNK


def device_bytes(memory) -> int:
    """训练一批时，每个设备上占多少字节：程序自己用的，和做完上一块、还留着的状态；不知道就是 0。

    memory 是编译好的 run_chunk 的 ``memory_analysis()``。
    """
    if memory is None:
        return 0
    state = memory.argument_size_in_bytes
    return memory.temp_size_in_bytes + memory.output_size_in_bytes + 2 * state


def usable_bytes() -> float:
    """一个设备上可以用多少字节，留一成余地；不知道（CPU 上总是这样）就当作用不完。

    不看此刻还空着多少：那样，同样的训练时而分两批、时而分三批，数就时而不同。
    """
    memory = jax.local_devices()[0].memory_stats()
    return 0.9 * (memory or {}).get("bytes_limit", math.inf)


def warn_if_too_many(memory, members: int, num_updates: int) -> None:
    """主机的内存一定装不下时，先说出来：每个成员至少要两份状态（这一块的、下一块的）、两份指标。"""
    if memory is None:
        return
    total = host_bytes()
    state, row = memory.argument_size_in_bytes, memory.output_size_in_bytes
    each = 2 * state + 2 * max(0, row - state) * num_updates / CHUNK
    if members * each > total:
        warnings.warn(
            f"内存多半装不下：{members} 个成员至少要 {members * each / 1e9:.2g} GB，一共只有 {total / 1e9:.2g} GB，"
            f"至多装得下 {int(total / each)} 个。请分成几次，或者用 --multirun 分成几个任务，一个做完再做下一个。",
            RuntimeWarning,
            stacklevel=4,
        )


def host_bytes() -> float:
    """主机的内存一共多少字节；容器另有上限的，取小的。"""
    if not hasattr(os, "sysconf"):  # Windows
        return math.inf
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.exists() else "max"
    return total if allowed == "max" else min(total, int(allowed))
