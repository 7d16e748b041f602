"""策略：训练得到的网络参数，存成一个文件，读回来，再认真地评一次。

训练曲线上的回报是边学边走时顺手记下的，动作是抽样的，每个回合里参数也在变。``evaluate`` 另走
一批回合：参数不动，每个种子走同样多的回合，所有策略从同样的开局开始。
"""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax.traverse_util import flatten_dict, unflatten_dict
from omegaconf import OmegaConf

from ppo_lib._runtime import compiler_options, plain_jax
from ppo_lib.compiled import compiled_once
from ppo_lib.config import Hyperparams, PPOConfig, check_int, to_yaml
from ppo_lib.envs import Environment, make_env
from ppo_lib.files import at_home, replacing
from ppo_lib.networks import ActorCriticDiscrete
from ppo_lib.statistics import bootstrap_band
from ppo_lib.training import make_network

FORMAT = 1
"""文件格式的编号；格式改得旧程序读不懂时加一。"""

NO_LIMIT = 10_000
"""环境没有规定步数上限时，一个回合最多走这么多步。"""

ACTING = ("env_name", "obs_scaling", "activation", "hidden_sizes", "shared_trunk")
"""决定策略怎样行动的键；其余的键只管怎样学。"""


class PolicyError(ValueError):
    """策略文件读不出来、写不进去，或参数与配置对不上。信息是中文。"""


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
    """几个种子的策略，出自同一份配置。

    Raises:
        PolicyError: 参数与配置里的网络对不上；信息里有叶子的名字和两种形状。
    """

    config: PPOConfig
    params: Any  # 网络参数，每个叶子 (seeds, ...)，放在主机内存里
    seeds: tuple[int, ...]  # (seeds,) 每个成员训练时的种子
    update: int  # 做完多少次更新之后的参数

    def __post_init__(self):
        object.__setattr__(self, "params", jax.tree.map(np.asarray, self.params))
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        object.__setattr__(self, "update", int(self.update))
        check_params(self.config, self.params, len(self.seeds))

    @classmethod
    def from_run(cls, run) -> Policy:
        """取出一次训练（``train`` 返回的 ``Run``）最后的策略。"""
        return cls(run.config, run.params, run.config.seeds, run.update)

    def __repr__(self) -> str:
        return (
            f"Policy({self.config.env_name}，{len(self.seeds)} 个种子，"
            f"{self.update} 次更新之后)"
        )


def named_leaves(params) -> dict[str, np.ndarray]:
    """{"params/actor_0/kernel": 数组, …}"""
    return flatten_dict(params, sep="/")


def network_shapes(cfg: PPOConfig) -> dict[str, tuple[int, ...]]:
    """配置里的网络，每个叶子的形状；不带种子那一维。"""
    env = make_env(cfg)
    init = make_network(cfg, env).init
    params = jax.eval_shape(init, jax.random.key(0), jnp.zeros(env.obs_dim))
    return {name: leaf.shape for name, leaf in named_leaves(params).items()}


def check_params(cfg: PPOConfig, params, num_seeds: int) -> None:
    """每个叶子的名字和形状都要与配置里的网络一致，第一维是种子。"""
    if num_seeds < 1:
        raise PolicyError("seeds 不合法；允许的取值：至少一个种子。")
    expected = {name: (num_seeds, *s) for name, s in network_shapes(cfg).items()}
    actual = {name: leaf.shape for name, leaf in named_leaves(params).items()}
    for name in expected | actual:
        if expected.get(name) != actual.get(name):
            raise PolicyError(
                f"参数 {name} 的形状是 {actual.get(name, '（没有）')}，"
                f"配置里的网络要的是 {expected.get(name, '（没有）')}（第一维是种子）。"
            )


# ---------------------------------------------------------------- 存成文件


