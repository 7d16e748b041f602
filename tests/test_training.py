"""training.py：小批次怎么抽，一次更新做了什么，一块更新怎么接上。"""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from ppo_lib import PPOConfig, training
from ppo_lib.envs import make_env
from ppo_lib.loss import Minibatch
from ppo_lib.rollout import EpisodeEnds, Transition, collect_rollout
from ppo_lib.training import (
    CHUNK,
    episode_metrics,
    init_state,
    make_network,
    make_train,
    minibatch_orders,
    random_order,
    update_once,
)

SMALL = dict(
    num_envs=4,
    num_steps=32,
    hidden_sizes=(8,),
    num_minibatches=2,
    update_epochs=2,
    total_timesteps=12_800,
)


class Setup:
    """一个成员：配置、环境、网络、超参数和初始状态，都不经编译，可以逐步查看。"""

    def __init__(self, seed=0, **changes):
        self.cfg = PPOConfig(**SMALL | changes)
        self.env = make_env(self.cfg)
        self.network = make_network(self.cfg, self.env)
        self.hyper = jax.tree.map(jnp.float32, self.cfg.hyperparams())
        self.parts = dict(cfg=self.cfg, env=self.env, network=self.network)
        self.state = init_state(seed, self.hyper, **self.parts)

    def near_timeout(self):
        """把 MountainCar 的钟拨到快超时：各个环境在第 8、14、20、26 步截断。"""
        env = self.state.env
        clocks = jnp.array([192, 186, 180, 174], jnp.int32)
        self.state = self.state._replace(env=env._replace(state=env.state.replace(time=clocks)))
        return self

    def update(self):
        return update_once(self.state, self.hyper, **self.parts)

    def rollout(self):
        """update_once 将要看到的那段经验，和它打乱用的钥匙。"""
        rollout_key, shuffle_key = jax.random.split(
            jax.random.fold_in(self.state.key, self.state.update)
        )
        _, rollout, _ = collect_rollout(
            self.state.params,
            self.state.env,
            rollout_key,
            self.hyper,
            network=self.network,
            env=self.env,
            num_steps=self.cfg.num_steps,
        )
        return rollout, shuffle_key


# ---------------------------------------------------------------- 第一个小批次


@pytest.mark.slow
def test_ratio_is_one_before_the_first_step_of_an_update():
    setup = Setup(env_name="CartPole-v1")
    rollout, _ = setup.rollout()
    pi, value = setup.network.apply(setup.state.params, rollout.obs)
    ratio = jnp.exp(pi.log_prob(rollout.action) - rollout.log_prob)
    assert rollout.action.std() > 0
    np.testing.assert_allclose(ratio, 1.0, atol=1e-5)
    np.testing.assert_allclose(value, rollout.value, atol=1e-5)


@pytest.mark.slow
def test_an_update_of_one_minibatch_reports_no_kl_and_nothing_clipped():
    """只有一个小批次时，指标都是参数还没动时算的：比率全是 1，KL 是 0。"""
    setup = Setup(env_name="CartPole-v1", update_epochs=1, num_minibatches=1, lr=0.1)
    _, metrics = setup.update()
    assert metrics["clip_frac"] == 0
    assert abs(metrics["approx_kl"]) < 1e-10
    assert abs(metrics["actor_loss"]) < 1e-5  # 标准化后的优势平均是 0
    assert metrics["cosine_similarity"] == 0  # 还没有上一个梯度


# ---------------------------------------------------------------- 小批次


def order_config(shuffle, update_epochs=5):
    return PPOConfig(
        num_envs=8, num_steps=6, num_minibatches=4, update_epochs=update_epochs, shuffle=shuffle
    )


@pytest.mark.parametrize("shuffle, units", [("envs_once", 8), ("envs", 8), ("samples", 48)])
def test_every_epoch_is_a_permutation(shuffle, units):
    orders = np.asarray(minibatch_orders(jax.random.key(3), order_config(shuffle)))
    assert orders.shape == (5, units)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(units), (5, 1)))
    distinct = {tuple(order) for order in orders}
    assert len(distinct) == (1 if shuffle == "envs_once" else 5)


