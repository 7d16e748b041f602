"""ppo_lib/replay：场景画在该在的地方，图和网页画的是同一组形状，播放器在真的浏览器里好用。"""

from ppo_lib import PPOConfig  # isort: skip  # 在 gymnax 之前：它一 import 就启动 JAX 的后端

import dataclasses
import functools
import json
import math
import re
import types

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageSequence

from ppo_lib.envs import make_env
from ppo_lib.policy import Policy, PolicyError, evaluate
from ppo_lib.replay import Replay, ReplayError, replay
from ppo_lib.replay.film import Panel
from ppo_lib.replay.player import caption
from ppo_lib.replay.raster import fitted, font
from ppo_lib.replay.scenes import (
    FALLEN,
    HUB,
    LINK,
    METRE,
    PIVOT,
    SCENES,
    Shape,
    hill,
    moving_shapes,
    place,
    shapes_at,
)
from ppo_lib.training import make_network


@functools.cache
def untrained(env_name: str, seeds=(0, 1)) -> Policy:
    cfg = PPOConfig(env_name=env_name, hidden_sizes=(4,), num_seeds=len(seeds))
    env = make_env(cfg)
    init = make_network(cfg, env).init
    members = jax.jit(jax.vmap(lambda s: init(jax.random.key(s), jnp.zeros(env.obs_dim))))
    params = members(np.array(seeds))
    return Policy(cfg, params, seeds, update=0)


def one_action(env_name: str, action: int, update=1) -> Policy:
    """只做一个动作的策略。"""
    policy = untrained(env_name)
    params = jax.tree.map(np.zeros_like, policy.params)
    params["params"]["actor_head"]["bias"][:, action] = 1.0
    return dataclasses.replace(policy, params=params, update=update)


@functools.cache
def three_cars() -> Replay:
    """三个永远到不了终点的策略，各 200 步：一直向左、不推、随机。"""
    policies = [one_action("MountainCar-v0", a, a) for a in (0, 1)]
    chance = dataclasses.replace(one_action("MountainCar-v0", 0, 9), params=jax.tree.map(
        np.zeros_like, untrained("MountainCar-v0").params))  # fmt: skip
    return replay([*policies, chance], greedy=False, labels=["左", "不推", "<随机> & 乱走"])


def state(**fields):
    """一串时刻的状态，每个字段 (T,)。"""
    return types.SimpleNamespace(**{k: np.atleast_1d(float(v)) for k, v in fields.items()})


def drawn(env_name, action=-1, **fields) -> list[Shape]:
    """一个状态画出来的零件。"""
    scene = SCENES[env_name]()
    return moving_shapes(scene, scene.poses(state(**fields), np.array([action]))[0])


# ---------------------------------------------------------------- 场景


def pole(**fields):
    """杆的两端。"""
    lines = [s for s in drawn("CartPole-v1", **fields) if s.kind == "line" and s.alpha == 1]
    (shape,) = lines
    return np.array(shape.points)


def test_pole_is_vertical_at_zero_and_leans_right_for_positive_angles():
    (x0, y0), (x1, y1) = pole(x=0, theta=0)
    assert (x0, y0) == pytest.approx((0.5, PIVOT)) and (x1, y1) == pytest.approx(
        (0.5, PIVOT + METRE)
    )
    (x0, y0), (x1, y1) = pole(x=1.2, theta=0.2)
    assert x0 == pytest.approx(0.5 + 1.2 * METRE)
    assert math.atan2(x1 - x0, y1 - y0) == pytest.approx(0.2)


def test_cart_pole_limits_are_where_the_episode_ends():
    params = gymnax.make("CartPole-v1")[1]
    assert params.theta_threshold_radians == pytest.approx(FALLEN)
    shapes = drawn("CartPole-v1", x=0, theta=0)
    angles = [math.atan2(s.points[1][0] - s.points[0][0], s.points[1][1] - s.points[0][1])
              for s in shapes if s.alpha < 1]  # fmt: skip
    assert sorted(angles) == pytest.approx([-FALLEN, FALLEN])
    posts = [s.points[0][0] for s in SCENES["CartPole-v1"]().background if s.color == "#d55e00"]
    assert posts == pytest.approx([0.5 - params.x_threshold * METRE, 0.5 + 2.4 * METRE])


