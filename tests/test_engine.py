"""ppo_lib/widgets/engine：网页里的引擎与 ppo_lib 算出同样的数，一步一步地比。

期望的数都由 ppo_lib 当场算出，不存。库里的算法改了而引擎没有改，这里就不过（最后一组测试查这一点）。
"""

from ppo_lib import PPOConfig  # isort: skip  # 在 jax 之前

import json
import shutil
import subprocess
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import give_up
from engine_calls import DRIVER, NODE, call, create, read, write
from scipy import stats

import ppo_lib.loss as loss_room
import ppo_lib.training as training
from book.tools.generate.engine import compile_engine, install_zig
from ppo_lib.advantage import calculate_gae
from ppo_lib.config import FIELDS
from ppo_lib.envs import make_env
from ppo_lib.loss import clipped_objective, ppo_loss
from ppo_lib.optimizer import annealed_lr, make_optimizer
from ppo_lib.rollout import EnvCarry, EpisodeEnds, Transition, collect_rollout, draw_step
from ppo_lib.widgets import engine

ENVS = ("CartPole-v1", "MountainCar-v0", "Acrobot-v1")
STATE = {  # 环境状态里的几个数，按引擎里的次序
    "CartPole-v1": ("x", "x_dot", "theta", "theta_dot"),
    "MountainCar-v0": ("position", "velocity"),
    "Acrobot-v1": ("joint_angle1", "joint_angle2", "velocity_1", "velocity_2"),
}
WIDTH = {"CartPole-v1": 4, "MountainCar-v0": 4, "Acrobot-v1": 8}  # 观测补齐以后几个数
BUILDS = ("simd", "plain")


# ---- 驱动引擎 ------------------------------------------------------------------


@pytest.fixture(scope="session")
def in_chromium(browser):
    """同 ``in_node``，在 Chromium 里。"""
    page = browser.new_page()
    source = DRIVER.read_text(encoding="utf-8")

    def run(todo: list[dict]) -> list:
        call = f"([script, todo]) => {{ {source}; return runEngine(script, todo); }}"
        return json.loads(page.evaluate(call, [engine.engine_script(), todo]))

    yield run
    page.close()


def tree(leaves: dict) -> dict:
    """引擎的参数 → flax 的参数树，float32。"""
    to_array = {
        name: {k: np.float32(x) for k, x in leaf.items()} for name, leaf in leaves.items()
    }
    return {"params": to_array}


def assert_trees_close(got: dict, expected: dict, **tolerance) -> None:
    """逐片比较；形状也要相同。"""
    assert jax.tree.structure(got) == jax.tree.structure(jax.tree.map(np.asarray, expected))
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected)):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, err_msg=name, **tolerance)


# ---- 环境和采样：同样的随机数，动作个个相同 ----------------------------------------

STARTS = {  # 每个环境的前两个平行环境：快要超时的，快要真的结束的
    "CartPole-v1": ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.19, 0.4]),
    "MountainCar-v0": ([-0.5, 0.0], [0.3, 0.06]),
    "Acrobot-v1": ([0.05, 0.0, 0.0, 0.0], [1.9, 0.3, 1.5, 0.0]),
}


def start_carry(env, cfg, key) -> EnvCarry:
    """EnvCarry：环境 0 还差 9 步超时，环境 1 几步之内结束，其余照常。"""
    obs, state = jax.vmap(env.reset)(jax.random.split(key, cfg.num_envs))
    limit = {"CartPole-v1": 500, "MountainCar-v0": 200, "Acrobot-v1": 500}[cfg.env_name]
    time = state.time.at[0].set(limit - 9)
    fields = {
        name: getattr(state, name).at[:2].set([s[i] for s in STARTS[cfg.env_name]])
        for i, name in enumerate(STATE[cfg.env_name])
    }
    state = state.replace(time=time, **fields)
    raw = STATE[cfg.env_name]
    if cfg.env_name == "Acrobot-v1":
        a, b, v, w = (getattr(state, name) for name in raw)
        obs = jnp.stack([jnp.cos(a), jnp.sin(a), jnp.cos(b), jnp.sin(b), v, w], axis=-1)
    else:
        obs = jnp.stack([getattr(state, name) for name in raw], axis=-1)
    zeros = jnp.zeros(cfg.num_envs)
    return EnvCarry(obs, state, zeros, zeros.astype(jnp.int32))


def padded(x, width: int) -> np.ndarray:
    """最后一维补 0 到 width。"""
    x = np.asarray(x)
    return np.concatenate([x, np.zeros((*x.shape[:-1], width - x.shape[-1]))], axis=-1)


