"""第 5 章的实验和练习检查。"""

from __future__ import annotations

import dataclasses
from functools import partial

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.patches import Rectangle

from ppo_lib.config import PPOConfig
from ppo_lib.course.exercises import AnswerExercise, FunctionExercise, Number, Shape
from ppo_lib.course.experiment import Experiment, patched
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
    steps = runs["timesteps"].values / 1e4
    counts = [runs[name].sum("seed").values for name in ("fell", "left_track", "timed_out")]
    shares = 100 * np.array(counts) / np.sum(counts, axis=0)  # (3, point)
    colors = (COLORS[1], COLORS[4], COLORS[0])
    ax.stackplot(steps, shares, colors=colors, alpha=0.6, linewidth=0)
    for x, y, label in ((1.8, 8, "杆倒了"), (5.8, 82, "车出了轨道"), (15, 82, "满 500 步")):
        ax.text(x, y, label)
    return_ax = ax.twinx()
    return_ax.plot(steps, iqm(forward_fill(runs["return"].values)), color=INK)
    return_ax.set(ylim=(0, 500), ylabel="回报（折线）")
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
        edges, np.arange(len(side) + 1), side, cmap="coolwarm", vmin=-1, vmax=1
    )
    bar = fig.colorbar(mesh, ax=side_ax, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["都在左边", "各半", "都在右边"])
    side_ax.set_title("空白：没有车出轨道", fontsize=9)
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

    每 EVALUATE_EVERY 次更新评一次，做完再评一次，其余的更新是 NaN。
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

REVERSED = "两维的次序反了：第一维是时间 num_steps，第二维才是环境 num_envs。"
FLATTENED = "采样时还没有摊平；到切小批次时才把 128 × 16 合成 2048。"


def one_number_each(for_each_action: str) -> Shape:
    """一步、一个环境只有一个数的那几样；for_each_action 是每个动作各写了一个时的提示。"""
    wrong = {
        (16, 128): REVERSED,
        (2048,): FLATTENED,
        (128, 16, 1): "一步、一个环境就是一个数，后面没有长度是 1 的一维。",
        (129, 16): "每一步配一个，最后一步的也在里面，所以还是 128 行。",
        (128, 16, 2): for_each_action,
    }
    return Shape((128, 16), wrong, "先写时间、环境两维；一步、一个环境只有一个数，到此为止。")


check_shapes = AnswerExercise(
    "练习 5.1：num_steps=128、num_envs=16 的 CartPole，五个数组的形状",
    {
        "obs": Shape(
            (128, 16, 4),
            {
                (16, 128, 4): REVERSED,
                (2048, 4): FLATTENED,
                (128, 16): "一步、一个环境的观测是 4 个数，还有第三维。",
                (129, 16, 4): "一步记一个，是选动作时看到的，所以是 128 行；最后停在的观测在 carry 里。",
            },
            "先写时间、环境两维，再看一步、一个环境的观测是几个数。",
        ),
        "action": one_number_each("动作是离散的，记的是它的编号，一步一个整数。"),
        "log_prob": one_number_each("log_prob 只是被选中的那个动作的对数概率，不是每个动作各一个。"),
        "next_value": one_number_each("V 是状态的价值，不是每个动作各一个。"),
        "carry.obs": Shape(
            (16, 4),
            {
                (128, 16, 4): "carry 只存此刻的观测，没有时间那一维。",
                (1, 16, 4): "carry 没有时间那一维，连长度是 1 的也没有。",
                (4,): "16 个环境各停在一处，观测有 16 份。",
            },
            "carry 只有此刻：每个环境停在的观测。",
        ),
    },
    praise="前两维总是（时间，环境）；carry 只有此刻，没有时间维。",
)  # fmt: skip

VALUE = np.array([1.0, 2.0, 3.0, 0.5, 0.8, 0.3])
ARRIVED = np.array([2.0, 2.8, 4.0, 0.8, 7.0, 0.9])
TERMINATED = np.array([False, False, False, False, True, False])
TRUNCATED = np.array([False, False, True, False, False, False])
"""练习 5.2：六步，一个环境。ARRIVED 是每一步到达的（重置之前的）状态的 V。"""

OWN = "这是这一步自己的 value；next_value 是它走到的那个状态的 V。"
ORDINARY = "这一步没有结束，下一行就是它走到的状态：抄下一行的 value。"
LAST = "最后一步也有下一个状态：采样结束时停在的观测，它的 V 是 0.9。"

