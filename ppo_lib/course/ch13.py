"""第 13 章的探针环境、病例、实验和练习。"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

import ppo_lib.loss
from ppo_lib.advantage import calculate_gae, td_error
from ppo_lib.config import PPOConfig
from ppo_lib.course.ch11 import value_loss_all_pairs
from ppo_lib.course.exercises import AnswerExercise, Choice, FunctionExercise, Number, edited
from ppo_lib.course.exercises.sameness import SameShape
from ppo_lib.course.experiment import Experiment
from ppo_lib.course.probes import ANSWERS, NEAR, PROBES, registered
from ppo_lib.diagnostics import explained_variance, global_norm
from ppo_lib.envs import make_env
from ppo_lib.experiment import train
from ppo_lib.loss import Minibatch, clipped_objective, ppo_loss
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
    """两个种子在这个探针上学到的，是不是都与答案差不到 NEAR。"""
    kind, answer = ANSWERS[name]
    value, prob = learn_probe(name)
    return bool((abs((value if kind == "V" else prob) - np.array(answer)) < NEAR).all())


# ---------------------------------------------------------------- 写错的库


def objective_with_wrong_sign(ratio, advantage, clip_eps):
    """裁剪目标，优势的正负号反了。"""
    return clipped_objective(ratio, -advantage, clip_eps)


def ratio_to_itself(log_prob, old_log_prob):
    """概率比，旧的对数概率用现在的参数重算了一遍：值总是 1。"""
    return jnp.exp(log_prob - jax.lax.stop_gradient(log_prob))


def batch_with_late_obs(rollout, hyper, cfg) -> Minibatch:
    """一批经验，观测错后了一步：记下的是走完之后看到的（最后一行除外，它没有下一行可抄）。"""
    batch = make_batch(rollout, hyper, cfg)
    return batch._replace(obs=jnp.concatenate([batch.obs[1:], batch.obs[-1:]]))


def optimizer_that_stays(kind, lr, hyper):
    """优化器，算好的更新没有加到参数上（这里让学习率总是 0，效果相同）。"""
    return make_optimizer(kind, 0.0 * lr, hyper)


BROADCAST = {"ppo_lib.loss.value_loss": value_loss_all_pairs}
"""开头的三号，也是会诊的乙：价值损失的形状错了。"""

CASES = {
    "甲": {"ppo_lib.loss.policy_ratio": ratio_to_itself},
    "乙": BROADCAST,
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


check_diagnosis = AnswerExercise(
    "动手：会诊",
    {
        case: Choice(cause, options=tuple(DIAGNOSES.values()), hint=CLUES[case])
        for case, cause in DIAGNOSES.items()
    },
    praise="五个都对。回报一项分不清它们，几项一起看就分得清。",
)


def loss_inputs(rng):
    """对的形状，多一维的形状，和必须报错的形状。"""
    for value, target in (
        ((1,), (1,)), ((1, 1), (1,)), ((3,), (3,)), ((3, 1), (3,)), ((4, 1), (4,)),
        ((3,), (1,)), ((3, 1), (1,)), ((1, 1), (3,)), ((1, 3), (3,)), ((3, 3), (3,)), ((3,), (2, 3)), ((3, 1, 1), (3,)),
        ((), ()), ((), (3,)), ((3,), ()), ((3, 1), (3, 1)), ((3, 3), (3, 3)), ((2, 3, 1), (2, 3)),
    ):  # fmt: skip
        yield tuple(np.float32(rng.normal(0, 3, shape).round(1)) for shape in (value, target))


def safe_loss(value, target):
    """(V - 目标)² 的平均；去掉 value 多出的一维，别的形状报错。"""
    if value.ndim == 2:
        value = value.squeeze(-1)
    assert value.shape == target.shape and target.ndim == 1
    return ((value - target) ** 2).mean()


MEAN_SQUARE = "((value - target) ** 2).mean()"

check_safe_loss = FunctionExercise(
    "练习 13.1：写一个不会悄悄广播的价值损失",
    safe_loss,
    loss_inputs,
    {
        "(batch, 1) 减 (batch,) 广播成了 (batch, batch)，别的形状也不报错。先把多出的一维去掉；求差之前，再查两者的形状相同。": lambda v, t: ((v - t) ** 2).mean(),
        "形状对不上时没有报错，照样广播了；squeeze() 不写轴，还会把每一个长度是 1 的维都去掉。求差之前，先查两者的形状相同。": lambda v, t: ((v.squeeze() - t) ** 2).mean(),
        "squeeze() 不写轴，会把每一个长度是 1 的维都去掉：只有一个样本时，(1,) 成了 ()。写 squeeze(-1)，只在 value 是二维时用。": edited(edited(safe_loss, "value.ndim == 2", "True"), "squeeze(-1)", "squeeze()"),
        "squeeze() 不写轴，只有一个样本时，(1,) 成了 ()；target 是不是一维的，也要查。": edited(edited(edited(safe_loss, "value.ndim == 2", "True"), "squeeze(-1)", "squeeze()"), " and target.ndim == 1", ""),
        "多出的一维去掉了；可是 (batch,) 对 (1,) 之类，没有报错，照样广播了。求差之前，先查两者的形状相同。": edited(safe_loss, "assert value.shape == target.shape and target.ndim == 1", "pass"),
        "形状相同，却不是一维，也要报错：再查 target.ndim 是 1。": edited(safe_loss, " and target.ndim == 1", ""),
        "你把 value 整个摊平了再比：(1, batch) 这样的形状也混了过去。只去掉最后的一维。": lambda v, t: safe_loss(v.ravel(), t),
        "value 是 (batch, 1) 时也要收下，先去掉多出的一维。": edited(safe_loss, "value = value.squeeze(-1)", "pass"),
        "你求了和；题目要平均。": edited(safe_loss, MEAN_SQUARE, "((value - target) ** 2).sum()"),
        "要一个数：对样本求平均。": edited(safe_loss, MEAN_SQUARE, "(value - target) ** 2"),
        "多了 ½：这一题的损失不带它。": edited(safe_loss, MEAN_SQUARE, "0.5 * ((value - target) ** 2).mean()"),
        "差要平方。": edited(safe_loss, MEAN_SQUARE, "(value - target).mean()"),
        "是差的平方，不是差的绝对值。": edited(safe_loss, MEAN_SQUARE, "abs(value - target).mean()"),
        "先平方，再平均；你先平均了。": edited(safe_loss, MEAN_SQUARE, "(value - target).mean() ** 2"),
        "target 不是一维的，也要报错；你把它也 squeeze 了。": lambda v, t: ((v.squeeze() - t.squeeze()) ** 2).mean() if v.squeeze().shape == t.squeeze().shape else 1 / 0,
        "(batch, 1) 的 target 也要报错：只有 value 可以多出一维。": lambda v, t: safe_loss(v, t.squeeze(-1) if t.ndim == 2 else t),
        "标量和 (batch, 1) 的 target 也要报错：target 必须是一维的。": edited(safe_loss, "assert value.shape == target.shape and target.ndim == 1", "target = target.squeeze(-1) if target.ndim == 2 else target; assert value.shape == target.shape"),
        "你只取了 value 的第 0 列：(batch, 3) 这样的也混了过去。多出的一维长度必须是 1，用 squeeze(-1)。": lambda v, t: safe_loss(v[:, 0] if v.ndim == 2 else v, t),
        "形状不对时你返回了 NaN；要报错，当场就知道是哪一行。": lambda v, t: safe_loss(v, t) if t.ndim == 1 and v.shape in (t.shape, (*t.shape, 1)) else jnp.nan,
        "多开了方：要的是均方，不是均方根。": edited(safe_loss, MEAN_SQUARE, "jnp.sqrt(((value - target) ** 2).mean())"),
    },
    praise="对的形状算得对，导数也对，多出的一维去掉了，别的形状当场报错。",
    returns="一个数，对样本求平均",
    gradients=(0,),
    jax_arrays=True,
)  # fmt: skip


def key_inputs(rng):
    """三把钥匙，步数各不相同。"""
    for num_steps in (1, 3, 6):
        yield jax.random.key(int(rng.integers(100))), num_steps


def draw_noise(key, num_steps):
    """每一步 4 个标准正态的数，(num_steps, 4)；一步一把钥匙。"""
    keys = jax.random.split(key, num_steps)
    return jax.vmap(lambda k: jax.random.normal(k, (4,)))(keys)


def noise(draw, num_steps: int = 5, seed: int = 0) -> np.ndarray:
    """draw 由一把新钥匙抽出的数，(num_steps, 4)。"""
    return np.asarray(draw(jax.random.key(seed), num_steps), float)


def reuses_a_key(draw) -> bool:
    """抽的时候，有没有哪把钥匙用了两次。"""
    with jax.debug_key_reuse(True):
        try:
            draw(jax.random.key(0), 3)
        except jax.errors.KeyReuseError:
            return True
    return False


def looks_normal(x) -> bool:
    """八百个数像不像标准正态：平均、标准差、两头和峰度。"""
    center = abs(x.mean()) < 0.15 and abs(x.std() - 1) < 0.12
    return center and abs(x).max() > 2.2 and abs(stats.kurtosis(x.ravel())) < 1


def looks_independent(x) -> bool:
    """相邻的两步、同一步的四个数，相关系数都接近 0；各列的平均也不会恰好是 0。"""
    steps = np.corrcoef(x[:-1].ravel(), x[1:].ravel())[0, 1]
    columns = np.corrcoef(x.T)[np.triu_indices(4, 1)]
    centered = (abs(x.mean(0)) < 1e-5).all()
    return abs(steps) < 0.15 and (abs(columns) < 0.3).all() and not centered


DRAW_RULES = {
    "每一行都一样：同一把钥匙用了许多次，抽出的是同一组数。先把钥匙分成 num_steps 把。": lambda draw: (noise(draw) != noise(draw)[0]).any(),
    "有几行相同：有的钥匙用了不止一次。": lambda draw: len(np.unique(noise(draw), axis=0)) == 5,
    "行与行之间、或者一行之内，有相同的数，或者只差正负号的：行不全同，但并不独立。": lambda draw: len(np.unique(abs(noise(draw)).round(6))) == 20,
    "同一把钥匙，两次的结果不同：随机数没有全部来自 key，实验就不能重复。": lambda draw: np.array_equal(noise(draw), noise(draw)),
    "换一把钥匙，结果不变：你没有用到传进来的 key，每个种子都会抽到同样的数。": lambda draw: not np.array_equal(noise(draw), noise(draw, seed=1)),
    "数都不同，可是有一把钥匙用了两次：抽过数的、分过的，都不能再用。打开 jax_debug_key_reuse，它会指出是哪一把。": lambda draw: not reuses_a_key(draw),
    "不像标准正态分布：平均、标准差，或者两头的多少不对。用 jax.random.normal。": lambda draw: looks_normal(noise(draw, 200)),
    "每个数像是标准正态的，可是数与数之间有关系：各步、各列要互相独立。": lambda draw: looks_independent(noise(draw, 200)),
}  # fmt: skip
"""练习 13.2 的要求：提示 → 成不成立。"""

check_draw_noise = FunctionExercise(
    "练习 13.2：每一步各用一把新钥匙",
    draw_noise,
    key_inputs,
    {},
    praise="各行不同、互相独立，没有哪把钥匙用了两次；钥匙相同结果就相同，钥匙不同结果就不同。",
    returns="每一步 4 个数，形状 (num_steps, 4)",
    rules=DRAW_RULES,
    close=SameShape(),
    describe=lambda case: f"num_steps = {case[1]}",
)


def logits_inputs(rng):
    """一个、几个或没有动作选不了；只剩一个可选；概率很小却不是 0 的；相差一千的；随机的。"""
    inf = np.inf
    for logits in (
        [-inf, 2], [1000, 0, -inf], [5, -5, -inf, 4], [0, -inf, 0, -inf], [0.3, -0.5, -inf, 1], [0.5, -1, 2, 0.1, 1.5, -0.7]
    ):  # fmt: skip
        yield (np.float32(logits),)
    for _ in range(2):
        logits = rng.normal(0, 2, 6).round(1)
        logits[rng.choice(6, 2, replace=False)] = -inf
        yield (np.float32(logits),)


def masked_entropy(logits):
    """有的动作选不了（logit 是 -∞）时的熵；取对数之前，先把 0 换成 1。"""
    p = jax.nn.softmax(logits)
    possible = p > 0
    log_p = jnp.log(jnp.where(possible, p, 1.0))
    return jnp.where(possible, -p * log_p, 0.0).sum()


check_masked_entropy = FunctionExercise(
    "练习 13.3：有的动作选不了时的熵，梯度里不许有 NaN",
    masked_entropy,
    logits_inputs,
    {
        "值对了，梯度里有 NaN：没有选中的那一支，它的导数仍然被算出来，再乘 0，∞ × 0 = NaN。让那一支的输入先变成无害的数：在 where 里面再套一个 where。": edited(masked_entropy, "jnp.where(possible, p, 1.0)", "p"),
        "值就已经是 NaN：概率是 0 的动作，0 × (-∞) 是 NaN。": lambda x: -(jax.nn.softmax(x) * jax.nn.log_softmax(x)).sum(),
        "符号反了：熵是 -Σ p ln p，不小于 0。": lambda x: -masked_entropy(x),
        "选不了的动作概率必须是 0，而且不计入熵；你把它的 logit 换成了 0，它又选得了了。": lambda x: masked_entropy(jnp.where(jnp.isfinite(x), x, 0.0)),
        "要自然对数，单位是 nat；你用了以 2 为底的。": lambda x: masked_entropy(x) / jnp.log(2.0),
        "要对动作求和，不是求平均。": lambda x: masked_entropy(x) / x.size,
        "要一个数：对动作求和。": lambda x: -jax.scipy.special.xlogy(jax.nn.softmax(x), jax.nn.softmax(x)),
        "你用 stop_gradient（或者变成 NumPy 的数）盖住了 NaN，梯度也就没有了。": lambda x: jax.lax.stop_gradient(masked_entropy(x)),
        "每一项还要乘上它的概率：熵是 -ln p 的期望。": edited(masked_entropy, "-p * log_p", "-log_p"),
    },
    praise="值对，梯度也有限，而且对。",
    returns="一个数，对动作求和",
    gradients=(0,),
    remarks={"提醒：放进 jax.jit 里，它会报错。掩码不要挑，改成加权。": lambda entropy: jnp.isfinite(jax.jit(entropy)(jnp.array([0.0, -jnp.inf])))},
    jax_arrays=True,
)  # fmt: skip


check_traces = AnswerExercise(
    "练习 13.4：五段程序里，f 各被追踪几次",
    {
        "A": Number(1, tolerance=0, hint="Python 的浮点数进了 jit 就是一个 float32 的标量；值不同，形状和类型相同，不用重新编译。"),
        "B": Number(3, tolerance=0, hint="形状也算在签名里：长度每变一次，就编译一次。"),
        "C": Number(
            2,
            {1: "Python 的数是“弱类型”的，与 jnp.float32 的签名不同。", 3: "Python 的数是“弱类型”的，与 jnp.float32 的签名不同；可是再传一次同样的类型，就用现成的。"},
            tolerance=0,
            hint="三次调用里，有几种签名？弱类型也算在内。",
        ),
        "D": Number(3, tolerance=0, hint="static_argnames 里的参数，值变一次就编译一次：它是编译进程序里的常数。"),
        "E": Number(3, tolerance=0, hint="每圈都新造一个 lambda，jit 不认得它与上一个相同，缓存用不上。"),
    },
    praise="五段都对。",
)  # fmt: skip


# ---------------------------------------------------------------- 练习 13.5：检查也要检查


def gae_in_numpy(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """另一份对的 GAE：从后往前的循环，NumPy。"""
    delta = np.asarray(td_error(reward, value, next_value, terminated, gamma), float)
    advantage, following = np.zeros_like(delta), 0.0
    for t in reversed(range(len(delta))):
        carry_on = 1.0 - np.asarray(terminated | truncated)[t]
        advantage[t] = following = delta[t] + gamma * gae_lambda * carry_on * following
    return advantage, advantage + np.asarray(value)


DELTA = "td_error(reward, value, next_value, terminated, gamma)"
BREAKS = {
    "终止。放一步终止的，让它的 next_value 不是 0，看优势里有没有算进去。": (DELTA, "td_error(reward, value, next_value, False, gamma)"),
    "超时。放一步超时的：它的优势里应当接上 next_value。": (DELTA, "td_error(reward, value, next_value, terminated | truncated, gamma)"),
    "两个回合之间。结尾的那一步后面还要有别的步，看后面的优势有没有漏到前面来；γ 或 λ 是 0 的话，漏不出来。": ("1.0 - (terminated | truncated)", "jnp.ones_like(delta)"),
    "超时之后接的是谁的价值。超时那一步的 next_value，与下一行的 value 要取得不同。": (DELTA, "td_error(reward, value, jnp.concatenate([value[1:], next_value[-1:]]), terminated, gamma)"),
    "逐步打的折。要有连着的两步，中间没有结尾；γ 和 λ 都不取 0 和 1。": ("gamma * gae_lambda * carry_on_t", "gamma * carry_on_t"),
    "优势的正负。": ("return advantage,", "return -advantage,"),
    "学习目标。返回的第二样也要查。": ("return advantage, advantage + value", "return advantage, advantage"),
}  # fmt: skip
"""写坏的 GAE：坏在哪里 → 库里的哪一处，改成什么。"""
BROKEN_GAE = {
    where: jax.jit(edited(calculate_gae, *change)) for where, change in BREAKS.items()
}


def gae_is_right(gae):
    """三步、两个环境，中间一步一个终止、一个超时；答案是手算的。"""
    reward = jnp.ones((3, 2))
    value, next_value = jnp.full((3, 2), 2.0), jnp.full((3, 2), 10.0)
    terminated = jnp.zeros((3, 2), bool).at[1, 0].set(True)
    truncated = jnp.zeros((3, 2), bool).at[1, 1].set(True)
    advantage, target = gae(reward, value, next_value, terminated, truncated, 0.5, 0.8)
    right = np.array([[3.6, 5.6], [-1.0, 4.0], [4.0, 4.0]])
    return np.allclose(advantage, right) and np.allclose(target, right + 2.0)


def rejects(check, gae) -> bool:
    """检查 check 看出 gae 不对：返回了假，或者断言没有成立。"""
    try:
        return not check(gae)
    except AssertionError:
        return True


check_my_gae_check = FunctionExercise(
    "练习 13.5：写一个检查，认得出写坏的 GAE",
    gae_is_right,
    lambda rng: [(jax.jit(calculate_gae),)],
    {
        "库里的 calculate_gae 是对的，你的检查却说它不对。把它给的和你的答案都打印出来，看是哪一种：答案算错了，取出来的两样次序反了（先是优势），比得太严（用 np.allclose，留出舍入误差），还是真假反了。": lambda gae: False,
    },
    praise="两份对的放过了，七份写坏的都抓住了。",
    returns="真或假",
    describe=lambda case: "给它库里的 calculate_gae",
    rules={
        "不管给它哪一份，你的检查都说对：至少要把结果与你知道的答案比一比。": lambda check: any(rejects(check, gae) for gae in BROKEN_GAE.values()),
        "另有一份对的（用 NumPy 写的循环），你的检查说它不对，或者出了错：它只收具体的数组，不能放进 jit 或 vmap；比的时候用 np.allclose，留出舍入误差。": lambda check: not rejects(check, gae_in_numpy),
    }
    | {
        f"有一份写坏的，你的检查没有看出来。它坏在{where}": lambda check, gae=gae: rejects(check, gae)
        for where, gae in BROKEN_GAE.items()
    },
)  # fmt: skip
