"""第 4 章的检查：每道题两种对的写法，和几种错的写法应得的提示；换初始化、量过拟合的做法没有改动别的。"""

import dataclasses
from types import SimpleNamespace

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import PPOConfig, train
from ppo_lib.course.ch04 import (
    DENSE,
    GAPS,
    HELD_OUT,
    check_entropy,
    check_log_prob,
    check_num_params,
    check_shape_bug,
    gradient_sizes,
    initial_params,
    layer_sizes,
    num_params,
    plot_params,
    signal_and_gradient,
    spare_key,
    with_actor_gain,
    with_kernel_init,
)
from ppo_lib.course.experiment import patched
from ppo_lib.networks import ActorCriticDiscrete


def by_init(obs_dim, num_actions, hidden_sizes):
    network = ActorCriticDiscrete(num_actions, tuple(hidden_sizes))
    return num_params(network.init(jax.random.key(0), jnp.zeros(obs_dim)))


def by_formula(obs_dim, num_actions, hidden):
    trunk = layer_sizes((obs_dim, *hidden))
    return 2 * trunk + (hidden[-1] + 1) * (num_actions + 1)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [by_init, by_formula])
def test_4_1_right(answer):
    assert check_num_params(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda o, a, h: by_formula(o, a, h) - 2 * sum(h) - a - 1, "偏置忘了"),
        (lambda o, a, h: layer_sizes((o, *h, a)), "只是 Actor"),
        (lambda o, a, h: layer_sizes((o, *h, 1)), "只是 Critic"),
        (lambda o, a, h: by_formula(o, a, h) - layer_sizes((o, *h)), "共用了主干"),
        (lambda o, a, h: 2 * layer_sizes((o, *h)), "两个头忘了"),
        (lambda o, a, h: 2 * layer_sizes((o, *h, a)), "只输出 1 个数"),
        (lambda o, a, h: 8964, "hidden_sizes = (32,)"),
        (lambda o, a, h: None, "没有返回值"),
        (..., "换成你的答案"),
    ],
)
def test_4_1_wrong(answer, hint):
    verdict = check_num_params(answer)
    assert not verdict.passed and hint in verdict.message, verdict


def pick(x, action):
    return x[jnp.arange(len(action)), action]


@pytest.mark.parametrize(
    "answer",
    [
        lambda z, a: distrax.Categorical(logits=z).log_prob(a),
        lambda z, a: pick(jax.nn.log_softmax(z), a),
    ],
)
def test_4_2_right(answer):
    assert check_log_prob(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda z, a: pick(jax.nn.softmax(z), a), "这是概率"),
        (pick, "logit 本身"),
        (lambda z, a: -pick(jax.nn.log_softmax(z), a), "符号反了"),
        (lambda z, a: jnp.log(pick(jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True), a)), "溢出"),
        (lambda z, a: pick(jax.nn.log_softmax(z, axis=0), a), "归一化的轴"),
        (lambda z, a: jax.nn.log_softmax(z), "选了的那一个"),
        (lambda z, a: jax.nn.log_softmax(z)[:, a], "(batch, batch)"),
        (lambda z, a: pick(jax.nn.log_softmax(z), a).mean(), "求了和或平均"),
        (lambda z, a: jax.nn.log_softmax(z)[0], "(3,)"),
        (lambda z, a: pick(jax.nn.log_softmax(2 * z), a), "应当是"),
        (lambda z, a: None, "没有返回值"),
    ],
)
def test_4_2_wrong(answer, hint):
    verdict = check_log_prob(answer)
    assert not verdict.passed and hint in verdict.message, verdict


def entropy_terms(z):
    log_prob = jax.nn.log_softmax(z)
    return jnp.exp(log_prob) * log_prob


@pytest.mark.parametrize(
    "answer",
    [
        lambda z: distrax.Categorical(logits=z).entropy(),
        lambda z: -entropy_terms(z).sum(-1),
    ],
)
def test_4_3_right(answer):
    assert check_entropy(answer).passed


def overflowing(z):
    p = jnp.exp(z) / jnp.exp(z).sum(-1, keepdims=True)
    return -(p * jnp.log(p)).sum(-1)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda z: entropy_terms(z).sum(-1), "符号反了"),
        (lambda z: -entropy_terms(z).sum(-1) / np.log(2), "比特"),
        (lambda z: -jax.nn.log_softmax(z).sum(-1), "乘上它的概率"),
        (lambda z: -entropy_terms(z).mean(-1), "求了平均"),
        (lambda z: -entropy_terms(z).sum(), "一个样本一个数"),
        (lambda z: -entropy_terms(z), "(4, 3)"),
        (overflowing, "溢出"),
        (lambda z: jnp.ones(4), "沿最后一维求和"),
        (lambda z: None, "没有返回值"),
    ],
)
def test_4_3_wrong(answer, hint):
    verdict = check_entropy(answer)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.parametrize("loss", [2 / 3, 0.667, jnp.float32(12 / 18)])
