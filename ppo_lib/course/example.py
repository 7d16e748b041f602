"""贯穿第 5 到第 8 章的小例子：一段五步的经验，和只有一个参数的策略。

第 5 章采到它，第 6 章算出优势，第 7 章算概率比和裁剪，第 8 章走一步 Adam。数都小到能用纸笔核对。

策略：观测是一个数 x，动作 1 的概率是 σ(w·x)，σ 是 S 形函数 1/(1+e^-z)。采样时 w = 0，所以两个动作
的概率都是一半；参数走一步之后 w = 1。
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

OBS = np.array([1.0, 0.8, 0.5, -0.5, -0.2])
"""(5,) 五步里看到的观测 x。"""

ACTION = np.array([1, 0, 1, 1, 0])
"""(5,) 选了的动作。"""

REWARD = np.array([1.0, 0.0, -1.0, 0.0, 2.0])
"""(5,) 奖励。"""

VALUE = np.array([0.5, 0.4, 0.6, 0.2, 0.8])
"""(5,) Critic 给出的 V(s_t)。"""

LAST_VALUE = 0.5
"""第五步到达的状态的 V；第五步之后是截断，所以要接上它。"""

TERMINATED = np.zeros(5, bool)
TRUNCATED = np.array([False, False, False, False, True])

NEXT_VALUE = np.append(VALUE[1:], LAST_VALUE)
"""(5,) V(s_{t+1})。"""

GAMMA, GAE_LAMBDA, CLIP_EPS = 0.99, 0.95, 0.2
OLD_W, NEW_W = 0.0, 1.0
"""采样时的参数，和走一步之后的参数。"""


def log_prob(w, obs=OBS, action=ACTION):
    """ln π_w(a|x)，(5,)：动作 1 的概率是 σ(w·x)，动作 0 的是 σ(-w·x)。"""
    sign = 2 * action - 1  # 动作 1 → +1，动作 0 → -1
    return jax.nn.log_sigmoid(sign * jnp.asarray(w) * obs)
