"""ppo_lib/config.py：默认值、读写、检查和报错、静态与动态的划分。"""

import dataclasses
import math
import pickle

import ppo_lib  # isort: skip  # 在 gymnax 之前：它一 import 就启动 JAX 的后端

import gymnax
import numpy as np
import pytest
import yaml
from gymnax.environments import spaces
from gymnax.utils import load_mnist
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo_lib.config import (
    CONFIG_FILE,
    CONTINUOUS_ENVS,
    FIELDS,
    TRACED,
    ConfigError,
    Hyperparams,
    PPOConfig,
    allowed,
    kind_of,
    load_config,
    parse_overrides,
    to_yaml,
)

GUIDE = dict(
    total_timesteps=2_000_000,
    num_envs=16,
    num_steps=128,
    lr=4e-3,
    optimizer="adam",
    anneal_lr=True,
    beta_1=0.9,
    beta_2=0.999,
    update_epochs=2,
    num_minibatches=4,
    gamma=0.99,
    gae_lambda=0.95,
    clip_eps=0.2,
    ent_coef=0.003,
    vf_coef=0.5,
    max_grad_norm=1.0,
    activation="relu",
    env_name="MountainCar-v0",
    seed=0,
    num_seeds=10,
    project="optimize",
    job_type="ppo",
)
"""原指南的 config_ppo.yaml，一个键也不少。"""

OTHER = dict(
    total_timesteps=4_000_000,
    num_envs=32,
    num_steps=64,
    lr=1e-3,
    optimizer="sgd",
    anneal_lr=False,
    beta_1=0.5,
    critic_beta_1=0.25,
    beta_2=0.9,
    adam_eps=1e-5,
    max_grad_norm=0.5,
    running_grad_decay=0.9,
    update_epochs=4,
    num_minibatches=8,
    shuffle="samples",
    gamma=0.9,
    gae_lambda=0.8,
    bootstrap_truncation=False,
    advantage_norm="none",
    clip_eps=0.1,
    clip_value=True,
    ent_coef=0.05,
    vf_coef=1.0,
    activation="tanh",
    hidden_sizes=(32,),
    shared_trunk=True,
    critic_bias=-10.0,
    env_name="CartPole-v1",
    obs_scaling="bounds",
    reward_shaping="energy",
    shaping_scale=2.0,
    seed=1,
    num_seeds=3,
    project="p",
    job_type="j",
    wandb_mode="disabled",
    tracker="none",
)
"""每个键的另一个合法的值。"""


def error_of(**bad) -> str:
    with pytest.raises(ConfigError) as info:
        PPOConfig(**bad)
    return str(info.value)


def write(folder, content):
    path = folder / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---------------------------------------------------------------- 默认值


def test_defaults_are_the_guides():
    cfg = PPOConfig()
    assert {key: getattr(cfg, key) for key in GUIDE} == GUIDE


def test_config_file_holds_the_defaults():
    assert load_config(CONFIG_FILE) == load_config() == PPOConfig()


def test_config_file_is_what_to_yaml_renders_below_its_header():
    lines = CONFIG_FILE.read_text(encoding="utf-8").splitlines(keepends=True)
    assert all(line.startswith("# ") for line in lines[:2]) and lines[2] == "\n"
    assert "".join(lines[3:]) == to_yaml(PPOConfig())


def test_config_file_reads_the_same_with_a_plain_yaml_parser():
    """Hydra 用 OmegaConf，别的工具用 YAML 1.1；除了 1e-08 这种写法，二者读到一样的值。"""
    plain = yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
    assert plain.pop("adam_eps") == "1e-08"  # YAML 1.1 里不带小数点的不是数，OmegaConf 认得
    assert PPOConfig(**plain) == PPOConfig()


def test_every_field_is_explained_and_grouped():
    for name, field in FIELDS.items():
        assert field.metadata["help"] and field.metadata["group"], name
        assert allowed(field)
    groups = [field.metadata["group"] for field in FIELDS.values()]
    changes = sum(a != b for a, b in zip(groups, groups[1:]))
    assert changes == len(set(groups)) - 1  # 同组的键挨在一起


# ---------------------------------------------------------------- 读写


