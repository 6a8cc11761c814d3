"""The report of a kept study from its small results: python -m studies.report NAME.

Reads studies/NAME/params.yaml and, below studies/NAME/results, what `dvc repro` left in results/. Shows the networks
that were evaluated, which may be fewer than its lists span; of its searches it needs all.
"""

import sys
from pathlib import Path

from nas.data.meta import read_meta
from nas.pipeline.errors import UserError
from nas.pipeline.names import Network
from nas.pipeline.params import Params, load
from nas.pipeline.records import GradCam
from nas.report.page import write
from stages.report import contents

HERE = Path(__file__).parent


def main(*names: str) -> None:
    if len(names) != 1:
        raise UserError("usage: python -m studies.report NAME")
    name = names[0]
    results = HERE / name / "results"
    if not results.is_dir():
        raise UserError(f"studies/{name}: there is no such study")
    params = load(HERE / name / "params.yaml")
    p = params.evaluate
    networks = [
        (genotype, layers, [s for s in p.seeds if Network(genotype, layers, s).results(results).is_dir()])
        for genotype in p.genotypes
        for layers in p.layers
    ]
    networks = [network for network in networks if network[2]]
    data = results / "data"
    prepared = read_meta(data) if data.is_dir() else None
    write(results, contents(params, networks, prepared, _test_images(params, results)))


def _test_images(params: Params, results: Path) -> int | None:
    """How many test images a study had whose data were not kept: as many as Grad-CAM measured, if it took all."""
    measured = [path for path in (results / "gradcam").glob("*/metrics.json") if params.gradcam.images is None]
    return GradCam.read(min(measured)).images if measured else None


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as mistake:
        sys.exit(f"error: {mistake}")
