"""把形状画成像素，存成 GIF 或 WebP。"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppo_lib.plotting.style import FONT_FILE
from ppo_lib.plotting.style import INK as INK_COLOR
from ppo_lib.replay.player import caption
from ppo_lib.replay.scenes import INK, Scene, Shape, moving_shapes

PAPER = (255, 255, 255)
FINE = 2
"""先画大这么多倍，再缩小，边缘就不带锯齿。"""

GIF_COLORS = 128
"""GIF 用多少种颜色；不用满 256 种，没有变的像素才能写成透明，文件小一半多。"""

COLUMNS = 3
"""一行最多几个画面。"""


@functools.lru_cache(maxsize=32)
def font(pixels: int) -> ImageFont.FreeTypeFont:
    """这本书的中文字体。"""
    return ImageFont.truetype(str(FONT_FILE), max(6, pixels))


def fitted(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    """一行放不下的文字，末尾换成省略号。"""
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def rgb(color: str, alpha: float = 1.0) -> tuple[int, ...]:
    """颜色在白纸上的样子。"""
    color = INK_COLOR if color == INK else color
    channels = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return tuple(round(alpha * c + (1 - alpha) * p) for c, p in zip(channels, PAPER))


def draw_shape(pen: ImageDraw.ImageDraw, shape: Shape, width: int, height: float) -> None:
    """画一个形状。width 是画面宽多少像素，height 是画面的高与宽之比。"""
    points = [(x * width, (height - y) * width) for x, y in shape.points]
    size, color = shape.size * width, rgb(shape.color, shape.alpha)
    if shape.kind == "line":
        pen.line(points, fill=color, width=max(1, round(size)), joint="curve")
        for x, y in (points[0], points[-1]):  # 圆头
            pen.ellipse((x - size / 2, y - size / 2, x + size / 2, y + size / 2), fill=color)
    elif shape.kind == "area":
        pen.polygon(points, fill=color)
    elif shape.kind == "circle":
        x, y = points[0]
        pen.ellipse((x - size, y - size, x + size, y + size), fill=color)
    else:
        pen.text(points[0], shape.text, fill=color, font=font(round(size)), anchor="mm")


def draw_background(scene: Scene, size: int) -> Image.Image:
    """不动的那一半，画大了 FINE 倍。"""
    big = size * FINE
    image = Image.new("RGB", (big, round(big * scene.height)), PAPER)
    pen = ImageDraw.Draw(image)
    for shape in scene.background:
        draw_shape(pen, shape, big, scene.height)
    return image


def draw_scene(scene: Scene, background: Image.Image, pose) -> Image.Image:
    """一个画面的一帧，原来的大小。"""
    image = background.copy()
    pen = ImageDraw.Draw(image)
    for shape in moving_shapes(scene, pose):
        draw_shape(pen, shape, background.width, scene.height)
    return image.reduce(FINE)


def draw_frames(scene: Scene, panels, num_frames: int, size: int) -> Iterator[np.ndarray]:
    """每一帧的全部画面，排成一行或几行，(H, W, 3) uint8；每个画面下面两行文字。"""
    background = draw_background(scene, size)
    face = font(size // 18)
    line, gap = round(1.4 * face.size), size // 20
    tile = (size + gap, round(size * scene.height) + round(2.5 * line))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    paper = Image.new("RGB", (columns * tile[0] + gap, rows * tile[1] + gap), PAPER)
    for t in range(num_frames):
        frame = paper.copy()
        pen = ImageDraw.Draw(frame)
        for i, panel in enumerate(panels):
            x, y = gap + i % columns * tile[0], gap + i // columns * tile[1]
            step = min(t, len(panel.returns) - 1)
            frame.paste(draw_scene(scene, background, panel.poses[step]), (x, y))
            below = y + round(size * scene.height) + line // 3
            for row, text in enumerate([panel.label, caption(panel, step)]):
                text = fitted(text, face, size)
                pen.text((x, below + row * line), text, rgb(INK), face)
        yield np.asarray(frame)


# ---------------------------------------------------------------- 文件


def durations(count: int, fps: float) -> list[int]:
    """每一帧停多少毫秒；最后一帧停一秒。"""
    return [round(1000 / fps)] * (count - 1) + [1000]


def color_codes(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 → (H, W) 每个像素的颜色写成一个整数。"""
    return frame.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def channels(codes: np.ndarray) -> np.ndarray:
    """(n,) 颜色的整数 → (n, 3)。"""
    return codes[:, None] >> np.array([16, 8, 0]) & 255


def nearest(codes: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """每个颜色 (n,) 在 palette (k, 3) 里最接近的是第几个。"""
    distance = ((channels(codes)[:, None] - palette) ** 2).sum(-1)
    return distance.argmin(1)


def to_indexed(frames: list[np.ndarray]) -> list[Image.Image]:
    """所有帧共用 GIF_COLORS 种颜色：头、中、尾三帧里最常见的那些；其余的取最接近的。

    Pillow 自己的 quantize 会把白纸变成浅灰，所以这里查表，表里的颜色一点不变。
    """
    sample = np.concatenate([color_codes(frames[i]) for i in (0, len(frames) // 2, -1)])
    codes, counts = np.unique(sample, return_counts=True)
    palette = channels(codes[np.argsort(-counts)[:GIF_COLORS]])
    table = np.full(1 << 24, -1, np.int16)  # 颜色 → palette 里的下标；-1 是还没有查过
    images = []
    for frame in frames:
        codes = color_codes(frame)
        new = np.unique(codes[table[codes] < 0])
        table[new] = nearest(new, palette)
        image = Image.fromarray(table[codes].astype(np.uint8))
        image.putpalette(palette.astype(np.uint8).tobytes())
        images.append(image)
    return images


def write_gif(frames: Iterator[np.ndarray], path: Path, fps: float) -> None:
    """存成 GIF：所有帧共用一套颜色，不抖动。"""
    images = to_indexed(list(frames))
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=[round(ms, -1) for ms in durations(len(images), fps)],
        loop=0,
    )


def write_webp(frames: Iterator[np.ndarray], path: Path, fps: float) -> None:
    """存成不失真的 WebP。"""
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=durations(len(images), fps),
        loop=0,
        lossless=True,
        quality=50,
        method=2,
    )


WRITERS = {".gif": write_gif, ".webp": write_webp}