def states(array: str, state, env_name: str) -> dict:
    """把一批环境状态写进引擎。"""
    rows = np.stack([np.ravel(getattr(state, name)) for name in STATE[env_name]], axis=-1)
    times = np.ravel(state.time).tolist()
    rows = padded(rows, 4).tolist()
    return {"do": "states", "array": array, "rows": rows, "times": times}


def rollout_config(env_name: str, activation: str) -> PPOConfig:
    return PPOConfig(
        env_name=env_name, activation=activation, num_envs=6, num_steps=150,
        num_minibatches=3, total_timesteps=900,
    )  # fmt: skip


def check_rollout(run, cfg: PPOConfig, build: str) -> None:
    n, obs_width = cfg.batch_size, WIDTH[cfg.env_name]
    env = make_env(cfg)
    network = training.make_network(cfg, env)
    (params,) = run([create(cfg), call("params")])
    carry = start_carry(env, cfg, jax.random.key(1))
    key = jax.random.key(2)
    keys = jax.random.split(key, cfg.num_steps)
    noise, _, (_, fresh) = jax.vmap(lambda k: draw_step(k, env, cfg.num_envs))(keys)
    # 策略头放大：开始时几乎均匀的策略，看不出网络算得对不对
    params["actor_head"]["kernel"] = (200 * np.array(params["actor_head"]["kernel"])).tolist()
    end, transition, ends = jax.jit(
        lambda: collect_rollout(
            tree(params), carry, key, cfg.hyperparams(), network=network, env=env, num_steps=cfg.num_steps
        )
    )()  # fmt: skip

    floats = ("log_prob", "value", "next_value", "reward", "terminated", "truncated")
    reads = [read(name, n) for name in (*floats, "ended", "end_return", "end_length")]
    *columns, action, obs, end_obs = run(
        [
            create(cfg, build=build),
            call("setParams", params),
            states("env_state", carry.state, cfg.env_name),
            states("fresh_start", fresh, cfg.env_name),
            write("env_obs", padded(carry.obs, obs_width)),
            write("noise", padded(noise, 4)),
            {"do": "wasm", "name": "test_collect_rollout"},
            *reads,
            read("action", n, "int"),
            read("obs", n * obs_width),
            read("env_obs", cfg.num_envs * obs_width),
        ]
    )[1:]
    assert transition.truncated.any() and transition.terminated.any()
    assert len(np.unique(transition.action)) == env.num_actions
    np.testing.assert_array_equal(action, np.ravel(transition.action))
    expected = [getattr(transition, name) for name in floats]
    expected += [ends.ended, ends.episode_return, ends.episode_length]
    for name, got, want in zip([command["array"] for command in reads], columns, expected):
        where = np.ravel(ends.ended) if name.startswith("end_") else slice(None)
        if name == "next_value":  # 真的结束的步上它不起作用
            where = ~np.ravel(transition.terminated)
        want = np.ravel(np.asarray(want, float))
        np.testing.assert_allclose(
            np.array(got)[where], want[where], rtol=1e-4, atol=1e-4, err_msg=name
        )
    tolerance = dict(rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(obs, np.ravel(padded(transition.obs, obs_width)), **tolerance)
    np.testing.assert_allclose(end_obs, np.ravel(padded(end.obs, obs_width)), **tolerance)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("env_name", ENVS)
def test_rollout_is_the_same_action_for_action(in_node, env_name, build):
    activation = "tanh" if env_name == "MountainCar-v0" else "relu"
    check_rollout(in_node, rollout_config(env_name, activation), build)


@pytest.mark.slow
def test_rollout_of_more_environments_than_a_block(in_node):
    cfg = PPOConfig(
        env_name="CartPole-v1",
        num_envs=70,
        num_steps=20,
        num_minibatches=2,
        total_timesteps=1400,
    )
    check_rollout(in_node, cfg, "simd")


# ---- 一次更新：优势、每一片梯度、1 步和 8 步之后的参数、全部指标 --------------------------


class Before(NamedTuple):
    """更新之前引擎的状态，各是一棵参数树。"""

    params: dict
    mu: dict
    nu: dict
    running_grad: dict


def second_update(run, cfg: PPOConfig, build: str):
    """引擎做两次更新，记下第二次之前、途中和之后的一切。"""
    n, width = cfg.batch_size, WIDTH[cfg.env_name]
    units = n if cfg.shuffle == "samples" else cfg.num_envs
    names = (
        "log_prob", "value", "next_value", "reward", "terminated", "truncated", "ended",
        "end_return", "end_length", "advantage", "target",
    )  # fmt: skip
    learner = [call("leaves", name) for name in ("params", "mu", "nu", "running_grad")]
    results = run(
        [
            create(cfg, build=build),
            call("update"),
            *learner,
            call("update"),
            *learner,
            call("leaves", "grad"),
            *(read(name, n) for name in names),
            read("action", n, "int"),
            read("obs", n * width),
            read("orders", cfg.update_epochs * units, "int"),
        ]
    )
    before = Before(*map(tree, results[1:5]))
    metrics = {name: float(x) for name, x in results[5].items()}
    after = Before(*map(tree, results[6:10]))
    grad = tree(results[10])
    shape = (cfg.num_steps, cfg.num_envs)
    arrays = {name: np.float32(x).reshape(shape) for name, x in zip(names, results[11:22])}
    arrays["action"] = np.array(results[22]).reshape(shape)
    obs_dim = make_env(cfg).obs_dim
    arrays["obs"] = np.float32(results[23]).reshape(*shape, width)[..., :obs_dim]
    orders = np.array(results[24]).reshape(cfg.update_epochs, units)
    return before, metrics, after, grad, arrays, orders


def library_update(cfg: PPOConfig, before: Before, arrays: dict, orders):
    """同一段经验，同样的次序，ppo_lib 学一遍。"""
    hyper = jax.tree.map(jnp.float32, cfg.hyperparams())
    env = make_env(cfg)
    network = training.make_network(cfg, env)
    optimizer = training.make_optimizer(cfg.optimizer, hyper.lr, hyper)
    clip, scale, last = optimizer.init(before.params)
    fields = {"count": np.int32(cfg.update_epochs * cfg.num_minibatches), "mu": before.mu, "trace": before.mu, "nu": before.nu}  # fmt: skip
    scale = scale._replace(**{name: fields[name] for name in scale._fields})
    bools = {name: arrays[name].astype(bool) for name in ("terminated", "truncated", "ended")}
    arrays = {name: jnp.asarray(x) for name, x in (arrays | bools).items()}
    rollout = Transition(**{name: arrays[name] for name in Transition._fields})
    ends = EpisodeEnds(arrays["ended"], arrays["end_return"], arrays["end_length"])
    state = training.TrainState(
        before.params, (clip, scale, last), before.running_grad, None, None, np.int32(1)
    )

    def update():
        batch = training.make_batch(rollout, hyper, cfg)
        grad = jax.grad(training.ppo_loss, has_aux=True)(
            before.params, first_minibatch(batch, orders, cfg), hyper, network=network,
            advantage_norm=cfg.advantage_norm, clip_value=cfg.clip_value,
        )[0]  # fmt: skip
        learner, metrics = training.learn(state, batch, None, hyper, cfg, network)
        metrics |= training.episode_metrics(ends, rollout, cfg.env_name)
        metrics["explained_variance"] = training.explained_variance(rollout.value, batch.target)
        return batch, grad, learner, metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "minibatch_orders", lambda key, cfg: jnp.asarray(orders))
        return jax.jit(update)()


