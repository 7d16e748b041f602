"""第 10 章的答案。"""

import numpy as np
import xarray as xr

from ppo_lib.course.ch10 import grid_iqm
from ppo_lib.recorded import thin


def above(name, axis, score, **cell):
    """这个轴上过线的取值，(n,)。"""
    line = grid_iqm(name).sel(cell)
    return line[axis].values[line.values >= score]


largest = above("cartpole", "beta_1", 475, clip_eps=0.2, ent_coef=0.003).max()
rescuing = above("cartpole", "clip_eps", 475, beta_1=0.95, ent_coef=0.003)
lr = above("cartpole_lr", "lr", 475, beta_1=0.95).min()
ent_coef = above("mountain_car", "ent_coef", -130, beta_1=0.9, clip_eps=0.2).min()
clip_eps = above("mountain_car", "clip_eps", -130, beta_1=0.9, ent_coef=0.03).max()
rescue = above("mountain_car", "ent_coef", -130, beta_1=0.9, clip_eps=0.5)[0]
steady = above("mountain_car_lr", "beta_1", -130, lr=0.016)


def others(scores, key):
    return [dim for dim in scores.dims if dim != key]


def effect_with_numpy(scores, key):
    values = np.moveaxis(scores.values, scores.dims.index(key), 0)
    return values.reshape(len(values), -1).mean(axis=1) - values.mean()


def by_sorting(table, pick):
    ranked = sorted(table.tolist(), key=lambda row: sum(row[:pick]))
    return float(np.mean(ranked[-1][pick:]))


def with_a_loop(table, pick):
    best, score = None, -np.inf
    for row in table:
        if row[:pick].mean() > score:
            best, score = row, row[:pick].mean()
    return np.asarray([best[pick:].mean()]).reshape(())


def with_coarsen(ds, points):
    size = ds.sizes["update"] // points
    returns = ds["return"].coarsen(update=size).mean()
    steps = ds["timesteps"].values[size - 1 :: size]
    returns = returns.drop_vars("timesteps").rename(update="point")
    return xr.Dataset({"return": returns}, {"timesteps": ("point", steps)})


def skipna_off(ds, points):
    good = thin(ds["return"], points).to_dataset(name="return")
    size = ds.sizes["update"] // points
    bad = ds["return"].coarsen(update=size).reduce(np.mean)
    return good.assign({"return": bad.drop_vars("timesteps").rename(update="point")})


def last_of_each(ds, points):
    size = ds.sizes["update"] // points
    return ds[["return"]].isel(update=slice(size - 1, None, size)).rename(update="point")


