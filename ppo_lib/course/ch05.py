"""第 5 章的实验和练习检查。"""

from __future__ import annotations

import dataclasses

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.patches import Rectangle

from ppo_lib.config import PPOConfig
from ppo_lib.course.experiment import Experiment, patched
from ppo_lib.course.verdict import Mistake, checker
from ppo_lib.envs import Environment, flatten, make_env
from ppo_lib.experiment import train
from ppo_lib.networks.cpu import in_chunks
from ppo_lib.plotting.curves import STEPS_LABEL, forward_fill
from ppo_lib.plotting.style import COLORS, INK, new_figure
from ppo_lib.policy import evaluate
from ppo_lib.rollout import Step, collect_rollout
from ppo_lib.statistics import iqm
from ppo_lib.training import episode_metrics


def late_observations(rollout, last_obs):
    """写错的记法：每一步记下的是走完之后的观测（结束了的，已经重置）。

    rollout 是 Transition，last_obs (num_envs, obs_dim) 是采样结束时看到的观测。
    """
    return rollout._replace(obs=jnp.concatenate([rollout.obs[1:], last_obs[None]]))


def collect_late_observations(*args, **kwargs):
    """同 collect_rollout，但记错了观测。"""
    carry, rollout, ends = collect_rollout(*args, **kwargs)
    return carry, late_observations(rollout, carry.obs), ends


def same_key_every_step(function, inputs, rows_at_once):
    """同 in_chunks，但抽随机数的那一次，每一步都用第一步的钥匙。"""
    if is_key(inputs):
        inputs = jnp.broadcast_to(inputs[:1], inputs.shape)
    return in_chunks(function, inputs, rows_at_once)


def same_key_forever(function, inputs, rows_at_once):
    """同 in_chunks，但抽随机数时，每一步、每一次更新都用同一把钥匙。"""
    if is_key(inputs):
        inputs = jnp.broadcast_to(jax.random.key(0), inputs.shape)
    return in_chunks(function, inputs, rows_at_once)


def same_noise_every_step(function, inputs, rows_at_once):
    """同 in_chunks，但每一步抽动作用同样的噪声；环境和开局的随机数照常换。"""
    drawn = in_chunks(function, inputs, rows_at_once)
    if not is_key(inputs):
        return drawn
    noise, step_keys, fresh_start = drawn
    return jnp.broadcast_to(noise[:1], noise.shape), step_keys, fresh_start


def same_start_every_step(function, inputs, rows_at_once):
    """同 in_chunks，但每一步备好的开局都一样；抽动作的噪声照常换。"""
    drawn = in_chunks(function, inputs, rows_at_once)
    if not is_key(inputs):
        return drawn
    noise, step_keys, fresh_start = drawn
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), fresh_start)
    return noise, step_keys, same


def is_key(x) -> bool:
    """是不是随机数的钥匙（或一排钥匙）。"""
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def values_after_reset(step: Step, last_obs, value, critic):
    """写错的 values_after：一律用下一行的 V；超时的那些步，它是新回合开头的 V。"""
    return jnp.concatenate([value[1:], critic(last_obs)[None]])


# ---------------------------------------------------------------- CartPole 的回合怎样结束

CARTPOLE_PARAMS = gymnax.make("CartPole-v1")[1]
"""CartPole 的常数：``x_threshold`` 是轨道的一半（2.4），``theta_threshold_radians`` 是 12°。"""


def how_ended(ends, rollout, env_name: str) -> dict:
    """同 episode_metrics，另外数一数这些回合怎样结束；只用于 CartPole，数都是标量。

    到达的位置和角度不在经验里，由看到的观测推出一步：位置加上速度乘以一步的时间，角度也是。
    又倒又出了轨道的，算倒了。
    """
    p = CARTPOLE_PARAMS
    x, x_dot, theta, theta_dot = jnp.moveaxis(rollout.obs, -1, 0)  # 每个 (num_steps, num_envs)
    arrived_x, arrived_theta = x + p.tau * x_dot, theta + p.tau * theta_dot
    fell = rollout.terminated & (jnp.abs(arrived_theta) > p.theta_threshold_radians)
    left_track = rollout.terminated & ~fell
    return episode_metrics(ends, rollout, env_name) | {
        "fell": fell.sum(),
        "left_track": left_track.sum(),
        "on_the_right": (left_track & (arrived_x > 0)).sum(),
        "timed_out": rollout.truncated.sum(),
        "farthest": jnp.abs(arrived_x).max(),
    }