@pytest.mark.parametrize("shuffle", ["envs_once", "envs", "samples"])
def test_another_key_draws_another_order(shuffle):
    draw = [
        np.asarray(minibatch_orders(jax.random.key(k), order_config(shuffle))) for k in range(2)
    ]
    assert (draw[0] != draw[1]).any()


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 9000), seed=st.integers(0, 2**31 - 1))
@example(n=1, seed=0)
@example(n=2, seed=0)
@example(n=3, seed=0)
@example(n=4096, seed=0)
@example(n=8191, seed=1)
@example(n=8192, seed=1)  # 位数够用的最后一个
@example(n=8193, seed=1)  # 从这里起退回 jax.random.permutation
@example(n=20_000, seed=1)
def test_random_order_is_a_permutation(n, seed):
    order = jax.jit(random_order, static_argnums=1)(jax.random.key(seed), n)
    assert order.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


def chi_square_p_value(counts):
    return scipy.stats.chisquare(counts).pvalue


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 13])
def test_random_order_puts_each_element_anywhere(n):
    keys = jax.random.split(jax.random.key(n), 20_000)
    orders = np.asarray(jax.vmap(lambda k: random_order(k, n))(keys))
    for element in (0, n - 1):
        position = np.argmax(orders == element, axis=1)
        assert chi_square_p_value(np.bincount(position, minlength=n)) > 1e-4


def test_random_order_draws_all_six_orders_of_three_equally():
    keys = jax.random.split(jax.random.key(0), 30_000)
    orders = np.asarray(jax.vmap(lambda k: random_order(k, 3))(keys))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert chi_square_p_value(counts) > 1e-4


def test_random_order_has_no_bias_where_few_random_bits_are_left():
    """n = 8192 时随机的只有高 19 位；相邻的两个元素谁先谁后仍应各半。"""
    orders = np.stack([random_order(jax.random.key(k), 8192) for k in range(20)])
    position = np.argsort(orders, axis=1)
    first = (position[:, 0::2] < position[:, 1::2]).mean()
    assert abs(first - 0.5) < 4 * 0.5 / np.sqrt(20 * 4096)
    correlation = np.corrcoef(position.ravel(), np.tile(np.arange(8192), 20))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(20 * 8192)


def numbered_batch(cfg):
    """每个样本的每个字段都写着它自己的编号 t * num_envs + e。"""
    number = jnp.arange(cfg.batch_size).reshape(cfg.num_steps, cfg.num_envs)
    return Minibatch(
        obs=jnp.stack([number, -number, number], -1),
        action=number,
        log_prob=number,
        value=number,
        advantage=number,
        target=number,
    )


@pytest.mark.parametrize("shuffle", ["envs_once", "envs", "samples"])
def test_minibatches_use_each_sample_once_and_keep_its_fields_together(shuffle):
    cfg = order_config(shuffle)
    order = minibatch_orders(jax.random.key(1), cfg)[0]
    minibatches = training.take_minibatches(numbered_batch(cfg), order, cfg)
    assert minibatches.obs.shape == (4, 12, 3)
    number = np.asarray(minibatches.action)  # (num_minibatches, batch)
    np.testing.assert_array_equal(np.sort(number.ravel()), np.arange(48))
    for field in (
        minibatches.log_prob,
        minibatches.value,
        minibatches.advantage,
        minibatches.target,
        minibatches.obs[..., 0],
        -minibatches.obs[..., 1],
    ):
        np.testing.assert_array_equal(field, number)

    envs_per_minibatch = [len(set(row % cfg.num_envs)) for row in number]
    if shuffle == "samples":
        assert max(envs_per_minibatch) > 2
    else:
        assert envs_per_minibatch == [2, 2, 2, 2]  # 整个环境在一起
        whole = {tuple(sorted(row)) for row in number.reshape(8, 6)}
        assert whole == {tuple(range(env, 48, 8)) for env in range(8)}


