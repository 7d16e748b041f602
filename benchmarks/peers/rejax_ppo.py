"""rejax（gymnax 0.0.9，整个训练是一个编译好的函数）。

和 WORKLOAD 的对应，以及对不齐的地方：
- num_epochs、num_minibatches 同义；每一遍打乱全部样本，取法相同。
- Actor 和 Critic 各有一个 TrainState 和一个 Adam，运算量与一个 Adam 管两个网络相同。
- ``max_grad_norm`` 在 rejax 里是逐元素裁剪，不是全局范数裁剪，略省。
- gymnax 0.0.9 分不清终止和超时截断，所以不为截断接 V(s')，略省。
- 关掉它的周期评估（默认每 4096 步跑 128 局）：那不是训练。于是它不产出任何指标，
  而 ppo_lib 每次更新都算全部诊断量。这一条对 rejax 有利。
- 一个种子时不套 vmap：套了反而慢约三分之一。多个种子用它文档里的写法 ``vmap(train)``。
"""

import jax
from rejax import PPO
from workload import WORKLOAD, main


def build(env_name, num_seeds, steps):
    w = WORKLOAD
    algo = PPO.create(
        env=env_name,
        num_envs=w["num_envs"],
        num_steps=w["num_steps"],
        num_epochs=w["update_epochs"],
        num_minibatches=w["num_minibatches"],
        agent_kwargs=dict(hidden_layer_sizes=w["hidden_sizes"], activation="tanh"),
        learning_rate=w["lr"],
        gamma=w["gamma"],
        gae_lambda=w["gae_lambda"],
        clip_eps=w["clip_eps"],
        ent_coef=w["ent_coef"],
        vf_coef=w["vf_coef"],
        max_grad_norm=w["max_grad_norm"],
        total_timesteps=steps,
        eval_freq=steps,
        skip_initial_evaluation=True,
    ).replace(eval_callback=lambda algo, train_state, rng: ())

    train = jax.jit(algo.train if num_seeds == 1 else jax.vmap(algo.train))

    def run(i):
        key = jax.random.key(i)
        jax.block_until_ready(
            train(key if num_seeds == 1 else jax.random.split(key, num_seeds))
        )

    return run


main(build, packages=["rejax", "jax", "gymnax", "flax", "optax"])
