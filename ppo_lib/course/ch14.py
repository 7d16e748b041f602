"""第 14 章的练习检查：从空文件写 PPO。五个函数各一道题，再爬探针的梯子，走 CartPole，与库逐次核对。

python -m ppo_lib.course.ch14 my_ppo.py        一个写着五个函数的文件，从头查到尾
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import runpy
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib.config import PPOConfig
from ppo_lib.course.exercises import FunctionExercise, Mistake, edited, judged
from ppo_lib.course.exercises.running import describe_error, meaning, run
from ppo_lib.course.exercises.sameness import Close, describe, explain, show
from ppo_lib.course.from_scratch import (
    Bench,
    Draws,
    assemble,
    fast_train,
    gae,
    learn,
    loss,
    make_bench,
    rebound,
    rollout,
    scanned_gae,
    scanned_learn,
    scanned_rollout,
)
from ppo_lib.course.probes import ANSWERS, NEAR, PROBES, Flicker, registered
from ppo_lib.diagnostics import global_norm
from ppo_lib.policy import Policy, evaluate
from ppo_lib.training import make_train

# ---------------------------------------------------------------- 台子


@functools.cache
def small_bench(seed: int = 0) -> Bench:
    """CartPole，三个环境各走 24 步：随机的策略走二十来步就倒，所以有终止。"""
    return make_bench(
        PPOConfig(
            env_name="CartPole-v1",
            seed=seed,
            num_envs=3,
            num_steps=24,
            total_timesteps=720,
            hidden_sizes=(8,),
            update_epochs=3,
            num_minibatches=4,
            shuffle="samples",
            gamma=0.9,
            gae_lambda=0.6,
            clip_eps=0.1,
            ent_coef=0.5,
            vf_coef=0.7,
        )
    )


@functools.cache
def probe_bench(name: str, seed: int = 0, probe=None) -> Bench:
    """探针上的台子：30 次更新，一次 16 个环境各走 8 步。"""
    with registered(name, probe):
        return make_bench(
            PPOConfig(
                env_name=name,
                seed=seed,
                num_envs=16,
                num_steps=8,
                total_timesteps=30 * 16 * 8,
                hidden_sizes=(16,),
                update_epochs=4,
                num_minibatches=2,
                shuffle="samples",
                lr=3e-2,
                gamma=0.5,
                ent_coef=0.0,
                vf_coef=0.7,
            )
        )


def benches() -> tuple[Bench, Bench]:
    """检查前几个函数用的两张台子：一张有终止，一张有截断。"""
    return small_bench(), probe_bench("EndlessCue-probe")


def experience(bench: Bench, update: int) -> dict:
    """照参考答案采一批经验，配上优势和目标。"""
    env = bench.start.env
    walk = (bench, bench.start.params, env.obs, env.state, bench.draws(update))
    _, _, batch = scanned_rollout(*walk)
    ends = {x: batch[x] for x in ("reward", "value", "next_value", "terminated", "truncated")}
    advantage, target = scanned_gae(
        **ends, gamma=bench.hyper.gamma, gae_lambda=bench.hyper.gae_lambda
    )
    return batch | dict(advantage=advantage, target=target)


# ---------------------------------------------------------------- 从哪一步起不同


class Located(FunctionExercise):
    """结果不对，又认不出是哪种错时，说从哪一步起不同。

    Args:
        more: 提示 → 写错的函数；与 wrong 一样认，只是梯子的那张表里不列。
        locate: ``locate(function, 一组输入)`` → 从哪一步起不同，看哪里；None 是它也说不出，不给就总是 None。
    """

    def __init__(self, *args, more=None, locate=lambda *_: None, **options):
        super().__init__(*args, **options)
        self.more, self.locate = more or {}, locate

    @property
    def mistakes(self):
        return self.wrong | self.more

    def complain(self, function, outcomes, right):
        first = right.index(False)
        found = None
        if outcomes[first].error is None:
            found = run(self.locate, (function, self.cases[first])).value
        usual = super().complain(function, outcomes, right)
        return self.when(self.cases[first]) + found if found else usual


ROUNDING = 1e-5
"""同样的几步，运算的次序不同，参数差不到这么多（范数之比）；写错的差几千倍。"""


def shortened(bench: Bench, epochs: int, minibatches: int) -> Bench:
    """同一张台子，小批次只留前 epochs 遍，每遍前 minibatches 个。"""
    cfg = dataclasses.replace(bench.cfg, update_epochs=epochs, num_minibatches=minibatches)
    short = Bench(cfg, bench.env, bench.start)
    *programs, orders = bench._programs
    vars(short)["_programs"] = (*programs, lambda update: orders(update)[:epochs, :minibatches])
    return short


FIRST_MINIBATCH = {
    (False, False): "优化器状态也不同，所以梯度就不对，或者没有用传进来的 opt_state。依次看：batch 怎样摊平；取的是不是 bench.orders(update)[0, 0] 这些样本；求导的是不是查过的 loss（练习 14.3），对的是不是 params。",
    (False, True): "优化器状态却相同，所以梯度是对的：看学习率（bench.optimizer(update)），和把 updates 加到 params 上的那一行。",
    (True, False): "只有优化器状态不同：要返回的是 optimizer.update 给出的新状态。",
}  # fmt: skip
"""第一个小批次走完，（参数，优化器状态）相不相同 → 看哪里。"""


def steps(opt_state) -> int:
    """优化器一共走过几步：它的状态里有一个整数记着。"""
    return next(int(x) for x in jax.tree.leaves(opt_state) if x.dtype == jnp.int32)


def first_step(learn, case: tuple) -> str | None:
    """learn 从第几遍、第几个小批次起与参考答案不同，看哪里；每一步都相同就是 None。"""
    params, opt_state, bench, batch, update = case
    epochs, minibatches, _ = bench.orders(update).shape
    (_, after), (_, expected) = learn(*case), check_learn.reference(*case)
    if steps(after) != steps(expected):
        return f"优化器数到了第 {steps(after)} 步，应当是第 {steps(expected)} 步：接着传进来的 opt_state（已有 {steps(opt_state)} 步）走 {epochs} 遍，每遍 {minibatches} 个小批次。看两层循环。"
    for epoch, count in ((1, 1), *((n, minibatches) for n in range(1, epochs + 1))):
        short = params, opt_state, shortened(bench, epoch, count), batch, update
        pairs = zip(learn(*short), check_learn.reference(*short), strict=True)
        same = tuple(distance(*pair) < ROUNDING for pair in pairs)
        if not all(same):
            break
    else:
        return None
    if count == 1:
        return "第 1 遍的第一个小批次走完就不同。" + FIRST_MINIBATCH[same]
    if epoch == 1:
        return "第一个小批次走完还相同，第 1 遍走完就不同。看什么从一个小批次带到下一个：新的 params 和新的 opt_state，缺一不可；样本换成下一个小批次的。"
    return f"第 {epoch - 1} 遍走完还相同，第 {epoch} 遍走完就不同。看外层的循环：每一遍接着上一遍的 params 和 opt_state，样本的次序用 bench.orders(update) 里这一遍的。"


PIECES = {"rollout": ("obs", "state", "batch"), "gae": ("advantage", "target"), "learn": ("params", "opt_state")}  # fmt: skip
"""一次更新里依次调用的函数 → 它返回的几样。"""

CARRIED = {
    "params": "第 0 次取自 bench.start，以后是上一次 learn 返回的。",
    "opt_state": "第 0 次取自 bench.start，以后是上一次 learn 返回的。",
    "obs": "第 0 次取自 bench.start.env，以后是上一次 rollout 返回的。",
    "state": "第 0 次取自 bench.start.env，以后是上一次 rollout 返回的。",
    "draws": "要 bench.draws(update)，每次更新换一份。",
    "update": "要第几次更新，从 0 数。",
    "batch": "要 rollout 采来的八项，再加上 gae 给的 advantage 和 target。",
}
"""train 传给各个函数的，各从哪里来；别的是 gae 的参数。"""


def calls(train, bench: Bench, updates: int) -> list[tuple[str, dict, tuple]]:
    """运行 train，记下它依次怎样调用 rollout、gae、learn：(函数名, {参数名: 传进去的}, 返回的)。"""
    log = []
    copied = functools.partial(jax.tree.map, lambda x: x)  # 之后 batch |= … 也不影响记下的

    def watched(name: str):
        piece = train.__globals__[name]
        names = inspect.signature(globals()[name]).parameters

        def call(*args, **named):
            result = piece(*args, **named)
            given = inspect.signature(piece).bind(*args, **named).args
            log.append((name, dict(zip(names, map(copied, given))), copied(result)))
            return result

        return call

    rebound(train, **{name: watched(name) for name in PIECES})(bench, updates)
    return log


def first_wrong_call(train, case: tuple) -> str | None:
    """train 里第一处接错的地方：传给哪个函数的哪一样不对，或者哪个函数自己不对；都对就是 None。"""
    bench, updates = case
    if not set(PIECES) <= set(train.__code__.co_names):
        return first_update(train, case)
    start, hyper = bench.start, bench.hyper
    given = dict(params=start.params, opt_state=start.opt_state, obs=start.env.obs, state=start.env.state,
                 gamma=hyper.gamma, gae_lambda=hyper.gae_lambda)  # fmt: skip
    log = calls(train, bench, updates)
    for i, (name, args, result) in enumerate(log):
        update = i // len(PIECES)
        place = f"第 {update} 次更新（从 0 数），"
        expected = list(PIECES)[i % len(PIECES)]
        if name != expected:
            return f"{place}该调用 {expected} 的时候，调用了 {name}：一次更新里依次是 rollout、gae、learn。"
        given |= dict(draws=bench.draws(update), update=update)
        for what in args:
            if what in given and not alike(args[what], given[what]):
                order = f"对一对次序，{name} 收的依次是 {'、'.join(args)}。"
                return f"{place}传给 {name} 的 {what} 不对：{CARRIED.get(what, order)}"
        if not alike(result, globals()[name](*args.values())):
            return f"{place}{name} 收到的都对，返回的不对：先让你的 {name} 过它自己的那一题。"
        given |= dict(zip(PIECES[name], result))
        if name == "rollout":
            given |= {x: given["batch"][x] for x in ("reward", "value", "next_value", "terminated", "truncated")}  # fmt: skip
        elif name == "gae":
            given["batch"] = given["batch"] | {x: given[x] for x in PIECES["gae"]}
    if len(log) != len(PIECES) * updates:
        return f"应当做 {updates} 次更新，你的 train 调用了 {len(log) / len(PIECES):g} 次 rollout、gae、learn。"
    return "几个函数的次序和传给它们的都对，返回的却不是最后一次 learn 给出的 params。"


def alike(got, expected) -> bool:
    """传进去的两样东西是不是相同；一次采样的随机数只看噪声。"""
    if isinstance(got, Draws) and isinstance(expected, Draws):
        got, expected = got.noise, expected.noise
    return Close(1e-3, 1e-4)(got, expected)


def first_update(train, case: tuple) -> str | None:
    """train 做几次更新才与参考答案不同；看不到它怎样调用那几个函数时用。"""
    bench, updates = case
    for n in range(1, updates + 1):
        if not check_train.close(train(bench, n), check_train.reference(bench, n)):
            break
    else:
        return None
    if n == 1:
        return "只做一次更新，参数就不同：先看用到的 rollout、gae、loss、learn 是不是都过了自己的那一题，再看传给 gae 的次序，和 batch 里的 advantage、target。"
    return f"做 {n - 1} 次更新，参数还相同；做 {n} 次就不同。看什么从一次更新带到下一次：params、opt_state、obs、state；draws 和 learn 用的 update 每次换。"


def on_bench(place: int):
    """一组输入怎样说给读者：在哪张台子上；台子是第几个参数。"""

    def describe(case: tuple) -> str:
        return f"环境是 {case[place].cfg.env_name}"

    return describe


# ---------------------------------------------------------------- 一：采样


def moved(params, rng):
    """参数都挪动一些：刚初始化的策略几乎均匀，看不出用没用它。"""
    return jax.tree.map(lambda x: x + rng.normal(size=x.shape).astype(np.float32), params)


def rollout_inputs(rng):
    flicker = probe_bench("Flicker-probe", probe=Flicker)  # 走一步也要用钥匙
    for bench in (*benches(), flicker):
        for update in rng.choice(20, 2, replace=False):
            env, params = bench.start.env, moved(bench.start.params, rng)
            earlier = scanned_rollout(bench, params, env.obs, env.state, bench.draws(20))
            yield bench, params, *earlier[:2], bench.draws(int(update))


def stacked(function) -> bool:
    """batch 的每一项是不是数组。"""
    return all(hasattr(x, "shape") for x in function(*check_rollout.cases[0])[2].values())


ARRIVED = "next_value = bench.policy(params, next_obs)[1]"
AFTER_RESET = (
    "next_value = bench.policy(params, jnp.where((terminated | truncated)[:, None], "
    "draws.fresh_obs[t], next_obs))[1]"
)

check_rollout = Located(
    "练习 14.1：走 num_steps 步，一步一步记下来",
    rollout,
    rollout_inputs,
    {
        "你记下的观测是走完之后的。动作是看着走之前的观测选的，要记那一个。": edited(rollout, "obs=obs, action", "obs=next_obs, action"),
        "next_value 接成了新回合开头的价值。截断的那一步，它该是真正到达的状态的 V：先算，再重置。": edited(rollout, ARRIVED, AFTER_RESET),
        "next_value 和 value 相同了：next_value 要由走完之后的观测算。": edited(rollout, ARRIVED, "next_value = value"),
        "结束了的环境没有换成新回合的开头：观测和状态都要换。": edited(rollout, "ended = terminated | truncated", "ended = terminated & False"),
        "结束了的环境，观测换了，状态没有换。": edited(rollout, "jnp.where(ended, fresh[t], old)", "old"),
        "结束了的环境，状态换了，观测没有换。": edited(rollout, "obs = jnp.where(ended[:, None], draws.fresh_obs[t], next_obs)", "obs = next_obs"),
        "只有终止的环境重置了：截断之后也是新的一回合。": edited(rollout, "ended = terminated | truncated", "ended = terminated"),
        "只有截断的环境重置了：终止之后也是新的一回合。": edited(rollout, "ended = terminated | truncated", "ended = truncated"),
        "动作没有抽：每一步都选了概率最大的。加上这一步的噪声再取最大。": edited(rollout, "log_probs + draws.noise[t]", "log_probs"),
        "每一步都用了第 0 步的噪声：要用 draws.noise[t]。": edited(rollout, "draws.noise[t]", "draws.noise[0]"),
        "log_prob 里放的是概率；要对数概率。": edited(rollout, "log_prob = log_probs[", "log_prob = jnp.exp(log_probs)["),
        "每个样本的 log_prob 都取了第 0 个动作的：要取选中的那个动作。": edited(rollout, "jnp.arange(len(action)), action]", "jnp.arange(len(action)), 0]"),
    },
    more={
        "噪声是加上去的：argmax(对数概率 + noise[t])，你减了。": edited(rollout, "log_probs + draws.noise[t]", "log_probs - draws.noise[t]"),
        "动作只看了噪声：要加到对数概率上，再取最大。": edited(rollout, "log_probs + draws.noise[t]", "draws.noise[t]"),
        "噪声加到了概率上；要加到对数概率上，取最大才是按概率抽。": edited(rollout, "log_probs + draws.noise[t]", "jnp.exp(log_probs) + draws.noise[t]"),
        "每一步都用了第 0 步的钥匙：走第 t 步用 draws.step_keys[t]。": edited(rollout, "draws.step_keys[t]", "draws.step_keys[0]"),
        "每次换上的都是第 0 步备好的开头：第 t 步用 draws.fresh_obs[t]、draws.fresh_state 的第 t 步。": edited(edited(rollout, "draws.fresh_obs[t]", "draws.fresh_obs[0]"), "fresh[t]", "fresh[0]"),
        "终止的那一步，next_value 你填了 0。照样填到达的状态的 V：终止之后不接它，是 gae 的事。": edited(rollout, ARRIVED, f"{ARRIVED} * ~terminated"),
        "回合一结束，next_value 你就填了 0。照样填到达的状态的 V：截断的那一步要接它。": edited(rollout, ARRIVED, f"{ARRIVED} * ~(terminated | truncated)"),
        "换开头时，观测每次换上的都是第 0 步备好的：要第 t 步的 draws.fresh_obs[t]。": edited(rollout, "draws.fresh_obs[t]", "draws.fresh_obs[0]"),
        "换开头时，状态每次换上的都是第 0 步备好的：要 draws.fresh_state 的第 t 步。": edited(rollout, "fresh[t]", "fresh[0]"),
        "换开头时，观测的两样弄反了：结束了的换成 draws.fresh_obs[t]，其余留着走到的。": edited(rollout, "draws.fresh_obs[t], next_obs)", "next_obs, draws.fresh_obs[t])"),
        "换开头时，状态的两样弄反了：结束了的换成备好的，其余留着走到的。": edited(rollout, "jnp.where(ended, fresh[t], old)", "jnp.where(ended, old, fresh[t])"),
        "没有从传进来的 obs 和 state 出发，回到了 bench.start：接着上一次采样走。": edited(rollout, "    rows = []", "    rows, obs, state = [], bench.start.env.obs, bench.start.env.state"),
        "没有从传进来的 obs 出发，回到了 bench.start.env.obs：接着上一次采样走。": edited(rollout, "    rows = []", "    rows, obs = [], bench.start.env.obs"),
        "用了 bench.start.params；要用传进来的 params，它会越学越好。": edited(edited(rollout, "policy(params, obs)", "policy(bench.start.params, obs)"), "policy(params, next_obs)", "policy(bench.start.params, next_obs)"),
        "log_prob 里混进了噪声：噪声只用来选动作，记下的是策略自己的对数概率。": edited(rollout, "log_prob = log_probs[", "log_prob = (log_probs + draws.noise[t])["),
        "log_prob 记的是最大的那个；要选中的动作的。": edited(rollout, "log_probs[jnp.arange(len(action)), action]", "log_probs.max(axis=-1)"),
        "log_prob 记了每个动作的；只要选中的那一个，(num_steps, num_envs)。": edited(rollout, "log_probs[jnp.arange(len(action)), action]", "log_probs"),
        "terminated 里混进了截断：两个标志要分开记，gae 对它们的处理不同。": edited(rollout, "terminated=terminated", "terminated=terminated | truncated"),
        "少走了一步：一共 num_steps 步。": edited(rollout, "bench.cfg.num_steps", "bench.cfg.num_steps - 1"),
    },
    rules={"数都对；batch 的每一项要用 jnp.stack 变成一个数组，不能是列表。": stacked},
    praise="每一个字段都与库里采的相同，终止和截断之后都换上了新的开头。",
    outputs=("最后的 obs", "最后的 state", "batch"),
    describe=on_bench(0),
    seconds=60,
    close=Close(1e-3, 1e-4),
)  # fmt: skip


# ---------------------------------------------------------------- 二：优势


def gae_inputs(rng):
    for steps, envs, gamma, gae_lambda in ((1, 1, 0.9, 0.6), (6, 2, 0.9, 0.6), (7, 3, 0.8, 1.0), (7, 3, 1.0, 0.3)):  # fmt: skip
        reward, value, next_value = rng.integers(-20, 21, (3, steps, envs)) / 10
        next_value[:-1] = value[1:]
        terminated = rng.random((steps, envs)) < 0.25
        truncated = ~terminated & (rng.random((steps, envs)) < 0.25)
        if steps > 1:
            terminated[1, 0], truncated[1, 0] = True, False
            terminated[3, -1], truncated[3, -1] = False, True
            terminated[4, 0] = truncated[4, 0] = False
            next_value[3, -1] = 3.0
        yield *map(np.float32, (reward, value, next_value)), terminated, truncated, gamma, gae_lambda  # fmt: skip


DELTA = "gamma * next_value * (1 - terminated)"
CARRY_ON = "carry_on = 1 - (terminated | truncated)"

check_gae = Located(
    "练习 14.2：一批经验的优势和目标",
    gae,
    gae_inputs,
    {
        "δ 里终止的那一步仍接着 V(s')：终止之后没有以后。": edited(gae, DELTA, "gamma * next_value"),
        "δ 里截断的那一步没有接 V(s')：截断只是不再看下去，价值还要接上。": edited(gae, DELTA, "gamma * next_value * (1 - (terminated | truncated))"),
        "δ 里终止和截断弄反了。": edited(gae, DELTA, "gamma * next_value * (1 - truncated)"),
        "优势没有断开：一回合的优势漏到了前一回合。": edited(gae, CARRY_ON, "carry_on = 1 - (terminated & False)"),
        "优势只在终止处断开了；截断之后也是新的一回合。": edited(gae, CARRY_ON, "carry_on = 1 - terminated"),
        "优势只在截断处断开了；终止处也要断开。": edited(gae, CARRY_ON, "carry_on = 1 - truncated"),
        "递推里只乘了 γ，没有乘 λ。": edited(gae, "gamma * gae_lambda", "gamma"),
        "递推里只乘了 λ，没有乘 γ。": edited(gae, "gamma * gae_lambda", "gae_lambda"),
        "从前往后推了：这一步的优势要用后一步的，得从最后一步往前。": edited(edited(gae, "reversed(range(len(delta)))", "range(len(delta))"), "advantage.insert(0, following)", "advantage.append(following)"),
        "往前推得对，可是排反了：最后一步的优势跑到了第 0 行。": edited(gae, "advantage.insert(0, following)", "advantage.append(following)"),
        "目标应当是优势加 V(s)，你少加了。": edited(gae, "return advantage, advantage + value", "return advantage, advantage"),
        "V(s') 前面忘了乘 γ。": edited(gae, DELTA, "next_value * (1 - terminated)"),
    },
    more={
        "目标应当是优势加 V(s)，你减了。": edited(gae, "return advantage, advantage + value", "return advantage, advantage - value"),
        "目标应当加上这一步的 V(s)，你加的是 V(s')。": lambda r, v, nv, *x: (gae(r, v, nv, *x)[0], gae(r, v, nv, *x)[0] + nv),
        "两处的标志用反了：δ 里只看终止，递推里终止和截断都要看。": edited(edited(gae, DELTA, "gamma * next_value * (1 - (terminated | truncated))"), CARRY_ON, "carry_on = 1 - terminated"),
        "断开的位置错了一步：第 t 步要看第 t 步自己的结束标志，你看的是第 t+1 步的。": edited(gae, "carry_on[t] *", "carry_on[min(t + 1, len(delta) - 1)] *"),
        "断开的位置错了一步：第 t 步要看第 t 步自己的结束标志，你看的是第 t-1 步的。": edited(gae, "carry_on[t] *", "carry_on[t - 1] *"),
        "两处都没有断开：δ 里终止之后仍接了 V(s')，优势也跨过了回合。": edited(edited(gae, DELTA, "gamma * next_value"), CARRY_ON, "carry_on = 1 - (terminated & False)"),
        "目标只看了一步（r + γV(s')）；应当是优势加 V(s)。": edited(gae, "return advantage, advantage + value", "return advantage, delta + value"),
        "δ 里忘了减 V(s)。": edited(gae, f"reward + {DELTA} - value", f"reward + {DELTA}"),
        "递推里 γ 和 λ 都没有乘。": edited(gae, "gamma * gae_lambda * carry_on", "carry_on"),
        "最后一步后面没有优势可接，从 0 开始往前推；V(s') 已经在 δ 里了。": edited(gae, "jnp.zeros_like(delta[0])", "next_value[-1]"),
        "优势不在这里标准化：那是 loss 在小批次里做的。": lambda *x: ((gae(*x)[0] - gae(*x)[0].mean()) / (gae(*x)[0].std() + 1e-8), gae(*x)[1]),
    },
    praise="终止和截断各断各的，几个环境互不相干。",
    outputs=("优势", "目标"),
    jax_arrays=True,
)  # fmt: skip


# ---------------------------------------------------------------- 三：损失


def minibatch_inputs(rng):
    """参数与采样时的不同，所以概率比不是 1，有的样本在界外。"""
    for bench in (small_bench(), probe_bench("MatchObs-probe")):  # 都有两个动作
        batch = experience(bench, int(rng.integers(20)))
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        params = moved(bench.start.params, rng)
        for size in (6, 24):
            index = rng.choice(len(flat["action"]), size, replace=False)
            minibatch = jax.tree.map(lambda x: x[index], flat)
            yield params, bench, minibatch
        yield params, bench, minibatch | dict(advantage=jnp.full(size, 0.5))  # 优势全相等


NORMALIZED = "advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)"
check_loss = Located(
    "练习 14.3：一个小批次的总损失",
    loss,
    minibatch_inputs,
    {
        "裁剪目标要被最大化，在损失里要带负号。": edited(loss, "(-objective", "(objective"),
        "熵的符号反了：这样写会逼着策略变得确定。": edited(loss, "- hyper.ent_coef", "+ hyper.ent_coef"),
        "价值损失忘了乘 vf_coef。": edited(loss, "hyper.vf_coef * value_loss", "value_loss"),
        "价值损失里还有一个 1/2。": edited(loss, "0.5 * (value", "(value"),
        "熵忘了乘 ent_coef。": edited(loss, "hyper.ent_coef * entropy", "entropy"),
        "忘了熵那一项。": edited(loss, " - hyper.ent_coef * entropy", ""),
        "忘了价值损失那一项：Critic 学不到东西。": edited(loss, " + hyper.vf_coef * value_loss", ""),
        "优势没有在小批次里标准化：减平均，再除以标准差。": edited(loss, NORMALIZED, "advantage = advantage"),
        "优势只减了平均，没有除以标准差。": edited(loss, NORMALIZED, "advantage = advantage - advantage.mean()"),
        "取成较大者了：两项里要取较小的。": edited(loss, "jnp.minimum", "jnp.maximum"),
        "没有裁剪：r·A 之外，还要有 clip(r)·A 的那一项。": edited(loss, "jnp.minimum(ratio * advantage, clipped * advantage)", "ratio * advantage"),
        "只用了裁剪的那一项，没有与不裁剪的取较小者。": edited(loss, "jnp.minimum(ratio * advantage, clipped * advantage)", "clipped * advantage"),
        "旧的对数概率要用经验里记下的 minibatch[\"log_prob\"]，不是用现在的参数重算：重算的话，比例总是 1。": edited(loss, 'log_prob - minibatch["log_prob"]', "log_prob - jax.lax.stop_gradient(log_prob)"),
        "概率比上下颠倒了：新的除以旧的。": edited(loss, 'log_prob - minibatch["log_prob"]', 'minibatch["log_prob"] - log_prob'),
        "概率比忘了取指数：对数概率之差还不是比。": edited(loss, 'jnp.exp(log_prob - minibatch["log_prob"])', 'log_prob - minibatch["log_prob"]'),
        "Critic 学的是目标 minibatch[\"target\"]，不是旧的 V。": edited(loss, 'minibatch["target"]', 'minibatch["value"]'),
        "你求了和；要对小批次求平均。": edited(loss, "* entropy).mean()", "* entropy).sum()"),
    },
    more={
        "裁剪的范围写死成 0.2 了：用 bench.hyper.clip_eps。": edited(loss, "1 - hyper.clip_eps, 1 + hyper.clip_eps", "0.8, 1.2"),
        "裁剪的范围是 1 - clip_eps 到 1 + clip_eps，你少了 1。": edited(loss, "1 - hyper.clip_eps, 1 + hyper.clip_eps", "-hyper.clip_eps, hyper.clip_eps"),
        "只裁剪了下界：上界是 1 + clip_eps。": edited(loss, ", 1 + hyper.clip_eps)", ")"),
        "只裁剪了上界：下界是 1 - clip_eps。": edited(loss, "1 - hyper.clip_eps, 1", "-jnp.inf, 1"),
        "裁剪的那一项忘了乘优势：两项都要乘。": edited(loss, "clipped * advantage", "clipped"),
        "不裁剪的那一项忘了乘优势：两项都要乘。": edited(loss, "ratio * advantage, clipped", "ratio, clipped"),
        "价值损失用的是采样时记下的 value，参数怎样动都不影响它；要用现在的参数重算的 V。": edited(loss, "0.5 * (value - ", '0.5 * (minibatch["value"] - '),
        "Critic 学的是目标 minibatch[\"target\"]，不是优势。": edited(loss, 'minibatch["target"]', 'minibatch["advantage"]'),
        "价值损失忘了平方。": edited(loss, ' ** 2\n', "\n"),
        "价值损失是差的平方，不是差的绝对值。": edited(loss, '0.5 * (value - minibatch["target"]) ** 2', '0.5 * abs(value - minibatch["target"])'),
        "价值损失的符号反了：V 与目标差得越远，损失应当越大。": edited(loss, "+ hyper.vf_coef", "- hyper.vf_coef"),
        "熵要对所有动作求和 -Σ p ln p；你只用了选中的那个动作的 -ln p。": edited(loss, "-(jnp.exp(log_probs) * log_probs).sum(axis=-1)", "-log_prob"),
        "熵沿动作求和，你求了平均。": edited(loss, "log_probs).sum(axis=-1)", "log_probs).mean(axis=-1)"),
        "两个系数用反了：vf_coef 乘价值损失，ent_coef 乘熵。": edited(edited(loss, "hyper.vf_coef * value_loss", "hyper.ent_coef * value_loss"), "hyper.ent_coef * entropy", "hyper.vf_coef * entropy"),
        "优势除以了方差；要除以标准差 std()。": edited(loss, "advantage.std()", "advantage.var()"),
        "优势只除了标准差，没有先减平均。": edited(loss, "(advantage - advantage.mean()) /", "advantage /"),
        "标准差除的是 n，不是 n - 1：用 std() 的默认值。": edited(loss, "advantage.std()", "advantage.std(ddof=1)"),
        "一个样本一个数了；再对小批次求平均。": edited(loss, "* entropy).mean()", "* entropy)"),
        "价值损失对参数的导数没有了：算 V 的路上用了 stop_gradient。": edited(loss, "0.5 * (value - ", "0.5 * (jax.lax.stop_gradient(value) - "),
    },
    praise="值对，对参数的导数也对。",
    returns="一个数，对小批次求平均",
    gradients=(0,),
    describe=on_bench(1),
    seconds=60,
    close=Close(1e-3, 1e-4),
)  # fmt: skip


# ---------------------------------------------------------------- 四：学几遍


def learn_inputs(rng):
    """优化器已经走过一次更新，不是刚开始的。"""
    for bench in benches():
        start = bench.start
        _, opt_state = scanned_learn(
            start.params, start.opt_state, bench, experience(bench, 0), 0
        )
        for update in (1, 3):
            yield start.params, opt_state, bench, experience(bench, update), update


EACH_EPOCH = "for epoch in bench.orders(update):"
OPTIMIZER = "optimizer = bench.optimizer(update)"

check_learn = Located(
    "练习 14.4：一批经验学几遍",
    learn,
    learn_inputs,
    {
        "updates 里已经带了负号和学习率，加到参数上就是下降；你减了。": edited(learn, "jnp.add", "jnp.subtract"),
        "优化器的状态没有传下去：每一步都从头开始，Adam 就没有了记忆。": edited(learn, "grad, opt_state, params)", "grad, optimizer.init(params), params)"),
        "只学了一遍：orders(update) 的第一维是遍数。": edited(learn, "bench.orders(update):", "bench.orders(update)[:1]:"),
        "每一遍只用了第一个小批次。": edited(learn, "for index in epoch:", "for index in epoch[:1]:"),
        "小批次的次序总是第 0 次更新的：每次更新要重新打乱，用 bench.orders(update)。": edited(learn, "bench.orders(update)", "bench.orders(0)"),
        "学习率没有退火：优化器要用 bench.optimizer(update)，update 是第几次更新。": edited(learn, "bench.optimizer(update)", "bench.optimizer(0)"),
        "梯度每一步都在最初的参数上算：要用刚更新过的参数。": edited(learn, "jax.grad(loss)(params, bench", "jax.grad(loss)(bench.start.params, bench"),
        "你把梯度直接加到了参数上，没有经过优化器。": edited(learn, "jnp.add, params, updates", "jnp.add, params, grad"),
        "样本的编号是按 (num_steps, num_envs) 摊平的；你先交换了两维。": edited(learn, "x.reshape(-1, *x.shape[2:])", "x.swapaxes(0, 1).reshape(-1, *x.shape[2:])"),
    },
    praise="学完几遍的参数和优化器状态，都与库里的相同。",
    outputs=("参数", "优化器状态"),
    more={
        "没有用传进来的 opt_state：你每次更新都从头开始，Adam 忘了前几次更新。": edited(learn, OPTIMIZER, f"{OPTIMIZER}; opt_state = optimizer.init(params)"),
        "每一遍都从传进来的 params 学起：第二遍要接着第一遍的。": edited(learn, EACH_EPOCH, f"first = params\n    {EACH_EPOCH}\n        params = first"),
        "优化器的状态每一遍都从头开始：要一直传下去。": edited(learn, EACH_EPOCH, f"{EACH_EPOCH}\n        opt_state = optimizer.init(params)"),
        "每一遍都用了第一遍的次序：bench.orders(update) 的第一维是第几遍。": edited(learn, EACH_EPOCH, "for epoch in [bench.orders(update)[0]] * bench.cfg.update_epochs:"),
        "梯度用的是整批样本：每一步只用一个小批次。": edited(learn, "jax.grad(loss)(params, bench, minibatch)", "jax.grad(loss)(params, bench, flat)"),
        "返回的优化器状态是传进来的那个：要返回学完之后的。": lambda params, opt_state, *rest: (learn(params, opt_state, *rest)[0], opt_state),
    },
    locate=first_step,
    describe=lambda case: f"{on_bench(2)(case)}、update = {case[-1]}",
    seconds=120,
    close=Close(1e-3, 1e-4),
)  # fmt: skip


# ---------------------------------------------------------------- 五：串起来


def train_inputs(rng):
    for seed in rng.choice(50, 2, replace=False):
        yield small_bench(int(seed)), 3


check_train = Located(
    "练习 14.5：把四个函数串成训练",
    fast_train,
    train_inputs,
    {
        "每次更新都从最初的环境出发：rollout 返回的 obs 和 state，下一次要接着用。": edited(fast_train, "obs, state, batch = rollout(", "_, _, batch = rollout("),
        "rollout 每次更新用了同样的随机数：要用 bench.draws(update)。": edited(fast_train, "bench.draws(update)", "bench.draws(0)"),
        "learn 每次更新都从最初的参数学起：要接着它上一次返回的 params。": edited(fast_train, "params, opt_state = learn(params,", "params, opt_state = learn(bench.start.params,"),
        "优化器的状态没有从一次更新传到下一次：train 要把 learn 返回的 opt_state 再传给它，learn 里也不重新开始。": edited(fast_train, "learn(params, opt_state,", "learn(params, bench.start.opt_state,"),
        "rollout 用的一直是最初的参数：要用 learn 学过的。": edited(fast_train, "rollout(bench, params,", "rollout(bench, bench.start.params,"),
        "train 少做了一次更新：一共 num_updates 次。": edited(fast_train, "range(num_updates)", "range(num_updates - 1)"),
        "train 多做了一次更新：一共 num_updates 次。": edited(fast_train, "range(num_updates)", "range(num_updates + 1)"),
        "learn 用的总是第 0 次更新的学习率和次序：train 要把 update 传给它。": edited(fast_train, "batch, update)", "batch, 0)"),
    },
    praise="三次更新之后，参数与库里的相同。",
    returns="参数",
    locate=first_wrong_call,
    describe=on_bench(0),
    seconds=120,
    close=Close(2e-2, 2e-3),
)  # fmt: skip


# ---------------------------------------------------------------- 六：探针的梯子

LADDER = {
    "ConstantReward-probe": ("一步，观测总是 0，得 1 分", "loss 里的价值损失，learn 里参数有没有真的动；学到的是 2，就是 gae 里终止之后仍接着 V(s')"),
    "RewardIsObs-probe": ("一步，观测是 ±1，得同样的分", "rollout 里结束了的环境，观测和状态有没有都换上新的开头；gae 的结果有没有排反"),
    "DelayedReward-probe": ("两步，只有第二步得 1 分", "rollout 里记的是哪一个观测、哪一个 next_value，结束了的环境有没有换开头（完全没换，或只有截断才换）；gae 里的 γ"),
    "Endless-probe": ("没有尽头，每四步超时一次", "gae 里截断的那一步有没有接上 next_value，是不是从后往前推的"),
    "EndlessCue-probe": ("没有尽头，奖励是这一回合的 ±1", "rollout 里的 next_value 是不是接成了新回合的开头"),
    "TwoActions-probe": ("一步，动作 1 得 1 分", "loss 里裁剪目标的正负、概率比的上下，rollout 里动作有没有抽"),
    "MatchObs-probe": ("一步，看着观测选动作", "策略有没有真的用到观测（认得的写错没有一种倒在这里）"),
}  # fmt: skip
"""探针 → (它是什么，不过先怀疑哪里)；由低到高。"""


def learned(bench: Bench, params, name: str) -> np.ndarray:
    """在一个探针上学到的 V 或动作 1 的概率，各个要看的观测处一个数。"""
    log_probs, value = bench.policy(params, jnp.asarray(PROBES[name][1], jnp.float32))
    return np.asarray(value if ANSWERS[name][0] == "V" else jnp.exp(log_probs[:, -1]))


def trained(train, bench: Bench, num_updates: int):
    """train 返回的参数；返回的不是参数，说它是什么。"""
    params = train(bench, num_updates)
    if jax.tree.structure(params) != jax.tree.structure(bench.start.params):
        raise Mistake(f"train 要返回学完之后的 params，样子与 bench.start.params 相同；你返回的是{describe(params)}。")  # fmt: skip
    return params


def stands_still(train, bench: Bench) -> str:
    """没有学会的 train，参数是不是没有动过，或者做几次更新都一样：是就说一句。"""
    few, more = (trained(train, bench, n) for n in (8, 16))
    if distance(few, more):
        return ""
    if distance(more, bench.start.params):
        return "做 8 次更新和做 16 次，你的 train 返回的参数一样。"
    return "你的 train 返回的参数与起点的一样，一点没有动。"


def runs_away(bench: Bench, name: str, got: np.ndarray) -> str:
    """学到的是不是比没有学时离答案还远得多：是就说一句。"""
    before = learned(bench, bench.start.params, name)
    apart = [abs(x - ANSWERS[name][1]).max() for x in (got, before)]
    return "越学离答案越远：看正负号（updates 是加到 params 上的；损失里各项的正负）。" if apart[0] > 2 * apart[1] else ""  # fmt: skip


def first_failure(train) -> tuple[int, np.ndarray] | None:
    """由低到高爬梯子，返回没过的那一级（从 1 数）和学到的数；七级都过就是 None。"""
    for level, name in enumerate(LADDER, 1):
        bench = probe_bench(name)
        got = learned(bench, trained(train, bench, bench.cfg.num_updates), name)
        if not (abs(got - ANSWERS[name][1]) < NEAR).all():
            return level, got
    return None


@judged(seconds=900)
def check_ladder(train) -> str:
    """练习 14.6：爬探针的梯子，一级不过就停下。"""
    failure = first_failure(train)
    if failure is None:
        return "七级都过了。"
    level, got = failure
    name, (what, suspect) = list(LADDER.items())[level - 1]
    bench, (kind, answer) = probe_bench(name), ANSWERS[name]
    raise Mistake(
        f"第 {level} 级没过（{what}）：{kind} 应当是 {show(answer)}，你学到的是 {show(got.round(2))}。"
        f"{stands_still(train, bench)}{runs_away(bench, name, got)}先怀疑：{suspect}。"
    )


def with_mistake(piece: str, wrong):
    """参考答案里，一个函数换成写错的，别的用编译的写法；返回 train。"""
    static = {"rollout": 0, "gae": (), "learn": 2}
    pieces = dict(rollout=scanned_rollout, gae=scanned_gae, learn=scanned_learn)
    if piece == "loss":  # 它在 learn 里用到
        piece, wrong = "learn", rebound(learn, loss=wrong)
    return assemble(**pieces | {piece: jax.jit(wrong, static_argnums=static[piece])})


# ---------------------------------------------------------------- 七：CartPole，和库逐次核对

CARTPOLE = PPOConfig(env_name="CartPole-v1", total_timesteps=200_000, shuffle="samples")
"""97 次更新，一次 16 个环境各走 128 步。"""


EPISODES, PASSING = 50, 450
"""学完之后走多少个回合，平均回报过了多少，就算学会。"""


def evaluated(bench: Bench, params, episodes: int = EPISODES) -> float:
    """参数不动，按概率抽动作，走 episodes 个回合，平均的回报。"""
    one_seed = jax.tree.map(lambda x: np.asarray(x)[None], params)
    policy = Policy(bench.cfg, one_seed, (bench.cfg.seed,), bench.cfg.num_updates)
    return float(evaluate(policy, episodes, greedy=False, seed=1).seed_means[0])


HALFWAY, STUCK = 48, 40
"""做完这么多次更新（一半），最近五次采样的回合平均还不到 STUCK 步，就不必学完了；随机的策略是二十来步。

