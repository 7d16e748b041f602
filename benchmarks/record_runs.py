"""录制课程里较重的实验，存进 book/data/runs_*.npz。

    python benchmarks/record_runs.py                        列出有哪些
    python benchmarks/record_runs.py ch09_three_changes     录一个
    python benchmarks/record_runs.py all                    全部

实验写在各章的 ppo_lib/course/chNN.py 的 ``EXPERIMENTS`` 里。有 GPU 就用 GPU。
"""

from __future__ import annotations

import sys
import time

from ppo_lib.config import to_yaml
from ppo_lib.course.experiment import all_experiments, run_experiment
from ppo_lib.recorded import DATA_DIR, provenance, save_runs


def record(name: str) -> None:
    """录一个实验。"""
    experiment = all_experiments()[name]
    start = time.perf_counter()
    runs = run_experiment(experiment)
    path = DATA_DIR / f"runs_{name}.npz"
    save_runs(
        runs,
        path,
        provenance(
            f"python benchmarks/record_runs.py {name}",
            config=to_yaml(experiment.base),
            variants={key: repr(dict(x)) for key, x in experiment.variants.items()},
            seconds=round(time.perf_counter() - start),
        ),
    )
    print(f"{path.name}：{path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    known = all_experiments()
    names = list(known) if sys.argv[1:] == ["all"] else sys.argv[1:]
    if not names or set(names) - set(known):
        sys.exit("有这些实验：\n" + "\n".join(known))
    for name in names:
        record(name)


if __name__ == "__main__":
    main()