def make_endless_cartpole(cfg: PPOConfig) -> Environment:
    """轨道没有边的 CartPole：只有杆倒了才终止。"""
    env, params = gymnax.make(cfg.env_name)
    params = params.replace(x_threshold=1e6)

    def step(key, state, action, hyper) -> Step:
        obs, next_state, reward, terminated, _ = env.step_env(key, state, action, params)
        truncated = env.is_truncated(next_state, params) & ~terminated
        return Step(flatten(obs), next_state, reward, reward, terminated, truncated)

    return make_env(cfg)._replace(step=step)


def plot_endings(runs: xr.Dataset):
    """回合怎样结束：左图是三种结束各占多少（各个种子合起来）和回报，右图是每个种子从哪一边出轨道。

    runs 是 "endings" 的一种做法，(seed, point)。返回 figure。
    """
    fig, (ax, side_ax) = new_figure(8.4, 3.6, ncols=2)
    steps = runs["timesteps"].values / 1e3
    counts = [runs[name].sum("seed").values for name in ("fell", "left_track", "timed_out")]
    shares = 100 * np.array(counts) / np.sum(counts, axis=0)  # (3, point)
    colors = (COLORS[1], COLORS[4], COLORS[0])
    ax.stackplot(steps, shares, colors=colors, alpha=0.6, linewidth=0)
    for x, y, label in ((18, 8, "杆倒了"), (58, 82, "车出了轨道"), (150, 82, "满 500 步")):
        ax.text(x, y, label)
    return_ax = ax.twinx()
    return_ax.plot(steps, iqm(forward_fill(runs["return"].values)), color=INK)
    return_ax.set(ylim=(0, 500), ylabel="回报（黑线）")
    return_ax.grid(False)
    ax.set(
        xlabel=STEPS_LABEL,
        ylabel="占结束的回合（%）",
        xlim=(steps[0], steps[-1]),
        ylim=(0, 100),
    )

    side = (
        2 * runs["on_the_right"] / runs["left_track"] - 1
    ).values  # (seed, point)，没有出轨道的是 NaN
    edges = np.append(steps, 2 * steps[-1] - steps[-2])
    mesh = side_ax.pcolormesh(
        edges, np.arange(len(side) + 1), side, cmap="PuOr", vmin=-1, vmax=1
    )
    bar = fig.colorbar(mesh, ax=side_ax, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["都在左边", "各半", "都在右边"])
    side_ax.set(xlabel=STEPS_LABEL, ylabel="种子", xlim=ax.get_xlim())
    side_ax.set_yticks(np.arange(len(side)) + 0.5, runs["seed"].values)
    side_ax.grid(False)
    return fig


# ---------------------------------------------------------------- next_value 从哪里来

DRAWN_STEPS, DRAWN_ENVS = 6, 4
DRAWN_TERMINATED, DRAWN_TRUNCATED = {(2, 1), (5, 3)}, {(3, 2)}
"""画出来的那一次采样：6 步，4 个环境；哪些格子之后终止，哪些格子之后截断。"""


def plot_next_values():
    """一次采样的格子，往下是时间，往右是环境；箭头指着每一格的 next_value 取自哪里。返回 figure。"""
    fig, ax = new_figure(7.4, 5.0)
    ax.set(xlim=(-1.3, 8.6), ylim=(-DRAWN_STEPS - 0.75, 1.0))
    ax.axis("off")
    for n in range(DRAWN_ENVS):
        x, episode = 2.2 * n, 0
        ax.text(x, 0.75, f"环境 {n}", ha="center", va="center")
        for t in range(DRAWN_STEPS):
            terminated, truncated = (t, n) in DRAWN_TERMINATED, (t, n) in DRAWN_TRUNCATED
            word = "终止" if terminated else "截断" if truncated else ""
            draw_cell(ax, x, -t, word, COLORS[(0, 2)[episode % 2]])
            if truncated:  # 到达的状态不在表里，另画一个
                ax.plot(x + 1.05, -t, "D", color=COLORS[1], markersize=7)
                ax.text(x + 1.2, -t, "到达的\n状态", va="center", fontsize=8)
                draw_arrow(ax, (x + 0.5, -t), (x + 0.97, -t), COLORS[1])
            elif terminated:
                ax.text(x + 0.62, -t, "0", va="center", color=COLORS[1])
            else:
                draw_arrow(ax, (x, -t - 0.27), (x, -t - 0.73), INK)
            episode += terminated or truncated
        draw_cell(ax, x, -DRAWN_STEPS, "", COLORS[(0, 2)[episode % 2]], dashed=True)
    for t in range(DRAWN_STEPS):
        ax.text(-1.2, -t, f"第 {t} 步", va="center", fontsize=9)
    ax.text(-1.2, -DRAWN_STEPS, "carry", va="center", fontsize=9)
    return fig


