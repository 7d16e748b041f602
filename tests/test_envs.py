"""ppo_lib/envs.py：与 Gymnasium 逐步对照，两种结束，观测缩放，奖励整形，以及每个离散环境都能训练。"""

import ppo_lib  # isort: skip  # 在 gymnax 之前：它一 import 就启动 JAX 的后端

import functools
import urllib.error

import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from gymnax.environments.classic_control import acrobot, cartpole, mountain_car
from gymnax.utils import load_mnist

from ppo_lib.config import CONTINUOUS_ENVS, ConfigError, PPOConfig
from ppo_lib.envs import GOAL, SHAPING, energy_potential, flatten, make_env, make_observe


@functools.cache
def built(env_name="MountainCar-v0", **keys):
    """(环境, 编译好的 step(state, action), 编译好的 reset(key))。"""
    cfg = PPOConfig(env_name=env_name, **keys)
    env = make_env(cfg)
    step = jax.jit(
        lambda state, action: env.step(jax.random.key(0), state, action, cfg.hyperparams())
    )
    return env, step, jax.jit(env.reset)


def car(position, velocity, time=0):
    return mountain_car.EnvState(
        position=jnp.float32(position), velocity=jnp.float32(velocity), time=jnp.int32(time)
    )


# ---------------------------------------------------------------- 与 Gymnasium 对照


def push_along(state, rng):
    """顺着速度的方向推，MountainCar 就能到达终点。"""
    return 2 if state.velocity >= 0 else 0


def balance(state, rng):
    """杆往哪边倒就往哪边推，CartPole 能撑满 500 步。"""
    return int(state.theta + 0.5 * state.theta_dot + 0.01 * state.x + 0.05 * state.x_dot > 0)


def pump(state, rng):
    """逆着第一节的摆动使力，Acrobot 就能荡上去。"""
    return 0 if state.velocity_1 > 0 else 2


def at_random(state, rng):
    return int(rng.integers(2 if isinstance(state, cartpole.EnvState) else 3))


CLASSIC = {"CartPole-v1": cartpole, "MountainCar-v0": mountain_car, "Acrobot-v1": acrobot}


def physical(env_name, state):
    """Gymnasium 的 state：gymnax 的状态去掉时间。"""
    names = [name for name in CLASSIC[env_name].EnvState.__dataclass_fields__ if name != "time"]
    return np.array([getattr(state, name) for name in names], np.float64)


@pytest.mark.parametrize(
    "env_name, policy, episodes, ending",
    [
        ("CartPole-v1", at_random, 8, "terminated"),
        ("CartPole-v1", balance, 1, "truncated"),
        ("MountainCar-v0", at_random, 3, "truncated"),
        ("MountainCar-v0", push_along, 3, "terminated"),
        ("Acrobot-v1", at_random, 1, "truncated"),
        ("Acrobot-v1", pump, 2, "terminated"),
    ],
)
def test_steps_agree_with_gymnasium(env_name, policy, episodes, ending):
    """每一步都从同一个状态出发，做同一个动作；超时由 Gymnasium 的 TimeLimit 判断。"""
    env, step, reset = built(env_name)
    theirs = gymnasium.make(env_name)
    rng = np.random.default_rng(0)
    for episode in range(episodes):
        obs, state = reset(jax.random.key(episode))
        theirs.reset(seed=episode)
        for _ in range(1000):
            state = jax.tree.map(np.asarray, state)
            action = policy(state, rng)
            theirs.unwrapped.state = physical(env_name, state)
            their_obs, their_reward, their_terminated, their_truncated, _ = theirs.step(action)
            ours = jax.tree.map(np.asarray, step(state, action))
            np.testing.assert_allclose(ours.obs, their_obs, rtol=1e-5, atol=1e-5)
            assert ours.reward == ours.shaped_reward == their_reward
            assert ours.terminated == their_terminated
            assert ours.truncated == (their_truncated and not their_terminated)
            state = ours.state
            if ours.terminated or ours.truncated:
                break
        assert getattr(ours, ending), "这个策略本应走到另一种结束"


def test_starting_states_have_gymnasiums_ranges():
    for env_name, low, high in [("CartPole-v1", -0.05, 0.05), ("Acrobot-v1", -0.1, 0.1)]:
        env, _, _ = built(env_name)
        _, state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 500))
        start = physical(env_name, state)
        assert (
            start.min() >= low and start.max() <= high and np.ptp(start) > 0.95 * (high - low)
        )
    _, state = jax.vmap(built()[0].reset)(jax.random.split(jax.random.key(0), 500))
    assert -0.6 <= state.position.min() < -0.58 and -0.42 < state.position.max() <= -0.4
    assert not state.velocity.any()


