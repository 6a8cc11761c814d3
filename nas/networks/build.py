"""Which network a genotype stands for: DARTS's, or NAS-Bench-201's."""

from typing import Any

from nas.networks.bench201 import Bench201Network
from nas.networks.network import Network
from nas.pipeline.errors import UserError
from nas.space.bench201 import Bench201Genotype, cells_of
from nas.space.genotypes import AnyGenotype


def build_network(
    genotype: AnyGenotype, *, layers: int, stem: str = "cifar", auxiliary: bool = False, **options: Any
) -> Network | Bench201Network:
    """The network of `genotype`; `options` are those of `Network`.

    Raises
    ------
    UserError
        As the network does, and if NAS-Bench-201's is to have an auxiliary tower or another stem than its own, or
        `layers` is not 3·N + 2.
    """
    if not isinstance(genotype, Bench201Genotype):
        return Network(genotype, layers=layers, stem=stem, auxiliary=auxiliary, **options)
    if auxiliary:
        raise UserError(
            "auxiliary: is not allowed: must be 0 for NAS-Bench-201's network, which has no auxiliary tower"
        )
    return Bench201Network(genotype.architecture, cells=cells_of(layers, stem), **options)
