"""照常见的写法写的 PPO，只作速度的比较：循环是 scan，种子用 vmap，走一步抽一次随机数，没有任何快写法。

与 ppo_lib 做同样多的运算：两个 (64, 64) 的网络，2 遍 × 4 个小批次，Adam，缩短梯度，线性退火。写好以后不再改，
ppo_lib 快慢变了，由它看得出（tests/test_speed.py）。
"""

import distrax
import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax

GAMMA, LAMBDA, CLIP, VALUE, ENTROPY = 0.99, 0.95, 0.2, 0.5, 0.003
NUM_ENVS, NUM_STEPS, EPOCHS, MINIBATCHES = 16, 128, 2, 4


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        def mlp(outputs, gain):
            y = x
            for _ in range(2):
                y = nn.relu(nn.Dense(64, kernel_init=nn.initializers.orthogonal(2**0.5))(y))
            return nn.Dense(outputs, kernel_init=nn.initializers.orthogonal(gain))(y)

        return distrax.Categorical(logits=mlp(2, 0.01)), mlp(1, 1.0)[..., 0]


def make_train(num_updates: int):
    """种子 → 最后一次更新的平均奖励；先 vmap 再 jit。"""
    env, env_params = gymnax.make("CartPole-v1")
    network = Network()
    schedule = optax.linear_schedule(0.004, 0.0, num_updates * EPOCHS * MINIBATCHES)
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(schedule, eps=1e-5))

    def env_step(carry, key):
        params, obs, state = carry
        key, action_key = jax.random.split(key)
        pi, value = network.apply(params, obs)
        action, log_prob = pi.sample_and_log_prob(seed=action_key)
        keys = jax.random.split(key, NUM_ENVS)
        next_obs, state, reward, terminated, truncated, _ = jax.vmap(
            env.step, in_axes=(0, 0, 0, None)
        )(keys, state, action, env_params)
        done = terminated | truncated
        return (params, next_obs, state), (obs, action, log_prob, value, reward, done)

    def look_back(carry, step):
        advantage, next_value = carry
        value, reward, done = step
        delta = reward + GAMMA * next_value * (1 - done) - value
        advantage = delta + GAMMA * LAMBDA * (1 - done) * advantage
        return (advantage, value), advantage

    def loss(params, batch):
        obs, action, old_log_prob, advantage, target = batch
        pi, value = network.apply(params, obs)
        ratio = jnp.exp(pi.log_prob(action) - old_log_prob)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
        objective = jnp.minimum(ratio * advantage, clipped * advantage).mean()
        return -objective + VALUE * 0.5 * ((value - target) ** 2).mean() - ENTROPY * pi.entropy().mean()  # fmt: skip

    def descend(carry, batch):
        params, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(loss)(params, batch), opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    def update(carry, key):
        params, opt_state, obs, state = carry
        walk, *shuffles = jax.random.split(key, 1 + EPOCHS)
        steps = jax.random.split(walk, NUM_STEPS)
        (_, obs, state), rollout = jax.lax.scan(env_step, (params, obs, state), steps)
        seen, action, log_prob, value, reward, done = rollout
        last = network.apply(params, obs)[1]
        start = (jnp.zeros(NUM_ENVS), last)
        _, advantage = jax.lax.scan(look_back, start, (value, reward, done), reverse=True)
        batch = (seen, action, log_prob, advantage, advantage + value)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        for shuffle in shuffles:
            order = jax.random.permutation(shuffle, NUM_STEPS * NUM_ENVS)
            parts = jax.tree.map(
                lambda x: x[order].reshape(MINIBATCHES, -1, *x.shape[1:]), flat
            )
            (params, opt_state), _ = jax.lax.scan(descend, (params, opt_state), parts)
        return (params, opt_state, obs, state), done.mean()

    def train(seed):
        first, second, third = jax.random.split(jax.random.key(seed), 3)
        obs, state = jax.vmap(env.reset, in_axes=(0, None))(
            jax.random.split(first, NUM_ENVS), env_params
        )
        params = network.init(second, obs)
        carry = (params, optimizer.init(params), obs, state)
        return jax.lax.scan(update, carry, jax.random.split(third, num_updates))[1]

    return jax.jit(jax.vmap(train))
