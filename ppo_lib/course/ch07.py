"""第 7 章的实验和练习检查。"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from ppo_lib.compiled import compiled_once
from ppo_lib.config import Hyperparams, PPOConfig
from ppo_lib.course.exercises import AnswerExercise, FunctionExercise, Subset
from ppo_lib.course.experiment import Experiment
from ppo_lib.diagnostics import approx_kl
from ppo_lib.envs import make_env
from ppo_lib.loss import Minibatch, clipped_objective, ppo_loss
from ppo_lib.members import compiled_programs
from ppo_lib.optimizer import annealed_lr
from ppo_lib.rollout import collect_rollout
from ppo_lib.training import (
    TrainState,
    gradient_step,
    init_state,
    learn,
    make_batch,
    make_network,
    minibatch_orders,
    take_minibatches,
)


class Collected(NamedTuple):
    """一批刚采来的经验，和采它时的一切。"""

    state: TrainState
    batch: Minibatch  # 每个字段前两维 (num_steps, num_envs)
    key: jax.Array  # 打乱用的钥匙
    network: Any


def collect_one_batch(cfg: PPOConfig, update: int, seed: int = 0) -> Collected:
    """训练 update 次更新（不超过 256），再采下一批经验，算好优势，还没有学。"""
    program, hyper = compiled_programs(cfg.static(), None), cfg.hyperparams()
    as_arrays = jax.tree.map(np.float32, hyper)
    state = program.init(np.int32(seed), as_arrays)
    state, _ = program.run_chunk(state, as_arrays, np.int32(update))
    batch, shuffle_key = next_batch(cfg.static())(state, as_arrays)
    return Collected(state, batch, shuffle_key, make_network(cfg, make_env(cfg)))


@compiled_once
def next_batch(cfg: PPOConfig) -> Callable:
    """编译好的 ``(state, hyper) -> (batch, 打乱用的钥匙)``：再采一批经验，算好优势。"""
    env = make_env(cfg)
    network = make_network(cfg, env)

    @jax.jit
    def collect(state: TrainState, hyper: Hyperparams):
        rollout_key, shuffle_key = jax.random.split(jax.random.fold_in(state.key, state.update))
        _, rollout, _ = collect_rollout(
            state.params, state.env, rollout_key, hyper,
            network=network, env=env, num_steps=cfg.num_steps,
        )  # fmt: skip
        return make_batch(rollout, hyper, cfg), shuffle_key

    return collect


@compiled_once
def one_step(cfg: PPOConfig) -> Callable:
    """编译好的 ``(learner, minibatch, hyper, lr) -> (learner, 指标)``：一步梯度下降。"""
    network = make_network(cfg, make_env(cfg))

    @jax.jit
    def step(learner, minibatch: Minibatch, hyper: Hyperparams, lr):
        return gradient_step(learner, minibatch, hyper=hyper, lr=lr, cfg=cfg, network=network)

    return step


@compiled_once
def comparison(cfg: PPOConfig) -> Callable:
    """编译好的 ``(params, 旧的 params, batch) -> (log_ratio, kl)``，每个样本一个数。"""
    network = make_network(cfg, make_env(cfg))

    @jax.jit
    def compare(params, old_params, batch: Minibatch):
        pi, _ = network.apply(params, batch.obs)
        old_pi, _ = network.apply(old_params, batch.obs)
        log_ratio = pi.log_prob(batch.action) - batch.log_prob
        return log_ratio.ravel(), old_pi.kl_divergence(pi).ravel()

    return compare


def watch_one_update(
    cfg: PPOConfig, update: int, seed: int = 0, clip_eps: float | None = None
) -> xr.Dataset:
    """先训练 update 次更新，再一步一步地做下一次更新，每一步之后看整批样本。

    给了 clip_eps，就只在最后这一次更新里用它：之前的训练、这批经验、小批次的次序都不变。

    Returns:
        维 step（第几步梯度下降之后，0 是还没走）和 sample 的 ``log_ratio``、``advantage``，
        以及按完整的分布算出的 ``kl`` (step, sample)：每个观测上的 KL(旧 ‖ 新)，单位 nat。
    """
    state, batch, shuffle_key, _ = collect_one_batch(cfg, update, seed)
    hyper = cfg.hyperparams()
    if clip_eps is not None:
        hyper = hyper._replace(clip_eps=clip_eps)
    lr = annealed_lr(hyper.lr, state.update, hyper.num_updates) if cfg.anneal_lr else hyper.lr
    step, compare = one_step(cfg.static()), comparison(cfg.static())

    def look(params):
        return compare(params, state.params, batch)

    learner = (state.params, state.opt_state, state.running_grad)
    seen = [look(state.params)]
    for order in minibatch_orders(shuffle_key, cfg):
        minibatches = take_minibatches(batch, order, cfg)  # (num_minibatches, batch, ...)
        for i in range(cfg.num_minibatches):
            learner, _ = step(learner, jax.tree.map(lambda x: x[i], minibatches), hyper, lr)
            seen.append(look(learner[0]))
    log_ratio, kl = map(np.stack, zip(*seen))
    return xr.Dataset(
        {
            "log_ratio": (("step", "sample"), log_ratio),
            "kl": (("step", "sample"), kl),
            "advantage": ("sample", np.asarray(batch.advantage).ravel()),
        }
    )


# ---------------------------------------------------------------- 别的“不要走太远”


def clip_alone(ratio, advantage, clip_eps):
    """换掉 ``clipped_objective``：只裁剪，忘了与不裁剪的取较小者。"""
    return jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps) * advantage


def penalized_loss(params, batch: Minibatch, hyper: Hyperparams, **options):
    """换掉 ``ppo_loss``：不裁剪，损失里加 β·KL（论文的式 (8)）。β 借用 ``clip_eps`` 那一格传进来。"""
    loss, metrics = ppo_loss(params, batch, hyper._replace(clip_eps=UNCLIPPED), **options)
    return loss + hyper.clip_eps * metrics["approx_kl"], metrics


def adapted(beta, kl, target: float):
    """一次更新之后调 β：走得太远就加倍，太近就减半（论文第 4 节）。"""
    return jnp.where(kl > 1.5 * target, 2 * beta, jnp.where(kl < target / 1.5, beta / 2, beta))


def adaptive(target: float) -> dict[str, Callable]:
    """自适应 KL 惩罚要换掉的三个函数。β 要从一次更新带到下一次，放在 ``running_grad`` 旁边。"""

    def start(seed, hyper, **options):
        state = init_state(seed, hyper, **options)
        return state._replace(running_grad=(state.running_grad, jnp.ones(())))  # β 从 1 起

    def learn_and_adapt(state, batch, key, hyper, cfg, network):
        running_grad, beta = state.running_grad
        learner, metrics = learn(
            state._replace(running_grad=running_grad), batch, key,
            hyper._replace(clip_eps=beta), cfg, network,
        )  # fmt: skip
        params, opt_state, running_grad = learner
        pi, _ = network.apply(params, batch.obs)
        kl = approx_kl(pi.log_prob(batch.action), batch.log_prob)
        return (params, opt_state, (running_grad, adapted(beta, kl, target))), metrics

    return {
        "ppo_lib.training.ppo_loss": penalized_loss,
        "ppo_lib.training.init_state": start,
        "ppo_lib.training.learn": learn_and_adapt,
    }


# ---------------------------------------------------------------- 实验

EPOCHS = (1, 2, 5, 10, 30)
CLIPPED, UNCLIPPED = 0.2, 1e6
"""裁剪范围 ε 取一百万，等于不裁剪。"""

CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=100_000, num_seeds=10)
TEN_EPOCHS = dataclasses.replace(CARTPOLE, update_epochs=10, seed=100)  # 新的种子
TARGETS = (0.003, 0.01, 0.03)
"""自适应 KL 惩罚的目标，单位 nat；论文试的也是这三个。"""
LEARNING_RATES = (0.0003, 0.001)

EXPERIMENTS = {
    "reuse": Experiment(
        CARTPOLE,
        {
            f"{epochs} 遍，{name}": dict(update_epochs=epochs, clip_eps=clip_eps)
            for name, clip_eps in (("裁剪", CLIPPED), ("不裁剪", UNCLIPPED))
            for epochs in EPOCHS
        },
        metrics=("return", "approx_kl"),
        points=24,
    ),
    "ways": Experiment(
        TEN_EPOCHS,
        {
            "裁剪": {},
            "不裁剪": dict(clip_eps=UNCLIPPED),
            "只裁剪，不取较小者": {},
            "KL 惩罚，β = 1": dict(clip_eps=1.0),
        }
        | {f"KL 惩罚，自适应，{target:g}": {} for target in TARGETS},
        metrics=("return", "approx_kl"),
        points=24,
        patches={
            "只裁剪，不取较小者": {"ppo_lib.loss.clipped_objective": clip_alone},
            "KL 惩罚，β = 1": {"ppo_lib.training.ppo_loss": penalized_loss},
        }
        | {f"KL 惩罚，自适应，{target:g}": adaptive(target) for target in TARGETS},
    ),
    "smaller_lr": Experiment(
        TEN_EPOCHS,
        {
            f"lr {lr:g}，{name}": dict(lr=lr, clip_eps=clip_eps)
            for lr in LEARNING_RATES
            for name, clip_eps in (("裁剪", CLIPPED), ("不裁剪", UNCLIPPED))
        },
        metrics=("return", "approx_kl"),
        points=24,
    ),
}
"""reuse：同一批经验用几遍，裁剪或不裁剪；ways：用 10 遍，几种不走太远的办法；smaller_lr：学习率小些，裁剪还要紧吗。"""


# ---------------------------------------------------------------- 练习

CASES = [(1.5, 1.0), (1.5, -1.0), (0.7, 1.0), (0.7, -1.0), (1.1, 2.0), (1.0, -0.3)]
"""练习 7.1 的六个 (r, A)，ε = 0.2。"""

check_zero_gradient = AnswerExercise(
    "练习 7.1：哪几个样本的裁剪目标对 r 的导数是 0",
    {
        "样本": Subset(
            {1, 4},
            options=range(1, 7),
            wrong={
                frozenset({1, 2, 3, 4}): "你把所有在界外的样本都算上了。再想想取较小者这一步：A > 0 而 r < 1-ε 时，两项里较小的是哪一项？",
                frozenset({5, 6}): "反了：在界内的样本不受裁剪影响，梯度就是 A。",
                frozenset({1, 2}): "你选的是 r > 1+ε 的两个，没有看 A 的正负。样本 2：r·A = -1.5，clip(r)·A = -1.2，较小的是哪一个？A < 0 时，会裁剪的是另一侧。",
                frozenset({3, 4}): "你选的是 r < 1-ε 的两个，没有看 A 的正负。样本 3：r·A = 0.7，clip(r)·A = 0.8，较小的是哪一个？A > 0 时，会裁剪的是另一侧。",
                frozenset({1, 3}): "你选的是 A > 0 而 r 在界外的两个。A > 0 只有一侧会裁剪：样本 3 的 r·A = 0.7，clip(r)·A = 0.8，较小的是哪一个？A < 0 也有一侧。",
                frozenset({2, 4}): "你选的是 A < 0 而 r 在界外的两个。A < 0 只有一侧会裁剪：样本 2 的 r·A = -1.5，clip(r)·A = -1.2，较小的是哪一个？A > 0 也有一侧。",
                frozenset({2, 3}): "反了：A > 0 时目标随 r 上升，要防的是 r 太大；A < 0 时要防的是 r 太小。",
            },
            extra=dict.fromkeys((5, 6), "样本 5 和 6 的 r 在 [0.8, 1.2] 之内，裁剪碰不到它们。")
            | {
                2: "样本 2 不该选：r·A = -1.5，clip(r)·A = -1.2，较小的是 -1.5，它随 r 变，导数是 A。",
                3: "样本 3 不该选：r·A = 0.7，clip(r)·A = 0.8，较小的是 0.7，它随 r 变，导数是 A。",
            },
            hint="还漏了 {missing} 个。A > 0 和 A < 0 各有一侧会裁剪。",
        )
    },
    praise="只有朝优势所指的方向越过了界的样本，梯度才是 0。",
)  # fmt: skip


def objective_inputs(rng):
    """六个分居各处的样本；离 1 很远的，和刚在界内的；再是随机的：比例在界的两侧都有，ε 每次不同。"""
    yield np.float32([1.5, 1.5, 0.5, 0.5, 1.1, 0.9]), np.float32([2, -2, 2, -2, -1, 3]), 0.2
    yield np.float32([6, 6, 0.1, 0.1, 1.25, 0.74]), np.float32([2, -2, 2, -2, 1, -1]), 0.3
    for size, clip_eps in ((1, 0.2), (7, 0.1), (9, 0.3), (12, 0.5)):
        ratio, advantage = np.exp(rng.normal(0, 0.6, size)), rng.normal(0, 2, size)
        yield (
            np.float32(ratio.round(2) + 0.001),
            np.float32(advantage.round(1) + 0.05),
            clip_eps,
        )


check_my_objective = FunctionExercise(
    "练习 7.2：写出裁剪目标",
    clipped_objective,
    objective_inputs,
    {
        "差一个负号：目标要被最大化，负号留到损失里再加。": lambda r, A, eps: -clipped_objective(r, A, eps),
        "这是不裁剪的目标 r·A。": lambda r, A, eps: r * A,
        "你只用了裁剪的那一项，没有取较小者：r 已经太大而 A < 0 时，目标却不再随 r 变，改正的机会没有了。": clip_alone,
        "取成较大者了。较小者才是保守的估计。": lambda r, A, eps: jnp.maximum(r * A, clip_alone(r, A, eps)),
        "你先在 r 和 clip(r) 之间取了较小者，再乘 A。A < 0 时，次序不能换。": lambda r, A, eps: jnp.minimum(r, 1 + eps) * A,
        "你裁剪了 r·A；要裁剪的是 r。": lambda r, A, eps: jnp.minimum(r * A, jnp.clip(r * A, 1 - eps, 1 + eps)),
        "界是 1-ε 和 1+ε，你好像写成了 -ε 和 ε。": lambda r, A, eps: jnp.minimum(r * A, jnp.clip(r, -eps, eps) * A),
        "你求了平均。这里要逐个样本的目标，形状 (batch,)；平均在 ppo_loss 里做。": lambda r, A, eps: clipped_objective(r, A, eps).mean(),
        "只裁剪了上界。A < 0 时，要防的是 r 低于 1-ε。": lambda r, A, eps: jnp.minimum(r * A, jnp.minimum(r, 1 + eps) * A),
        "只裁剪了下界。A > 0 时，要防的是 r 高于 1+ε。": lambda r, A, eps: jnp.minimum(r * A, jnp.maximum(r, 1 - eps) * A),
        "你把 A 取了绝对值。A 的正负要留着：它决定该往哪边改，也决定哪一侧有界。": lambda r, A, eps: clipped_objective(r, abs(A), eps),
        "下界是 1-ε，不是 1/(1+ε)。": lambda r, A, eps: jnp.minimum(r * A, jnp.clip(r, 1 / (1 + eps), 1 + eps) * A),
        "你从 r 里减了 1；目标里乘的是 r。": lambda r, A, eps: clipped_objective(r, A, eps) - A,
        "两项取较小者，不是相加。": lambda r, A, eps: r * A + clip_alone(r, A, eps),
        "你用的是比例的对数；输入的 ratio 已经是比例。": lambda r, A, eps: jnp.minimum(jnp.log(r) * A, jnp.clip(jnp.log(r), -eps, eps) * A),
    },
    praise="值对，导数也对，包括界外而不裁剪的样本。",
    returns="逐个样本的目标，形状 (batch,)",
    gradients=(0,),
    jax_arrays=True,
)  # fmt: skip


def slope(ratio, advantage, clip_eps):
    """裁剪目标对比例的导数，逐个样本：越过了优势所指的那一侧的界就是 0，别处是优势。"""
    past = jnp.where(advantage > 0, ratio > 1 + clip_eps, ratio < 1 - clip_eps)
    return jnp.where(past, 0.0, advantage)


check_my_slope = FunctionExercise(
    "练习 7.3：写出裁剪目标对比例的导数",
    slope,
    objective_inputs,
    {
        "你把界外的样本都当成没有梯度了。A > 0 而 r < 1-ε、A < 0 而 r > 1+ε 的样本，导数仍是 A。": lambda r, A, eps: jnp.where(jnp.abs(r - 1) > eps, 0.0, A),
        "反了：你留下的是越了界的样本的导数。": lambda r, A, eps: A - slope(r, A, eps),
        "两侧弄反了：A > 0 时要防的是 r 太大，A < 0 时要防的是 r 太小。": lambda r, A, eps: slope(r, -A, eps) * -1,
        "这是不裁剪的目标的导数，处处是 A。": lambda r, A, eps: A,
        "只看了 r 太大的一侧，没有看 A 的正负。": lambda r, A, eps: jnp.where(r > 1 + eps, 0.0, A),
        "只看了 r 太小的一侧，没有看 A 的正负。": lambda r, A, eps: jnp.where(r < 1 - eps, 0.0, A),
        "A < 0 的一侧也有界：r < 1-ε 时导数是 0。": lambda r, A, eps: jnp.where((A > 0) & (r > 1 + eps), 0.0, A),
        "A > 0 的一侧也有界：r > 1+ε 时导数是 0。": lambda r, A, eps: jnp.where((A < 0) & (r < 1 - eps), 0.0, A),
        "这是裁剪目标的值；要的是它对 r 的导数。": clipped_objective,
        "导数是 A，不是 1：目标是 r 乘 A。": lambda r, A, eps: jnp.where(slope(r, A, eps) == 0, 0.0, 1.0),
        "这是损失（目标取负）的导数，差一个负号。": lambda r, A, eps: -slope(r, A, eps),
        "这是对 log r 的导数，多乘了 r；要的是对 r 的。": lambda r, A, eps: r * slope(r, A, eps),
        "界外写成了界上的目标值；目标在那里不再随 r 变，导数是 0。": lambda r, A, eps: jnp.where(slope(r, A, eps) == 0, jnp.clip(r, 1 - eps, 1 + eps) * A, A),
        "你把各个样本的导数加起来了。": lambda r, A, eps: slope(r, A, eps).sum(),
        "你先求了平均再求导，所以每个都小了 batch 倍。": lambda r, A, eps: slope(r, A, eps) / len(r),
        "ε 写死成 0.2 了：要用传进来的 clip_eps。": lambda r, A, eps: slope(r, A, 0.2),
        "大小不对：导数是 A，不只是 A 的正负。": lambda r, A, eps: jnp.sign(slope(r, A, eps)),
    },
    praise="每个样本都对：只有越过优势所指的那一侧，导数才是 0。",
    returns="逐个样本的导数，形状 (batch,)",
    jax_arrays=True,
)  # fmt: skip


def log_prob_inputs(rng):
    """新旧两份对数概率：相同的，差得多的，个数不同的。"""
    same = np.log(np.float32([0.5, 0.2]))
    yield same, same
    yield np.log(np.float32([0.6, 0.4, 0.5, 0.3])), np.log(np.float32([0.5, 0.5, 0.9, 0.2]))
    for size in (1, 5, 30):
        new, old = np.log(rng.uniform(0.05, 0.95, (2, size)))
        yield np.float32(new), np.float32(old)


def estimate_kl(log_prob, old_log_prob):
    """k₃ 的平均。"""
    log_ratio = log_prob - old_log_prob
    return (jnp.exp(log_ratio) - 1 - log_ratio).mean()


def of_log_ratio(estimate):
    """由 ln r 算一个样本，再对样本求平均。"""
    return lambda log_prob, old_log_prob: estimate(log_prob - old_log_prob).mean()


check_kl_estimate = FunctionExercise(
    "练习 7.4：由新旧对数概率估计 KL(旧 ‖ 新)，每个样本的值都不小于 0",
    estimate_kl,
    log_prob_inputs,
    {
        "这是 k₁：无偏，但单个样本可以是负的，噪声大。": of_log_ratio(lambda x: -x),
        "符号反了，而且这是 k₁：单个样本可以是负的。": of_log_ratio(lambda x: x),
        "这是 k₂：不小于 0，但有偏。": of_log_ratio(lambda x: x**2 / 2),
        "r 上下颠倒了：r 是新概率除以旧概率。样本由旧策略采来，颠倒之后就不是这个 KL 的估计了。": of_log_ratio(lambda x: jnp.expm1(-x) + x),
        "少减了 ln r。r - 1 的期望是 0，单用它什么也量不出来。": of_log_ratio(jnp.expm1),
        "少减了 1：两个策略相同时，KL 应当是 0。": of_log_ratio(lambda x: jnp.exp(x) - x),
        "逐个样本的值对了；再沿样本求平均。": lambda new, old: jnp.expm1(new - old) - (new - old),
        "你求了和；要对样本求平均。": lambda new, old: (jnp.expm1(new - old) - (new - old)).sum(),
        "ln r 的符号错了：k₃ 是 (r - 1) 减 ln r。": of_log_ratio(lambda x: jnp.expm1(x) + x),
        "这是 r ln r：样本由旧策略采来时，它估计的是另一个方向，KL(新 ‖ 旧)。": of_log_ratio(lambda x: jnp.exp(x) * x),
        "这是 r ln r - (r - 1)，由新策略采样才用它；样本由旧策略采来，是 (r - 1) - ln r。": of_log_ratio(lambda x: jnp.exp(x) * x - jnp.expm1(x)),
        "r 是概率之比，即对数概率之差再取指数，不是两个对数概率相除。": lambda new, old: (new / old - 1 - jnp.log(new / old)).mean(),
        "先对每个样本算，再平均；你先平均了对数概率之差。": lambda new, old: jnp.expm1((new - old).mean()) - (new - old).mean(),
        "这是对数概率之差的绝对值；k₃ 是 (r - 1) - ln r。": of_log_ratio(abs),
        "不用再乘概率：样本已经是按概率抽来的，直接平均。": lambda new, old: (jnp.exp(new) * (new - old)).mean(),
    },
    praise="这就是 k₃，ppo_lib 的 approx_kl 用的也是它。",
    returns="一个数，对样本求平均",
    jax_arrays=True,
)  # fmt: skip
