"""Fingerprints of code: what changes a hash and what does not, and which modules a stage can load."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from nas.pipeline import code, dvc_yaml
from nas.pipeline.errors import UserError
from nas.pipeline.params import check

SAME = {
    "a comment": ("x = 1  # one\n", "x = 1\n"),
    "a docstring of a module": ('"""Says."""\nx = 1\n', '"""Says more.\n\nMuch more.\n"""\nx = 1\n'),
    "a docstring of a function": ("def f():\n    'a'\n    return 1\n", "def f():\n    return 1\n"),
    "a docstring after an umlaut": ("x = 'ä'; 'says'\n", "x = 'ä'; 'says ä'\n"),
    "blank lines": ("x = 1\n\n\ny = 2\n", "x = 1\ny = 2\n"),
    "Windows line ends": ("x = 1\r\nif x:\r\n    y = 2\r\n", "x = 1\nif x:\n    y = 2\n"),
    "a call on several lines": ("f(a, b=1)\n", "f(\n    a,\n    b=1,\n)\n"),
    "a call with one argument on several lines": ("f(a)\n", "f(\n    a,\n)\n"),
    "a list": ("x = [1, 2]\n", "x = [\n    1,\n    2,\n]\n"),
    "a tuple of two": ("x = (1, 2)\n", "x = (1, 2,)\n"),
    "a nested call": ("f((1,), g(2))\n", "f(\n    (1,),\n    g(\n        2,\n    ),\n)\n"),
    "spaces": ("x = f( 1 )+2\n", "x = f(1) + 2\n"),
    "a continued line": ("x = 1 + \\\n    2\n", "x = 1 + 2\n"),
    "deeper indentation": ("if x:\n  y = 1\n", "if x:\n        y = 1\n"),
}
DIFFERENT = {
    "a number": ("x = 1\n", "x = 2\n"),
    "a text": ("x = 'a b'\n", "x = 'a  b'\n"),
    "a text in a call": ("f('# no comment')\n", "f('# none')\n"),
    "an f-string": ("x = f'{y} a'\n", "x = f'{y}  a'\n"),
    "an f-string's expression": ("x = f'{y}'\n", "x = f'{z}'\n"),
    "a line that leaves a loop": ("for i in x:\n    f()\n    g()\n", "for i in x:\n    f()\ng()\n"),
    "two lines in one": ("x = 1\n-y\n", "x = 1 - y\n"),
    "a tuple of one": ("x = (1,)\n", "x = (1)\n"),
    "a returned tuple": ("def f():\n    return (x,)\n", "def f():\n    return (x)\n"),
    "an index that is a tuple": ("x = a[1,]\n", "x = a[1]\n"),
    "an index of a call's result": ("x = a(1)[1,]\n", "x = a(1)[1]\n"),
    "a matched tuple": ("match x:\n    case (y,):\n        z\n", "match x:\n    case (y):\n        z\n"),
    "a default": ("def f(x=1):\n    return x\n", "def f(x=2):\n    return x\n"),
    "a decorator": ("@a\ndef f():\n    pass\n", "@b\ndef f():\n    pass\n"),
    "an order": ("f()\ng()\n", "g()\nf()\n"),
    "a text between a loop and what follows": (
        "for i in x:\n    f()\n'then'\ng()\n",
        "for i in x:\n    f()\n    g()\n'then'\n",
    ),
    "a tuple of a lambda": ("x = (lambda a, b: a,)\n", "x = (lambda a, b: a)\n"),
    "an index of a lambda": ("y = x[lambda a, b: a,]\n", "y = x[lambda a, b: a]\n"),
    "an index of a dict": ("x = {1: 2}[1,]\n", "x = {1: 2}[1]\n"),
    "an index of a text": ("x = 'ab'[1,]\n", "x = 'ab'[1]\n"),
}


@pytest.mark.parametrize("case", SAME)
def test_what_says_the_same(case: str) -> None:
    one, other = SAME[case]
    assert code.essence(one) == code.essence(other)


def test_what_is_left_out_leaves_nothing_behind() -> None:
    one = "def record():\n    return 1\n\n\ndef main():\n    return 2\n"
    other = "@a\ndef record():\n    if x:\n        for i in y:\n            f()\n\n\ndef main():\n    return 2\n"
    assert (
        code.essence(one, ["record"]) == code.essence(other, ["record"]) == code.essence(one[one.index("def main") :])
    )
    assert code.essence("T = {}; rate = 1\n", ["T"]) != code.essence("T = {}; rate = 2\n", ["T"])


def test_a_search_depends_on_its_own_space_alone() -> None:
    tree = dvc_yaml.read(ROOT / "presets/default.yaml")

    def found(*arguments: str, **spaces: list[str]) -> dict:
        params = check(tree | {"spaces": spaces, "search": tree["search"] | {"spaces": ["darts", "pibconv", "mine"]}})
        return code.fingerprint("search", arguments, params)["chosen"]

    small, large = ["none", "mb_conv"], ["none", "mb_conv", "ds_conv"]
    mine = found("mine", "darts", mine=small)
    assert mine["nas.space.spaces"] == {
        "mine": {"name": "mine", "operations": ("none", "mb_conv"), "edges": None, "cell": "darts"}
    }
    assert mine["nas.space.operations"] == {"none": "basic", "mb_conv": "efficientnet"}
    assert found("mine", "darts", mine=large) != mine
    assert found("mine", "darts", mine=small, other=large) == mine
    assert found("darts", "darts", mine=small) == found("darts", "darts", mine=large)
    params = check(tree | {"spaces": {"mine": small}})
    assert code.chosen("evaluate", ["mine_random_0"], params) == {"nas.space.operations": mine["nas.space.operations"]}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_says_something_else(case: str) -> None:
    one, other = DIFFERENT[case]
    assert code.essence(one) != code.essence(other)


def sources() -> list[Path]:
    return sorted(path for room in code.ROOMS for path in (ROOT / room).rglob("*.py"))


def test_comments_in_our_own_sources_change_nothing() -> None:
    assert len(sources()) > 40
    for path in sources():
        source = path.read_text(encoding="utf-8")
        assert code.essence(f"# first\n{source.rstrip()}  # last\n") == code.essence(source)


PYTHONS = [p for v in range(12, 16) if (p := shutil.which(f"python3.{v}"))]


@pytest.mark.skipif(not PYTHONS, reason="no other Python than this one is installed")
@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_gives_the_same(python: str) -> None:
    program = (
        "import json, sys; from pathlib import Path; from nas.pipeline.code import essence; "
        "print(json.dumps({p: essence(Path(p).read_text(encoding='utf-8')) for p in sys.argv[1:]}))"
    )
    if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("it does not start")
    paths = [str(path.relative_to(ROOT)) for path in [*sources(), *sorted((ROOT / "tests").rglob("*.py"))]]
    done = subprocess.run([python, "-c", program, *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told == {path: code.essence((ROOT / path).read_text(encoding="utf-8")) for path in paths}


# Imports


TREE = {
    "nas/__init__.py": "",
    "nas/pipeline/__init__.py": "",
    "nas/pipeline/names.py": "from nas.deep import never",
    "nas/deep/__init__.py": "",
    "nas/deep/never.py": "",
    "nas/deep/one.py": "import nas.deep.two as two\nfrom nas.pipeline import names\n",
    "nas/deep/two.py": "def f():\n    from nas.deep import three\n",
    "nas/deep/three.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nas.deep import never\n",
    "nas/deep/late.py": "import torch\n",
    "nas/deep/words/one.md": "words\n",
    "nas/other/__init__.py": "",
    "nas/other/words.md": "never read\n",
    "stages/__init__.py": "",
    "stages/train.py": (
        "from nas.deep.one import anything\n"
        "def record():\n    from nas.deep.late import more\n    return 1\n"
        "def train():\n    return 1\n"
    ),
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code, "_root", lambda room: tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for function in (code._source, code._imports, code._hash, code._files, code._file_hash):
        function.cache_clear()


def test_imports_are_followed_wherever_they_stand_but_into_the_pipeline(tree: Path) -> None:
    packages = {"nas", "nas.deep", "stages"}
    loaded = {"nas.deep.one", "nas.deep.two", "nas.deep.three", "stages.train"} | packages
    assert code.reachable(["stages.train"]) == loaded | {"nas.deep.late"}
    assert code.reachable(["stages.train"], without="record") == loaded


def test_a_training_depends_on_all_but_what_comes_after_it(tree: Path) -> None:
    before, whole = code.training_fingerprint("train"), code.fingerprint("train")
    stage = tree / "stages/train.py"

    def changed(path: Path, old: str, new: str) -> tuple[bool, bool]:
        """Whether the training's fingerprint and the stage's change with the text of `path`."""
        kept = path.read_text()
        assert old in kept
        path.write_text(kept.replace(old, new))
        forget()
        found = code.training_fingerprint("train") != before, code.fingerprint("train") != whole
        path.write_text(kept)
        forget()
        return found

    assert changed(stage, "more\n    return 1", "more\n    return 2") == (False, True)
    assert changed(stage, "train():\n    return 1", "train():\n    return 2") == (True, True)
    assert changed(tree / "nas/deep/late.py", "torch", "numpy") == (False, True)
    assert changed(tree / "nas/deep/three.py", "never\n", "never\nx = 1\n") == (True, True)
    assert changed(tree / "nas/pipeline/names.py", "never", "one") == (False, False)
    assert changed(tree / "nas/deep/words/one.md", "words", "other words") == (True, True)
    assert changed(tree / "nas/other/words.md", "never", "still never") == (False, False)
    for passing in (
        "nas/deep/.one.py.swp",
        "nas/deep/one.py~",
        "nas/deep/__pycache__/one.pyc.139",
        "nas/deep/py.typed",
    ):
        (tree / passing).parent.mkdir(exist_ok=True)
        (tree / passing).touch()
    forget()
    assert (code.training_fingerprint("train"), code.fingerprint("train")) == (before, whole)


def test_a_relative_import_is_refused(tree: Path) -> None:
    (tree / "nas/deep/two.py").write_text("from . import three\n")
    forget()
    with pytest.raises(ValueError, match="nas.deep.two: a relative import is not followed: write it out"):
        code.reachable(["stages.train"])


def test_code_that_cannot_be_read_is_told(tree: Path) -> None:
    (tree / "nas/deep/two.py").write_text("def f(:\n")
    forget()
    with pytest.raises(UserError, match="nas.deep.two: line 1 is not valid Python: "):
        code.reachable(["stages.train"])
    with pytest.raises(UserError, match="nas.space.operations.wid: there is no such module"):
        code.reachable(["nas.space.operations.wid"])


def test_it_takes_no_torch() -> None:
    program = (
        "import sys; from nas.pipeline.params import load; from nas.pipeline.code import fingerprint; "
        "params = load(); fingerprint('search', ['darts', 'gdas'], params); fingerprint('report', [], params); "
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def short_names(path: Path) -> set[str]:
    """Packages that a source imports names from, and attributes that it asks of `nas`."""
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    asked = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    return asked | {node.module for node in nodes if isinstance(node, ast.ImportFrom)}


def test_only_the_tables_import_by_name() -> None:
    """An import whose name is computed cannot be followed: its module must be one of `chosen`, or of `TWINS`.

    ``nas.predict`` and what `nas.search` gives by a short name are for other people's programs; none of ours may.
    """
    assert not [path for path in sources() if "nas.search" in short_names(path) or "nas.predict" in short_names(path)]
    by_name = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sources()
        if any(
            word in path.read_text(encoding="utf-8") for word in ("import_module", "__import__", "spec_from", "exec(")
        )
    }
    of_names = {code.OPERATIONS, code.READERS, f"{code.ALGORITHMS}.algorithm", "nas.fast"}
    assert by_name - {"nas", "nas.search", "nas.pipeline.code"} == of_names


def test_what_computes_a_network_faster_comes_with_it() -> None:
    found = {stage: code.reachable([f"stages.{stage}"]) for stage in ("search", "evaluate", "gradcam")}
    assert {"nas.fast", "nas.fast.network", "nas.fast.supernet"} <= found["search"]
    assert "nas.fast.network" in found["evaluate"] and "nas.fast.supernet" not in found["evaluate"]
    assert not [name for name in found["gradcam"] if name.startswith("nas.fast")]