量过：参考答案的 12 个种子，这个平均最低 183。38 种写错的 loss、gae、learn（种子 0），不到 40 的有 9 种，学完只有
9 到 54 分；学完过得了 450 的有 22 种，这个平均最低 149。不能更早停：四分之一处只有 10 步的，有两种后来学到了 500。
"""


def health(sampled: tuple) -> tuple[bool, float]:
    """rollout 的返回：V 都是数吗，一个回合平均多长。"""
    batch = sampled[2]
    ended = np.asarray(batch["terminated"]) | np.asarray(batch["truncated"])
    return bool(np.isfinite(batch["value"]).all()), ended.size / max(1, ended.sum())


def stopping_early(train):
    """同一个 train，它调用的 rollout 由人看着：V 成了 NaN，或者做完一半还没有起色，就停下。

    看不到的（train 是编译过的，不叫 rollout 这个名字）照常做完。
    """
    rollout = getattr(train, "__globals__", {}).get("rollout")
    if rollout is None or not hasattr(train, "__code__"):
        return train
    lengths, used = [], []  # 各次采样的回合平均多长，用的参数

    def watched(*args, **named):
        sampled = rollout(*args, **named)
        used.append(inspect.signature(rollout).bind(*args, **named).args[1])
        if seen := run(health, (sampled,)).value:  # 编译途中看不到数
            sound, length = seen
            lengths.append(length)
            if not sound:
                raise Mistake(f"第 {len(lengths) - 1} 次更新（从 0 数）采样时，V 成了 NaN 或无穷大，不必再学。看前几次更新的 loss 和 learn：除以了 0，对 0 取了对数，还是每一步走得太大？")  # fmt: skip
            if len(lengths) == HALFWAY and (recent := np.mean(lengths[-5:])) < STUCK:
                still = (
                    "" if distance(used[-1], used[0]) else "你的 rollout 用的参数一直没有变。"
                )
                raise Mistake(f"做完一半（{HALFWAY} 次更新），一个回合平均只走 {recent:.0f} 步，就停在这里：随机的策略也走二十来步，写对的程序这时都过 100。{still}前六题都过了吗？")  # fmt: skip
        return sampled

    return rebound(train, rollout=watched)


@judged(seconds=1800)
def check_cartpole(train) -> str:
    """练习 14.7：CartPole，20 万步；没有希望的，做到一半就停。"""
    bench = make_bench(CARTPOLE)
    score = evaluated(bench, trained(stopping_early(train), bench, bench.cfg.num_updates))
    if score < PASSING:
        still = stands_still(train, bench)
        raise Mistake(f"学完之后平均只有 {score:.0f} 分，应当过 {PASSING}。{still}前六题都过了吗？")  # fmt: skip
    return f"你写的 PPO 学会了 CartPole：{EPISODES} 个回合平均 {score:.0f} 分。"


def library_params(bench: Bench, num_updates: int) -> list:
    """库里的训练，每次更新之后的参数：第 0 项是起点。"""
    update = jax.jit(make_train(bench.cfg).update)
    state, found = bench.start, [bench.start.params]
    for _ in range(num_updates):
        state, _ = update(state, bench.hyper)
        found.append(state.params)
    return found


def written_params(train, bench: Bench, num_updates: int) -> list:
    """读者的 train，每次更新之后的参数：第 0 项是起点，以后是它调用的 learn 返回的。"""
    learn, found = train.__globals__["learn"], [bench.start.params]

    def watched(*args, **named):
        learnt = learn(*args, **named)
        found.append(learnt[0])
        return learnt

    rebound(train, learn=watched)(bench, num_updates)
    return found


def distance(params, others) -> float:
    """两份参数差多少：差的长度除以 others 的长度。"""
    difference = global_norm(jax.tree.map(jnp.subtract, params, others))
    return float(difference / global_norm(others))


def first_difference(pieces, bench: Bench, updates: int = 10) -> str | None:
    """逐次更新、逐个函数与参考答案比，返回第一处不同；都相同就是 None。

    每次更新都从参考答案走到的地方出发，所以前面的错不会连累后面的。pieces 有 rollout、gae、loss、learn
    四个函数（一个模块就行）。
    """
    start = bench.start
    params, opt_state, obs, state = (
        start.params,
        start.opt_state,
        start.env.obs,
        start.env.state,
    )
    gamma, gae_lambda = bench.hyper.gamma, bench.hyper.gae_lambda
    for update in range(updates):
        walk = (bench, params, obs, state, bench.draws(update))
        obs, state, sampled = scanned_rollout(*walk)
        ends = [
            sampled[x] for x in ("reward", "value", "next_value", "terminated", "truncated")
        ]
        advantage, target = scanned_gae(*ends, gamma, gae_lambda)
        batch = sampled | dict(advantage=advantage, target=target)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        index = bench.orders(update)[0, 0]
        sample = (params, bench, jax.tree.map(lambda x: x[index], flat))
        study = (params, opt_state, bench, batch, update)
        learnt = scanned_learn(*study)
        for exercise, inputs, right in (
            (check_rollout, walk, (obs, state, sampled)),
            (check_gae, (*ends, gamma, gae_lambda), (advantage, target)),
            (check_loss, sample, loss(*sample)),
            (check_learn, study, learnt),
        ):
            name = exercise.reference.__name__
            got = run(getattr(pieces, name), inputs)
            if got.error is not None:
                return f"第 {update} 次更新，{name}：" + describe_error(
                    got.error, getattr(pieces, name)
                )
            if not exercise.close(got.value, right):
                locate = getattr(exercise, "locate", lambda *_: None)
                why = run(locate, (getattr(pieces, name), inputs)).value or explain(
                    got.value, right, exercise.close, exercise.returns, exercise.outputs
                )
                return f"第 {update} 次更新，{name}：{why}"
        params, opt_state = learnt
    return None


def examine(path: str) -> bool:
    """一个写着五个函数的文件，从头到尾检查一遍，逐项打印；全过返回 True。"""
    try:
        space = runpy.run_path(path)
    except (OSError, SyntaxError) as error:
        print(f"{path} 读不了：{error}")
        return False
    except Exception as error:
        print(f"{path} 运行不下去：{meaning(error)}（{type(error).__name__}：{error}）")
        return False
    pieces = types.SimpleNamespace(**space)
    checks = {
        check.reference.__name__: check
        for check in (check_rollout, check_gae, check_loss, check_learn, check_train)
    }
    if missing := [name for name in checks if name not in space]:
        print(f"文件里没有：{'、'.join(missing)}。")
        return False
    for name, check in checks.items():
        verdict = check(space[name])
        print(f"{name}：{verdict}")
        if not verdict:
            return False
    for what, step in {
        "与库逐次核对": lambda: first_difference(pieces, make_bench(CARTPOLE)),
        "探针的梯子": lambda: check_ladder(pieces.train),
        "CartPole": lambda: check_cartpole(pieces.train),
    }.items():
        found = step()
        print(f"{what}：{'十次更新，处处相同' if found is None else found}")
        if isinstance(found, str) or found is not None and not found:
            return False
    return True


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("用法：python -m ppo_lib.course.ch14 my_ppo.py")
    sys.exit(not examine(sys.argv[1]))
