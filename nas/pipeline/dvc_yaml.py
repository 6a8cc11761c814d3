"""YAML files, read as DVC reads them: numbers and words of YAML 1.2 (1e-4 is a number, yes and on are texts)."""

import re
from pathlib import Path
from typing import Any

import yaml

from nas.pipeline.errors import UserError, reason

# What a text without quotes is, and how it may begin, as ruamel.yaml has it, which DVC uses: YAML 1.2. PyYAML has 1.1.
KINDS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0b[01_]+|0o?[0-7_]+|[0-9_]+|0x[0-9a-fA-F_]+)", "-+0123456789"),
    "float": (
        r"[-+]?[0-9][0-9_]*(\.[0-9_]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|[-+]?\.[0-9_]+([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
}
BASES = {"0b": 2, "0o": 8, "0x": 16}


class _Reading:
    """What both of PyYAML's readers, the one in C and the one in Python, do in our files."""

    yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0].rpartition(":")[2] not in KINDS]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = yaml.SafeLoader.yaml_constructors.copy()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, value in node.value:
            if (same := (key.tag, str(key.value))) in seen:
                problem = f'found duplicate key "{key.value}" with value "{self.construct_object(value, deep=True)}"'
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(same)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        digits = self.construct_scalar(node).replace("_", "")
        return int(digits, BASES.get(digits.lstrip("+-")[:2], 10))


class _Fast(_Reading, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    pass


class _Plain(_Reading, yaml.SafeLoader):
    pass


for loader in (_Fast, _Plain):
    loader.add_constructor("tag:yaml.org,2002:int", _Reading.construct_integer)
    for kind, (pattern, first) in KINDS.items():
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})$"), first)


def parse(text: str) -> Any:
    try:
        return yaml.load(text, _Fast)
    except yaml.YAMLError:
        return yaml.load(text, _Plain)  # says better what is wrong


def read(path: Path) -> Any:
    """What stands in a file.

    Raises
    ------
    UserError
        If there is none, or it is no valid YAML.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run in the project's folder, where params.yaml lies") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text in UTF-8") from None
    except yaml.reader.ReaderError as error:
        raise UserError(f"{path}: is not valid YAML: character {error.position + 1}: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem).split())
        raise UserError(f"{path}: line {mark.line + 1} is not valid YAML: {problem}") from None
    except (ValueError, LookupError) as error:  # the latter by PyYAML, of what a tag does not fit
        raise UserError(f"{path}: holds a value that is not valid YAML: {reason(error)}") from None
