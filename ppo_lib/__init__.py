"""ppo_lib：一个能整本读完的、编译执行的 PPO。

>>> from ppo_lib import PPOConfig, train
>>> run = train(PPOConfig(env_name="CartPole-v1", total_timesteps=500_000, num_seeds=10))
>>> run.metrics["return"].dims
('seed', 'update')
"""

import sys
from pathlib import Path

from ppo_lib.interrupts import Interrupts

try:
    with Interrupts() as _signals:  # import 到一半被 Ctrl-C 打断，会是一串看不懂的错
        from ppo_lib import _runtime

        _runtime.prepare()  # 必须在 JAX 的后端启动之前

        with _runtime.garbage_later():
            _runtime.import_gymnax()
            from ppo_lib._version import __version__
            from ppo_lib.config import ConfigError, Hyperparams, PPOConfig, load_config
            from ppo_lib.experiment import Diverged, Run, sweep, train
            from ppo_lib.policy import Policy, evaluate, load_policy, save_policy
            from ppo_lib.run_dir import RunDirError
        with _signals.allowed():
            pass
except KeyboardInterrupt:
    if Path(*sys.argv[:1]).name not in ("-m", "ppo", "ppo.exe"):  # 不是命令行，由用户的程序去管
        raise
    print("被 Ctrl-C 停下了，还没有开始。", file=sys.stderr)
    sys.exit(130)

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
