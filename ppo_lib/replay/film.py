"""一部片子：几个策略各走一个回合，并排放映。"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib._runtime import compiler_options, plain_jax
from ppo_lib.compiled import compiled_once
from ppo_lib.config import PPOConfig, check_int
from ppo_lib.files import at_home
from ppo_lib.policy import (
    Policy,
    PolicyError,
    acting,
    advance,
    begin,
    episode_key,
    make_player,
    step_limit,
)
from ppo_lib.replay import player, raster
from ppo_lib.replay.scenes import SCENES, Scene


class ReplayError(ValueError):
    """放不出来。信息是中文，写明原因和允许的取值。"""


class Panel(NamedTuple):
    """一个策略的一个回合。"""

    label: str
    poses: np.ndarray  # (steps + 1, 零件数, 3)，第 t 帧是走了 t 步之后的样子
    returns: np.ndarray  # (steps + 1,) 到这一帧为止的回报，未整形
    ending: str  # 怎样结束的


@dataclasses.dataclass(frozen=True, eq=False)
class Replay:
    """几个回合的回放。放在单元格的最后一行，就是一个可以播放的画面。"""

    env_name: str
    scene: Scene
    panels: tuple[Panel, ...]

    @property
    def num_frames(self) -> int:
        """帧数：最长的回合的步数加一。先结束的停在它的最后一帧。"""
        return max(len(panel.returns) for panel in self.panels)

    def iter_frames(self, size: int = 320) -> Iterator[np.ndarray]:
        """一帧一帧地画，每帧 (H, W, 3) uint8。参数见 ``frames``。"""
        check_size(size)
        return raster.draw_frames(self.scene, self.panels, self.num_frames, size)

    def frames(self, size: int = 320) -> np.ndarray:
        """把每一帧画成白底的图。

        Args:
            size: 每个画面宽多少像素，64 到 2000。几个画面并排，每行至多三个。

        Returns:
            (num_frames, H, W, 3) uint8。500 帧、三个画面约 0.5 GB；只要存成文件，用 ``save``。
        """
        return np.stack(list(self.iter_frames(size)))

    def save(self, path: str | Path, *, fps: float = 30, size: int = 320) -> Path:
        """存成循环播放的 .gif 或 .webp，返回路径；最后一帧停一秒。

        Args:
            path: 文件名，后缀决定格式；文件夹没有就建。
            fps: 每秒几帧，1 到 50。GIF 的间隔只能是 10 毫秒的整数倍，取最接近的。
            size: 每个画面宽多少像素。

        Raises:
            ReplayError: 后缀不是 .gif 或 .webp，或 fps、size 不合法。
        """
        path = at_home(path, ReplayError)
        if path.suffix.lower() not in raster.WRITERS:
            raise ReplayError(
                f"存不成 {path.name!r}；允许的后缀：{'、'.join(raster.WRITERS)}。"
            )
        if not 1 <= fps <= 50:
            raise ReplayError(f"fps = {fps!r} 不合法；允许的取值：[1, 50]。")
        path.parent.mkdir(parents=True, exist_ok=True)
        raster.WRITERS[path.suffix.lower()](self.iter_frames(size), path, fps)
        return path

    def _repr_html_(self) -> str:
        return player.to_html(self.env_name, self.scene, self.panels, self.num_frames)

    def __repr__(self) -> str:
        labels = "、".join(panel.label for panel in self.panels)
        return f"[回放：{self.env_name}，{labels}，{self.num_frames - 1} 步]"


def check_size(size: int) -> None:
    """画面的宽是 64 到 2000 的整数。"""
    if not isinstance(size, (int, np.integer)) or not 64 <= size <= 2000:
        raise ReplayError(f"size = {size!r} 不合法；允许的取值：[64, 2000] 内的整数。")


# ---------------------------------------------------------------- 拍


def replay(
    policies: Policy | Sequence[Policy],
    *,
    seed: int | None = None,
    start: int = 0,
    greedy: bool = True,
    labels: Sequence[str] | None = None,
    max_steps: int | None = None,
) -> Replay:
    """让一个或几个策略从同一个开局各走一个回合，拍下来。

    >>> replay([early, middle, final], labels=["早", "中", "晚"])

    Args:
        policies: 一个策略，或同一个环境的几个策略（例如一次训练的早、中、晚），并排放映。
        seed: 用哪个种子的参数；缺省时用每个策略的第一个。
        start: 开局，就是 ``evaluate(policy, seed=0)`` 的第 start 个回合。
        greedy: 真：取概率最大的动作；假：按概率抽。
        labels: 每个画面的标签；缺省时写更新次数。
        max_steps: 最多走几步；缺省时走到回合结束。

    Raises:
        ReplayError: 环境画不出来；几个策略的环境不同；没有这个种子；标签的个数不对。
        PolicyError: start 或 max_steps 不合法。
    """
    policies = [policies] if isinstance(policies, Policy) else list(policies)
    env_name = check_policies(policies)
    seeds = [policy.seeds[0] if seed is None else seed for policy in policies]
    labels = default_labels(policies) if labels is None else list(map(str, labels))
    if len(labels) != len(policies):
        raise ReplayError(f"有 {len(policies)} 个策略，labels 却有 {len(labels)} 个。")
    check_int("start", start, 0, error=PolicyError)
    limit = step_limit(env_name)
    if max_steps is not None:
        check_int("max_steps", max_steps, 1, error=PolicyError)
        limit = min(limit, max_steps)
    scene = SCENES[env_name]()
    panels = [
        film(policy, member(policy, seed), label, scene, start, greedy, limit)
        for policy, seed, label in zip(policies, seeds, labels)
    ]
    return Replay(env_name, scene, tuple(panels))


def check_policies(policies: list[Policy]) -> str:
    """几个策略都在同一个画得出来的环境里；返回环境名。"""
    names = sorted({policy.config.env_name for policy in policies})
    if len(names) != 1:
        found = f"这里有：{'、'.join(names)}" if names else "这里一个也没有"
        raise ReplayError(f"并排放映的策略要在同一个环境里；{found}。")
    if names[0] not in SCENES:
        raise ReplayError(f"{names[0]} 还画不出来；画得出来的环境：{'、'.join(SCENES)}。")
    return names[0]


def default_labels(policies: list[Policy]) -> list[str]:
    """更新次数；有相同的就再编上号。"""
    labels = [f"{policy.update} 次更新之后" for policy in policies]
    if len(set(labels)) == len(labels):
        return labels
    return [f"策略 {i}（{label}）" for i, label in enumerate(labels, 1)]


def member(policy: Policy, seed: int) -> int:
    """这个种子是策略的第几个成员。"""
    if seed not in policy.seeds:
        allowed = "、".join(map(str, policy.seeds))
        raise ReplayError(f"seed = {seed!r} 不合法；这个策略有的种子：{allowed}。")
    return policy.seeds.index(seed)


def film(
    policy: Policy, i: int, label: str, scene: Scene, start: int, greedy: bool, limit: int
) -> Panel:
    """拍下第 i 个成员的一个回合。"""
    params = jax.tree.map(lambda leaf: leaf[i], policy.params)
    shoot = compiled_film(acting(policy.config), limit)
    with plain_jax():
        filmed = shoot(params, episode_key(0, start), bool(greedy))
    states, actions, returns, length, terminated = jax.tree.map(np.asarray, filmed)
    frames = int(length) + 1
    states = jax.tree.map(lambda leaf: leaf[:frames], states)
    actions = np.append(actions[: frames - 1], -1)  # 最后一帧没有动作
    if terminated:
        ending = scene.endings["terminated"]
    elif length >= step_limit(policy.config.env_name):
        ending = scene.endings["truncated"]
    else:
        ending = "只放到这里"
    return Panel(label, scene.poses(states, actions), returns[:frames], ending)


@compiled_once
def compiled_film(cfg: PPOConfig, limit: int):
    """编译好的 (params, key, greedy) → (状态, 动作, 回报, 步数, 是否真的结束)。

    状态和回报有 limit + 1 行，从开局算起；动作有 limit 行。回合结束之后的行没有意义。
    """
    player = make_player(cfg)._replace(limit=limit)

    def whole_episode(params, key, greedy):
        def body(now, _):
            after, action = advance(params, now, greedy, player)
            ended = now.terminated | now.truncated
            old, new = (x._replace(key=None) for x in (now, after))  # 钥匙一直是那一把
            after = jax.tree.map(functools.partial(jnp.where, ended), old, new)
            after = after._replace(key=now.key)
            return after, (after.state, action, after.episode_return)

        first = begin(key, player)
        end, (states, actions, returns) = jax.lax.scan(body, first, length=limit)
        states = jax.tree.map(prepend, first.state, states)
        returns = prepend(first.episode_return, returns)
        return states, actions, returns, end.length, end.terminated

    return jax.jit(whole_episode, compiler_options=compiler_options())


def prepend(first, rest):
    """在 rest (n, ...) 前面加上 first (...)。"""
    return jnp.concatenate([jnp.asarray(first)[None], rest])