def test_car_at_the_goal_touches_the_flag():
    goal = gymnax.make("MountainCar-v0")[1].goal_position
    scene = SCENES["MountainCar-v0"]()
    flag = [s for s in scene.background if s.kind == "line" and len(s.points) == 2][0]
    pose = scene.poses(state(position=goal), np.array([-1]))[0]
    assert flag.points[0] == pytest.approx((pose[0][0], pose[0][1]), abs=0.01)
    body = np.array(drawn("MountainCar-v0", position=goal)[0].points)
    assert body[:, 0].min() < flag.points[0][0] < body[:, 0].max()
    before = np.array(drawn("MountainCar-v0", position=goal - 0.2)[0].points)
    assert before[:, 0].max() < flag.points[0][0]


@pytest.mark.parametrize("position", [-1.2, -0.9, -0.52, 0.0, 0.3, 0.5])
def test_car_stands_on_the_hill_and_tilts_with_it(position):
    """车身的底边与山坡的切线大致平行；两个轮子都挨着山坡。"""
    body, *wheels = drawn("MountainCar-v0", position=position)
    (x0, y0), (x1, y1) = body.points[:2]
    slope = 3 * 0.45 * math.cos(3 * position)  # 高度 0.45·sin(3x) + 0.55 的导数
    assert math.atan2(y1 - y0, x1 - x0) == pytest.approx(math.atan(slope), abs=0.05)
    curve = np.stack(hill(np.linspace(-1.4, 0.8, 4000)), axis=-1)
    for wheel in wheels:
        distance = np.linalg.norm(curve - np.array(wheel.points[0]), axis=1).min()
        assert distance == pytest.approx(wheel.size, abs=0.003)


def test_lowest_point_of_the_hill_is_the_valley_of_the_physics():
    positions = np.linspace(-1.2, 0.6, 1801)
    lowest = positions[np.argmin(hill(positions)[1])]
    assert math.cos(3 * lowest) == pytest.approx(0, abs=2e-3)  # 重力项在这里是 0


def tip(angle1, angle2):
    shapes = drawn("Acrobot-v1", joint_angle1=angle1, joint_angle2=angle2)
    return [s for s in shapes if s.color == "#e69f00"][0].points[0]


def test_acrobot_hangs_down_and_reaches_up():
    assert tip(0, 0) == pytest.approx((HUB[0], HUB[1] - 2 * LINK))
    assert tip(math.pi, 0) == pytest.approx((HUB[0], HUB[1] + 2 * LINK))
    assert tip(math.pi / 2, 0) == pytest.approx((HUB[0] + 2 * LINK, HUB[1]))
    assert tip(0, math.pi / 2) == pytest.approx((HUB[0] + LINK, HUB[1] - LINK))


@pytest.mark.parametrize("angle1, angle2", [(2.0, 0.5), (2.6, -1.0), (1.2, 0.1), (2.1, 0.0)])
def test_acrobot_is_over_the_line_exactly_when_the_episode_ends(angle1, angle2):
    env, params = gymnax.make("Acrobot-v1")
    _, there = env.reset_env(jax.random.key(0), params)
    there = there.replace(joint_angle1=jnp.float32(angle1), joint_angle2=jnp.float32(angle2))
    goal = [s for s in SCENES["Acrobot-v1"]().background if s.kind == "line"][0].points[0][1]
    assert (tip(angle1, angle2)[1] > goal) == bool(env.is_terminated(there, params))


@pytest.mark.parametrize(
    "env_name, action, fields, sign",
    [
        ("CartPole-v1", 0, dict(x=0, theta=0), -1),
        ("CartPole-v1", 1, dict(x=0, theta=0), 1),
        ("MountainCar-v0", 0, dict(position=-math.pi / 6), -1),
        ("MountainCar-v0", 2, dict(position=-math.pi / 6), 1),
    ],
)
def test_arrow_points_the_way_the_action_pushes(env_name, action, fields, sign):
    arrow = [s for s in drawn(env_name, action, **fields) if s.color == "#009e73"]
    (tail, head) = arrow[0].points
    assert math.copysign(1, head[0] - tail[0]) == sign
    assert head[1] == pytest.approx(tail[1], abs=1e-6)
    assert not [s for s in drawn(env_name, -1, **fields) if s.color == "#009e73"]


