"""Fingerprints of code: which modules a stage's result depends on, each by a hash of what it says.

A stage depends on its fingerprint, not on source files, so a comment, a docstring or an operation that it does not name
reruns nothing. The hash is of the source's own characters without comments, docstrings and layout, so every Python
gives the same. Modules are found by following imports, wherever they stand in a module. What is chosen by name
(operations, data readers) is resolved from params.yaml: see `chosen`.

The room nas.pipeline stays out by rule: it checks, names, writes and logs, and holds nothing that changes a number.
What it imports from other rooms it reads names from, nothing else.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import keyword
import tokenize
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.pipeline.errors import UserError
from nas.pipeline.names import OWN_GENOTYPES, Label, Network, Search, code_file
from nas.pipeline.names import TABLES as TABLES_OF_OTHERS

if TYPE_CHECKING:
    from nas.pipeline.params import Params
    from nas.space.spaces import SearchSpace

ROOMS = ("nas", "stages")
APART = "nas.pipeline"
AFTER = "record"  # a training stage's function that runs when the training is done
TWINS = ("nas.networks", "nas.fast")  # nas.fast.accelerate loads nas.fast.NAME where nas.networks.NAME is loaded

# Tables from names to what is made: a stage depends on the entries that it names (`chosen`), not on the whole table.
SPACES, OPERATIONS, READERS = "nas.space.spaces", "nas.space.operations", "nas.data.readers"
ALGORITHMS = "nas.search"  # a file for each; there is no table
TABLES = {SPACES: "_ALL", OPERATIONS: "FAMILIES", READERS: "READERS"}
SUMMARIES = ("derive", "complexity", "report")  # stages that read the tables whole


# What a source says

NEWLINE, INDENT, DEDENT = "newline ", "indent ", "dedent "  # no token reads like that


def essence(source: str, without: Collection[str] = ()) -> str:
    """The tokens of `source`, one a line, without comments, docstrings and layout.

    Parameters
    ----------
    source : str
    without : collection of str
        Top-level functions and assignments, by name, that are left out.
    """
    lines, tree = io.StringIO(source).readlines(), ast.parse(source)
    for node in tree.body:
        rows = range(_first_line(node), (node.end_lineno or 0) + 1)
        alone = not any(other is not node and other.lineno in rows for other in tree.body)  # or `;` stands between
        if _name(node) in without and alone:
            lines[rows.start - 1 : rows.stop - 1] = ["\n"] * len(rows)
    texts = {
        (node.lineno, len(lines[node.lineno - 1].encode()[: node.col_offset].decode()))  # ast counts bytes
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    tokens, ended = [], False
    for (row, column), text in _tokens(lines):
        if (row, column) in texts and text not in (INDENT, DEDENT):
            ended = True  # and the end of its line goes too
            continue
        if not (ended and text == NEWLINE):
            tokens.append(text)
        ended = False
    return "\n".join(repr(token) for token in _without_last_commas(tokens))


def _name(node: ast.stmt) -> str | None:
    match node:
        case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return None


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


def _tokens(lines: list[str]) -> Iterator[tuple[tuple[int, int], str]]:
    """Position and text of each token that means something; an f-string is one token, as before Python 3.12."""
    passed = (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER)
    marks = {tokenize.INDENT: INDENT, tokenize.DEDENT: DEDENT, tokenize.NEWLINE: NEWLINE}
    begins = [getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)]
    ends = [getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)]
    depth, start = 0, (0, 0)
    for token in tokenize.generate_tokens(iter(lines).__next__):
        if token.type in begins:
            start = start if depth else token.start
            depth += 1
        elif token.type in ends:
            depth -= 1
            if not depth:
                yield start, _between(lines, start, token.end)
        elif not depth and token.type not in passed:
            yield token.start, marks.get(token.type, token.string)


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return "".join([lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]])


def _without_last_commas(tokens: list[str]) -> list[str]:
    """Without the comma before a closing bracket, which a formatter adds, unless it makes a tuple of one.

    Where a lambda stands in the bracket, whose commas are no elements', it stays.
    """
    kept: list[str] = []
    makes_tuple: list[bool] = []  # of each open bracket: whether a comma before its end would mean something
    lambdas: list[bool] = []
    for i, token in enumerate(tokens):
        if token in ("(", "[", "{"):
            before = kept[-1] if kept else ""
            called = before[-1:] in tuple(")]}\"'") or (before.isidentifier() and not _is_keyword(before))
            makes_tuple.append(called if token == "[" else token == "(" and not called)
            lambdas.append(False)
        elif token in (")", "]", "}") and makes_tuple:
            makes_tuple.pop()
            lambdas.pop()
        elif token == "lambda" and lambdas:
            lambdas[-1] = True
        elif token == "," and makes_tuple:
            if tokens[i + 1] in (")", "]", "}") and not makes_tuple[-1] and not lambdas[-1]:
                continue
            makes_tuple[-1] = False  # of two elements or more it means nothing
        kept.append(token)
    return kept


def _is_keyword(word: str) -> bool:
    return keyword.iskeyword(word) or word in ("match", "case", "type")


# What a module loads


@cache
def _root(room: str) -> Path:
    """Where a room lies: in one checkout, or the library where it is installed and `stages` in a project."""
    if room == "nas":
        return Path(__file__).parents[2]
    spec = find_spec(room)
    return Path(spec.origin).parents[1] if spec and spec.origin else Path()


def _path(name: str) -> Path:
    """Of a module of ours, without .py."""
    return _root(name.split(".")[0]) / name.replace(".", "/")


@cache
def _source(name: str) -> str | None:
    """The text of a module of ours; None if there is none of that name."""
    path = _path(name)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None


def _parsed(name: str) -> ast.Module:
    source = _source(name)
    if source is None:
        raise UserError(f"{name}: there is no such module, though a table of names (FAMILIES, READERS) has it")
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise UserError(f"{name}: line {error.lineno} is not valid Python: {error.msg}") from None


@cache
def _imports(name: str, without: str | None = None) -> frozenset[str]:
    """The modules of ours that a module imports anywhere in it but in its function `without`, and all their packages.

    What only a type checker reads is passed over.
    """
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for statement in node.orelse:
                visit(statement)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise UserError(f"{name}: a relative import is not followed: write it out")
            found.update([str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)])
        for child in ast.iter_child_nodes(node):
            visit(child)

    for node in _parsed(name).body:
        if without is None or _name(node) != without:
            visit(node)
    with_packages = {".".join(parts[: i + 1]) for parts in (f.split(".") for f in found) for i in range(len(parts))}
    return frozenset(f for f in with_packages if f.split(".")[0] in ROOMS and _source(f) is not None)


def reachable(starts: Collection[str], without: str | None = None) -> set[str]:
    """All modules of ours that loading `starts` can load, nas.pipeline's apart.

    `without` is a function of a stage, whose imports do not count.
    """
    found: set[str] = set()
    waiting = [*starts]
    while waiting:
        name = waiting.pop()
        if name in found or name == APART or name.startswith(f"{APART}."):
            continue
        found.add(name)
        parents = {name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)}
        waiting += [parent for parent in parents if _source(parent) is not None]
        waiting += _imports(name, without if name.startswith("stages.") else None)
        if TWINS[1] in found:
            plain, fast = (f"{room}." for room in TWINS)
            twins = {fast + other.removeprefix(plain) for other in found if other.startswith(plain)}
            waiting += [twin for twin in twins if _source(twin) is not None]
    return found


# Fingerprints of stages


def chosen(stage: str, arguments: Collection[str], params: Params | None = None) -> dict[str, dict[str, Any]]:
    """What a stage chooses by name: the entries of `TABLES` that its `arguments`, or params.yaml, name."""
    from nas.space.spaces import SPACES as BUILT_IN

    spaces = params.known_spaces() if params else BUILT_IN
    found: dict[str, dict[str, Any]]
    match stage, *arguments:
        case "prepare", *_:
            from nas.data.readers import READERS as modules

            assert params is not None, "params.yaml names the reader"
            return {READERS: {params.data.name: modules[params.data.name]}}
        case "search", space, algorithm, *_:
            assert params is not None, "params.yaml holds the algorithm's own parameters"
            modules = {part: part for part in algorithm.split("+") if part != "random"}
            own = params.algorithms.of(algorithm)
            found = {SPACES: {space: asdict(spaces[space])}}
            return found | {ALGORITHMS: modules, "algorithms": own} | _operations(spaces[space].operations)
        case "truth", space:
            assert params is not None, "params.yaml names the table of a truth that others made"
            tables = {name: _table_hash(name) for name in [params.truth.source] if name is not None}
            found = {SPACES: {space: asdict(spaces[space])}, "tables": tables}
            return found | _operations(spaces[space].operations)
        case "opinions", space, algorithm, *_:
            return chosen("search", [space, algorithm], params)
        case "select", *key:
            searched = Search.of("-".join(key))
            return chosen("search", [searched.space, searched.algorithm], params)
        case "evaluate", genotype, *_:
            return _operations(operations_of(genotype, spaces))
        case (("gradcam" | "export"), network):
            return _operations(operations_of(Network.of(network).genotype, spaces))
        case "latency", *_:
            assert params is not None, "params.yaml names the networks"
            return _operations(set().union(*(operations_of(name, spaces) for name in params.timed_genotypes())))
        case "complexity", *_:
            from nas.space.operations import names

            return _operations(names())
    return {}


def operations_of(genotype: str, spaces: Mapping[str, SearchSpace]) -> set[str]:
    """The operations that the genotype of that name can hold: all of its space, if it is found or drawn there."""
    from nas.space.notation import own, read
    from nas.space.published import PUBLISHED
    from nas.space.spaces import find

    label = Label.of(genotype)
    if label.kind == "all":
        return operations_of(label.base, spaces) | {label.argument}
    if label.kind:
        return operations_of(label.root, spaces)
    if genotype in PUBLISHED:
        return PUBLISHED[genotype].operations()
    if path := own(OWN_GENOTYPES).get(genotype):
        return read(path).operations()
    return set(find(genotype, spaces).operations)


def _table_hash(name: str) -> str:
    try:
        return hashlib.sha256((TABLES_OF_OTHERS / name).read_bytes()).hexdigest()
    except OSError as error:
        path = (TABLES_OF_OTHERS / name).as_posix()
        raise UserError(f"truth.source: {path} cannot be read ({error.strerror})") from None


def _operations(names: Collection[str]) -> dict[str, dict[str, Any]]:
    from nas.space.operations import family_of

    return {OPERATIONS: {name: family_of(name) for name in sorted(names)}}


def fingerprint(stage: str, arguments: Collection[str] = (), params: Params | None = None) -> dict[str, dict[str, Any]]:
    """What the stage's result depends on: {"modules": {name: hash}, "files": …, "chosen": {table: {name: entry}}}."""
    return _fingerprint(stage, chosen(stage, arguments, params), None)