def first_minibatch(batch, orders, cfg: PPOConfig):
    return jax.tree.map(
        lambda x: x[0], training.take_minibatches(batch, jnp.asarray(orders[0]), cfg)
    )


def check_update(run, cfg: PPOConfig, build: str = "simd") -> None:
    before, metrics, after, grad, arrays, orders = second_update(run, cfg, build)
    batch, first_grad, learner, expected = library_update(cfg, before, arrays, orders)

    np.testing.assert_allclose(arrays["advantage"], batch.advantage, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(arrays["target"], batch.target, rtol=1e-5, atol=2e-5)
    if cfg.update_epochs * cfg.num_minibatches == 1:  # 只有一步，留下的就是它的梯度
        assert_trees_close(grad, first_grad, rtol=1e-5, atol=1e-5)
    params, (_, scale, _), running_grad = learner
    assert_trees_close(after.params, params, rtol=0, atol=1e-5)
    assert_trees_close(after.running_grad, running_grad, rtol=1e-4, atol=1e-5)
    for name, got in (("mu", after.mu), ("trace", after.mu), ("nu", after.nu)):
        if hasattr(scale, name):
            assert_trees_close(got, getattr(scale, name), rtol=1e-4, atol=1e-5)
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-4, atol=2e-5, err_msg=name)


def small(**changes) -> PPOConfig:
    """一次更新 8 步的小配置；宽度都不是 4 的倍数，小批次不是 64 的倍数。"""
    base = dict(
        env_name="CartPole-v1", num_envs=12, num_steps=25, num_minibatches=4, update_epochs=2,
        hidden_sizes=(10, 7), total_timesteps=3000, lr=1e-3, running_grad_decay=0.5,
    )  # fmt: skip
    return PPOConfig(**base | changes)


ONE_STEP = dict(update_epochs=1, num_minibatches=1)