# ---------------------------------------------------------------- 两种结束


def test_reaching_the_goal_on_the_last_allowed_step_is_terminated_not_truncated():
    """Gymnasium 在这一步两个都报；这里到达了就不算超时。"""
    _, step, _ = built()
    theirs = gymnasium.make("MountainCar-v0")
    theirs.reset(seed=0)
    theirs.unwrapped.state = np.array([0.49, 0.06])
    theirs._elapsed_steps = 199
    _, _, terminated, truncated, _ = theirs.step(2)
    assert terminated and truncated
    ours = step(car(0.49, 0.06, time=199), 2)
    assert ours.terminated and not ours.truncated


@pytest.mark.parametrize(
    "env_name, limit", [("CartPole-v1", 500), ("MountainCar-v0", 200), ("Acrobot-v1", 500)]
)
def test_time_runs_out_exactly_at_the_limit(env_name, limit):
    _, step, reset = built(env_name)
    _, state = reset(jax.random.key(0))
    before, last = (step(state.replace(time=jnp.int32(limit - k)), 1) for k in (2, 1))
    assert not before.truncated and last.truncated and not last.terminated


def test_step_does_not_reset():
    """结束的那一步返回真正到达的状态；再走一步就从那里接着走。"""
    _, step, _ = built()
    last = step(car(-0.5, 0.01, time=199), 2)
    assert last.truncated and last.state.time == 200
    np.testing.assert_array_equal(last.obs, [last.state.position, last.state.velocity])
    velocity = 0.01 + 0.001 - 0.0025 * np.cos(3 * -0.5)
    np.testing.assert_allclose(last.obs, [-0.5 + velocity, velocity], rtol=1e-5)
    after = step(last.state, 1)
    assert after.state.time == 201 and abs(after.obs[0] - last.obs[0]) < 0.07


def test_continuous_actions_are_refused_even_if_the_config_lets_them_through(monkeypatch):
    cfg = PPOConfig()
    object.__setattr__(cfg, "env_name", "Pendulum-v1")
    with pytest.raises(ConfigError, match="Pendulum-v1.*连续"):
        make_env(cfg)


# ---------------------------------------------------------------- 观测


def test_bounds_scaling_maps_mountain_car_to_plus_minus_one():
    observe = make_observe(
        gymnax.make("MountainCar-v0")[0].observation_space(mountain_car.EnvParams()), "bounds"
    )
    np.testing.assert_allclose(observe(jnp.array([-1.2, -0.07])), [-1, -1], atol=1e-6)
    np.testing.assert_allclose(observe(jnp.array([0.6, 0.07])), [1, 1], atol=1e-6)
    np.testing.assert_allclose(observe(jnp.array([-0.3, 0.0])), [0, 0], atol=1e-6)


def test_bounds_scaling_reaches_both_reset_and_step():
    (_, raw_step, raw_reset), (_, step, reset) = built(), built(obs_scaling="bounds")

    def scale(obs):
        return np.array([(obs[0] + 0.3) / 0.9, obs[1] / 0.07])

    (raw_obs, state), (obs, _) = raw_reset(jax.random.key(0)), reset(jax.random.key(0))
    np.testing.assert_allclose(obs, scale(raw_obs), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        step(state, 2).obs, scale(raw_step(state, 2).obs), rtol=1e-5, atol=1e-6
    )


def test_bounds_scaling_leaves_unbounded_components_alone():
    """CartPole 的位置和角度有界（2 × 4.8、2 × 24°），两个速度没有。"""
    env, params = gymnax.make("CartPole-v1")
    observe = make_observe(env.observation_space(params), "bounds")
    scaled = observe(jnp.array([2.4, 7.0, np.radians(12), -9.0]))
    np.testing.assert_allclose(scaled, [0.5, 7.0, 0.5, -9.0], rtol=1e-5)


def test_bounds_scaling_maps_a_numbered_state_to_plus_minus_one():
    """FrozenLake 的观测是格子的编号 0 … 15。"""
    env, _ = gymnax.make("FrozenLake-misc")
    observe = make_observe(env.observation_space(env.default_params), "bounds")
    np.testing.assert_allclose([observe(jnp.array(i))[0] for i in (0, 15)], [-1, 1])