def test_acrobot_arrow_turns_the_way_of_the_torque():
    """动作 2 使第二个角变大：逆时针。"""
    env, params = gymnax.make("Acrobot-v1")
    _, rest = env.reset_env(jax.random.key(0), params)
    rest = jax.tree.map(jnp.zeros_like, rest)
    for action, sign in [(0, -1), (1, 0), (2, 1)]:
        after = env.step_env(jax.random.key(0), rest, action, params)[1]
        assert np.sign(np.round(after.joint_angle2, 5)) == sign
        shapes = drawn("Acrobot-v1", action, joint_angle1=0, joint_angle2=0)
        arcs = [np.array(s.points) for s in shapes if s.color == "#009e73" and s.kind == "line"]
        turns = [np.sign(points[-1, 1] - points[0, 1]) for points in arcs]  # 弧在关节右边
        assert turns == ([sign] if sign else [])


@pytest.mark.parametrize("env_name", SCENES)
def test_everything_stays_in_the_picture(env_name):
    """状态走到两头，零件也在画面里（箭头除外）。"""
    ends = {
        "CartPole-v1": [dict(x=x, theta=a) for x in (-2.4, 2.4) for a in (-0.21, 0.21)],
        "MountainCar-v0": [dict(position=p) for p in (-1.2, -0.5, 0.5)],
        "Acrobot-v1": [
            dict(joint_angle1=a, joint_angle2=b) for a in range(-3, 4) for b in (0, 2)
        ],
    }
    scene = SCENES[env_name]()
    for fields in ends[env_name]:
        for shape in drawn(env_name, **fields):
            points = np.array(shape.points)
            assert (points >= -0.01).all() and (points[:, 0] <= 1.01).all()
            assert (points[:, 1] <= scene.height).all()


def test_place_turns_counterclockwise_then_moves():
    shape = place(Shape("line", ((1.0, 0.0), (0.0, 2.0)), "ink"), 10, 20, math.pi / 2)
    np.testing.assert_allclose(shape.points, [(10, 21), (8, 20)], atol=1e-12)


# ---------------------------------------------------------------- 拍


@pytest.mark.slow
@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("env_name", SCENES)
def test_replay_is_the_same_episode_as_in_the_evaluation(env_name, greedy):
    policy = untrained(env_name)
    episodes = evaluate(policy, 3, greedy=greedy).episodes
    for seed in policy.seeds:
        film = replay(policy, seed=seed, start=2, greedy=greedy)
        here = episodes.sel(seed=seed, episode=2)
        assert film.num_frames == int(here["episode_length"]) + 1
        assert film.panels[0].returns[-1] == pytest.approx(float(here["return"]))
        truncated = bool(here["truncated"])
        ending = film.scene.endings["truncated" if truncated else "terminated"]
        assert film.panels[0].ending == ending


def test_replay_shows_the_states_of_the_environment():
    """与 gymnax 自己走的逐步对照。"""
    film = replay(one_action("CartPole-v1", 1))
    env, params = gymnax.make("CartPole-v1")
    reset_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))
    _, now = env.reset_env(reset_key, params)
    for t in range(film.num_frames):
        cart, stick, arrow = film.panels[0].poses[t]
        assert cart[0] == pytest.approx(0.5 + float(now.x) * METRE, abs=1e-6)
        assert stick[2] == pytest.approx(-float(now.theta), abs=1e-6)
        assert np.isnan(arrow[0]) == (t == film.num_frames - 1)
        now = env.step_env(jax.random.key(0), now, 1, params)[1]
    np.testing.assert_array_equal(film.panels[0].returns, np.arange(film.num_frames))
    assert film.panels[0].ending == "倒下或出界"