def in_range(field):
    """一个字段的合法取值；与别的键有约束的字段另作处理。"""
    spec = field.metadata
    within = spec["within"]
    if spec["choices"]:
        return st.sampled_from(spec["choices"])
    if field.default is None:
        return st.none() | st.floats(0, 1, width=32, allow_subnormal=False, exclude_max=True)
    if field.type == "bool":
        return st.booleans()
    if field.type == "str":
        return st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)
    if field.type == "tuple":
        return st.lists(st.integers(1, 512), min_size=1, max_size=4).map(tuple)
    if field.type == "int":
        return st.integers(within.low, 1000 if within.high == math.inf else within.high - 1000)
    return st.floats(
        None if within.low == -math.inf else within.low,
        None if within.high == math.inf else within.high,
        width=32,
        allow_nan=False,
        allow_infinity=False,
        allow_subnormal=False,
        exclude_min=within.open_low,
        exclude_max=within.open_high,
    )


@st.composite
def valid_configs(draw):
    keys = {name: draw(in_range(field), label=name) for name, field in FIELDS.items()}
    keys["num_envs"] = keys["num_minibatches"] * draw(st.integers(1, 20))
    keys["total_timesteps"] = keys["num_envs"] * keys["num_steps"] * draw(st.integers(1, 100))
    discrete = [name for name in gymnax.registered_envs if name not in CONTINUOUS_ENVS]
    keys["env_name"] = draw(st.sampled_from(discrete))
    if keys["env_name"] != "MountainCar-v0":
        keys["reward_shaping"] = "none"
    if keys["num_envs"] * keys["num_steps"] == keys["num_minibatches"]:  # 一个样本没法标准化
        keys["advantage_norm"] = "none"
    return PPOConfig(**keys)


@settings(deadline=None, max_examples=60)
@given(cfg=valid_configs())
def test_to_yaml_then_load_config_is_the_identity(cfg, tmp_path_factory):
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    path.write_text(to_yaml(cfg), encoding="utf-8")
    assert load_config(path) == cfg


@pytest.mark.parametrize(
    "project",
    [
        "true",
        "yes",
        "null",
        "~",
        "",
        "123",
        "1e-3",
        "0x10",
        "a: b",
        "# x",
        " a ",
        "- a",
        "[",
        "'",
        '"',
        "*x",
        "!x",
        "%",
        "@",
        "a\nb",
        "${lr}",
        "${x",
        "\\${lr}",
        "\\\\${lr}",
        "a\\",
        "???",
        "实验 一",
        "\xa0",
        ":\u3000",
        "a" * 200,
    ],
)
def test_any_text_survives_the_round_trip(project, tmp_path):
    """YAML 会把 true、123、空串读成别的类型，把 # 当注释，OmegaConf 会展开 ${…}。"""
    path = write(tmp_path, to_yaml(PPOConfig(project=project)))
    assert load_config(path).project == project


def test_ordinary_text_is_written_without_quotes():
    assert "\nproject: optimize\n" in to_yaml(PPOConfig())


def test_keys_left_out_of_a_file_take_their_defaults(tmp_path):
    assert load_config(write(tmp_path, "lr: 1e-3\n")) == PPOConfig(lr=1e-3)
    assert load_config(write(tmp_path, "")) == PPOConfig()


def test_the_guides_own_yaml_is_read(tmp_path):
    """指南的写法：2e6 当整数，键带引号，True 大写。"""
    text = "total_timesteps: 2e6\n'lr': 4e-3\n\"anneal_lr\": True\n'optimizer': \"adam\"\n"
    cfg = load_config(write(tmp_path, text))
    assert cfg == PPOConfig() and type(cfg.total_timesteps) is int


def test_overrides_win_over_the_file_and_the_last_one_wins(tmp_path):
    path = write(tmp_path, "lr: 0.1\nbeta_1: 0.1\n")
    cfg = load_config(
        path, ["lr=0.2", "lr=1e-3", "hidden_sizes=[32,16]", "anneal_lr=false", "project=a=b"]
    )
    assert (cfg.lr, cfg.beta_1, cfg.hidden_sizes, cfg.anneal_lr) == (1e-3, 0.1, (32, 16), False)
    assert cfg.project == "a=b"


def test_parse_overrides_gives_the_types_of_yaml():
    parsed = parse_overrides(
        ["lr=1e-3", "num_seeds=3", "clip_value=true", "env_name=CartPole-v1"]
    )
    assert parsed == dict(lr=1e-3, num_seeds=3, clip_value=True, env_name="CartPole-v1")
    assert type(parsed["num_seeds"]) is int


def test_config_survives_pickling_and_replace():
    cfg = PPOConfig(lr=1e-3)
    assert pickle.loads(pickle.dumps(cfg)) == cfg
    assert dataclasses.replace(cfg, lr=4e-3) == PPOConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.lr = 1.0


# ---------------------------------------------------------------- 报错：键


