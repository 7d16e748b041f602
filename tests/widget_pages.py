"""几个测试文件共用的：小的记录，放着小组件的一页，假的内核。"""

import json
from pathlib import Path

import numpy as np
import xarray as xr
from ipywidgets.embed import dependency_state

from ppo_lib.widgets import ReturnExplorer

RUNTIME = Path(__file__).parents[1] / "book/static/widgets.js"
CSS = "body { color: #222; background: #fff } body.dark { color: #ddd; background: #121212 }"
LISTEN = """window.heard = [];
document.addEventListener('ppo:progress', (event) => heard.push(event.detail));"""


def recorded(seeds: int = 5, points: int = 20) -> xr.Dataset:
    """一个小的记录：回报随步数上升，越靠后的网格点升得越慢；开头有 NaN。"""
    beta_1, clip_eps = [0.0, 0.5, 0.9], [0.1, 0.2]
    rng = np.random.default_rng(0)
    speed = 1 / (1 + np.arange(6).reshape(3, 2, 1, 1))
    curve = 500 * (1 - np.exp(-speed * np.linspace(0, 6, points)))
    values = curve + 15 * rng.standard_normal((3, 2, seeds, points))
    values[..., 0] = np.nan
    values[1, 0, 2, 5:8] = np.nan
    return xr.Dataset(
        {"return": (("beta_1", "clip_eps", "seed", "point"), values)},
        {
            "beta_1": beta_1,
            "clip_eps": clip_eps,
            "seed": range(seeds),
            "timesteps": ("point", 10_000 * np.arange(1, points + 1)),
        },
    )


def explorer(**settings) -> ReturnExplorer:
    return ReturnExplorer(recorded(), axes=("beta_1", "clip_eps"), **settings)


def static_page(*widgets) -> str:
    """一页 HTML，小组件的状态和位置照 myst-nb 的写法。"""
    state = {
        "version_major": 2,
        "version_minor": 0,
        "state": dependency_state(widgets, drop_defaults=False),
    }
    views = [{"version_major": 2, "version_minor": 0, "model_id": w.model_id} for w in widgets]
    kind = "application/vnd.jupyter.widget"
    scripts = [f'<script type="{kind}-view+json">{json.dumps(v)}</script>' for v in views]
    return (
        "<!doctype html><html lang=zh-CN><meta charset=utf-8><title>小组件</title>"
        "<meta name=viewport content='width=device-width'>"
        f"<style>{CSS}</style>"
        f'<script type="{kind}-state+json">{json.dumps(state)}</script>'
        f"<script>{RUNTIME.read_text(encoding='utf-8')}</script>"
        f"<body>{'<hr>'.join(scripts)}</body></html>"
    )


def with_kernel(page, widget, play: str, **changes):
    """在 page 里再画一个探索器（#kernel），内核是假的；play 是一段 JavaScript，用得到 el、model、listeners、sent、state。"""
    state = {key: value for key, value in widget.get_state().items() if key != "data"}
    return page.evaluate(
        """async ([code, state]) => {
          const { default: widget } = await import(
            URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
          const sent = [], listeners = {};
          const model = {
            get: (name) => name === "data" ? new DataView(new ArrayBuffer(2 * 6 * 5 * 20)) : state[name],
            set: (name, value) => { state[name] = value; listeners[`change:${name}`]?.forEach((f) => f()); },
            on: (name, f) => (listeners[name] ??= []).push(f),
            off() {}, save_changes() {}, send: (message) => sent.push(message),
          };
          const el = document.body.appendChild(document.createElement("div"));
          el.id = "kernel";
          widget.render({ model, el });
          PLAY
        }""".replace("PLAY", play),
        [widget._esm, state | {"layout": None} | changes],
    )
