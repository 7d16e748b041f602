"""第 5 章的实验和练习检查。"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ppo_lib.config import PPOConfig
from ppo_lib.course.experiment import Experiment
from ppo_lib.networks.cpu import in_chunks
from ppo_lib.rollout import Step, collect_rollout


def late_observations(rollout, last_obs):
    """写错的记法：每一步记下的是走完之后的观测（结束了的，已经重置）。

    rollout 是 Transition，last_obs (num_envs, obs_dim) 是采样结束时看到的观测。
    """
    return rollout._replace(obs=jnp.concatenate([rollout.obs[1:], last_obs[None]]))


def collect_late_observations(*args, **kwargs):
    """同 collect_rollout，但记错了观测。"""
    carry, rollout, ends = collect_rollout(*args, **kwargs)
    return carry, late_observations(rollout, carry.obs), ends


def same_key_every_step(function, inputs, rows_at_once):
    """同 in_chunks，但抽随机数的那一次，每一步都用第一步的钥匙。"""
    if is_key(inputs):
        inputs = jnp.broadcast_to(inputs[:1], inputs.shape)
    return in_chunks(function, inputs, rows_at_once)


def same_key_forever(function, inputs, rows_at_once):
    """同 in_chunks，但抽随机数时，每一步、每一次更新都用同一把钥匙。"""
    if is_key(inputs):
        inputs = jnp.broadcast_to(jax.random.key(0), inputs.shape)
    return in_chunks(function, inputs, rows_at_once)


def is_key(x) -> bool:
    """是不是随机数的钥匙（或一排钥匙）。"""
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def values_after_reset(step: Step, last_obs, value, critic, steps_at_once: int):
    """写错的 values_after：一律用下一行的 V；超时的那些步，它是新回合开头的 V。"""
    return jnp.concatenate([value[1:], critic(last_obs)[None]])


NUM_ENVS, BATCH = (1, 4, 16, 64, 256), 2048
CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=10)

EXPERIMENTS = {
    "mistakes": Experiment(
        CARTPOLE,
        {
            "照库里的写法": {},
            "记下走完之后的观测": {},
            "每一步同一把钥匙": {},
            "从头到尾同一把钥匙": {},
        },
        metrics=("return", "approx_kl"),
        points=48,
        patches={
            "记下走完之后的观测": {
                "ppo_lib.training.collect_rollout": collect_late_observations
            },
            "每一步同一把钥匙": {"ppo_lib.rollout.in_chunks": same_key_every_step},
            "从头到尾同一把钥匙": {"ppo_lib.rollout.in_chunks": same_key_forever},
        },
    ),
    "timeout": Experiment(
        PPOConfig(activation="tanh", ent_coef=0.05, total_timesteps=1_000_000, num_seeds=5),
        {
            "接上到达的状态": {},
            "当成终止": dict(bootstrap_truncation=False),
            "接上重置之后的状态": {},
        },
        metrics=("return", "goals_reached"),
        points=60,
        patches={"接上重置之后的状态": {"ppo_lib.rollout.values_after": values_after_reset}},
    ),
    "envs": Experiment(
        CARTPOLE,
        {
            f"{n} × {BATCH // n}": dict(num_envs=n, num_steps=BATCH // n, shuffle="samples")
            for n in NUM_ENVS
        },
        points=48,
    ),
}
"""采样里的三种写错，超时之后接什么，同样的一批经验分给几个环境去采。"""