CASES = {
    "defaults": PPOConfig(env_name="CartPole-v1", total_timesteps=20480),
    "one step": small(**ONE_STEP),
    "one step, tanh": small(**ONE_STEP, activation="tanh", env_name="Acrobot-v1"),
    "one step, everything else": small(
        **ONE_STEP, clip_value=True, clip_eps=0.02, ent_coef=0.1, vf_coef=0.3,
        advantage_norm="none", critic_bias=3.0, anneal_lr=False,
    ),
    "MountainCar, tanh": small(env_name="MountainCar-v0", activation="tanh", ent_coef=0.05),
    "timeouts as ends": small(env_name="MountainCar-v0", bootstrap_truncation=False, num_steps=250, total_timesteps=60_000),
    "Acrobot, three layers": small(env_name="Acrobot-v1", hidden_sizes=(8, 5, 9)),
    "one layer, envs": small(hidden_sizes=(33,), shuffle="envs", advantage_norm="batch"),
    "samples": small(shuffle="samples", gamma=0.9, gae_lambda=0.5),
    "many environments": small(num_envs=72, num_steps=5, total_timesteps=3600),
    "critic_beta_1": small(beta_1=0.5, critic_beta_1=0.99),
    "critic_beta_1, sgd": small(optimizer="sgd", beta_1=0.2, critic_beta_1=0.9, lr=0.05),
    "rmsprop": small(optimizer="rmsprop", beta_2=0.9),
    "clipped": small(clip_eps=0.01, clip_value=True, lr=5e-3, max_grad_norm=0.1, update_epochs=4),
}  # fmt: skip


AT_ONCE = ("defaults", "one step, everything else", "samples")


@pytest.mark.parametrize(
    "cfg",
    [
        pytest.param(cfg, id=name, marks=() if name in AT_ONCE else pytest.mark.slow)
        for name, cfg in CASES.items()
    ],
)
def test_update_is_the_same(in_node, cfg):
    check_update(in_node, cfg)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["defaults", "MountainCar, tanh"])
def test_chromium_computes_the_same(in_chromium, name):
    check_update(in_chromium, CASES[name])
    check_rollout(in_chromium, rollout_config(CASES[name].env_name, "relu"), "simd")


# ---- 库改了，引擎没有改：上面的比较看得出来 ------------------------------------------


def scaled_loss(total: float = 1.0, **scales):
    """把 ppo_loss 的几个系数改大改小，或整个乘一个数。"""

    def loss(params, batch, hyper, **settings):
        changed = {name: getattr(hyper, name) * scale for name, scale in scales.items()}
        value, aux = ppo_loss(params, batch, hyper._replace(**changed), **settings)
        return total * value, aux

    return loss


def unclipped(ratio, advantage, clip_eps):
    return ratio * advantage


def one_sided(ratio, advantage, clip_eps):
    return jnp.where(
        ratio < 1, ratio * advantage, clipped_objective(ratio, advantage, clip_eps)
    )


def wrong_gae(*arguments):
    *arrays, gamma, gae_lambda = arguments
    return calculate_gae(*arrays, gamma, 0.99 * gae_lambda)