# ---------------------------------------------------------------- 截断


def captured_gae(monkeypatch, setup):
    """跑一次更新，记下 calculate_gae 的参数和结果。"""
    seen = {}

    def spy(*args):
        seen["args"], seen["result"] = args, original(*args)
        return seen["result"]

    original = training.calculate_gae
    monkeypatch.setattr(training, "calculate_gae", spy)
    setup.update()
    monkeypatch.undo()
    return [np.asarray(x) for x in seen["args"][:5]], [np.asarray(x) for x in seen["result"]]


@pytest.mark.slow
@pytest.mark.parametrize("gae_lambda", [0.0, 0.9])
def test_bootstrap_truncation_changes_targets_through_truncated_steps_only(
    monkeypatch, gae_lambda
):
    """少接的正是 γ·V(s')；它沿 (γλ)^k 传回本回合更早的步，传不到别的回合。"""
    gamma = 0.8
    kept, dropped = (
        captured_gae(
            monkeypatch,
            Setup(bootstrap_truncation=flag, gae_lambda=gae_lambda, gamma=gamma).near_timeout(),
        )
        for flag in (True, False)
    )
    (reward, value, next_value, terminated, truncated), (_, target) = kept
    assert not terminated.any()
    assert [list(np.flatnonzero(truncated[:, env])) for env in range(4)] == [
        [7],
        [13],
        [19],
        [25],
    ]
    np.testing.assert_array_equal(dropped[0][3], truncated)  # 截断当成了结束

    expected = np.zeros_like(target)
    for env, end in enumerate([7, 13, 19, 25]):
        for t in range(end + 1):
            expected[t, env] = (gamma * gae_lambda) ** (end - t) * gamma * next_value[end, env]
    if gae_lambda == 0:
        np.testing.assert_array_equal(expected != 0, truncated)
    np.testing.assert_allclose(target - dropped[1][1], expected, atol=1e-6)
    assert np.abs(expected).max() > 1e-3


# ---------------------------------------------------------------- 独立的重新实现


def reference_gae(rollout, cfg):
    """逐个环境、逐步往回递推；截断且不接时当作结束。"""
    reward, value, next_value, terminated, truncated = (
        np.asarray(x, np.float64)
        for x in (
            rollout.reward,
            rollout.value,
            rollout.next_value,
            rollout.terminated,
            rollout.truncated,
        )
    )
    advantage = np.zeros_like(reward)
    for env in range(cfg.num_envs):
        running = 0.0
        for t in reversed(range(cfg.num_steps)):
            over = terminated[t, env] or (truncated[t, env] and not cfg.bootstrap_truncation)
            future = 0.0 if over else next_value[t, env]
            if terminated[t, env] or truncated[t, env]:
                running = 0.0
            running = (
                reward[t, env]
                + cfg.gamma * future
                - value[t, env]
                + cfg.gamma * cfg.gae_lambda * running
            )
            advantage[t, env] = running
    return advantage, advantage + value


def reference_forward(params, obs, activation):
    """两个一层的 MLP，直接读参数写出。"""
    p = params["params"]
    f = {"relu": lambda x: jnp.where(x > 0, x, 0), "tanh": jnp.tanh}[activation]
    logits = (
        f(obs @ p["actor_0"]["kernel"] + p["actor_0"]["bias"]) @ p["actor_head"]["kernel"]
        + p["actor_head"]["bias"]
    )
    value = (
        f(obs @ p["critic_0"]["kernel"] + p["critic_0"]["bias"]) @ p["critic_head"]["kernel"]
    )
    return logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True), (
        value + p["critic_head"]["bias"]
    )[:, 0]


