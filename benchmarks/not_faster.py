"""试过、没有放进库里的几样：各快多少，各费什么。

    python benchmarks/not_faster.py    约三分钟，机器要空着；写进 book/data/not_faster.json，书里的“为什么这么快”读它

- **一个种子用上两个核。** 库里一个成员只用一个核。默认的 Actor 和 Critic 没有共用的层；梯度范数的上限若也各算各的，两边
  学的时候就互不相干，可以各占一个核；随机数只看钥匙，下一次更新的也可以由闲着的核先抽好。代价是一次更新要从编译好的循环
  里出来几趟。
- **换一种办法编译。** 两个 XLA 的选项。

比值在同一轮里算，先后轮换；各轮的都记下，头一轮连编译，不算。
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from why_fast import DRAWS_FIRST

from ppo_lib import PPOConfig
from ppo_lib._runtime import compiler_options
from ppo_lib.course.exercises import edited
from ppo_lib.envs import make_env
from ppo_lib.loss import ppo_loss
from ppo_lib.optimizer import make_optimizer
from ppo_lib.rollout import DRAW_ROWS, collect_rollout, draw_step, in_chunks
from ppo_lib.training import (
    layers,
    make_batch,
    make_network,
    make_train,
    minibatch_orders,
    take_minibatches,
)

OUT = Path(__file__).parents[1] / "book/data/not_faster.json"
ROUNDS, COMPILATIONS, UPDATES = 15, 5, 100

USUAL = "库里的"
OPTIONS = {
    USUAL: {},
    "xla_cpu_use_fusion_emitters=false": {"xla_cpu_use_fusion_emitters": False},
    "xla_backend_optimization_level=1": {"xla_backend_optimization_level": 1},
}

walk = edited(collect_rollout, DRAWS_FIRST, "draws = key")  # 随机数由外面给


def jit(function, **options):
    return jax.jit(function, compiler_options=compiler_options() | options)


# ---------------------------------------------------------------- 两个核


class Apart:
    """一次更新拆成几个程序，由两个线程调用。不算指标，超参数是常数，所以比库里的少做一点。"""

    def __init__(self, cfg: PPOConfig):
        self.cfg, self.hyper = cfg, jax.tree.map(jnp.float32, cfg.hyperparams())
        self.env = make_env(cfg)
        self.network = make_network(cfg, self.env)
        self.start = jit(make_train(cfg).init)(0, self.hyper)
        self.programs = {
            f.__name__: jit(f)
            for f in (self.draw, self.sample, self.learn, self.critic_and_draw)
        }
        self.second_core = ThreadPoolExecutor(1)

    def optimizer(self):
        return make_optimizer(self.cfg.optimizer, self.hyper.lr, self.hyper)

    def draw(self, update):
        """一次更新要的随机数：(走每一步用的, 打乱小批次的钥匙)。"""
        key = jax.random.fold_in(self.start.key, update)
        rollout_key, shuffle_key = jax.random.split(key)
        draws = in_chunks(
            jax.vmap(lambda key: draw_step(key, self.env, self.cfg.num_envs)),
            jax.random.split(rollout_key, self.cfg.num_steps),
            max(1, DRAW_ROWS // self.cfg.num_envs),
        )
        return draws, shuffle_key

    def sample(self, params, carry, draws):
        """走一段，配上优势：(环境, 一批经验)。"""
        carry, rollout, _ = walk(
            {"params": params}, carry, draws, self.hyper,
            network=self.network, env=self.env, num_steps=self.cfg.num_steps,
        )  # fmt: skip
        return carry, make_batch(rollout, self.hyper, self.cfg)

    def learn(self, learner, others, batch, shuffle_key):
        """学一批，只动 learner 里的 (参数, 优化器状态)；损失里只与 others 有关的部分，编译时删掉。"""

        def step(learner, minibatch):
            params, opt_state = learner

            def loss(params):
                return ppo_loss(
                    {"params": others | params}, minibatch, self.hyper, network=self.network,
                    advantage_norm=self.cfg.advantage_norm, clip_value=self.cfg.clip_value,
                )[0]  # fmt: skip

            grad = jax.grad(loss)(params)
            updates, opt_state = self.optimizer().update(grad, opt_state, params)
            return (jax.tree.map(jnp.add, params, updates), opt_state), None

        def epoch(learner, order):
            return jax.lax.scan(step, learner, take_minibatches(batch, order, self.cfg))

        return jax.lax.scan(epoch, learner, minibatch_orders(shuffle_key, self.cfg))[0]

    def critic_and_draw(self, critic, actor, batch, shuffle_key, update):
        """管 Critic 的核比较闲，学完顺便抽好下一次更新的随机数。"""
        return self.learn(critic, actor, batch, shuffle_key), self.draw(update + 1)

    def call(self, name: str, *args):
        return jax.block_until_ready(self.programs[name](*args))

    def later(self, name: str, *args):
        return self.second_core.submit(self.call, name, *args)

    def owners(self):
        """开头的 (参数, 优化器状态)：Actor 的，Critic 的。"""
        params = [layers(self.start.params, prefix) for prefix in ("actor_", "critic_")]
        return [(x, self.optimizer().init(x)) for x in params]

    def drawn_ahead(self, updates: int):
        """Actor 和 Critic 一起学，下一次更新的随机数由另一个核先抽。"""
        (actor, _), (critic, _) = self.owners()
        learner, carry = (both := actor | critic, self.optimizer().init(both)), self.start.env
        drawn = self.later("draw", np.int32(0))
        for update in range(updates):
            draws, shuffle_key = drawn.result()
            drawn = self.later("draw", np.int32(update + 1))
            carry, batch = self.programs["sample"](learner[0], carry, draws)
            learner = self.call("learn", learner, {}, batch, shuffle_key)
        return learner[0], carry

    def side_by_side(self, updates: int, two_cores: bool = True):
        """Actor 和 Critic 并排学；two_cores 为假时，同样的几个程序一个接一个。"""
        (actor, critic), carry = self.owners(), self.start.env
        draws, shuffle_key = self.call("draw", np.int32(0))
        for update in range(updates):
            carry, batch = self.call("sample", actor[0] | critic[0], carry, draws)
            job = (critic, actor[0], batch, shuffle_key, np.int32(update))
            done = self.later("critic_and_draw", *job)
            if not two_cores:
                done.result()
            actor = self.call("learn", actor, critic[0], batch, shuffle_key)
            critic, (draws, shuffle_key) = done.result()
        return actor[0] | critic[0], carry


def two_cores() -> dict[str, list[float]]:
    """写法 → 一个种子做同样多次更新，各轮的用时是库里的几倍。"""
    cfg = PPOConfig(env_name="CartPole-v1", anneal_lr=False)
    same_as_the_library(cfg)
    apart, library = Apart(cfg), make_train(cfg)
    chunk = jit(library.run_chunk)

    def bare(state):
        return library.update(state, apart.hyper)[0]  # 不要的指标，编译时就删掉

    update = jit(bare)
    bare_chunk = jit(lambda n: jax.lax.fori_loop(0, n, lambda _, x: bare(x), apart.start))

    def one_at_a_time():
        state = apart.start
        for _ in range(UPDATES):
            state = jax.block_until_ready(update(state))

    wait, n = jax.block_until_ready, np.int32(UPDATES)
    runs = {
        USUAL: lambda: wait(chunk(apart.start, apart.hyper, n)),
        "整块编译": lambda: wait(bare_chunk(n)),
        "一次更新一个程序": one_at_a_time,
        "采样、学习各一个程序，下一次的随机数由另一个核先抽": lambda: apart.drawn_ahead(
            UPDATES
        ),
        "Actor 和 Critic 并排学，顺便抽随机数": lambda: apart.side_by_side(UPDATES),
        "同样的几个程序，一个接一个": lambda: apart.side_by_side(UPDATES, two_cores=False),
    }
    return compare(runs)


def same_as_the_library(cfg: PPOConfig) -> None:
    """梯度从不裁剪时，拆开的两种写法与库里的是同一个算法。"""
    apart = Apart(dataclasses.replace(cfg, max_grad_norm=1e9))
    state, _ = jit(make_train(apart.cfg).run_chunk)(apart.start, apart.hyper, np.int32(3))
    for params, carry in (apart.drawn_ahead(3), apart.side_by_side(3)):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5),
            (state.params["params"], state.env.obs),
            (params, carry.obs),
        )


def compare(runs: dict) -> dict[str, list[float]]:
    """写法 → 各轮的用时是 ``USUAL`` 的几倍；每一轮各做一遍，先后轮换。"""
    found = {name: [] for name in runs if name != USUAL}
    for i in range(ROUNDS + 1):
        seconds = {}
        for name in sorted(runs, reverse=bool(i % 2)):
            begin = time.perf_counter()
            runs[name]()
            seconds[name] = time.perf_counter() - begin
        for name, ratios in found.items():
            ratios.append(round(seconds[name] / seconds[USUAL], 3))
    return {name: ratios[1:] for name, ratios in found.items()}  # 头一轮连编译


# ---------------------------------------------------------------- 编译


def compiling(cfg: PPOConfig) -> dict:
    """选项 → {编译用的 CPU 时间、训练用的时间，各轮是库里的几倍}；另有程序里融合成的运算一共几段。"""
    fns, hyper = make_train(cfg.static()), jax.tree.map(jnp.float32, cfg.hyperparams())
    state = jit(fns.init)(0, hyper)
    programs, cpu = {}, {name: [] for name in OPTIONS}
    for i in range(COMPILATIONS + 1):
        for name in sorted(OPTIONS, reverse=bool(i % 2)):
            jax.clear_caches()
            lowered = jit(fns.run_chunk, **OPTIONS[name]).lower(state, hyper, np.int32(1))
            begin = time.process_time()
            programs[name] = lowered.compile()
            cpu[name].append(time.process_time() - begin)
    trained = compare(
        {name: functools.partial(run, x, state, hyper) for name, x in programs.items()}
    )
    compiled = {
        name: [round(x / y, 3) for x, y in zip(cpu[name][1:], cpu[USUAL][1:], strict=True)]
        for name in trained
    }
    fusions = programs[USUAL].as_text().count(" fusion(")
    return {"compile": compiled, "train": trained, "fusions": fusions}


def run(program, state, hyper):
    return jax.block_until_ready(program(state, hyper, np.int32(UPDATES)))


def main() -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    result = {
        "command": "python benchmarks/not_faster.py",
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load": round(os.getloadavg()[0], 2),
        "two_cores": two_cores(),
        "compiling": {
            activation: compiling(PPOConfig(env_name="CartPole-v1", activation=activation))
            for activation in ("relu", "tanh")
        },
    }
    text = json.dumps(result, ensure_ascii=False, indent=1)
    OUT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
