"""场景：每个环境一个，把状态变成几个简单的形状。

一个场景分两半：**背景**从头到尾不动；**零件**是刚体，形状也不变，每一帧只换位置和角度
（x, y, angle）。所以一帧只是几个数，网页里的播放器和 Python 的画笔画的是同一组形状。

坐标：画面宽 1，x 向右；y 从画面底边向上，最高 ``height``。角度以弧度计，逆时针为正。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ppo_lib.plotting.style import COLORS

BLUE, RED, GREEN, PINK, YELLOW, SKY = COLORS
INK = "ink"
"""页面文字的颜色。"""

HIDDEN = np.nan
"""零件的 x 取它，就是这一帧不画。"""


class Shape(NamedTuple):
    """一个形状。"""

    kind: str  # line 折线 | area 填满的多边形 | circle 圆 | text 文字
    points: tuple  # ((x, y), …)；圆和文字只有一个点，是中心
    color: str  # INK 或 "#rrggbb"
    size: float = 0.0  # 折线的粗细、圆的半径、文字的高度
    alpha: float = 1.0  # 不透明度
    text: str = ""


class Scene(NamedTuple):
    """一个环境怎么画。"""

    height: float  # 画面的高，宽是 1
    background: tuple[Shape, ...]
    parts: tuple[tuple[Shape, ...], ...]  # 每个零件的形状，坐标以零件自己的支点为原点
    poses: Callable  # (state, action (T,)) -> (T, 零件数, 3)；action 为 -1 表示没有动作
    endings: dict[str, str]  # 两种结束各叫什么
    alt: str  # 一句话说出画了什么


def place(shape: Shape, x: float, y: float, angle: float) -> Shape:
    """把零件里的一个形状转过 angle，再移到 (x, y)。"""
    c, s = math.cos(angle), math.sin(angle)
    points = tuple((x + c * u - s * v, y + s * u + c * v) for u, v in shape.points)
    return shape._replace(points=points)


def moving_shapes(scene: Scene, pose) -> list[Shape]:
    """这一帧里的零件，都已就位。pose: (零件数, 3)。"""
    return [
        place(shape, x, y, angle)
        for part, (x, y, angle) in zip(scene.parts, np.asarray(pose, float))
        if not math.isnan(x)
        for shape in part
    ]


def shapes_at(scene: Scene, pose) -> list[Shape]:
    """一帧里的全部形状，先画的在下面。pose: (零件数, 3)。"""
    return [*scene.background, *moving_shapes(scene, pose)]


def line(*points, color=INK, width=0.006, alpha=1.0) -> Shape:
    """一条折线。"""
    return Shape("line", points, color, width, alpha)


def area(*points, color=INK, alpha=1.0) -> Shape:
    """一个填满的多边形。"""
    return Shape("area", points, color, alpha=alpha)


def circle(x, y, radius, color=INK) -> Shape:
    """一个填满的圆。"""
    return Shape("circle", ((x, y),), color, radius)


def words(x, y, text, color=INK, size=0.04) -> Shape:
    """一行文字，(x, y) 是它的中心。"""
    return Shape("text", ((x, y),), color, size, text=text)


ARROW = (
    line((-0.032, 0), (0.012, 0), color=GREEN, width=0.011),
    area((0.01, 0.018), (0.036, 0), (0.01, -0.018), color=GREEN),
)
"""指向右边的箭头，中心在原点：推力的方向。"""


def stack_poses(*poses) -> np.ndarray:
    """几个零件各自的 (x, y, angle)，分量是 (T,) 或一个数 → (T, 零件数, 3)。"""
    columns = np.broadcast_arrays(*[np.asarray(x, float) for pose in poses for x in pose])
    return np.stack(columns, axis=-1).reshape(-1, len(poses), 3)


# ---------------------------------------------------------------- CartPole

METRE = 1 / 5.6  # 一米画多长
TRACK = 0.10  # 轨道的高度
PIVOT = TRACK + 0.072  # 杆的支点的高度
FALLEN = math.radians(12)  # 杆倒过这个角度就算失败


def cart_pole() -> Scene:
    """轨道、小车、杆；红色是失败的界线：轨道两头，和杆的正负 12 度。"""
    edges = [0.5 - 2.4 * METRE, 0.5 + 2.4 * METRE]
    track = [line((0.02, TRACK), (0.98, TRACK), width=0.005)]
    posts = [line((x, TRACK), (x, TRACK + 0.06), color=RED, width=0.008) for x in edges]
    labels = [
        words(x, TRACK - 0.045, text, size=0.036)
        for x, text in zip([edges[0], 0.5, edges[1]], ["−2.4", "0", "2.4"])
    ]
    middle = [line((0.5, TRACK - 0.012), (0.5, TRACK), width=0.005)]
    limits = [
        line((0, 0), (sign * 0.215 * math.sin(FALLEN), 0.215 * math.cos(FALLEN)),
             color=RED, width=0.003, alpha=0.7)
        for sign in (-1, 1)
    ]  # fmt: skip
    cart = (
        *limits,
        circle(-0.03, TRACK + 0.014 - PIVOT, 0.014),
        circle(0.03, TRACK + 0.014 - PIVOT, 0.014),
        area((-0.055, -0.054), (0.055, -0.054), (0.055, 0), (-0.055, 0), color=BLUE),
    )
    pole = (
        line((0, 0), (0, METRE), color=YELLOW, width=0.017),
        circle(0, 0, 0.008),
    )
    return Scene(
        height=0.42,
        background=(*track, *middle, *posts, *labels),
        parts=(cart, pole, ARROW),
        poses=cart_pole_poses,
        endings={"terminated": "倒下或出界", "truncated": "撑满全程"},
        alt="轨道上的小车和车上的杆",
    )


def cart_pole_poses(state, action) -> np.ndarray:
    """theta 为正是向右倒，也就是顺时针。动作 0 向左推，1 向右推。"""
    x = 0.5 + METRE * np.asarray(state.x)
    push = np.where(action == 1, 1.0, -1.0)
    arrow_x = np.where(action < 0, HIDDEN, x + 0.1 * push)
    return stack_poses(
        (x, PIVOT, 0.0),
        (x, PIVOT, -np.asarray(state.theta)),
        (arrow_x, PIVOT - 0.027, np.where(push > 0, 0.0, np.pi)),
    )


# ---------------------------------------------------------------- MountainCar

HILL_LEFT, HILL_SCALE = -1.3, 0.5  # 画面左边的位置；一个单位的位置画多长
GOAL_POSITION = 0.5
WHEEL = 0.034  # 轮子离车身中线多远


def hill(position):
    """山坡上的点 (x, y)；竖直方向与水平方向用同一个比例。"""
    height = 0.45 * np.sin(3 * position) + 0.55
    return HILL_SCALE * (position - HILL_LEFT), HILL_SCALE * height


def car_pose(position):
    """小车的 (x, y, 角度)：两个轮子都挨着山坡，支点在两个接触点的正中。"""
    slope = 3 * 0.45 * np.cos(3 * position)
    reach = WHEEL / HILL_SCALE / np.hypot(1, slope)  # 支点到轮子的水平距离
    (x0, y0), (x1, y1) = hill(position - reach), hill(position + reach)
    return (x0 + x1) / 2, (y0 + y1) / 2, np.arctan2(y1 - y0, x1 - x0)


def mountain_car() -> Scene:
    """山坡、墙、小车、终点的旗。"""
    curve = [hill(p) for p in np.linspace(HILL_LEFT, HILL_LEFT + 1 / HILL_SCALE, 61)]
    wall = hill(-1.265)
    flag_x, flag_y = hill(GOAL_POSITION)
    top = flag_y + 0.145
    background = (
        area(*curve, (1, 0), (0, 0), alpha=0.1),
        area(curve[0], (0, 0.69), (wall[0], 0.69), wall, alpha=0.3),
        line(*curve, width=0.007),
        line((flag_x, flag_y), (flag_x, top), width=0.006),
        area((flag_x, top), (flag_x + 0.062, top - 0.024), (flag_x, top - 0.048), color=RED),
    )
    car = (
        area((-0.06, 0.018), (0.06, 0.018), (0.06, 0.042), (0.034, 0.048), (0.018, 0.074),
             (-0.031, 0.074), (-0.044, 0.048), (-0.06, 0.046), color=BLUE),
        circle(-WHEEL, 0.018, 0.019),
        circle(WHEEL, 0.018, 0.019),
    )  # fmt: skip
    return Scene(
        height=0.7,
        background=background,
        parts=(car, ARROW),
        poses=mountain_car_poses,
        endings={"terminated": "到达终点", "truncated": "超时"},
        alt="山谷里的小车和右边坡顶的旗",
    )


def mountain_car_poses(state, action) -> np.ndarray:
    """动作 0 向左推，1 不推，2 向右推。"""
    x, y, angle = car_pose(np.asarray(state.position, float))
    push = np.where(action < 0, 0, np.asarray(action) - 1)
    lift = 0.108  # 箭头在车顶上方
    arrow_x = np.where(push == 0, HIDDEN, x - lift * np.sin(angle))
    arrow_angle = np.where(push > 0, angle, angle + np.pi)
    return stack_poses((x, y, angle), (arrow_x, y + lift * np.cos(angle), arrow_angle))


# ---------------------------------------------------------------- Acrobot

LINK = 0.2  # 一节画多长
HUB = (0.5, 0.45)  # 挂点


def acrobot() -> Scene:
    """两节摆和目标线：下端高过这条线就算到达。"""
    goal = HUB[1] + LINK
    background = (
        line((0.04, goal), (0.96, goal), color=RED, width=0.005),
        words(0.12, goal + 0.03, "目标高度", size=0.038),
    )
    first = (
        line((0, 0), (0, -LINK), color=BLUE, width=0.036),
        circle(0, 0, 0.013),
    )
    second = (
        line((0, 0), (0, -LINK), color=SKY, width=0.03),
        circle(0, -LINK, 0.024, color=YELLOW),
        circle(0, 0, 0.011),
    )
    return Scene(
        height=0.9,
        background=background,
        parts=(first, second, turn(1), turn(-1)),
        poses=acrobot_poses,
        endings={"terminated": "荡过目标线", "truncated": "超时"},
        alt="挂着的两节摆和上方的目标线",
    )


def turn(sign: int) -> tuple[Shape, ...]:
    """关节右边一段带箭头的弧：sign 为 1 是逆时针，-1 是顺时针。"""
    radius, end = 0.062, math.radians(60)
    arc = [(radius * math.cos(a), radius * math.sin(a)) for a in np.linspace(-end, end, 9)]
    head = place(area((-0.018, 0), (0.018, 0), (0, 0.026)), *arc[-1], end).points
    arc, head = ([(x, sign * y) for x, y in points] for points in (arc, head))
    return line(*arc, color=GREEN, width=0.011), area(*head, color=GREEN)


def acrobot_poses(state, action) -> np.ndarray:
    """两个角都从竖直向下量起，第二个相对第一节。动作 0、2 在关节上顺、逆时针使力，1 不使力。"""
    first = np.asarray(state.joint_angle1, float)
    second = first + np.asarray(state.joint_angle2, float)
    x, y = HUB[0] + LINK * np.sin(first), HUB[1] - LINK * np.cos(first)
    return stack_poses(
        (*HUB, first),
        (x, y, second),
        (np.where(action == 2, x, HIDDEN), y, 0.0),
        (np.where(action == 0, x, HIDDEN), y, 0.0),
    )


SCENES = {"CartPole-v1": cart_pole, "MountainCar-v0": mountain_car, "Acrobot-v1": acrobot}
"""画得出来的环境。"""