check_next_value = AnswerExercise(
    "练习 5.2：六步的 next_value",
    {
        "第 1 步": Number(2.0, {1.0: OWN}, ORDINARY, tolerance=0),
        "第 2 步": Number(3.0, {2.0: OWN, 4.0: "4.0 是第 3 步到达的状态的 V，不是第 2 步的。"}, ORDINARY, tolerance=0),
        "第 3 步": Number(
            4.0,
            {
                0.5: "第 3 步截断了，下一行已经是新回合的开头。它该接的是真正到达的状态的 V，不是 0.5。",
                0.0: "第 3 步只是截断，任务没有结束，之后的价值要接上，不能填 0。",
                3.0: OWN,
            },
            "第 3 步截断了：接的是它真正到达的、重置之前的状态的 V。",
            tolerance=0,
        ),
        "第 4 步": Number(0.8, {0.5: OWN, 4.0: "4.0 填在第 3 步；第 4 步已经是新的回合，照常走。", 0.0: "第 5 步之后才终止，第 4 步要接上。"}, ORDINARY, tolerance=0),
        "第 5 步": Number(None),
        "第 6 步": Number(0.9, {0.3: OWN, 1.0: "绕回第 1 步了。" + LAST}, LAST, tolerance=0),
    },
    praise="平常的步用下一行的 V，截断的步用到达的状态的 V，最后一步用采样结束时的观测的 V。",
    wrong=[
        ((1.0, 2.0, 3.0, 0.5, None, 0.3), "这是 value 自己，V(s_t)。next_value 是下一个状态的 V。"),
        ((None, 1.0, 2.0, 3.0, None, 0.8), "移反了：next_value 的第 t 行来自 value 的第 t+1 行，不是第 t-1 行。"),
    ],
)  # fmt: skip


def random_policy(rng, obs):
    """练习 5.3 的 policy：看着观测抽四个动作里的一个，每问一次都重新抽。"""
    return int(2 * obs + rng.integers(3)) % 4


def random_step(rng, obs, action):
    """练习 5.3 的 step：到哪里、得几分，看观测、动作和每走一次新抽的数。"""
    drawn = int(rng.integers(5))
    return int(3 * obs + 2 * action + drawn) % 17, int(10 * obs + action - drawn)


def unrewarded_step(rng, obs, action):
    """同上，每一步都得 0 分：得 0 分不等于结束。"""
    return random_step(rng, obs, action)[0], 0


def rollout_inputs(rng):
    """起点和步数各不相同，最后一组总得 0 分；policy 和 step 是随机的，在每一份拷贝里抽到的相同。"""
    for obs, num_steps in ((2, 1), (0, 4), (7, 3), (16, 6), (5, 10)):
        policy_rng, step_rng = rng.spawn(2)
        yield partial(random_policy, policy_rng), partial(random_step, step_rng), obs, num_steps
    policy_rng, step_rng = rng.spawn(2)
    yield partial(random_policy, policy_rng), partial(unrewarded_step, step_rng), 3, 5


def sample(policy, step, obs, num_steps):
    """一个环境的采样循环。"""
    observations, actions, rewards = [], [], []
    for _ in range(num_steps):
        action = policy(obs)
        next_obs, reward = step(obs, action)
        observations.append(obs)
        actions.append(action)
        rewards.append(reward)
        obs = next_obs
    return observations, actions, rewards


def from_columns(choose, extra_steps: int = 0):
    """写错的采样：多走 extra_steps 步，再由三列 (obs, action, reward) 取出要返回的。"""
    return lambda policy, step, obs, n: choose(*sample(policy, step, obs, n + extra_steps))


def walk_with_first(policy, step, obs, num_steps):
    """写错的采样：同一步问两次 policy，走前一个动作，记后一个。"""
    observations, pairs, rewards = sample(
        lambda s: (policy(s), policy(s)), lambda s, pair: step(s, pair[0]), obs, num_steps
    )
    return observations, [second for _, second in pairs], rewards


