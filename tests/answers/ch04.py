"""第 4 章的答案。"""

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib.course.ch04 import layer_sizes, num_params
from ppo_lib.networks import ActorCriticDiscrete


def by_init(obs_dim, num_actions, hidden_sizes):
    network = ActorCriticDiscrete(num_actions, tuple(hidden_sizes))
    return num_params(jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(obs_dim)))


def by_formula(features, actions, hidden):
    return 2 * layer_sizes((features, *hidden)) + (hidden[-1] + 1) * (actions + 1)


def two_layers(obs_dim, num_actions, hidden_sizes):
    a, b = hidden_sizes
    return layer_sizes((obs_dim, a, b, num_actions)) + layer_sizes((obs_dim, a, b, 1))


def pick(x, action):
    return x[jnp.arange(len(action)), action]


def one_by_one(logits, action):
    """NumPy 的循环，得到一个列表。"""
    found = []
    for z, a in zip(np.asarray(logits, float), np.asarray(action)):
        z = z - z.max()
        found.append(z[a] - np.log(np.exp(z).sum()))
    return found


def entropy_in_numpy(z):
    z = np.asarray(z, np.float64)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(1)


def by_svd(key, rows, cols, gain):
    u, _, v = jnp.linalg.svd(jax.random.normal(key, (rows, cols)), full_matrices=False)
    return gain * u @ v


def cut_from_a_square(key, rows, cols, gain):
    q, r = jnp.linalg.qr(jax.random.normal(key, (max(rows, cols),) * 2))
    return gain * (q * jnp.sign(jnp.diag(r)))[:rows, :cols]


def by_gram_schmidt(key, rows, cols, gain):
    """一个一个减去在前面的方向上的投影。"""
    found = []
    for v in np.asarray(jax.random.normal(key, (min(rows, cols), max(rows, cols))), float):
        for _ in range(2):
            for u in found:
                v = v - (v @ u) * u
        found.append(v / np.linalg.norm(v))
    W = gain * np.array(found)
    return W.T if rows >= cols else W


def plain_qr(key, rows, cols, gain):
    q, _ = jnp.linalg.qr(jax.random.normal(key, (max(rows, cols), min(rows, cols))))
    return gain * (q if rows >= cols else q.T)


def from_numpy(key, rows, cols, gain):
    q, _ = np.linalg.qr(np.random.normal(size=(max(rows, cols), min(rows, cols))))
    return gain * (q if rows >= cols else q.T)


def normal(key, rows, cols, gain):
    return gain * jax.random.normal(key, (rows, cols)) / np.sqrt(max(rows, cols))


def only_columns(key, rows, cols, gain):
    """宽的也想让各列垂直，余下的列填 0。"""
    q = plain_qr(key, rows, min(rows, cols), gain)
    return jnp.pad(q, ((0, 0), (0, max(cols - rows, 0)))).at[:, -1].add(0.1 * (cols > rows))


def trunk(coef=0.5, scale=1):
    h = jnp.array([0.8, -0.6])
    policy_head = scale * jnp.array([[0.018, -0.012], [0.024, -0.016]])
    value_head = jnp.array([0.6, 0.8])
    policy = jax.grad(lambda h: -3 * distrax.Categorical(logits=h @ policy_head).log_prob(1))(h)
    value = jax.grad(lambda h: coef * 0.5 * (h @ value_head - 60) ** 2)(h)
    return float(jnp.linalg.norm(policy)), float(jnp.linalg.norm(value))


def times(policy, value):
    return value / policy


by_grad = (*trunk(), times(*trunk(coef=0.005)), times(*trunk(scale=10)))

RIGHT = {
    "check_num_params": [
        by_init,
        by_formula,
        lambda o, a, h: np.int64(by_formula(o, a, h)),
        lambda o, a, h: float(by_formula(o, a, h)),
    ],
    "check_log_prob": [
        lambda z, a: distrax.Categorical(logits=z).log_prob(a),
        lambda z, a: pick(jax.nn.log_softmax(z), a),
        lambda z, a: pick(z, a) - jax.scipy.special.logsumexp(z, axis=1),
        lambda z, a: (jax.nn.log_softmax(z) * jax.nn.one_hot(a, z.shape[1])).sum(-1),
        one_by_one,
    ],
    "check_entropy": [
        lambda z: distrax.Categorical(logits=z).entropy(),
        lambda z: jax.scipy.special.entr(jax.nn.softmax(z)).sum(-1),
        entropy_in_numpy,
        lambda logits: [float(x) for x in entropy_in_numpy(logits)],
    ],
    "check_shape_bug": [
        ((3, 3), 2 / 3),
        ([3, 3], 0.667),
        (jnp.zeros((3, 3)).shape, jnp.float32(12 / 18)),
        ((3, 3), "2/3"),
        ((3, 3), 0.67),
    ],
    "check_orthogonal": [by_svd, cut_from_a_square, by_gram_schmidt, plain_qr],
    "check_shared_trunk": [by_grad, (0.075, 30, 4, 40), (["0.075", 30.0, 4, 40],)],
}

