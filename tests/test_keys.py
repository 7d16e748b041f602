"""ppo_lib/keys.py：写开的 threefry 是真的 threefry，抽出的数与 jax.random 的逐位相同。"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY

from ppo_lib import training
from ppo_lib.config import PPOConfig
from ppo_lib.keys import UNROLLED, make_key, threefry
from ppo_lib.members import from_plain, to_plain
from ppo_lib.training import make_train

SEEDS = st.integers(-(2**31), 2**31 - 1)

DRAWS = {
    "bits": lambda key: jax.random.bits(key, (3, 5)),
    "bits8": lambda key: jax.random.bits(key, (7,), jnp.uint8),
    "bits16": lambda key: jax.random.bits(key, (7,), jnp.uint16),
    "uniform": lambda key: jax.random.uniform(key, (2, 3, 4)),
    "normal": lambda key: jax.random.normal(key, ()),
    "gumbel": lambda key: jax.random.gumbel(key, (16, 2)),
    "randint": lambda key: jax.random.randint(key, (9,), 0, 1000),
    "bernoulli": lambda key: jax.random.bernoulli(key, 0.3, (20,)),
    "permutation": lambda key: jax.random.permutation(key, 50),
    "empty": lambda key: jax.random.uniform(key, (0, 3)),
}


def data(key):
    return np.asarray(jax.random.key_data(key))


@pytest.mark.parametrize(
    "key, counter, expected",
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_the_published_answers_of_threefry(key, counter, expected):
    """算法作者公布的三组答案（Random123 的 kat_vectors，threefry2x32，20 轮）。"""
    got = threefry(jnp.array(key, jnp.uint32), *map(jnp.uint32, counter))
    assert tuple(map(int, got)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("seed", [0, 7, -1])
def test_every_draw_equals_jax_random(name, seed):
    draw = DRAWS[name]
    np.testing.assert_array_equal(draw(make_key(seed)), draw(jax.random.key(seed)))


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWS)
def test_draws_of_many_keys_at_once_equal_jax_random(name):
    draw = jax.jit(jax.vmap(DRAWS[name]))
    ours, theirs = (jax.random.split(make(3), 4) for make in (make_key, jax.random.key))
    np.testing.assert_array_equal(draw(ours), draw(theirs))


@pytest.mark.slow
@given(seed=SEEDS, number=st.integers(0, 2**31 - 1))
def test_derived_keys_equal_those_of_jax_random(seed, number):
    ours, theirs = make_key(seed), jax.random.key(seed)
    for derive in (
        lambda key: key,
        lambda key: jax.random.fold_in(key, number),
        lambda key: jax.random.split(key, 5),
        lambda key: jax.random.split(jax.random.fold_in(key, number), (2, 3)),
    ):
        np.testing.assert_array_equal(data(derive(ours)), data(derive(theirs)))


def test_other_seeds_give_other_numbers():
    assert (jax.random.bits(make_key(0), (8,)) != jax.random.bits(make_key(1), (8,))).any()


def test_a_saved_key_comes_back_as_the_same_kind():
    key = jax.random.split(make_key(5), 3)
    back = from_plain(to_plain(key), key)
    assert back.dtype == key.dtype
    np.testing.assert_array_equal(data(back), data(key))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="别的设备上用 JAX 自己的写法")
def test_training_uses_it_and_compiles_no_loop_of_rounds():
    """训练的钥匙是这一种；抽数的程序里没有 JAX 那个二十轮的循环。"""
    train = make_train(PPOConfig())
    state = jax.eval_shape(train.init, jnp.int32(0), PPOConfig().hyperparams())
    assert state.key.dtype == make_key(0).dtype == jax.random.key(0, impl=UNROLLED).dtype

    def loops(key):
        lowered = jax.jit(lambda key: jax.random.bits(key, (8,))).lower(key)
        return lowered.compile().as_text().count(" while(")

    assert loops(jax.random.key(0)) > 0
    assert loops(make_key(0)) == 0


# ---- 一把钥匙只用一次 --------------------------------------------------------


def lower_checking_keys(cfg: PPOConfig):
    """在 JAX 的检查之下，从初始化到一次更新走一遍（不编译、不计算）。"""
    program, hyper = make_train(cfg), cfg.hyperparams()
    with jax.debug_key_reuse(True):
        jax.jit(lambda seed: program.update(program.init(seed, hyper), hyper)).lower(0)


@pytest.mark.parametrize("shuffle", ["envs", "envs_once", "samples"])
def test_training_uses_each_key_once(shuffle):
    lower_checking_keys(dataclasses.replace(TINY, shuffle=shuffle))


def test_a_key_used_twice_is_found(monkeypatch):
    def twice(params, carry, key, *rest, **named):
        jax.random.uniform(key)
        return collect_rollout(params, carry, key, *rest, **named)

    collect_rollout = training.collect_rollout
    monkeypatch.setattr(training, "collect_rollout", twice)
    with pytest.raises(jax.errors.KeyReuseError):
        lower_checking_keys(TINY)
