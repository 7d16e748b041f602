"""sbx（网络和更新用 JAX，环境、采样循环和缓冲区是 Stable-Baselines3 的）。

参数的对应与 sb3_ppo.py 相同，不同之处：
- 它没有价值裁剪（接受 ``clip_range_vf`` 但不用），略省。
- Actor 和 Critic 各有一个 Adam，运算量相同。
- 每走一步、每个小批次都要从 Python 调一次编译好的函数，这是它的设计。
"""

from flax import linen as nn
from sb3_ppo import make_model
from sbx import PPO
from workload import main


def build(env_name, num_seeds, steps):
    assert num_seeds == 1
    model = make_model(PPO, env_name, nn.tanh)
    return lambda i: model.learn(steps, log_interval=None)


main(build, packages=["sbx-rl", "stable-baselines3", "jax", "flax", "torch", "gymnasium"])
