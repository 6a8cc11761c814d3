"""One page from all that stands in results/: python -m stages.report."""

from pathlib import Path

import yaml

from nas.pipeline.names import DATA, RESULTS, SUMMARY, Network
from nas.pipeline.params import Data, Params, Search
from nas.pipeline.stage import run
from nas.report.contents import Contents, Slimmed


def _described(data: Data) -> str:
    """What the results were measured on: ``fashion_mnist, 4000 training images``."""
    name = f"folder {Path(data.root).name}" if data.name == "folder" else data.name
    limits = ((data.train_limit, "training images"), (data.test_limit, "test images"))
    return ", ".join([name, *(f"{limit} {what}" for limit, what in limits if limit)])


def in_use(search: Search) -> dict:
    """Those parameters of a search that its algorithm heeds, the spaces apart."""
    unused = {
        "darts": {"tau", "tau_min"},
        "gdas": {"order"},
        "random": set(type(search).model_fields) - {"seeds", "nodes"},
    }
    idle = unused[search.algorithm] - {"algorithm"}
    return {key: value for key, value in search.model_dump(exclude={"spaces"}).items() if key not in idle}


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
    s, p = params.search, params.evaluate
    dnal = {model: _of_network(params, model) for model in params.slim.models}
    return Contents(
        searches={searched.genotype(s.seeds): searched for searched in s.searches()},
        networks=networks,
        gradcam=[Network.of(key) for key in params.gradcam.networks],
        recipes={
            "Run": {"seed": params.seed, "threads": params.threads, "precision": params.precision},
            "Data": params.data.model_dump(),
            "Search": in_use(params.search),
            "Evaluation": p.model_dump(exclude={"genotypes", "layers", "seeds"}),
            **{f"DNAL: {model}": recipe for model, recipe in dnal.items()},
            "Grad-CAM": {"method": params.gradcam.method, "removed": params.gradcam.removed},
        },
        data=_described(params.data),
        slimmed=Slimmed(params.slim.models, params.slim.penalties, dnal),
        prepared=prepared,
        test_images=prepared["test"] if prepared else test_images,
        parameters=yaml.safe_dump(params.model_dump(), sort_keys=False, allow_unicode=True),
    )


def main(params: Params, name: str) -> None:
    from nas.data.meta import read_meta
    from nas.pipeline.lock import require_locked
    from nas.report.page import write
    from nas.report.summary import read_by, summarise, write_curves

    p = params.evaluate
    networks = [(genotype, layers, p.seeds) for genotype in p.genotypes for layers in p.layers] if p.seeds else []
    shown = contents(params, networks, read_meta(DATA))
    require_locked(read_by(shown))
    write(RESULTS, shown)
    write_curves(shown)
    summarise(shown).write(SUMMARY)


if __name__ == "__main__":
    run(main)
