"""错的写法，由参考答案改动一处得来：只写改了什么，其余与参考答案相同。"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable


def edited(function: Callable, old: str, new: str) -> Callable:
    """顶层函数 function 的源码里，把 old 换成 new，得到的函数。

    Raises:
        ValueError: 源码里没有 old，或不止一处。
    """
    source = inspect.getsource(function)
    if source.count(old) != 1:
        raise ValueError(
            f"{function.__name__} 里有 {source.count(old)} 处 {old!r}；应当恰好一处。"
        )
    source = source.replace(old, new)
    file = f"<{function.__name__}：{old} → {new}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    space = dict(inspect.unwrap(function).__globals__)
    exec(compile(source, file, "exec"), space)
    return space[function.__name__]
