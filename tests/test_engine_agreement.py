"""引擎与 ppo_lib 训练出的成绩分布相同：benchmarks/engine_agreement.py 的检验，种子少一些；它也能说“不一致”。"""

from ppo_lib import PPOConfig, train  # isort: skip  # 在 jax 之前

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import give_up

from ppo_lib.statistics import whole_run_scores

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from engine_agreement import CASES, agreement, agrees, config, engine_curves

pytestmark = pytest.mark.usefixtures("fully_optimized")

MARGIN = 60.0
"""CartPole 整段成绩之差允许的范围。一个种子散开四十多分，20 个种子的 90% 区间有 ±23 分。"""


@pytest.mark.slow
def test_cartpole_scores_of_engine_and_library_agree_and_of_a_wrong_beta_1_do_not():
    if shutil.which("node") is None:
        give_up("没有找到 node")
    cfg = config(CASES["CartPole-v1"], 20)
    ours = whole_run_scores(engine_curves(cfg)).values

    def library(cfg: PPOConfig) -> np.ndarray:
        return whole_run_scores(train(cfg, progress=False).metrics).values

    assert agrees(agreement(ours, library(cfg)), MARGIN)
    forgetful = dataclasses.replace(cfg, beta_1=0.99)
    assert not agrees(agreement(ours, library(forgetful)), MARGIN)


def test_the_check_refuses_a_shift_and_a_wider_spread():
    rng = np.random.default_rng(0)
    scores = rng.normal(300, 40, 60)
    assert agrees(agreement(scores, rng.normal(300, 40, 60)), 30)
    assert not agrees(agreement(scores, rng.normal(340, 40, 60)), 30)  # 均值不同
    assert not agrees(agreement(scores, rng.normal(300, 5, 60)), 30)  # 均值相同，散开的不同
    assert not agrees(agreement(scores[:5], rng.normal(300, 40, 5)), 10)  # 种子太少，说不准