def draw_cell(ax, x, y, word, color, dashed=False):
    """一步、一个环境的格子；颜色分得出是哪一个回合，虚线的是走完之后停在的观测。"""
    style = dict(linestyle=(0, (3, 2))) if dashed else {}
    ax.add_patch(
        Rectangle(
            (x - 0.5, y - 0.27), 1.0, 0.54, facecolor=color + "33", edgecolor=color, **style
        )
    )
    ax.text(x, y, word, ha="center", va="center", fontsize=9)


def draw_arrow(ax, start, end, color):
    """从一格指到它的 next_value 所在的地方。"""
    ax.annotate(
        "", end, start, arrowprops=dict(arrowstyle="-|>", color=color, shrinkA=0, shrinkB=0)
    )


# ---------------------------------------------------------------- 边训练边评估

EVALUATE_EVERY = 8
"""每几次更新，停下来评估一次。"""


def train_and_evaluate(cfg: PPOConfig, progress: bool) -> xr.Dataset:
    """同 sweep，多一个指标 evaluated：那一刻的策略走 20 个完整的回合，按概率抽动作，平均的回报。

    每 EVALUATE_EVERY 次更新评一次，其余的更新是 NaN。
    """
    every_chunk = {
        "ppo_lib.experiment.snapshot_updates": lambda lengths, done: set(
            (done + np.cumsum(lengths)).tolist()
        )
    }
    with patched(every_chunk):
        run = train(cfg, progress=progress, chunk_updates=EVALUATE_EVERY)
    evaluated = xr.full_like(run.metrics["return"], np.nan)  # (seed, update)
    for update in run.snapshots:
        of_whole_episodes = evaluate(run.policy(update), greedy=False, seed=update)
        evaluated[:, update - 1] = of_whole_episodes.seed_means
    return run.metrics.assign(evaluated=evaluated)


def one_variant(runs: xr.Dataset, variant: str) -> xr.Dataset:
    """录下的一种做法，(seed, update)，可以交给 plot_metric。"""
    return runs.sel(variant=variant).rename(point="update")


# ---------------------------------------------------------------- 实验

NUM_ENVS, BATCH = (1, 4, 16, 64, 256), 2048
SPLITS = {f"{n} × {BATCH // n}": n for n in NUM_ENVS}
CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, num_seeds=10)

