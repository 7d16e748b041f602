"""β₁ 的研究，实验 E6：一次更新之内，旧的动量和这次的梯度各把参数推了多远。"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from ppo_lib.config import PPOConfig
from ppo_lib.diagnostics import cosine_similarity, global_norm
from ppo_lib.envs import make_env
from ppo_lib.loss import normalize, policy_ratio, ppo_loss
from ppo_lib.optimizer import annealed_lr, moments
from ppo_lib.rollout import collect_rollout
from ppo_lib.training import (
    gradient_step,
    layers,
    make_batch,
    make_network,
    make_train,
    minibatch_orders,
    take_minibatches,
)

NEAR = 0.05
"""概率比离裁剪的边界不到这么多，才放在一起比。"""


def near_the_bound(ratio, advantage, pushes: dict, clip_eps) -> dict:
    """裁剪的边界两侧，离边界同样近的样本，各被推出去多远。

    边界是 A > 0 的 1+ε、A < 0 的 1-ε。刚过边界的（outside）被裁剪，自己没有梯度；刚到边界的（inside）还有。

    Args:
        ratio, advantage: (batch,)，走这一步之前的概率比；优势只用符号。
        pushes: 名字 → 这一步把 ln π 推了多少 (batch,)。

    Returns:
        ``{side}_count`` 是样本的个数；``{side}_{名字}`` 是往外（A > 0 时 ln π 变大，A < 0 时变小）推了多远的总和。
    """
    outward = jnp.sign(advantage)
    beyond = outward * (ratio - 1) - clip_eps  # 过了边界多远
    sides = {
        "outside": (0 < beyond) & (beyond < NEAR),
        "inside": (-NEAR < beyond) & (beyond <= 0),
    }
    return {f"{side}_count": mask.sum() for side, mask in sides.items()} | {
        f"{side}_{name}": (mask * outward * push).sum()
        for side, mask in sides.items()
        for name, push in pushes.items()
    }


def pushed(seen: xr.Dataset, side: str, name: str) -> xr.DataArray:
    """``branch`` 的一支里，边界 side 一侧的样本每步平均往外推了多远，维 (seed, beta_1)；两侧样本不都有 20 个的是 NaN。"""
    counts = {where: seen[f"{where}_count"].sum("step") for where in ("inside", "outside")}
    enough = (counts["inside"] >= 20) & (counts["outside"] >= 20)
    return (seen[f"{side}_{name}"].sum("step") / counts[side]).where(enough)


def branch(cfg: PPOConfig, update: int, beta_1s, seeds) -> xr.Dataset:
    """训练 update 次更新，再从那个状态分出几支，各用一个 β₁ 学下一批经验。

    训练用的是 ``cfg`` 的 β₁；各支的 m 是用自己的 β₁ 平均**同一串**梯度得到的，所以各支的参数、v、
    经验、小批次的次序都一样，只有记忆的长短不同。

    Returns:
        维 (seed, beta_1, step)，是走完第 step 步之后的：

        - ``{owner}_momentum``、``{owner}_gradient``、``{owner}_moved``：这次更新开头的 m、这次更新的梯度、
          两者合起来，把参数推了多远（长度），owner 是 actor 或 critic；
        - ``{owner}_toward``：走过的一段在“这次更新开头、整批的负梯度”方向上的分量；
        - ``approx_kl``、``clip_frac``、``actor_loss``、``value_loss``：在整批上；
        - ``near_the_bound`` 的各项：这一步里，这次更新开头的 m 和这次更新的梯度（momentum、gradient）推的。
    """
    program = make_train(cfg)
    env = make_env(cfg)
    network = make_network(cfg, env)
    betas = jnp.asarray(beta_1s, jnp.float32)
    base = cfg.hyperparams()

    def lr_at(done):
        return annealed_lr(base.lr, done, base.num_updates) if cfg.anneal_lr else base.lr

    def next_minibatches(state):
        """采一批经验；返回 (环境, 整批 (num_steps, num_envs, …), 各个小批次 (steps, batch, …))。"""
        rollout_key, shuffle_key = jax.random.split(jax.random.fold_in(state.key, state.update))
        carry, rollout, _ = collect_rollout(
            state.params, state.env, rollout_key, base,
            network=network, env=env, num_steps=cfg.num_steps,
        )  # fmt: skip
        batch = make_batch(rollout, base, cfg)
        parts = [take_minibatches(batch, order, cfg) for order in minibatch_orders(shuffle_key, cfg)]  # fmt: skip
        return carry, batch, jax.tree.map(lambda *x: jnp.concatenate(x), *parts)

    def remember(memories, old_mu, new_mu):
        """各个 β₁ 的 m (betas, …)，平均进这一步的梯度；梯度由训练用的 mu 倒推。"""

        def one(memory, old, new):
            grad = (new - base.beta_1 * old) / (1 - base.beta_1)
            weight = betas.reshape(-1, *[1] * grad.ndim)
            return weight * memory + (1 - weight) * grad

        return jax.tree.map(one, memories, old_mu, new_mu)

    def train_once(carry, _):
        state, memories = carry
        env_carry, _, minibatches = next_minibatches(state)

        def step(carry, minibatch):
            learner, memories = carry
            after, _ = gradient_step(
                learner, minibatch, hyper=base, lr=lr_at(state.update), cfg=cfg, network=network
            )
            return (
                after,
                remember(memories, moments(learner[1])[0], moments(after[1])[0]),
            ), None

        learner = (state.params, state.opt_state, state.running_grad)
        (learner, memories), _ = jax.lax.scan(step, (learner, memories), minibatches)
        state = state._replace(
            params=learner[0], opt_state=learner[1], running_grad=learner[2],
            env=env_carry, update=state.update + 1,
        )  # fmt: skip
        return (state, memories), None

    def learn_with(beta_1, memory, state, batch, minibatches):
        """用一个 β₁ 学这批经验；返回每一步之后的各个量。"""
        _, adam, _ = state.opt_state
        whole = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        loss = jax.grad(ppo_loss, has_aux=True)
        options = dict(
            network=network, advantage_norm=cfg.advantage_norm, clip_value=cfg.clip_value
        )
        downhill, _ = loss(state.params, whole, base, **options)
        downhill = jax.tree.map(jnp.negative, downhill)
        sign = normalize(whole.advantage)

        def log_prob(params):
            return network.apply(params, whole.obs)[0].log_prob(whole.action)

        def push(params, before, after):
            """参数只从 before 挪到 after，ln π 变多少。"""
            moved = jax.tree.map(lambda p, x, y: p + y - x, params, before, after)
            return log_prob(moved) - log_prob(params)

        clip = optax.clip_by_global_norm(base.max_grad_norm)

        def step(carry, minibatch):
            by_momentum, by_gradient, old, new, nu, count = carry
            params = jax.tree.map(lambda *x: sum(x), state.params, by_momentum, by_gradient)
            grad, _ = loss(params, minibatch, base, **options)
            grad, _ = clip.update(grad, clip.init(params))
            old = jax.tree.map(lambda m: beta_1 * m, old)
            new = jax.tree.map(lambda m, g: beta_1 * m + (1 - beta_1) * g, new, grad)
            nu = jax.tree.map(lambda v, g: base.beta_2 * v + (1 - base.beta_2) * g**2, nu, grad)
            count = count + 1

            def walk(moved, m):
                scale = lr_at(state.update) / (1 - beta_1**count)
                root = jax.tree.map(lambda v: jnp.sqrt(v / (1 - base.beta_2**count)), nu)
                return jax.tree.map(
                    lambda x, m, r: x - scale * m / (r + base.adam_eps), moved, m, root
                )

            before = {"momentum": by_momentum, "gradient": by_gradient}
            by_momentum, by_gradient = walk(by_momentum, old), walk(by_gradient, new)
            after = {"momentum": by_momentum, "gradient": by_gradient}
            pushes = {name: push(params, before[name], after[name]) for name in before}
            ratio = policy_ratio(log_prob(params), whole.log_prob)
            moved = jax.tree.map(jnp.add, by_momentum, by_gradient)
            _, seen = ppo_loss(
                jax.tree.map(jnp.add, state.params, moved), whole, base, **options
            )
            seen |= near_the_bound(ratio, sign, pushes, base.clip_eps)
            for owner in ("actor", "critic"):
                momentum, gradient, both, down = (
                    layers(x, owner) for x in (by_momentum, by_gradient, moved, downhill)
                )
                length = global_norm(both)
                seen |= {
                    f"{owner}_momentum": global_norm(momentum),
                    f"{owner}_gradient": global_norm(gradient),
                    f"{owner}_moved": length,
                    f"{owner}_toward": length * cosine_similarity(both, down),
                }
            return (by_momentum, by_gradient, old, new, nu, count), seen

        still = jax.tree.map(jnp.zeros_like, state.params)
        start = (still, still, memory, still, adam.nu, adam.count)
        _, seen = jax.lax.scan(step, start, minibatches)
        return seen

    def one_seed(seed):
        state = program.init(seed, base)
        memories = jax.tree.map(lambda x: jnp.zeros((len(betas), *x.shape)), state.params)
        (state, memories), _ = jax.lax.scan(train_once, (state, memories), length=update)
        _, batch, minibatches = next_minibatches(state)
        return jax.vmap(learn_with, in_axes=(0, 0, None, None, None))(
            betas, memories, state, batch, minibatches
        )

    seen = jax.jit(lambda seeds: jax.lax.map(one_seed, seeds))(jnp.asarray(seeds, jnp.int32))
    dims = ("seed", "beta_1", "step")
    data = {name: (dims, np.asarray(x)) for name, x in seen.items()}
    coords = {"seed": list(seeds), "beta_1": list(beta_1s)}
    return xr.Dataset(data, coords)
