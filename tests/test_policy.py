"""ppo_lib/policy.py：存下再读回一位不差，坏文件说得清，评估与另写的一遍相符。"""

import ppo_lib  # isort: skip  # 在 gymnax 之前：它一 import 就启动 JAX 的后端

import dataclasses
import functools
import subprocess
import sys
import types
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_lib import policy as policy_room
from ppo_lib.config import CONTINUOUS_ENVS, PPOConfig
from ppo_lib.envs import make_env
from ppo_lib.policy import (
    Policy,
    PolicyError,
    compiled_evaluation,
    evaluate,
    load_policy,
    named_leaves,
    network_shapes,
    save_policy,
    step_limit,
)
from ppo_lib.training import make_network

TINY = dict(hidden_sizes=(4,), total_timesteps=2048)


def random_policy(seeds=(0, 1), gain=1.0, **keys) -> Policy:
    """没有训练过的小网络；gain 放大策略头，让几个动作的概率差得开。"""
    cfg = PPOConfig(**TINY | keys, num_seeds=len(seeds), seed=min(seeds))
    params = jax.tree.map(np.array, initial_params(cfg, seeds))
    params["params"]["actor_head"]["kernel"] *= 100 * gain
    return Policy(cfg, params, seeds, update=7)


@functools.cache
def initial_params(cfg, seeds):
    env = make_env(cfg)
    init = make_network(cfg, env).init
    members = jax.jit(jax.vmap(lambda s: init(jax.random.key(s), jnp.zeros(env.obs_dim))))
    return members(np.array(seeds))


def one_action_policy(env_name: str, action: int, seeds=(0,)) -> Policy:
    """只做一个动作的策略：参数全是 0，只有那个动作的偏置是 1。"""
    policy = random_policy(seeds, env_name=env_name)
    params = jax.tree.map(np.zeros_like, policy.params)
    params["params"]["actor_head"]["bias"][:, action] = 1.0
    return dataclasses.replace(policy, params=params)


# ---------------------------------------------------------------- 策略


def test_policy_is_taken_from_a_run():
    policy = random_policy((3, 4))
    run = types.SimpleNamespace(
        config=dataclasses.replace(policy.config, seed=3, num_seeds=2),
        params=jax.tree.map(jnp.asarray, policy.params),
        update=3,
    )
    taken = Policy.from_run(run)
    assert (taken.seeds, taken.update) == ((3, 4), 3)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(taken.params))
    assert repr(taken) == "Policy(MountainCar-v0，2 个种子，3 次更新之后)"


def test_a_policy_that_cannot_be_written_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PolicyError, match="写不进 .*a.npz"):
        save_policy(random_policy(), tmp_path / "file/a.npz")


def test_params_that_do_not_fit_are_refused_by_name_and_shapes():
    policy = random_policy()
    wider = dataclasses.replace(policy.config, hidden_sizes=(5,))
    with pytest.raises(PolicyError, match=r"params/actor_0/bias .*\(2, 4\).*\(2, 5\)"):
        dataclasses.replace(policy, config=wider)
    deeper = dataclasses.replace(policy.config, hidden_sizes=(4, 4))
    with pytest.raises(PolicyError, match=r"actor_1/.*没有"):
        dataclasses.replace(policy, config=deeper)
    shared = dataclasses.replace(policy.config, shared_trunk=True)
    with pytest.raises(PolicyError, match=r"shared_0/.*没有"):
        dataclasses.replace(policy, config=shared)
    with pytest.raises(PolicyError, match=r"\(2, .*\(3, "):
        dataclasses.replace(policy, seeds=(0, 1, 2))
    with pytest.raises(PolicyError, match="至少一个"):
        dataclasses.replace(policy, seeds=())


# ---------------------------------------------------------------- 文件


@pytest.mark.slow
def test_round_trip_is_bit_for_bit(tmp_path):
    policy = random_policy((5, 6, 7), env_name="Acrobot-v1", lr=1e-3, obs_scaling="bounds")
    policy.params["params"]["actor_head"]["bias"][0, 0] = np.float32(1e-40)  # 次正规数也要留下
    back = load_policy(save_policy(policy, tmp_path / "new" / "a.npz"))
    assert back.config == policy.config
    assert (back.seeds, back.update) == ((5, 6, 7), 7)
    before, after = named_leaves(policy.params), named_leaves(back.params)
    assert list(before) == list(after)
    for name in before:
        assert before[name].dtype == after[name].dtype
        assert before[name].tobytes() == after[name].tobytes(), name


