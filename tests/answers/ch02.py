"""第 2 章的答案。"""

import jax
import jax.numpy as jnp
import numpy as np

from ppo_lib.course.ch02 import KEY_PROGRAMS, LAST, corridor_values, returns_numpy

forward = np.array([[0, 1, 0], [0, 0, 1], [0, 0.5, 0]])


def reuses_a_key(program):
    """把程序追踪一遍，JAX 查不查得出重复用的钥匙。"""

    def traced(key):
        exec(program, {"jax": jax, "key": key})

    with jax.debug_key_reuse(True):
        try:
            jax.jit(traced).lower(jax.random.key(0))
        except jax.errors.KeyReuseError:
            return True
    return False


def by_loop(log_prob, future, weight, baseline):
    total = 0.0
    for i in range(len(log_prob)):
        for t in range(log_prob.shape[1]):
            total += weight[i, t] * log_prob[i, t] * (future[i, t] - baseline[i, t])
    return total / len(log_prob)


def with_stopped_advantage(lp, G, w, b):
    advantage = jax.lax.stop_gradient((G - b) * w)
    return jnp.einsum("it,it->", lp, advantage) / lp.shape[0]


def one_return(reward, gamma):
    return (gamma ** jnp.arange(len(reward)) * reward).sum()


def nested(reward, gammas):
    inner = jax.vmap(one_return, in_axes=(0, None))
    return jax.vmap(inner, in_axes=(None, 0))(reward, gammas)


RIGHT = {
    "check_values": [
        (1.36, 1.51, 1.68),
        ([1.361, 1.513, 1.681],),
        (np.linalg.solve(np.eye(3) - 0.9 * forward, [0, 0, 1.0]),),
        (corridor_values([1.0, 1.0, 0.5]),),
        ({"V(0)": 0.81 * LAST, "V(1)": 0.9 * LAST, "V(2)": "200/119"},),
    ],
    "check_key_reuse": [
        ({"A", "D", "E"},),
        (["E", "A", "D"],),
        ({name for name, program in KEY_PROGRAMS.items() if reuses_a_key(program)},),
    ],
    "check_my_surrogate": [
        lambda lp, f, w, b: jnp.mean(jnp.sum(w * lp * (f - b), axis=-1)),
        by_loop,
        with_stopped_advantage,
    ],
    "check_batch_returns": [
        nested,
        jax.vmap(jax.vmap(one_return, (0, None)), (None, 0)),
        lambda reward, gammas: [[one_return(r, g) for r in reward] for g in gammas],
        lambda reward, g: np.stack([returns_numpy(np.asarray(reward), x)[:, 0] for x in g]),
    ],
}

WRONG = {
    "check_values": [
        (([0, 0, LAST],), "V(0) = γV(1)"),
        (([1.2, 1.33, 1.48],), "从 V(2) 查起"),  # V(0) = γV(1)，错在 V(2)
        (([1.36, 1.51, 1.9],), "对了 2 个"),
        (([1, 2, 3],), "γV(1)"),
        (([1.36, 1.51],), "要 3 个答案"),
        ((...,), "换成你的答案"),
    ],
    "check_key_reuse": [
        (({"A"},), "外面的钥匙"),
        (({"A", "E"},), "抽过数的钥匙，又拿去 split。新的由它派生，就不能保证与抽过的数无关。"),
        (({"D", "E"},), "换一种分布，钥匙还是那一把。两个数由同样的随机位变来，一个大，另一个也大。"),
        (({"A", "D"},), "函数里换掉的是它自己的那个名字，外面的钥匙没有动。"),
        (({"A", "B", "D", "E"},), "一次可以抽许多个数，它们互相独立。"),
        (({"A", "D", "E", "F"},), "先分成八把，每一把抽一个数。"),
        (({"B", "C", "F"},), "你选的正是每把钥匙只用一次的。"),
        (("A",), "外面的钥匙"),
        (({"A", "C", "D", "E"},), "每次 split 之后"),
        ((set(),), "换一种分布"),
        (({1, 4},), "不在选项里"),
    ],
    "check_my_surrogate": [
        (lambda lp, f, w, b: (w * lp * (b - f)).sum(1).mean(), "负号"),
        (lambda lp, f, w, b: jax.lax.stop_gradient((w * lp * (f - b)).sum(1).mean()), "stop_gradient"),
        (lambda lp, f, w, b: np.asarray(w * lp * (f - b)).sum(1).mean(), "求导"),
        (lambda lp, f, w, b: float((w * lp * (f - b)).sum(1).mean()), "求导"),
        (lambda lp, f, w, b: 0.0, "结果应当随输入变"),
        (lambda lp, f, w, b: (w * (f - b)).sum(1).mean(), "log_prob 处处是 1，没有用到"),
        (lambda lp, f, w, b: (w * lp * (f - b)).sum(1).mean().item(), "却是 0"),
        (lambda lp, f, w, b: w.sum() and None, "没有返回值"),
    ],
    "check_batch_returns": [
        (jax.vmap(one_return), "None"),
        (jax.vmap(one_return, (0, None)), "形状应当是"),
        (lambda r, g: one_return(r[0], g[0]), "形状应当是"),
        (lambda r, g: r, "形状应当是"),
        (lambda r, g: nested(r, jnp.array([0.5, 0.9, 1])), "形状应当是"),
        (lambda r, g: nested(r, g).sum() and None, "没有返回值"),
    ],
}  # fmt: skip

HARMLESS = {}
