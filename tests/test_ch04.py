"""第 4 章：换初始化、量过拟合的做法没有改动别的；信号和梯度的大小。"""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import PPOConfig, train
from ppo_lib.course.ch04 import (
    DENSE,
    GAPS,
    HELD_OUT,
    gradient_sizes,
    initial_params,
    num_params,
    plot_params,
    signal_and_gradient,
    spare_key,
    with_actor_gain,
    with_kernel_init,
)
from ppo_lib.course.experiment import patched
from ppo_lib.networks import ActorCriticDiscrete


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
@jax.debug_key_reuse(False)  # vmap 里的 scan，它会误报
def test_gradient_sizes():
    cfg = PPOConfig(env_name="CartPole-v1", shared_trunk=True, hidden_sizes=(8, 8))
    params = initial_params(cfg, 2)
    full = gradient_sizes(cfg, params)
    half = gradient_sizes(dataclasses.replace(cfg, vf_coef=0.25), params)
    assert full["policy"].shape == (2,) and (full["policy"] > 0).all()
    np.testing.assert_allclose(full["value"], 2 * half["value"], rtol=1e-2)
