"""ppo_lib：一个能整本读完的、编译执行的 PPO。

>>> from ppo_lib import PPOConfig, train
>>> run = train(PPOConfig(env_name="CartPole-v1", total_timesteps=500_000, num_seeds=10))
>>> run.metrics["return"].dims
('seed', 'update')
"""

from ppo_lib import _runtime

_runtime.prepare()  # 必须在 JAX 的后端启动之前

with _runtime.garbage_later():
    from ppo_lib._version import __version__
    from ppo_lib.config import ConfigError, Hyperparams, PPOConfig, load_config
    from ppo_lib.experiment import Diverged, Run, sweep, train
    from ppo_lib.policy import Policy, evaluate, load_policy, save_policy
    from ppo_lib.run_dir import RunDirError

__all__ = [
    "ConfigError",
    "Diverged",
    "Hyperparams",
    "PPOConfig",
    "Policy",
    "Run",
    "RunDirError",
    "__version__",
    "evaluate",
    "load_config",
    "load_policy",
    "save_policy",
    "sweep",
    "train",
]
