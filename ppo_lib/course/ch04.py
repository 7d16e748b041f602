"""第 4 章的实验、图和练习检查。"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import lecun_normal, normal

from ppo_lib.config import PPOConfig
from ppo_lib.course.experiment import Experiment
from ppo_lib.course.verdict import Mistake, checker
from ppo_lib.envs import make_env
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
    """两项损失各自给第一个共用层的梯度有多长：采一批，只走第一步之前的那一刻。

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
    scaled = PLANE
    if cfg.obs_scaling == "bounds":
        scaled = (PLANE - np.float32([-0.3, 0])) / np.float32([0.9, 0.07])
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


@checker
def check_num_params(count) -> str:
    """练习 4.1：两条主干分开时，网络一共多少个参数。"""
    for obs_dim, actions, hidden in ((6, 3, (32,)), (2, 3, (64, 64)), (4, 2, (8, 16, 8))):
        answer = count(obs_dim, actions, hidden)
        if answer is None:
            raise Mistake("你的函数没有返回值。")
        actor, critic = (layer_sizes((obs_dim, *hidden, out)) for out in (actions, 1))
        trunk = layer_sizes((obs_dim, *hidden))
        biases = 2 * sum(hidden) + actions + 1
        known_wrong = {
            actor + critic - biases: "偏置忘了：每层还有与输出一样多的偏置。",
            actor: "这只是 Actor 那一条；Critic 另有一条。",
            critic: "这只是 Critic 那一条；Actor 另有一条。",
            actor
            + critic
            - trunk: "你让两边共用了主干。默认是两条分开的主干，各有一份隐藏层。",
            2 * trunk: "两个头忘了：策略头输出 num_actions 个数，价值头输出 1 个。",
            2 * actor: "Critic 的头只输出 1 个数，不是 num_actions 个。",
        }
        if answer == actor + critic:
            continue
        asked = f"obs_dim = {obs_dim}、num_actions = {actions}、hidden_sizes = {hidden} 时："
        for wrong, hint in known_wrong.items():
            if answer == wrong:
                raise Mistake(asked + hint)
        raise Mistake(f"{asked}应当是 {actor + critic}，你的是 {answer}。")
    return "三种网络都对，隐藏层有一层、两层、三层的。"


LOGITS = np.array(
    [[2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, -1.0, 3.0], [1002.0, 1000.0, 1001.0]]
)
ACTIONS = np.array([0, 2, 1, 1])


def reference_log_probs() -> np.ndarray:
    """(4, 3) 各个动作的对数概率，用 float64 算。"""
    shifted = LOGITS - LOGITS.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@checker
def check_log_prob(log_prob) -> str:
    """练习 4.2：由 logits (batch, num_actions) 和动作 (batch,) 算对数概率 (batch,)。"""
    answer = log_prob(jnp.asarray(LOGITS, jnp.float32), jnp.asarray(ACTIONS))
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    result = np.asarray(answer, float)
    table, rows = reference_log_probs(), np.arange(4)
    expected = table[rows, ACTIONS]
    if result.shape == (4, 3):
        raise Mistake("你返回了每个动作的；这里只要选了的那一个，形状 (batch,)。")
    if result.shape == (4, 4):
        raise Mistake(
            "形状成了 (batch, batch)：x[:, action] 会让每一行都取遍所有的动作。"
            "用 x[jnp.arange(batch), action] 一行取一个。"
        )
    if result.shape == ():
        raise Mistake("你求了和或平均。要一个样本一个数，形状 (batch,)。")
    if result.shape != (4,):
        raise Mistake(f"形状应当是 (batch,)，这里是 (4,)；你的是 {result.shape}。")
    if np.allclose(result, expected, atol=1e-3):
        return "四行都对，包括 logits 上千的那一行。"
    if np.allclose(result, np.exp(expected), atol=1e-3):
        raise Mistake("这是概率；再取对数。（最好不要先算概率：直接用 logits 减去对数和。）")
    if np.allclose(result, LOGITS[rows, ACTIONS], atol=1e-3):
        raise Mistake("这是 logit 本身，还没有减去 ln Σ exp(logits)。")
    if np.allclose(result, -expected, atol=1e-3):
        raise Mistake("符号反了：对数概率不大于 0。")
    if np.allclose(result[:3], expected[:3], atol=1e-3):
        raise Mistake(
            "前三行对，logits 上千的那一行成了 "
            f"{result[3]:g}：exp(1000) 溢出了。先每行减去最大值，或者用 jax.nn.log_softmax。"
        )
    over_batch = LOGITS - np.log(np.exp(LOGITS - 1002).sum(axis=0)) - 1002
    if np.allclose(result, over_batch[rows, ACTIONS], atol=1e-3):
        raise Mistake("归一化的轴错了：应当沿动作（最后一维）求和，你沿样本求了和。")
    first = int(np.argmax(~np.isclose(result, expected, atol=1e-3)))
    raise Mistake(
        f"logits = {LOGITS[first].tolist()}、动作 {ACTIONS[first]} 时，应当是 {expected[first]:.3f}，"
        f"你的是 {result[first]:.3f}。"
    )