REMINDED = {"check_orthogonal": [(plain_qr, "QR 分解定死了它")]}

WRONG = {
    "check_num_params": [
        (lambda o, a, h: 8964, "不管输入是什么"),
        (lambda o, a, h: by_formula(o, a, (64, 64)), "应当是"),
        (two_layers, "组输入里对了 2 组"),
        (lambda o, a, h: print(o), "print"),
        (lambda o, a, h: [by_formula(o, a, h)], "应当是 ()，你的是 (1,)"),
        (lambda o, a, h: [o] + h, "类型不对"),
        (..., "换成你的代码"),
    ],
    "check_log_prob": [
        (
            lambda z, a: (lambda s: s[jnp.arange(len(z)), a] - jnp.log(jnp.exp(s).sum(-1)))(
                z - z[:, :1]
            ),
            "不是每行的最大值",
        ),
        (lambda z, a: pick(jax.nn.log_softmax(2 * z), a), "logits 大了一倍"),
        (lambda z, a: pick(jax.nn.log_softmax(z), a)[:, None], "形状成了 (batch, 1)"),
        (lambda z, a: jax.nn.log_softmax(z)[0], "应当是"),
        (lambda z, a: pick(jax.nn.log_softmax(jnp.clip(z, -50, 50)), a), "应当是"),
        (lambda z, a: z and None, "出错了"),
        (lambda z: z, "你的函数收 1 个"),
    ],
    "check_entropy": [
        (lambda z: jnp.ones(len(z)), "不管输入是什么"),
        (lambda z: np.log(3) * jnp.ones(len(z)), "不管输入是什么"),
        (lambda z: entropy_in_numpy(z)[:, None], "长度是 1 的那一维"),
        (lambda z: entropy_in_numpy(z)[:3], "形状"),
        (lambda z: print(z), "print"),
    ],
    "check_shape_bug": [
        (((9,), 0.0), "照着对方复制"),
        (((3,), 0.0), "最后一维对起"),
        (((3, 3), 0.0), "不只是自己的"),
        (((3, 3), 1.0), "有三个"),
        ((..., 1.0), "换成你的答案"),
    ],
    "check_orthogonal": [
        (normal, "高的 W（rows > cols）不对"),
        (only_columns, "宽的 W（rows < cols）不对"),
        (lambda key, rows, cols, gain: plain_qr(key, rows, cols, 1.0), "gain 没有起作用"),
        (lambda key, rows, cols, gain: plain_qr(key, rows, cols, gain**2), "W 只乘一次 g"),
        (lambda key, rows, cols, gain: plain_qr(key, rows, cols, np.sqrt(gain)), "长度不对"),
        (from_numpy, "np.random"),
        (lambda key, rows, cols, gain: gain * jnp.eye(rows, cols), "换一把钥匙"),
        (lambda *x: plain_qr(jax.random.key(0), *x[1:]), "换一把钥匙"),
        (lambda key, rows, cols, gain: plain_qr(key, cols, rows, gain), "两个轴反了"),
        (
            lambda key, r, c, g: g * jnp.linalg.qr(jax.random.normal(key, (r, c)))[0],
            "宽的没有另外处理",
        ),
        (lambda key, r, c, g: g * jnp.linalg.qr(jax.random.normal(key, (r, c))), "类型不对"),
        (lambda key, rows, cols, gain: jnp.zeros((rows, cols)), "高的 W"),
        (lambda key, rows, cols, gain: jnp.full((rows, cols), jnp.nan), "高的 W"),
        (lambda key, rows, cols, gain: key.shape[5], "下标超出了范围"),
    ],
    "check_shared_trunk": [
        ((0.075, 30, 4, 50), "logits 还是 0"),
        ((1, 30, 4, 40), "往回乘策略头的权重"),
        ((30, 0.075, 4, 40), "两个写反了"),
        ((..., 30, 4, 40), "换成你的答案"),
    ],
}

HARMLESS = {}
