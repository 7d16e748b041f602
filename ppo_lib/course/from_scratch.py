"""从空文件写 PPO：台子给出环境、网络、优化器和随机数，读者写五个函数，与 ppo_lib 逐数核对。

    rollout(bench, params, obs, state, draws) -> (obs, state, batch)      走 num_steps 步
    gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda) -> (advantage, target)
    loss(params, bench, minibatch) -> ()                                  要最小化的总损失
    learn(params, opt_state, bench, batch, update) -> (params, opt_state) 一批经验学几遍
    train(bench, num_updates) -> params                                   上面四个串起来

随机数都由台子给，所以写对了，就与库里的训练逐数相同；哪里不同，就是哪里写错了。
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_lib.config import Hyperparams, PPOConfig
from ppo_lib.envs import Environment, make_env
from ppo_lib.optimizer import annealed_lr, make_optimizer
from ppo_lib.rollout import draw_step
from ppo_lib.training import (
    TrainState,
    init_state,
    make_network,
    minibatch_orders,
)


class Draws(NamedTuple):
    """一次采样要用的随机数，第一维是 num_steps。"""

    noise: (
        jax.Array
    )  # (num_steps, num_envs, num_actions) Gumbel 噪声：动作是 argmax(对数概率 + 噪声)
    step_keys: jax.Array  # (num_steps, num_envs) 环境走一步用的钥匙
    fresh_obs: jax.Array  # (num_steps, num_envs, obs_dim) 备好的新回合的开头
    fresh_state: Any  # 叶子 (num_steps, num_envs, ...)


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """一张写 PPO 的台子：一个环境、一份配置、一个种子。

    ``policy`` 和 ``step`` 已经编译好，可以在 Python 的循环里直接调用，也可以放进 ``jax.jit``。
    """

    cfg: PPOConfig
    env: Environment
    start: TrainState  # 库里训练的起点：参数、优化器、环境都从这里出发

    # ---- 超参数

    @property
    def hyper(self) -> Hyperparams:
        """gamma、gae_lambda、clip_eps、vf_coef、ent_coef、lr……"""
        return self.cfg.hyperparams()

    # ---- 网络和环境

    def policy(self, params, obs):
        """观测 (batch, obs_dim) → (各动作的对数概率 (batch, num_actions), V (batch,))。"""
        return self._programs[0](params, obs)

    def step(self, keys, state, action):
        """所有环境各走一步，不重置：→ (到达的 obs, state, reward, terminated, truncated)。"""
        return self._programs[1](keys, state, action)

    # ---- 随机数，由种子和第几次更新（从 0 数）决定

    def draws(self, update) -> Draws:
        """第 update 次更新里采样要用的随机数。"""
        return self._programs[2](update)

    def orders(self, update) -> jax.Array:
        """第 update 次更新里小批次的次序：(update_epochs, num_minibatches, 一个小批次几条)。

        里面是样本的编号；样本按 (num_steps, num_envs) 摊平成一维来编号。
        """
        return self._programs[3](update)

    # ---- 优化器

    def optimizer(self, update):
        """第 update 次更新用的 optax 优化器：缩短梯度，Adam，退火的学习率。"""
        hyper = self.hyper
        return make_optimizer("adam", annealed_lr(hyper.lr, update, hyper.num_updates), hyper)

    @functools.cached_property
    def _programs(self) -> tuple[Callable, ...]:
        cfg, env, hyper = self.cfg, self.env, self.hyper
        network = make_network(cfg, env)

        def keys(update):
            return jax.random.split(jax.random.fold_in(self.start.key, update))

        def policy(params, obs):
            pi, value = network.apply(params, obs)
            return jax.nn.log_softmax(pi.logits), value

        def step(keys, state, action):
            s = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, state, action, hyper)
            return s.obs, s.state, s.shaped_reward, s.terminated, s.truncated

        def draws(update):
            each = jax.random.split(keys(update)[0], cfg.num_steps)
            noise, step_keys, fresh = jax.vmap(lambda key: draw_step(key, env, cfg.num_envs))(
                each
            )
            return Draws(noise, step_keys, *fresh)

        def orders(update):
            order = minibatch_orders(keys(update)[1], cfg)
            return order.reshape(cfg.update_epochs, cfg.num_minibatches, -1)

        return tuple(map(jax.jit, (policy, step, draws, orders)))

    def __deepcopy__(self, memo) -> Bench:
        return self  # 没有可改的东西

    def __repr__(self) -> str:
        return f"[台子：{self.cfg.env_name}，种子 {self.cfg.seed}]"


def make_bench(cfg: PPOConfig) -> Bench:
    """按配置和它的种子搭一张台子；小批次总是打乱样本。"""
    cfg = dataclasses.replace(cfg, shuffle="samples", num_seeds=1)
    env = make_env(cfg)
    start = init_state(
        cfg.seed, cfg.hyperparams(), cfg=cfg, env=env, network=make_network(cfg, env)
    )
    return Bench(cfg, env, start)


# ---------------------------------------------------------------- 参考答案：一步一步的写法


def rollout(bench, params, obs, state, draws):
    """走 num_steps 步，一步一步记下来。"""
    rows = []
    for t in range(bench.cfg.num_steps):
        log_probs, value = bench.policy(params, obs)  # (num_envs, num_actions)，(num_envs,)
        action = jnp.argmax(log_probs + draws.noise[t], axis=-1)
        log_prob = log_probs[jnp.arange(len(action)), action]
        next_obs, state, reward, terminated, truncated = bench.step(
            draws.step_keys[t], state, action
        )
        next_value = bench.policy(params, next_obs)[1]  # 到达的，重置之前的
        rows.append(
            dict(
                obs=obs, action=action, log_prob=log_prob, value=value, next_value=next_value,
                reward=reward, terminated=terminated, truncated=truncated,
            )
        )  # fmt: skip
        ended = terminated | truncated
        obs = jnp.where(ended[:, None], draws.fresh_obs[t], next_obs)
        state = jax.tree.map(
            lambda fresh, old: jnp.where(ended, fresh[t], old), draws.fresh_state, state
        )
    batch = {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}
    return obs, state, batch


def gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """从最后一步往前递推，各数组 (num_steps, num_envs)。"""
    delta = reward + gamma * next_value * (1 - terminated) - value
    carry_on = 1 - (terminated | truncated)
    advantage, following = [], jnp.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        following = delta[t] + gamma * gae_lambda * carry_on[t] * following
        advantage.insert(0, following)
    advantage = jnp.stack(advantage)
    return advantage, advantage + value


def loss(params, bench, minibatch):
    """一个小批次的总损失，标量。"""
    hyper = bench.hyper
    log_probs, value = bench.policy(params, minibatch["obs"])  # (batch, num_actions)，(batch,)
    log_prob = log_probs[jnp.arange(len(value)), minibatch["action"]]
    ratio = jnp.exp(log_prob - minibatch["log_prob"])
    advantage = minibatch["advantage"]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    clipped = jnp.clip(ratio, 1 - hyper.clip_eps, 1 + hyper.clip_eps)
    objective = jnp.minimum(ratio * advantage, clipped * advantage)
    value_loss = 0.5 * (value - minibatch["target"]) ** 2
    entropy = -(jnp.exp(log_probs) * log_probs).sum(axis=-1)
    return (-objective + hyper.vf_coef * value_loss - hyper.ent_coef * entropy).mean()


def learn(params, opt_state, bench, batch, update):
    """一批经验学几遍，一个小批次走一步。"""
    optimizer = bench.optimizer(update)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    for epoch in bench.orders(update):
        for index in epoch:
            minibatch = jax.tree.map(lambda x: x[index], flat)
            grad = jax.grad(loss)(params, bench, minibatch)
            updates, opt_state = optimizer.update(grad, opt_state, params)
            params = jax.tree.map(jnp.add, params, updates)
    return params, opt_state


def train(bench, num_updates):
    """从台子的起点出发，做 num_updates 次更新。"""
    params, opt_state, env = bench.start.params, bench.start.opt_state, bench.start.env
    obs, state = env.obs, env.state
    for update in range(num_updates):
        obs, state, batch = rollout(bench, params, obs, state, bench.draws(update))
        advantage, target = gae(
            batch["reward"], batch["value"], batch["next_value"], batch["terminated"],
            batch["truncated"], bench.hyper.gamma, bench.hyper.gae_lambda,
        )  # fmt: skip
        batch |= dict(advantage=advantage, target=target)
        params, opt_state = learn(params, opt_state, bench, batch, update)
    return params


# ---------------------------------------------------------------- 参考答案：编译的写法


@functools.partial(jax.jit, static_argnums=0)
def scanned_rollout(bench, params, obs, state, draws):
    """同 rollout：走一步写成一个函数，交给 ``lax.scan``，整段编译。"""

    def one_step(carry, drawn):
        obs, state = carry
        log_probs, value = bench.policy(params, obs)
        action = jnp.argmax(log_probs + drawn.noise, axis=-1)
        log_prob = jnp.take_along_axis(log_probs, action[:, None], axis=1)[:, 0]
        arrived, state, reward, terminated, truncated = bench.step(
            drawn.step_keys, state, action
        )
        row = dict(
            obs=obs, action=action, log_prob=log_prob, value=value,
            next_value=bench.policy(params, arrived)[1],
            reward=reward, terminated=terminated, truncated=truncated,
        )  # fmt: skip
        ended = terminated | truncated
        obs = jnp.where(ended[:, None], drawn.fresh_obs, arrived)
        state = jax.tree.map(
            lambda new, old: jnp.where(ended, new, old), drawn.fresh_state, state
        )
        return (obs, state), row

    (obs, state), batch = jax.lax.scan(one_step, (obs, state), draws)
    return obs, state, batch


@jax.jit
def scanned_gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """同 gae：递推写成从后往前的 ``lax.scan``。"""
    delta = reward + gamma * next_value * ~terminated - value
    keep = gamma * gae_lambda * ~(terminated | truncated)

    def backwards(following, now):
        delta_t, keep_t = now  # (num_envs,)
        following = delta_t + keep_t * following
        return following, following

    _, advantage = jax.lax.scan(
        backwards, jnp.zeros_like(delta[0]), (delta, keep), reverse=True
    )
    return advantage, advantage + value


@functools.partial(jax.jit, static_argnums=2)
def scanned_learn(params, opt_state, bench, batch, update):
    """同 learn：两层循环并成一个 ``lax.scan``，一次更新的全部梯度步编译成一个程序。"""
    optimizer = bench.optimizer(update)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

    def one_minibatch(learner, index):
        params, opt_state = learner
        grad = jax.grad(loss)(params, bench, jax.tree.map(lambda x: x[index], flat))
        updates, opt_state = optimizer.update(grad, opt_state, params)
        return (jax.tree.map(jnp.add, params, updates), opt_state), None

    orders = bench.orders(update)
    index = orders.reshape(-1, orders.shape[-1])  # (遍数 × 小批次, 一个小批次几条)
    learner, _ = jax.lax.scan(one_minibatch, (params, opt_state), index)
    return learner


def rebound(function: Callable, **names) -> Callable:
    """同一个函数，它用到的几个名字换成别的。"""
    found = types.FunctionType(
        function.__code__, function.__globals__ | names, None,
        function.__defaults__, function.__closure__,
    )  # fmt: skip
    found.__kwdefaults__ = function.__kwdefaults__
    return found


def assemble(**pieces: Callable) -> Callable:
    """参考答案里换掉几个函数（rollout、gae、learn），得到它们串成的 train。

    >>> assemble(rollout=scanned_rollout, gae=scanned_gae, learn=scanned_learn)  # 编译的写法
    """
    return rebound(train, **pieces)


fast_train = assemble(rollout=scanned_rollout, gae=scanned_gae, learn=scanned_learn)
"""同 train，用编译的写法。"""