def by_coarsen(ds, points):
    return ds[["return"]].coarsen(update=ds.sizes["update"] // points)


RIGHT = {
    "check_largest_beta_1": [(largest,), (np.float32(largest),), (f"{largest:g}",)],
    "check_clip_eps_compensates": [(set(rescuing),), (rescuing.tolist()[::-1],), (rescuing,)],
    "check_lr_rescues": [(lr,), (f"{lr:e}",)],
    "check_smallest_ent_coef": [(ent_coef,), (float(ent_coef),)],
    "check_large_clip_eps": [(clip_eps, rescue), ([float(clip_eps), float(rescue)],)],
    "check_beta_1_at_large_lr": [(set(steady),), (steady,), ([f"{x:g}" for x in steady],)],
    "check_main_effect": [
        lambda s, key: s.mean(others(s, key)) - s.mean(),
        lambda s, key: [float(s.sel({key: v}).mean() - s.mean()) for v in s[key]],
        lambda s, key: (s - s.mean()).groupby(key).mean(...).values,
        effect_with_numpy,
    ],
    "check_honest_score": [
        lambda t, p: t[t[:, :p].mean(1).argmax(), p:].mean(),
        by_sorting,
        with_a_loop,
    ],
    "check_explorer_data": [
        lambda ds, n: thin(ds["return"], n).to_dataset(name="return"),
        lambda ds, n: thin(ds, n).transpose("point", ...),
        with_coarsen,
    ],
}

WRONG = {
    "check_largest_beta_1": [
        ((0.5,), "不是最大"),
        ((0.9,), "很近"),
        ((0.95,), "另外两个滑块"),
        ((0.85,), "不在选项里"),
        ((...,), "换成你的答案"),
    ],
    "check_clip_eps_compensates": [
        (({0.05, 0.1},), "别停在第一处"),
        (({0.05, 0.1, 0.15, 0.3, 0.5},), "β₁ = 0.9 时"),
        (({0.05, 0.1, 0.2},), "没有过线"),
        (({0.3},), "还漏了 2 个"),
        ((0.1,), "还漏了 2 个"),
        (({0.4},), "不在选项里"),
        ((set(),), "还漏了 3 个"),
    ],
    "check_lr_rescues": [
        ((1.6e-2,), "不是最小"),
        ((4e-3,), "β₁ 还停在 0.9"),
        ((1e-3,), "往另一头"),
        ((3e-3,), "不在选项里"),
    ],
    "check_smallest_ent_coef": [
        ((0.05,), "不是最小"),
        ((0.01,), "过线的有 3 个"),
        ((0.003,), "往右拨"),
        ((0.08,), "太大"),
        ((0.02,), "不在选项里"),
    ],
    "check_large_clip_eps": [
        ((0.2, 0.05), "还能更大"),
        ((0.5, 0.05), "没有过线"),
        ((0.3, 0.03), "第二问"),
        ((0.05, 0.3), "不在选项里"),
        ((0.3, ...), "换成你的答案"),
        ((0.3,), "要 2 个答案"),
    ],
    "check_beta_1_at_large_lr": [
        (({0.0, 0.2, 0.5},), "越小越稳"),
        (({0.8, 0.9, 0.95},), "没有过线"),
        (({0.9},), "还漏了 1 个"),
        ((0.9,), "还漏了 1 个"),
        (({0.5, 0.8, 0.9, 0.95},), "lr = 0.008"),
        (({0.2, 0.5, 0.8, 0.9, 0.95},), "lr = 0.004"),
    ],
    "check_main_effect": [
        (lambda s, key: s.mean(others(s, key)), "还没有减去总平均"),
        (lambda s, key: s.mean() - s.mean(others(s, key)), "符号反了"),
        (lambda s, key: s.mean(others(s, key)) - s.mean(others(s, key))[0], "第一个取值"),
        (lambda s, key: s.mean(), "应当是 (2,)"),
        (lambda s, key: s.sum() and None, "没有返回值"),
        (lambda s, key: print(s.mean(others(s, key))), "print"),
        (lambda s, key: 2 * (s.mean(others(s, key)) - s.mean()), "2 倍"),
        (lambda s, key: s.mean(others(s, key)) - s.median(), "总的中位数"),
        (lambda s, key: s[key].mean(others(s, key)), "维"),
        (lambda s: s.mean(), "收 1 个"),
    ],
    "check_honest_score": [
        (lambda t, p: t[t.mean(1).argmax()].mean(), "同样的种子"),
        (lambda t, p: t[t[:, :p].mean(1).argmin(), p:].mean(), "最差"),
        (lambda t, p: t[t[:, :p].mean(1).argmax(), p:], "平均成一个数"),
        (lambda t, p: t[t[:, :3].mean(1).argmax(), 3:].mean(), "pick 都是 3"),
        (lambda t, p: t[t[:, :p].mean(1).argmax(), 3:].mean(), "pick 都是 3"),
        (lambda t, p: t[t[:, :p].mean(1).argmax(), p:].sum(), "你求了和"),
        (lambda t, p: t.sum() and None, "没有返回值"),
        (lambda t, p: -1.0, "结果应当随输入变"),
    ],
    "check_explorer_data": [
        (lambda ds, n: thin(ds["return"], n), "to_dataset"),
        (lambda ds, n: ds, "先用 thin"),
        (lambda ds, n: thin(ds["return"], 6).to_dataset(name="return"), "points = 4"),
        (lambda ds, n: thin(ds["return"], 4).to_dataset(name="return"), "points = 6"),
        (lambda ds, n: thin(ds["return"], n).to_dataset(name="score"), "没有 return"),
        (lambda ds, n: thin(ds["return"], n).mean("seed").to_dataset(name="return"), "不收"),
        (lambda ds, n: thin(ds["return"], n)[..., :1].to_dataset(name="return"), "都要留着"),
        (
            lambda ds, n: thin(ds["return"].fillna(0), n).to_dataset(name="return"),
            "当作 0 平均进去",
        ),
        (lambda ds: thin(ds, 4), "参数的个数"),
        (skipna_off, "NaN"),
        (last_of_each, "最后一次更新；"),
        (
            lambda ds, n: ds[["return"]].isel(update=slice(n)).rename(update="point"),
            "最前的几次",
        ),
        (lambda ds, n: by_coarsen(ds, n).max().rename(update="point"), "最大的"),
        (lambda ds, n: by_coarsen(ds, n).median().rename(update="point"), "中位数"),
        (lambda ds, n: by_coarsen(ds, n).mean().rename(update="point"), "回报对了"),
        (lambda ds, n: thin(ds["entropy"], n).to_dataset(name="return"), "你缩的是 entropy"),
        (
            lambda ds, n: thin(ds["return"].cumsum("update"), n).to_dataset(name="return"),
            "一段里 3 次更新",
        ),
        (lambda ds, n: ds.assign({"return": thin(ds["return"], n)}), "另做一个 Dataset"),
        (lambda ds, n: thin(ds["returns"], n), "没有 'returns' 这个名字。可以用的有 'return'"),
        (
            lambda ds, n: thin(ds["return"].sel(seed=7), n),
            "seed 里没有 7 这个取值；可以用的有 0、1",
        ),
        (
            lambda ds, n: thin(ds["return"].sel(seed=[0, 7]), n),
            "没有你要的某个取值；可以用的有 0、1",
        ),
        (
            lambda ds, n: ds["return"].mean("seeds"),
            "没有 'seeds' 这个名字。可以用的有 'beta_1'",
        ),
        (
            lambda ds, n: ds["return"].isel(seeds=0),
            "没有 'seeds' 这个名字。可以用的有 'beta_1'",
        ),
        (lambda ds, n: ds["return"].sel(seeds=0), "没有 'seeds' 这个名字。可以用的有 'beta_1'"),
        (lambda ds, n: ds.drop_vars("foo"), "没有 'foo' 这个名字。（"),
        (lambda ds, n: print(ds), "没有返回值"),
        (lambda ds, n: ds["return"].values, "要返回"),
        (..., "换成你的答案"),
    ],
}

HARMLESS = {
    # 种子一样多，按和挑与按平均挑是同一格
    "check_honest_score": {"table[:, :pick].mean → table[:, :pick].sum"},
}
