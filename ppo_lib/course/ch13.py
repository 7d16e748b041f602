"""第 13 章的探针环境、病例、实验和练习检查。"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from gymnax.environments import environment, spaces

import ppo_lib.loss
from ppo_lib.config import PPOConfig
from ppo_lib.course.experiment import Experiment
from ppo_lib.course.verdict import Mistake, checker
from ppo_lib.diagnostics import explained_variance, global_norm
from ppo_lib.envs import make_env
from ppo_lib.experiment import train
from ppo_lib.loss import Minibatch, ppo_loss, value_loss
from ppo_lib.optimizer import make_optimizer
from ppo_lib.training import make_batch, make_network

# ---------------------------------------------------------------- 报错和环境


def show_error(function, *args, width: int = 42) -> None:
    """运行 function(*args)，把它抛出的错误打印出来：类型、信息（去掉网址）；没有抛出就打印结果。"""
    try:
        print("没有报错，结果是", function(*args))
    except Exception as error:
        text = re.sub(r"(\s*See|:)\s+https?://\S+", "", str(error)).strip()
        text = re.sub(r" at [^ ]*?:\d+(?= for jit)", "", text)
        print(textwrap.fill(f"{type(error).__name__}: {' '.join(text.split())}", width))


def run_python(*arguments: str, folder, pythonpath: str | None = None) -> str:
    """另起一个 Python 进程，返回它打印的最后一行（报错也算）。"""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if pythonpath is not None:
        env["PYTHONPATH"] = pythonpath
    result = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=env, cwd=folder
    )
    return (result.stdout + result.stderr).strip().splitlines()[-1]


def make_project(folder) -> None:
    """造一个小项目：networks/mlp.py，和两份 import 它的脚本，一份在根目录，一份在 algos/ 里。"""
    script = "import networks.mlp\nprint('找到了')\n"
    for name, text in {
        "networks/mlp.py": "",
        "ppo_discrete.py": script,
        "algos/ppo_discrete.py": script,
    }.items():
        path = Path(folder) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def gradient_norms(cfg: PPOConfig, batch: Minibatch, width: int, num_seeds: int) -> np.ndarray:
    """两层、每层 width 个单元的网络，刚初始化，在一个小批次上的梯度范数（缩短之前），(num_seeds,)。"""
    cfg = dataclasses.replace(cfg, hidden_sizes=(width, width))
    network = make_network(cfg, make_env(cfg))

    @jax.jit
    def one_norm(seed):
        params = network.init(jax.random.key(seed), batch.obs)
        pi, _ = network.apply(params, batch.obs)
        fresh = batch._replace(log_prob=pi.log_prob(batch.action))  # 概率比是 1，如第一个小批次
        grad, _ = jax.grad(ppo_loss, has_aux=True)(
            params, fresh, cfg.hyperparams(),
            network=network, advantage_norm=cfg.advantage_norm, clip_value=cfg.clip_value,
        )  # fmt: skip
        return global_norm(grad)

    return np.array([one_norm(seed) for seed in range(num_seeds)])


# ---------------------------------------------------------------- 探针环境


@struct.dataclass
class ProbeState(environment.EnvState):
    cue: jax.Array  # () 这一回合开头抽的 +1 或 -1


class Probe(environment.Environment):
    """探针环境的骨架：走 length 步后结束，cue 是每一回合开头抽的 ±1；观测默认是 0。"""

    length, num_actions = 1, 1

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=1000)

    def reset_env(self, key, params):
        state = ProbeState(jnp.int32(0), jax.random.rademacher(key, (), jnp.float32))
        return self.get_obs(state), state

    def step_env(self, key, state, action, params):
        reward = self.reward(state, action)
        state = state.replace(time=state.time + 1)
        return self.get_obs(state), state, reward, self.is_terminated(state, params), {}

    def is_terminated(self, state, params):
        return state.time >= self.length

    def get_obs(self, state, params=None, key=None):
        return jnp.zeros(1)

    def action_space(self, params):
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params):
        return spaces.Box(-1.0, 1.0, (1,))


class ConstantReward(Probe):
    """一步，观测总是 0，得 1 分：V 是 1。"""

    def reward(self, state, action):
        return jnp.float32(1.0)


class RewardIsObs(Probe):
    """观测是 +1 或 -1，奖励等于观测，走一步就结束：V 等于观测。"""

    def get_obs(self, state, params=None, key=None):
        return state.cue[None]

    def reward(self, state, action):
        return state.cue


class DelayedReward(Probe):
    """两步，观测是第几步，只有第二步得 1 分：V 依次是 γ 和 1。"""

    length = 2

    def get_obs(self, state, params=None, key=None):
        return jnp.float32(state.time)[None]

    def reward(self, state, action):
        return jnp.float32(state.time == 1)


class TwoActions(Probe):
    """一步，观测总是 0，动作 1 得 1 分，动作 0 得 0 分：策略应当选 1。"""

    num_actions = 2

    def reward(self, state, action):
        return jnp.float32(action == 1)


class MatchObs(Probe):
    """一步，观测 +1 时动作 1 得 1 分，-1 时动作 0 得 1 分：策略应当看着观测选。"""

    num_actions = 2

    def get_obs(self, state, params=None, key=None):
        return state.cue[None]

    def reward(self, state, action):
        return jnp.float32((action == 1) == (state.cue > 0))


class Endless(Probe):
    """每步 1 分，永不结束，每 4 步超时一次；观测是这一圈的第几步。V 处处是 1/(1-γ)。"""

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=4)

    def is_terminated(self, state, params):
        return jnp.bool_(False)

    def get_obs(self, state, params=None, key=None):
        return jax.nn.one_hot(state.time % 4, 4)

    def observation_space(self, params):
        return spaces.Box(0.0, 1.0, (4,))

    def reward(self, state, action):
        return jnp.float32(1.0)


class EndlessCue(Endless):
    """同上，但每步的奖励是这一回合的 ±1：V(1) = 1/(1-γ)，V(-1) = -1/(1-γ)。"""

    def get_obs(self, state, params=None, key=None):
        return state.cue[None]

    def observation_space(self, params):
        return spaces.Box(-1.0, 1.0, (1,))

    def reward(self, state, action):
        return state.cue


SIGNS = [[1.0], [-1.0]]
PROBES = {
    "ConstantReward-probe": (ConstantReward, [[0.0]]),
    "RewardIsObs-probe": (RewardIsObs, SIGNS),
    "DelayedReward-probe": (DelayedReward, [[0.0], [1.0]]),
    "Endless-probe": (Endless, np.eye(4)),
    "EndlessCue-probe": (EndlessCue, SIGNS),
    "TwoActions-probe": (TwoActions, [[0.0]]),
    "MatchObs-probe": (MatchObs, SIGNS),
}
"""梯子，由低到高：探针的名字 → (类, 要看的观测 (n, obs_dim))。"""

ANSWERS = {
    "ConstantReward-probe": ("V", [1.0]),
    "RewardIsObs-probe": ("V", [1.0, -1.0]),
    "DelayedReward-probe": ("V", [0.5, 1.0]),
    "Endless-probe": ("V", [2.0] * 4),
    "EndlessCue-probe": ("V", [2.0, -2.0]),
    "TwoActions-probe": ("动作 1 的概率", [1.0]),
    "MatchObs-probe": ("动作 1 的概率", [1.0, 0.0]),
}
"""γ = 0.5 时的答案：看 V，还是看选动作 1 的概率；各个观测处应当是多少。"""


@contextlib.contextmanager
def registered(name: str):
    """暂时把一个探针登记成 gymnax 的环境。"""
    gymnax.register(name, PROBES[name][0])
    try:
        yield
    finally:
        gymnax.registered_envs.remove(name)
        gymnax.registration._registry.pop(name)


def learn_probe(name: str, **changes) -> tuple[np.ndarray, np.ndarray]:
    """在一个探针上训练两个种子，返回学到的 V 和动作 1 的概率，都是 (seed, 观测)。"""
    with registered(name):
        cfg = PPOConfig(
            **dict(
                env_name=name, total_timesteps=24_000, num_seeds=2, num_envs=8, num_steps=10,
                hidden_sizes=(16,), update_epochs=4, num_minibatches=2, shuffle="samples",
                lr=1e-2, gamma=0.5, ent_coef=0.0,
            ) | changes
        )  # fmt: skip
        params = train(cfg, progress=False).params
        network = make_network(cfg, make_env(cfg))
    obs = jnp.asarray(PROBES[name][1], jnp.float32)
    pi, value = jax.vmap(network.apply, in_axes=(0, None))(params, obs)
    return np.asarray(value), np.asarray(jax.nn.softmax(pi.logits)[..., -1])


def run_probe(name: str, **changes) -> np.ndarray:
    """在一个探针上训练两个种子，返回学到的 V (seed, 观测)。"""
    return learn_probe(name, **changes)[0]


def passes(name: str) -> bool:
    """两个种子在这个探针上学到的，是不是都与答案差不到 0.05。"""
    kind, answer = ANSWERS[name]
    value, prob = learn_probe(name)
    return bool((abs((value if kind == "V" else prob) - np.array(answer)) < 0.05).all())


# ---------------------------------------------------------------- 写错的库


def broadcast_value_loss(value, target):
    """价值损失，value 多了一维：(batch, 1) 减 (batch,)，得到 (batch, batch)，不报错。"""
    return value_loss(value[:, None], target)


def objective_with_wrong_sign(ratio, advantage, clip_eps):
    """裁剪目标，优势的正负号反了。"""
    clipped_ratio = jnp.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps)
    return jnp.minimum(ratio * -advantage, clipped_ratio * -advantage)


def ratio_to_itself(log_prob, old_log_prob):
    """概率比，旧的对数概率用现在的参数重算了一遍：值总是 1。"""
    return jnp.exp(log_prob - jax.lax.stop_gradient(log_prob))


def batch_with_late_obs(rollout, hyper, cfg) -> Minibatch:
    """一批经验，观测错后了一步：记下的是走完之后看到的。"""
    batch = make_batch(rollout, hyper, cfg)
    return batch._replace(obs=jnp.concatenate([batch.obs[1:], batch.obs[-1:]]))


def optimizer_that_stays(kind, lr, hyper):
    """优化器，算好的更新没有加到参数上（这里让学习率总是 0，效果相同）。"""
    return make_optimizer(kind, 0.0 * lr, hyper)


CASES = {
    "甲": {"ppo_lib.loss.policy_ratio": ratio_to_itself},
    "乙": {"ppo_lib.loss.value_loss": broadcast_value_loss},
    "丙": {"ppo_lib.training.make_batch": batch_with_late_obs},
    "丁": {"ppo_lib.training.make_optimizer": optimizer_that_stays},
    "戊": {"ppo_lib.loss.clipped_objective": objective_with_wrong_sign},
}
"""五个病例：库里的一个函数换成写错的。"""

CAUGHT = {"甲": (), "乙": (2, 3, 5), "丙": (2, 3, 5), "丁": (1,), "戊": (6, 7)}
"""五个病例各在梯子的哪几级不过（量过的，见 tests/test_ch13.py）。丁只量了第 1 级：不过，就不往上爬了。"""

SYMPTOMS = {
    "return": "回报",
    "entropy": "熵（nat）",
    "explained_variance": "解释方差",
    "value_loss": "价值损失",
    "approx_kl": "近似 KL（nat）",
    "clip_frac": "界外的样本",
}
"""病历上的六项。"""

LEARNS = PPOConfig(
    env_name="CartPole-v1", total_timesteps=100_000, update_epochs=8, num_seeds=5
)
"""十万步里学得会 CartPole 的配置（第 1 章的“动手”）。"""

CORRECT = "正常，2 遍"
"""开头的那一份：库没有改，只是每批经验用 2 遍。"""

EXPERIMENTS = {
    "cases": Experiment(
        dataclasses.replace(LEARNS, num_seeds=10),
        {name: {} for name in ("正常", *CASES)} | {CORRECT: dict(update_epochs=2)},
        metrics=tuple(SYMPTOMS),
        points=24,
        patches=CASES,
    )
}
"""正常的库、五个病例、用 2 遍的库，各训练十个种子。"""


# ---------------------------------------------------------------- 只训练 Critic


def fit_critic(cfg: PPOConfig, batch: Minibatch, steps: int = 300, seed: int = 0) -> np.ndarray:
    """经验不动，只训练一个刚初始化的 Critic：价值损失的梯度，Adam，整批一步。

    Returns:
        (steps,) 每一步的解释方差。
    """
    network = make_network(cfg, make_env(cfg))
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
    params = network.init(jax.random.key(seed), rows.obs)
    adam = optax.adam(1e-2)

    def loss(params):
        _, value = network.apply(params, rows.obs)
        return ppo_lib.loss.value_loss(value, rows.target).mean(), value

    def step(carry, _):
        params, opt_state = carry
        (_, value), grad = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = adam.update(grad, opt_state)
        carry = optax.apply_updates(params, updates), opt_state
        return carry, explained_variance(value, rows.target)

    return np.asarray(jax.lax.scan(step, (params, adam.init(params)), length=steps)[1])


# ---------------------------------------------------------------- 练习

DIAGNOSES = {
    "甲": "概率比总是 1",
    "乙": "价值损失的形状错了",
    "丙": "观测错后了一步",
    "丁": "参数没有动",
    "戊": "优势的符号反了",
}
"""五个病例的病因。"""

CLUES = {
    "甲": "看“界外的样本”：它一直恰好是 0，而近似 KL 却很大。策略真的走远了，裁剪为什么一次也没有起作用？",
    "乙": "看解释方差：它一直贴着 0，可是价值损失并不小，回报也在涨。Critic 好像只学到了一个平均数。",
    "丙": "看最左边的几个点，并与正常的比：近似 KL 和界外的样本一直偏大。什么错会使同一份参数算出另一个概率？",
    "丁": "看熵和近似 KL：一个恰好停在 ln 2，一个恰好是 0。什么东西一点也没有变？",
    "戊": "解释方差接近 1，价值损失接近 0，Critic 学得好好的；回报却低于随机的策略（丁）。谁学反了？",
}
"""诊断错了时给的线索。"""


@checker
def check_diagnosis(answer) -> str:
    """动手：五个病例各是什么病。"""
    if not isinstance(answer, dict) or set(answer) != set(CASES):
        raise Mistake("请给五个病例各填一个病因，例如 {'甲': '参数没有动', …}。")
    unknown = [x for x in answer.values() if x not in DIAGNOSES.values()]
    if any(x is ... for x in unknown):
        raise Mistake("还有病例没有填。")
    if unknown:
        raise Mistake(f"没有“{unknown[0]}”这个病因。可选的：{'、'.join(DIAGNOSES.values())}。")
    wrong = [case for case in CASES if answer[case] != DIAGNOSES[case]]
    if wrong:
        raise Mistake(f"对了 {len(CASES) - len(wrong)} 个。病例{wrong[0]}：{CLUES[wrong[0]]}")
    return "五个都对。回报一项分不清它们，几项一起看就分得清。"


@checker
def check_safe_loss(loss) -> str:
    """练习 13.1：形状不对就报错的价值损失。"""
    value, target = jnp.array([1.0, 2.0, 4.0]), jnp.array([0.0, 2.0, 2.0])
    right = float(((value - target) ** 2).mean())
    answer = loss(value, target)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    if np.shape(answer) != ():
        raise Mistake("要一个数：对样本求平均。")
    if np.isclose(answer, 3 * right):
        raise Mistake("你求了和；题目要平均。")
    if not np.isclose(answer, right):
        raise Mistake(
            f"形状都是 (batch,) 时就不对：应当是 {right:.4g}，你的是 {float(answer):.4g}。"
        )
    column = loss(value[:, None], target)
    if column is not None and np.shape(column) == () and not np.isclose(column, right):
        raise Mistake(
            f"value 是 (batch, 1) 时，你得到 {float(column):.4g}，应当是 {right:.4g}："
            "(batch, 1) 减 (batch,) 广播成了 (batch, batch)。先把多出的一维去掉。"
        )
    for bad, name in ((target[:1], "(1,)"), (jnp.stack([target] * 2), "(2, 3)")):
        try:
            loss(value, bad)
        except Exception:
            continue
        raise Mistake(
            f"value 是 (3,)、target 是 {name} 时，你的函数没有报错，照样广播了。求差之前，先查两者的形状相同。"
        )
    return "对的形状算得对，多出的一维去掉了，别的形状当场报错。"


@checker
def check_draw_noise(draw) -> str:
    """练习 13.2：每一步各用一把新钥匙。"""
    key = jax.random.key(0)
    answer = draw(key, 5)
    if answer is None:
        raise Mistake("你的函数没有返回值。")
    noise = np.asarray(answer)
    if noise.shape != (5, 4):
        raise Mistake(f"形状应当是 (num_steps, 4)，这里是 (5, 4)；你的是 {noise.shape}。")
    if (noise == noise[0]).all():
        raise Mistake(
            "每一行都一样：同一把钥匙用了五次，抽出的是同一组数。先把钥匙分成 num_steps 把。"
        )
    if len(np.unique(noise, axis=0)) < 5:
        raise Mistake("有几行相同：有的钥匙用了不止一次。")
    if len(np.unique(noise.round(6))) < 20:
        raise Mistake("行与行之间有相同的数：行不全同，但并不独立。")
    if not np.array_equal(noise, np.asarray(draw(key, 5))):
        raise Mistake("同一把钥匙，两次的结果不同：随机数没有全部来自 key，实验就不能重复。")
    if np.array_equal(noise, np.asarray(draw(jax.random.key(1), 5))):
        raise Mistake(
            "换一把钥匙，结果不变：你没有用到传进来的 key，每个种子都会抽到同样的数。"
        )
    many = np.asarray(draw(key, 4000))
    if abs(many.mean()) > 0.1 or abs(many.std() - 1) > 0.1:
        raise Mistake("不像标准正态分布：平均应当接近 0，标准差接近 1。用 jax.random.normal。")
    return "五行各不相同；钥匙相同结果就相同，钥匙不同结果就不同。"


def reference_entropy(logits):
    """把选不了的动作（logit 是 -∞）直接去掉以后的熵，用 float64 的 NumPy 算。"""
    logits = np.asarray(logits, np.float64)
    logits = logits[np.isfinite(logits)]
    p = np.exp(logits - logits.max())
    p /= p.sum()
    return -(p * np.log(p)).sum()


@checker
def check_masked_entropy(entropy) -> str:
    """练习 13.3：有的动作选不了时的熵，梯度里不许有 NaN。"""
    cases = [jnp.array([0.3, -0.5, -jnp.inf, 1.0]), jnp.array([0.0, -jnp.inf, 0.0, -jnp.inf])]
    for logits in cases:
        answer = entropy(logits)
        if answer is None:
            raise Mistake("你的函数没有返回值。")
        if np.shape(answer) != ():
            raise Mistake("要一个数：对动作求和。")
        value, right = float(answer), float(reference_entropy(logits))
        if np.isnan(value):
            raise Mistake("值就已经是 NaN：0 × (-∞) 是 NaN。")
        if np.isclose(value, -right, atol=1e-4):
            raise Mistake("符号反了：熵是 -Σ p ln p，不小于 0。")
        if not np.isclose(value, right, atol=1e-3):
            raise Mistake(
                f"logits = {logits.tolist()} 时熵应当是 {right:.4f}，你的是 {value:.4f}。"
                "选不了的动作概率必须是 0，而且不计入熵。"
            )
        grad = np.asarray(jax.grad(entropy)(logits))
        if np.isnan(grad).any():
            raise Mistake(
                f"值对了，梯度是 {grad.tolist()}：没有选中的那一支，它的导数仍然被算出来，再乘 0，∞ × 0 = NaN。"
                "让那一支的输入先变成无害的数：在 where 里面再套一个 where。"
            )
        finite = np.isfinite(np.asarray(logits))
        numeric = [
            (reference_entropy(logits.at[i].add(0.01)) - reference_entropy(logits.at[i].add(-0.01))) / 0.02
            for i in np.flatnonzero(finite)
        ]  # fmt: skip
        if not np.allclose(grad[finite], numeric, atol=1e-3):
            raise Mistake(
                "梯度有限，但不对：可选的动作上，它与差分算出的不符。有没有用 stop_gradient 或 nan_to_num 盖住了它？"
            )
    return "值对，梯度也有限，而且与差分一致。"


TRACES = {"A": 1, "B": 3, "C": 2, "D": 3, "E": 3}
"""练习 13.4 的答案：五段程序各追踪几次。"""


@checker
def check_traces(answer) -> str:
    """练习 13.4：五段程序里，f 各被追踪（编译）几次。"""
    if not isinstance(answer, dict) or set(answer) != set(TRACES):
        raise Mistake("请给 A 到 E 各填一个次数，例如 {'A': 1, 'B': 1, …}。")
    hints = {
        "A": "Python 的浮点数进了 jit 就是一个 float32 的标量；值不同，形状和类型相同，不用重新编译。",
        "B": "形状也算在签名里：长度每变一次，就编译一次。",
        "C": "Python 的数是“弱类型”的，与 jnp.float32 的签名不同；再传一次同样的类型，就用现成的。",
        "D": "static_argnames 里的参数，值变一次就编译一次：它是编译进程序里的常数。",
        "E": "每圈都新造一个 lambda，jit 不认得它与上一个相同，缓存用不上。",
    }
    for name, right in TRACES.items():
        if answer[name] is ...:
            raise Mistake(f"{name} 还没有填。")
        if int(answer[name]) != right:
            raise Mistake(f"{name} 不是 {answer[name]} 次。{hints[name]}")
    return "五段都对。"