def test_saving_leaves_one_file_and_the_same_bytes_each_time(tmp_path):
    policy = random_policy()
    path = save_policy(policy, tmp_path / "a.policy")
    first = path.read_bytes()
    save_policy(policy, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.policy"]
    assert path.read_bytes() == first


def test_a_crash_while_writing_keeps_the_old_file(tmp_path, monkeypatch):
    path = save_policy(random_policy(), tmp_path / "a.npz")

    def half(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(PolicyError, match="写不进 .*disk full"):
        save_policy(random_policy((9,)), path)
    monkeypatch.undo()
    assert load_policy(path).seeds == (0, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_a_home_that_does_not_exist_is_named():
    with pytest.raises(PolicyError, match="'~nosuch/a.npz' 里的 ~nosuch 找不到主目录"):
        save_policy(random_policy(), "~nosuch/a.npz")
    with pytest.raises(PolicyError, match="~nosuch 找不到主目录"):
        load_policy("~nosuch/a.npz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PolicyError, match="找不到策略文件.*nothing.npz"):
        load_policy(tmp_path / "nothing.npz")


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.9, -1])
def test_a_torn_file_is_refused(tmp_path, kept):
    path = save_policy(random_policy(), tmp_path / "a.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(PolicyError, match="a.npz 不是策略文件，或者没有写完整"):
        load_policy(path)


def test_a_flipped_bit_is_refused(tmp_path):
    policy = random_policy()
    path = save_policy(policy, tmp_path / "a.npz")
    whole = bytearray(path.read_bytes())
    kernel = policy.params["params"]["actor_0"]["kernel"].tobytes()
    whole[whole.index(kernel) + 5] ^= 1
    path.write_bytes(whole)
    with pytest.raises(PolicyError, match="不是策略文件，或者没有写完整"):
        load_policy(path)


def test_foreign_files_are_refused(tmp_path):
    paths = [tmp_path / name for name in ("a.npz", "b.npy", "c.npz", "d.txt", "e")]
    np.savez(paths[0], weights=np.zeros(3))
    np.save(paths[1], np.zeros(3))
    np.savez(paths[2], format=np.array([{"a": 1}], dtype=object))  # 里面有 pickle
    paths[3].write_text("你好", encoding="utf-8")
    paths[4].mkdir()
    for path in paths:
        with pytest.raises(PolicyError, match="不是策略文件"):
            load_policy(path)


def changed(path: Path, **arrays) -> Path:
    """把策略文件里的几个数组换掉。"""
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    np.savez(path, **kept | arrays)
    return path


def test_a_newer_format_asks_to_upgrade(tmp_path):
    path = changed(save_policy(random_policy(), tmp_path / "a.npz"), format=np.int64(99))
    with pytest.raises(PolicyError, match="格式是 99.*只认得到 1.*升级"):
        load_policy(path)


def test_params_or_config_that_do_not_fit_the_file_are_named(tmp_path):
    path = save_policy(random_policy(), tmp_path / "a.npz")
    changed(path, **{"params/actor_head/kernel": np.zeros((2, 4, 5), np.float32)})
    with pytest.raises(
        PolicyError, match=r"a.npz：.*actor_head/kernel.*\(2, 4, 5\).*\(2, 4, 3\)"
    ):
        load_policy(path)
    for text, reason in [
        (b"colour: red", "colour"),
        (b"- 1", ""),
        (b"a: [", ""),
        (b"\xff", ""),
    ]:
        changed(path, config=np.frombuffer(text, np.uint8))
        with pytest.raises(PolicyError, match=f"a.npz：.*{reason}"):
            load_policy(path)


@pytest.mark.slow
def test_a_new_process_needs_only_the_file(tmp_path):
    policy = random_policy(env_name="CartPole-v1")
    save_policy(policy, tmp_path / "a.npz")
    code = (
        "from ppo_lib.policy import load_policy, evaluate\n"
        "print(evaluate(load_policy('a.npz'), 3, greedy=False).episodes['return'].values.tolist())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    ours = evaluate(policy, 3, greedy=False).episodes["return"].values.tolist()
    assert result.stdout.strip() == str(ours)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


# ---------------------------------------------------------------- 评估


@functools.cache
def plain_env(name):
    """(gymnax 环境, 它的参数, 编译好的 step_env)，不经过 ppo_lib.envs。"""
    env, params = gymnax.make(name)
    return env, params, jax.jit(lambda key, state, a: env.step_env(key, state, a, params))


def plain_logits(params, obs) -> np.ndarray:
    """策略网络，用 NumPy 写一遍：一个 relu 隐藏层。"""
    layers = params["params"]
    hidden = np.maximum(obs @ layers["actor_0"]["kernel"] + layers["actor_0"]["bias"], 0)
    return hidden @ layers["actor_head"]["kernel"] + layers["actor_head"]["bias"]


def plain_episode(name: str, params, greedy: bool, seed: int, k: int):
    """第 k 个回合，一步一步地走：(回报, 步数, 是否超时)。"""
    env, env_params, step = plain_env(name)
    reset_key, key = jax.random.split(jax.random.fold_in(jax.random.key(seed), k))
    obs, state = env.reset_env(reset_key, env_params)
    total, limit = 0.0, env_params.max_steps_in_episode
    for t in range(limit):
        noise_key, step_key = jax.random.split(jax.random.fold_in(key, t))
        logits = plain_logits(params, np.ravel(obs).astype(np.float32))
        noise = 0 if greedy else np.asarray(jax.random.gumbel(noise_key, logits.shape))
        obs, state, reward, terminated, _ = step(
            step_key, state, int(np.argmax(logits + noise))
        )
        total += float(reward)
        if terminated:
            return total, t + 1, False
    return total, limit, True


@pytest.mark.slow
@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("name", ["CartPole-v1", "Catch-bsuite", "FrozenLake-misc"])
def test_evaluation_agrees_with_a_plain_loop(name, greedy):
    policy = random_policy(env_name=name, gain=0.3)
    episodes = evaluate(policy, 3, greedy=greedy, seed=11).episodes
    assert dict(episodes.sizes) == {"seed": 2, "episode": 3}
    for i, seed in enumerate(policy.seeds):
        params = jax.tree.map(lambda leaf: leaf[i], policy.params)
        for k in range(3):
            here = episodes.sel(seed=seed, episode=k)
            found = [here[v].item() for v in ("return", "episode_length", "truncated")]
            assert found == pytest.approx(plain_episode(name, params, greedy, 11, k))


def falling_steps(state) -> int:
    """一直向右推，多少步之后 |theta| > 12°；CartPole 的运动方程，按 Barto 等 (1983) 另写一遍。"""
    x, v, theta, omega = (float(s) for s in state)
    for t in range(1, 500):
        push = (10 + 0.05 * omega**2 * np.sin(theta)) / 1.1
        alpha = (9.8 * np.sin(theta) - np.cos(theta) * push) / (
            0.5 * (4 / 3 - 0.1 * np.cos(theta) ** 2 / 1.1)
        )
        a = push - 0.05 * alpha * np.cos(theta) / 1.1
        x, v, theta, omega = (
            x + 0.02 * v,
            v + 0.02 * a,
            theta + 0.02 * omega,
            omega + 0.02 * alpha,
        )
        if abs(theta) > np.radians(12):
            return t


@pytest.mark.slow
def test_always_pushing_right_drops_the_pole_in_the_known_number_of_steps():
    episodes = evaluate(one_action_policy("CartPole-v1", 1), 30).episodes.isel(seed=0)
    for k in range(30):
        reset_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), k))
        start, _ = plain_env("CartPole-v1")[0].reset_env(reset_key, plain_env("CartPole-v1")[1])
        assert episodes["episode_length"][k] == falling_steps(start)
    assert 7 <= episodes["episode_length"].min() and episodes["episode_length"].max() <= 12
    assert (episodes["return"] == episodes["episode_length"]).all()
    assert not episodes["truncated"].any()


def test_return_is_the_environments_own_and_the_limit_is_truncation():
    policy = one_action_policy("MountainCar-v0", 1, seeds=(0, 1))
    shaped = dataclasses.replace(policy.config, reward_shaping="energy", shaping_scale=5.0)
    episodes = evaluate(dataclasses.replace(policy, config=shaped), 4).episodes
    assert (episodes["return"] == -200).all() and (episodes["episode_length"] == 200).all()
    assert episodes["truncated"].dtype == bool and episodes["truncated"].all()
    assert episodes["episode_length"].attrs["units"] == "步"


@pytest.mark.slow
def test_an_environment_without_a_limit_is_stopped(monkeypatch):
    assert step_limit("MountainCar-v0") == 200 and step_limit("BernoulliBandit-misc") == 100
    monkeypatch.setattr(gymnax, "make", lambda name: (None, object()))
    assert step_limit("CartPole-v1") == 10_000
    monkeypatch.undo()
    monkeypatch.setattr(policy_room, "step_limit", lambda name: 5)
    compiled_evaluation.cache_clear()
    episodes = evaluate(one_action_policy("CartPole-v1", 1), 3).episodes
    compiled_evaluation.cache_clear()
    assert (episodes["episode_length"] == 5).all() and episodes["truncated"].all()


def test_greedy_and_sampled_differ_and_both_repeat():
    policy = random_policy(env_name="CartPole-v1", gain=0.1)

    def returns(**keys):
        return evaluate(policy, 10, **keys).episodes["return"].values

    greedy, sampled = returns(), returns(greedy=False)
    assert (greedy != sampled).any()
    np.testing.assert_array_equal(greedy, returns())
    np.testing.assert_array_equal(sampled, returns(greedy=False))
    assert (sampled != returns(greedy=False, seed=1)).any()


@pytest.mark.slow
def test_episode_k_starts_the_same_for_every_policy_and_every_number_of_episodes():
    """两个成员参数相同，种子不同：每个回合都一样。"""
    policy = random_policy((0, 1), env_name="CartPole-v1", gain=0.1)
    params = jax.tree.map(lambda leaf: np.stack([leaf[0], leaf[0]]), policy.params)
    twins = dataclasses.replace(policy, params=params, seeds=(3, 8))
    few, many = (evaluate(twins, n, greedy=False).episodes["return"].values for n in (4, 9))
    np.testing.assert_array_equal(few[0], few[1])
    np.testing.assert_array_equal(few, many[:, :4])
    assert len(set(many[0])) > 1


def test_new_params_greedy_and_seed_compile_nothing():
    first = random_policy(env_name="CartPole-v1")
    evaluate(first, 3)
    program = compiled_evaluation(policy_room.acting(first.config))
    compiled = program._cache_size()
    params = jax.tree.map(lambda leaf: leaf + 0.1, first.params)
    other = dataclasses.replace(first.config, lr=1e-4, num_envs=8, optimizer="sgd")
    evaluate(Policy(other, params, (4, 5), 1), 3, greedy=False, seed=9)
    assert compiled_evaluation(policy_room.acting(other)) is program
    assert program._cache_size() == compiled


@pytest.mark.slow
def test_mean_band_and_repr_speak_of_seeds():
    evaluation = evaluate(random_policy((0, 1, 2), env_name="CartPole-v1"), 5)
    means = evaluation.episodes["return"].mean("episode").values
    assert evaluation.mean == pytest.approx(means.mean())
    low, high = evaluation.band
    assert means.min() <= low <= evaluation.mean <= high <= means.max()
    assert repr(evaluation).startswith("CartPole-v1，贪心，3 个种子 × 5 个回合：平均回报")
    assert "95% 带" in repr(evaluation) and "\n" not in repr(evaluation)
    alone = evaluate(random_policy((0,), env_name="CartPole-v1"), 5)
    assert np.isnan(alone.band).all() and "带" not in repr(alone)


@pytest.mark.parametrize(
    "keys", [{"episodes": 0}, {"episodes": 2.5}, {"episodes": True}, {"seed": -1}]
)
def test_bad_arguments_are_named(keys):
    with pytest.raises(PolicyError, match=f"{next(iter(keys))} = .*不合法；允许的取值"):
        evaluate(random_policy(), **keys)


def test_evaluating_something_else_says_what_to_write():
    with pytest.raises(PolicyError, match=r"policy = 3 不合法.*evaluate\(run.policy\(\)\)"):
        evaluate(3)


@pytest.mark.slow
def test_scaled_observations_reach_the_policy():
    """同样的参数，观测缩放不同，走法就不同。"""
    plain = random_policy(env_name="Acrobot-v1", gain=1.0)
    scaled = dataclasses.replace(
        plain, config=dataclasses.replace(plain.config, obs_scaling="bounds")
    )
    assert network_shapes(plain.config) == network_shapes(scaled.config)
    plain, scaled = (evaluate(p, 10).episodes["episode_length"].values for p in (plain, scaled))
    assert (plain != scaled).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [n for n in gymnax.registered_envs if n not in CONTINUOUS_ENVS | {"MNISTBandit-bsuite"}],
)
def test_every_discrete_environment_is_evaluated(name):
    episodes = evaluate(random_policy(env_name=name), 2, greedy=False).episodes
    assert np.isfinite(episodes["return"]).all()
    assert (episodes["episode_length"] >= 1).all()
    assert (episodes["episode_length"] <= step_limit(name)).all()


@pytest.mark.slow
def test_a_trained_run_is_saved_and_evaluated(tmp_path):
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=60_000, num_seeds=2)
    run = ppo_lib.train(cfg, progress=False)
    policy = load_policy(save_policy(Policy.from_run(run), tmp_path / "a.npz"))
    assert (policy.seeds, policy.update) == (cfg.seeds, cfg.num_updates)
    assert evaluate(policy).mean > 100
