"""Check params.yaml, and write what the code of every other stage says: python -m stages.code."""

from collections.abc import Iterator
from itertools import product

from nas.pipeline.params import Params
from nas.pipeline.stage import run


def stages(params: Params) -> Iterator[tuple[str, list[str]]]:
    """Each stage that is to be fingerprinted, with the arguments that its code depends on."""
    for stage in ("prepare", "derive", "complexity", "pretrain", "slim", "export_slim", "latency", "report"):
        yield stage, []
    for space, algorithm in product(params.search.spaces, params.search.algorithms):
        yield "search", [space, algorithm]
    for space, algorithm in product(params.truth.spaces, params.truth.opinions):
        yield "opinions", [space, algorithm]
    for stage, names in (
        ("truth", params.truth.spaces),
        ("select", params.select.searches),
        ("evaluate", params.evaluate.genotypes),
        ("gradcam", params.gradcam.networks),
        ("export", params.export.networks),
    ):
        for name in names:
            yield stage, [name]


def main(params: Params, name: str) -> None:
    from nas.pipeline.check import check_against_data
    from nas.pipeline.code import fingerprint
    from nas.pipeline.files import whole_folder, write_json
    from nas.pipeline.names import CODE, code_file

    check_against_data(params)
    with whole_folder(CODE) as folder:
        for stage, arguments in stages(params):
            path = folder / code_file(stage, *arguments).relative_to(CODE)
            write_json(path, fingerprint(stage, arguments, params))


if __name__ == "__main__":
    run(main)