@pytest.mark.parametrize("shape", [(3, 3), [3, 3], jnp.zeros((3, 3)).shape])
def test_4_4_right(shape, loss):
    assert check_shape_bug(shape, loss).passed


@pytest.mark.parametrize(
    ("shape", "loss", "hint"),
    [
        ((3,), 0.0, "最后一维对起"),
        ((3, 1), 0.0, "最后一维对起"),
        ((1, 3), 0.0, "两边都要扩开"),
        ((9,), 0.0, "照着对方复制"),
        ((3, 3), 0.0, "不只是自己的"),
        ((3, 3), 4 / 3, "1/2"),
        ((3, 3), 6.0, "不是求和"),
        ((3, 3), 1.0, "有三个"),
        (..., 1.0, "换成你的答案"),
    ],
)
def test_4_4_wrong(shape, loss, hint):
    verdict = check_shape_bug(shape, loss)
    assert not verdict.passed and hint in verdict.message, verdict


@pytest.mark.slow
def test_only_the_named_layers_change():
    """换策略头的增益，别的层逐位不变；换隐藏层的初值，两个头逐位不变。"""
    network = ActorCriticDiscrete(3)

    def init():
        return network.init(jax.random.key(0), jnp.zeros(2))["params"]

    usual = init()
    with patched({DENSE: with_actor_gain(1.0)}):
        gain = init()
    with patched({DENSE: with_kernel_init(jax.nn.initializers.normal(0.01))}):
        small = init()
    for name, layer in usual.items():
        same_gain = np.array_equal(layer["kernel"], gain[name]["kernel"])
        same_small = np.array_equal(layer["kernel"], small[name]["kernel"])
        assert same_gain == (name != "actor_head") and same_small == name.endswith("_head")
    np.testing.assert_allclose(
        100 * usual["actor_head"]["kernel"], gain["actor_head"]["kernel"], rtol=1e-5
    )


def test_signal_and_gradient_keep_their_size():
    orthogonal = jax.nn.initializers.orthogonal(np.sqrt(2))
    signal, gradient = signal_and_gradient(orthogonal, jax.nn.relu, depth=4)
    assert signal.shape == gradient.shape == (5,) and gradient[0] == 1
    assert np.allclose(signal, 1, atol=0.25) and np.allclose(gradient, 1, atol=0.25)


def test_gradient_of_linear_layers():
    """没有激活函数时，往前往后都恰好每层乘增益。"""
    signal, gradient = signal_and_gradient(jax.nn.initializers.orthogonal(0.5), lambda x: x, 3)
    expected = 0.5 ** np.arange(4)
    np.testing.assert_allclose(signal / signal[0], expected, rtol=1e-4)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)


def test_spare_keys_are_spare():
    """检查用的钥匙，与训练自己用的（采样、打乱）没有一把相同。"""
    cfg = PPOConfig(total_timesteps=2048 * 5)
    key = jax.random.key(0)
    own, spare = [], []
    for update in range(cfg.num_updates):
        state = SimpleNamespace(key=key, update=update)
        own += list(jax.random.split(jax.random.fold_in(key, update)))
        spare.append(spare_key(state, cfg, 1))
    spare.append(spare_key(SimpleNamespace(key=key, update=0), cfg, 2))
    data = [tuple(jax.random.key_data(k).tolist()) for k in own + spare]
    assert len(set(data)) == len(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shared", "hidden"), [(False, (64, 64)), (True, (8,)), (False, (4, 5, 6))]
)
def test_the_figure_names_every_layer(shared, hidden):
    network = ActorCriticDiscrete(3, hidden, shared_trunk=shared)
    params = network.init(jax.random.key(0), jnp.zeros(2))
    drawn = " ".join(text.get_text() for text in plot_params(params).axes[0].texts)
    assert all(name in drawn for name in params["params"])
    assert f"{num_params(params):,}" in drawn


@pytest.mark.slow
def test_comparing_does_not_change_the_training():
    """量过拟合的训练与库里的相同；检查用的环境走的是自己的路。"""
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=20_000, num_seeds=1)
    cfg = dataclasses.replace(cfg, hidden_sizes=(8, 8))
    usual = train(cfg, progress=False).metrics
    with patched(HELD_OUT):
        compared = train(cfg, progress=False).metrics
    for name in ("return", "entropy"):
        np.testing.assert_allclose(compared[name], usual[name], rtol=1e-4)
    assert all(np.isfinite(compared[name]).all() for name in GAPS)
    assert float(compared["seen_gain"].mean()) > 0
    assert (compared["seen_error"] != compared["fresh_error"]).all()


@pytest.mark.slow
def test_gradient_sizes():
    cfg = PPOConfig(env_name="CartPole-v1", shared_trunk=True, hidden_sizes=(8, 8))
    params = initial_params(cfg, 2)
    full = gradient_sizes(cfg, params)
    half = gradient_sizes(dataclasses.replace(cfg, vf_coef=0.25), params)
    assert full["policy"].shape == (2,) and (full["policy"] > 0).all()
    np.testing.assert_allclose(full["value"], 2 * half["value"], rtol=1e-2)
