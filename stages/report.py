"""One page from all that stands in results/: python -m stages.report."""

from itertools import product
from pathlib import Path

import yaml

from nas.pipeline.names import DATA, RESULTS, SUMMARY, Network, Search
from nas.pipeline.params import RANDOM, Data, Params
from nas.pipeline.stage import run
from nas.report.contents import Contents, Slimmed


def _described(data: Data) -> str:
    """What the results were measured on: ``fashion_mnist, 4000 training images``."""
    name = f"folder {Path(data.root).name}" if data.name == "folder" else data.name
    limits = ((data.train_limit, "training images"), (data.test_limit, "test images"))
    return ", ".join([name, *(f"{limit} {what}" for limit, what in limits if limit)])


def in_use(params: Params) -> dict:
    """Those parameters of the searches that any of their algorithms heeds, the spaces apart."""
    s = params.search
    own: dict[str, object] = {}
    for name in s.algorithms:
        own |= {f"{name}.{key}": value for key, value in params.algorithms.of(name).items()}
    drawn = set(s.algorithms) == {RANDOM}
    heeded = {"algorithms", "seeds", "nodes"} if drawn else set(type(s).model_fields) - {"spaces"}
    return s.model_dump(include=heeded) | own


def _of_network(params: Params, model: str) -> dict:
    """DNAL's parameters of one network."""
    sections = zip(("pretrain", "slim"), params.recipes(model), strict=True)
    return {f"{name}.{key}": value for name, section in sections for key, value in section.model_dump().items()}


def contents(
    params: Params,
    networks: list[tuple[str, int, list[int]]],
    prepared: dict | None = None,
    test_images: int | None = None,
) -> Contents:
    """What the report shows of `networks`: (genotype, layers, seeds), and of the data that were `prepared`.

    `test_images` is how many there are, if that is known and not what was prepared.
    """
    p = params.evaluate
    dnal = {model: _of_network(params, model) for model in params.slim.models}
    return Contents(
        searches=params.search.found(),
        truth=params.truth.spaces,
        asked=[Search(*key) for key in product(params.truth.spaces, params.truth.opinions, params.search.seeds)],
        networks=networks,
        gradcam=[Network.of(key) for key in params.gradcam.networks],
        recipes={
            "Run": {"seed": params.seed, "threads": params.threads, "precision": params.precision},
            "Data": params.data.model_dump(),
            "Search": in_use(params),
            "Evaluation": p.model_dump(exclude={"genotypes", "layers", "seeds"}),
            **{f"DNAL: {model}": recipe for model, recipe in dnal.items()},
            "Grad-CAM": {"method": params.gradcam.method, "removed": params.gradcam.removed},
        },
        data=_described(params.data),
        slimmed=Slimmed(params.slim.models, params.slim.penalties, dnal),
        prepared=prepared,
        test_images=prepared["test"] if prepared else test_images,
        parameters=yaml.safe_dump(params.model_dump(), sort_keys=False, allow_unicode=True),
        exported=params.export.exported(),
        timed=[*params.latency.networks, *params.latency.published],
        licence=params.export.licence,
    )


def main(params: Params, name: str) -> None:
    from nas.data.meta import read_meta
    from nas.pipeline.lock import require_locked
    from nas.report.cards import write_cards
    from nas.report.page import write
    from nas.report.summary import read_by, summarise, write_curves

    p = params.evaluate
    networks = [(genotype, layers, p.seeds) for genotype in p.genotypes for layers in p.layers] if p.seeds else []
    shown = contents(params, networks, read_meta(DATA))
    require_locked(read_by(shown))
    write(RESULTS, shown)
    write_curves(shown)
    write_cards(shown)
    summarise(shown).write(SUMMARY)


if __name__ == "__main__":
    run(main)
