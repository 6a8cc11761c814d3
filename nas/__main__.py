"""The command line: `python -m nas check` checks params.yaml and mends dvc.lock; `preset NAME` writes params.yaml."""

import sys
from pathlib import Path

from ruamel.yaml import YAML

from nas.pipeline.check import check_against_data
from nas.pipeline.errors import UserError
from nas.pipeline.lock import mend
from nas.pipeline.params import PATH, load, preset


def main(arguments: list[str]) -> None:
    match arguments:
        case ["check"]:
            params = load()
            if mended := mend():
                print(mended, file=sys.stderr)
            if not Path(params.data.root).is_dir():  # DVC, whose dependency it is, would end without a word of why
                raise UserError(
                    f"{PATH}: data.root: {params.data.root} is no folder: create it, or name the one you mean"
                )
            check_against_data(params)
            YAML().dump(params.model_dump(), sys.stdout)
        case ["preset", name]:
            preset(name)
            print(f"{PATH} now holds the preset {name}; `dvc repro` runs what it changes")
        case _:
            raise UserError("usage: python -m nas check | preset NAME")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (UserError, OSError) as mistake:
        sys.exit(f"error: {mistake}")
