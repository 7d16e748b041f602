"""第 11 章的实验和练习检查。"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import ppo_lib.loss
import ppo_lib.training
from ppo_lib.advantage import calculate_gae
from ppo_lib.config import PPOConfig
from ppo_lib.course.ch05 import collect_late_observations
from ppo_lib.course.ch07 import collect_one_batch, one_step
from ppo_lib.course.exercises import AnswerExercise, Choice, FunctionExercise, Number
from ppo_lib.course.experiment import Experiment, patched
from ppo_lib.diagnostics import (
    cosine_similarity,
    global_norm,
    masked_mean,
    update_running_grad,
)
from ppo_lib.envs import make_env
from ppo_lib.loss import Minibatch, clipped_objective, ppo_loss
from ppo_lib.optimizer import annealed_lr
from ppo_lib.training import (
    gradient_metrics,
    make_batch,
    make_network,
    make_train,
    minibatch_orders,
    take_minibatches,
)


def one_variant(runs: xr.Dataset, variant: str) -> xr.Dataset:
    """录下的一种做法，(seed, update)，可以交给 dashboard 和 plot_metric。"""
    one = runs.sel(variant=variant, drop=True).rename(point="update")
    one.attrs = {}
    return one


def losses_in_one_update(cfg: PPOConfig, update: int, seed: int = 0) -> dict[str, np.ndarray]:
    """先训练 update 次更新（不超过 256），再一步一步地做下一次更新。

    Returns:
        这次更新里每一步的指标，每个 (update_epochs × num_minibatches,)，不求平均。
    """
    state, batch, shuffle_key, _ = collect_one_batch(cfg, update, seed)
    hyper = cfg.hyperparams()
    lr = annealed_lr(hyper.lr, state.update, hyper.num_updates) if cfg.anneal_lr else hyper.lr
    step = one_step(cfg.static())
    learner, rows = (state.params, state.opt_state, state.running_grad), []
    for order in minibatch_orders(shuffle_key, cfg):
        minibatches = take_minibatches(batch, order, cfg)
        for i in range(cfg.num_minibatches):
            learner, metrics = step(
                learner, jax.tree.map(lambda x: x[i], minibatches), hyper, lr
            )
            rows.append(metrics)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


# ---------------------------------------------------------------- 滑动梯度


def cosine_with_average(grads: np.ndarray, decay: float, include: bool) -> np.ndarray:
    """一串梯度，逐个与滑动梯度比余弦。

    Args:
        grads: (steps, dim)。
        include: 真：先把这一个梯度放进平均，再比；假：先比，再放进去。

    Returns:
        (steps,) 余弦。
    """
    average, cosines = np.zeros(grads.shape[1]), []
    for grad in grads:
        after = decay * average + (1 - decay) * grad
        compared = after if include else average
        norms = np.linalg.norm(grad) * np.linalg.norm(compared)
        cosines.append(grad @ compared / norms if norms > 0 else 0.0)
        average = after
    return np.array(cosines)


COSINE_DECAY = 0.99


def metrics_average_first(grad, running_grad, opt_state) -> dict:
    """写错的指标：先把这一个梯度放进滑动平均，再比余弦。"""
    after = update_running_grad(running_grad, grad, COSINE_DECAY)
    return gradient_metrics(grad, running_grad, opt_state) | {
        "cosine_similarity": cosine_similarity(grad, after)
    }


# ---------------------------------------------------------------- 写错的训练程序


def negated_objective(ratio, advantage, clip_eps):
    """写错的裁剪目标：差一个负号，于是损失把它往小里推。"""
    return -clipped_objective(ratio, advantage, clip_eps)


def gae_without_ends(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """写错的 GAE：不看回合在哪里结束。"""
    no = jnp.zeros_like(terminated)
    return calculate_gae(reward, value, next_value, no, no, gamma, gae_lambda)


def gae_forwards(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """写错的 GAE：从前往后递推。"""
    flipped = [x[::-1] for x in (reward, value, next_value, terminated, truncated)]
    # δ 逐步算，与次序无关；递推的方向反了
    advantage, _ = calculate_gae(*flipped, gamma, gae_lambda)
    return advantage[::-1], advantage[::-1] + value


def gae_reward_target(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """写错的学习目标：只有这一步的奖励，没有以后的。"""
    advantage, _ = calculate_gae(
        reward, value, next_value, terminated, truncated, gamma, gae_lambda
    )
    return advantage, reward


def gae_huge_reward(reward, *rest):
    """奖励的单位弄错了，大了一千倍。"""
    return calculate_gae(1000 * reward, *rest)


def loss_with_fresh_log_prob(params, batch, hyper, *, network, **keys):
    """写错的损失：旧的对数概率每次按眼前的参数重算（不传梯度），概率比的值永远是 1。"""
    pi, _ = network.apply(params, batch.obs)
    fresh = jax.lax.stop_gradient(pi.log_prob(batch.action))
    return ppo_loss(params, batch._replace(log_prob=fresh), hyper, network=network, **keys)


def loss_with_entropy_penalty(params, batch, hyper, **keys):
    """写错的损失：熵的符号反了。"""
    return ppo_loss(params, batch, hyper._replace(ent_coef=-hyper.ent_coef), **keys)


def ratio_without_gradient(log_prob, old_log_prob):
    """写错的概率比：新的对数概率也不传梯度。"""
    return jnp.exp(jax.lax.stop_gradient(log_prob) - old_log_prob)


def value_loss_all_pairs(value, target):
    """写错的价值损失：两个形状 (batch, 1) 与 (batch,) 相减，广播成了 (batch, batch)。"""
    return 0.5 * (value[:, None] - target[None, :]) ** 2


def mismatched_minibatches(batch, order, cfg):
    """写错的小批次：优势少换了一次轴，与观测、动作对不上号。"""
    advantage = batch.advantage.reshape(batch.advantage.shape[::-1]).swapaxes(0, 1)
    return take_minibatches(batch._replace(advantage=advantage), order, cfg)


def anneal_by_steps(lr, update, num_updates):
    """写错的退火：把梯度步数当成更新次数去数（每次更新 8 步），减到 0 为止。"""
    return lr * jnp.maximum(0.0, 1.0 - 8 * update / num_updates)


# ---------------------------------------------------------------- 实验

CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=10)

SOLVED = PPOConfig(activation="tanh", ent_coef=0.05, total_timesteps=1_000_000, num_seeds=10)

METRICS = (
    "return",
    "episode_length",
    "episodes_ended",
    "goals_reached",
    "actor_loss",
    "value_loss",
    "explained_variance",
    "entropy",
    "approx_kl",
    "clip_frac",
    "grad_norm",
    "mu_norm",
    "nu_norm",
    "cosine_similarity",
    "learning_rate",
)
"""这一章讲的十五个指标；训练还分开记 Actor 和 Critic 的范数和余弦，八个，不在内。"""

VITALS = (
    "return",
    "entropy",
    "approx_kl",
    "clip_frac",
    "value_loss",
    "explained_variance",
    "grad_norm",
)
"""看病历时画的七个。"""

LEARNS = {
    "CartPole，默认": True,
    "CartPole，10 遍": True,
    "CartPole，10 遍不裁剪": False,
    "Acrobot，默认": True,
    "MountainCar，默认": False,
    "MountainCar，两处都改": True,
}
"""六种训练，学会了没有。"""

HEALTHY = "健康"
FAULTS = {
    "A": {"ppo_lib.loss.clipped_objective": negated_objective},
    "B": {"ppo_lib.loss.policy_ratio": ratio_without_gradient},
    "C": {"ppo_lib.training.collect_rollout": collect_late_observations},
    "D": {"ppo_lib.training.take_minibatches": mismatched_minibatches},
    "E": {"ppo_lib.training.ppo_loss": loss_with_fresh_log_prob},
    "F": {"ppo_lib.training.annealed_lr": anneal_by_steps},
    "G": {"ppo_lib.loss.value_loss": value_loss_all_pairs},
    "H": {"ppo_lib.training.calculate_gae": gae_reward_target},
    "I": {"ppo_lib.training.ppo_loss": loss_with_entropy_penalty},
    "J": {"ppo_lib.training.calculate_gae": gae_huge_reward},
}
"""十份病历，各换掉库里的一个函数。"""

NAMES = {
    "A": "裁剪目标差一个负号",
    "B": "新的对数概率也不传梯度",
    "C": "记下的是走完之后的观测",
    "D": "优势少换一次轴，与观测、动作对不上",
    "E": "旧的对数概率每一步都重算，不传梯度",
    "F": "退火按梯度步数数，早早到 0",
    "G": "价值损失广播成 (batch, batch)",
    "H": "Critic 的学习目标只有这一步的奖励",
    "I": "熵的符号反了",
    "J": "奖励大了一千倍",
    "K": "GAE 不看回合在哪里结束",
    "L": "学习率写成了 0.4",
    "M": "GAE 从前往后递推",
}

EXAM = {
    "K": {"ppo_lib.training.calculate_gae": gae_without_ends},
    "L": {},
    "M": {"ppo_lib.training.calculate_gae": gae_forwards},
}
"""练习 11.1 的三份。L 不换函数，是学习率写成了 0.4。"""

EXPERIMENTS = {
    "metrics": Experiment(
        CARTPOLE,
        {
            "CartPole，默认": {},
            "CartPole，10 遍": dict(update_epochs=10),
            "CartPole，10 遍不裁剪": dict(update_epochs=10, clip_eps=1e6),
            "Acrobot，默认": dict(env_name="Acrobot-v1"),
            "MountainCar，默认": dict(env_name="MountainCar-v0", total_timesteps=1_000_000),
            "MountainCar，两处都改": dict(
                env_name="MountainCar-v0",
                total_timesteps=1_000_000,
                activation="tanh",
                ent_coef=0.05,
            ),
        },
        metrics=METRICS,
        points=24,
    ),
    "zoo": Experiment(
        CARTPOLE,
        {HEALTHY: {}} | {name: {} for name in FAULTS},
        metrics=(*VITALS, "learning_rate"),
        points=24,
        patches=FAULTS,
    ),
    "exam": Experiment(
        CARTPOLE,
        {"K": {}, "L": dict(lr=0.4), "M": {}},
        metrics=VITALS,
        points=24,
        patches=EXAM,
    ),
    "unlimited_norm": Experiment(
        CARTPOLE,
        {"J": {}, "J，不限梯度范数": dict(max_grad_norm=1e30)},
        metrics=("return", "approx_kl"),
        points=24,
        patches={"J": FAULTS["J"], "J，不限梯度范数": FAULTS["J"]},
    ),
    "entropy_sign": Experiment(
        SOLVED,
        {"熵的符号对": {}, "熵的符号反了": {}},
        metrics=("return", "entropy"),
        points=24,
        patches={"熵的符号反了": FAULTS["I"]},
    ),
    "cosine": Experiment(
        CARTPOLE,
        {
            "只记上一个": {},
            "先比，再平均": dict(running_grad_decay=COSINE_DECAY),
            "先平均，再比": dict(running_grad_decay=COSINE_DECAY),
        },
        metrics=("cosine_similarity",),
        points=24,
        patches={"先平均，再比": {"ppo_lib.training.gradient_metrics": metrics_average_first}},
    ),
    "value_clip": Experiment(
        CARTPOLE,
        {
            f"{name}，{on}": change | dict(clip_value=on == "裁剪")
            for name, change in {
                "CartPole，2 遍": {},
                "CartPole，10 遍": dict(update_epochs=10),
                "MountainCar": dict(
                    env_name="MountainCar-v0",
                    total_timesteps=1_000_000,
                    activation="tanh",
                    ent_coef=0.05,
                ),
            }.items()
            for on in ("不裁剪", "裁剪")
        },
        metrics=("return", "value_loss", "explained_variance"),
        points=24,
    ),
}
"""metrics：学会的和学不会的；zoo、exam：写错的训练程序；entropy_sign：换一个环境看病历 I；
unlimited_norm：病历 J 放开梯度范数的上限；cosine：滑动梯度的余弦；value_clip：价值裁剪。"""


# ---------------------------------------------------------------- 单元检查

TINY = PPOConfig(
    env_name="CartPole-v1", num_envs=4, num_steps=8, num_minibatches=2, total_timesteps=32
)


def tiny_rollout():
    """一小段经验：(网络, 参数, Hyperparams, Transition)。"""
    env = make_env(TINY)
    network, hyper = make_network(TINY, env), TINY.hyperparams()
    state = make_train(TINY).init(0, hyper)
    _, rollout, _ = ppo_lib.training.collect_rollout(
        state.params, state.env, jax.random.key(1), hyper,
        network=network, env=env, num_steps=TINY.num_steps,
    )  # fmt: skip
    return network, state.params, hyper, rollout


def loss_of(params_scale: float = 1.0, ent_coef: float | None = None):
    """在一小段经验上算损失；参数先乘 params_scale。"""
    network, params, hyper, rollout = tiny_rollout()
    batch = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]), make_batch(rollout, hyper, TINY)
    )
    if ent_coef is not None:
        hyper = hyper._replace(ent_coef=ent_coef)
    params = jax.tree.map(lambda x: params_scale * x, params)
    return ppo_lib.training.ppo_loss(
        params, batch, hyper, network=network, advantage_norm="minibatch", clip_value=False
    )


def good_action_pushed_up() -> bool:
    """好动作：概率比变大，目标也变大。"""
    return bool(jax.grad(ppo_lib.loss.clipped_objective)(1.0, 1.0, 0.2) > 0)


def ratio_follows_policy() -> bool:
    """新的对数概率变大，概率比也变大。"""
    return bool(jax.grad(ppo_lib.loss.policy_ratio)(0.0, 0.0) == 1)


def log_prob_matches_observation() -> bool:
    """用同样的参数重算记下的那些动作的对数概率，与采样时记下的一样。"""
    network, params, _, rollout = tiny_rollout()
    again = network.apply(params, rollout.obs)[0].log_prob(rollout.action)
    return bool(jnp.allclose(again, rollout.log_prob, atol=1e-5))


def rows_stay_together() -> bool:
    """每个字段都填上行号；切成小批次之后，同一行的行号还都一样。"""
    shape = (TINY.num_steps, TINY.num_envs)
    rows = jnp.arange(TINY.batch_size).reshape(shape)
    order = jnp.arange(TINY.num_envs)[::-1]
    cut = ppo_lib.training.take_minibatches(Minibatch(*[rows] * 6), order, TINY)
    return all(bool((field == cut.obs).all()) for field in cut)


def moving_changes_kl() -> bool:
    """参数动过之后，近似 KL 大于 0。"""
    _, metrics = loss_of(params_scale=5.0)
    return bool(metrics["approx_kl"] > 1e-6)


def halfway_half_lr() -> bool:
    """训练到一半，学习率是一半。"""
    return bool(jnp.isclose(ppo_lib.training.annealed_lr(1.0, 50, 100), 0.5))


def one_loss_per_sample() -> bool:
    """价值损失逐个样本，形状不变。"""
    return ppo_lib.loss.value_loss(jnp.zeros(5), jnp.zeros(5)).shape == (5,)


def target_by_hand() -> bool:
    """四步，奖励都是 1，γ = λ = 1，V 处处是 0，第二步之后终止：目标是 2、1、2、1。"""
    one, zero = jnp.ones((4, 1)), jnp.zeros((4, 1))
    ends = jnp.array([[False], [True], [False], [False]])
    _, target = ppo_lib.training.calculate_gae(one, zero, zero, ends, ends & False, 1.0, 1.0)
    return bool(jnp.allclose(target[:, 0], jnp.array([2.0, 1.0, 2.0, 1.0])))


def recomputed_gradients() -> tuple[float, float]:
    """旧的对数概率按眼前的参数重算时，裁剪目标的梯度范数：（旧的那份不传梯度，忘了这样做）。"""
    network, params, hyper, rollout = tiny_rollout()
    batch = make_batch(rollout, hyper, TINY)

    def objective(params, cut):
        log_prob = network.apply(params, batch.obs)[0].log_prob(batch.action)
        ratio = ppo_lib.loss.policy_ratio(log_prob, cut(log_prob))
        advantage = ppo_lib.loss.normalize(batch.advantage)
        return clipped_objective(ratio, advantage, hyper.clip_eps).mean()

    cuts = jax.lax.stop_gradient, lambda x: x
    return tuple(float(global_norm(jax.grad(objective)(params, cut))) for cut in cuts)


def more_entropy_less_loss() -> bool:
    """熵的系数加大，损失变小。"""
    return bool(loss_of(ent_coef=1.0)[0] < loss_of(ent_coef=0.0)[0])


CHECKS: dict[str, Callable[[], bool]] = {
    "A": good_action_pushed_up,
    "B": ratio_follows_policy,
    "C": log_prob_matches_observation,
    "D": rows_stay_together,
    "E": moving_changes_kl,
    "F": halfway_half_lr,
    "G": one_loss_per_sample,
    "H": target_by_hand,
    "I": more_entropy_less_loss,
    "J": target_by_hand,
}
"""每份病历，一个能抓住它的检查。"""


def run_checks() -> dict[str, tuple[bool, bool]]:
    """病历 → (库里的写法通过吗，写错的通过吗)。"""
    results = {}
    for name, check in CHECKS.items():
        with patched(FAULTS[name]):
            broken = check()
        results[name] = (check(), broken)
    return results


# ---------------------------------------------------------------- 动手：报警


def try_alarm(alarm: Callable, runs: xr.Dataset) -> dict[str, float]:
    """只看前一半训练、不看回报，每种做法里有多大比例的种子报警。

    Args:
        alarm: 函数，收到一个种子的指标（字典，每个 (points,)），返回真假。
        runs: 录下的实验，指标 (variant, seed, point)。
    """
    half = runs.drop_vars("return").isel(point=slice(0, runs.sizes["point"] // 2))
    share = {}
    for variant in half["variant"].values:
        seeds = half.sel(variant=variant)
        rang = [
            bool(alarm({name: x.isel(seed=i).values for name, x in seeds.data_vars.items()}))
            for i in range(half.sizes["seed"])
        ]
        share[str(variant)] = float(np.mean(rang))
    return share


# ---------------------------------------------------------------- 练习

LOW = "回报只说有病，不说是什么病：三份都低。"
COLLAPSED = "熵塌下去是结果：策略不再随机，可能由许多种错造成。"


def telltale(right: str, hint: str, wrong: dict[str, str]) -> Choice:
    """一份病历：最先该看的指标，没选中时的提示；选了 wrong 里的，先说它为什么不是。"""
    wrong = {"return": LOW, "entropy": COLLAPSED} | wrong
    return Choice(right, VITALS, {x: why + hint for x, why in wrong.items()}, hint)


check_exam = AnswerExercise(
    "练习 11.1：三份病历，各是哪个指标最先露了馅",
    {
        "K": telltale(
            "explained_variance",
            "Critic 的哪个数，比“只猜平均值”还差得多，而且一直不好转？",
            {"value_loss": "K 的价值损失后来比健康的还小。"},
        ),
        "L": telltale(
            "approx_kl",
            "看最左边的几个点：哪个指标一开头就比健康的大出上万倍？",
            {"clip_frac": "裁剪比例最多是 1，走得再远也就这么大。"},
        ),
        "M": telltale(
            "value_loss",
            "一个回合只有九步，折扣回报不超过 9。Critic 的误差平方的一半，能有这么大吗？",
            {"grad_norm": "梯度后来也大得出奇，却是跟着另一个指标大起来的。"},
        ),
    },
    praise="三个都对。" + "；".join(f"{name}：{NAMES[name]}" for name in EXAM) + "。",
)

RATIO = np.array([0.7, 0.85, 1.0, 1.15, 1.3, 1.6])
ADVANTAGE = np.array([1.0, -1.0, 0.5, 2.0, -1.0, 1.0])
V = np.array([1.0, 2.0, 3.0, 4.0])
TARGET = np.array([3.0, 3.0, 5.0, 5.0])
"""练习 11.2 的数，ε = 0.2。"""

OUTSIDE = np.abs(RATIO - 1) > 0.2
FLAT = np.where(ADVANTAGE > 0, RATIO > 1.2, RATIO < 0.8)  # 裁剪目标的导数是 0
PULLED_BACK = "r = 0.7（A = 1）和 r = 1.3（A = -1）虽在界外，较小的那一项仍是 r·A，梯度不是 0。"

check_by_hand = AnswerExercise(
    "练习 11.2：手算裁剪比例、梯度是 0 的比例、解释方差",
    {
        "clip_frac": Number(
            float(OUTSIDE.mean()),
            {
                3: "裁剪比例是一个 0 到 1 之间的数：个数除以 6。",
                1 / 6: "你数的像是梯度为 0 的样本；clip_frac 不看优势，只看 |r - 1| > 0.2。",
                2 / 6: "两侧都要数：r < 0.8 的也在界外。",
                5 / 6: "界是 1 ± 0.2，不是 1：0.85 和 1.15 都在界内。",
            },
            "数一数有几个样本 |r - 1| > 0.2，除以 6。",
            ratio=True,
        ),
        "梯度是 0 的比例": Number(
            float(FLAT.mean()),
            {
                1: "要的是比例：个数除以 6。",
                3 / 6: "界外的三个，不都没有梯度。" + PULLED_BACK,
                2 / 6: "只有朝优势所指的方向越了界，梯度才是 0。" + PULLED_BACK,
                5 / 6: "这是梯度不是 0 的比例。",
                0: "有一个样本，朝优势所指的方向越了界。",
            },
            "只有朝优势所指的方向越了界，梯度才是 0：第 7 章的那张表。",
            ratio=True,
        ),
        "解释方差": Number(
            float(1 - np.var(TARGET - V) / np.var(TARGET)),
            {
                -1.5: "你用的是误差的平方的平均，没有减去误差的平均。解释方差用的是方差。",
                2.5: "这是误差的平方的平均除以目标的方差。误差要先减去自己的平均，最后用 1 减。",
                0.25: "这是 Var(目标 - V) / Var(目标)，还要用 1 去减。",
                0.8: "分母要用目标的方差，不是 V 的；它也不是相关系数的平方。",
                0.5: "你用的像是标准差；要用方差。",
                -3: "比反了：目标的方差在分母上。",
                -0.25: "分子用成了 V 的方差；要用误差（目标 - V）的方差。",
                1.25: "这是 V 的方差与目标的方差之比；分子要用误差（目标 - V）的方差，再用 1 减。",
            },
            "先算误差（目标 - V），求方差，除以目标的方差，再用 1 减。",
            ratio=True,
        ),
    },
    praise="V 整体低了 1.5，解释方差仍有 0.75：它看不见整体的偏移。",
)  # fmt: skip


def masked_inputs(rng):
    """一个也没选中的，只选中一个的，全选中的，平均恰好是 0 的；形状换几种。"""
    x = np.float32([10, 3, 7, 20])
    yield x, np.array([True, False, False, True])
    yield x, np.zeros(4, bool)
    yield x, np.ones(4, bool)
    yield np.float32([-5, 2, 9, 5]), np.array([True, False, False, True])
    yield np.float32([0, 6, 9]), np.array([True, True, False])  # 选中的里有 0
    yield np.float32([-200]), np.array([False])
    for shape, chosen in (((3, 4), 5), ((3, 4), 0), ((6,), 1), ((6,), 3)):
        mask = rng.permutation(np.arange(np.prod(shape)) < chosen).reshape(shape)
        yield np.float32(rng.integers(-200, 0, shape)), mask


def sum_where(x, mask):
    """选中的加起来。"""
    return jnp.where(mask, x, 0).sum()


ONE_MASK = (jnp.float32([10, 3, 7, 20]), jnp.array([True, False, False, True]))

check_masked_mean = FunctionExercise(
    "练习 11.3：只对走完的回合求平均，一个也没有时是 NaN",
    masked_mean,
    masked_inputs,
    {
        "你对全部位置求了平均。只看 mask 为真的那些。": lambda x, mask: x.mean(),
        "没选中的位置换成了 0，却仍然除以全部的个数。要除以选中的个数。": lambda x, mask: jnp.where(mask, x, 0).mean(),
        "没选中的位置换成 0、除以全部的个数了；一个也没有时倒是对的。要除以选中的个数。": lambda x, mask: jnp.where(mask.any(), jnp.where(mask, x, 0).mean(), jnp.nan),
        "这是和，还没有除以个数；一个也没有时要给 NaN。": sum_where,
        "这是和，还没有除以个数。": lambda x, mask: jnp.where(mask.any(), sum_where(x, mask), jnp.nan),
        "别处都对；一个也没有时你给了 0：在奖励是负数的任务里，它看起来就是满分。给 NaN。": lambda x, mask: sum_where(x, mask) / jnp.maximum(mask.sum(), 1),
        "别处都对；一个也没有时你的函数没有返回值（None）。要给 NaN：画图和求平均时，它会被认作缺的数。": lambda x, mask: masked_mean(x, mask) if mask.any() else None,
        "别处都对；一个也没有时你给了全部位置的平均。那时没有数可平均，给 NaN。": lambda x, mask: masked_mean(x, mask) if mask.any() else x.mean(),
        "反了：mask 为真的才算。": lambda x, mask: masked_mean(x, ~mask),
        "没选中的位置换成 NaN 以后，普通的平均也成了 NaN。换成 0，再除以选中的个数。": lambda x, mask: jnp.where(mask, x, jnp.nan).mean(),
        "你拿和是不是 0 来判断空不空。选中的数加起来可以恰好是 0；要看个数。": lambda x, mask: jnp.where(sum_where(x, mask) == 0, jnp.nan, masked_mean(x, mask)),
        "你沿一个轴求了平均；x 是二维时也要一个数。": lambda x, mask: sum_where(x, mask) / mask.sum() if x.ndim == 1 else jnp.where(mask, x, 0).sum(0) / mask.sum(0),
        "分母上多加了一个数，平均就偏小了：个数是 0 时用 jnp.where 另外处理。": lambda x, mask: jnp.where(mask.any(), sum_where(x, mask) / (mask.sum() + 1), jnp.nan),
        "你数的是不等于 0 的数；选中的也可以恰好是 0，个数要由 mask 数。": lambda x, mask: sum_where(x, mask) / (x != 0).sum(),
        "你先求各行的平均，再平均它们：各行选中的个数不同，要把选中的放在一起平均。": lambda x, mask: (jnp.where(mask, x, 0).sum(-1) / mask.sum(-1)).mean(),
        "你取了中位数；要平均。": lambda x, mask: jnp.nanmedian(jnp.where(mask, x, jnp.nan)),
        "你取了最大的；要平均。": lambda x, mask: jnp.where(mask.any(), jnp.where(mask, x, -jnp.inf).max(), jnp.nan),
    },
    praise="选中的求平均，一个也没有时是 NaN。",
    returns="一个数",
    remarks={
        "不过它进不了编译的程序：那里要用 jnp，数组的形状不能由数据决定，也不能用 if 看数据。库里的写法见参考答案。": lambda f: jnp.isclose(jax.jit(f)(*ONE_MASK), 15.0),
    },
    jax_arrays=True,
)  # fmt: skip


def running_step(running, grad, decay):
    """一步滑动梯度：（与旧的比的余弦，新的滑动梯度）；有一个是零向量时余弦记 0。"""
    norms = np.linalg.norm(running) * np.linalg.norm(grad)
    cosine = running @ grad / norms if norms > 0 else 0.0
    return cosine, decay * running + (1 - decay) * grad


def running_inputs(rng):
    """三种零向量，很短却不是零的，同向、反向、垂直；长度、维数、衰减率都换。"""
    zero, first, second = np.zeros(2), np.array([3.0, 4.0]), np.array([1.0, -0.5])
    yield zero, first, 0.9
    yield first, zero, 0.5
    yield zero, zero, 0.9
    yield first, 1e-4 * second, 0.5
    yield 1e-5 * first, 4 * second, 0.9
    yield first, second, 0.0
    yield np.array([1.0, 0.0]), np.array([0.6, 0.8]), 0.5
    yield np.array([1.0, 0.0]), np.array([0.0, 2.0]), 0.9
    yield np.array([2.0, 1.0]), np.array([-4.0, -2.0]), 0.8
    for size, decay in ((3, 0.9), (3, 0.99), (5, 0.5), (5, 0.7)):
        yield rng.normal(0, 2, size).round(1) + 0.05, rng.normal(0, 2, size).round(1) + 0.05, decay  # fmt: skip


def cosine_of(a, b, empty=0.0):
    """余弦；有一个是零向量时是 empty。"""
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / norms if norms > 0 else empty


def smoothed(running, grad, decay):
    """新的滑动梯度。"""
    return decay * running + (1 - decay) * grad


def with_cosine(cosine):
    """余弦换一种算法，平均不变。"""
    return lambda running, grad, decay: (cosine(running, grad), smoothed(running, grad, decay))


def with_average(average):
    """平均换一种算法，余弦不变。"""
    return lambda r, g, d: (cosine_of(r, g), average(r, g, d))


NO_GUARD = "零向量的长度是 0，0 除以 0 得 NaN。"

check_running = FunctionExercise(
    "练习 11.4：一步滑动梯度，先比余弦，再更新",
    running_step,
    running_inputs,
    {
        "你先更新、再比：平均里已经含有这个梯度，余弦偏高。先比，再更新。": lambda r, g, d: (cosine_of(smoothed(r, g, d), g), smoothed(r, g, d)),
        "余弦比的是旧的滑动梯度与这一个梯度；你比的是新旧两个滑动梯度。": lambda r, g, d: (cosine_of(r, smoothed(r, g, d)), smoothed(r, g, d)),
        NO_GUARD + "有一个是零向量时，余弦记 0。": with_cosine(lambda r, g: cosine_of(r, g, np.nan)),
        NO_GUARD + "滑动梯度是零向量时你照顾到了，这一个梯度也可能是。": with_cosine(lambda r, g: cosine_of(r, g, np.nan if r.any() else 0.0)),
        NO_GUARD + "这一个梯度是零向量时你照顾到了，滑动梯度也可能是（第一步就是）。": with_cosine(lambda r, g: cosine_of(r, g, np.nan if g.any() else 0.0)),
        "有一个是零向量时，你的余弦是 1；没有方向可比，记 0。": with_cosine(lambda r, g: cosine_of(r, g, 1.0)),
        "这是内积，没有除以两个长度。": with_cosine(lambda r, g: r @ g),
        "内积只除以了滑动梯度的长度，还要除以这一个梯度的。": with_cosine(lambda r, g: cosine_of(r, g) * np.linalg.norm(g)),
        "内积只除以了这一个梯度的长度，还要除以滑动梯度的。": with_cosine(lambda r, g: cosine_of(r, g) * np.linalg.norm(r)),
        "余弦的符号反了：同向是 1。": with_cosine(lambda r, g: -cosine_of(r, g)),
        "余弦有正有负，你取了绝对值。": with_cosine(lambda r, g: abs(cosine_of(r, g))),
        "decay 乘错了：它乘旧的，1 - decay 乘新的。": with_average(lambda r, g, d: smoothed(g, r, d)),
        "新的滑动梯度里没有旧的：decay·旧 + (1 - decay)·新，两项都要有。": with_average(lambda r, g, d: (1 - d) * g),
        "新的滑动梯度里只有这一个梯度：decay·旧 + (1 - decay)·新，两项都要有。": with_average(lambda r, g, d: g),
        "新的滑动梯度里没有这一个梯度：decay·旧 + (1 - decay)·新，两项都要有。": with_average(lambda r, g, d: d * r),
        "滑动梯度没有更新：你返回的是旧的。": with_average(lambda r, g, d: r),
        "这一个梯度没有乘 1 - decay，平均会越滚越大。": with_average(lambda r, g, d: d * r + g),
        "旧的滑动梯度没有乘 decay，平均会越滚越大。": with_average(lambda r, g, d: r + (1 - d) * g),
        "你写成了新旧各一半；旧的乘 decay，新的乘 1 - decay。": with_average(lambda r, g, d: (r + g) / 2),
        "两样的次序反了：先余弦，后新的滑动梯度。": lambda r, g, d: (smoothed(r, g, d), cosine_of(r, g)),
        "只返回了新的滑动梯度；要返回两样：余弦，新的滑动梯度。": smoothed,
        "只返回了余弦；要返回两样：余弦，新的滑动梯度。": lambda r, g, d: cosine_of(r, g),
        "分母是两个长度的乘积，你把它又平方了。": with_cosine(lambda r, g: cosine_of(r, g) / (np.linalg.norm(r) * np.linalg.norm(g) or 1)),
        "这是 1 减余弦，即余弦距离；要余弦，同向是 1。": with_cosine(lambda r, g: 1 - cosine_of(r, g)),
        "有零向量时，余弦记 0 对了，滑动梯度却没有更新：两样各算各的。": lambda r, g, d: (cosine_of(r, g), smoothed(r, g, d) if r.any() and g.any() else r),
        "有零向量时，余弦记 0 对了，滑动梯度却也成了 0：它照样更新。": lambda r, g, d: (cosine_of(r, g), smoothed(r, g, d) * bool(r.any() and g.any())),
    },
    praise="先比，再平均；有一个是零向量时记 0。",
    outputs=("余弦", "新的滑动梯度"),
)  # fmt: skip
