"""命令行上的参数：在 Hydra 之前看一遍。

Hydra 的语法不认得没有引号的中文、波浪号，报错是英文，也不提示最接近的键。这里替用户加上引号，
写错的键用中文说清楚；看得懂的原样交给 Hydra。
"""

from __future__ import annotations

import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, ValueType
from hydra.errors import HydraException

from ppo_lib.config import ConfigError, check_keys, parse_overrides
from ppo_lib.files import at_home

PARSER = OverridesParser.create()

OWN_CONFIG = {
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    "--experimental-rerun",
}
"""用户自己的 Hydra 配置：里面有什么键，这里不知道。"""

FLAGS_WITH_VALUE = OWN_CONFIG | {"--cfg", "-c", "--package", "-p", "--info", "-i"}
"""Hydra 自己的、后面跟一个值的选项。"""

HOME = re.compile(r"(hydra\.(?:run|sweep)\.dir|--config-(?:dir|path))=(~.*)")
"""值是路径、以 ~ 开头的参数：等号后面的 ~，shell 不替人展开。"""


def prepared(arguments: list[str]) -> list[str]:
    """交给 Hydra 的参数：路径开头的 ~ 展开，它读不懂的值加上引号，选项都排到最后（它不许夹在中间）。

    Raises:
        ConfigError: 有不认识的键，看不懂的参数，找不到的主目录，或没有 --multirun 却写了几个取值。
    """
    several = bool({"-m", "--multirun"} & set(arguments)) or any(
        a.startswith("hydra.mode=") for a in arguments
    )
    own_config = any(a.partition("=")[0] in OWN_CONFIG for a in arguments)
    pairs, options = [], []
    for before, argument in zip([None, *arguments], arguments):
        if match := HOME.fullmatch(argument):
            argument = f"{match[1]}={at_home(match[2], ConfigError)}"
        if not argument.startswith("-") and before not in FLAGS_WITH_VALUE:
            argument = readable(argument)
            if not own_config and not argument.startswith(("+", "~", "hydra.", "hydra/")):
                check(argument, several)
            pairs.append(argument)
        else:
            options.append(argument)
    return pairs + options


def check(argument: str, several: bool) -> None:
    """一个 键=值：键认得，又没有在只训练一次时给几个取值。"""
    key, equals, value = argument.partition("=")
    if not equals:
        parse_overrides([argument])  # 报错
    check_keys([key])
    override = parsed(argument)
    if override and override.is_sweep_override() and not several:
        simple = override.value_type == ValueType.SIMPLE_CHOICE_SWEEP
        as_list = f"；要写成一个列表，请加方括号 {key}=[{value}]" if simple else ""
        raise ConfigError(
            f"{argument!r} 里有几个取值：要各训练一次，请加上 --multirun{as_list}。"
        )


def parsed(argument: str) -> Override | None:
    """Hydra 读出来的 键=值；它读不懂就是 None。"""
    try:
        return PARSER.parse_override(argument)
    except HydraException:
        return None


def readable(argument: str) -> str:
    """Hydra 读不懂的值，加上引号：先试着只给它读不懂的那几段加，不行就整个加。"""
    key, equals, value = argument.partition("=")
    if not equals or parsed(argument):
        return argument
    parts = re.split(r"([,()\[\]{}])", value)
    by_parts = "".join(p if parsed(f"x={p}") or p in "()[]{}," else quoted(p) for p in parts)
    if not key.startswith("hydra") and not set("'\"") & set(value):
        argument = f"{key}={by_parts}"
    return argument if parsed(argument) else f"{key}={quoted(value)}"


def quoted(value: str) -> str:
    """Hydra 的语法里，带引号的一个值。"""
    return QuotedString(value.strip(), Quote.single).with_quotes()