@pytest.mark.parametrize(
    "typo, nearest",
    [
        ("beta1", "beta_1"),
        ("Lr", "lr"),
        ("LR", "lr"),
        ("gama", "gamma"),
        ("num_env", "num_envs"),
        ("n_steps", "num_steps"),
        ("ent_coeff", "ent_coef"),
        ("learning_rate", "lr"),
        ("clip_range", "clip_eps"),
    ],
)
def test_unknown_key_is_named_and_the_nearest_suggested(typo, nearest):
    text = error_of(**{typo: 1})
    assert f"没有名为 {typo!r} 的键" in text and f"最接近的是 {nearest!r}" in text
    assert all(key in text for key in FIELDS)


def test_a_key_like_no_other_gets_no_misleading_suggestion():
    assert "最接近" not in error_of(xyz=1)


def test_positional_arguments_are_refused():
    with pytest.raises(ConfigError, match="键=值"):
        PPOConfig(1e-3)


def test_dataclasses_replace_refuses_unknown_keys():
    with pytest.raises(ConfigError, match="beta_1"):
        dataclasses.replace(PPOConfig(), beta1=0.5)


# ---------------------------------------------------------------- 报错：值

WRONG_VALUES = {
    "lr": ["0.001", True, None, [1e-3], 0, -1e-3, math.nan, math.inf, 10**400, 1j, 1e-50, 1e50],
    "beta_1": [1.0, -0.1, math.nan, math.inf, -math.inf, 0.99999999, 1.5, "0.9"],
    "critic_beta_1": [1.0, -0.1, math.nan, "0.9", True],
    "beta_2": [1, -1],
    "running_grad_decay": [1.0],
    "gamma": [1.01, -0.01],
    "gae_lambda": [1.01, -0.01],
    "clip_eps": [0, -0.2],
    "max_grad_norm": [0],
    "adam_eps": [0, 1e-40],
    "ent_coef": [-0.1],
    "critic_bias": [math.nan, 1e39],
    "total_timesteps": [0, -1, 1.5, True, "2e6", None, math.inf, math.nan, 10**400],
    "num_envs": [0, 1.5, True, [16]],
    "num_minibatches": [0],
    "update_epochs": [0],
    "seed": [-1, 2**31],
    "num_seeds": [0],
    "anneal_lr": ["true", 1, 0, None],
    "clip_value": ["false"],
    "optimizer": ["Adam", "adamw", 3, None, ["adam"]],
    "activation": ["gelu"],
    "shuffle": ["sample"],
    "project": [3, None, True, ["p"]],
    "wandb_mode": ["off"],
    "hidden_sizes": [[], 64, "64", [0], [64, -1], [1.5], [True], ["64"], None, {64: 64}, b"ab"],
}


@pytest.mark.parametrize(
    "key, value", [(k, v) for k, values in WRONG_VALUES.items() for v in values]
)
def test_wrong_value_names_the_key_the_value_and_what_is_allowed(key, value):
    text = error_of(**{key: value})
    assert text.startswith(f"{key} = {value!r} 不合法；允许的取值：{allowed(FIELDS[key])}。")


@pytest.mark.parametrize(
    "key, value, stored",
    [
        ("lr", 1, 1.0),
        ("total_timesteps", 1e6, 1_000_000),
        ("hidden_sizes", [32, 16], (32, 16)),
        ("lr", np.float32(0.5), 0.5),
        ("num_seeds", np.int64(3), 3),
        ("beta_1", 0, 0.0),
        ("gamma", 1, 1.0),
    ],
)
def test_values_that_mean_the_same_are_converted(key, value, stored):
    converted = getattr(PPOConfig(**{key: value}), key)
    assert converted == stored and type(converted) is type(stored)


@pytest.mark.parametrize(
    "key, text",
    [
        ("beta_1", "[0, 1) 内的实数"),
        ("lr", "(0, +∞) 内的实数"),
        ("gamma", "[0, 1] 内的实数"),
        ("optimizer", "adam | rmsprop | sgd"),
        ("anneal_lr", "true 或 false"),
        ("project", "字符串"),
        ("seed", "[0, 2147483647] 内的整数"),
        ("critic_bias", "实数"),
        ("hidden_sizes", "[1, +∞) 内的整数列表"),
    ],
)
def test_allowed_reads_well(key, text):
    assert allowed(FIELDS[key]) == text


def test_a_choice_misspelt_gets_the_nearest():
    assert "最接近的是 'rmsprop'" in error_of(optimizer="rmsprob")


def test_values_that_float32_rounds_out_of_range_are_refused_and_explained():
    """0.99999999 在 float32 里就是 1，Adam 的偏差修正会除以 0。"""
    assert "float32" in error_of(beta_1=0.99999999)
    assert "float32" not in error_of(beta_1=1.0)


