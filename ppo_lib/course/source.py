"""在页面上展示库里的源码，所以书里的代码不会和库走样。"""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path

import ppo_lib


def show_source(*objects):
    """把函数、类或模块的源码显示成代码块，注明在哪个文件、从第几行起。

    >>> show_source(ppo_lib.loss.clipped_objective)
    """
    from IPython.display import Markdown

    blocks = []
    for obj in objects:
        obj = inspect.unwrap(obj)  # flax 会把模块的方法包一层
        file = (
            Path(inspect.getsourcefile(obj))
            .relative_to(Path(ppo_lib.__file__).parents[1])
            .as_posix()
        )
        if inspect.ismodule(obj):
            where, source = f"`{file}`", inspect.getsource(obj)
        else:
            lines, first = inspect.getsourcelines(obj)
            where, source = f"`{file}`，第 {first} 行起", "".join(lines)
        blocks.append(f"{where}\n\n```python\n{textwrap.dedent(source).rstrip()}\n```")
    return Markdown("\n\n".join(blocks))
