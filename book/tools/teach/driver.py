"""沙盒里的进程：运行学生的笔记本，照外面的话调用他的函数，只交回普通的数。

标准输入和输出上一行一条 JSON，一问一答，编号相同。这里没有参考答案，也没有期望的结果，所以学生的代码
把这个进程改成什么样，也只能交回别的数。这个文件单独运行，不引用仓库里别的代码。
"""

import json
import os
import resource
import signal
import sys

import numpy as np

# ---- 值和 JSON ----------------------------------------------------------------


def encode(value):
    """变成 JSON 里的东西；不是数、文字、数组和装着它们的容器，就只剩下类型的名字。"""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    for kind in (tuple, list, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(x) for x in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(x)] for key, x in value.items()]}
    try:
        array = np.asarray(value)
    except Exception:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf" or callable(value):
        return {"other": type(value).__name__}
    return {
        "array": array.ravel().tolist(),
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "jax": type(value).__module__.startswith("jax"),
    }


def decode(sent):
    """``encode`` 的反面；``other`` 变成一个什么也没有的东西，只有类型的名字与原来相同。

    Raises:
        Exception: sent 不是 ``encode`` 写得出的样子。
    """
    if not isinstance(sent, dict):
        return sent
    if "array" in sent:
        dtype = np.dtype(str(sent["dtype"]))
        if dtype.kind not in "biuf":
            raise ValueError(f"不收 {dtype} 的数组")
        array = np.array(sent["array"], dtype).reshape(sent["shape"])
        if sent["jax"]:
            import jax.numpy as jnp

            return jnp.asarray(array)
        return array if array.ndim else array[()]
    ((kind, content),) = sent.items()
    if kind == "other":
        return type(str(content)[:60], (), {})()
    if kind == "dict":
        return {decode(key): decode(x) for key, x in content}
    makers = {"tuple": tuple, "list": list, "set": set, "frozenset": frozenset}
    return makers[kind](map(decode, content))


# ---- 学生的笔记本 ---------------------------------------------------------------


class CellTimeUp(BaseException):
    """一格运行得太久；不是 Exception，``except Exception`` 接不住。"""


def ring(*_):
    raise CellTimeUp


def run_cells(shell, cells: list[str], seconds: int) -> list[str]:
    """在 shell 里依次运行各格，每格至多 seconds 秒，出错的跳过；返回各个错误的类型。"""
    signal.signal(signal.SIGALRM, ring)
    errors = []
    for source in cells:
        signal.alarm(seconds)
        try:
            result = shell.run_cell(source, store_history=False)
            error = result.error_before_exec or result.error_in_exec
        except BaseException as caught:
            error = caught
        signal.alarm(0)
        if error is not None:
            errors.append(type(error).__name__)
    return errors


def not_written(answer) -> bool:
    """还是 ``...``，或者函数体里什么也没有（除了文档字符串）。"""

    def bare(): ...

    def documented():
        """也算没有写。"""

    code = getattr(answer, "__code__", None)
    if code is None:
        return answer is ...
    same = code.co_code in (bare.__code__.co_code, documented.__code__.co_code)
    return same and all(x is None or isinstance(x, str) for x in code.co_consts)


def vjp(function, args: list, which: list[int], cotangent):
    """function 在 args 处的向量-雅可比积，只对第 which 个参数。"""
    import jax

    def of_some(*some):
        full = list(args)
        for i, x in zip(which, some):
            full[i] = x
        return jax.numpy.asarray(function(*full))

    _, pull = jax.vjp(of_some, *(args[i] for i in which))
    return pull(jax.numpy.asarray(cotangent))


def answer(space: dict, request: dict) -> dict:
    """一问的答：``look`` 看名字在不在，``value`` 要值，``call`` 调用，``vjp`` 要导数。"""
    name, wanted = request["name"], request["op"]
    if name not in space:
        return {"missing": "没有这个名字"}
    found = space[name]
    if wanted == "look":
        return {"missing": "还没有写"} if not_written(found) else {"callable": callable(found)}
    if wanted == "value":
        return {"value": encode(found)}
    args = [decode(x) for x in request["args"]]
    if wanted == "vjp":
        value = vjp(found, args, request["which"], decode(request["cotangent"]))
    else:
        value = found(*args)
    return {"value": encode(value)}


def describe(error: BaseException) -> dict:
    """一个异常：类型、原文，和（有的话）不认得的名字、没有这个属性的类型。"""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    described = {"kind": type(error).__name__, "text": str(text)[:500]}
    described["name"] = str(getattr(error, "name", ""))
    described["owner"] = type(getattr(error, "obj", None)).__name__
    return described


def set_limits(limits: dict[str, int]) -> None:
    """这个进程和它的子进程再也超不过的上限：名字是 RLIMIT_ 后面的那一截，例如 AS、FSIZE、NPROC。"""
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))


def main() -> None:
    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # 学生的打印和 input() 碰不到问答
        os.dup2(nowhere, descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")

    def reply(number: int, **content) -> None:
        replies.write(json.dumps({"id": number, **content}) + "\n")
        replies.flush()

    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    limits = json.loads(requests.readline())
    set_limits(limits["limits"])
    reply(limits["id"])
    start = json.loads(requests.readline())
    reply(start["id"], errors=run_cells(shell, start["cells"], start["cell_seconds"]))
    for line in requests:
        request = json.loads(line)
        try:
            content = answer(shell.user_ns, request)
        except BaseException as error:
            content = {"error": describe(error)}
        reply(request["id"], **content)


if __name__ == "__main__":
    main()