# ---------------------------------------------------------------- 报错：几个键之间


@pytest.mark.parametrize("shuffle", ["envs_once", "envs"])
def test_minibatches_of_environments_must_divide_them(shuffle):
    text = error_of(num_envs=6, num_minibatches=4, shuffle=shuffle)
    assert "num_minibatches = 4" in text and "num_envs = 6" in text and shuffle in text


def test_minibatches_of_samples_must_divide_the_batch_only():
    cfg = PPOConfig(num_envs=6, num_steps=2, num_minibatches=4, shuffle="samples")
    assert cfg.batch_size % cfg.num_minibatches == 0
    text = error_of(num_envs=6, num_steps=3, num_minibatches=4, shuffle="samples")
    assert "num_minibatches = 4" in text and "num_steps × num_envs = 18" in text


def test_fewer_steps_than_one_update_are_refused():
    text = error_of(total_timesteps=2047)
    assert "total_timesteps = 2047" in text and "128 × 16 = 2048" in text
    assert PPOConfig(total_timesteps=2048).num_updates == 1


def test_unknown_env_gets_the_nearest_and_the_list():
    text = error_of(env_name="Cartpole-v1")
    assert "env_name = 'Cartpole-v1'" in text and "最接近的是 'CartPole-v1'" in text
    assert "Breakout-MinAtar" in text and "Pendulum-v1" not in text


@pytest.mark.parametrize("name", sorted(CONTINUOUS_ENVS))
def test_continuous_envs_are_refused_with_the_reason(name):
    assert "动作是连续的" in error_of(env_name=name)


def test_shaping_is_refused_where_it_has_no_meaning():
    text = error_of(env_name="CartPole-v1", reward_shaping="energy")
    assert "reward_shaping = 'energy'" in text and "MountainCar-v0" in text


def test_the_last_seed_must_fit_too():
    assert PPOConfig(seed=2**31 - 10, num_seeds=10).seeds[-1] == 2**31 - 1
    text = error_of(seed=2**31 - 9, num_seeds=10)
    assert "num_seeds = 10" in text and str(2**31) in text


def test_the_package_offers_the_config():
    assert ppo_lib.PPOConfig is PPOConfig and ppo_lib.load_config is load_config


def test_continuous_envs_are_exactly_those_whose_actions_are_not_discrete(monkeypatch):
    """gymnax 添了新环境，这里就会失败。MNISTBandit 构造时要下载数据，给它几张假图。"""
    images, labels = np.zeros((2, 28, 28), np.int8), np.zeros(2, np.uint8)
    monkeypatch.setattr(load_mnist, "load_mnist", lambda: ((images, labels), (images, labels)))
    made = {name: gymnax.make(name) for name in gymnax.registered_envs}
    continuous = {
        name
        for name, (env, params) in made.items()
        if not isinstance(env.action_space(params), spaces.Discrete)
    }
    assert continuous == CONTINUOUS_ENVS


# ---------------------------------------------------------------- 报错：文件和覆盖


@pytest.mark.parametrize(
    "content, clue",
    [
        ("lr: [1", "读不出来"),
        ("lr:\t1\n\tbeta_1: 2", "读不出来"),
        ("lr: 1.0\nlr: 2.0", "duplicate key lr"),
        ("lr: ${nope}", "nope"),
        (b"project: \xff\xfe", "读不出来"),
        (bytes(range(256)), "读不出来"),
        ("- 1\n- 2\n", "键: 值"),
        ("3", "读不出来"),
        ("3: 4", "没有名为 3 的键"),
        ("beta1: 0.5", "最接近的是 'beta_1'"),
        ("lr: abc", "lr = 'abc' 不合法"),
        ("lr: .nan", "lr = nan 不合法"),
        ("lr:", "lr = None 不合法"),
    ],
    ids=repr,
)
def test_bad_files_give_a_chinese_error(content, clue, tmp_path):
    with pytest.raises(ConfigError) as info:
        load_config(write(tmp_path, content))
    assert clue in str(info.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="找不到配置文件 .*no.yaml"):
        load_config(tmp_path / "no.yaml")


def test_a_directory_is_no_config_file(tmp_path):
    with pytest.raises(ConfigError, match="读不出来"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "override, clue",
    [
        ("lr", "看不懂 'lr'"),
        ("lr:1e-3", "看不懂"),
        ("=3", "没有名为 '' 的键"),
        ("beta1=0.5", "最接近的是 'beta_1'"),
        ("lr.x=1", "没有名为 'lr.x' 的键"),
        ("lr=", "lr = None 不合法"),
        ("lr=[1", "'lr=[1' 的值读不出来"),
        ("num_envs=1.5", "num_envs = 1.5 不合法"),
        ("project=a: b", "project = {'a': 'b'} 不合法"),
    ],
)
def test_bad_overrides_give_a_chinese_error(override, clue):
    with pytest.raises(ConfigError) as info:
        load_config(overrides=[override])
    assert clue in str(info.value)


