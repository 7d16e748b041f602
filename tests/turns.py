"""几个测试进程轮流用一份记录。"""

import json
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time(path: Path):
    """独占一份 JSON 记录：读出来，用完写回去；别的进程在这里等。"""
    import fcntl  # Windows 没有

    path.parent.mkdir(exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        record = json.loads(file.read() or "{}")
        yield record
        file.seek(0)
        file.truncate()
        json.dump(record, file, ensure_ascii=False)
