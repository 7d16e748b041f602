"""ppo_lib/loss.py：裁剪的四种情形和它们的梯度，价值损失，熵，标准化，总损失的符号与梯度。"""

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_lib.config import PPOConfig
from ppo_lib.loss import (
    Minibatch,
    clipped_objective,
    clipped_value_loss,
    entropy_bonus,
    normalize,
    policy_ratio,
    ppo_loss,
    value_loss,
)
from ppo_lib.networks import ActorCriticDiscrete

# ---------------------------------------------------------------- 比率


def test_ratio_is_the_quotient_of_the_two_probabilities():
    new, old = np.array([0.5, 0.2, 0.1]), np.array([0.25, 0.2, 0.4])
    np.testing.assert_allclose(
        policy_ratio(np.log(new), np.log(old)), [2.0, 1.0, 0.25], rtol=1e-6
    )


def test_gradient_of_the_ratio_is_the_ratio_times_that_of_the_log_prob():
    assert jax.grad(policy_ratio)(jnp.log(0.5), jnp.log(0.25)) == pytest.approx(2.0)


# ---------------------------------------------------------------- 裁剪目标


@pytest.mark.parametrize(
    "ratio, advantage, objective, gradient",
    [
        (1.5, +2.0, 2.4, 0.0),  # 好动作，已经够多了：停在 1.2·A
        (0.5, +2.0, 1.0, 2.0),  # 好动作，反而变少了：不裁剪，照样往回拉
        (1.5, -1.0, -1.5, -1.0),  # 坏动作，反而变多了：不裁剪，照样往下压
        (0.5, -1.0, -0.8, 0.0),  # 坏动作，已经够少了：停在 0.8·A
        (1.1, +2.0, 2.2, 2.0),  # 带子里面：从不裁剪
        (0.9, -1.0, -0.9, -1.0),
        (1.0, +2.0, 2.0, 2.0),
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_the_cases_of_the_clip_and_their_gradients(ratio, advantage, objective, gradient):
    """对 r 的梯度是 A 或 0；只有朝优势所指的方向走过了头，才是 0。"""
    value, grad = jax.value_and_grad(clipped_objective)(ratio, advantage, 0.2)
    assert value == pytest.approx(objective) and grad == pytest.approx(gradient)


@given(
    st.floats(1 / 64, 5, width=32),
    st.floats(-10, 10, width=32),
    st.floats(1 / 64, 7 / 8, width=32),
)
def test_clipped_objective_is_a_lower_bound_that_touches_at_ratio_1(ratio, advantage, eps):
    assert (
        clipped_objective(ratio, advantage, eps)
        <= np.float32(ratio) * np.float32(advantage) + 1e-6
    )
    assert clipped_objective(1.0, advantage, eps) == pytest.approx(advantage)


@given(
    st.floats(1 / 64, 5, width=32),
    st.floats(-10, 10, width=32),
    st.floats(1 / 64, 7 / 8, width=32),
)
def test_clipped_objective_equals_the_formula_of_openai_spinning_up(ratio, advantage, eps):
    """等价的写法：min(r·A, g(ε, A))，g = (1+ε)A 若 A ≥ 0，否则 (1-ε)A。"""
    g = (1 + eps if advantage >= 0 else 1 - eps) * advantage
    assert clipped_objective(ratio, advantage, eps) == pytest.approx(
        min(ratio * advantage, g), abs=1e-5
    )


def test_clipped_objective_works_sample_by_sample():
    ratio, advantage = jnp.array([1.5, 0.5]), jnp.array([2.0, -1.0])
    np.testing.assert_allclose(clipped_objective(ratio, advantage, 0.2), [2.4, -0.8], rtol=1e-6)


# ---------------------------------------------------------------- 价值损失


def test_value_loss_is_half_the_squared_error():
    np.testing.assert_allclose(
        value_loss(jnp.array([3.0, 1.0]), jnp.array([1.0, 1.0])), [2.0, 0.0]
    )
    assert jax.grad(value_loss)(3.0, 1.0) == 2.0  # ½ 使梯度正好是误差


@pytest.mark.parametrize(
    "value, loss, gradient",
    [
        (0.1, 0.5 * 0.9**2, -0.9),  # 离旧值不远：与不裁剪相同
        (0.5, 0.5 * 0.8**2, 0.0),  # 朝目标走过了 ε：按停在 0.2 处算，再走没有好处
        (-0.5, 0.5 * 1.5**2, -1.5),  # 背着目标走：不裁剪，照样拉回来
        (2.5, 0.5 * 1.5**2, 1.5),  # 越过目标太远：真实的损失更大，不裁剪
    ],
)
def test_clipped_value_loss_by_hand(value, loss, gradient):
    """旧值 0，目标 1，ε = 0.2。"""
    got, grad = jax.value_and_grad(clipped_value_loss)(value, 0.0, 1.0, 0.2)
    assert got == pytest.approx(loss) and grad == pytest.approx(gradient)


@given(*[st.floats(-10, 10, width=32)] * 3, st.floats(1 / 64, 1, width=32))
def test_clipped_value_loss_is_never_below_the_plain_one(value, old, target, eps):
    assert clipped_value_loss(value, old, target, eps) >= value_loss(value, target)


# ---------------------------------------------------------------- 熵和标准化


@pytest.mark.parametrize("n", [2, 3, 10])
def test_entropy_of_the_uniform_policy_is_ln_n_and_of_a_sure_one_zero(n):
    assert entropy_bonus(distrax.Categorical(logits=jnp.zeros(n))) == pytest.approx(
        np.log(n), rel=1e-6
    )
    sure = distrax.Categorical(logits=jnp.zeros(n).at[0].set(100.0))
    assert entropy_bonus(sure) == pytest.approx(0.0, abs=1e-6)


def test_entropy_by_hand_one_value_per_sample():
    pi = distrax.Categorical(probs=jnp.array([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]))
    np.testing.assert_allclose(entropy_bonus(pi), [1.5 * np.log(2), np.log(3)], rtol=1e-6)


def test_normalized_advantages_have_mean_0_and_deviation_1():
    x = normalize(jnp.array([1.0, 2.0, 3.0, 10.0]))
    assert x.mean() == pytest.approx(0, abs=1e-6) and x.std() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(normalize(jnp.array([0.0, 4.0])), [-1.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("same", [0.0, 1.0, -3.0])
def test_equal_advantages_become_zero_not_nan(same):
    np.testing.assert_array_equal(normalize(jnp.full(8, same)), 0.0)


# ---------------------------------------------------------------- 总损失

NETWORK = ActorCriticDiscrete(3, (4,), "tanh")  # 处处可导，才能与差分比
evaluate = jax.jit(NETWORK.apply)


@functools.cache
def make_batch(batch_size=12):
    """一个小批次：旧策略与新策略差得不少，比率落在裁剪带的里外都有。"""
    keys = jax.random.split(jax.random.key(0), 6)
    obs = jax.random.normal(keys[0], (batch_size, 2))
    leaves, tree = jax.tree.flatten(NETWORK.init(keys[5], obs))
    noise = [
        jax.random.normal(k, x.shape)
        for k, x in zip(jax.random.split(keys[1], len(leaves)), leaves)
    ]
    params = tree.unflatten(x + 0.3 * y for x, y in zip(leaves, noise))
    action = jax.random.randint(keys[2], (batch_size,), 0, 3)
    pi, value = evaluate(params, obs)
    log_prob = pi.log_prob(action) + 0.3 * jax.random.normal(keys[3], (batch_size,))
    advantage, target = 2 + 3 * jax.random.normal(keys[4], (2, batch_size))
    return params, Minibatch(obs, action, log_prob, value + 0.5, advantage, target)


compiled = jax.jit(
    functools.partial(ppo_loss, network=NETWORK),
    static_argnames=["advantage_norm", "clip_value"],
)


def loss(params, batch, advantage_norm="minibatch", clip_value=False, **keys):
    """(总损失, 各部分)；keys 是 PPOConfig 的键。"""
    hyper = PPOConfig(**keys).hyperparams()
    return compiled(params, batch, hyper, advantage_norm=advantage_norm, clip_value=clip_value)


@pytest.mark.slow
@pytest.mark.parametrize("advantage_norm", ["minibatch", "batch", "none"])
@pytest.mark.parametrize("clip_value", [False, True])
def test_total_is_the_sum_of_its_parts_with_the_right_signs(advantage_norm, clip_value):
    """用 NumPy 从头算一遍：-L_CLIP + c₁·L_VF - c₂·S。"""
    params, batch = make_batch()
    pi, value = evaluate(params, batch.obs)
    logits = np.asarray(pi.logits, np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    value, old, old_value, advantage, target = (
        np.asarray(x, np.float64)
        for x in (value, batch.log_prob, batch.value, batch.advantage, batch.target)
    )
    if advantage_norm == "minibatch":  # 整批的标准化在 training.py 里做过了
        advantage = (advantage - advantage.mean()) / advantage.std()
    ratio = np.exp(log_probs[np.arange(12), np.asarray(batch.action)] - old)
    assert (ratio > 1.2).any() and (ratio < 0.8).any()
    objective = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage).mean()
    error = 0.5 * (value - target) ** 2
    if clip_value:
        error = np.maximum(
            error, 0.5 * (old_value + np.clip(value - old_value, -0.2, 0.2) - target) ** 2
        )
    entropy = -(np.exp(log_probs) * log_probs).sum(-1).mean()

    total, aux = loss(params, batch, advantage_norm, clip_value, ent_coef=0.03, vf_coef=0.7)
    assert total == pytest.approx(-objective + 0.7 * error.mean() - 0.03 * entropy, rel=1e-4)
    expected = {
        "actor_loss": -objective,
        "value_loss": error.mean(),
        "entropy": entropy,
        "clip_frac": (np.abs(ratio - 1) > 0.2).mean(),
        "approx_kl": (ratio - 1 - np.log(ratio)).mean(),
    }
    assert aux.keys() == expected.keys()
    for name, x in expected.items():
        assert aux[name] == pytest.approx(x, rel=1e-3, abs=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("advantage_norm, clip_value", [("minibatch", False), ("none", True)])
def test_gradient_agrees_with_finite_differences(advantage_norm, clip_value):
    """双精度；沿几个随机方向比较方向导数。"""
    with jax.enable_x64(True):
        params, batch = jax.tree.map(
            lambda x: np.asarray(
                x, np.float64 if np.issubdtype(x.dtype, np.floating) else x.dtype
            ),
            make_batch(),
        )

        def total(p):
            return loss(p, batch, advantage_norm, clip_value, ent_coef=0.03)[0]

        grad, h = jax.grad(total)(params), 1e-6
        for seed in range(5):
            rng = np.random.default_rng(seed)
            direction = jax.tree.map(lambda p: rng.normal(size=p.shape), params)
            ahead, behind = (
                jax.tree.map(lambda p, d: p + s * h * d, params, direction) for s in (1, -1)
            )
            slope = (total(ahead) - total(behind)) / (2 * h)
            dots = jax.tree.map(lambda g, d: np.sum(np.asarray(g) * d), grad, direction)
            assert sum(jax.tree.leaves(dots)) == pytest.approx(float(slope), rel=1e-5, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "part, keys, sign",
    [
        ("actor_loss", dict(ent_coef=0.0, vf_coef=0.0), -1),  # 目标升高
        ("value_loss", dict(ent_coef=0.0, vf_coef=1e4), -1),
        ("entropy", dict(ent_coef=1e4, vf_coef=0.0), +1),  # 熵变大
    ],
)
def test_one_step_down_the_gradient_improves_each_part(part, keys, sign):
    params, batch = make_batch()
    (_, before), grad = jax.value_and_grad(loss, has_aux=True)(params, batch, **keys)
    step = 1e-2 / max(keys["ent_coef"], keys["vf_coef"], 1.0)
    _, after = loss(jax.tree.map(lambda p, g: p - step * g, params, grad), batch, **keys)
    assert sign * (after[part] - before[part]) > 0


def test_a_good_action_becomes_likelier_and_a_bad_one_rarer():
    params, batch = make_batch()
    old = evaluate(params, batch.obs)[0].log_prob(batch.action)
    for sign in (+1.0, -1.0):  # 只有第 0 个样本有优势
        one = batch._replace(log_prob=old, advantage=jnp.zeros(12).at[0].set(sign))
        grad = jax.grad(lambda p: loss(p, one, "none", ent_coef=0.0, vf_coef=0.0)[0])(params)
        stepped = jax.tree.map(lambda p, g: p - 0.01 * g, params, grad)
        assert sign * (evaluate(stepped, batch.obs)[0].log_prob(batch.action) - old)[0] > 0


def test_right_after_sampling_the_gradient_is_the_policy_gradient():
    """新旧策略相同时 r = 1：目标的值是平均优势，梯度是 A·∇ln π 的平均。"""
    params, batch = make_batch()
    batch = batch._replace(log_prob=evaluate(params, batch.obs)[0].log_prob(batch.action))
    keys = dict(advantage_norm="none", ent_coef=0.0, vf_coef=0.0)
    (_, aux), grad = jax.value_and_grad(loss, has_aux=True)(params, batch, **keys)
    assert aux["actor_loss"] == pytest.approx(-float(batch.advantage.mean()), rel=1e-5)
    assert aux["clip_frac"] == 0 and aux["approx_kl"] == pytest.approx(0, abs=1e-6)

    def plain(p):
        return -(batch.advantage * evaluate(p, batch.obs)[0].log_prob(batch.action)).mean()

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        grad,
        jax.grad(plain)(params),
    )


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(12)))
def test_the_order_of_the_samples_does_not_matter(order):
    params, batch = make_batch()
    shuffled = jax.tree.map(lambda x: x[jnp.array(order)], batch)
    assert loss(params, shuffled)[0] == pytest.approx(float(loss(params, batch)[0]), rel=1e-4)


def test_coefficients_of_zero_remove_their_parts_from_the_gradient():
    params, batch = make_batch()

    def head(name, **keys):
        grad = jax.grad(lambda p: loss(p, batch, **keys)[0])(params)
        return np.asarray(grad["params"][name]["kernel"])

    assert not head("critic_head", vf_coef=0.0).any() and head("critic_head", vf_coef=0.5).any()
    np.testing.assert_allclose(
        head("critic_head", vf_coef=1.0),
        2 * head("critic_head", vf_coef=0.5),
        rtol=1e-5,
        atol=1e-7,
    )
    assert not np.allclose(head("actor_head", ent_coef=0.0), head("actor_head", ent_coef=0.5))