def test_bounds_scaling_handles_observations_of_several_parts():
    space = spaces.Dict(
        {
            "b": spaces.Box(0.0, 10.0, (1,)),
            "a": spaces.Box(-2.0, jnp.array([2.0, jnp.inf]), (2,)),
        }
    )
    scaled = make_observe(space, "bounds")({"b": jnp.array([5.0]), "a": jnp.array([1.0, 3.0])})
    np.testing.assert_allclose(scaled, [0.5, 3.0, 0.0])  # 键按字母序：a 在前


def test_flatten_turns_images_and_integers_into_one_float_vector():
    image = jnp.arange(24).reshape(2, 3, 4)
    assert flatten(image).dtype == jnp.float32
    np.testing.assert_array_equal(flatten(image), np.arange(24))
    np.testing.assert_array_equal(flatten(jnp.int32(7)), [7])


@pytest.mark.parametrize(
    "env_name, obs_dim, num_actions",
    [
        ("MountainCar-v0", 2, 3),
        ("CartPole-v1", 4, 2),
        ("Acrobot-v1", 6, 3),
        ("Breakout-MinAtar", 400, 3),
        ("FrozenLake-misc", 1, 4),
    ],
)
def test_sizes_of_an_environment(env_name, obs_dim, num_actions):
    env, _, reset = built(env_name)
    assert (env.name, env.obs_dim, env.num_actions) == (env_name, obs_dim, num_actions)
    obs, _ = reset(jax.random.key(0))
    assert obs.shape == (obs_dim,) and obs.dtype == jnp.float32


# ---------------------------------------------------------------- 奖励整形


def drive(keys: dict, start, actions):
    """从 start 起依次做 actions，到结束为止；返回走过的状态和每一步的 Step。"""
    _, step, _ = built(**keys)
    states, steps = [start], []
    for action in actions:
        steps.append(jax.tree.map(np.asarray, step(states[-1], action)))
        states.append(steps[-1].state)
        if steps[-1].terminated or steps[-1].truncated:
            break
    return states, steps


def bonuses(steps):
    return np.array([s.shaped_reward - s.reward for s in steps], np.float64)


def pumping(start, length=300):
    """能到达终点的动作序列。"""
    state, actions = start, []
    for _ in range(length):
        actions.append(2 if state.velocity >= 0 else 0)
        state = built()[1](state, actions[-1]).state
    return actions


def test_without_shaping_the_shaped_reward_is_the_reward():
    _, steps = drive({}, car(-0.5, 0.0), [0, 1, 2] * 5)
    assert all(s.reward == s.shaped_reward == -1.0 for s in steps)


def test_position_shaping_is_a_hundredth_of_the_displacement():
    states, steps = drive({"reward_shaping": "position"}, car(-0.5, 0.02), [2, 0, 1, 2])
    moved = np.diff([s.position for s in states])
    np.testing.assert_allclose(bonuses(steps), 0.01 * moved, atol=2e-7)
    assert all(s.reward == -1.0 for s in steps)


@pytest.mark.parametrize("shaping", ["position", "energy", "energy_keep_terminal"])
def test_shaping_scale_multiplies_the_bonus_and_zero_removes_it(shaping):
    run = [
        drive({"reward_shaping": shaping, "shaping_scale": scale}, car(-0.3, 0.03), [2, 2, 0])[
            1
        ]
        for scale in (0.0, 1.0, 3.0)
    ]
    none, once, thrice = map(bonuses, run)
    assert not none.any() and once.all()
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-3, atol=1e-6)


def test_energy_is_zero_at_rest_in_the_valley_and_a_hundred_on_the_summit():
    assert energy_potential(car(-np.pi / 6, 0.0)) == pytest.approx(0.0, abs=1e-4)
    assert energy_potential(car(np.pi / 6, 0.0)) == pytest.approx(100.0, abs=1e-3)
    assert energy_potential(car(-0.5, 0.05)) > energy_potential(car(-0.5, 0.0))
    assert energy_potential(car(-0.5, 0.05)) == energy_potential(car(-0.5, -0.05))


@pytest.mark.parametrize("start", [-0.9, -0.7, -0.2, 0.1])
def test_energy_is_nearly_conserved_when_nobody_pushes(start):
    """动作 1 不推；离开墙、不到终点时机械能来回摆动百分之几（积分误差），不会越走越偏。"""
    states, steps = drive({}, car(start, 0.0), [1] * 150)
    energy = np.array([energy_potential(s) for s in states])
    assert len(steps) == 150 and np.ptp([s.position for s in states]) > 0.3
    assert np.ptp(energy) < 0.1 * energy[0]
    assert energy[100:].mean() == pytest.approx(energy[:50].mean(), rel=0.03)


def test_pushing_along_the_motion_raises_the_energy():
    before, after = drive({}, car(-0.5, 0.03), [2])[0]
    assert energy_potential(after) > energy_potential(before) + 1.0