@checker
def check_entropy(entropy) -> str:
    """练习 4.3：由 logits (batch, num_actions) 算熵 (batch,)，单位 nat。"""
    answer = entropy(jnp.asarray(LOGITS, jnp.float32))
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    result = np.asarray(answer, float)
    table = reference_log_probs()
    terms = np.exp(table) * table
    expected = -terms.sum(axis=1)
    if result.shape == ():
        raise Mistake("要一个样本一个数，形状 (batch,)；求和只沿最后一维。")
    if result.shape != (4,):
        raise Mistake(f"形状应当是 (batch,)，这里是 (4,)；你的是 {result.shape}。")
    if np.allclose(result, expected, atol=1e-3):
        return "四行都对；均匀的那一行是 ln 3 ≈ 1.099，三个动作里最大的。"
    known_wrong = [
        (-expected, "符号反了：熵不小于 0。"),
        (
            expected / np.log(2),
            "你用了以 2 为底的对数，单位成了比特；这里用自然对数，单位 nat。",
        ),
        (-table.sum(axis=1), "每一项还要乘上它的概率：熵是 -ln p 的期望。"),
        (-terms.mean(axis=1), "沿动作应当求和，你求了平均。"),
    ]
    for wrong, hint in known_wrong:
        if np.allclose(result, wrong, atol=1e-3):
            raise Mistake(hint)
    if np.allclose(result[:3], expected[:3], atol=1e-3):
        raise Mistake(
            f"前三行对，logits 上千的那一行成了 {result[3]:g}：exp(1000) 溢出了。"
            "用 jax.nn.log_softmax 先求对数概率。"
        )
    raise Mistake("先求各个动作的对数概率 ln p，再算 -Σ p ln p，沿最后一维求和。")


@checker
def check_shape_bug(shape, loss) -> str:
    """练习 4.4：忘了 squeeze 时，value - target 的形状，和算出来的价值损失。"""
    value, target = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    if shape in ((3,), (3, 1)):
        raise Mistake(
            "NumPy 和 JAX 的广播从最后一维对起：(3, 1) 和 (3,) 相减，后者先当成 (1, 3)。"
        )
    if shape == (1, 3):
        raise Mistake("两边都要扩开：(3, 1) 的列和 (1, 3) 的行。")
    if shape != (3, 3):
        raise Mistake("在纸上写：(3, 1) 减 (1, 3)，长度是 1 的那一维照着对方复制。")
    wrong = 0.5 * ((value[:, None] - target) ** 2).mean()
    if np.isclose(float(loss), 0):
        raise Mistake("形状对了。可是这样一来，第 i 个价值减的是每一个 target，不只是自己的。")
    if np.isclose(float(loss), 2 * wrong):
        raise Mistake("价值损失里还有一个 1/2。")
    if np.isclose(float(loss), 9 * wrong):
        raise Mistake("要平均，不是求和：除以 9。")
    if not np.isclose(float(loss), wrong, atol=1e-2):
        raise Mistake(
            "把 3 × 3 个差写出来：0 有三个，±1 有四个，±2 有两个。平方，平均，再乘 1/2。"
        )
    return "预测得一点不差，损失却不是 0，而且不报错。这就是要 squeeze 的原因。"
