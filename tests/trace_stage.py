"""Run a stage and tell what it read: python -m tests.trace_stage OUTPUT.json STAGE ARGUMENT…

Writes {"params": [leaf keys of params.yaml that the stage read], "modules": [modules of nas and stages it imported]}.
"""

import json
import runpy
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from nas.pipeline import params

seen: set[str] = set()


def note(section: params.Section, names: Iterable[str], prefix: str) -> None:
    """Note the keys `names` of a section as read; a section within it notes its own keys when they are read."""
    seen.update(f"{prefix}{name}" for name in names if not isinstance(section.__dict__[name], params.Section | dict))


def sections(value: object, prefix: str = "") -> Iterator[tuple[params.Section, str]]:
    """Every section of a tree, also those of a mapping by network, and what stands before its keys."""
    if isinstance(value, params.Section):
        yield value, prefix
    inner = value if isinstance(value, dict) else value.__dict__ if isinstance(value, params.Section) else {}
    for name, below in inner.items():
        yield from sections(below, f"{prefix}{name}.")


def watch(tree: params.Params) -> None:
    prefixes = {id(section): prefix for section, prefix in sections(tree)}
    read, dump = params.Section.__getattribute__, params.Section.model_dump

    def getattribute(self: params.Section, name: str) -> object:
        if name in type(self).model_fields:
            note(self, [name], prefixes[id(self)])
        return read(self, name)

    def model_dump(self: params.Section, **options: object) -> dict:
        for section, prefix in sections(self, prefixes[id(self)]):  # it takes those within without asking them
            left_out = (options.get("exclude") or set()) if section is self else set()
            note(section, set(type(section).model_fields) - left_out, prefix)
        return dump(self, **options)

    params.Section.__getattribute__ = getattribute
    params.Section.model_dump = model_dump


load = params.load


def traced_load(*arguments: object) -> params.Params:
    tree = load(*arguments)
    watch(tree)
    return tree


params.load = traced_load
output, stage, *arguments = sys.argv[1:]
sys.argv = [f"stages/{stage}.py", *arguments]
runpy.run_module(f"stages.{stage}", run_name="__main__", alter_sys=False)
modules = {name for name in sys.modules if name.split(".")[0] in ("nas", "stages")}
Path(output).write_text(json.dumps({"params": sorted(seen), "modules": sorted(modules | {f"stages.{stage}"})}))
