"""One page from all that stands in results/: python -m stages.report."""

from pathlib import Path

from nas.params import Data, Params
from nas.stage import run


def _described(data: Data) -> str:
    """What the results were measured on: ``fashion_mnist, 4000 training images``."""
    name = f"folder {Path(data.root).name}" if data.name == "folder" else data.name
    limits = ((data.train_limit, "training images"), (data.test_limit, "test images"))
    return ", ".join([name, *(f"{limit} {what}" for limit, what in limits if limit)])


def main(params: Params, name: str) -> None:
    from nas.report import Contents, write

    p = params.evaluate
    lists = {"search": {"spaces"}, "evaluate": {"genotypes", "layers", "seeds"}}
    contents = Contents(
        spaces=params.search.spaces,
        networks=[(genotype, layers, p.seeds) for genotype in p.genotypes for layers in p.layers] if p.seeds else [],
        gradcam=params.gradcam.networks,
        recipes={
            "Run": {"seed": params.seed, "threads": params.threads, "precision": params.precision},
            "Data": params.data.model_dump(),
            "Search": params.search.model_dump(exclude=lists["search"]),
            "Evaluation": p.model_dump(exclude=lists["evaluate"]),
        },
        data=_described(params.data),
    )
    write(Path("results"), contents)


if __name__ == "__main__":
    run(main)