EXPERIMENTS = {
    "mistakes": Experiment(
        dataclasses.replace(CARTPOLE, num_seeds=20),
        {
            "照库里的写法": {},
            "记下走完之后的观测": {},
            "每一步同一把钥匙": {},
            "从头到尾同一把钥匙": {},
            "只有动作的噪声不变": {},
            "只有开局不变": {},
        },
        metrics=("return", "approx_kl"),
        points=48,
        patches={
            "记下走完之后的观测": {
                "ppo_lib.training.collect_rollout": collect_late_observations
            },
            "每一步同一把钥匙": {"ppo_lib.rollout.in_chunks": same_key_every_step},
            "从头到尾同一把钥匙": {"ppo_lib.rollout.in_chunks": same_key_forever},
            "只有动作的噪声不变": {"ppo_lib.rollout.in_chunks": same_noise_every_step},
            "只有开局不变": {"ppo_lib.rollout.in_chunks": same_start_every_step},
        },
    ),
    "endings": Experiment(
        CARTPOLE,
        {"轨道有边": {}, "轨道没有边": {}},
        metrics=("return", "fell", "left_track", "on_the_right", "timed_out", "farthest"),
        points=48,
        patches={
            "轨道有边": {"ppo_lib.training.episode_metrics": how_ended},
            "轨道没有边": {
                "ppo_lib.training.episode_metrics": how_ended,
                "ppo_lib.training.make_env": make_endless_cartpole,
            },
        },
    ),
    "timeout": Experiment(
        PPOConfig(activation="tanh", ent_coef=0.05, total_timesteps=1_000_000, num_seeds=10),
        {
            "接上到达的状态": {},
            "当成终止": dict(bootstrap_truncation=False),
            "接上重置之后的状态": {},
        },
        metrics=("return", "goals_reached"),
        points=60,
        patches={"接上重置之后的状态": {"ppo_lib.rollout.values_after": values_after_reset}},
    ),
    "envs": Experiment(
        dataclasses.replace(CARTPOLE, num_seeds=20),
        {
            split: dict(num_envs=n, num_steps=BATCH // n, shuffle="samples")
            for split, n in SPLITS.items()
        },
        metrics=("return", "evaluated"),
        points=48,
        patches={
            split: {"ppo_lib.course.experiment.sweep": train_and_evaluate} for split in SPLITS
        },
    ),
}
"""采样里的几种写错，回合怎样结束，超时之后接什么，同样的一批经验分给几个环境去采。"""


# ---------------------------------------------------------------- 练习


@checker
def check_shapes(answers) -> str:
    """练习 5.1：num_steps=128、num_envs=16 的 CartPole，几个数组的形状。"""
    expected = {
        "obs": (128, 16, 4),
        "action": (128, 16),
        "log_prob": (128, 16),
        "next_value": (128, 16),
        "carry.obs": (16, 4),
    }
    if not isinstance(answers, dict) or set(answers) != set(expected):
        raise Mistake(f"请填一个字典，键是 {'、'.join(expected)}。")
    if any(shape is ... for shape in answers.values()):
        raise Mistake("还有形状没有填，把 ... 都换掉。")
    given = {
        name: (shape,) if isinstance(shape, int) else tuple(shape)
        for name, shape in answers.items()
    }
    if given["obs"] == (16, 128, 4):
        raise Mistake("两维的次序反了：第一维是时间 num_steps，第二维才是环境 num_envs。")
    if given["obs"] == (2048, 4):
        raise Mistake("采样时还没有摊平；到切小批次时才把 128 × 16 合成 2048。")
    if given["log_prob"] == (128, 16, 2):
        raise Mistake(
            "log_prob 只是被选中的那个动作的对数概率，一步一个数，不是每个动作各一个。"
        )
    if given["action"] == (128, 16, 2):
        raise Mistake("动作是离散的，记的是它的编号，一步一个整数。")
    if given["next_value"] == (129, 16):
        raise Mistake("每一步配一个 next_value，最后一步的也在里面，所以还是 128 行。")
    if given["carry.obs"] == (128, 16, 4):
        raise Mistake("carry 只存此刻的观测，没有时间那一维。")
    wrong = [name for name in expected if given[name] != expected[name]]
    if wrong:
        raise Mistake(
            f"{wrong[0]} 不对。先写时间、环境两维，再看一步、一个环境的那一份是几个数；"
            "carry 没有时间维。"
        )
    return "前两维总是（时间，环境）；carry 只有此刻，没有时间维。"


VALUE = np.array([1.0, 2.0, 3.0, 0.5, 0.8, 0.3])
ARRIVED = np.array([2.0, 2.8, 4.0, 0.8, 7.0, 0.9])
TERMINATED = np.array([False, False, False, False, True, False])
TRUNCATED = np.array([False, False, True, False, False, False])
"""练习 5.2：六步，一个环境。ARRIVED 是每一步到达的（重置之前的）状态的 V。"""


@checker
def check_next_value(answer) -> str:
    """练习 5.2：六步的 next_value；终止的那一步填什么都可以。"""
    given = np.asarray(answer, float)
    if given.shape != (6,):
        raise Mistake(f"要六个数，每一步一个；你给的形状是 {given.shape}。")
    expected = np.array([2.0, 3.0, 4.0, 0.8, 0.0, 0.9])
    rest = np.arange(6) != 4  # 终止的那一步不看
    if np.allclose(given[rest], expected[rest]):
        return (
            "平常的步用下一行的 V，截断的步用到达的状态的 V，最后一步用采样结束时的观测的 V。"
        )
    if np.allclose(given[rest], VALUE[rest]):
        raise Mistake("这是 value 自己，V(s_t)。next_value 是下一个状态的 V。")
    if np.isclose(given[2], 0.5):
        raise Mistake(
            "第 3 步截断了，下一行已经是新回合的开头。它该接的是真正到达的状态的 V，不是 0.5。"
        )
    if np.isclose(given[2], 0.0):
        raise Mistake("第 3 步只是截断，任务没有结束，之后的价值要接上，不能填 0。")
    if np.allclose(given[1:4], [1.0, 2.0, 3.0]):
        raise Mistake("移反了：next_value 的第 t 行来自 value 的第 t+1 行，不是第 t-1 行。")
    if np.isclose(given[5], 0.0) or np.isclose(given[5], 0.3):
        raise Mistake(
            "最后一步也有下一个状态：采样结束时每个环境停在那里的观测，它的 V 是 0.9。"
        )
    first = int(np.flatnonzero(rest & ~np.isclose(given, expected))[0])
    raise Mistake(f"第 {first + 1} 步不对：它走到的那个状态，V 是多少？")


@checker
def check_my_rollout(rollout) -> str:
    """练习 5.3：一个环境的采样循环，返回 (obs, action, reward) 三个列表。"""

    def policy(obs):
        return (3 * obs + 1) % 4

    def step(obs, action):
        return obs + action + 1, 10 * obs + action

    right, obs = [], 2
    for _ in range(5):
        action = policy(obs)
        after, reward = step(obs, action)
        right.append((obs, action, reward, after))
        obs = after
    seen, actions, rewards, arrived = (list(x) for x in zip(*right))
    answer = rollout(policy, step, 2, 5)
    if answer is None:
        raise Mistake("你的函数没有返回值。最后 return 三个列表。")
    if len(answer) != 3:
        raise Mistake("要返回三样：观测、动作、奖励，各一个列表。")
    obs_list, action_list, reward_list = ([int(x) for x in column] for column in answer)
    lengths = {len(obs_list), len(action_list), len(reward_list)}
    if len(obs_list) == 6 and len(action_list) == 5:
        raise Mistake(
            "观测多了一个：走完最后一步看到的观测，还没有在它上面选动作，不进这批经验。"
        )
    if lengths != {5}:
        raise Mistake(f"走了 5 步，三个列表都该有 5 项；你的是 {sorted(lengths)}。")
    if obs_list == arrived:
        raise Mistake("你记下的是走完之后的观测。先记观测，再走；或者走完的那个换一个名字存。")
    if len(set(obs_list)) == 1:
        raise Mistake("观测一直没有变：每走一步，要把 obs 换成到达的那个，再走下一步。")
    if (obs_list, action_list, reward_list) == (seen, actions, rewards):
        return "每一行的动作，都是看着同一行的观测选的。"
    if obs_list == seen and action_list == actions:
        raise Mistake("观测和动作都对，奖励不对：它是 step 返回的第二样。")
    raise Mistake("逐行核对：这一行的 action 是不是 policy(这一行的 obs)？")


@checker
def check_my_reset(reset) -> str:
    """练习 5.4：结束了的环境换成新的开头，(num_envs, obs_dim)。"""
    ended = np.array([True, False, False])
    fresh = np.arange(9.0).reshape(3, 3)
    current = fresh + 100
    answer = reset(jnp.asarray(ended), jnp.asarray(fresh), jnp.asarray(current))
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    result = np.asarray(answer, float)
    if result.shape != (3, 3):
        raise Mistake(f"结果应当与 current 同形状，这里是 (3, 3)；你的是 {result.shape}。")
    if np.allclose(result, np.where(ended[:, None], fresh, current)):
        wide = np.asarray(
            reset(jnp.asarray(ended[:2]), jnp.zeros((2, 4)), jnp.ones((2, 4))), float
        )
        if np.allclose(wide, [[0] * 4, [1] * 4]):
            return "只有结束了的那一行换成了新的开头。"
        raise Mistake("换一个 num_envs 和 obs_dim，结果就不对了：形状不要写死。")
    if np.allclose(result, np.where(ended[:, None], current, fresh)):
        raise Mistake("反了：结束了的换成 fresh，没结束的留着 current。")
    if np.allclose(result, np.where(ended, fresh, current)):
        raise Mistake(
            "你换掉的是观测的一列，不是环境的一行。ended 是 (num_envs,)，广播时对齐的是最后一维 "
            "obs_dim；这里两者恰好都是 3，所以没有报错。先变成 (num_envs, 1)。"
        )
    if np.allclose(result, fresh):
        raise Mistake("所有环境都重置了。一个环境结束，不该连累别的环境。")
    if np.allclose(result, current):
        raise Mistake("一个也没有重置。第 1 个环境结束了，它该换成新的开头。")
    raise Mistake("每个环境一行：ended 为真取 fresh 的那一行，为假取 current 的那一行。")
