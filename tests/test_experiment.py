"""experiment.py：许多成员一起训练，而每个成员的数与同伴、块长、次序都无关。"""

import contextlib
import dataclasses
import re
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
import xarray as xr
from tiny import TINY

from ppo_lib import (
    ConfigError,
    Diverged,
    PPOConfig,
    experiment,
    load_config,
    members,
    memory,
    sweep,
    train,
)
from ppo_lib.config import TRACED, Hyperparams
from ppo_lib.members import chunk_lengths, compiled_programs
from ppo_lib.training import CHUNK, make_train

UPDATES = 40


def tiny(**changes):
    """四十次更新、很小的网络：一次训练几毫秒，时间几乎全在第一次编译。"""
    return dataclasses.replace(
        TINY, **dict(total_timesteps=UPDATES * 32, num_seeds=1) | changes
    )


def quiet(cfg, **options):
    return train(cfg, progress=False, **options)


def same(a: xr.Dataset, b: xr.Dataset):
    """指标逐位相同（NaN 算相同）；坐标也相同。"""
    xr.testing.assert_equal(a, b)


def same_params(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def five():
    """种子 3 … 7 一起训练。"""
    return quiet(tiny(seed=3, num_seeds=5))


@contextlib.contextmanager
def count_compilations():
    """期间 JAX 请求编译的次数；从磁盘缓存里取也算一次。"""
    events = []

    def listen(name, duration, **rest):
        if name == "/jax/core/compile/backend_compile_duration":
            events.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


# ---------------------------------------------------------------- 同样的种子，同样的数


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 5, 7])
def test_a_seed_alone_equals_itself_among_five(five, seed):
    alone = quiet(tiny(seed=seed))
    same(alone.metrics, five.metrics.sel(seed=[seed]))
    same_params(alone.params, jax.tree.map(lambda x: x[seed - 3 : seed - 2], five.params))


@pytest.mark.slow
def test_a_second_call_gives_the_same_numbers(five):
    again = quiet(tiny(seed=3, num_seeds=5))
    same(again.metrics, five.metrics)
    same_params(again.params, five.params)


@pytest.mark.parametrize("chunk_updates", [1, 7, CHUNK])
def test_chunk_length_changes_nothing(five, chunk_updates):
    run = quiet(tiny(seed=3, num_seeds=5), chunk_updates=chunk_updates)
    same(run.metrics, five.metrics)
    same_params(run.params, five.params)


def test_a_run_longer_than_one_compiled_chunk_has_no_seam():
    cfg = tiny(total_timesteps=(CHUNK + 44) * 32)
    whole = quiet(cfg, chunk_updates=CHUNK)
    assert whole.metrics.sizes["update"] == CHUNK + 44
    assert np.isfinite(whole.metrics["entropy"]).all()
    other = quiet(cfg, chunk_updates=100)
    same(whole.metrics, other.metrics)
    same_params(whole.params, other.params)


def test_a_seed_inside_a_sweep_equals_the_seed_trained_alone():
    ds = sweep(
        tiny(seed=3, num_seeds=2), progress=False, beta_1=[0.0, 0.9], lr=[1e-3, 4e-3, 2e-2]
    )
    for beta_1 in (0.0, 0.9):
        for lr in (1e-3, 4e-3, 2e-2):
            alone = quiet(tiny(seed=4, beta_1=beta_1, lr=lr)).metrics
            same(
                alone.isel(seed=0),
                ds.sel(beta_1=beta_1, lr=lr, seed=4).drop_vars(["beta_1", "lr"]),
            )


@pytest.mark.slow
def test_the_default_network_is_reproducible_bit_for_bit():
    """默认大小的网络和批次（矩阵大到 XLA 会想用线程池）：单独、一起、另一种块长，逐位相同。"""
    cfg = PPOConfig(env_name="CartPole-v1", total_timesteps=12 * 2048, num_seeds=3)
    together = quiet(cfg)
    alone = quiet(
        PPOConfig(env_name="CartPole-v1", total_timesteps=12 * 2048, num_seeds=1, seed=2),
        chunk_updates=5,
    )
    same(alone.metrics, together.metrics.sel(seed=[2]))
    same_params(alone.params, jax.tree.map(lambda x: x[2:], together.params))


def test_different_seeds_differ(five):
    entropy = five.metrics["entropy"].values
    assert len({row.tobytes() for row in entropy}) == 5
    kernels = five.params["params"]["actor_0"]["kernel"]
    assert len({kernel.tobytes() for kernel in kernels}) == 5


