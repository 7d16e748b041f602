"""一次运行的全景：数据依次经过哪些文件。"""

from __future__ import annotations

from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ppo_lib.plotting.style import COLORS, INK, new_figure

OUTER = [  # (中心 x, 中心 y, 标题, 文件)
    (1.25, 5.3, "配置", "config.py"),
    (4.1, 5.3, "编译成一个程序", "training.py"),
    (7.2, 5.3, "带名字的结果", "experiment.py"),
    (10.0, 5.3, "图、文件", "plotting/"),
]
INNER = [
    (1.65, 2.95, "采样", "rollout.py"),
    (4.25, 2.95, "优势", "advantage.py"),
    (6.85, 2.95, "损失", "loss.py"),
    (9.45, 2.95, "梯度与更新", "optimizer.py"),
]
BELOW = [(1.3, 1.0, "环境", "envs.py"), (3.6, 1.0, "网络", "networks/")]


def box(ax, x, y, title, file, color, width=2.0, height=0.95):
    """一个圆角框：上面是做什么，下面是在哪个文件。"""
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.02,rounding_size=0.12",
            facecolor=color + "26",
            edgecolor=color,
            linewidth=1.3,
        )
    )
    ax.text(x, y + 0.18, title, ha="center", va="center", fontsize=10.5)
    ax.text(x, y - 0.22, file, ha="center", va="center", fontsize=8.5, alpha=0.8)


def arrow(ax, start, end, bend=0.0, **kwargs):
    """从 start 到 end 的箭头；bend 是弯曲的程度。"""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            color=INK,
            linewidth=1.1,
            connectionstyle=f"arc3,rad={bend}",
            **kwargs,
        )
    )


def plot_run_flow():
    """画出一次运行的流程，返回 figure。上排是整次运行，虚线框里是每次更新重复的部分。"""
    fig, ax = new_figure(8.4, 4.7)
    ax.set(xlim=(0, 11.2), ylim=(0.3, 6.1))
    ax.set_aspect("equal")
    ax.axis("off")

    for item in OUTER:
        box(ax, *item, COLORS[0])
    for (x0, y, *_), (x1, *_) in zip(OUTER, OUTER[1:]):
        arrow(ax, (x0 + 1.05, y), (x1 - 1.05, y))

    ax.add_patch(
        FancyBboxPatch(
            (0.2, 2.05),
            10.7,
            2.15,
            boxstyle="round,pad=0.02,rounding_size=0.15",
            facecolor="none",
            edgecolor=INK,
            linewidth=1.0,
            linestyle=(0, (4, 3)),
            alpha=0.7,
        )
    )
    ax.text(0.4, 3.88, "一次更新，重复 num_updates 次", fontsize=9.5)
    arrow(ax, (4.1, 4.78), (4.1, 4.24))
    arrow(ax, (7.2, 4.24), (7.2, 4.78))
    ax.text(7.35, 4.47, "每次更新一行指标", fontsize=8.5, alpha=0.8)

    for item in INNER:
        box(ax, *item, COLORS[2])
    for (x0, y, *_), (x1, *_) in zip(INNER, INNER[1:]):
        arrow(ax, (x0 + 1.05, y), (x1 - 1.05, y))
    arrow(ax, (9.45, 3.47), (6.85, 3.47), bend=0.25)
    ax.text(8.15, 3.95, "每个小批次", fontsize=8.5, alpha=0.8, ha="center", va="center")

    for item in BELOW:
        box(ax, *item, COLORS[4], width=1.8)
    arrow(ax, (1.35, 1.5), (1.5, 2.42))
    arrow(ax, (3.2, 1.5), (2.0, 2.42))
    arrow(ax, (4.3, 1.5), (6.3, 2.42), bend=0.12)
    ax.text(
        4.8,
        1.0,
        "采样和损失都要用网络；更新后的参数留给下一次更新的采样",
        fontsize=8.5,
        alpha=0.8,
        va="center",
    )
    return fig