def require_current(stage: str, arguments: Collection[object], params: Params) -> None:
    """Raise UserError unless the stage's code is what the stage `code` wrote down, which DVC records the result with.

    Nothing is asked where `code` has not run, or not for these arguments.
    """
    path = code_file(stage, *arguments)
    if not path.exists():
        return
    now = json.loads(json.dumps(fingerprint(stage, [str(argument) for argument in arguments], params)))
    written = json.loads(path.read_text(encoding="utf-8"))
    other_data = stage == "prepare" and now["chosen"] != written["chosen"]  # then it is params.yaml that changed
    if now != written and not other_data:
        raise UserError("its code has changed since the stage code ran; run dvc repro again (or dvc repro code first)")


def training_fingerprint(stage: str, *arguments: object, params: Params | None = None) -> str:
    """What a training's result depends on, as one hash: the fingerprint of its stage without the function `record`."""
    whole = _fingerprint(stage, chosen(stage, [str(argument) for argument in arguments], params), AFTER)
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _fingerprint(stage: str, names: Mapping[str, dict[str, Any]], after: str | None) -> dict[str, dict[str, Any]]:
    start = f"stages.{stage}"
    named = {
        f"{table}.{module}" for table in (OPERATIONS, READERS, ALGORITHMS) for module in names.get(table, {}).values()
    }
    modules = reachable([start, *named], after)
    return {
        "modules": {name: _hash(name, stage, after if name == start else None) for name in sorted(modules)},
        "files": {path: _file_hash(path) for name in sorted(modules) for path in _files(name)},
        "chosen": dict(names),
    }


@cache
def _files(name: str) -> list[str]:
    """What lies in a package besides modules, such as templates; relative to what holds the room."""
    folder, root = _path(name), _root(name.split(".")[0])
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py" and not _is_passing(path))
    return sorted(path.relative_to(root).as_posix() for path in found if not _has_nearer_package(path, folder))


def _is_passing(path: Path) -> bool:
    """Whether a file is what Python or an editor leaves for a while, or the mark that type checkers look for."""
    left = path.name.startswith((".", "#")) or path.name.endswith(("~", ".orig", ".rej", ".tmp"))
    return left or "__pycache__" in path.parts or path.name == "py.typed"


def _has_nearer_package(path: Path, folder: Path) -> bool:
    return any((parent / "__init__.py").is_file() for parent in path.parents if folder in parent.parents)


@cache
def _file_hash(path: str) -> str:
    return hashlib.sha256((_root(path.split("/")[0]) / path).read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:16]


@cache
def _hash(name: str, stage: str, after: str | None) -> str:
    table = None if stage in SUMMARIES else TABLES.get(name)
    without = {part for part in (after, table) if part is not None}
    return hashlib.sha256(essence(_source(name) or "", without).encode()).hexdigest()[:16]
