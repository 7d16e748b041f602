"""机械地改坏一个函数：符号、运算、轴、常数、次序、漏掉一项……每次只改一处。"""

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator

SWAPPED_OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.MatMult: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
EDGES = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
"""比较时，恰好相等的那一下。"""

SWAPPED_NAMES = [
    ("minimum", "maximum"), ("min", "max"), ("mean", "sum"), ("argmax", "argmin"), ("any", "all"),
    ("floor", "ceil"), ("zeros", "ones"), ("zeros_like", "ones_like"), ("std", "var"),
    ("nanmean", "mean"), ("cumsum", "cumprod"), ("exp", "log"), ("nanstd", "std"),
]  # fmt: skip
OTHER_NAME = {b: a for a, b in SWAPPED_NAMES} | {a: b for a, b in reversed(SWAPPED_NAMES)}


def alternatives(node: ast.AST, parameters: list[str]) -> Iterator[ast.AST]:
    """这一处可以改成什么。"""
    if isinstance(node, ast.BinOp):
        if other := SWAPPED_OPERATORS.get(type(node.op)):
            yield ast.BinOp(node.left, other(), node.right)
        yield node.left
        yield node.right
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        yield node.operand
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(SWAPPED_OPERATORS[type(node.op)](), node.values)
        yield from node.values
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for table in (SWAPPED_OPERATORS, EDGES):
            if other := table.get(type(node.ops[0])):
                yield ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1)
        if node.value not in (0, 1):
            yield ast.Constant(-node.value)
    elif (
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in parameters
    ):
        after = parameters[(parameters.index(node.id) + 1) % len(parameters)]
        if after != node.id:
            yield ast.Name(after, ast.Load())
    elif isinstance(node, ast.Attribute) and node.attr in OTHER_NAME:
        yield ast.Attribute(node.value, OTHER_NAME[node.attr], node.ctx)
    elif isinstance(node, ast.Name) and node.id in OTHER_NAME:
        yield ast.Name(OTHER_NAME[node.id], node.ctx)
    elif isinstance(node, ast.Call) and len(node.args) == 3 and ast.unparse(node.func).endswith("where"):  # fmt: skip
        yield ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords)
    elif isinstance(node, ast.Call) and node.keywords and all(k.arg for k in node.keywords):
        for i in range(len(node.keywords)):
            yield ast.Call(node.func, node.args, node.keywords[:i] + node.keywords[i + 1 :])
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.Constant(None))


class ReplaceNth(ast.NodeTransformer):
    """把第 n 个可改之处换掉。"""

    def __init__(self, parameters: list[str], n: int):
        self.parameters, self.left, self.change = parameters, n, None

    def visit(self, node):
        for new in alternatives(node, self.parameters):
            if self.left == 0 and self.change is None:
                self.change = (
                    f"{ast.unparse(node)} → {ast.unparse(ast.fix_missing_locations(new))}"
                )
                return ast.copy_location(new, node)
            self.left -= 1
        return self.generic_visit(node)


def mutants(function: Callable) -> Iterator[tuple[str, Callable]]:
    """function 的全部改法：（改了什么，改坏了的函数）。function 要是顶层的 def。"""
    source = textwrap.dedent(inspect.getsource(function))
    parameters = list(inspect.signature(function).parameters)
    n, seen = 0, Counter()
    while True:
        tree = ast.parse(source)
        definition = tree.body[0]
        assert isinstance(definition, ast.FunctionDef), f"{function} 不是 def"
        definition.decorator_list = []
        definition.returns = None
        for argument in definition.args.args:
            argument.annotation = None
        if ast.get_docstring(definition) is not None:
            del definition.body[0]
        replace = ReplaceNth(parameters, n)
        definition.body = [replace.visit(statement) for statement in definition.body]
        if replace.change is None:
            return
        space = dict(function.__globals__)
        exec(compile(ast.fix_missing_locations(tree), "<mutant>", "exec"), space)
        seen[replace.change] += 1
        place = f"（第 {seen[replace.change]} 处）" if seen[replace.change] > 1 else ""
        yield replace.change + place, space[function.__name__]
        n += 1
