"""网页里的播放器：一段自足的 HTML，不向网络要任何东西。

画面由 player.js 画在 canvas 上。不动的形状只写一遍，每一帧只写每个零件的 x、y、角度。
"""

from __future__ import annotations

import hashlib
import html
import json
import math
from pathlib import Path

import numpy as np

from ppo_lib.replay.scenes import Scene, Shape

SCRIPT = Path(__file__).with_name("player.js")
STYLE = Path(__file__).with_name("player.css")

DECIMALS = 3
"""位置、角度（弧度）和回报保留几位小数；画面宽 1。"""

FINE_DECIMALS = 4
"""形状只写一遍，多一位小数，曲线才圆滑。"""


def number(x: float, decimals: int = DECIMALS) -> int | float:
    """写得最短的数：整数不带小数点。"""
    x = round(float(x), decimals)
    return int(x) if x == int(x) else x


def caption(panel, step: int) -> str:
    """画面下面的一行字，例如“第 87 步，回报 −87，超时”。"""
    text = f"第 {step} 步，回报 {number(panel.returns[step])}".replace("-", "−")
    return text + (f"，{panel.ending}" if step == len(panel.returns) - 1 else "")


def shape_data(shape: Shape) -> list:
    """一个形状：[种类, 颜色, 不透明度, 大小, 文字, [x, y, x, y, …]]。"""
    points = [number(x, FINE_DECIMALS) for point in shape.points for x in point]
    size, alpha = number(shape.size, FINE_DECIMALS), number(shape.alpha)
    return [shape.kind, shape.color, alpha, size, shape.text, points]


def pose_data(poses: np.ndarray) -> list:
    """(T, 零件数, 3) → 每个零件一列 [x, y, 角度, x, y, 角度, …]，不画的帧 x 是 null。

    不变的列只写一帧。
    """
    columns = []
    for part in np.swapaxes(poses, 0, 1):  # (T, 3)
        part = part[:1] if (part == part[:1]).all() else part
        columns.append([x for pose in part for x in pose_row(pose)])
    return columns


def pose_row(pose) -> list:
    """一个零件的一帧：[x, y, 角度]，不画时是 [None, 0, 0]。"""
    return [None, 0, 0] if math.isnan(pose[0]) else [number(x) for x in pose]


def player_data(scene: Scene, panels, num_frames: int) -> dict:
    """播放器要的全部数据。"""
    return {
        "frames": num_frames,
        "height": number(scene.height),
        "background": [shape_data(shape) for shape in scene.background],
        "parts": [[shape_data(shape) for shape in part] for part in scene.parts],
        "panels": [
            {
                "label": panel.label,
                "alt": f"{panel.label}：{scene.alt}",
                "ending": panel.ending,
                "returns": [number(x) for x in panel.returns],
                "poses": pose_data(panel.poses),
            }
            for panel in panels
        ],
    }


def to_html(env_name: str, scene: Scene, panels, num_frames: int) -> str:
    """一个播放器。

    编号由内容算出，同样的回放得到同样的 HTML；同一个回放在一页上出现两次也各放各的，
    因为脚本只接手还没有人接手的元素。
    """
    data = json.dumps(
        player_data(scene, panels, num_frames), ensure_ascii=False, separators=(",", ":")
    ).replace("<", "\\u003c")
    name = "ppo-replay-" + hashlib.sha256(data.encode()).hexdigest()[:10]
    title = html.escape(f"{env_name} 的回放：" + "、".join(panel.label for panel in panels))
    return (
        f'<div class="ppo-replay" id="{name}" role="group" tabindex="0" aria-label="{title}" '
        f'style="max-width:{536 if len(panels) == 1 else 1040}px" '
        'data-lm-suppress-shortcuts="true">'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
        "<noscript>播放需要 JavaScript。</noscript></div>\n"
        f"<script>(() => {{\n{SCRIPT.read_text(encoding='utf-8')}\n"
        f"const waiting = document.querySelectorAll('[id=\"{name}\"]:not([data-ready])');\n"
        f"const film = {data};\n"
        "waiting.forEach((root) => startPlayer(root, film));\n"
        "})();</script>"
    )
