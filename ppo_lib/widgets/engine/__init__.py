"""网页里的训练引擎：一个编译成 Wasm 的小 PPO，与 ppo_lib 逐个函数对照（从 ``ppo.h`` 读起）。

``engine_script()`` 是能用的全部脚本；``python -m book.tools.generate.engine`` 由 C 重新编译。
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

from ppo_lib.config import FIELDS, allowed, kind_of
from ppo_lib.envs import GOAL

HERE = Path(__file__).parent

BUILDS = {"simd": "ppo-simd.wasm", "plain": "ppo-plain.wasm"}
"""两个编译结果：支持 128 位 SIMD 的就用前一个。两者算出的数逐位相同。"""

LARGEST_LAYER = 256
"""网页里每个隐藏层的宽度至多多少。"""

KEYS = (
    "env_name", "total_timesteps", "num_envs", "num_steps", "lr", "optimizer", "anneal_lr",
    "beta_1", "critic_beta_1", "beta_2", "adam_eps", "max_grad_norm", "running_grad_decay",
    "update_epochs", "num_minibatches", "shuffle", "gamma", "gae_lambda", "bootstrap_truncation",
    "advantage_norm", "clip_eps", "clip_value", "ent_coef", "vf_coef", "activation",
    "hidden_sizes", "critic_bias",
)  # fmt: skip
"""引擎认得的键；没有的，网页里都是默认值：观测不缩放，奖励不整形，策略和价值不共用隐藏层。"""


def key_spec(name: str) -> dict:
    """一个键的默认值和允许的取值，写给 JavaScript；都取自 ``PPOConfig`` 的字段。"""
    field = FIELDS[name]
    choices, within = field.metadata["choices"], field.metadata["within"]
    text = allowed(field)
    if name == "env_name":
        choices = tuple(GOAL)
        text = " | ".join(choices)
    if name == "hidden_sizes":
        within = within._replace(high=LARGEST_LAYER)
        text = f"1 到 3 个 {within} 内的整数"
    return {
        "type": kind_of(field),
        "default": field.default,
        "nullable": field.default is None,
        "choices": choices,
        "traced": field.metadata["kind"] == "traced",
        "low": within.low if math.isfinite(within.low) else None,
        "high": within.high if math.isfinite(within.high) else None,
        "open_low": within.open_low,
        "open_high": within.open_high,
        "allowed": text,
    }


def key_specs() -> dict[str, dict]:
    """键 → ``key_spec``。"""
    return {name: key_spec(name) for name in KEYS}


def read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def engine_script() -> str:
    """``createTrainer`` 的全部脚本，Wasm 以 base64 写在里面。"""
    wasm = {
        name: base64.b64encode((HERE / file).read_bytes()).decode()
        for name, file in BUILDS.items()
    }
    return "\n".join(
        [
            f"const ENGINE_KEYS = {json.dumps(key_specs(), ensure_ascii=False)};",
            f"const ENGINE_WASM = {json.dumps(wasm)};",
            read("engine.js"),
        ]
    )


def worker_script() -> str:
    """Worker 的全部脚本：引擎，加上收信的循环。"""
    return f"{engine_script()}\n{read('worker.js')}"