def reference_loss(params, obs, action, old_log_prob, old_value, advantage, target, cfg):
    log_probs, value = reference_forward(params, obs, cfg.activation)
    ratio = jnp.exp(log_probs[jnp.arange(len(action)), action] - old_log_prob)
    if cfg.advantage_norm == "minibatch":
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    gain = jnp.where(  # 逐种情形写出裁剪目标
        advantage >= 0,
        advantage * jnp.where(ratio > 1 + cfg.clip_eps, 1 + cfg.clip_eps, ratio),
        advantage * jnp.where(ratio < 1 - cfg.clip_eps, 1 - cfg.clip_eps, ratio),
    )
    error = (value - target) ** 2
    if cfg.clip_value:
        near = jnp.minimum(
            jnp.maximum(value, old_value - cfg.clip_eps), old_value + cfg.clip_eps
        )
        error = jnp.maximum(error, (near - target) ** 2)
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1)
    return -gain.mean() + cfg.vf_coef * 0.5 * error.mean() - cfg.ent_coef * entropy.mean()


def reference_update(setup):
    """一次更新：Python 的循环、optax.adam、上面的损失。返回新参数和应有的指标。"""
    cfg = setup.cfg
    rollout, shuffle_key = setup.rollout()
    advantage, target = reference_gae(rollout, cfg)
    if cfg.advantage_norm == "batch":
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    fields = [
        np.asarray(x)
        for x in (
            rollout.obs,
            rollout.action,
            rollout.log_prob,
            rollout.value,
            advantage.astype(np.float32),
            target.astype(np.float32),
        )
    ]
    lr = cfg.lr * (1 - int(setup.state.update) / cfg.num_updates) if cfg.anneal_lr else cfg.lr
    optimizer = optax.chain(
        optax.clip_by_global_norm(cfg.max_grad_norm),
        optax.adam(lr, cfg.beta_1, cfg.beta_2, eps=cfg.adam_eps),
    )
    params, last = setup.state.params, {}
    opt_state = optimizer.init(params)
    seen = collections.defaultdict(list)
    gradient = jax.jit(jax.grad(functools.partial(reference_loss, cfg=cfg)))
    for order in np.asarray(minibatch_orders(shuffle_key, cfg)):
        for part in np.split(order, cfg.num_minibatches):
            if cfg.shuffle == "samples":
                step, env = part // cfg.num_envs, part % cfg.num_envs
            else:
                env, step = (
                    x.ravel()
                    for x in np.meshgrid(part, np.arange(cfg.num_steps), indexing="ij")
                )
            grad = gradient(params, *[field[step, env] for field in fields])
            updates, opt_state = optimizer.update(grad, opt_state, params)
            params = optax.apply_updates(params, updates)
            adam = opt_state[1][0]
            for owner in ("", "actor_", "critic_"):
                g, mu, nu = (flat(x, owner) for x in (grad, adam.mu, adam.nu))
                seen[f"{owner}grad_norm"].append(np.linalg.norm(g))
                seen[f"{owner}mu_norm"].append(np.linalg.norm(mu))
                seen[f"{owner}nu_norm"].append(np.linalg.norm(nu))
                seen[f"{owner}cosine_similarity"].append(cosine(g, last.get(owner, 0 * g)))
                last[owner] = g
    expected = {name: np.mean(values) for name, values in seen.items()}
    expected["explained_variance"] = 1 - np.var(target - rollout.value) / np.var(target)
    return params, expected


