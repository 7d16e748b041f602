"""第 4 章的实验、图和练习检查。"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import lecun_normal, normal, orthogonal

from ppo_lib.config import PPOConfig
from ppo_lib.course.exercises import AnswerExercise, FunctionExercise, Number, Shape
from ppo_lib.course.exercises.sameness import Close, SameShape
from ppo_lib.course.experiment import Experiment
from ppo_lib.envs import make_env, make_observe
from ppo_lib.loss import ppo_loss
from ppo_lib.networks.cpu import dot_general
from ppo_lib.networks.mlp import dense
from ppo_lib.plotting.flow import arrow, box
from ppo_lib.plotting.style import COLORS, INK, new_figure
from ppo_lib.rollout import collect_rollout, reset_envs
from ppo_lib.training import init_state, make_batch, make_network, update_once

# ---------------------------------------------------------------- 换一种初始化


def with_actor_gain(gain: float):
    """除了策略头的增益改成 gain，其余与库里的 ``dense`` 相同。"""

    def changed(width: int, library_gain: float, name: str) -> nn.Dense:
        return dense(width, gain if name == "actor_head" else library_gain, name)

    return changed


def with_kernel_init(init):
    """隐藏层换一种初始化（``init`` 是 flax 的初始化函数）；两个头不变。"""

    def changed(width: int, gain: float, name: str) -> nn.Dense:
        if name.endswith("_head"):
            return dense(width, gain, name)
        return nn.Dense(width, kernel_init=init, dot_general=dot_general, name=name)

    return changed


DENSE = "ppo_lib.networks.mlp.dense"
"""要换掉的函数。"""


# ---------------------------------------------------------------- 过拟合


def init_with_held_out(seed, hyper, *, cfg, env, network):
    """初始的训练状态，环境多一倍：前一半用来学；后一半留作检查，从不参与学习，起点另抽。"""
    state = init_state(seed, hyper, cfg=cfg, env=env, network=network)
    held_out = reset_envs(spare_key(state, cfg, 2), env, cfg.num_envs)
    return state._replace(env=jax.tree.map(join, state.env, held_out))


def update_and_compare(state, hyper, *, cfg, env, network):
    """照常用前一半环境做一次更新，再看学到的东西在没见过的数据上还成不成立。

    后一半环境由同样的（更新前的）策略走同样多步，走自己的路，得到没见过的一批。指标里多出四个，
    都在更新之后算：
    ``seen_error``、``fresh_error``：Critic 的均方误差除以学习目标的方差，在学过的和没见过的这一批上；
    ``seen_gain``、``fresh_gain``：r·A 的平均（A 标准化过，学之前是 0），在学过的和没见过的这一批上。
    """
    own = jax.tree.map(lambda x: x[: cfg.num_envs], state.env)
    held_out = jax.tree.map(lambda x: x[cfg.num_envs :], state.env)
    after, metrics = update_once(
        state._replace(env=own), hyper, cfg=cfg, env=env, network=network
    )
    # 学过的那一批：update_once 里的那把钥匙，同样的环境，再采一遍，一模一样。
    own_key = jax.random.split(jax.random.fold_in(state.key, state.update))[0]

    def look(carry, key):
        carry, rollout, _ = collect_rollout(
            state.params, carry, key, hyper,
            network=network, env=env, num_steps=cfg.num_steps,
        )  # fmt: skip
        batch = make_batch(rollout, hyper, cfg)
        pi, value = network.apply(after.params, batch.obs)
        ratio = jnp.exp(pi.log_prob(batch.action) - batch.log_prob)
        advantage = batch.advantage - batch.advantage.mean()
        gain = (ratio * advantage).mean() / (batch.advantage.std() + 1e-8)
        error = ((value - batch.target) ** 2).mean() / (batch.target.var() + 1e-8)
        return carry, error, gain

    _, seen_error, seen_gain = look(own, own_key)
    held_out, fresh_error, fresh_gain = look(held_out, spare_key(state, cfg, 1))
    after = after._replace(env=jax.tree.map(join, after.env, held_out))
    metrics |= dict(seen_error=seen_error, fresh_error=fresh_error)
    return after, metrics | dict(seen_gain=seen_gain, fresh_gain=fresh_gain)


def spare_key(state, cfg: PPOConfig, block: int) -> jax.Array:
    """训练自己从不用的钥匙：它 fold_in 的是 0 到 num_updates - 1，这里从 block × num_updates 起。"""
    return jax.random.fold_in(state.key, block * cfg.num_updates + state.update)


def join(own, held_out):
    """两半环境接在一起：(num_envs, ...) 两份 → (2 num_envs, ...)。"""
    return jnp.concatenate([own, held_out])


HELD_OUT = {
    "ppo_lib.training.init_state": init_with_held_out,
    "ppo_lib.training.update_once": update_and_compare,
}
"""要换掉的两个函数。"""


# ---------------------------------------------------------------- 画出参数


def num_params(tree) -> int:
    """一棵树里一共多少个数。"""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def plot_params(params, title: str = ""):
    """把网络的参数画成一条条流水线，返回 figure。

    每个框是一层，写着它的名字、权重和偏置的形状、参数的个数，都取自 params。
    """
    layers = params["params"]
    shared = "shared_0" in layers
    rows = {"actor": 1.0, "critic": -1.0}
    fig, ax = new_figure(8.4, 3.1)
    ax.set(xlim=(-0.2, 11.8), ylim=(-2.1, 2.3))
    ax.axis("off")
    obs_dim = layers["shared_0" if shared else "actor_0"]["kernel"].shape[0]
    ax.text(0.5, 0, f"观测\n({obs_dim},)", ha="center", va="center")
    trunks = {"shared": 0.0} if shared else rows
    depth = sum(name.startswith(next(iter(trunks))) and "head" not in name for name in layers)
    for trunk, y in trunks.items():
        color = {"shared": COLORS[2], "actor": COLORS[0], "critic": COLORS[1]}[trunk]
        arrow(ax, (0.95, 0.1 * np.sign(y)), (1.42, y))
        for i in range(depth):
            x = 2.6 + 2.75 * i
            draw_layer(ax, x, y, f"{trunk}_{i}", layers[f"{trunk}_{i}"], color)
            end = (x + 1.56, y)
            if i < depth - 1:
                arrow(ax, (x + 1.2, y), end)
            for head in rows if shared and i == depth - 1 else ():
                arrow(ax, (x + 1.2, y), (x + 1.56, rows[head]))
            if not shared and i == depth - 1:
                arrow(ax, (x + 1.2, y), end)
    for (name, y), color in zip(rows.items(), COLORS):
        x = 2.6 + 2.75 * depth
        draw_layer(ax, x, y, f"{name}_head", layers[f"{name}_head"], color)
        width = layers[f"{name}_head"]["kernel"].shape[1]
        label = f"logits\n({width},)" if name == "actor" else "价值\n()"
        arrow(ax, (x + 1.2, y), (x + 1.65, y))
        ax.text(x + 2.15, y, label, ha="center", va="center")
    ax.text(5.8, 2.1, f"{title}一共 {num_params(params):,} 个参数", ha="center", va="center")
    return fig


def draw_layer(ax, x, y, name, layer, color) -> None:
    """一层一个框。"""
    box(ax, x, y + 0.05, "", "", color, width=2.3, height=1.35)
    kernel, bias = layer["kernel"].shape, layer["bias"].shape
    ax.text(x, y + 0.45, name, ha="center", va="center", fontsize=10, color=INK)
    text = f"kernel {kernel}\nbias {bias}\n{num_params(layer):,} 个"
    ax.text(x, y - 0.18, text, ha="center", va="center", fontsize=8.5, linespacing=1.35)


# ---------------------------------------------------------------- 初值，和梯度


def signal_and_gradient(init, activation, depth: int = 10, width: int = 64, seed: int = 0):
    """随机的输入穿过 depth 层，再把随机的梯度从输出传回来，各层有多大（均方根）。

    Returns:
        (信号 (depth + 1,)，梯度 (depth + 1,))。信号的第 k 个是穿过 k 层之后；梯度的第 k 个是往回传了
        k 层之后，除以输出处的。
    """
    x_key, out_key, *keys = jax.random.split(jax.random.key(seed), depth + 2)
    kernels = [init(key, (width, width), jnp.float32) for key in keys]
    x = jax.random.normal(x_key, (256, width))
    out = jax.random.normal(out_key, (256, width))

    def forward(nudges):
        """nudges (depth + 1, 256, width) 加在每一层的输出上，全是 0；对它求导，就得到各层的梯度。"""
        layers = [x + nudges[0]]
        for kernel, nudge in zip(kernels, nudges[1:]):
            layers.append(activation(layers[-1] @ kernel) + nudge)
        return (layers[-1] * out).sum(), jnp.stack(layers)

    gradient, layers = jax.grad(forward, has_aux=True)(jnp.zeros((depth + 1, *x.shape)))
    signal, back = (jnp.sqrt((h**2).mean(axis=(1, 2))) for h in (layers, gradient[::-1]))
    return np.asarray(signal), np.asarray(back / back[0])


def gradient_sizes(cfg: PPOConfig, params) -> dict[str, np.ndarray]:
    """两项损失各自给第一个共用层的梯度有多长：采一批，在走第一步之前。

    Args:
        cfg: 主干共用的配置。
        params: 几个种子的参数，叶子 (seeds, ...)。

    Returns:
        ``policy``（策略损失的）和 ``value``（c₁ × 价值损失的），各 (seeds,)。
    """
    env = make_env(cfg)
    network, hyper = make_network(cfg, env), cfg.hyperparams()
    options = dict(
        network=network, advantage_norm=cfg.advantage_norm, clip_value=cfg.clip_value
    )

    def one_seed(params, key):
        reset_key, key = jax.random.split(key)
        _, rollout, _ = collect_rollout(
            params, reset_envs(reset_key, env, cfg.num_envs), key, hyper,
            network=network, env=env, num_steps=cfg.num_steps,
        )  # fmt: skip
        batch = make_batch(rollout, hyper, cfg)

        def gradient(vf_coef):
            only = hyper._replace(vf_coef=vf_coef, ent_coef=0.0)
            grad = jax.grad(ppo_loss, has_aux=True)(params, batch, only, **options)[0]
            return grad["params"]["shared_0"]["kernel"]

        policy = gradient(0.0)
        return jnp.linalg.norm(policy), jnp.linalg.norm(gradient(hyper.vf_coef) - policy)

    keys = jax.random.split(jax.random.key(1000), len(jax.tree.leaves(params)[0]))
    policy, value = jax.jit(jax.vmap(one_seed))(params, keys)
    return {"policy": np.asarray(policy), "value": np.asarray(value)}


PLANE = np.stack(
    np.meshgrid(np.linspace(-1.2, 0.6, 61), np.linspace(-0.07, 0.07, 41), indexing="ij"),
    axis=-1,
).astype(np.float32)
"""(61, 41, 2) MountainCar 的全部观测（位置、速度），取成网格。"""


def values_on_plane(cfg: PPOConfig, params) -> np.ndarray:
    """几个种子的 Critic 在 ``PLANE`` 上的值：params 的叶子 (seeds, ...) → (seeds, 61, 41)。"""
    network = make_network(cfg, make_env(cfg))
    env, env_params = gymnax.make(cfg.env_name)
    observe = make_observe(env.observation_space(env_params), cfg.obs_scaling)
    scaled = jax.vmap(jax.vmap(observe))(PLANE)
    return np.asarray(jax.vmap(lambda p: network.apply(p, scaled)[1])(params))


def initial_params(cfg: PPOConfig, num_seeds: int):
    """几个种子的初值，叶子 (num_seeds, ...)。"""
    env = make_env(cfg)
    network, obs = make_network(cfg, env), jnp.zeros(env.obs_dim)
    return jax.vmap(lambda s: network.init(jax.random.key(s), obs))(jnp.arange(num_seeds))


# ---------------------------------------------------------------- 实验

CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=10)
MOUNTAIN = PPOConfig(
    env_name="MountainCar-v0",
    total_timesteps=1_000_000,
    num_seeds=10,
    activation="tanh",
    ent_coef=0.05,
)
WIDTHS = (8, 64, 512)
GAPS = ("seen_error", "fresh_error", "seen_gain", "fresh_gain")

EXPERIMENTS = {
    "init": Experiment(
        CARTPOLE,
        {
            name: {}
            for name in ("策略头 0.01", "策略头 1", "策略头 10", "LeCun 正态", "太小", "太大")
        },
        metrics=("return", "entropy"),
        points=24,
        patches={
            "策略头 1": {DENSE: with_actor_gain(1.0)},
            "策略头 10": {DENSE: with_actor_gain(10.0)},
            "LeCun 正态": {DENSE: with_kernel_init(lecun_normal())},
            "太小": {DENSE: with_kernel_init(normal(0.01))},
            "太大": {DENSE: with_kernel_init(normal(1.0))},
        },
    ),
    "trunk": Experiment(
        CARTPOLE,
        {
            f"{name}，{vf_coef:g}": dict(shared_trunk=shared, vf_coef=vf_coef)
            for name, shared in (("分开", False), ("共用", True))
            for vf_coef in (0.5, 0.05, 0.005, 0.0005)
        },
        points=24,
    ),
    "mountain": Experiment(
        MOUNTAIN,
        {
            "tanh": {},
            "relu": dict(activation="relu"),
            "tanh，共用": dict(shared_trunk=True),
            "tanh，宽 8": dict(hidden_sizes=(8, 8)),
            "tanh，缩放观测": dict(obs_scaling="bounds"),
            "relu，缩放观测": dict(obs_scaling="bounds", activation="relu"),
            "tanh，策略头 1": {},
        },
        metrics=("return", "entropy"),
        points=24,
        patches={"tanh，策略头 1": {DENSE: with_actor_gain(1.0)}},
    ),
    "width": Experiment(
        CARTPOLE,
        {str(width): dict(hidden_sizes=(width, width)) for width in WIDTHS},
        metrics=("return", *GAPS),
        points=24,
        patches={str(width): HELD_OUT for width in WIDTHS},
    ),
    "activation": Experiment(
        CARTPOLE,
        {
            "relu": {},
            "tanh": dict(activation="tanh"),
            "tanh，共用": dict(activation="tanh", shared_trunk=True),
        },
        points=24,
    ),
    "small": Experiment(
        dataclasses.replace(CARTPOLE, total_timesteps=500_000, hidden_sizes=(8, 8)),
        {"relu": {}, "tanh": dict(activation="tanh")},
        points=24,
    ),
}


# ---------------------------------------------------------------- 练习


def layer_sizes(sizes) -> int:
    """一串宽度连成的全连接层，一共多少个参数。"""
    return sum(a * b + b for a, b in zip(sizes[:-1], sizes[1:]))


def count_params(obs_dim, num_actions, hidden_sizes):
    """两条主干分开时，网络一共多少个参数。"""
    actor = layer_sizes((obs_dim, *hidden_sizes, num_actions))
    critic = layer_sizes((obs_dim, *hidden_sizes, 1))
    return actor + critic


def size_inputs(rng):
    """隐藏层一到四层，宽度相同的、不同的。"""
    yield from (
        (6, 3, (32,)),
        (2, 3, (64, 64)),
        (4, 2, (8, 16, 8)),
        (3, 5, (4, 6, 5, 7)),
        (4, 2, (5, 5, 5)),
    )
    for depth in (1, 2):
        obs_dim, num_actions, *hidden = map(int, rng.integers(2, 30, depth + 2))
        yield obs_dim, num_actions, tuple(hidden)


check_num_params = FunctionExercise(
    "练习 4.1：两条主干分开时，网络一共多少个参数",
    count_params,
    size_inputs,
    {
        "偏置忘了：每层还有与输出一样多的偏置。": lambda o, a, h: count_params(o, a, h) - 2 * sum(h) - a - 1,
        "偏置的个数与一层的输出一样多，不是与输入一样多。": lambda o, a, h: count_params(o, a, h) + 2 * o - a - 1,
        "这只是 Actor 那一条；Critic 另有一条。": lambda o, a, h: layer_sizes((o, *h, a)),
        "这只是 Critic 那一条；Actor 另有一条。": lambda o, a, h: layer_sizes((o, *h, 1)),
        "你让两边共用了主干。默认是两条分开的主干，各有一份隐藏层。": lambda o, a, h: count_params(o, a, h) - layer_sizes((o, *h)),
        "两个头忘了：策略头输出 num_actions 个数，价值头输出 1 个。": lambda o, a, h: 2 * layer_sizes((o, *h)),
        "Critic 的头只输出 1 个数，不是 num_actions 个。": lambda o, a, h: 2 * layer_sizes((o, *h, a)),
        "第一层忘了：它的输入是观测，obs_dim 个数。": lambda o, a, h: layer_sizes((*h, a)) + layer_sizes((*h, 1)),
        "你把各个隐藏层当成一样宽了。": lambda o, a, h: count_params(o, a, h[:1] * len(h)),
        "偏置少了：一层的每个输出各有一个，不是一层一个。": lambda o, a, h: count_params(o, a, h) - 2 * sum(h) - a - 1 + 2 * (len(h) + 1),
        "你只用了第一个和最后一个隐藏层；hidden_sizes 有几层，就要算几层。": lambda o, a, h: count_params(o, a, (h[0], h[-1])),
        "两个头的偏置忘了：策略头有 num_actions 个，价值头有 1 个。": lambda o, a, h: count_params(o, a, h) - a - 1,
        "只有一头少了偏置：两条线的每一层都有。": lambda o, a, h: count_params(o, a, h) - 1,
        "两条都照 Critic 算了：Actor 的头输出 num_actions 个数。": lambda o, a, h: 2 * layer_sizes((o, *h, 1)),
    },
    praise="隐藏层一层到四层、宽度相同或不同的，都对。",
    returns="参数的个数，一个整数",
)  # fmt: skip


def logits_inputs(rng):
    """logits 有上千的、差得远的、全相同的；个数各不相同。"""
    yield np.array([[2.0, 1, 0], [0, 0, 0], [1, -1, 3], [1002, 1000, 1001]])
    yield np.array([[-1000.0, -1002], [0.5, 0]])
    yield np.array([[0.0, 1000, -1000], [0.5, 2.5, -1], [-2, 0, 1.5]])
    for shape in ((1, 5), (3, 3), (4, 3)):
        yield rng.normal(0, 2, shape).round(1)


def action_inputs(rng):
    """再给每行一个动作；差得远的那一行，选概率最小的。"""
    for logits in logits_inputs(rng):
        action = rng.integers(logits.shape[1], size=len(logits))
        yield logits, np.where(np.ptp(logits, axis=1) > 1000, logits.argmin(axis=1), action)


def chosen(table, action):
    """每一行取出选了的那一个：(batch, num_actions) → (batch,)。"""
    return table[jnp.arange(len(action)), action]


def log_prob_of(logits, action):
    """选了的动作的对数概率：logits (batch, num_actions)，action (batch,) → (batch,)。"""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_prob = shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True))
    return chosen(log_prob, action)


def naive_softmax(logits):
    """照着公式写，没有先减最大值。"""
    return jnp.exp(logits) / jnp.exp(logits).sum(axis=-1, keepdims=True)


check_log_prob = FunctionExercise(
    "练习 4.2：由 logits 和动作算对数概率",
    log_prob_of,
    action_inputs,
    {
        "这是概率；再取对数。（最好不要先算概率：直接用 logits 减去对数和。）": lambda z, a: chosen(jax.nn.softmax(z), a),
        "这是 logit 本身，还没有减去 ln Σ exp(logits)。": chosen,
        "符号反了：对数概率不大于 0。": lambda z, a: -log_prob_of(z, a),
        "logits 小的都对；上千的，exp(1000) 溢出了。先每行减去最大值，或者用 jax.nn.log_softmax。": lambda z, a: jnp.log(chosen(naive_softmax(z), a)),
        "logits 小的都对；上千的溢出了：算 ln Σ exp(logits) 时，也要先减去最大值，再加回来。": lambda z, a: chosen(z, a) - jnp.log(jnp.exp(z).sum(-1)),
        "减去的是整批的最大值；别的行就太小，取指数成了 0。每行减去自己的最大值。": lambda z, a: jnp.log(chosen(naive_softmax(z - z.max()), a)),
        "概率小的那几个成了 -inf：要么你先算了概率再取对数，概率小到 float32 装不下就成了 0；要么减去的不是每行的最大值，指数溢出了。直接由 logits 减出来。": lambda z, a: jnp.log(chosen(jax.nn.softmax(z), a)),
        "归一化的轴错了：应当沿动作（最后一维）求和，你沿样本求了和。": lambda z, a: chosen(jax.nn.log_softmax(z, axis=0), a),
        "你返回了每个动作的；这里只要选了的那一个，形状 (batch,)。": lambda z, a: jax.nn.log_softmax(z),
        "形状成了 (batch, batch)：x[:, action] 会让每一行都取遍所有的动作。用 x[jnp.arange(batch), action] 一行取一个。": lambda z, a: jax.nn.log_softmax(z)[:, a],
        "你求了平均。要一个样本一个数，形状 (batch,)。": lambda z, a: log_prob_of(z, a).mean(),
        "你求了和。要一个样本一个数，形状 (batch,)。": lambda z, a: log_prob_of(z, a).sum(),
        "你没有用 action，取的是概率最大的动作的。": lambda z, a: jax.nn.log_softmax(z).max(-1),
        "底错了：这是以 2 为底的对数，要自然对数。": lambda z, a: log_prob_of(z, a) / np.log(2),
        "你对整批归一化了：减的是所有数的 ln Σ exp。每一行各求各的。": lambda z, a: chosen(z, a) - jax.nn.logsumexp(z),
        "概率小的那几个，对数里加的小量盖过了概率：不要先算概率，直接由 logits 减出来。": lambda z, a: jnp.log(chosen(jax.nn.softmax(z), a) + 1e-8),
        "减去最大值之后，分母里也要用减过的：现在只有分子减了。": lambda z, a: chosen(z, a) - z.max(-1) - jnp.log(jnp.exp(z).sum(-1)),
        "数都对，形状成了 (batch, 1)：再 squeeze(-1)，或者取 [:, 0]。": lambda z, a: log_prob_of(z, a)[:, None],
        "编号错了一位：动作从 0 数，不用加 1。": lambda z, a: chosen(jax.nn.log_softmax(z), (a + 1) % z.shape[1]),
        "每一行都取了第 0 行的：第 i 个动作要在第 i 行里取。": lambda z, a: jax.nn.log_softmax(z)[0, a],
        "只减了最大值，还没有减去 ln Σ exp：减最大值只是防溢出。": lambda z, a: chosen(z, a) - z.max(-1),
        "这是 logit 除以 logit 的和；要先取指数，再除，再取对数。": lambda z, a: chosen(z, a) / z.sum(-1),
    },
    praise="每组都对，logits 上千的、概率小到装不下的也对。",
    returns="选了的动作的对数概率，形状 (batch,)",
    close=Close(atol=1e-3),  # logits 上千时，float32 只准到 1e-4
    jax_arrays=True,
)  # fmt: skip


def entropy_of(logits):
    """熵：logits (batch, num_actions) → (batch,)，单位 nat。"""
    log_prob = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_prob) * log_prob).sum(axis=-1)


def entropy_terms(log_prob):
    """熵的各项，还没有求和，形状不变。"""
    return -jnp.exp(log_prob) * log_prob


check_entropy = FunctionExercise(
    "练习 4.3：由 logits 算熵",
    entropy_of,
    lambda rng: zip(logits_inputs(rng)),
    {
        "符号反了：熵不小于 0。": lambda z: -entropy_of(z),
        "你用了以 2 为底的对数，单位成了比特；这里用自然对数，单位 nat。": lambda z: entropy_of(z) / np.log(2),
        "每一项还要乘上它的概率：熵是 -ln p 的期望。": lambda z: -jax.nn.log_softmax(z).sum(-1),
        "沿动作应当求和，你求了平均。": lambda z: entropy_of(z) / z.shape[1],
        "你除以了 ln(动作的个数)，成了 0 到 1 的比例；这里要熵本身。": lambda z: entropy_of(z) / np.log(z.shape[1]),
        "你把整批加起来了。要一个样本一个数，形状 (batch,)；求和只沿最后一维。": lambda z: entropy_of(z).sum(),
        "你对整批求了平均。要一个样本一个数，形状 (batch,)。": lambda z: entropy_of(z).mean(),
        "每个动作的一项对了；再沿动作（最后一维）求和。": lambda z: entropy_terms(jax.nn.log_softmax(z)),
        "归一化的轴错了：softmax 要沿动作（最后一维），你沿了样本。": lambda z: entropy_terms(jax.nn.log_softmax(z, axis=0)).sum(-1),
        "logits 小的都对；上千的，exp(1000) 溢出了。用 jax.nn.log_softmax 先求对数概率。": lambda z: entropy_terms(jnp.log(naive_softmax(z))).sum(-1),
        "概率小到成了 0，0 × ln 0 是 NaN。用 jax.nn.log_softmax 直接求对数概率，就没有 ln 0。": lambda z: entropy_terms(jnp.log(jax.nn.softmax(z))).sum(-1),
        "你沿样本求了和；softmax 的轴是对的，求和也要沿动作（最后一维）。": lambda z: entropy_terms(jax.nn.log_softmax(z)).sum(0),
        "p 乘的是 logits；要乘对数概率，即 logits 减去 ln Σ exp(logits)。": lambda z: -(jax.nn.softmax(z) * z).sum(-1),
    },
    praise="每组都对；三个动作一样可能的那一行是 ln 3 ≈ 1.099，三个动作里最大的。",
    returns="一个样本一个数，形状 (batch,)",
    close=Close(atol=1e-3),
    jax_arrays=True,
)  # fmt: skip


check_shape_bug = AnswerExercise(
    "练习 4.4：忘了 squeeze 时，差的形状和价值损失",
    {
        "差的形状": Shape((3, 3), {
            **dict.fromkeys(((3,), (3, 1)), "广播从最后一维对起：(3, 1) 和 (3,) 相减，后者先当成 (1, 3)。"),
            (1, 3): "两边都要扩开：(3, 1) 的列和 (1, 3) 的行。",
        }, "在纸上写：(3, 1) 减 (1, 3)，长度是 1 的那一维照着对方复制。"),
        "损失": Number(2 / 3, {
            0: "这样一来，第 i 个价值减的是每一个 target，不只是自己的。",
            4 / 3: "价值损失里还有一个 1/2。",
            6: "要平均，不是求和：除以 9。",
            12: "要平均，不是求和，还有一个 1/2：除以 9，再除以 2。",
            2: "一共有 9 个差，平均要除以 9，不是除以 3。",
        }, "把 3 × 3 个差写出来：0 有三个，±1 有四个，±2 有两个。平方，平均，再乘 1/2。"),
    },
    praise="预测得一点不差，损失却不是 0，而且不报错。这就是要 squeeze 的原因。",
)  # fmt: skip


SHAPES = ((1, 4), (5, 3), (3, 5), (4, 4))


def matrix_inputs(rng):
    """各种形状，增益各不相同。"""
    for (rows, cols), gain in zip(SHAPES, (1.0, np.sqrt(2), 0.01, 3.0)):
        yield jax.random.key(int(rng.integers(1000))), rows, cols, gain


def orthogonal_matrix(key, rows, cols, gain):
    """正交初始化：(rows, cols)，短的一边互相垂直、长度都是 gain。"""
    return orthogonal(gain)(key, (rows, cols))


def draw(init, shape, gain=1.5, seed=7):
    """读者的函数给出的 W，和它沿短边的内积：(min(rows, cols), min(rows, cols))。"""
    W = np.asarray(init(jax.random.key(seed), *shape, gain), float)
    return W, W.T @ W if shape[0] >= shape[1] else W @ W.T


def perpendicular(shape):
    """规则：短边的各个向量互相垂直。"""

    def rule(init):
        _, products = draw(init, shape)
        size = np.diag(products).max()
        return np.abs(products - np.diag(np.diag(products))).max() < 1e-4 * size

    return rule


def right_length(init):
    """规则：短边的各个向量，长度都是 gain。"""
    return all(
        np.allclose(np.diag(draw(init, shape, gain)[1]) / gain**2, 1, atol=1e-3)
        for shape in SHAPES
        for gain in (0.01, np.sqrt(2), 3.0)
    )


def same_matrix(init, *, gains=(1.5, 1.5), seeds=(7, 7)) -> bool:
    """两次得到的 W 是不是相同。"""
    one, other = (draw(init, (5, 3), gain, seed)[0] for gain, seed in zip(gains, seeds))
    return np.allclose(one, other, rtol=1e-4, atol=1e-6)


check_orthogonal = FunctionExercise(
    "练习 4.5：写出正交初始化",
    orthogonal_matrix,
    matrix_inputs,
    {
        "宽的没有另外处理：QR 分解的 Q 是 (rows, min(rows, cols))。宽的，先做一个 (cols, rows) 的，再转置。": lambda key, rows, cols, gain: jnp.zeros((rows, min(rows, cols))),
        "这是 R 的形状；QR 分解里互相垂直的是 Q。": lambda key, rows, cols, gain: jnp.zeros((min(rows, cols), cols)),
    },
    praise="高的、方的、宽的都对，增益和钥匙也都用上了。",
    returns="矩阵 W，形状 (rows, cols)",
    describe=lambda case: "rows = {}、cols = {}、gain = {:.4g}".format(*case[1:]),
    close=SameShape(),  # W 不止一个，别的全靠下面的规则
    rules={
        "高的 W（rows > cols）不对：各列要互相垂直。独立的随机数只是大致垂直，要用 QR 分解之类的办法变成恰好垂直。": perpendicular((5, 3)),
        "方的 W（rows = cols）不对：各列要互相垂直。": perpendicular((4, 4)),
        "宽的 W（rows < cols）不对：rows 维的空间里放不下 cols 个互相垂直的列，要垂直的是各行。先做一个高的，再转置。": perpendicular((3, 5)),
        "gain 没有起作用：换一个 gain，W 还是一样大。": lambda init: not same_matrix(init, gains=(1.5, 2.5)),
        "方向对了，长度不对：短边的每个向量，长度要恰好是 gain。W 只乘一次 g，WᵀW 里才是 g²。": right_length,
        "同一把钥匙，两次得到的 W 不同：随机数要全由 key 来，不用 np.random。": same_matrix,
        "换一把钥匙，W 还是同一个：随机数要由 key 来。": lambda init: not same_matrix(init, seeds=(7, 8)),
    },
    remarks={
        "提醒：换什么钥匙，W[0, 0] 的正负号都一样，因为 QR 分解定死了它。把 Q 的每一列乘上 R 对角线上那个数的正负号，各个方向才一样可能。": lambda init: len({draw(init, (5, 3), seed=s)[0][0, 0] > 0 for s in range(12)}) == 2,
    },
)  # fmt: skip


check_shared_trunk = AnswerExercise(
    "练习 4.6：两项损失给共用的主干多长的梯度",
    {
        "策略的梯度多长": Number(0.075, {
            30: "30 是价值的梯度；两个写反了。",
            0.025: "漏乘了优势 Â = 3。",
            0.0375: "要的是 ln π(a) 的导数；这像是 π(a) 的，多乘了一个 1/2。",
            0.06: "ln π(a) 对 logits 的导数是 e_a 减 π；你漏了 π。",
            0.015: "ln π(a) 对 logits 的导数是 e_a 减 π；你漏了 e_a。",
            1.5: "这是对 logits 的梯度的一个分量；往回传，还要乘策略头的权重。",
            1.5 * np.sqrt(2): "这是对 logits 的梯度；往回传，还要乘策略头的权重。",
            0.105: "长度是各个分量的平方和再开方，不是相加。",
            0.005625: "还要开方。",
        }, "先算 logits 和两个动作的概率，再求 -Â·ln π(a) 对 logits 的导数，往回乘策略头的权重。"),
        "价值的梯度多长": Number(30, {
            0.075: "0.075 是策略的梯度；两个写反了。",
            60: "漏了 c₁ = 0.5。（平方的导数里的 2，与 1/2 抵消。）",
            15: "多乘了 1/2：它与平方的导数里的 2 抵消了。",
            900: "这是损失；要的是它对 h 的梯度的长度。",
            42: "长度是各个分量的平方和再开方，不是相加。",
            0: "V = 0，可是 V - R̂ 不是 0。",
        }, "梯度是 c₁ (V - R̂) 乘价值头的权重。"),
        "c₁ = 0.005 时的倍数": Number(4, {
            400: "这是 c₁ = 0.5 时的倍数。",
            40_000: "反了：c₁ 小了，价值的梯度就短了。",
            40: "0.005 是 0.5 的百分之一。",
            1 / 4: "上下颠倒了：问的是价值的是策略的几倍。",
        }, "价值的梯度与 c₁ 成正比，策略的与它无关。"),
        "策略头乘 10 时的倍数": Number(40, {
            400: "策略的梯度要往回乘策略头的权重，权重大了，它也长了。",
            4000: "反了：策略头大了，策略的梯度就长了。",
            1 / 40: "上下颠倒了：问的是价值的是策略的几倍。",
            0.4: "两种改法分开算：这里 c₁ 仍是 0.5。",
            4: "只乘 10，不是 100；c₁ 仍是 0.5。",
        }, "h 与策略头的两列都垂直，所以 logits 还是 0，概率没有变；变的是往回乘的权重。"),
    },
    praise="c₁ 管分子，策略头的大小管分母。这两项的方向又正好相反：合起来，主干是照着 Critic 动的。",
)  # fmt: skip
