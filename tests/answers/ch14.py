"""第 14 章的答案：五个函数，两级写法。"""

import jax.numpy as jnp
import numpy as np

from ppo_lib.advantage import calculate_gae
from ppo_lib.course import from_scratch


def gae_in_numpy(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    advantage = np.zeros_like(np.asarray(reward))
    for n in range(reward.shape[1]):
        following = 0.0
        for t in range(len(reward) - 1, -1, -1):
            delta = reward[t, n] - value[t, n]
            if not terminated[t, n]:
                delta += gamma * next_value[t, n]
            if terminated[t, n] or truncated[t, n]:
                following = 0.0
            following = advantage[t, n] = delta + gamma * gae_lambda * following
    return advantage, advantage + np.asarray(value)


def loss_term_by_term(params, bench, minibatch):
    total, h = 0.0, bench.hyper
    log_probs, value = bench.policy(params, minibatch["obs"])
    A = minibatch["advantage"]
    A = (A - A.mean()) / (A.std() + 1e-8)
    for i, a in enumerate(minibatch["action"]):
        r = jnp.exp(log_probs[i, a] - minibatch["log_prob"][i])
        bound = jnp.where(
            A[i] > 0, jnp.minimum(r, 1 + h.clip_eps), jnp.maximum(r, 1 - h.clip_eps)
        )
        entropy = -jnp.dot(jnp.exp(log_probs[i]), log_probs[i])
        error = value[i] - minibatch["target"][i]
        total += -bound * A[i] + h.vf_coef * error**2 / 2 - h.ent_coef * entropy
    return total / len(A)


def rollout_with_extras(bench, params, obs, state, draws):
    """多带几项，读者自己要用的。"""
    obs, state, batch = from_scratch.rollout(bench, params, obs, state, draws)
    return [obs, state, batch | {"ended": batch["terminated"] | batch["truncated"]}]


def learn_without_trees(params, opt_state, bench, batch, update):
    optimizer = bench.optimizer(update)
    for epoch in range(bench.cfg.update_epochs):
        for index in bench.orders(update)[epoch]:
            minibatch = {k: jnp.reshape(x, (-1, *x.shape[2:]))[index] for k, x in batch.items()}
            grad = from_scratch.jax.grad(from_scratch.loss)(params, bench, minibatch)
            updates, opt_state = optimizer.update(grad, opt_state)
            params = from_scratch.jax.tree.map(lambda p, u: p + u, params, updates)
    return params, opt_state


RIGHT = {
    "check_rollout": [from_scratch.scanned_rollout, rollout_with_extras],
    "check_gae": [
        from_scratch.scanned_gae,
        gae_in_numpy,
        lambda r, v, nv, terminated, truncated, g, lam: calculate_gae(
            r, v, nv, terminated, truncated, g, lam
        ),
    ],
    "check_loss": [loss_term_by_term, lambda p, b, m: from_scratch.loss(p, b, dict(m))],
    "check_learn": [from_scratch.scanned_learn, learn_without_trees],
    "check_train": [from_scratch.fast_train, lambda bench, n: from_scratch.fast_train(bench, n)],
    "check_ladder": [from_scratch.fast_train, lambda bench, n: from_scratch.fast_train(bench, n)],
    "check_cartpole": [from_scratch.fast_train, lambda bench, n: from_scratch.fast_train(bench, n)],
}  # fmt: skip

WRONG = {
    "check_rollout": [
        (lambda bench, params, obs, state, draws: (obs, state), "应当返回 3 样"),
        (lambda bench, params, obs, state, draws: (obs, state, {}), "“最后的 obs”不对"),
        (lambda bench, params, obs, state: obs, "收 4 个"),
    ],
    "check_gae": [(lambda r, *rest: r, "应当返回 2 样"), (lambda r, v, *rest: (r[0], v[0]), "形状")],
    "check_loss": [
        (lambda p, b, m: from_scratch.jax.lax.stop_gradient(from_scratch.loss(p, b, m)), "导数却是 0"),
        (lambda p, b, m: float(from_scratch.loss(p, b, m)), "求导时出错"),
        (lambda p, b, m: 0.0 * m["value"], "应当是一个数"),
    ],
    "check_learn": [(lambda params, *rest: params, "应当返回 2 样"), (lambda *x: x[:2], "不对")],
    "check_train": [(lambda bench, n: bench.start.params, "不对"), (lambda bench: bench, "收 1 个")],
    "check_ladder": [(lambda bench, n: bench.start.params, "第 1 级没过"), (..., "换成")],
    "check_cartpole": [(lambda bench, n: bench.start.params, "前六题都过了吗"), (..., "换成")],
}  # fmt: skip

HARMLESS = {
    "check_rollout": {"0 → 1"},  # rows[0]：各行的键相同
    "check_gae": {"0 → 1"},  # zeros_like(delta[0])：各行的形状相同
    "check_loss": {  # 小量只在全相等时起作用，那时分子是 0
        "advantage.std() + 1e-08 → advantage.std() - 1e-08",
        "1e-08 → -1e-08",
    },
    "check_learn": {"params → opt_state（第 2 处）"},  # Adam 不看参数
}