def ignores_truncation(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    return calculate_gae(
        reward, value, next_value, terminated | truncated, truncated, gamma, gae_lambda
    )


MUTANTS = {
    "entropy with the wrong sign": (training, "ppo_loss", scaled_loss(ent_coef=-1.0)),
    "value loss not halved": (training, "ppo_loss", scaled_loss(vf_coef=2.0)),
    "loss one per cent larger": (training, "ppo_loss", scaled_loss(total=1.01)),
    "ratio never clipped": (loss_room, "clipped_objective", unclipped),
    "ratio clipped on one side": (loss_room, "clipped_objective", one_sided),
    "value loss clipped elsewhere": (loss_room, "clipped_value_loss", lambda v, old, target, eps: 0.5 * (v - target) ** 2),
    "sample standard deviation": (loss_room, "normalize", lambda a: (a - a.mean()) / (a.std(ddof=1) + 1e-8)),
    "lambda one per cent smaller": (training, "calculate_gae", wrong_gae),
    "timeouts not bootstrapped": (training, "calculate_gae", ignores_truncation),
    "annealed from the next update": (training, "annealed_lr", lambda lr, update, n: annealed_lr(lr, update + 1, n)),
    "beta_1 of the Actor for both": (training, "make_optimizer", lambda kind, lr, hyper: make_optimizer(kind, lr, hyper._replace(critic_beta_1=hyper.beta_1))),
}  # fmt: skip
"""(哪一间, 函数名, 改坏的函数)：各种想得到的改动。"""


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_change_of_the_library_alone_is_noticed(in_node, monkeypatch, mutant):
    """改坏以前过，改坏以后不过。"""
    cfg = small(
        env_name="MountainCar-v0", num_envs=8, num_steps=250, total_timesteps=20_000, lr=2e-2,
        clip_eps=0.01, clip_value=True, ent_coef=0.05, beta_1=0.5, critic_beta_1=0.9,
    )  # fmt: skip
    check_update(in_node, cfg)
    monkeypatch.setattr(*mutant)
    with pytest.raises(AssertionError):
        check_update(in_node, cfg)


# ---- 数学函数、随机数、初始化 -------------------------------------------------------


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(
    "which, function, low, high, tolerance",
    [
        (0, np.exp, -80, 80, 1e-13),
        (1, np.log, 1e-30, 1e6, 1e-13),
        (2, np.sin, -30, 30, 1e-13),
        (3, np.cos, -30, 30, 1e-13),
        (4, np.tanh, -12, 12, 2e-7),
        (4, np.tanh, -1, 1, 2e-7),
    ],
)
def test_mathematical_functions(in_node, build, which, function, low, high, tolerance):
    """标量的到 double 的 1e-13，tanh 到 float 的两个舍入。"""
    xs = np.linspace(low, high, 20_001)
    if which >= 4:
        xs = xs.astype(np.float32).astype(float)
    (got,) = in_node([create(small(), build=build), {"do": "evaluate", "which": which, "xs": xs.tolist()}])  # fmt: skip
    np.testing.assert_allclose(np.array(got, float), function(xs), rtol=tolerance, atol=1e-13)


def test_functions_at_the_edges(in_node):
    edges = {
        0: ([-1e4, 0, 1e4], ["0", "1", "Infinity"]),
        1: ([0, 1, -1], ["-Infinity", "0", "NaN"]),
        4: ([0, 50, -1e30], ["0", "1", "-1"]),
    }
    todo = [{"do": "evaluate", "which": which, "xs": xs} for which, (xs, _) in edges.items()]
    for got, (_, expected) in zip(in_node([create(small()), *todo]), edges.values()):
        np.testing.assert_array_equal(np.array(got, float), np.array(expected, float))


@pytest.mark.parametrize(
    "which, distribution", [(0, stats.uniform), (1, stats.gumbel_r), (2, stats.norm)]
)
def test_random_numbers_have_their_distribution(in_node, which, distribution):
    """Kolmogorov–Smirnov，四万个；相邻的数不相关；换一个种子就换一串。"""
    cfg, n = PPOConfig(), 8000
    draw = {"do": "draw", "which": which, "n": n}
    first, second, other = in_node([create(cfg, 1), draw, draw, create(cfg, 2), draw])
    assert len({*first} & {*second}) < n / 100 and first[:9] != other[:9]
    x = np.array(first + second)
    assert stats.kstest(x, distribution.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 4 / np.sqrt(len(x))
    assert abs(np.corrcoef(first, other)[0, 1]) < 4 / np.sqrt(n)


def test_orders_are_permutations_and_uniform(in_node):
    """每个单位在每个位置上出现得一样多（卡方）；envs_once 各遍相同，envs 各遍不同。"""
    cfg = small(shuffle="envs", update_epochs=2000, hidden_sizes=(1,), total_timesteps=300)
    (_, flat) = in_node([create(cfg), call("update"), read("orders", 2000 * 12, "int")])
    orders = np.reshape(flat, (2000, 12))
    assert (np.sort(orders) == np.arange(12)).all()
    counts = np.array([np.bincount(column, minlength=12) for column in orders.T])
    assert stats.chisquare(counts.ravel(), ddof=22).pvalue > 1e-3
    (_, flat) = in_node([create(small()), call("update"), read("orders", 24, "int")])
    assert flat[:12] == flat[12:] and sorted(flat[:12]) == list(range(12))


@pytest.mark.parametrize("hidden_sizes", [(64, 64), (10, 7), (3, 50, 5)])
def test_initialization_is_orthogonal_with_the_gains_of_the_library(in_node, hidden_sizes):
    cfg = small(hidden_sizes=hidden_sizes, critic_bias=-20.0)
    env = make_env(cfg)
    expected = training.make_network(cfg, env).init(jax.random.key(0), jnp.zeros(env.obs_dim))
    params, other = in_node([create(cfg, 1), call("params"), create(cfg, 2), call("params")])
    assert jax.tree.map(np.shape, tree(params)) == jax.tree.map(np.shape, expected)
    for name, leaf in tree(params)["params"].items():
        gain = {"actor_head": 0.01, "critic_head": 1.0}.get(name, np.sqrt(2))
        kernel = (
            leaf["kernel"]
            if np.shape(leaf["kernel"])[0] > np.shape(leaf["kernel"])[1]
            else leaf["kernel"].T
        )
        gram = kernel.T @ kernel
        np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-6)
        assert (leaf["bias"] == (-20.0 if name == "critic_head" else 0.0)).all()
        assert not np.allclose(leaf["kernel"], other[name]["kernel"])


@pytest.mark.parametrize("env_name", ENVS)
def test_episodes_start_where_the_library_starts(in_node, env_name):
    """第一个观测的分布：两样本 Kolmogorov–Smirnov，逐维。"""
    cfg = small(
        env_name=env_name, num_envs=1000, num_steps=1, num_minibatches=1, total_timesteps=1000
    )
    env, width = make_env(cfg), WIDTH[env_name]
    (flat,) = in_node([create(cfg), read("env_obs", 1000 * width)])
    expected = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 1000))[0]
    for got, want in zip(np.reshape(flat, (1000, width)).T, np.asarray(expected).T):
        assert stats.ks_2samp(got, want).pvalue > 1e-3


