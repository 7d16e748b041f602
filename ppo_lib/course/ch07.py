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
from ppo_lib.course.experiment import Experiment
from ppo_lib.course.verdict import Mistake, checker
from ppo_lib.diagnostics import approx_kl
from ppo_lib.envs import make_env
from ppo_lib.loss import Minibatch, ppo_loss
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


@checker
def check_zero_gradient(answer) -> str:
    """练习 7.1：六个样本里，哪些的裁剪目标对 r 的导数是 0。"""
    expected = {1, 4}
    chosen = {int(i) for i in answer}
    if not chosen <= set(range(1, 7)):
        raise Mistake("请填样本的编号，1 到 6，例如 {1, 2}。")
    if chosen == expected:
        return "只有朝优势所指的方向越过了界的样本，梯度才是 0。"
    if chosen == {1, 2, 3, 4}:
        raise Mistake(
            "你把所有在界外的样本都算上了。再想想取较小者这一步：A > 0 而 r < 1-ε 时，两项里较小的是哪一项？"
        )
    if chosen == {5, 6}:
        raise Mistake("反了：在界内的样本不受裁剪影响，梯度就是 A。")
    if chosen == {2, 3}:
        raise Mistake("反了：A > 0 时目标随 r 上升，要防的是 r 太大；A < 0 时要防的是 r 太小。")
    if 5 in chosen or 6 in chosen:
        raise Mistake("样本 5 和 6 的 r 在 [0.8, 1.2] 之内，裁剪碰不到它们。")
    if chosen < expected:
        raise Mistake("还漏了一个。A > 0 和 A < 0 各有一侧会裁剪。")
    raise Mistake("对每个样本，先算 r·A 和 clip(r)·A，看较小的是哪一个，再看它随 r 变不变。")


@checker
def check_my_objective(objective) -> str:
    """练习 7.2：自己写裁剪目标。"""
    ratio = np.array([1.5, 1.5, 0.5, 0.5, 1.1, 0.9])
    advantage = np.array([2.0, -2.0, 2.0, -2.0, -1.0, 3.0])
    eps = 0.2
    answer = objective(jnp.asarray(ratio), jnp.asarray(advantage), eps)
    if answer is None:
        raise Mistake("你的函数没有返回值。最后用 return 交出结果。")
    result = np.asarray(answer, float)
    clipped = np.clip(ratio, 1 - eps, 1 + eps)
    expected = np.minimum(ratio * advantage, clipped * advantage)
    if result.shape == ():
        raise Mistake("你求了平均。这里要逐个样本的目标，形状 (batch,)；平均在 ppo_loss 里做。")
    if result.shape != expected.shape:
        raise Mistake(f"形状应当是 (batch,)，这里是 (6,)；你的是 {result.shape}。")
    known_wrong = [
        (-expected, "差一个负号：目标要被最大化，负号留到损失里再加。"),
        (ratio * advantage, "这是不裁剪的目标 r·A。"),
        (clipped * advantage, "你只用了裁剪的那一项，没有取较小者：样本 2 的 r 已经太大、A < 0，目标却不再随 r 变，改正的机会没有了。"),
        (np.maximum(ratio * advantage, clipped * advantage), "取成较大者了。较小者才是保守的估计。"),
        (np.minimum(ratio, clipped) * advantage, "你先在 r 和 clip(r) 之间取了较小者，再乘 A。A < 0 时，次序不能换。"),
        (np.minimum(ratio * advantage, np.clip(ratio * advantage, 1 - eps, 1 + eps)), "你裁剪了 r·A；要裁剪的是 r。"),
        (np.minimum(ratio * advantage, np.clip(ratio, -eps, eps) * advantage), "界是 1-ε 和 1+ε，你好像写成了 -ε 和 ε。"),
    ]  # fmt: skip
    if np.allclose(result, expected, atol=1e-5):
        return "六个样本都对，包括两个界外而不裁剪的。"
    for wrong, hint in known_wrong:
        if np.allclose(result, wrong, atol=1e-5):
            raise Mistake(hint)
    first = int(np.argmax(~np.isclose(result, expected, atol=1e-5)))
    raise Mistake(
        f"r = {ratio[first]:g}、A = {advantage[first]:g}、ε = {eps:g} 时，应当是 {expected[first]:g}，你的是 {result[first]:g}。"
    )


@checker
def check_total_loss(total) -> str:
    """练习 7.3：由三项拼出要最小化的总损失。"""
    parts = dict(objective=0.3, value_loss=5.0, entropy=0.6, vf_coef=0.5, ent_coef=0.01)
    answer = total(**parts)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    objective, critic, entropy = 0.3, 2.5, 0.006
    known_wrong = {
        objective + critic - entropy: "裁剪目标要被最大化，所以在损失里要带负号。",
        -objective + critic + entropy: "熵的符号反了：这样写会逼着策略变得确定。",
        objective - critic + entropy: "这是要被最大化的目标，论文的式 (9)；损失是它的相反数。",
        -objective - critic - entropy: "价值损失的符号反了：这样写会让 Critic 越来越不准。",
        -objective + 5.0 - 0.6: "两个系数忘了乘。",
        -objective + critic: "忘了熵。",
    }
    if np.isclose(float(answer), -objective + critic - entropy):
        return "符号都对：目标和熵要大，价值损失要小。"
    for wrong, hint in known_wrong.items():
        if np.isclose(float(answer), wrong):
            raise Mistake(hint)
    raise Mistake("三项各自想要变大还是变小？想变大的，在损失里带负号。")


@checker
def check_kl_estimate(estimate) -> str:
    """练习 7.4：由新旧对数概率估计 KL(旧 ‖ 新)，要求每个样本的值都不小于 0。"""
    old = np.log(np.array([0.5, 0.5, 0.9, 0.2]))
    new = np.log(np.array([0.6, 0.4, 0.5, 0.3]))
    answer = estimate(jnp.asarray(new), jnp.asarray(old))
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    log_ratio = new - old
    k3 = np.exp(log_ratio) - 1 - log_ratio
    result = np.asarray(answer, float)
    if result.shape == (4,):
        if np.allclose(result, k3, atol=1e-5):
            raise Mistake("逐个样本的值对了；再沿样本求平均。")
        raise Mistake("要一个数：沿样本求平均。")
    known_wrong = [
        (-log_ratio, "这是 k₁：无偏，但单个样本可以是负的，噪声大。"),
        (log_ratio, "符号反了，而且这是 k₁：单个样本可以是负的。"),
        (log_ratio**2 / 2, "这是 k₂：不小于 0，但有偏。"),
        (np.exp(-log_ratio) - 1 + log_ratio, "r 上下颠倒了：r 是新概率除以旧概率。样本由旧策略采来，颠倒之后就不是这个 KL 的估计了。"),
        (np.exp(log_ratio) - 1, "少减了 ln r。r - 1 的期望是 0，单用它什么也量不出来。"),
    ]  # fmt: skip
    if np.isclose(float(result), k3.mean(), atol=1e-5):
        return "这就是 k₃，ppo_lib 的 approx_kl 用的也是它。"
    for wrong, hint in known_wrong:
        if np.isclose(float(result), wrong.mean(), atol=1e-5):
            raise Mistake(hint)
    raise Mistake("先算 ln r = 新 - 旧，再算每个样本的 (r - 1) - ln r，最后求平均。")