def test_max_steps_cuts_and_says_so():
    film = replay(one_action("MountainCar-v0", 1), max_steps=30)
    assert film.num_frames == 31 and film.panels[0].ending == "只放到这里"
    whole = replay(one_action("MountainCar-v0", 1), max_steps=1000)
    assert whole.num_frames == 201 and whole.panels[0].ending == "超时"


def test_shorter_episodes_wait_on_their_last_frame():
    policies = [one_action("CartPole-v1", 1, 5), untrained("CartPole-v1")]
    film = replay(policies, greedy=False)
    lengths = [len(panel.returns) for panel in film.panels]
    assert film.num_frames == max(lengths) and lengths[0] != lengths[1]
    assert [panel.label for panel in film.panels] == ["5 次更新之后", "0 次更新之后"]
    assert repr(film).startswith("[回放：CartPole-v1，5 次更新之后、0 次更新之后，")


def test_labels_of_equal_updates_are_numbered():
    car = one_action("MountainCar-v0", 1)
    film = replay([car, car], max_steps=2)
    assert [p.label for p in film.panels] == [
        "策略 1（1 次更新之后）",
        "策略 2（1 次更新之后）",
    ]


def test_caption_by_hand():
    panel = Panel("甲", np.zeros((3, 1, 3)), np.array([0, -1, -2.5]), "超时")
    assert caption(panel, 1) == "第 1 步，回报 −1"
    assert caption(panel, 2) == "第 2 步，回报 −2.5，超时"


