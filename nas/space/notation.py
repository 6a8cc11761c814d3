"""Genotypes as the field writes them, read without running any of it.

- DARTS prints ``Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), reduce=…, reduce_concat=…)``, and
  so do the programs that follow it (PC-DARTS, P-DARTS, GDAS's), where a name and ``=`` may stand before, or the time of
  a log. Of several in one text the last counts: a log prints one an epoch.
- pt.darts groups the edges by node: ``normal=[[('sep_conv_3x3', 0), ('skip_connect', 1)], …]``.
- NAS-Bench-201 writes ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|…|``: the operation on every edge.
- Ours is the JSON of ``to_dict``.
"""

import ast
import json
from pathlib import Path
from typing import Any, cast

from nas.pipeline.errors import UserError
from nas.space.bench201 import Bench201Genotype
from nas.space.enumerate import read as read_spelled
from nas.space.genotypes import AnyGenotype, Genotype, from_dict

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
SUFFIXES = (".json", ".txt")


def parse(text: str) -> AnyGenotype:
    """The genotype that `text` says, in any of the notations above; raises ValueError if it says none."""
    start = text.rfind("Genotype(")
    if start < 0 and text.startswith("|"):
        return Bench201Genotype(text.strip())
    if start < 0:
        return from_dict(json.loads(text))
    call = _call(text[start:])
    named: dict[str | None, ast.expr] = {FIELDS[i]: value for i, value in enumerate(call.args[: len(FIELDS)])}
    named |= {keyword.arg: keyword.value for keyword in call.keywords}
    if set(named) != set(FIELDS) or len(call.args) > len(FIELDS):
        raise ValueError(f"a genotype has {', '.join(FIELDS)}, not {', '.join(map(str, named)) or 'nothing'}")
    values = {field: _value(named[field]) for field in FIELDS}
    return Genotype.from_dict(values | {cell: _by_edge(values[cell]) for cell in ("normal", "reduce")})


def spelled(text: str) -> AnyGenotype:
    """The genotype that a table of trained ones names: as `enumerate.spell` spells it, or in any notation above."""
    return read_spelled(text) if text.startswith("normal: ") else parse(text)


def _call(text: str) -> ast.Call:
    """The call at the start of `text`, whatever follows its last bracket."""
    for end, character in enumerate(text, start=1):
        if character == ")":
            try:
                return cast("ast.Call", ast.parse(text[:end], mode="eval").body)  # it begins and ends as one
            except SyntaxError:
                continue
    raise ValueError("its brackets do not close, or what stands in them is no Python")


def _value(node: ast.expr) -> object:
    """Literals, and ``range(…)`` or ``list(range(…))`` of whole numbers."""
    match node:
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[inner], keywords=[]):
            return _value(inner)
        case ast.Call(func=ast.Name(id="range"), args=bounds, keywords=[]) if 1 <= len(bounds) <= 3:
            numbers = [ast.literal_eval(bound) for bound in bounds]
            if all(type(number) is int and abs(number) < 1000 for number in numbers):
                return list(range(*numbers))
    return ast.literal_eval(node)


def _by_edge(edges: Any) -> Any:
    """pt.darts's list of nodes as the list of their edges."""
    grouped = isinstance(edges, list | tuple) and all(
        isinstance(node, list | tuple) and node and all(isinstance(edge, list | tuple) for edge in node)
        for node in edges
    )
    return [edge for node in edges for edge in node] if grouped else edges


def read(path: Path) -> AnyGenotype:
    """The genotype in a file of one of these notations.

    Raises
    ------
    UserError
        If the file cannot be read or says no genotype.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: is no genotype: {error}") from None


def own(folder: Path) -> dict[str, Path]:
    """The genotypes in `folder`, NAME.json or NAME.txt, by name.

    Raises
    ------
    UserError
        If a name is there twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix in SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise UserError(f"{path}: {found[path.stem].name} has that name too; remove one of them")
            found[path.stem] = path
    return found