# ---------------------------------------------------------------- 算术


def test_two_million_steps_are_976_updates():
    """指南写 977；2e6 / 2048 = 976.56，零头不够一次更新。"""
    cfg = PPOConfig()
    assert (cfg.batch_size, cfg.num_updates, cfg.dropped_timesteps) == (2048, 976, 1152)
    assert cfg.num_updates * cfg.batch_size == 1_998_848


@given(st.integers(1, 10**9), st.integers(1, 100), st.integers(1, 300))
def test_updates_and_the_dropped_rest_add_up(total, num_envs, num_steps):
    total = max(total, num_envs * num_steps)
    cfg = PPOConfig(
        total_timesteps=total,
        num_envs=num_envs,
        num_steps=num_steps,
        num_minibatches=1,
        advantage_norm="none",
    )
    assert cfg.num_updates * cfg.batch_size + cfg.dropped_timesteps == total
    assert 0 <= cfg.dropped_timesteps < cfg.batch_size and cfg.num_updates >= 1


def test_seeds_count_up_from_seed():
    assert PPOConfig(seed=5, num_seeds=3).seeds == (5, 6, 7)


@pytest.mark.parametrize(
    "changes",
    [
        dict(num_envs=4, num_steps=1, num_minibatches=4),
        dict(num_envs=4, num_steps=2, num_minibatches=8, shuffle="samples"),
        dict(num_envs=1, num_steps=1, num_minibatches=1, advantage_norm="batch"),
    ],
)
def test_one_sample_cannot_be_normalized(changes):
    with pytest.raises(ConfigError, match="advantage_norm = .*1 个样本"):
        PPOConfig(**changes)
    PPOConfig(**changes | {"advantage_norm": "none"})


# ---------------------------------------------------------------- 静态与动态

LOG = {"tracker", "project", "job_type", "wandb_mode"}
RUN_LEVEL = {"total_timesteps", "seed", "num_seeds"} | LOG


def test_every_field_is_traced_or_run_level_or_static():
    kinds = {name: f.metadata["kind"] for name, f in FIELDS.items()}
    assert set(kinds.values()) == {"static", "traced", "run", "log"}
    traced = {name for name, kind in kinds.items() if kind == "traced"}
    assert set(TRACED) == traced
    assert {name for name, kind in kinds.items() if kind in ("run", "log")} == RUN_LEVEL
    assert {name for name, f in FIELDS.items() if kind_of(f) == "float"} == traced


def test_hyperparams_hold_every_traced_field_and_the_end_of_annealing():
    assert set(Hyperparams._fields) == {*TRACED, "num_updates"}
    cfg = PPOConfig(**{name: OTHER[name] for name in TRACED})
    hyper = cfg.hyperparams()
    assert all(getattr(hyper, name) == OTHER[name] for name in TRACED)
    assert hyper.num_updates == cfg.num_updates == 976


def test_a_critic_without_a_beta_1_of_its_own_has_the_common_one(tmp_path):
    assert PPOConfig(beta_1=0.3).hyperparams().critic_beta_1 == 0.3
    assert PPOConfig(beta_1=0.3, critic_beta_1=0).hyperparams().critic_beta_1 == 0
    again = load_config(write(tmp_path, "critic_beta_1: 0.5"), ["critic_beta_1=null"])
    assert again.critic_beta_1 is None and "[0, 1) 内的实数，或 null" in to_yaml(again)
    assert "或 null" in error_of(critic_beta_1=2)


def test_there_is_another_value_for_every_field():
    assert OTHER.keys() == FIELDS.keys()
    assert not [name for name in OTHER if OTHER[name] == FIELDS[name].default]


@pytest.mark.parametrize("name", FIELDS)
def test_static_half_changes_exactly_with_the_static_fields(name):
    changed, same = PPOConfig(**{name: OTHER[name]}).static(), PPOConfig().static()
    if name in TRACED or name in RUN_LEVEL:
        assert changed == same and hash(changed) == hash(same)
    else:
        assert changed != same and getattr(changed, name) == OTHER[name]


def test_static_half_is_itself_valid_and_has_one_update():
    static = PPOConfig(num_envs=3, num_minibatches=3, total_timesteps=10**6).static()
    assert static == static.static() and static.num_updates == 1
