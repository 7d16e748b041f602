"""ppo_lib/optimizer.py：与 optax 和 NumPy 逐步对照；传进来的 beta 不引起重新编译。"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ppo_lib.config import PPOConfig
from ppo_lib.optimizer import adam_step, annealed_lr, make_optimizer, moments

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, -0.1])}


def hyper(**keys):
    return PPOConfig(**keys).hyperparams()


def gradients(steps, scale=1.0):
    """steps 个随机梯度，大小起伏很大。"""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        size = scale * 10 ** rng.uniform(-2, 1)
        yield jax.tree.map(
            lambda p: jnp.asarray(size * rng.normal(size=p.shape), jnp.float32), PARAMS
        )


def trajectory(optimizer, grads):
    """从 PARAMS 出发走过的参数，和最后的优化器状态。"""
    params, state, path = PARAMS, optimizer.init(PARAMS), []
    for grad in grads:
        updates, state = optimizer.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path, state


def assert_same_path(ours, reference, rtol=1e-5):
    for a, b in zip(ours, reference, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=2e-6), a, b)


# ---------------------------------------------------------------- 手写的 Adam


def by_hand(grads, **keys):
    params, mu = PARAMS, jax.tree.map(jnp.zeros_like, PARAMS)
    nu, path = mu, []
    for t, grad in enumerate(grads, start=1):
        new = {
            name: adam_step(params[name], grad[name], mu[name], nu[name], t, **keys)
            for name in params
        }
        params, mu, nu = ({name: x[i] for name, x in new.items()} for i in range(3))
        path.append(params)
    return path, mu, nu


@pytest.mark.parametrize(
    "beta_1, beta_2", [(0.9, 0.999), (0.0, 0.999), (0.5, 0.9), (0.99, 0.99)]
)
def test_adam_step_is_optax_adam(beta_1, beta_2):
    path, *_ = by_hand(gradients(50), lr=0.01, beta_1=beta_1, beta_2=beta_2, eps=1e-8)
    assert_same_path(path, trajectory(optax.adam(0.01, beta_1, beta_2, 1e-8), gradients(50))[0])


def test_first_adam_step_moves_by_the_learning_rate_whatever_the_gradient():
    """偏差修正之后第一步是 lr·g/|g|。没有偏差修正就会是 lr·0.1/√0.001 ≈ 3.16·lr。"""
    for grad in (1e-3, 5.0, -200.0):
        param, mu, nu = adam_step(1.0, grad, 0.0, 0.0, 1, lr=0.01)
        assert param == pytest.approx(1.0 - 0.01 * np.sign(grad), rel=1e-5)
        assert mu == pytest.approx(0.1 * grad) and nu == pytest.approx(0.001 * grad**2)


def test_second_adam_step_by_hand():
    """梯度 1、3，β₁ = ½，β₂ = ¾：mu = ½·½ + ½·3 = 7/4，nu = ¾·¼ + ¼·9 = 39/16。"""
    param, mu, nu = adam_step(0.0, 1.0, 0.0, 0.0, 1, lr=1.0, beta_1=0.5, beta_2=0.75, eps=0.0)
    assert (float(param), float(mu), float(nu)) == (-1.0, 0.5, 0.25)
    param, mu, nu = adam_step(param, 3.0, mu, nu, 2, lr=1.0, beta_1=0.5, beta_2=0.75, eps=0.0)
    assert (float(mu), float(nu)) == (7 / 4, 39 / 16)
    assert param == pytest.approx(-1 - (7 / 4 / (3 / 4)) / np.sqrt(39 / 16 / (7 / 16)))


# ---------------------------------------------------------------- 三种优化器


@pytest.mark.parametrize("max_grad_norm", [0.5, 1e9])
def test_adam_is_clipping_then_optax_adam(max_grad_norm):
    ours = make_optimizer(
        "adam", 0.01, hyper(beta_1=0.7, beta_2=0.95, adam_eps=1e-5, max_grad_norm=max_grad_norm)
    )
    reference = optax.chain(
        optax.clip_by_global_norm(max_grad_norm), optax.adam(0.01, 0.7, 0.95, 1e-5)
    )
    assert_same_path(
        trajectory(ours, gradients(50))[0], trajectory(reference, gradients(50))[0]
    )


def test_rmsprop_is_clipping_then_optax_rmsprop():
    ours = make_optimizer("rmsprop", 0.01, hyper(beta_2=0.9, adam_eps=1e-6, max_grad_norm=0.5))
    reference = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.rmsprop(0.01, decay=0.9, eps=1e-6, eps_in_sqrt=False),
    )
    assert_same_path(
        trajectory(ours, gradients(50))[0], trajectory(reference, gradients(50))[0]
    )


def test_rmsprop_by_hand_has_no_momentum_and_no_bias_correction():
    params, nu, expected = np.array([1.0, -1.0]), np.zeros(2), []
    grads = [np.array([0.1, -0.2]), np.array([0.3, 0.0]), np.array([-0.2, 0.2])]
    for grad in grads:
        nu = 0.9 * nu + 0.1 * grad**2
        params = params - 0.01 * grad / (np.sqrt(nu) + 1e-6)
        expected.append(params)
    optimizer = make_optimizer(
        "rmsprop", 0.01, hyper(beta_1=0.9, beta_2=0.9, adam_eps=1e-6, max_grad_norm=10.0)
    )
    params = jnp.array([1.0, -1.0])
    state = optimizer.init(params)
    for grad, want in zip(grads, expected):
        updates, state = optimizer.update(jnp.asarray(grad, jnp.float32), state)
        params = params + updates
        np.testing.assert_allclose(params, want, rtol=1e-5)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_the_critic_may_have_a_beta_1_of_its_own(kind):
    """每个叶子走的路，与所有叶子都用它那个 β₁ 时相同。"""

    def last(**betas):
        optimizer = make_optimizer(kind, 0.01, hyper(**betas))
        params = {"params": {"actor_0": jnp.ones(3), "critic_0": jnp.ones(3)}}
        state = optimizer.init(params)
        for slope in ([1.0, -2.0, 0.5], [-1.0, 1.0, 0.2]):
            grad = jax.tree.map(lambda p, g=slope: p * jnp.array(g), params)
            updates, state = optimizer.update(grad, state, params)
            params = optax.apply_updates(params, updates)
        return params["params"]

    apart, long, short = last(beta_1=0.9, critic_beta_1=0.1), last(beta_1=0.9), last(beta_1=0.1)
    np.testing.assert_array_equal(apart["actor_0"], long["actor_0"])
    np.testing.assert_array_equal(apart["critic_0"], short["critic_0"])
    assert (long["critic_0"] != short["critic_0"]).any()


def test_sgd_is_clipping_then_optax_sgd_with_momentum():
    ours = make_optimizer("sgd", 0.01, hyper(beta_1=0.8, max_grad_norm=0.5))
    reference = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.01, momentum=0.8))
    assert_same_path(
        trajectory(ours, gradients(50))[0], trajectory(reference, gradients(50))[0]
    )


@pytest.mark.parametrize(
    "kind, unused", [("rmsprop", {"beta_1": 0.1}), ("sgd", {"beta_2": 0.1, "adam_eps": 1.0})]
)
def test_each_kind_ignores_what_its_help_says_it_ignores(kind, unused):
    paths = [
        trajectory(make_optimizer(kind, 0.01, hyper(**keys)), gradients(5))[0]
        for keys in ({}, unused)
    ]
    assert_same_path(*paths, rtol=0)


def test_clipping_scales_the_whole_gradient_to_the_bound():
    """sgd 没有动量时，一步就是 -lr 乘裁剪过的梯度：长度正好是上限，方向不变。"""
    optimizer = make_optimizer("sgd", 1.0, hyper(beta_1=0.0, max_grad_norm=0.5))
    (grad,) = gradients(1, scale=100.0)
    updates, _ = optimizer.update(grad, optimizer.init(PARAMS))
    norm = {
        name: np.sqrt(sum((x**2).sum() for x in tree.values()))
        for name, tree in [("updates", updates), ("grad", grad)]
    }
    assert norm["updates"] == pytest.approx(0.5, rel=1e-5)
    factor = 0.5 / norm["grad"]
    jax.tree.map(
        lambda u, g: np.testing.assert_allclose(u, -factor * g, rtol=1e-5), updates, grad
    )


# ---------------------------------------------------------------- 退火


def test_annealing_goes_from_lr_to_zero_in_a_straight_line():
    assert annealed_lr(4e-3, 0, 976) == 4e-3
    assert annealed_lr(4e-3, 488, 976) == pytest.approx(2e-3)
    assert annealed_lr(4e-3, 975, 976) == pytest.approx(4e-3 / 976)  # 最后一次更新还不是 0
    assert annealed_lr(4e-3, 976, 976) == 0.0
    assert annealed_lr(1.0, jnp.int32(1), jnp.float32(4)) == 0.75


# ---------------------------------------------------------------- 动态的超参数


def test_one_compiled_program_serves_every_beta_and_learning_rate():
    """改 beta、学习率不重新编译；值也真的起了作用，与写死的数结果相同。"""
    traces = []

    @jax.jit
    def two_steps(lr, h):
        traces.append(lr)
        optimizer = make_optimizer("adam", lr, h)
        params, state = PARAMS, optimizer.init(PARAMS)
        for grad in gradients(2):
            updates, state = optimizer.update(grad, state, params)
            params = optax.apply_updates(params, updates)
        return params

    results = []
    for lr, beta_1, beta_2 in [
        (0.01, 0.9, 0.999),
        (0.01, 0.0, 0.999),
        (0.01, 0.5, 0.9),
        (0.3, 0.5, 0.9),
    ]:
        h = jax.tree.map(jnp.float32, hyper(beta_1=beta_1, beta_2=beta_2, max_grad_norm=0.5))
        results.append(two_steps(jnp.float32(lr), h))
        reference = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(lr, beta_1, beta_2))
        assert_same_path([results[-1]], trajectory(reference, gradients(2))[0][-1:], rtol=1e-4)
    assert len(traces) == 1
    assert len({float(r["w"][0, 0]) for r in results}) == 4


def test_many_betas_at_once_with_vmap():
    betas = jnp.array([0.0, 0.5, 0.9])
    grads = list(gradients(10))

    def last(beta_1):
        return trajectory(make_optimizer("adam", 0.01, hyper()._replace(beta_1=beta_1)), grads)[
            0
        ][-1]

    together = jax.vmap(last)(betas)
    for i, beta_1 in enumerate(betas):
        assert_same_path(
            [jax.tree.map(lambda x: x[i], together)], [last(float(beta_1))], rtol=1e-4
        )


# ---------------------------------------------------------------- 矩


def test_moments_of_adam_are_those_of_the_hand_written_steps():
    _, mu, nu = by_hand(gradients(20), lr=0.01)
    _, state = trajectory(make_optimizer("adam", 0.01, hyper(max_grad_norm=1e9)), gradients(20))
    assert_same_path(moments(state), (mu, nu))


def test_rmsprop_has_only_a_second_moment():
    _, state = trajectory(
        make_optimizer("rmsprop", 0.01, hyper(beta_2=0.5, max_grad_norm=1e9)), [PARAMS]
    )
    mu, nu = moments(state)
    assert mu is None
    assert_same_path([nu], [jax.tree.map(lambda g: 0.5 * g**2, PARAMS)])


def test_sgd_has_only_its_momentum():
    """optax 的动量不乘 (1-β₁)：g₂ + β₁·g₁。"""
    first, second = gradients(2)
    _, state = trajectory(
        make_optimizer("sgd", 0.01, hyper(beta_1=0.5, max_grad_norm=1e9)), [first, second]
    )
    mu, nu = moments(state)
    assert nu is None
    assert_same_path([mu], [jax.tree.map(lambda a, b: b + 0.5 * a, first, second)])


def test_moments_start_at_zero():
    for kind in ("adam", "rmsprop", "sgd"):
        for tree in moments(make_optimizer(kind, 0.01, hyper()).init(PARAMS)):
            assert not any(leaf.any() for leaf in jax.tree.leaves(tree))
