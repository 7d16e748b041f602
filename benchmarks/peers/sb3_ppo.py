"""Stable-Baselines3（PyTorch，CPU）。

和 WORKLOAD 的对应，以及对不齐的地方：
- ``batch_size`` 是小批次的大小：2048 / 4 = 512；每一遍打乱全部样本，取法相同。
- 环境是 Gymnasium 的 Python 版 CartPole，用它文档推荐的 ``make_vec_env``（DummyVecEnv，
  一个进程里轮流走；带 Monitor，所以有回报可看，ppo_lib 也算回报）。环境这么轻，
  一个环境一个进程的 SubprocVecEnv 只会更慢。
- torch 的线程数用默认值：设成 1 测过，没有差别。
- 每一遍都接着上一遍的策略练（``learn`` 重置环境，不重置网络）。策略越好，一局越长，
  重置越少，所以这一条对它有利；好处是 sbx 不必为新模型重新编译。
- 关掉日志（``log_interval=None``）。
- 没有同时训练几个种子的写法。
"""

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from torch import nn
from workload import BATCH_SIZE, WORKLOAD, main


def make_model(algorithm, env_name, activation_fn, **extra):
    """按 WORKLOAD 建一个 SB3 接口的 PPO 模型；sbx 也用它。"""
    w = WORKLOAD
    return algorithm(
        "MlpPolicy",
        make_vec_env(env_name, n_envs=w["num_envs"], seed=0),
        n_steps=w["num_steps"],
        batch_size=BATCH_SIZE // w["num_minibatches"],
        n_epochs=w["update_epochs"],
        policy_kwargs=dict(net_arch=list(w["hidden_sizes"]), activation_fn=activation_fn),
        learning_rate=w["lr"],
        gamma=w["gamma"],
        gae_lambda=w["gae_lambda"],
        clip_range=w["clip_eps"],
        ent_coef=w["ent_coef"],
        vf_coef=w["vf_coef"],
        max_grad_norm=w["max_grad_norm"],
        seed=0,
        device="cpu",
        **extra,
    )


def build(env_name, num_seeds, steps):
    assert num_seeds == 1
    model = make_model(PPO, env_name, nn.Tanh, clip_range_vf=WORKLOAD["clip_eps"])
    return lambda i: model.learn(steps, log_interval=None)


if __name__ == "__main__":
    main(build, packages=["stable-baselines3", "torch", "gymnasium", "numpy"])