@pytest.mark.slow
@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: replay(untrained("Catch-bsuite")), ReplayError, "Catch-bsuite 还画不出来.*Acrobot"),
        (lambda: replay([]), ReplayError, "一个也没有"),
        (
            lambda: replay([untrained("CartPole-v1"), untrained("Acrobot-v1")]),
            ReplayError,
            "同一个环境.*Acrobot-v1、CartPole-v1",
        ),
        (lambda: replay(untrained("CartPole-v1"), seed=7), ReplayError, "seed = 7 .*0、1"),
        (lambda: replay(untrained("CartPole-v1"), labels=["a", "b"]), ReplayError, "1 个策略.*2 个"),
        (lambda: replay(untrained("CartPole-v1"), start=-1), PolicyError, "start = -1 不合法"),
        (lambda: replay(untrained("CartPole-v1"), max_steps=0), PolicyError, "max_steps = 0"),
        (lambda: three_cars().frames(10), ReplayError, "size = 10 不合法"),
        (lambda: three_cars().save("a.mp4"), ReplayError, r"a.mp4.*\.gif、\.webp"),
        (lambda: three_cars().save("a.gif", fps=0), ReplayError, "fps = 0 不合法"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(make, error, words):
    with pytest.raises(error, match=words):
        make()


# ---------------------------------------------------------------- 像素


def short_film() -> Replay:
    return replay([one_action("CartPole-v1", 1, 5), one_action("CartPole-v1", 0)], max_steps=6)


def test_frames_have_the_stated_shape_and_move():
    frames = short_film().frames(120)
    assert frames.shape[0] == 7 and frames.shape[3] == 3 and frames.dtype == np.uint8
    assert frames.shape[2] == 2 * (120 + 6) + 6
    assert all((a != b).any() for a, b in zip(frames, frames[1:]))
    assert frames[0, 0, 0].tolist() == [255, 255, 255]


def test_pixels_show_the_shapes_where_they_are():
    """小车的颜色的像素，重心在小车该在的地方。"""
    film = short_film()
    size, gap = 400, 20
    frame = film.frames(size)[-1].astype(int)
    cart = np.abs(frame - np.array([0x00, 0x72, 0xB2])).sum(-1) < 30
    for i, panel in enumerate(film.panels):
        left = gap + i * (size + gap)
        _, columns = np.nonzero(cart[:, left : left + size])
        assert columns.mean() == pytest.approx(panel.poses[-1][0][0] * size, abs=1.5)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_saved_animation_has_every_frame(tmp_path, suffix):
    film = short_film()
    path = film.save(tmp_path / f"a.{suffix}", fps=20, size=120)
    with Image.open(path) as image:
        assert image.format == suffix.upper() and image.n_frames == film.num_frames
        frames, times = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB")).astype(int))
            times.append(image.info["duration"])
    assert all((a != b).any() for a, b in zip(frames, frames[1:]))
    assert times == [50] * 6 + [1000]
    error = np.abs(np.array(frames) - film.frames(120)).mean()
    assert error < (1 if suffix == "gif" else 1e-9)


def test_an_animation_is_saved_at_home_in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert short_film().save("~/new/a.gif", size=64) == tmp_path / "new/a.gif"
    assert (tmp_path / "new/a.gif").exists()


def test_long_labels_are_shortened_to_fit():
    face = font(20)
    assert fitted("短", face, 100) == "短"
    short = fitted("一个很长很长很长很长的标签", face, 100)
    assert short.endswith("…") and face.getlength(short) <= 100


def test_more_than_three_panels_wrap():
    car = one_action("CartPole-v1", 1)
    (three,), (four,) = (replay([car] * n, max_steps=1).frames(64)[:1] for n in (3, 4))
    assert four.shape[1] == three.shape[1] and four.shape[0] > 1.8 * three.shape[0]


# ---------------------------------------------------------------- 网页


def page_data(html: str) -> dict:
    """HTML 里的数据。"""
    return json.loads(re.search(r"^const film = (.*);$", html, flags=re.MULTILINE)[1])


def test_html_is_small_self_contained_and_repeats():
    html = three_cars()._repr_html_()
    assert [len(p.returns) for p in three_cars().panels] == [201] * 3
    assert len(html.encode()) < 60_000
    assert "http" not in html and "import(" not in html and "fetch(" not in html
    assert html == three_cars()._repr_html_()
    assert "<随机>" not in html and "&lt;随机&gt; &amp; 乱走" in html


def test_html_carries_the_same_shapes_as_the_pixels():
    film = three_cars()
    data = page_data(film._repr_html_())
    assert data["frames"] == film.num_frames
    scene = film.scene
    for carried, shape in zip(data["background"], scene.background, strict=True):
        assert carried[:2] == [shape.kind, shape.color]
        np.testing.assert_allclose(carried[5], np.ravel(shape.points), atol=5e-5)
    for i, panel in enumerate(film.panels):
        for t in (0, 17, 200):
            pose = np.array([
                [np.nan if x is None else x for x in column[3 * t : 3 * t + 3] or column[:3]]
                for column in data["panels"][i]["poses"]
            ])  # fmt: skip
            ours, theirs = moving_shapes(scene, panel.poses[t]), moving_shapes(scene, pose)
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a.points, b.points, atol=2e-3)
        assert data["panels"][i]["returns"] == panel.returns.tolist()
    assert len(shapes_at(scene, film.panels[0].poses[0])) > len(scene.background)


@pytest.fixture
def open_replay(open_file, tmp_path):
    """打开一页含有几个播放器的文件，返回页面；有出错或请求就失败。"""

    def open_(*htmls: str, width=1100, css="", **options):
        path = tmp_path / "page.html"
        path.write_text(
            "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<style>{css}</style><body>{'<hr>'.join(htmls)}</body>",
            encoding="utf-8",
        )
        return open_file(path, width=width, **options)

    return open_


def players(page):
    return page.locator(".ppo-replay")


def frame_of(player) -> int:
    return int(player.get_attribute("data-frame"))


def button(player, name):
    return player.get_by_role("button", name=name, exact=True)


def ink_count(player) -> int:
    """第一个画面上画了多少个像素。"""
    return player.locator("canvas").first.evaluate(
        """canvas => {
          const data = canvas.getContext('2d')
            .getImageData(0, 0, canvas.width, canvas.height).data;
          let count = 0;
          for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
          return count;
        }"""
    )


