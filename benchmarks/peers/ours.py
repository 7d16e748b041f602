"""ppo_lib。计时的是整个 ``train`` 调用，和别家同一把尺：初始化、主机循环、整理结果都算在内。

与别家不同、会影响速度的几处，都是 ``train`` 自己的默认做法：

- 几个种子分给几个线程，各用一个核；别家把种子 ``vmap`` 成一批；
- 编译时另外递交 ``xla_cpu_multi_thread_eigen=False`` 和 ``xla_cpu_prefer_vector_width=512``
  （见 ppo_lib/_runtime.py）；
- 用了 ppo_lib/networks/cpu.py 里的快写法，数学不变。
"""

from workload import WORKLOAD, main

from ppo_lib import PPOConfig, train


def build(env_name, num_seeds, steps):
    def run(i):
        train(
            PPOConfig(
                **WORKLOAD,
                env_name=env_name,
                total_timesteps=steps,
                num_seeds=num_seeds,
                seed=i * num_seeds,
                activation="tanh",
                anneal_lr=False,
                clip_value=True,
                # 别家每一遍都打乱全部样本；ppo_lib 默认只打乱环境，那样更省。
                shuffle="samples",
            ),
            progress=False,
        )

    return run


main(build, packages=["jax", "gymnax", "flax", "optax", "distrax"])