# ---- 整个引擎 --------------------------------------------------------------------


def test_both_builds_and_the_same_seed_give_the_same_bits(in_node):
    cfg = small(activation="tanh", env_name="Acrobot-v1")
    updates = [call("update")] * 5
    runs = [
        in_node([create(cfg, seed, build), *updates, call("params")])
        for seed, build in [(7, "simd"), (7, "plain"), (7, "simd"), (8, "simd")]
    ]
    assert runs[0] == runs[1] == runs[2] != runs[3]


def test_a_saved_state_continues_bit_for_bit(in_node):
    _, (first, again) = in_node(
        [create(small()), call("update"), {"do": "rewind", "updates": 3}]
    )
    assert first == again and len({row["actor_loss"] for row in first}) == 3


def test_hyperparameters_change_in_the_middle(in_node):
    """途中改 lr，与一开始就用那个 lr 训练的第一步不同，第一次更新相同。"""
    cfg, changed = small(anneal_lr=False), [call("set", {"lr": 1e-5, "critic_beta_1": None})]
    plain = in_node([create(cfg), call("update"), call("update")])
    slowed = in_node([create(cfg), call("update"), *changed, call("update")])
    assert plain[0] == slowed[0] and slowed[2]["learning_rate"] == pytest.approx(1e-5)


def test_value_plane_and_action_probabilities_are_the_networks(in_node):
    cfg = small(env_name="MountainCar-v0")
    params, plane, probabilities = in_node(
        [create(cfg), call("params"), call("valuePlane", 8), call("act", [-0.5, 0.01])]
    )
    network = training.make_network(cfg, make_env(cfg))
    position, velocity = np.meshgrid(
        np.linspace(-1.2, 0.6, 17)[1::2], np.linspace(-0.07, 0.07, 17)[1::2]
    )
    _, value = network.apply(tree(params), jnp.stack([position, velocity], axis=-1))
    np.testing.assert_allclose(plane, value, atol=1e-5)
    pi, _ = network.apply(tree(params), jnp.array([-0.5, 0.01]))
    np.testing.assert_allclose(probabilities, pi.probs, atol=1e-6)


def test_playing_does_not_change_the_training(in_node):
    watched = in_node([create(small()), *[call("play")] * 60, call("update")])
    assert watched[-1] == in_node([create(small()), call("update")])[0]
    frames = watched[:-1]
    assert {frame["action"] for frame in frames} == {-1, 0, 1}
    assert all(abs(frame["state"][2]) < 0.21 for frame in frames)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"lr": -1}, "lr = -1 不合法；允许的取值：(0, +∞) 内的实数"),
        ({"lr": "0.1"}, 'lr = "0.1" 不合法'),
        ({"beta_1": 1}, "允许的取值：[0, 1) 内的实数"),
        (
            {"critic_beta_1": 1},
            "critic_beta_1 = 1 不合法；允许的取值：[0, 1) 内的实数，或 null",
        ),
        ({"gamma": None}, "gamma = null 不合法"),
        ({"num_envs": 2.5}, "num_envs = 2.5 不合法"),
        (
            {"env_name": "Breakout-MinAtar"},
            "允许的取值：CartPole-v1 | MountainCar-v0 | Acrobot-v1",
        ),
        ({"activation": "gelu"}, "允许的取值：relu | tanh"),
        ({"hidden_sizes": [8, 8, 8, 8]}, "hidden_sizes"),
        ({"hidden_sizes": []}, "hidden_sizes"),
        ({"hidden_sizes": [300]}, "允许的取值：1 到 3 个 [1, 256] 内的整数"),
        ({"update_epochs": 10**6}, "update_epochs = 1000000 太大"),
        ({"clip_eq": 0.2}, "没有名为 clip_eq 的键"),
        ({"num_minibatches": 5}, "num_minibatches = 5 不合法"),
        ({"total_timesteps": 10}, "total_timesteps = 10 不够一次更新"),
        ({"num_steps": 10**6, "total_timesteps": 10**9}, "太大"),
        ({"num_minibatches": 300, "shuffle": "samples"}, "advantage_norm"),
    ],
)
def test_mistakes_are_told_in_chinese(in_node, changes, message):
    command = create(small())
    command["config"] |= changes
    (result,) = in_node([command])
    assert message in result["error"]