@pytest.mark.slow
def test_player_does_not_start_by_itself_and_plays_to_the_end(open_replay):
    page = open_replay(short_film()._repr_html_())
    player = players(page)
    page.wait_for_timeout(300)
    assert frame_of(player) == 0 and ink_count(player) > 1000
    button(player, "播放").click()
    page.wait_for_function("document.querySelector('.ppo-replay').dataset.frame === '6'")
    button(player, "播放").wait_for()  # 放完了，按钮又变回“播放”
    assert player.locator(".caption").first.inner_text() == "第 6 步，回报 6，只放到这里"
    button(player, "播放").click()  # 再按一次，从头放
    page.wait_for_function("document.querySelector('.ppo-replay').dataset.frame !== '6'")


@pytest.mark.slow
def test_player_pauses_steps_and_scrubs(open_replay):
    page = open_replay(three_cars()._repr_html_())
    player = players(page)
    player.locator("select").select_option("0.25")
    button(player, "播放").click()
    page.wait_for_function("+document.querySelector('.ppo-replay').dataset.frame > 1")
    button(player, "暂停").click()
    stopped = frame_of(player)
    page.wait_for_timeout(300)
    assert frame_of(player) == stopped < 100
    button(player, "下一步").click()
    assert frame_of(player) == stopped + 1
    button(player, "上一步").click()
    button(player, "上一步").click()
    assert frame_of(player) == stopped - 1
    player.locator("input").fill("150")
    assert frame_of(player) == 150
    captions = player.locator(".caption").all_inner_texts()
    assert captions == ["第 150 步，回报 −150"] * 3
    player.locator("input").fill("200")
    assert player.locator(".caption").first.inner_text() == "第 200 步，回报 −200，超时"


@pytest.mark.slow
def test_speed_sets_the_pace(open_replay):
    """4 倍速是每秒 120 步；机器忙时只会慢，不会快。"""
    page = open_replay(three_cars()._repr_html_())
    player = players(page)
    seconds = {}
    for speed in ("1", "4"):
        player.locator("input").fill("0")
        player.locator("select").select_option(speed)
        seconds[speed] = player.evaluate(
            """player => new Promise(resolve => {
              const start = performance.now();
              player.querySelector('button').click();
              const timer = setInterval(() => {
                if (+player.dataset.frame < 60) return;
                clearInterval(timer);
                player.querySelector('button').click();
                resolve((performance.now() - start) / 1000);
              }, 5);
            })"""
        )
    assert 1.8 < seconds["1"] < 4 and 0.4 < seconds["4"] < 0.7 * seconds["1"]


@pytest.mark.slow
def test_keyboard_moves_only_the_focused_player_and_never_the_page(open_replay):
    page = open_replay(three_cars()._repr_html_(), short_film()._repr_html_())
    page.evaluate(
        "window.leaked = []; document.addEventListener('keydown', e => leaked.push(e.key))"
    )
    first, second = players(page).nth(0), players(page).nth(1)
    first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert (frame_of(first), frame_of(second)) == (2, 0)
    page.keyboard.press("End")
    assert (frame_of(first), frame_of(second)) == (200, 0)
    second.focus()
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelectorAll('.ppo-replay')[1].dataset.frame === '6'")
    assert frame_of(first) == 200
    assert page.evaluate("leaked") == [] and page.evaluate("window.scrollY") == 0
    page.keyboard.press("Control+ArrowLeft")  # 浏览器自己的组合键不动
    assert frame_of(second) == 6 and "ArrowLeft" in page.evaluate("leaked")


@pytest.mark.slow
def test_keys_on_the_controls_act_once(open_replay):
    page = open_replay(three_cars()._repr_html_())
    player = players(page)
    button(player, "下一步").focus()
    page.keyboard.press("Space")
    assert frame_of(player) == 1 and button(player, "播放").count() == 1
    page.keyboard.press("ArrowRight")
    assert frame_of(player) == 2
    player.locator("input").focus()
    page.keyboard.press("ArrowRight")
    assert frame_of(player) == 3
    player.locator("select").focus()
    page.keyboard.press("ArrowRight")
    assert frame_of(player) == 3


