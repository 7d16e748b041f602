"""第 3 章：键的表、步数的算术、量路程的做法和实验的配置。"""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import PPOConfig, train
from ppo_lib.config import FIELDS, Hyperparams, by_group, checked
from ppo_lib.course.ch03 import (
    EXPERIMENTS,
    NOTES,
    another,
    compilations,
    key_table,
    plan,
    smaller,
    with_path,
)
from ppo_lib.course.experiment import patched
from ppo_lib.training import make_train, minibatch_orders, take_minibatches


def test_the_table_covers_every_key():
    assert set(NOTES) == set(FIELDS)
    text = "\n".join(key_table(group) for group, _ in by_group())
    assert all(text.count(f"| `{name}`<br>") == 1 for name in FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_usual_values_are_accepted(name):
    for value in NOTES[name].usual:
        checked(FIELDS[name], value)


def programs(cfg):
    """JAX 照这份配置（不先经过 ``static()``）记下来的程序：训练的，开头的。要一个才写一个。"""
    fns, number = make_train(cfg), jax.ShapeDtypeStruct((), jnp.float32)
    hyper = Hyperparams(*[number] * len(Hyperparams._fields))
    integer = jax.ShapeDtypeStruct((), jnp.int32)
    state = jax.eval_shape(fns.init, integer, hyper)
    yield jax.jit(fns.run_chunk).lower(state, hyper, integer).as_text()
    yield jax.jit(fns.init).lower(integer, hyper).as_text()


@cache
def default_programs():
    return list(programs(PPOConfig()))


def of_kind(*kinds):
    return [name for name, field in FIELDS.items() if field.metadata["kind"] in kinds]


@pytest.mark.slow
def test_keys_that_are_not_static_leave_the_program_as_it_is():
    names = of_kind("traced", "run", "log")
    changed = PPOConfig(**{name: another(FIELDS[name]) for name in names})
    assert all(getattr(changed, name) != FIELDS[name].default for name in names)
    assert list(programs(changed)) == default_programs()


@pytest.mark.slow
def test_every_static_key_changes_the_program():
    for name in of_kind("static"):
        changed = programs(PPOConfig(**{name: another(FIELDS[name])}))
        assert any(a != b for a, b in zip(changed, default_programs())), name


def test_compilations_counts_what_jax_compiles():
    before = compilations()
    double = jax.jit(lambda x: 2 * x)
    x, y = np.ones(3, np.float32), np.ones(5, np.float32)
    for array, number in ((x, 1), (x + 1, 1), (y, 2)):  # 只有形状变了才再编译
        double(array).block_until_ready()
        assert compilations() - before == number


@pytest.mark.slow
def test_paths_take_the_same_steps_and_add_them_up():
    """量路程不改变训练；一次更新只走一步时，位移就是这一步的长度。"""
    cfg = PPOConfig(
        env_name="CartPole-v1", num_envs=4, num_steps=16, total_timesteps=64 * 4,
        update_epochs=1, num_minibatches=1, num_seeds=1,
    )  # fmt: skip
    plain = train(cfg, progress=False)
    with patched({"ppo_lib.training.gradient_step": with_path}):
        measured = train(cfg, progress=False)
    np.testing.assert_allclose(
        plain.metrics["value_loss"], measured.metrics["value_loss"], rtol=1e-4
    )
    step, distance = (measured.metrics[name].values[0] for name in ("step_length", "distance"))
    assert step[0] == pytest.approx(distance[0]) and (step > 0).all()
    assert (distance <= np.cumsum(step) * 1.0001).all() and distance[-1] < 0.99 * step.sum()


@pytest.mark.parametrize("name", ["fresh", "retest", "paths", "optimizers"])
def test_seeds_of_a_retest_are_new(name):
    first = EXPERIMENTS["moves"].base.seeds + EXPERIMENTS["traced"].base.seeds
    assert not set(EXPERIMENTS[name].base.seeds) & set(first)


def test_the_budget_identity():
    odd = PPOConfig(total_timesteps=100_000, num_envs=8, num_steps=96, update_epochs=3)
    for cfg in (PPOConfig(), odd, PPOConfig(update_epochs=7, num_minibatches=8)):
        p = plan(cfg)
        used = cfg.total_timesteps - cfg.dropped_timesteps
        assert p["参数动的次数"] * p["小批次的大小"] == used * cfg.update_epochs


def test_smaller_minibatches_are_parts_of_the_usual_ones():
    cfg = PPOConfig(num_envs=8, num_steps=16, shuffle="samples")
    batch = jnp.arange(128.0).reshape(16, 8)
    order = minibatch_orders(jax.random.key(0), cfg)[0]
    usual, small = take_minibatches(batch, order, cfg), smaller(5)(batch, order, cfg)
    assert small.shape == (4, 5) and (small == usual[:, :5]).all()


def test_every_variant_is_a_valid_config_with_enough_updates():
    for experiment in EXPERIMENTS.values():
        for change in experiment.variants.values():
            assert (
                dataclasses.replace(experiment.base, **change).num_updates >= experiment.points
            )
        assert set(experiment.patches) <= set(experiment.variants)