def test_static_keys_are_refused_in_the_middle(in_node):
    todo = [call("set", {"num_envs": 4}), call("set", {"lr": 0}), call("set", {"entropy": 1})]
    for result in in_node([create(small()), *todo]):
        assert "不能在训练途中设定" in result["error"]


def test_keys_and_choices_come_from_the_config():
    """C 里 enum 的次序就是 choices 的次序；引擎没有的键，只有网页不支持的和不影响结果的。"""
    header = (engine.HERE / "ppo.h").read_text(encoding="utf-8")
    for name, words in {
        "optimizer": "ADAM, RMSPROP, SGD",
        "shuffle": "ENVS_ONCE, ENVS, SAMPLES",
        "advantage_norm": "NORM_MINIBATCH, NORM_BATCH, NORM_NONE",
        "activation": "RELU, TANH",
    }.items():
        assert f"enum {{ {words} }}" in header
        choices = [word.removeprefix("NORM_").lower() for word in words.split(", ")]
        assert choices == list(FIELDS[name].metadata["choices"])
    missing = {
        name for name, f in FIELDS.items() if f.metadata["kind"] in ("static", "traced")
    } - {*engine.KEYS}
    assert missing == {"shared_trunk", "obs_scaling", "reward_shaping", "shaping_scale"}
    assert engine.key_specs()["lr"]["default"] == PPOConfig().lr


# ---- Worker 和 Worker 池 -----------------------------------------------------------


