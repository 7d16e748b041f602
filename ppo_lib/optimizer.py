"""优化器：adam、rmsprop、sgd，超参数可以是传进来的数组；以及手写的一步 Adam。"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from ppo_lib.config import Hyperparams


def annealed_lr(lr, update, num_updates):
    """线性退火的学习率：第 0 次更新是 lr，第 num_updates 次更新时正好降到 0。"""
    return lr * (1.0 - update / num_updates)


def make_optimizer(kind: str, lr, hyper: Hyperparams) -> optax.GradientTransformation:
    """按全局范数缩短梯度 → 按种类缩放 → 乘 -lr。

    在编译好的程序里调用，所以 lr、beta_1、critic_beta_1、beta_2 都可以是 JAX 的数组，改动不引起重新编译。
    rmsprop 就是 beta_1 = 0、没有偏差修正的 Adam：小量 eps 与 Adam 一样加在根号外面
    （``optax.rmsprop`` 缺省加在里面），两者才好比较。
    """

    def scale(beta_1):
        return {
            "adam": optax.scale_by_adam(b1=beta_1, b2=hyper.beta_2, eps=hyper.adam_eps),
            "rmsprop": optax.scale_by_rms(
                decay=hyper.beta_2, eps=hyper.adam_eps, eps_in_sqrt=False
            ),
            "sgd": optax.trace(decay=beta_1),
        }[kind]

    return optax.chain(
        optax.clip_by_global_norm(hyper.max_grad_norm),
        critic_apart(scale(hyper.beta_1), scale(hyper.critic_beta_1)),
        optax.scale(-lr),
    )


def critic_apart(
    others: optax.GradientTransformation, critic: optax.GradientTransformation
) -> optax.GradientTransformation:
    """名字以 critic 开头的层用 ``critic``，别的层用 ``others``；两者的状态同构。

    写出来是各算一遍再各取一半，取不着的那一半，编译时就删掉了。
    """

    def pick(path, other, own):
        layers = [str(getattr(step, "key", "")) for step in path]
        return own if any(name.startswith("critic") for name in layers) else other

    def update(grad, state, params=None):
        both = (others.update(grad, state, params), critic.update(grad, state, params))
        return jax.tree.map_with_path(pick, *both)

    return optax.GradientTransformation(others.init, update)


def moments(opt_state) -> tuple:
    """从优化器状态里取出 (一阶矩 mu, 二阶矩 nu)；这种优化器没有的那个是 None。

    sgd 的动量算作一阶矩。取出的是还没有偏差修正的值。
    """
    _, scale_state, _ = opt_state  # make_optimizer 串起来的三段
    mu = getattr(scale_state, "mu", getattr(scale_state, "trace", None))
    return mu, getattr(scale_state, "nu", None)


def adam_step(param, grad, mu, nu, t, *, lr, beta_1=0.9, beta_2=0.999, eps=1e-8):
    """手写的一步 Adam，与 optax.adam 的结果相同。

    出处：Kingma & Ba (2015), Algorithm 1。

    Args:
        param, grad, mu, nu: 形状相同的数组；第一步之前 mu = nu = 0。
        t: 这是第几步，从 1 数起。

    Returns:
        (新的 param, mu, nu)。
    """
    mu = beta_1 * mu + (1 - beta_1) * grad
    nu = beta_2 * nu + (1 - beta_2) * grad**2
    mu_hat = mu / (1 - beta_1**t)  # 偏差修正：mu 从 0 起步，前几步偏小
    nu_hat = nu / (1 - beta_2**t)
    return param - lr * mu_hat / (jnp.sqrt(nu_hat) + eps), mu, nu