@pytest.mark.slow
def test_the_same_replay_twice_on_a_page_is_two_players(open_replay):
    html = short_film()._repr_html_()
    page = open_replay(html, html)
    assert page.locator("canvas").count() == 4
    button(players(page).nth(1), "下一步").click()
    assert [frame_of(players(page).nth(i)) for i in (0, 1)] == [0, 1]


@pytest.mark.slow
def test_player_starts_when_inserted_into_a_loaded_page(open_replay):
    """像 JupyterLab 那样：先放进 HTML，再把脚本重新造一遍让它运行；重新运行单元格也一样。"""
    page = open_replay("<p id=output></p>")
    for _ in range(2):
        page.evaluate(
            """html => {
              const output = document.getElementById('output');
              output.innerHTML = html;
              for (const old of output.querySelectorAll('script')) {
                const script = document.createElement('script');
                script.textContent = old.textContent;
                old.replaceWith(script);
              }
            }""",
            three_cars()._repr_html_(),
        )
        player = players(page)
        button(player, "下一步").click()
        assert frame_of(player) == 1 and ink_count(player) > 1000
    button(player, "播放").click()
    page.evaluate("document.getElementById('output').innerHTML = ''")  # 放到一半被删掉
    page.wait_for_timeout(200)


@pytest.mark.slow
def test_player_is_readable_by_a_screen_reader(open_replay):
    page = open_replay(three_cars()._repr_html_())
    player = players(page)
    assert "MountainCar-v0 的回放" in player.get_attribute("aria-label")
    for i, label in enumerate(["左", "不推", "<随机> & 乱走"]):
        canvas = player.get_by_role("img").nth(i)
        assert canvas.get_attribute("aria-label").startswith(f"{label}：山谷里的小车")
    assert player.locator("button").evaluate_all(
        "all => all.map(b => b.getAttribute('aria-label'))"
    ) == ["播放", "上一步", "下一步"]
    assert (
        player.get_by_role("slider", name="第几步").get_attribute("aria-valuetext") == "第 0 步"
    )
    assert player.get_by_role("combobox", name="速度").count() == 1


@pytest.mark.slow
def test_player_follows_the_colour_of_the_page(open_replay):
    """页面从亮变暗，不用动播放器，线条就跟着变；滑条也换成暗的。"""
    css = (
        "body { color: #222; background: #fff } body.dark { color: #ddd; background: #121212 }"
    )
    page = open_replay(three_cars()._repr_html_(), css=css)
    player = players(page)

    def brightest():
        return player.locator("canvas").first.evaluate(
            """canvas => {
              const data = canvas.getContext('2d')
                .getImageData(0, 0, canvas.width, canvas.height).data;
              let most = 0;
              for (let i = 0; i < data.length; i += 4)
                if (data[i + 3] === 255) most = Math.max(most, data[i + 2]);
              return most;
            }"""
        )

    assert brightest() < 200
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_timeout(300)
    assert brightest() >= 0xDD
    assert player.evaluate("player => player.style.colorScheme") == "dark"


@pytest.mark.slow
def test_player_fits_a_phone_and_is_crisp(open_replay, tmp_path):
    page = open_replay(three_cars()._repr_html_(), width=390, device_scale_factor=3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [page.locator("canvas").nth(i).bounding_box() for i in range(3)]
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"] and boxes[0]["width"] > 300
    pixels = page.locator("canvas").first.evaluate("canvas => canvas.width")
    assert pixels == pytest.approx(3 * boxes[0]["width"], abs=2)
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    with Image.open(tmp_path / "phone.png") as shot:
        assert shot.width == 3 * 390 and len(shot.getcolors(1 << 24)) > 100


@pytest.mark.slow
def test_three_panels_stand_side_by_side_on_a_desk_and_follow_the_window(open_replay):
    page = open_replay(three_cars()._repr_html_())
    tops = {page.locator("canvas").nth(i).bounding_box()["y"] for i in range(3)}
    assert len(tops) == 1
    page.set_viewport_size({"width": 500, "height": 900})
    page.wait_for_timeout(200)
    width, box = page.locator("canvas").first.evaluate("c => [c.width, c.clientWidth]")
    assert width == box and ink_count(players(page)) > 1000
