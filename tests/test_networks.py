"""ppo_lib/networks：初始化、形状、参数个数，以及 CPU 上的快写法不改变数学。"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib.networks import ActorCriticDiscrete
from ppo_lib.networks.cpu import dot_general, in_chunks, matmul


def init(obs_dim=4, num_actions=3, **keys):
    network = ActorCriticDiscrete(num_actions, **keys)
    return network, network.init(jax.random.key(0), jnp.zeros((1, obs_dim)))


def layers(params):
    return {
        name: (np.asarray(p["kernel"]), np.asarray(p["bias"]))
        for name, p in params["params"].items()
    }


def num_parameters(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


# ---------------------------------------------------------------- 初始化


@pytest.mark.parametrize(
    "shared, names",
    [
        (False, {"actor_0", "actor_1", "critic_0", "critic_1", "actor_head", "critic_head"}),
        (True, {"shared_0", "shared_1", "actor_head", "critic_head"}),
    ],
)
def test_separate_and_shared_trunks_have_their_layers(shared, names):
    assert layers(init(shared_trunk=shared)[1]).keys() == names


@pytest.mark.parametrize("shared", [False, True])
def test_weights_are_orthogonal_with_the_right_gain_and_biases_are_zero(shared):
    """行少时行两两正交，列少时列两两正交；长度都是增益：隐藏层 √2，策略头 0.01，价值头 1。"""
    _, params = init(hidden_sizes=(64, 32), shared_trunk=shared)
    for name, (kernel, bias) in layers(params).items():
        gain = {"actor_head": 0.01, "critic_head": 1.0}.get(name, np.sqrt(2))
        n_in, n_out = kernel.shape
        gram = kernel @ kernel.T if n_in <= n_out else kernel.T @ kernel
        np.testing.assert_allclose(
            gram, gain**2 * np.eye(min(n_in, n_out)), atol=1e-5 * gain**2
        )
        assert not bias.any()


def test_no_two_layers_start_equal():
    params = layers(init()[1])
    assert not np.allclose(params["actor_0"][0], params["critic_0"][0])
    assert not np.allclose(
        params["actor_0"][0],
        layers(ActorCriticDiscrete(3).init(jax.random.key(1), jnp.zeros((1, 4))))["actor_0"][0],
    )


def test_initial_policy_is_nearly_uniform():
    network, params = init(num_actions=5)
    pi, _ = network.apply(params, jax.random.normal(jax.random.key(2), (256, 4)))
    np.testing.assert_allclose(pi.probs, 0.2, atol=0.02)
    assert float(pi.probs.std()) > 0  # 增益不是 0


# ---------------------------------------------------------------- 形状和参数个数


def test_number_of_parameters_by_hand():
    """一层 n_in·n_out + n_out。"""
    trunk = (4 * 64 + 64) + (64 * 64 + 64)
    heads = (64 * 3 + 3) + (64 * 1 + 1)
    assert num_parameters(init()[1]) == 2 * trunk + heads
    assert num_parameters(init(shared_trunk=True)[1]) == trunk + heads
    assert num_parameters(init(hidden_sizes=(8,))[1]) == 2 * (4 * 8 + 8) + (8 * 3 + 3) + (8 + 1)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [(), (7,), (5, 7)])
@pytest.mark.parametrize("shared", [False, True])
def test_any_number_of_batch_axes(batch, shared):
    network, params = init(shared_trunk=shared)
    obs = jax.random.normal(jax.random.key(3), (*batch, 4))
    pi, value = network.apply(params, obs)
    assert pi.logits.shape == (*batch, 3) and value.shape == batch
    one = obs.reshape(-1, 4)[0]
    pi_one, value_one = network.apply(params, one)
    np.testing.assert_allclose(pi.logits.reshape(-1, 3)[0], pi_one.logits, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(value.reshape(-1)[0], value_one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "activation, g", [("relu", lambda x: np.maximum(x, 0)), ("tanh", np.tanh)]
)
@pytest.mark.parametrize("shared", [False, True])
def test_forward_pass_by_hand(activation, g, shared):
    network, params = init(hidden_sizes=(8, 6), activation=activation, shared_trunk=shared)
    params = jax.tree.map(lambda x: x + 0.1, params)  # 偏置也不为零
    obs = np.asarray(jax.random.normal(jax.random.key(4), (10, 4)))
    layer = layers(params)

    def trunk(name):
        x = obs
        for i in range(2):
            kernel, bias = layer[f"{'shared' if shared else name}_{i}"]
            x = g(x @ kernel + bias)
        return x

    def head(x, name):
        return x @ layer[name][0] + layer[name][1]

    pi, value = network.apply(params, obs)
    logits = head(trunk("actor"), "actor_head")
    np.testing.assert_allclose(
        pi.logits - pi.logits[:, :1], logits - logits[:, :1], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        value, head(trunk("critic"), "critic_head")[:, 0], rtol=1e-4, atol=1e-4
    )


def test_actor_and_critic_learn_apart_only_with_separate_trunks():
    """价值对隐藏层的梯度：分开时不碰 Actor 的层，共用时碰。"""
    for shared in (False, True):
        network, params = init(shared_trunk=shared)
        obs = jax.random.normal(jax.random.key(5), (16, 4))
        grad = layers(jax.grad(lambda p: network.apply(p, obs)[1].sum())(params))
        assert not grad["actor_head"][0].any()
        assert grad["shared_0" if shared else "critic_0"][0].any()
        if not shared:
            assert not grad["actor_0"][0].any()


# ---------------------------------------------------------------- CPU 上的快写法

SIZES = [(1, 4, 64), (7, 64, 3), (512, 64, 64), (512, 2, 64), (33, 5, 1)]


def matrices(batch, n_in, n_out):
    keys = jax.random.split(jax.random.key(6), 3)
    return [
        jax.random.normal(k, s)
        for k, s in zip(keys, [(batch, n_in), (n_in, n_out), (batch, n_out)])
    ]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES)
def test_matmul_and_its_gradients_are_those_of_plain_matmul(sizes):
    x, kernel, g = matrices(*sizes)
    y, pull = jax.vjp(jax.jit(matmul), x, kernel)
    plain, plain_pull = jax.vjp(lambda x, kernel: x @ kernel, x, kernel)
    np.testing.assert_allclose(y, plain, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(pull(g), plain_pull(g)):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(7, 4, 6), (7, 6, 4), (7, 5, 5)])
@pytest.mark.parametrize("in_axes", [(0, 0), (0, None), (None, 0)])
def test_gradients_of_matmul_are_right_under_vmap(sizes, in_axes):
    members = [
        jnp.stack([a, 2 * a, a - 1]) if axis == 0 else a
        for a, axis in zip(matrices(*sizes)[:2], in_axes)
    ]

    def grads(product):
        f = jax.grad(lambda x, kernel: jnp.sin(product(x, kernel)).sum(), argnums=(0, 1))
        return jax.jit(jax.vmap(f, in_axes=in_axes))(*members)

    for ours, theirs in zip(grads(matmul), grads(jnp.matmul)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [(), (5,), (3, 5)])
def test_dot_general_is_what_dense_expects(batch):
    x, kernel = (
        jax.random.normal(jax.random.key(7), (*batch, 4)),
        jax.random.normal(jax.random.key(8), (4, 6)),
    )
    dims = (((len(batch),), (0,)), ((), ()))
    np.testing.assert_allclose(
        dot_general(x, kernel, dims), jax.lax.dot_general(x, kernel, dims), rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "n, size, expected",
    [
        (128, 32, 32),
        (200, 32, 25),  # 200 的约数里，不超过 32 的最大的是 25
        (13, 8, 1),  # 质数：一次一行
        (7, 8, 7),  # 不到一块，不切
        (8, 8, 8),
        (5, 1, 1),
    ],
)
def test_in_chunks_is_plain_application_in_pieces(n, size, expected):
    tree = jax.random.normal(jax.random.key(9), (n, 4, 3)), jnp.arange(n * 4).reshape(n, 4)
    lengths = []

    def f(inputs):
        x, i = inputs
        lengths.append(len(i))
        return x[..., 0] * i, {"twice": 2 * x}

    result, plain = in_chunks(f, tree, size), f(tree)
    assert lengths[0] == expected or jax.default_backend() != "cpu"
    jax.tree.map(np.testing.assert_array_equal, result, plain)


def test_in_chunks_works_under_vmap_and_has_gradients():
    x = jax.random.normal(jax.random.key(10), (3, 20, 100))

    def total(f):
        return jax.jit(jax.vmap(jax.value_and_grad(lambda y: jnp.sin(f(y)).sum())))(x)

    for ours, theirs in zip(total(lambda y: in_chunks(jnp.square, y, 5)), total(jnp.square)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_a_network_inside_vmap_gives_each_member_its_own_result():
    """GPU 上许多种子合成一个批；这里在 CPU 上检查同一种写法。"""
    network, params = init(hidden_sizes=(16,))
    obs = jax.random.normal(jax.random.key(11), (64, 4))
    params = jax.tree.map(lambda p: jnp.stack([p, p + 0.1, 2 * p]), params)

    def loss(params):
        pi, value = network.apply(params, obs)
        return (value**2).mean() + pi.entropy().mean() + (pi.logits**2).mean()

    together, grad = jax.jit(jax.vmap(jax.grad(loss)))(params), jax.jit(jax.grad(loss))
    for i in range(3):
        alone = grad(jax.tree.map(lambda p: p[i], params))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-5),
            together,
            alone,
        )
