"""第 8 章的实验、练习检查，和两样只有这一章用的东西：改动过的优化器，拆开来看的一步。"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from ppo_lib.config import PPOConfig
from ppo_lib.course.exercises import AnswerExercise, FunctionExercise, Number, Subset
from ppo_lib.course.experiment import Experiment
from ppo_lib.diagnostics import global_norm
from ppo_lib.envs import make_env
from ppo_lib.optimizer import adam_step, annealed_lr, make_optimizer, moments
from ppo_lib.rollout import collect_rollout
from ppo_lib.training import (
    gradient_metrics,
    gradient_step,
    layers,
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
    return (1 - beta_2**t) ** 0.5 / (1 - beta_1**t)


# ---------------------------------------------------------------- Actor 和 Critic 分开看


def actor_share(tree):
    """属于 Actor 的那部分的长度，除以整个的长度；网络不共用隐藏层时才分得开。"""
    return global_norm(layers(tree, "actor_")) / global_norm(tree)


def gradient_metrics_with_shares(grad, running_grad, opt_state) -> dict:
    """换下 ``gradient_metrics``：另外量 Actor 占梯度和步子的多少（长度的平方）。"""
    mu, nu = moments(opt_state)
    step = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + 1e-12), mu, nu)  # 差一个共同的倍数
    return gradient_metrics(grad, running_grad, opt_state) | {
        "actor_grad_share": actor_share(grad) ** 2,
        "actor_step_share": actor_share(step) ** 2,
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
    "actor_cosine_similarity",
    "critic_cosine_similarity",
    "actor_grad_share",
    "actor_step_share",
)


def measured_apart(base: PPOConfig) -> Experiment:
    """Actor 和 Critic 的梯度分开量，三种 β₁。"""
    patches = {"ppo_lib.training.gradient_metrics": gradient_metrics_with_shares}
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


def adam(param, grad, mu, nu, t, lr, beta_1, beta_2, eps):
    """``adam_step``，超参数也依次传。"""
    return adam_step(param, grad, mu, nu, t, lr=lr, beta_1=beta_1, beta_2=beta_2, eps=eps)


def adam_inputs(rng):
    """第一步，其中一个梯度是 0；再是标量、向量、矩阵，t、lr、两个 β、eps 每次不同。"""
    zero = np.zeros(3, np.float32)
    first = np.float32([1, -2, 0.5]), np.float32([0.5, -0.02, 0]), zero, zero
    yield *first, 1, 0.1, 0.9, 0.999, 1e-8
    for shape, *numbers in (
        ((), 2, 1.0, 0.5, 0.9, 0.1),
        ((2,), 3, 0.2, 0.9, 0.99, 1e-3),
        ((3,), 5, 0.5, 0.0, 0.95, 1e-5),
        ((2, 3), 10, 0.3, 0.8, 0.999, 0.01),
    ):
        drawn = (*rng.normal(0, 1, (3, *shape)), rng.uniform(0.1, 1, shape))
        yield *(np.asarray(np.round(x, 2), np.float32) for x in drawn), *numbers


def wrong_adam(
    step=lambda m, v, t, a, b, e: m / (1 - a**t) / (jnp.sqrt(v / (1 - b**t)) + e),
    first=lambda m, g, a, b: a * m + (1 - a) * g,
    second=lambda v, g, a, b: b * v + (1 - b) * g**2,
):
    """换掉 Adam 的一处：一步有多大（还没有乘 lr），一阶矩或二阶矩怎样平均。a、b、e 是 β₁、β₂、eps。"""

    def function(param, grad, mu, nu, t, lr, beta_1, beta_2, eps):
        mu, nu = first(mu, grad, beta_1, beta_2), second(nu, grad, beta_1, beta_2)
        return param - lr * step(mu, nu, t, beta_1, beta_2, eps), mu, nu

    return function


def corrected_moments(param, grad, mu, nu, t, lr, beta_1, beta_2, eps):
    """写错的 Adam：返回修正过的两个矩。"""
    param, mu, nu = adam(param, grad, mu, nu, t, lr, beta_1, beta_2, eps)
    return param, mu / (1 - beta_1**t), nu / (1 - beta_2**t)


WRONG_STEPS = {
    "两个衰减率用反了：一阶矩用 beta_1，二阶矩用 beta_2。": lambda p, g, m, v, t, lr, a, b, e: adam(p, g, m, v, t, lr, b, a, e),
    "mu 用了 beta_2：一阶矩的衰减率是 beta_1。": wrong_adam(first=lambda m, g, a, b: b * m + (1 - b) * g),
    "nu 用了 beta_1：二阶矩的衰减率是 beta_2。": wrong_adam(second=lambda v, g, a, b: a * v + (1 - a) * g**2),
    "衰减率乘反了：beta 乘旧的矩，1 - beta 乘新的梯度（或它的平方）。": wrong_adam(first=lambda m, g, a, b: (1 - a) * m + a * g, second=lambda v, g, a, b: (1 - b) * v + b * g**2),
    "mu 的衰减率乘反了：beta_1 乘旧的 mu，1 - beta_1 乘新的梯度。": wrong_adam(first=lambda m, g, a, b: (1 - a) * m + a * g),
    "mu 里新梯度的系数不对：这样是累加，SGD 的动量才那样；平均要乘 1 - beta_1。": wrong_adam(first=lambda m, g, a, b: a * m + g),
    "nu 里新梯度的系数不对：平均要乘 1 - beta_2。": wrong_adam(second=lambda v, g, a, b: b * v + g**2),
    "nu 里的梯度忘了平方。": wrong_adam(second=lambda v, g, a, b: b * v + (1 - b) * g),
    "nu 里没有这一步的梯度：先把它的平方平均进去，再走。": wrong_adam(second=lambda v, g, a, b: v),
    "没有偏差修正：这是指南里写的 Adam。": wrong_adam(lambda m, v, t, a, b, e: m / (jnp.sqrt(v) + e)),
    "只修正了一阶矩，二阶矩也要修正。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a**t) / (jnp.sqrt(v) + e)),
    "只修正了二阶矩，一阶矩也要修正。": wrong_adam(lambda m, v, t, a, b, e: m / (jnp.sqrt(v / (1 - b**t)) + e)),
    "偏差修正里少了 t 次方：要除以 1 - beta**t。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a) / (jnp.sqrt(v / (1 - b)) + e)),
    "偏差修正是除以 1 - beta**t，不是乘。": wrong_adam(lambda m, v, t, a, b, e: m * (1 - a**t) / (jnp.sqrt(v * (1 - b**t)) + e)),
    "两个偏差修正都用了 beta_1：nu 的修正用 beta_2。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a**t) / (jnp.sqrt(v / (1 - a**t)) + e)),
    "t 用成了 t - 1：传进来的 t 从 1 数起，第一步就是 1。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a ** (t - 1)) / (jnp.sqrt(v / (1 - b ** (t - 1))) + e)),
    "t 用成了 t + 1：传进来的 t 已经从 1 数起，不用再加。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a ** (t + 1)) / (jnp.sqrt(v / (1 - b ** (t + 1))) + e)),
    "eps 加到根号里面去了；这里加在根号外面。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a**t) / jnp.sqrt(v / (1 - b**t) + e)),
    "eps 加在了还没有修正的 √nu 上，等于把它放大了；这里先修正，再加 eps。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a**t) * jnp.sqrt(1 - b**t) / (jnp.sqrt(v) + e)),
    "忘了 eps：梯度一直是 0 的参数会得到 NaN。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a**t) / jnp.sqrt(v / (1 - b**t))),
    "分母忘了开方。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a**t) / (v / (1 - b**t) + e)),
    "方向反了：优化器让损失变小，参数要减去这一步。": lambda p, g, m, v, t, lr, a, b, e: adam(p, g, m, v, t, -lr, a, b, e),
    "这一步忘了乘 lr。": lambda p, g, m, v, t, lr, a, b, e: adam(p, g, m, v, t, 1.0, a, b, e),
}  # fmt: skip
"""写错一处的 Adam：两个矩怎样平均，怎样修正，走多大一步。练习 8.1 和 8.5 共用。"""

check_my_adam = FunctionExercise(
    "练习 8.1：写出一步 Adam",
    adam,
    adam_inputs,
    {
        "返回的 mu、nu 应当是修正之前的；修正过的只用在这一步，不往下传。": corrected_moments,
        "少了一对括号：eps 要加在分母上，你加到了新的参数上。": lambda p, g, m, v, t, lr, a, b, e: (adam(p, g, m, v, t, lr, a, b, 0.0)[0] + e, *adam(p, g, m, v, t, lr, a, b, e)[1:]),
        "少了一对括号：eps 要加在分母上，你加到了除过之后的整步上。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a**t) / jnp.sqrt(v / (1 - b**t)) + e),
        "偏差修正里 beta**t 写成了 beta * t：是 t 次方，不是 t 倍。": wrong_adam(lambda m, v, t, a, b, e: m / (1 - a * t) / (jnp.sqrt(v / (1 - b * t)) + e)),
        "只返回了新的 param；两个矩下一步还要用，也要返回。": lambda *x: adam(*x)[0],
        "次序是 param、mu、nu，你把 param 放在了最后。": lambda *x: (*adam(*x)[1:], adam(*x)[0]),
        "第一样要新的 param，你返回的是这一步的改变。": lambda p, *x: adam(0 * p, *x),
        "先把新的梯度平均进 mu 和 nu，再走；你用旧的两个矩走了这一步。": lambda p, g, m, v, t, lr, a, b, e: (p - lr * m / (1 - a**t) / (jnp.sqrt(v / (1 - b**t)) + e), *adam(p, g, m, v, t, lr, a, b, e)[1:]),
        "分子是一阶矩（梯度的滑动平均），你用了这一步的梯度：那是 RMSProp。": lambda p, g, m, v, t, lr, a, b, e: (p - lr * g / (jnp.sqrt(adam(p, g, m, v, t, lr, a, b, e)[2] / (1 - b**t)) + e), *adam(p, g, m, v, t, lr, a, b, e)[1:]),
        "分母用的是旧的 nu：先把这一步的 g² 平均进去，再开方。": lambda p, g, m, v, t, lr, a, b, e: (p - lr * adam(p, g, m, v, t, lr, a, b, e)[1] / (1 - a**t) / (jnp.sqrt(v / (1 - b**t)) + e), *adam(p, g, m, v, t, lr, a, b, e)[1:]),
        "你只用了梯度的正负：步子要由两个矩算。": lambda p, g, m, v, t, lr, *rest: (p - lr * jnp.sign(g), *adam(p, g, m, v, t, lr, *rest)[1:]),
    }
    | WRONG_STEPS,
    praise="与 ppo_lib 的 adam_step 相同，梯度是 0 的参数也没有出 NaN。",
    outputs=("新的参数", "一阶矩", "二阶矩"),
    jax_arrays=True,
)  # fmt: skip

check_first_step = AnswerExercise(
    "练习 8.2：没有偏差修正，第一步是学习率的几倍",
    {
        "几倍": Number(
            (1 - 0.9) / np.sqrt(1 - 0.9996),
            {
                1: "1 倍是有偏差修正的。现在没有修正：m = 0.1 g，v = 0.0004 g²。",
                250: "分母忘了开方：√v，不是 v。",
                0.2: "上下颠倒了。",
                0.9 / np.sqrt(0.9996): "从 0 起步，第一步里 g 前面的系数是 1 - β₁ 和 1 - β₂。",
                np.sqrt(1 / 0.0004): "这是 β₁ = 0 时的倍数；分子还要乘 1 - β₁。",
                0.1 / np.sqrt(0.001): "这是 β₂ = 0.999 的倍数；题目里是 0.9996。",
                0.1: "0.1 是 m 里 g 的系数；还要除以 √v，它的系数不是 1：是 √(1 - β₂)，不是 √β₂。",
                0.02: "0.02 是 √v 里 g 的系数；要的是 m/√v，是学习率的几倍（不乘学习率）。",
                0.9 / 0.02: "分子用了 β₁：m 从 0 起步，第一步里 g 的系数是 1 - β₁。",
                0.9 / 0.0004: "分子用了 β₁，分母也忘了开方。第一步里 g 的系数是 1 - β₁；分母是 √v。",
                0.1 / (1 - np.sqrt(0.9996)): "分母先开了方再减：要的是 √(1 - β₂)，不是 1 - √β₂。（若你写的是百分数，带上 %。）",
                25: "这是 m²/v，倍数的平方；再开方。",
                0.1 * 0.02: "是除以 √v，不是乘。",
                0.1 * 0.0004: "是除以 √v，不是乘 v。",
                1 / 0.0004: "这是 1/(1 - β₂)。分子是 m，g 的系数是 1 - β₁；分母是 √v，要开方。",
            },
            hint="从 0 起步，m 和 v 都只剩含 g 的一项，系数是 1 - β₁ 和 1 - β₂。再算 m/√v：先给 v 开方，g 约掉，剩一个比 1 大、不到 10 的数。",
        )
    },
    praise="(1-β₁)/√(1-β₂) = 0.1/0.02 = 5。",
)  # fmt: skip

check_memory = AnswerExercise(
    "练习 8.3：走完 8 步，m 里旧的部分占多少；要它不超过一成，β₁ 最大取多少",
    {
        "β₁ = 0.9 时旧的占": Number(
            0.9**8,
            {
                1 - 0.9**8: "这是这次更新自己的 8 个梯度的比重；要的是之前的。",
                0.9**7: "少乘了一次：8 步之后，旧的 m 被乘了 8 次 β₁。",
                0.9**9: "多乘了一次：8 步之后，旧的 m 被乘了 8 次 β₁。",
                0.9: "这是走一步之后的比重；一次更新有 8 步。",
                0.2: "不是每步减去一成：每走一步，旧的 m 乘一次 β₁。",
            },
            hint="每走一步，旧的 m 乘一次 β₁；8 步之后剩多少？",
            ratio=True,
        ),
        "最大的 β₁": Number(
            0.1 ** (1 / 8),
            {
                0.9 ** (1 / 8): "反了：这样旧的占九成。",
                0.1 / 8: "不是除以 8：每走一步是乘一次 β₁，要开 8 次方。",
                0.1 ** (1 / 7): "一次更新是 8 步，不是 7 步。",
                0.5 ** (1 / 8): "这是比重减半的 β₁；题目要一成。",
                1 - 0.1 ** (1 / 8): "这是 1 - β₁。",
                0.1: "这样只走一步就剩一成了；可以等到 8 步之后。",
            },
            hint="β₁ 的 8 次方等于一成，解出 β₁。",
            tolerance=0.0101,  # 不超过一成的最大的两位小数是 0.74
        ),
    },
    wrong=[((0.1 ** (1 / 8), 0.9**8), "两个数写反了：先写旧的占多少。")],
    praise="默认的 β₁ = 0.9，一次更新走完还有四成多是旧的；要压到一成，β₁ 不能超过约 0.75。",
)  # fmt: skip

check_same_path = AnswerExercise(
    "练习 8.4：哪些改动不改变 Adam 走的路",
    {
        "改动": Subset(
            {1, 2, 5},
            options=range(1, 6),
            wrong={frozenset({3, 4}): "选反了：这两个恰恰会改变路。"},
            extra={
                3: "第 3 个：学习率直接乘在步子上，Adam 不会把它除掉。",
                4: "第 4 个：只放大一步，后面各步的 m 和 √v 受的影响不同，除不掉。",
            },
            missing={
                5: "漏了第 5 个：损失加一个常数，梯度变了吗？",
                1: "漏了第 1 个：所有梯度乘 10，m 乘 10，√v 也乘 10。",
                2: "漏了第 2 个：每个梯度都被缩到上限那么长，上限变成十分之一，就是所有梯度都乘 0.1。",
            },
        )
    },
    praise="分子和分母一同放大，步子不变；只放大其中几步的梯度，就不一样了。",
)  # fmt: skip


def split_step(grad, mu, nu, t, lr, beta_1, beta_2, eps):
    """一步 Adam 的两半，都是加到参数上的改变：旧的 mu 推的，这个梯度推的。"""
    nu = beta_2 * nu + (1 - beta_2) * grad**2
    scale = -lr / (1 - beta_1**t) / (jnp.sqrt(nu / (1 - beta_2**t)) + eps)
    return scale * beta_1 * mu, scale * (1 - beta_1) * grad


def split_inputs(rng):
    """梯度是 0，只有旧的 mu 在推；mu 是 0，只有梯度在推（第一步）；再是两样都有的。"""
    yield np.zeros(2, np.float32), np.float32([0.5, -1]), np.float32([0.3, 0.2]), 4, 0.1, 0.9, 0.99, 1e-3  # fmt: skip
    for _, *state in adam_inputs(rng):
        yield tuple(state)


def halves_of(step):
    """把一步（对的或写错的 Adam）拆成两半：旧的 mu 换成 0 走出的是梯度推的，其余是动量推的。"""

    def split(grad, mu, *rest):
        whole, by_gradient = (step(0 * grad, grad, m, *rest)[0] for m in (mu, 0 * mu))
        return whole - by_gradient, by_gradient

    return split


check_halves = FunctionExercise(
    "练习 8.5：把一步 Adam 拆成动量推的和梯度推的两半",
    split_step,
    split_inputs,
    {
        "两半的次序反了：先是动量推的，再是梯度推的。": lambda *x: split_step(*x)[::-1],
        "动量那一半的分母里也要有这一步的 g²：两半共用同一个分母，加起来才是整步。": lambda g, m, *rest: (split_step(0 * g, m, *rest)[0], split_step(g, m, *rest)[1]),
        "动量那一半里混进了新的梯度：只留旧的 mu，乘 beta_1。": lambda *x: (sum(split_step(*x)), split_step(*x)[1]),
        "动量那一半忘了乘 beta_1：旧的 mu 先衰减一次，才进到这一步。": halves_of(wrong_adam(first=lambda m, g, a, b: m + (1 - a) * g)),
        "两半的系数都忘了：旧的 mu 乘 beta_1，梯度乘 1 - beta_1。": halves_of(wrong_adam(first=lambda m, g, a, b: m + g)),
        "这是整步。要分成两半，依次返回。": lambda *x: sum(split_step(*x)),
        "两半要按各自的来源分，不是平分整步：旧的 mu 推的，和这一步的梯度推的。": lambda *x: (sum(split_step(*x)) / 2,) * 2,
        "两半各用了自己的分母：分母里是平均进了这一步的 nu，两半共用。": lambda g, m, v, t, lr, a, b, e: (split_step(0 * g, m, v, t, lr, a, b, e)[0], split_step(g, m, 0 * v, t, lr, a, b, e)[1]),
        "第二样是整步；只要梯度推的那一半。": lambda *x: (split_step(*x)[0], sum(split_step(*x))),
    }
    | {hint: halves_of(step) for hint, step in WRONG_STEPS.items() if "方向反了" not in hint}
    | {"方向反了：两半是加到参数上的改变，前面有负号。": lambda *x: tuple(-half for half in split_step(*x))},
    praise="两半加起来就是整步。梯度是 0 的参数，动量那一半照样推着它走：第 7 章的“滑行”就是这样来的。",
    outputs=("动量推的", "梯度推的"),
    jax_arrays=True,
)  # fmt: skip
