"""ppo_lib。计时的是整个 ``train`` 调用，和别家同一把尺：初始化、主机循环、整理结果都算在内。"""

from workload import WORKLOAD, main

from ppo_lib import PPOConfig, train


def build(num_seeds, steps):
    def run(i):
        train(
            PPOConfig(
                **WORKLOAD,
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