def save_policy(policy: Policy, path: str | Path) -> Path:
    """把策略存成一个 .npz 文件，返回它的路径。

    文件里有参数（以叶子的路径为名的数组）、配置（YAML 文本）、种子、更新次数和格式的编号；
    没有 pickle。先写在旁边的临时文件里，写完再换上去：中途断电，原来的文件也不会坏。

    Raises:
        PolicyError: 写不进去。
    """
    path = at_home(path, PolicyError)
    arrays = named_leaves(policy.params) | {
        "format": np.int64(FORMAT),
        "config": np.frombuffer(to_yaml(policy.config).encode(), np.uint8),
        "seeds": np.asarray(policy.seeds, np.int64),
        "update": np.int64(policy.update),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise PolicyError(f"写不进 {path}：{error}。") from error
    return path


def load_policy(path: str | Path) -> Policy:
    """读回 ``save_policy`` 存下的策略；除了这个文件，什么也不需要。

    Raises:
        PolicyError: 没有这个文件；不是策略文件，或没有写完；格式比这个程序新；
            参数与文件里的配置对不上。
    """
    arrays = read_arrays(at_home(path, PolicyError))
    if not {"format", "config", "seeds", "update"} <= set(arrays):
        raise PolicyError(f"{path} 不是策略文件；策略文件由 save_policy 写成。")
    if (number := int(arrays["format"])) > FORMAT:
        raise PolicyError(
            f"{path} 的格式是 {number}，这个版本的 ppo_lib 只认得到 {FORMAT}。请升级 ppo_lib。"
        )
    try:
        return to_policy(arrays)
    except Exception as error:  # 配置的文字读不出来时，错误有许多种
        raise PolicyError(f"{path}：{error}") from None


def to_policy(arrays: dict[str, np.ndarray]) -> Policy:
    """文件里的数组 → 策略；名字里有 / 的是参数。"""
    text = arrays["config"].tobytes().decode()
    cfg = PPOConfig(**OmegaConf.to_container(OmegaConf.create(text), resolve=True))
    leaves = {name: array for name, array in arrays.items() if "/" in name}
    params = unflatten_dict(leaves, sep="/")
    return Policy(cfg, params, arrays["seeds"], arrays["update"])


UNREADABLE = (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)
"""不是 .npz，或者残缺不全时，NumPy 可能抛出的错误。"""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """一个 .npz 文件里的全部数组。"""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise PolicyError(f"找不到策略文件 {path}。") from None
    except UNREADABLE as error:
        raise PolicyError(f"{path} 不是策略文件，或者没有写完整：{error}") from None


# ---------------------------------------------------------------- 走一个回合


class Player(NamedTuple):
    """会走的策略里不随参数变的部分。"""

    env: Environment
    network: ActorCriticDiscrete
    hyper: Hyperparams  # 只有奖励整形用得到，回报里没有它
    limit: int  # 一个回合最多走多少步


class EpisodeState(NamedTuple):
    """一个回合走到了哪里。"""

    obs: jax.Array  # (obs_dim,)
    state: Any  # 环境自己的状态
    key: jax.Array  # 这个回合的钥匙，第 t 步用 fold_in(key, t)
    episode_return: jax.Array  # () 到此刻的回报，环境给的奖励，未整形
    length: jax.Array  # () 走了多少步
    terminated: jax.Array  # () bool，真的结束了
    truncated: jax.Array  # () bool，到了步数上限


def acting(cfg: PPOConfig) -> PPOConfig:
    """只留下决定怎样行动的键；相等的两份共用一个编译好的程序。"""
    return PPOConfig(**{name: getattr(cfg, name) for name in ACTING})


def make_player(cfg: PPOConfig) -> Player:
    """按配置造出环境和网络。"""
    env = make_env(cfg)
    return Player(env, make_network(cfg, env), cfg.hyperparams(), step_limit(cfg.env_name))


def step_limit(env_name: str) -> int:
    """环境自己规定的步数上限；没有规定时是 ``NO_LIMIT``。"""
    params = gymnax.make(env_name)[1]
    return int(getattr(params, "max_steps_in_episode", NO_LIMIT))


def episode_key(seed: int, k) -> jax.Array:
    """第 k 个回合的钥匙；只看 seed 和 k，与一共几个回合、是谁的策略无关。"""
    return jax.random.fold_in(jax.random.key(seed), k)


def begin(key, player: Player) -> EpisodeState:
    """一个回合的开头。"""
    reset_key, key = jax.random.split(key)
    obs, state = player.env.reset(reset_key)
    return EpisodeState(
        obs, state, key, jnp.float32(0), jnp.int32(0), jnp.bool_(False), jnp.bool_(False)
    )


def advance(
    params, now: EpisodeState, greedy, player: Player
) -> tuple[EpisodeState, jax.Array]:
    """走一步，返回 (走到了哪里, 做的动作)。

    greedy 为真时取概率最大的动作，否则按概率抽（Gumbel-max，见 rollout.py）。
    """
    noise_key, step_key = jax.random.split(jax.random.fold_in(now.key, now.length))
    pi, _ = player.network.apply(params, now.obs)
    noise = jax.random.gumbel(noise_key, pi.logits.shape)
    action = jnp.argmax(pi.logits + jnp.where(greedy, 0.0, noise))
    step = player.env.step(step_key, now.state, action, player.hyper)
    length = now.length + 1
    truncated = ~step.terminated & (step.truncated | (length >= player.limit))
    episode_return = now.episode_return + step.reward
    after = EpisodeState(
        step.obs, step.state, now.key, episode_return, length, step.terminated, truncated
    )
    return after, action


# ---------------------------------------------------------------- 评估


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """一次评估的结果。"""

    episodes: xr.Dataset  # 维 (seed, episode)；return、episode_length（步）、truncated（bool）
    env_name: str
    greedy: bool

    @property
    def seed_means(self) -> np.ndarray:
        """(seeds,) 每个种子各回合回报的平均值。"""
        return self.episodes["return"].mean("episode").values

    @property
    def mean(self) -> float:
        """``seed_means`` 的平均值（不是四分位均值：失手的种子也照算）。"""
        return float(self.seed_means.mean())

    @property
    def band(self) -> tuple[float, float]:
        """``mean`` 的 95% 自助法带，重抽的是种子，不是回合。只有一个种子时是 (NaN, NaN)。"""
        if len(self.seed_means) < 2:
            return float("nan"), float("nan")
        low, high = bootstrap_band(self.seed_means, np.mean)
        return float(low), float(high)

    def __repr__(self) -> str:
        sizes, (low, high) = self.episodes.sizes, self.band
        band = "" if np.isnan(low) else f"，95% 带 [{low:.1f}, {high:.1f}]"
        return (
            f"{self.env_name}，{'贪心' if self.greedy else '抽样'}，"
            f"{sizes['seed']} 个种子 × {sizes['episode']} 个回合：平均回报 {self.mean:.1f}{band}，"
            f"平均 {float(self.episodes['episode_length'].mean()):.1f} 步，"
            f"{float(self.episodes['truncated'].mean()):.0%} 走到步数上限"
        )


def evaluate(
    policy: Policy, episodes: int = 20, *, greedy: bool = True, seed: int = 0
) -> Evaluation:
    """每个种子的策略各走 episodes 个完整的回合。

    结果由 seed 决定。**成对比较**：第 k 个回合对每个策略都一样——同样的开局，环境和抽样用的
    随机数也同样，与是哪个种子的策略、一共走几个回合无关；两个策略在同一个回合上的差，只来自策略。

    Args:
        policy: 要评估的策略。
        episodes: 每个种子走几个回合。
        greedy: 真：每一步取概率最大的动作；假：按概率抽，与训练时相同。
        seed: 开局的种子，与训练的种子无关。

    Returns:
        ``Evaluation``。回报是环境给的奖励之和，没有整形，没有折扣。回合走到环境自己的步数上限
        （没有规定的环境是 10000 步）还没有结束，就停下，``truncated`` 为真。

    Raises:
        PolicyError: policy 不是策略，episodes 不是正整数，或 seed 不是 [0, 2³¹) 内的整数。
    """
    if not isinstance(policy, Policy):
        raise PolicyError(
            f"policy = {policy!r} 不合法；允许的取值：一个 Policy。一次训练的策略，请写 evaluate(run.policy())。"
        )
    check_int("episodes", episodes, 1, error=PolicyError)
    check_int("seed", seed, 0, error=PolicyError)
    play = compiled_evaluation(acting(policy.config))
    with plain_jax():
        keys = jax.vmap(episode_key, (None, 0))(seed, jnp.arange(episodes))
        values = play(policy.params, keys, bool(greedy))
    names = ("return", "episode_length", "truncated")
    dataset = xr.Dataset(
        {name: (("seed", "episode"), np.asarray(x)) for name, x in zip(names, values)},
        {"seed": list(policy.seeds), "episode": np.arange(episodes)},
        {"greedy": int(greedy), "start_seed": seed, "update": policy.update},
    )
    dataset["episode_length"].attrs["units"] = "步"
    return Evaluation(dataset, policy.config.env_name, bool(greedy))


@compiled_once
def compiled_evaluation(cfg: PPOConfig):
    """编译好的 (params, keys (episodes,), greedy) → 回报、步数、是否超时，各 (seeds, episodes)。

    所有种子的所有回合是一个程序，走到最后一个回合结束为止。参数、钥匙、greedy 都是输入：
    换一批参数，只要种子和回合的个数不变，就不再编译。
    """
    player = make_player(cfg)

    def one_episode(params, key, greedy):
        end = jax.lax.while_loop(
            lambda now: ~(now.terminated | now.truncated),
            lambda now: advance(params, now, greedy, player)[0],
            begin(key, player),
        )
        return end.episode_return, end.length, end.truncated

    over_episodes = jax.vmap(one_episode, (None, 0, None))
    over_seeds = jax.vmap(over_episodes, (0, None, None))
    return jax.jit(over_seeds, compiler_options=compiler_options())