def flat(tree, owner):
    """名字以 owner 开头的那些层，排成一个长向量。"""
    own = {name: x for name, x in tree["params"].items() if name.startswith(owner)}
    return ravel_pytree(own)[0]


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b) if a.any() and b.any() else 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(
            shuffle="samples",
            advantage_norm="batch",
            clip_value=True,
            anneal_lr=False,
            activation="tanh",
            ent_coef=0.05,
        ),
        dict(
            shuffle="envs",
            advantage_norm="none",
            bootstrap_truncation=False,
            beta_1=0.5,
            beta_2=0.9,
            max_grad_norm=100.0,
        ),
    ],
    ids=["guide", "samples-batch-clipped_value", "envs-none-timeout_terminal"],
)
def test_an_update_equals_an_independent_loop(changes):
    setup = Setup(seed=1, lr=2e-2, clip_eps=0.01, **changes).near_timeout()
    setup.state = setup.state._replace(update=jnp.int32(30))
    new_state, metrics = setup.update()
    params, expected = reference_update(setup)
    moved = jax.tree.map(lambda new, old: np.abs(new - old).max(), params, setup.state.params)
    assert min(jax.tree.leaves(moved)) > 1e-3  # 每一层都真的动了
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5),
        new_state.params,
        params,
    )
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    assert metrics["clip_frac"] > 0  # 裁剪也查到了
    assert new_state.update == 31


@pytest.mark.slow
def test_advantage_norm_choices_differ(monkeypatch):
    """三种标准化给出三个不同的结果；batch 时送进小批次的优势平均 0、标准差 1。"""
    seen = {}
    original = training.take_minibatches

    def spy(batch, order, cfg):
        seen[cfg.advantage_norm] = np.asarray(batch.advantage)
        return original(batch, order, cfg)

    monkeypatch.setattr(training, "take_minibatches", spy)
    norms = "none", "minibatch", "batch"
    moved = [
        float(Setup(advantage_norm=norm).near_timeout().update()[1]["approx_kl"])
        for norm in norms
    ]
    assert min(abs(np.diff(sorted(moved)))) > 0.01 * min(moved) > 0
    assert abs(seen["batch"].mean()) < 1e-5 and abs(seen["batch"].std() - 1) < 1e-4
    np.testing.assert_array_equal(seen["none"], seen["minibatch"])
    assert abs(seen["none"].mean()) > 0.1


# ---------------------------------------------------------------- 许多次更新


TINY = dict(
    env_name="CartPole-v1",
    num_envs=2,
    num_steps=4,
    hidden_sizes=(4,),
    num_minibatches=1,
    update_epochs=1,
)


@pytest.fixture(scope="module")
def tiny():
    """很小的训练：(编译好的 run_chunk, 初始状态, 超参数)，一共 400 次更新。"""
    cfg = PPOConfig(**TINY, total_timesteps=400 * 8)
    fns = make_train(cfg)
    hyper = jax.tree.map(jnp.float32, cfg.hyperparams())
    state = fns.init(0, hyper)
    return jax.jit(fns.run_chunk).lower(state, hyper, 1).compile(), state, hyper


@pytest.mark.slow
def test_every_step_is_in_a_finished_or_an_unfinished_episode(tiny):
    """走完的回合的长度之和，加上没走完的，等于总步数。"""
    run_chunk, state, hyper = tiny
    state, rows = run_chunk(state, hyper, 200)
    finished = np.nansum(rows["episode_length"] * rows["episodes_ended"])
    assert round(float(finished)) + int(state.env.episode_length.sum()) == 200 * 8


@pytest.mark.parametrize(
    "env_name, goals", [("MountainCar-v0", 1), ("CartPole-v1", 2), ("Catch-bsuite", np.nan)]
)
def test_goals_are_what_counts_as_a_goal_in_this_environment(env_name, goals):
    """一步里一个终止、两个截断：爬山的目标是终止，立杆的目标是撑到截断。"""
    terminated = np.array([[True, False, False, False]])
    truncated = np.array([[False, True, True, False]])
    rollout = Transition(*[None] * 6, terminated, truncated)
    ends = EpisodeEnds(terminated | truncated, np.full((1, 4), 7.0), np.full((1, 4), 9))
    metrics = episode_metrics(ends, rollout, env_name)
    np.testing.assert_array_equal(metrics["goals_reached"], goals)
    assert (metrics["return"], metrics["episode_length"]) == (7, 9)
    assert metrics["episodes_ended"] == 3


