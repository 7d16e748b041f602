"""第 8 章的实验、练习检查，和两样只有这一章用的东西：改动过的优化器，拆开来看的一步。"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from ppo_lib.config import PPOConfig
from ppo_lib.course.experiment import Experiment
from ppo_lib.course.verdict import Mistake, checker
from ppo_lib.diagnostics import cosine_similarity, global_norm
from ppo_lib.envs import make_env
from ppo_lib.optimizer import adam_step, annealed_lr, make_optimizer, moments
from ppo_lib.rollout import collect_rollout
from ppo_lib.training import (
    gradient_metrics,
    gradient_step,
    learn,
    make_batch,
    make_network,
    make_train,
    minibatch_orders,
    take_minibatches,
)

# ---------------------------------------------------------------- 改动过的优化器


def without_bias_correction(kind: str, lr, hyper) -> optax.GradientTransformation:
    """换下 ``make_optimizer``：指南写的 Adam，没有偏差修正。

    让 Adam 以为自己已经走了一百万步：1 - β^t 是 1，修正不起作用，而 mu、nu 仍从 0 起步。
    """
    adam = make_optimizer(kind, lr, hyper)

    def init(params):
        clip, scale, minus_lr = adam.init(params)
        return clip, scale._replace(count=jnp.full((), 1_000_000, jnp.int32)), minus_lr

    return optax.GradientTransformation(init, adam.update)


def learn_from_zero_time(state, batch, key, hyper, cfg, network):
    """换下 ``learn``：每次更新开始时，Adam 的步数 t 归零，mu、nu 留着（Adam-Rel）。"""
    clip, scale, minus_lr = state.opt_state
    scale = scale._replace(count=jnp.zeros_like(scale.count))
    return learn(
        state._replace(opt_state=(clip, scale, minus_lr)), batch, key, hyper, cfg, network
    )


def learn_from_scratch(state, batch, key, hyper, cfg, network):
    """换下 ``learn``：每次更新开始时，t、mu、nu 全部归零。"""
    fresh = jax.tree.map(jnp.zeros_like, state.opt_state)
    return learn(state._replace(opt_state=fresh), batch, key, hyper, cfg, network)


def correction_factor(t, beta_1: float, beta_2: float = 0.999):
    """两个偏差修正合起来给步子乘的数：√(1-β₂^t) / (1-β₁^t)，t 从 1 数起。"""
    return np.sqrt(1 - beta_2**t) / (1 - beta_1**t)


def reset_multiplier(num_updates: int, steps: int, beta_1: float, beta_2: float = 0.999):
    """每次更新开始时 t 归零，每一步的步长因此是不归零的几倍：f(t)/f(T)，(num_updates, steps)。

    f 是 ``correction_factor``，t 是更新之内的第几步，T 是从头数的第几步。m 和 v 与 t 无关，所以除去
    eps，归零恰好就是给学习率乘上这个数。
    """
    total = np.arange(1, num_updates * steps + 1).reshape(num_updates, steps)
    inside = np.arange(1, steps + 1)
    return correction_factor(inside, beta_1, beta_2) / correction_factor(total, beta_1, beta_2)


# ---------------------------------------------------------------- Actor 和 Critic 分开看


def halves(tree) -> tuple[dict, dict]:
    """把参数树（或同样的树）分成 Actor 的和 Critic 的；网络不共用隐藏层时才分得开。"""
    layers = tree["params"]
    actor = {name: x for name, x in layers.items() if name.startswith("actor")}
    return actor, {name: x for name, x in layers.items() if name not in actor}


def actor_share(tree):
    """属于 Actor 的那部分的长度，除以整个的长度。"""
    return global_norm(halves(tree)[0]) / global_norm(tree)


def gradient_metrics_apart(grad, running_grad, opt_state) -> dict:
    """换下 ``gradient_metrics``：另外量 Actor 占梯度和步子的多少（长度的平方），和各自的余弦。"""
    mu, nu = moments(opt_state)
    step = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + 1e-12), mu, nu)  # 差一个共同的倍数
    cosines = map(cosine_similarity, halves(grad), halves(running_grad))
    return gradient_metrics(grad, running_grad, opt_state) | {
        "actor_grad_share": actor_share(grad) ** 2,
        "actor_step_share": actor_share(step) ** 2,
        **dict(zip(("actor_cosine", "critic_cosine"), cosines)),
    }


# ---------------------------------------------------------------- 拆开一步


def split_one_update(cfg: PPOConfig, update: int, beta_1s, num_seeds: int) -> xr.Dataset:
    """先训练 update 次更新（不超过 256），再一步一步地做下一次更新，把每一步拆成两半。

    Adam 的步子对一阶矩是线性的，β₁·旧的 m + (1-β₁)·g 的两项可以分开走：只留旧的 m，是动量推的；
    只留 g，是这个小批次的梯度推的。两半加起来就是库里真的走的那一步。

    Returns:
        维 (beta_1, seed, step, sample)，step 是每步走之前：``log_ratio``，走完的 ``moved``，只走动量的
        ``by_momentum``，只走梯度的 ``by_gradient``（都是 ln r）。另有 ``grad_norm`` 和 ``actor_share``
        （梯度里 Actor 的参数占多长，0 到 1）(beta_1, seed, step)；``advantage`` (beta_1, seed, sample)。
    """
    env = make_env(cfg)
    network = make_network(cfg, env)
    program = make_train(cfg)

    def one(seed, beta_1):
        hyper = cfg.hyperparams()._replace(beta_1=beta_1)
        state, _ = program.run_chunk(program.init(seed, hyper), hyper, update)
        rollout_key, shuffle_key = jax.random.split(jax.random.fold_in(state.key, state.update))
        _, rollout, _ = collect_rollout(
            state.params, state.env, rollout_key, hyper,
            network=network, env=env, num_steps=cfg.num_steps,
        )  # fmt: skip
        batch = make_batch(rollout, hyper, cfg)
        lr = (
            annealed_lr(hyper.lr, state.update, hyper.num_updates)
            if cfg.anneal_lr
            else hyper.lr
        )
        step = functools.partial(gradient_step, hyper=hyper, lr=lr, cfg=cfg, network=network)

        def look(params):
            pi, _ = network.apply(params, batch.obs)
            return (pi.log_prob(batch.action) - batch.log_prob).ravel()

        def watched_step(learner, minibatch):
            params, (clip, scale, minus_lr), running_grad = learner
            forgotten = scale._replace(mu=jax.tree.map(jnp.zeros_like, scale.mu))
            after, _ = step(learner, minibatch)
            (by_gradient, (_, only_grad, _), _), metrics = step(
                (params, (clip, forgotten, minus_lr), running_grad), minibatch
            )
            by_momentum = jax.tree.map(
                lambda old, new, half: old + (new - half), params, after[0], by_gradient
            )
            seen = tuple(map(look, (params, after[0], by_momentum, by_gradient)))
            return after, (seen, metrics["grad_norm"], actor_share(only_grad.mu))

        def one_epoch(learner, order):
            return jax.lax.scan(watched_step, learner, take_minibatches(batch, order, cfg))

        learner = (state.params, state.opt_state, state.running_grad)
        _, rows = jax.lax.scan(one_epoch, learner, minibatch_orders(shuffle_key, cfg))
        seen, norm, share = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
        return seen, norm, share, batch.advantage.ravel()

    betas = jnp.repeat(jnp.asarray(beta_1s, jnp.float32), num_seeds)
    seeds = jnp.tile(jnp.arange(num_seeds), len(beta_1s))
    shape = (len(beta_1s), num_seeds)
    # 一个接一个，而不是合成一批：在 CPU 上更快
    seen, norm, share, advantage = jax.tree.map(
        lambda x: np.asarray(x).reshape(*shape, *x.shape[1:]),
        jax.jit(functools.partial(jax.lax.map, lambda member: one(*member)))((seeds, betas)),
    )
    names = ("log_ratio", "moved", "by_momentum", "by_gradient")
    return xr.Dataset(
        {name: (("beta_1", "seed", "step", "sample"), x) for name, x in zip(names, seen)}
        | {
            "grad_norm": (("beta_1", "seed", "step"), norm),
            "actor_share": (("beta_1", "seed", "step"), share),
            "advantage": (("beta_1", "seed", "sample"), advantage),
        },
        {"beta_1": list(beta_1s)},
    )


# ---------------------------------------------------------------- 实验

BETA_1 = (0.0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
EQUAL = (0.9, 0.99, 0.999)
"""β₁ = β₂ 取这几个值。"""

CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=10)
MOUNTAIN_CAR = PPOConfig(
    activation="tanh", ent_coef=0.05, total_timesteps=1_000_000, num_seeds=10
)
BETAS = {f"β₁ = {b:g}": dict(beta_1=b) for b in BETA_1} | {
    f"β₁ = β₂ = {b:g}": dict(beta_1=b, beta_2=b) for b in EQUAL
}
METRICS = ("return", "grad_norm", "mu_norm", "nu_norm", "cosine_similarity", "approx_kl")

CHANGES = {
    "原样": {},
    "t 归零": {},
    "t 和矩都归零": {},
    "学习率 × 0.2": dict(lr=8e-4),
    "t 归零，学习率 × 5": dict(lr=2e-2),
    "没有偏差修正": {},
    "RMSprop": dict(optimizer="rmsprop"),
    "β₁ = 0": dict(beta_1=0.0),
    "SGD，lr = 0.004": dict(optimizer="sgd"),
    "SGD，lr = 0.04": dict(optimizer="sgd", lr=0.04),
    "SGD，lr = 0.4": dict(optimizer="sgd", lr=0.4),
    "eps = 1e-5": dict(adam_eps=1e-5),
    "梯度范数上限 0.1": dict(max_grad_norm=0.1),
    "梯度范数不设上限": dict(max_grad_norm=1e9),
    "学习率不退火": dict(anneal_lr=False),
}
FEWER = {
    name: CHANGES[name]
    for name in (
        "t 归零",
        "t 和矩都归零",
        "学习率 × 0.2",
        "t 归零，学习率 × 5",
        "没有偏差修正",
    )
}
"""MountainCar 训练一次要久得多，只做其中几种；“原样”就是 mountain_car_betas 的 β₁ = 0.9。"""

PATCHES = {
    "t 归零": {"ppo_lib.training.learn": learn_from_zero_time},
    "t 归零，学习率 × 5": {"ppo_lib.training.learn": learn_from_zero_time},
    "t 和矩都归零": {"ppo_lib.training.learn": learn_from_scratch},
    "没有偏差修正": {"ppo_lib.training.make_optimizer": without_bias_correction},
}

APART = {f"β₁ = {b:g}": dict(beta_1=b) for b in (0.0, 0.9, 0.99)}
APART_METRICS = (
    "cosine_similarity",
    "actor_cosine",
    "critic_cosine",
    "actor_grad_share",
    "actor_step_share",
)


def measured_apart(base: PPOConfig) -> Experiment:
    """Actor 和 Critic 的梯度分开量，三种 β₁。"""
    patches = {"ppo_lib.training.gradient_metrics": gradient_metrics_apart}
    return Experiment(
        base, APART, APART_METRICS, points=20, patches={name: patches for name in APART}
    )


EXPERIMENTS = {
    "cartpole_betas": Experiment(CARTPOLE, BETAS, METRICS, points=20),
    "mountain_car_betas": Experiment(MOUNTAIN_CAR, BETAS, METRICS, points=20),
    "cartpole_changes": Experiment(
        CARTPOLE, CHANGES, ("return", "approx_kl", "grad_norm"), points=20, patches=PATCHES
    ),
    "mountain_car_changes": Experiment(
        MOUNTAIN_CAR, FEWER, ("return", "approx_kl", "grad_norm"), points=20, patches=PATCHES
    ),
    "cartpole_apart": measured_apart(CARTPOLE),
    "mountain_car_apart": measured_apart(MOUNTAIN_CAR),
}
"""β₁ 取各种值；Adam 的一处处改动；Actor 和 Critic 的梯度分开量。"""


# ---------------------------------------------------------------- 练习


@checker
def check_my_adam(step) -> str:
    """练习 8.1：自己写一步 Adam。"""
    keys = dict(lr=0.1, beta_1=0.9, beta_2=0.99, eps=1e-3)
    param, grad = jnp.array([1.0, -2.0]), jnp.array([0.5, -0.02])
    mu, nu, t = jnp.array([0.2, -0.1]), jnp.array([0.3, 0.004]), 3
    answer = step(param, grad, mu, nu, t, *keys.values())
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    if not isinstance(answer, tuple) or len(answer) != 3:
        raise Mistake("要返回三样：新的 param、mu、nu。")
    new, new_mu, new_nu = (np.asarray(x, float) for x in answer)
    right, right_mu, right_nu = adam_step(param, grad, mu, nu, t, **keys)
    m_hat, v_hat = right_mu / (1 - 0.9**t), right_nu / (1 - 0.99**t)
    if np.allclose(new_mu, m_hat, rtol=1e-4) or np.allclose(new_nu, v_hat, rtol=1e-4):
        raise Mistake("返回的 mu、nu 应当是修正之前的；修正过的只用在这一步，不往下传。")
    if np.allclose(new_mu, 0.99 * mu + 0.01 * grad, rtol=1e-4):
        raise Mistake("mu 用了 beta_2：一阶矩的衰减率是 beta_1。")
    if np.allclose(new_mu, 0.1 * mu + 0.9 * grad, rtol=1e-4):
        raise Mistake("衰减率乘反了：beta_1 乘旧的 mu，1 - beta_1 乘新的梯度。")
    if not np.allclose(new_mu, right_mu, rtol=1e-4):
        raise Mistake("mu 不对：新的 mu = beta_1·旧的 mu + (1 - beta_1)·梯度。")
    if np.allclose(new_nu, 0.99 * nu + 0.01 * grad, rtol=1e-4):
        raise Mistake("nu 里的梯度忘了平方。")
    if not np.allclose(new_nu, right_nu, rtol=1e-4):
        raise Mistake("nu 不对：新的 nu = beta_2·旧的 nu + (1 - beta_2)·梯度的平方。")
    root = jnp.sqrt(v_hat)
    by_t = {n: (right_mu / (1 - 0.9**n), jnp.sqrt(right_nu / (1 - 0.99**n))) for n in (2, 4)}
    known_wrong = [
        (right_mu / (jnp.sqrt(right_nu) + 1e-3), "没有偏差修正：这是指南里写的 Adam。"),
        (m_hat / (jnp.sqrt(right_nu) + 1e-3), "只修正了一阶矩，二阶矩也要除以 1 - beta_2**t。"),
        (right_mu / (root + 1e-3), "只修正了二阶矩，一阶矩也要除以 1 - beta_1**t。"),
        (m_hat / jnp.sqrt(v_hat + 1e-3), "eps 加到根号里面去了；这里加在根号外面。"),
        (m_hat / root, "忘了 eps。"),
        (m_hat / (v_hat + 1e-3), "分母忘了开方。"),
        (-m_hat / (root + 1e-3), "方向反了：优化器让损失变小，参数要减去这一步。"),
        (by_t[2][0] / (by_t[2][1] + 1e-3), "t 用成了 t - 1：第一步就是 t = 1。"),
        (by_t[4][0] / (by_t[4][1] + 1e-3), "t 用成了 t + 1：传进来的 t 已经是从 1 数起的。"),
    ]  # fmt: skip
    if np.allclose(new, right, rtol=1e-5, atol=1e-6):
        return "与 ppo_lib 的 adam_step 相同。"
    for wrong, hint in known_wrong:
        if np.allclose(new, param - 0.1 * wrong, rtol=1e-5, atol=1e-6):
            raise Mistake(hint)
    raise Mistake("mu 和 nu 都对，参数的改变不对：应当是 lr·m̂/(√v̂ + eps)，m̂、v̂ 是修正过的。")


@checker
def check_first_step(times) -> str:
    """练习 8.2：没有偏差修正，β₁ = 0.9、β₂ = 0.9996，第一步是学习率的几倍。"""
    known_wrong = {
        1.0: "1 倍是有偏差修正的。现在没有修正：m = 0.1 g，v = 0.0004 g²。",
        250.0: "分母忘了开方：√v，不是 v。",
        0.2: "上下颠倒了。",
        0.9 / np.sqrt(0.9996): "从 0 起步，第一步里 g 前面的系数是 1 - β₁ 和 1 - β₂。",
        np.sqrt(1 / 0.0004): "这是 β₁ = 0 时的倍数；分子还要乘 1 - β₁。",
    }
    if np.isclose(float(times), 5.0, rtol=1e-3):
        return "(1-β₁)/√(1-β₂) = 0.1/0.02 = 5。"
    for wrong, hint in known_wrong.items():
        if np.isclose(float(times), wrong, rtol=1e-3):
            raise Mistake(hint)
    raise Mistake("写出第一步的 m 和 v，都只剩含 g 的一项，再算 m/√v。")


@checker
def check_memory(share, largest) -> str:
    """练习 8.3：一次更新走 8 步。走完之后 m 里旧梯度的比重；比重不超过一成的最大的 β₁。"""
    wrong_share = {
        1 - 0.9**8: "这是这次更新自己的 8 个梯度的比重；要的是之前的。",
        0.9**7: "少乘了一次：8 步之后，旧的 m 被乘了 8 次 β₁。",
        0.9: "这是走一步之后的比重；一次更新有 8 步。",
    }
    wrong_largest = {
        0.9 ** (1 / 8): "反了：这样旧梯度的比重是九成。",
        0.1 / 8: "不是除以 8：每走一步是乘一次 β₁，要开 8 次方。",
        0.1 ** (1 / 7): "一次更新是 8 步，不是 7 步。",
        0.5 ** (1 / 8): "这是比重减半的 β₁；题目要一成。",
    }
    for answer, right, known, name in (
        (share, 0.9**8, wrong_share, "第一个数"),
        (largest, 0.1 ** (1 / 8), wrong_largest, "第二个数"),
    ):
        if np.isclose(float(answer), right, atol=6e-3):
            continue
        for wrong, hint in known.items():
            if np.isclose(float(answer), wrong, atol=6e-3):
                raise Mistake(f"{name}：{hint}")
        raise Mistake(f"{name}不对。每走一步，旧的 m 乘一次 β₁；8 步之后剩 β₁ 的 8 次方。")
    return "默认的 β₁ = 0.9，一次更新走完还有四成多是旧的；要压到一成，β₁ 不能超过 0.75。"


@checker
def check_same_path(answer) -> str:
    """练习 8.4：哪些改动不改变 Adam 走的路（eps 可以忽略，从 m = v = 0 开始）。"""
    expected, chosen = {1, 2, 5}, {int(i) for i in answer}
    if not chosen <= set(range(1, 6)):
        raise Mistake("请填编号，1 到 5，例如 {1, 3}。")
    if chosen == expected:
        return "分子和分母一同放大，步子不变；只放大其中几步的梯度，就不一样了。"
    if 3 in chosen:
        raise Mistake("第 3 个：学习率直接乘在步子上，Adam 不会把它除掉。")
    if 4 in chosen:
        raise Mistake("第 4 个：只放大一步，后面各步的 m 和 √v 受的影响不同，除不掉。")
    if 5 not in chosen:
        raise Mistake("第 5 个：损失加一个常数，梯度变了吗？")
    if 1 not in chosen:
        raise Mistake("第 1 个：所有梯度乘 10，m 乘 10，√v 也乘 10。")
    raise Mistake(
        "第 2 个：每个梯度都被缩到上限那么长，上限变成十分之一，就是所有梯度都乘 0.1。"
    )
