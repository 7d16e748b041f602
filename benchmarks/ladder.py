"""第 14 章：五十种写错，探针的梯子各抓在哪一级。写进 book/data/ladder.json。

    python benchmarks/ladder.py

写错的函数是 ppo_lib/course/ch14.py 里各道练习列出的那些。
"""

from __future__ import annotations

import json
import time

from ppo_lib.course import ch14
from ppo_lib.recorded import DATA_DIR, provenance


def main() -> None:
    start = time.perf_counter()
    caught = {}
    for exercise in (ch14.check_rollout, ch14.check_gae, ch14.check_loss, ch14.check_learn):
        piece = exercise.reference.__name__
        caught[piece] = {}
        for hint, wrong in exercise.wrong.items():
            failure = ch14.first_failure(ch14.with_mistake(piece, wrong))
            caught[piece][hint] = failure[0] if failure else None
            print(piece, hint, caught[piece][hint], flush=True)
    seconds = round(time.perf_counter() - start)
    about = provenance("python benchmarks/ladder.py", seconds=seconds)
    text = json.dumps(dict(caught=caught, provenance=about), ensure_ascii=False, indent=1)
    (DATA_DIR / "ladder.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