@pytest.mark.slow
def test_vmap_agrees_with_threads_at_first():
    """浮点加法的次序不同，所以只在开头、只在误差之内相同。"""
    cfg = tiny(seed=3, num_seeds=3)
    threads, vmap = quiet(cfg, parallel="threads"), quiet(cfg, parallel="vmap")
    for name in ("entropy", "value_loss", "grad_norm", "return"):
        np.testing.assert_allclose(
            vmap.metrics[name][:, :3],
            threads.metrics[name][:, :3],
            rtol=1e-3,
            atol=1e-5,
            err_msg=name,
        )
    shapes = [jax.tree.map(lambda x: x.shape, run.params) for run in (threads, vmap)]
    assert shapes[0] == shapes[1]
    assert vmap.metrics.sizes == threads.metrics.sizes


@pytest.mark.slow
def test_vmap_is_reproducible_from_call_to_call_and_does_not_depend_on_chunks():
    cfg = tiny(seed=3, num_seeds=3)
    one, two = (quiet(cfg, parallel="vmap", chunk_updates=n) for n in (7, CHUNK))
    same(one.metrics, two.metrics)
    same_params(one.params, two.params)


# ---------------------------------------------------------------- 占多少内存


def peak_bytes(updates: int, folder) -> tuple[int, int, int]:
    """一次训练：Python 和 NumPy 的内存最多时占多少字节，JAX 的数组最多时有几个，指标有多少字节。"""
    arrays = []
    tracemalloc.start()
    run = quiet(
        tiny(total_timesteps=updates * 32),
        chunk_updates=16,
        on_chunk=lambda _: arrays.append(len(jax.live_arrays())),
        run_dir=folder,
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, max(arrays), run.metrics.nbytes


@pytest.mark.slow
@pytest.mark.parametrize("stored", [False, True])
def test_a_longer_run_takes_only_the_memory_of_its_metrics(stored, tmp_path):
    """训练越长，只有指标越多：表里一份，结果里一份（存盘时，写 netCDF 再过一遍）。"""
    (_, _, _), (short, arrays, few), (long, more_arrays, many) = (
        peak_bytes(updates, tmp_path / str(updates) if stored else None)
        for updates in (50, 320, 4800)  # 第一次是热身
    )
    assert long - short < (4.5 if stored else 2.5) * (many - few) + 100_000
    state = len(
        jax.tree.leaves(jax.eval_shape(make_train(tiny()).init, 0, tiny().hyperparams()))
    )
    assert more_arrays - arrays <= 2 * state


# ---------------------------------------------------------------- 编译几次


MOVED = dict(
    lr=1e-2,
    beta_1=0.5,
    critic_beta_1=0.3,
    beta_2=0.9,
    adam_eps=1e-5,
    max_grad_norm=0.5,
    running_grad_decay=0.9,
    gamma=0.9,
    gae_lambda=0.8,
    clip_eps=0.1,
    ent_coef=0.1,
    vf_coef=1.0,
    critic_bias=3.0,
    shaping_scale=2.0,
)
"""每个动态的键，和一个与默认值不同的值。"""


def test_no_traced_key_seed_or_length_compiles_anything(five):
    """动态的键一个一个地动，也一起动：JAX 一次也不编译，连一个小运算也不。"""
    assert set(MOVED) == set(TRACED)
    assert set(Hyperparams._fields) == {*TRACED, "num_updates"}
    before = compiled_programs.cache_info()
    with count_compilations() as compilations:
        for name, value in MOVED.items():
            quiet(tiny(**{name: value}))
            assert not compilations, name
        quiet(tiny(**MOVED))
        quiet(tiny(total_timesteps=7 * 32 + 5))
        quiet(tiny(num_seeds=4))
        quiet(tiny(seed=1234))
        quiet(tiny(project="other", wandb_mode="disabled"))
        sweep(tiny(num_seeds=2), progress=False, beta_1=[0.1, 0.2, 0.3])
    after = compiled_programs.cache_info()
    assert after.misses == before.misses
    assert after.hits == before.hits + len(MOVED) + 6
    assert len(compilations) == 0


@pytest.mark.slow
def test_a_static_key_compiles_once():
    cfg = tiny(num_steps=8)
    before = compiled_programs.cache_info().misses
    with count_compilations() as compilations:
        first = quiet(cfg)
    assert compiled_programs.cache_info().misses == before + 1
    assert len(compilations) >= 2  # init 和 run_chunk；也证明计数器是通的
    assert first.compile_seconds > 0.05 > quiet(cfg).compile_seconds


def test_static_makes_equal_what_shares_a_program():
    base = tiny()
    assert (
        base.static()
        == tiny(lr=0.1, seed=9, num_seeds=3, total_timesteps=10**6, critic_bias=-1.0).static()
    )
    for change in (
        dict(num_envs=4),
        dict(activation="tanh"),
        dict(optimizer="sgd"),
        dict(anneal_lr=False),
        dict(bootstrap_truncation=False),
        dict(shuffle="samples"),
        dict(update_epochs=2),
    ):
        assert base.static() != tiny(**change).static(), change


# ---------------------------------------------------------------- 结果的样子


def test_metrics_have_the_guides_names_dims_and_coords(five):
    ds = five.metrics
    assert ds["return"].dims == ("seed", "update")
    assert set(ds.data_vars) >= {
        "return",
        "episode_length",
        "actor_loss",
        "value_loss",
        "entropy",
        "grad_norm",
        "mu_norm",
        "nu_norm",
        "cosine_similarity",
        "clip_frac",
        "approx_kl",
        "explained_variance",
        "episodes_ended",
        "goals_reached",
        "learning_rate",
    }
    assert all(
        x.dims == ("seed", "update") and x.dtype == np.float32 for x in ds.data_vars.values()
    )
    np.testing.assert_array_equal(ds["seed"], [3, 4, 5, 6, 7])
    np.testing.assert_array_equal(ds["update"], np.arange(1, UPDATES + 1))
    np.testing.assert_array_equal(ds["timesteps"], 32 * np.arange(1, UPDATES + 1))
    assert ds["timesteps"].dims == ("update",)


def test_attributes_say_what_ran(five, tmp_path):
    attrs = five.metrics.attrs
    path = tmp_path / "config.yaml"
    path.write_text(attrs["config"], encoding="utf-8")
    assert load_config(path) == tiny(seed=3, num_seeds=5)
    assert attrs["jax"] == jax.__version__ and attrs["ppo_lib"] and attrs["device"]
    assert attrs["run_seconds"] == five.run_seconds > 0
    assert attrs["compile_seconds"] == five.compile_seconds >= 0
    assert five.metrics["entropy"].attrs["units"] == "nat"
    assert five.metrics["episode_length"].attrs["units"] == "步"
    assert five.steps_per_second == pytest.approx(5 * UPDATES * 32 / five.run_seconds)


def test_return_is_nan_exactly_where_no_episode_ended(five):
    """CartPole 每步 1 分：回报等于回合长度，至少 8；没有回合结束处是 NaN，绝不是 0。"""
    ds = five.metrics
    none_ended = ds["episodes_ended"].values == 0
    assert 0.1 < none_ended.mean() < 0.9
    np.testing.assert_array_equal(np.isnan(ds["return"].values), none_ended)
    np.testing.assert_array_equal(np.isnan(ds["episode_length"].values), none_ended)
    np.testing.assert_array_equal(ds["return"], ds["episode_length"])
    assert np.nanmin(ds["return"]) >= 8


def test_params_have_a_leading_seed_axis(five):
    assert {x.shape[0] for x in jax.tree.leaves(five.params)} == {5}
    assert five.params["params"]["actor_0"]["kernel"].shape == (5, 4, 8)


@pytest.mark.parametrize("optimizer, missing", [("sgd", "nu_norm"), ("rmsprop", "mu_norm")])
@pytest.mark.slow
def test_a_moment_that_the_optimizer_lacks_is_nan(optimizer, missing):
    ds = quiet(tiny(optimizer=optimizer)).metrics
    assert np.isnan(ds[missing]).all()
    assert np.isfinite(ds[{"nu_norm": "mu_norm", "mu_norm": "nu_norm"}[missing]]).all()


def test_results_survive_netcdf(five, tmp_path):
    path = tmp_path / "metrics.nc"
    five.metrics.to_netcdf(path)
    back = xr.load_dataset(path)
    xr.testing.assert_identical(back, five.metrics)
    assert back["return"].dtype == np.float32


# ---------------------------------------------------------------- 网格


def test_sweep_dims_follow_the_order_written():
    cfg = tiny(num_seeds=2)
    ds = sweep(cfg, progress=False, ent_coef=[0.003, 0.05, 0.1], beta_1=np.array([0.9, 0.0]))
    assert ds["return"].dims == ("ent_coef", "beta_1", "seed", "update")
    assert dict(ds.sizes) == dict(ent_coef=3, beta_1=2, seed=2, update=UPDATES)
    np.testing.assert_array_equal(ds["ent_coef"], [0.003, 0.05, 0.1])
    np.testing.assert_array_equal(ds["beta_1"], [0.9, 0.0])  # 不排序
    swapped = sweep(cfg, progress=False, beta_1=[0.9, 0.0], ent_coef=[0.003, 0.05, 0.1])
    assert swapped["return"].dims == ("beta_1", "ent_coef", "seed", "update")
    same(ds, swapped.transpose(*ds["return"].dims))


def test_sweep_without_axes_equals_train(five):
    same(sweep(tiny(seed=3, num_seeds=5), progress=False), five.metrics)


@pytest.mark.slow
def test_static_and_traced_axes_mix(tmp_path):
    """静态的轴夹在两个动态的轴之间；每一点都等于单独训练。"""
    cfg = tiny(num_seeds=2)
    ds = sweep(
        cfg, progress=False, beta_1=[0.0, 0.9], activation=["tanh", "relu"], lr=[1e-3, 1e-2]
    )
    assert ds["return"].dims == ("beta_1", "activation", "lr", "seed", "update")
    assert list(ds["activation"].values) == ["tanh", "relu"]
    for activation in ("tanh", "relu"):
        alone = quiet(tiny(num_seeds=2, activation=activation, beta_1=0.9, lr=1e-2)).metrics
        point = ds.sel(beta_1=0.9, activation=activation, lr=1e-2)
        for name in alone.data_vars:
            np.testing.assert_array_equal(point[name], alone[name], err_msg=name)
    np.testing.assert_array_equal(ds["timesteps"], 32 * np.arange(1, UPDATES + 1))
    assert ds["entropy"].attrs["units"] == "nat"

    ds.to_netcdf(tmp_path / "sweep.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "sweep.nc"), ds)


@pytest.mark.slow
def test_two_static_axes_and_labels_of_lists():
    ds = sweep(tiny(), progress=False, anneal_lr=[True, False], hidden_sizes=[(8,), (8, 4)])
    assert ds["return"].dims == ("anneal_lr", "hidden_sizes", "seed", "update")
    assert list(ds["hidden_sizes"].values) == ["8", "8x4"]
    assert list(ds["anneal_lr"].values) == [True, False]
    last = ds["learning_rate"].isel(update=-1, seed=0)
    np.testing.assert_allclose(last.sel(anneal_lr=False), 4e-3)
    np.testing.assert_allclose(last.sel(anneal_lr=True), 4e-3 / UPDATES, rtol=1e-5)


@pytest.mark.slow
def test_a_static_axis_that_changes_the_number_of_updates_pads_with_nan():
    ds = sweep(tiny(), progress=False, num_envs=[2, 4])
    assert ds.sizes["update"] == UPDATES
    entropy = ds["entropy"].isel(seed=0)
    assert np.isfinite(entropy.sel(num_envs=2)).all()
    assert np.isfinite(entropy.sel(num_envs=4)[: UPDATES // 2]).all()
    assert np.isnan(entropy.sel(num_envs=4)[UPDATES // 2 :]).all()
    np.testing.assert_array_equal(
        ds["timesteps"].sel(num_envs=4)[: UPDATES // 2], 64 * np.arange(1, UPDATES // 2 + 1)
    )


@pytest.mark.parametrize(
    "axes, message",
    [
        (dict(beta1=[0.9]), "最接近的是 'beta_1'"),
        (dict(beta_1=[0.9, 1.5]), "beta_1 = 1.5"),
        (dict(activation=["relu", "rellu"]), "'relu'"),
        (dict(seed=[0, 1]), "num_seeds"),
        (dict(total_timesteps=[1000]), "不能作网格的轴"),
        (dict(lr=[]), "非空的列表"),
        (dict(lr=1e-3), "非空的列表"),
        (dict(activation="relu"), "非空的列表"),
        (dict(num_envs=[2, 3]), "整除"),
    ],
)
def test_sweep_rejects_bad_axes_before_compiling(axes, message):
    before = compiled_programs.cache_info()
    with pytest.raises(ConfigError, match=message):
        sweep(tiny(), progress=False, **axes)
    assert compiled_programs.cache_info() == before


def test_sweep_rejects_a_bad_point_made_of_good_values_before_compiling():
    """num_envs=2 和 num_minibatches=4 各自与 cfg 相合，网格的最后一点却不合法。"""
    before = compiled_programs.cache_info()
    with pytest.raises(ConfigError, match="整除"):
        sweep(tiny(num_envs=4), progress=False, num_envs=[4, 2], num_minibatches=[2, 4])
    assert compiled_programs.cache_info() == before


@pytest.mark.slow
def test_sweep_accepts_values_that_are_good_only_together():
    """num_minibatches=3 与 cfg 的 num_envs=2 不合，但网格里没有这一点。"""
    ds = sweep(tiny(), progress=False, num_minibatches=[3], num_envs=[6, 12])
    assert dict(ds.sizes) == dict(num_minibatches=1, num_envs=2, seed=1, update=UPDATES // 3)


@pytest.mark.slow
def test_vmapped_sweep_equals_threads_at_first_and_tells_the_points_apart():
    """GPU 上 sweep 把所有点 vmap 成一批；头几次更新与分开训练几乎相同。"""
    axes = dict(beta_1=[0.0, 0.9], lr=[1e-3, 2e-2])
    threads, batched = (
        sweep(tiny(num_seeds=2), progress=False, parallel=how, **axes).isel(update=slice(3))
        for how in ("threads", "vmap")
    )
    for name in ("entropy", "value_loss", "grad_norm", "learning_rate"):
        np.testing.assert_allclose(batched[name], threads[name], rtol=1e-3, atol=1e-4)
    losses = batched["value_loss"].isel(seed=0, update=2).values.ravel()
    assert len(set(losses.tolist())) == 4


@pytest.mark.parametrize(
    "backend, sizes",
    [("cpu", {1: 1, 5: 5, 17: 17}), ("gpu", {1: 16, 16: 16, 17: 32, 64: 64, 65: 128})],
)
def test_on_a_gpu_the_batch_is_rounded_up(monkeypatch, backend, sizes):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert {size: members.batch_size(size) for size in sizes} == sizes


@pytest.fixture
def rounded_batches(monkeypatch):
    """GPU 上的摆法，在 CPU 上：一批总是 8 个成员。"""
    monkeypatch.setattr(members, "batch_size", lambda size: 8)


@pytest.mark.slow
def test_in_a_rounded_batch_a_seed_does_not_depend_on_its_companions(rounded_batches):
    three, alone = (
        quiet(tiny(seed=seed, num_seeds=n), parallel="vmap") for seed, n in ((3, 3), (4, 1))
    )
    assert three.metrics.sizes["seed"] == 3 and alone.metrics.sizes["seed"] == 1
    same(three.metrics.sel(seed=[4]), alone.metrics)
    same_params(members.take(three.params, slice(1, 2)), alone.params)
    ds = sweep(tiny(seed=4), progress=False, parallel="vmap", lr=[1e-3, tiny().lr])
    xr.testing.assert_equal(ds.isel(lr=1, drop=True), alone.metrics)


@pytest.mark.slow
def test_a_rounded_batch_resumes_where_it_stopped(rounded_batches, tmp_path):
    cfg = tiny(num_seeds=3, tracker="none")
    straight = quiet(cfg, parallel="vmap")

    def stop(metrics):
        if metrics.sizes["update"] == 32:
            raise KeyboardInterrupt

    options = dict(parallel="vmap", chunk_updates=16, run_dir=tmp_path / "run")
    stopped = quiet(cfg, on_chunk=stop, **options)
    assert stopped.interrupted and stopped.metrics.sizes["update"] == 32
    resumed = quiet(cfg, resume=True, **options)
    same(resumed.metrics, straight.metrics)
    same_params(resumed.params, straight.params)


@pytest.fixture
def room_for_four(monkeypatch):
    """设备的内存只装得下四个成员的一批。"""
    seven = compiled_programs(tiny().static(), 7)
    monkeypatch.setattr(
        members, "usable_bytes", lambda: members.device_bytes(seven.memory) * 4.5 / 7
    )


@pytest.mark.slow
def test_what_does_not_fit_is_cut_into_equal_batches_with_the_same_numbers(room_for_four):
    """七个成员，四个一批：与同样大小的一批训练的逐位相同，与七个一批的在误差之内相同。"""
    with count_compilations() as compilations:
        cut = quiet(tiny(num_seeds=7), parallel="vmap")
    assert len(compilations) in (0, 2), "两批合用一个程序（init 和 run_chunk）"
    for seed in (0, 3):
        four = quiet(tiny(seed=seed, num_seeds=4), parallel="vmap")
        same(cut.metrics.sel(seed=four.metrics["seed"]), four.metrics)
        same_params(members.take(cut.params, slice(seed, seed + 4)), four.params)
    grid = sweep(tiny(num_seeds=1), progress=False, parallel="vmap", lr=[tiny().lr] * 7)
    same(grid.isel(lr=6, drop=True), cut.metrics.sel(seed=[0]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "usable_bytes", lambda: np.inf)
        whole = quiet(tiny(num_seeds=7), parallel="vmap")
    for name in ("entropy", "value_loss", "grad_norm"):
        np.testing.assert_allclose(
            cut.metrics[name][:, :3], whole.metrics[name][:, :3], rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("size, batch", [(4, 4), (5, 3), (7, 4), (9, 3), (13, 4)])
def test_a_cut_run_has_equal_batches_as_few_as_fit(monkeypatch, size, batch):
    monkeypatch.setattr(
        members, "compiled_programs", lambda _, size: members.Programs(None, None, size)
    )
    monkeypatch.setattr(members, "device_bytes", lambda memory: 100 * memory)
    monkeypatch.setattr(members, "usable_bytes", lambda: 450)
    assert members.fitting_batch(None, size) == batch
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(members, "usable_bytes", lambda: 100 * 70)
    assert members.fitting_batch(None, 60 * size) == 64  # 取整到 2 的幂


@pytest.mark.slow
def test_one_member_that_does_not_fit_is_an_error(monkeypatch):
    monkeypatch.setattr(members, "usable_bytes", lambda: 1000)
    with pytest.raises(ConfigError, match="装不下：1 个成员一批.*num_envs"):
        quiet(tiny(num_seeds=2), parallel="vmap")


def test_more_members_than_the_host_can_hold_are_told_beforehand(monkeypatch):
    """说出至多装得下几个；正好那么多个时，不再警告。"""
    cfg = tiny(num_seeds=5, total_timesteps=32)
    program = compiled_programs(cfg.static(), None).memory
    monkeypatch.setattr(memory, "host_bytes", lambda: 7 * program.argument_size_in_bytes)
    with pytest.warns(RuntimeWarning, match="5 个成员至少要") as told:
        quiet(cfg)
    fits = int(re.search(r"至多装得下 (\d+) 个", str(told[0].message))[1])
    assert fits == 3  # 每个两份状态，和一次更新的两份指标
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet(tiny(num_seeds=fits, total_timesteps=32))


def test_the_hosts_memory_is_what_the_system_says():
    assert 1e8 < memory.host_bytes() < 1e14


@pytest.mark.slow
def test_a_cut_run_stops_resumes_and_falls_sick_as_a_whole_one(room_for_four, tmp_path):
    cfg = tiny(num_seeds=7)
    straight = quiet(cfg, parallel="vmap")

    def stop(metrics):
        if metrics.sizes["update"] == 32:
            raise KeyboardInterrupt

    options = dict(parallel="vmap", chunk_updates=16, run_dir=tmp_path / "run")
    with pytest.warns(RuntimeWarning, match="Ctrl-C"):
        stopped = quiet(cfg, on_chunk=stop, **options)
    assert stopped.update == 32 and stopped.params["params"]["actor_0"]["kernel"].shape[0] == 7
    resumed = quiet(cfg, resume=True, **options)
    assert resumed.resumed_from == 32
    same(resumed.metrics, straight.metrics)
    same_params(resumed.params, straight.params)

    with pytest.warns(RuntimeWarning, match="lr.*inf.*种子 0|种子 0.*发散"):
        ds = sweep(tiny(), progress=False, parallel="vmap", lr=[1e-3] * 5 + [1e30])
    assert np.isfinite(ds["entropy"][:5]).all() and not np.isfinite(ds["entropy"][5]).all()


@pytest.mark.slow
def test_sweep_over_static_axes_remembers_what_it_ran():
    ds = sweep(tiny(), progress=False, activation=["relu", "tanh"])
    assert ds.attrs["run_seconds"] > 0 and ds.attrs["compile_seconds"] >= 0
    assert "total_timesteps" in ds.attrs["config"]


def test_axes_take_the_types_of_the_config():
    axes = experiment.check_axes(
        tiny(),
        dict(
            lr=[1, np.float32(0.5)],
            anneal_lr=np.array([True, False]),
            hidden_sizes=[[8], (4, 2)],
            num_steps=[16.0],
        ),
    )
    assert axes == dict(
        lr=[1.0, 0.5], anneal_lr=[True, False], hidden_sizes=[(8,), (4, 2)], num_steps=[16]
    )
    assert [type(axes[name][0]) for name in axes] == [float, bool, tuple, int]


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(parallel="gpu"), "auto | threads | vmap"),
        (dict(chunk_updates=0), "chunk_updates = 0"),
        (dict(chunk_updates=CHUNK + 1), "chunk_updates = 257"),
        (dict(chunk_updates=2.5), "chunk_updates = 2.5"),
        (dict(chunk_updates=True), "chunk_updates = True"),
        (dict(checkpoint_every=0), r"checkpoint_every = 0 不合法；允许的取值：\[1, "),
        (dict(checkpoint_every=-1), "checkpoint_every = -1"),
        (dict(resume=True), "resume = True 不合法；没有 run_dir"),
    ],
)
@pytest.mark.parametrize("call", [train, sweep])
def test_bad_options_are_rejected_before_compiling(call, options, message):
    before = compiled_programs.cache_info()
    with pytest.raises(ConfigError, match=message):
        call(tiny(hidden_sizes=(7,)), progress=False, **options)
    assert compiled_programs.cache_info() == before


@pytest.mark.parametrize(
    "total, chunk, lengths",
    [
        (10, 4, [4, 4, 2]),
        (10, np.int64(4), [4, 4, 2]),
        (8, 4, [4, 4]),
        (3, 4, [3]),
        (401, None, [20] * 20 + [1]),
        (40, None, [16, 16, 8]),  # 一块不少于 16 次
        (5, None, [5]),
        (10**4, None, [CHUNK] * 39 + [16]),
        (1, 1, [1]),
        (CHUNK + 1, CHUNK, [CHUNK, 1]),
    ],
)
def test_chunk_lengths(total, chunk, lengths):
    assert chunk_lengths(total, chunk) == lengths


# ---------------------------------------------------------------- 块与块之间


def test_on_chunk_sees_the_metrics_grow(five):
    seen = []
    run = quiet(tiny(seed=3, num_seeds=5), chunk_updates=15, on_chunk=seen.append)
    assert [ds.sizes["update"] for ds in seen] == [15, 30, 40]
    for ds in seen:
        assert ds["return"].dims == ("seed", "update")
        same(ds, run.metrics.isel(update=slice(ds.sizes["update"])))
    same(seen[-1], run.metrics)
    assert run.metrics.attrs["config"] == seen[-1].attrs["config"]


def test_on_chunk_is_called_once_a_chunk_by_default():
    seen = []
    quiet(tiny(), on_chunk=seen.append)
    assert len(seen) == len(chunk_lengths(UPDATES, None)) == 3


def stop_at_third_chunk(error):
    calls = []

    def stop(ds):
        calls.append(ds)
        if len(calls) == 3:
            raise error

    return stop, calls


def test_an_exception_inside_on_chunk_stops_the_run_and_leaves_no_threads():
    error = RuntimeError("停")
    stop, calls = stop_at_third_chunk(error)
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError) as caught:
        quiet(tiny(num_seeds=4, total_timesteps=10**5), chunk_updates=1, on_chunk=stop)
    assert caught.value is error
    assert len(calls) == 3
    assert set(threading.enumerate()) <= before
    assert quiet(tiny()).metrics.sizes["update"] == UPDATES  # 之后照常能用


@pytest.mark.parametrize("parallel", ["threads", pytest.param("vmap", marks=pytest.mark.slow)])
def test_ctrl_c_returns_what_has_been_trained(five, parallel):
    stop, calls = stop_at_third_chunk(KeyboardInterrupt())
    before = set(threading.enumerate())
    run = quiet(tiny(seed=3, num_seeds=5), chunk_updates=4, on_chunk=stop, parallel=parallel)
    assert run.interrupted and run.metrics.sizes["update"] == 12
    assert set(threading.enumerate()) <= before
    if parallel == "threads":
        same(run.metrics, five.metrics.isel(update=slice(12)))
    shorter = quiet(tiny(seed=3, num_seeds=5), chunk_updates=12, parallel=parallel)
    same_params(run.params, shorter.snapshots[12])  # 参数正是第 12 次更新之后的


def test_ctrl_c_before_anything_is_trained_is_passed_on(monkeypatch):
    def interrupted(self, i, n, previous):
        raise KeyboardInterrupt

    monkeypatch.setattr(members.Members, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(tiny())


EXPLODES = dict(lr=1e30, max_grad_norm=1e30, optimizer="sgd", anneal_lr=False)


@pytest.mark.slow
def test_a_diverging_run_stops_and_says_where():
    with pytest.raises(Diverged) as caught:
        quiet(tiny(num_seeds=3, seed=5, **EXPLODES), chunk_updates=1)
    message, run = str(caught.value), caught.value.run
    for words in ("发散", "种子 5、6、7", "lr（现在是 1e+30）", "max_grad_norm"):
        assert words in message
    good = re.search(r"第 (\d+) 次更新之后，已经留下", message)
    bad = re.search(r"第 (\d+) 次更新起 (\w+)", message)
    assert int(bad[1]) == int(good[1]) + 1 == run.metrics.sizes["update"]
    values = run.metrics[bad[2]].values
    assert np.isfinite(values[:, :-1]).all() and not np.isfinite(values[:, -1]).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(run.params))


@pytest.mark.slow
def test_in_a_sweep_the_others_go_on_when_one_diverges():
    cfg = tiny(max_grad_norm=1e30, optimizer="sgd", anneal_lr=False)
    with pytest.warns(RuntimeWarning, match=r"'lr': 1e\+30.*种子 0 发散.*其余的照常"):
        ds = sweep(cfg, progress=False, lr=[1e30, 1e-3])
    assert not np.isfinite(ds["entropy"].sel(lr=1e30)).all()
    alone = quiet(tiny(max_grad_norm=1e30, optimizer="sgd", anneal_lr=False, lr=1e-3))
    np.testing.assert_array_equal(ds["entropy"].sel(lr=1e-3), alone.metrics["entropy"])


@pytest.mark.slow
def test_snapshots_are_policies_from_along_the_way():
    run = quiet(tiny(), chunk_updates=10)
    assert list(run.snapshots) == [10, 20, 40]
    assert run.policy().update == 40 and run.policy(10).update == 10
    same_params(run.policy().params, run.snapshots[40])
    half = quiet(tiny(total_timesteps=20 * 32, anneal_lr=False)).params
    whole = quiet(tiny(anneal_lr=False), chunk_updates=10)
    same_params(whole.snapshots[20], half)
    with pytest.raises(ConfigError, match="update = 11 .*10、20、40"):
        run.policy(11)


def test_an_exception_inside_a_worker_reaches_the_caller(monkeypatch):
    """编译好的程序自己出错（例如内存不够）：错误传出来，不会卡住。"""

    def fail(self, i, n, previous):
        if i == 1 and n < 16:
            raise MemoryError("不够")
        return original(self, i, n, previous)

    original = members.Members.advance
    monkeypatch.setattr(members.Members, "advance", fail)
    before = set(threading.enumerate())
    with pytest.raises(MemoryError):
        quiet(tiny(num_seeds=3))
    assert set(threading.enumerate()) <= before


def test_train_works_from_several_threads_at_once(five):
    """笔记本里的滑块可能在后台线程里训练。"""
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda seed: quiet(tiny(seed=seed)), [3, 4, 5]))
    for run in runs:
        same(run.metrics, five.metrics.sel(seed=run.metrics["seed"]))


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_the_number_of_cores_changes_nothing(five, monkeypatch, cores):
    monkeypatch.setattr(members, "available_cores", lambda: cores)
    same(quiet(tiny(seed=3, num_seeds=5)).metrics, five.metrics)


def test_training_does_not_write_what_its_threads_share():
    cfg = tiny()
    hyper = members.stack([cfg.hyperparams()] * cfg.num_seeds)
    group = members.Members(cfg, np.asarray(cfg.seeds), hyper, "threads")
    keys = group.keys
    group.run([4])
    assert group.keys is keys


def test_progress_goes_to_stderr_and_names_the_dropped_steps(capsys):
    train(tiny(total_timesteps=40 * 32 + 7))
    out, err = capsys.readouterr()
    assert "最后 7 步不跑" in out + err
    assert "100%" in err and "步/s" in err
    quiet(tiny(total_timesteps=40 * 32 + 7))
    assert capsys.readouterr() == ("", "")