check_my_rollout = FunctionExercise(
    "练习 5.3：写出一个环境的采样循环",
    sample,
    rollout_inputs,
    {
        "你记下的是走完之后的观测。先记观测，再走；或者走完的那个换一个名字存。": from_columns(lambda s, a, r: (s[1:], a[:-1], r[:-1]), 1),
        "观测多了一个：走完最后一步看到的观测，还没有在它上面选动作，不进这批经验。": from_columns(lambda s, a, r: (s, a[:-1], r[:-1]), 1),
        "动作晚了一步：每一行的动作，应当是看着这一行的观测选的。": from_columns(lambda s, a, r: (s[:-1], a[1:], r[:-1]), 1),
        "只走了一步就返回了：看看 return 是不是缩进到了循环里面。": lambda policy, step, obs, n: sample(policy, step, obs, 1),
        "返回的是一行一行的 (观测, 动作, 奖励)；要的是三个列表，每样一个。": from_columns(lambda s, a, r: list(zip(s, a, r))),
        "三样的次序是观测、动作、奖励；你把动作和奖励放反了。": from_columns(lambda s, a, r: (s, r, a)),
        "奖励要一步一个，不是到此为止的和。": from_columns(lambda s, a, r: (s, a, np.cumsum(r))),
        "观测一直没有变：每走一步，要把 obs 换成到达的那个，再走下一步。": lambda policy, step, obs, n: sample(lambda _: policy(obs), lambda _, a: (obs, step(obs, a)[1]), obs, n),
        "policy 每一步看的都是出发时的观测；要给它看此刻的。": lambda policy, step, obs, n: sample(lambda _: policy(obs), step, obs, n),
        "step 每一步都从出发时的观测走；要从此刻的观测走。": lambda policy, step, obs, n: sample(policy, lambda _, a: step(obs, a), obs, n),
        "调用 step 时，两个参数的次序反了：先是观测，再是动作。": lambda policy, step, obs, n: sample(policy, lambda s, a: step(a, s), obs, n),
        "step 先返回下一个观测，再返回奖励；你接的时候次序反了。": lambda policy, step, obs, n: sample(policy, lambda s, a: step(s, a)[::-1], obs, n),
        "同一步里问了两次 policy：它每次都重新抽，记下的是前一个动作，走的却是后一个。": lambda policy, step, obs, n: sample(policy, lambda s, a: step(s, policy(s)), obs, n),
        "同一步里问了两次 policy：它每次都重新抽，走的是前一个动作，记下的却是后一个。": walk_with_first,
        "同一步里调用了两次 step：它每次都重新抽，下一个观测来自前一次，奖励来自后一次。": lambda policy, step, obs, n: sample(policy, lambda s, a: (step(s, a)[0], step(s, a)[1]), obs, n),
        "同一步里调用了两次 step：它每次都重新抽，奖励来自前一次，下一个观测来自后一次。": lambda policy, step, obs, n: sample(policy, lambda s, a: (step(s, a)[1], step(s, a)[0])[::-1], obs, n),
        "policy 只问了一次，每一步都是同一个动作：要看着每一步的观测各问一次。": lambda policy, step, obs, n: (lambda a: sample(lambda _: a, step, obs, n))(policy(obs)),
        "少走了一步：要走 num_steps 步。": lambda policy, step, obs, n: sample(policy, step, obs, n - 1),
        "多走了一步：要走 num_steps 步。": lambda policy, step, obs, n: sample(policy, step, obs, n + 1),
    },
    praise="每一行的动作，都是看着同一行的观测选的。",
    returns="三个列表，每个 num_steps 项",
    outputs=("观测", "动作", "奖励"),
)  # fmt: skip


def reset_inputs(rng):
    """num_envs 与 obs_dim 相等、不等；只有环境 0 结束、只有它不结束，一个也没有、全都结束。"""
    for ended, obs_dim in (
        ([True, False, False], 3),
        ([False, True, True], 3),
        ([False, False, False], 3),
        ([True, True, True], 3),
        ([False, True], 4),
        ([True, False, False, True], 2),
        ([False, False, True, False], 2),
    ):
        fresh, current = rng.normal(0, 1, (2, len(ended), obs_dim)).round(1)
        yield np.array(ended), np.float32(fresh), np.float32(current + 5)


def reset_ended(ended, fresh, current):
    """结束了的环境换成 fresh 的那一行。"""
    return jnp.where(ended[:, None], fresh, current)


check_my_reset = FunctionExercise(
    "练习 5.4：写出自动重置",
    reset_ended,
    reset_inputs,
    {
        "反了：结束了的换成 fresh，没结束的留着 current。": lambda e, f, c: reset_ended(e, c, f),
        "你换掉的是观测的一列，不是环境的一行。ended 是 (num_envs,)，广播时对齐的是最后一维 obs_dim：两者相等时不报错，不等就报错。先变成 (num_envs, 1)。": jnp.where,
        "有一个环境结束，你就把所有环境都重置了。一个环境结束，不该连累别的环境。": lambda e, f, c: f if e.any() else c,
        "你等到所有环境都结束才重置。哪个结束了，就换哪个。": lambda e, f, c: f if e.all() else c,
        "不管结束没有，所有环境都重置了。": lambda e, f, c: f,
        "一个也没有重置：结束了的，要换成 fresh 的那一行。": lambda e, f, c: c,
        "你只看了环境 0 结束没有。每个环境看它自己的。": lambda e, f, c: f if e[0] else c,
        "你只留下了结束的环境；结果要与 current 同形状，没结束的也在里面。": lambda e, f, c: f[e],
        "没结束的环境，观测成了 0；它们要留着 current 的那一行。": lambda e, f, c: reset_ended(e, f, 0 * c),
        "你给结束了的环境都换上了 fresh 的第 0 行。每个环境有自己的开局，换它自己的那一行。": lambda e, f, c: reset_ended(e, f[0], c),
        "你把 fresh 加了上去；结束了的要换掉，不是相加。": lambda e, f, c: c + f * e[:, None],
    },
    praise="只有结束了的那几行换成了新的开局。",
    returns="新的观测，形状 (num_envs, obs_dim)",
    remarks={"不过它不能编译，采样的循环却要编译。编译时数组里还没有具体的数：NumPy 的函数、看数组的值的 if、布尔下标都用不了。再用 jnp.where 写一次。": lambda reset: jax.eval_shape(reset, jnp.zeros(2, bool), *jnp.zeros((2, 2, 3))) is not None},
    jax_arrays=True,
)  # fmt: skip
