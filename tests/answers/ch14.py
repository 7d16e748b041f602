"""第 14 章的答案：五个函数，两级写法。"""

import jax.numpy as jnp
import numpy as np

from ppo_lib.advantage import calculate_gae
from ppo_lib.course import ch14, from_scratch
from ppo_lib.course.exercises import edited


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


def learn_with(old, new):
    return edited(from_scratch.learn, old, new)


def train_with(old, new):
    return edited(from_scratch.train, old, new)


def train_inside(bench, num_updates):
    """看不到它怎样调用那几个函数。"""
    return late_update(bench, num_updates)


late_update = train_with("batch, update)", "batch, max(update - 1, 0))")
skipping = from_scratch.rebound(from_scratch.train, learn=learn_with("in epoch:", "in epoch[:-1]:"))  # fmt: skip


def fast(learn):
    return from_scratch.assemble(
        rollout=from_scratch.scanned_rollout, gae=from_scratch.scanned_gae, learn=learn
    )


def learn_nan(params, opt_state, *rest):
    return from_scratch.jax.tree.map(lambda x: x * jnp.nan, params), opt_state


learn_upwards = from_scratch.jax.jit(
    edited(from_scratch.learn, "jnp.add", "jnp.subtract"), static_argnums=2
)

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
    "check_learn": [
        (lambda params, *rest: params, "应当返回 2 样"),
        (lambda params, *rest: (params, rest[0], 0), "应当返回 2 样"),
        (lambda *x: x[:2], "优化器数到了第 12 步，应当是第 24 步"),
        (learn_with("jnp.add, params, updates", "lambda p, u: p + 2 * u, params, updates"), "第 1 遍的第一个小批次走完就不同。优化器状态却相同"),
        (learn_with("x[index], flat", "x[index - 1], flat"), "所以梯度就不对"),
        (learn_with("in epoch:", "in [epoch[0], *epoch[:0:-1]]:"), "第一个小批次走完还相同，第 1 遍走完就不同"),
        (learn_with("in bench.orders(update):", "in [o[::-1] if i else o for i, o in enumerate(bench.orders(update))]:"), "第 1 遍走完还相同，第 2 遍走完就不同"),
        *((wrong, hint) for hint, wrong in ch14.check_learn.more.items()),
    ],
    "check_train": [
        (lambda bench: bench, "收 1 个"),
        (lambda bench, n: bench.start.params, "只做一次更新，参数就不同"),
        (train_inside, "做 1 次更新，参数还相同；做 2 次就不同"),
        (late_update, "第 1 次更新（从 0 数），传给 learn 的 update 不对"),
        (train_with('batch["value"], batch["next_value"]', 'batch["next_value"], batch["value"]'), "传给 gae 的 value 不对：对一对次序"),
        (train_with("obs, state, batch =", "obs, _, batch ="), "第 1 次更新（从 0 数），传给 rollout 的 state 不对"),
        (train_with("target=target", "target=advantage"), "传给 learn 的 batch 不对"),
        (train_with("return params", "return bench.start.params"), "返回的却不是最后一次"),
        (skipping, "learn 收到的都对，返回的不对"),
    ],
    "check_ladder": [(lambda bench, n: bench.start.params, "第 1 级没过"), (..., "换成")],
    "check_cartpole": [
        (lambda bench, n: bench.start.params, "学完之后平均只有"),
        (fast(learn_upwards), "做完一半"),
        (fast(learn_nan), "第 1 次更新（从 0 数）采样时，V 成了 NaN"),
        (..., "换成"),
    ],
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