@pytest.fixture(scope="session")
def play_scene(tmp_path_factory):
    """让 Worker 的脚本在 Node 里演一出戏，返回它发出的全部消息。"""
    if NODE is None:
        give_up("没有找到 node")
    folder = tmp_path_factory.mktemp("tasks")
    script, scene = folder / "worker.js", folder / "scene.json"
    script.write_text(engine.worker_script(), encoding="utf-8")

    def play(*steps: dict) -> list[dict]:
        scene.write_text(json.dumps(steps), encoding="utf-8")
        command = [NODE, str(DRIVER.with_name("engine_tasks.js")), str(script), str(scene)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr[-3000:]
        return json.loads(result.stdout)

    return play


def start(cfg: PPOConfig, *seeds: int) -> dict:
    return {"send": {"kind": "start", "config": create(cfg)["config"], "seeds": seeds}}


def send(kind: str, **rest) -> dict:
    return {"send": {"kind": kind} | rest}


def rows_of(messages) -> list[dict]:
    return [row for message in messages if message["kind"] == "rows" for row in message["rows"]]


def after(messages: list[dict], sent: str) -> list[dict]:
    """某条消息发出以后收到的。"""
    place = max(i for i, message in enumerate(messages) if message.get("message") == sent)
    return messages[place + 1 :]


def test_seeds_train_in_turn_and_give_the_rows_of_a_lone_trainer(play_scene, in_node):
    messages = play_scene(start(small(), 3, 4), {"until": "done", "count": 2})
    rows = rows_of(messages)
    assert [(row["seed"], row["update"]) for row in rows] == [
        (s, u) for u in range(1, 11) for s in (3, 4)
    ]
    alone = in_node([create(small(), 4), *[call("update")] * 10])
    assert [row["metrics"] for row in rows if row["seed"] == 4] == alone
    assert {m["seed"] for m in messages if m["kind"] == "done"} == {3, 4}


def test_pause_step_and_resume(play_scene):
    cfg = small(total_timesteps=300 * 2000)
    messages = play_scene(
        start(cfg, 0, 1), {"until": "rows"},
        send("pause"), {"sleep": 100},
        send("step"), {"sleep": 100},
        send("resume"), {"until": "rows"},
    )  # fmt: skip
    cut = [i for i, message in enumerate(messages) if message["kind"] == "sent"]
    running, paused, stepped, resumed = (
        rows_of(messages[i:j]) for i, j in zip(cut, [*cut[1:], len(messages)])
    )
    assert running and not paused and resumed
    assert sorted(row["seed"] for row in stepped) == [0, 1]
    assert max(r["update"] for r in running) + 1 == max(r["update"] for r in stepped)


def test_divergence_ends_in_an_explanation_and_the_other_messages_work_on(play_scene):
    cfg = small(lr=1e30, max_grad_norm=1e30, total_timesteps=300_000)
    messages = play_scene(start(cfg, 0), {"until": "diverged"}, {"sleep": 50})
    (told,) = [message for message in messages if message["kind"] == "diverged"]
    assert told["seed"] == 0 and "发散" in told["text"]
    assert messages[-1] == told  # 此后不再训练


def test_errors_are_messages(play_scene):
    bad = {"send": {"kind": "start", "config": {"lr": 0}, "seeds": [0]}}
    messages = play_scene(bad, send("resume"), send("nonsense"))
    texts = [message["text"] for message in messages if message["kind"] == "error"]
    assert len(texts) == 2 and "lr = 0 不合法" in texts[0]


def test_stop_set_inspect_and_play(play_scene):
    cfg = small(env_name="MountainCar-v0", total_timesteps=300_000, anneal_lr=False)
    messages = play_scene(
        start(cfg, 5), {"until": "rows"},
        send("set", values={"lr": 1e-6}), {"until": "rows", "count": 2},
        send("inspect", seed=5, plane=4), send("play", seed=5, steps=3),
        send("stop"), {"sleep": 50},
    )  # fmt: skip
    assert rows_of(after(messages, "set"))[-1]["metrics"]["learning_rate"] == pytest.approx(
        1e-6
    )
    (plane,) = [message["plane"] for message in messages if message["kind"] == "inspected"]
    assert np.shape(plane) == (4, 4)
    (frames,) = [message["frames"] for message in messages if message["kind"] == "played"]
    assert len(frames) == 3
    assert after(messages, "stop") == []


def test_slow_motion_waits_between_gradient_steps(play_scene):
    cfg = small(total_timesteps=300_000)
    messages = play_scene(send("pace", delay=10), start(cfg, 0), {"sleep": 300})
    assert 1 <= len(rows_of(messages)) <= 3  # 一次更新 9 小段，至少 90 毫秒


@pytest.mark.slow
def test_a_page_opened_from_a_file_trains_on_every_core_and_stays_alive(
    browser, in_node, tmp_path
):
    """真的 Worker：两个种子各在一个 Worker 里，页面不卡，回答来得快，曲线与 Node 的逐位相同。"""
    page_path = tmp_path / "page.html"
    source = json.dumps(engine.worker_script()).replace("</", "<\\/")
    page_path.write_text(
        f"<script>const source = {source};</script><script>{engine.read('pool.js')}</script>",
        encoding="utf-8",
    )
    page = browser.new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_path.as_uri())
    result = page.evaluate(
        """([config]) => new Promise((resolve) => {
          const rows = [], waits = [];
          let frames = 0, done = 0, asked = 0;
          const start = performance.now();
          const count = () => { frames++; if (done < 2) requestAnimationFrame(count); };
          requestAnimationFrame(count);
          const pool = createPool(() => source, (message) => {
            if (message.kind === "rows") rows.push(...message.rows);
            if (message.kind === "inspected") waits.push(performance.now() - asked);
            if (message.kind === "done") done++;
            if (message.kind === "error") resolve({ error: message.text });
            if (done === 2) {
              pool.dispose();
              resolve({ rows, waits, frames, seconds: (performance.now() - start) / 1000 });
            } else if (message.kind !== "rows") ask();
          }, 2);
          const ask = () => setTimeout(() => { asked = performance.now(); pool.ask(0, { kind: "inspect", plane: 8 }); }, 20);
          pool.start(config, [0, 1]);
          ask();
        })""",
        [create(small(total_timesteps=300 * 400))["config"]],
    )
    page.close()
    assert "error" not in result and errors == []
    assert all(url.startswith(("file:", "blob:")) for url in requests)
    assert len(result["rows"]) == 800
    alone = in_node([create(small(total_timesteps=300 * 400)), *[call("update")] * 400])
    ours = [row["metrics"]["value_loss"] for row in result["rows"] if row["seed"] == 0]
    assert ours == [row["value_loss"] for row in alone]
    assert np.median(result["waits"]) < 100  # 25 毫秒一段；这台机器还在做别的


# ---- Wasm ------------------------------------------------------------------------


def test_script_is_self_contained():
    script = engine.worker_script()
    for forbidden in ("http", "import ", "import(", "fetch(", "</script", "require("):
        assert forbidden not in script
    for name in engine.BUILDS.values():
        assert (engine.HERE / name).stat().st_size < 30_000


@pytest.mark.slow
def test_committed_wasm_is_what_the_source_compiles_to(tmp_path):
    """按锁文件装上编译器，换一个文件夹编译，字节相同。"""
    try:
        install_zig()
    except subprocess.CalledProcessError:
        give_up("没有装上 ziglang")
    source = tmp_path / "elsewhere"
    source.mkdir()
    for path in engine.HERE.glob("*.[ch]"):
        shutil.copy(path, source)
    for build, name in engine.BUILDS.items():
        compile_engine(source, tmp_path / name, build)
        assert (tmp_path / name).read_bytes() == (engine.HERE / name).read_bytes(), (
            "改了 C 或换了 ziglang，要重新编译：python -m book.tools.generate.engine"
        )