def assert_same(a, b):
    """两棵树逐位相等。"""

    def key_data(x):
        return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    jax.tree.map(lambda x, y: np.testing.assert_array_equal(key_data(x), key_data(y)), a, b)


@pytest.mark.slow
def test_lr_falls_linearly_from_lr_towards_zero(tiny):
    run_chunk, state, hyper = tiny
    state, first = run_chunk(state, hyper, CHUNK)
    _, second = run_chunk(state, hyper, 400 - CHUNK)
    lr = np.concatenate([first["learning_rate"], second["learning_rate"][: 400 - CHUNK]])
    np.testing.assert_allclose(lr, 4e-3 * (1 - np.arange(400) / 400), rtol=1e-5)


def test_anneal_lr_false_keeps_lr():
    setup = Setup(anneal_lr=False, lr=3e-3)
    setup.state = setup.state._replace(update=jnp.int32(90))
    assert setup.update()[1]["learning_rate"] == np.float32(3e-3)


@pytest.mark.parametrize("n", [0, 1, 3, CHUNK])
def test_run_chunk_does_n_updates_and_leaves_the_rest_nan(tiny, n):
    run_chunk, state, hyper = tiny
    new_state, metrics = run_chunk(state, hyper, n)
    assert new_state.update == n
    for name in ("learning_rate", "entropy", "grad_norm", "episodes_ended"):
        assert metrics[name].shape == (CHUNK,)
        assert np.isfinite(metrics[name][:n]).all() and np.isnan(metrics[name][n:]).all()
    if n == 0:
        assert_same(new_state, state)


def test_a_chunk_traces_the_update_once(monkeypatch):
    """追踪占第一条曲线的三分之一，做两遍就多出十分之一。"""
    setup, traced = Setup(), []
    monkeypatch.setattr(
        training, "update_once", lambda *a, **k: traced.append(1) or update_once(*a, **k)
    )
    run_chunk = jax.vmap(make_train(setup.cfg).run_chunk, in_axes=(0, 0, None))
    members = jax.tree.map(lambda x: x[None], (setup.state, setup.hyper))
    jax.eval_shape(run_chunk, *members, 1)
    assert len(traced) == 1


def test_chunks_join_without_a_seam(tiny):
    run_chunk, start, hyper = tiny
    whole, metrics = run_chunk(start, hyper, CHUNK)
    state, rows = start, []
    for n in (1, 100, CHUNK - 101):
        state, part = run_chunk(state, hyper, n)
        rows.append({name: x[:n] for name, x in part.items()})
    assert_same(state, whole)
    assert_same(
        {name: np.concatenate([row[name] for row in rows]) for name in metrics}, metrics
    )


def test_updates_of_one_member_use_fresh_randomness(tiny):
    """同样的参数、同样的环境，下一次更新抽到的动作应当不同。"""
    run_chunk, state, hyper = tiny
    one, _ = run_chunk(state, hyper, 1)
    other, _ = run_chunk(state._replace(update=jnp.int32(1)), hyper, 1)
    assert (np.asarray(one.env.obs) != np.asarray(other.env.obs)).any()


# ---------------------------------------------------------------- 开头的状态


def test_init_state_starts_from_nothing_learned():
    state = Setup(critic_bias=-50.0).state
    assert state.update == 0
    assert all((x == 0).all() for x in jax.tree.leaves(state.running_grad))
    assert (state.env.episode_return == 0).all() and (state.env.episode_length == 0).all()
    assert state.params["params"]["critic_head"]["bias"] == -50.0
    assert state.params["params"]["actor_head"]["bias"].sum() == 0
    other = Setup(seed=1, critic_bias=-50.0).state
    assert (
        state.params["params"]["actor_0"]["kernel"]
        != other.params["params"]["actor_0"]["kernel"]
    ).any()
    assert (state.env.obs != other.env.obs).any()