def discounted(bonus, gamma=0.99):
    return np.sum(gamma ** np.arange(len(bonus)) * bonus)


@pytest.mark.parametrize("arrives", [True, False])
def test_energy_shaping_telescopes_to_the_two_ends(arrives):
    """Σ γ^t·(γΦ(s') - Φ(s)) = γ^T·Φ(s_T) - Φ(s_0)；到达时 Φ(s_T) = 0，只剩起点，与怎么走无关。"""
    start = car(-0.5, 0.0)
    states, steps = drive(
        {"reward_shaping": "energy"}, start, pumping(start) if arrives else [2, 1, 0] * 70
    )
    assert steps[-1].terminated == arrives and steps[-1].truncated == (not arrives)
    first, last = (float(energy_potential(s)) - 100.0 for s in (states[0], states[-1]))
    expected = (0.0 if arrives else 0.99 ** len(steps) * last) - first
    assert discounted(bonuses(steps)) == pytest.approx(expected, abs=2e-3)
    assert all(s.reward == -1.0 for s in steps)


def test_keeping_the_terminal_potential_pays_extra_for_arriving():
    """终止状态的 Φ 不取 0，就等于到达时多给 γ^T·Φ(s_T)：不同的到达拿到不同的总奖励。"""
    start = car(-0.5, 0.0)
    states, steps = drive({"reward_shaping": "energy_keep_terminal"}, start, pumping(start))
    assert steps[-1].terminated
    first, last = (float(energy_potential(s)) for s in (states[0], states[-1]))
    assert last > 99
    assert discounted(bonuses(steps)) == pytest.approx(
        0.99 ** len(steps) * last - first, abs=2e-3
    )


def test_every_shaping_of_the_config_is_here():
    from ppo_lib.config import FIELDS

    assert set(SHAPING) == set(FIELDS["reward_shaping"].metadata["choices"])


# ---------------------------------------------------------------- 每个离散环境都能训练

TINY = dict(
    num_envs=4,
    num_steps=8,
    num_minibatches=2,
    update_epochs=1,
    total_timesteps=2 * 4 * 8,
    num_seeds=1,
    hidden_sizes=(8,),
)
ALWAYS_FINITE = {
    "actor_loss",
    "value_loss",
    "entropy",
    "clip_frac",
    "approx_kl",
    "grad_norm",
    "mu_norm",
    "nu_norm",
    "cosine_similarity",
    "episodes_ended",
    "learning_rate",
}
DOWNLOADS = "MNISTBandit-bsuite"


def check_training(env_name, **keys):
    metrics = ppo_lib.train(PPOConfig(env_name=env_name, **TINY | keys), progress=False).metrics
    assert dict(metrics.sizes) == {"seed": 1, "update": 2}
    for name in ALWAYS_FINITE:
        assert np.isfinite(metrics[name]).all(), name
    assert (metrics["entropy"] > 0).all() and (metrics["grad_norm"] > 0).all()
    ended = metrics["episodes_ended"] > 0
    for name in ("return", "episode_length"):  # 有回合结束的更新才有数，其余是 NaN
        assert (np.isfinite(metrics[name]) == ended).all(), name
    assert (np.isfinite(metrics["goals_reached"]) == (env_name in GOAL)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "env_name",
    [name for name in gymnax.registered_envs if name not in CONTINUOUS_ENVS | {DOWNLOADS}],
)
def test_every_discrete_environment_trains(env_name):
    check_training(env_name)


@pytest.mark.slow
def test_mnist_trains_with_a_few_made_up_images(monkeypatch):
    images = np.random.default_rng(0).integers(0, 127, (20, 28, 28)).astype(np.int8)
    labels = np.arange(20, dtype=np.uint8) % 10
    monkeypatch.setattr(load_mnist, "load_mnist", lambda: ((images, labels), (images, labels)))
    check_training(DOWNLOADS)


def test_mnist_without_network_gives_a_config_error(monkeypatch, tmp_path):
    def no_network(*_):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(load_mnist, "urlretrieve", no_network)
    monkeypatch.setattr(load_mnist.load_mnist, "__defaults__", (str(tmp_path / "mnist"),))
    with pytest.raises(ConfigError, match="MNISTBandit-bsuite.*下载.*no network"):
        make_env(PPOConfig(env_name=DOWNLOADS))


@pytest.mark.slow
def test_training_works_with_scaled_observations_and_shaping():
    check_training("MountainCar-v0", obs_scaling="bounds", reward_shaping="energy")
