"""What a supernet thinks of a genotype, its validation accuracy with that genotype's operations alone: Bender,
Kindermans, Zoph, Vasudevan & Le, "Understanding and Simplifying One-Shot Architecture Search", ICML 2018.

A search trusts its supernet to tell good genotypes from bad ones; where the truth is known, whether it can is a number.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from nas.data.batches import Batches
from nas.networks.supernet import Mixture, Supernet
from nas.search.algorithm import Algorithm
from nas.search.perturbation import worth
from nas.space.genotypes import CELLS, Genotype, edges
from nas.training.recipe import Recipe


def opinions(
    supernet: Supernet,
    algorithm: Algorithm,
    genotypes: Mapping[str, Genotype],
    batches: Batches,
    recipe: Recipe,
    *,
    most: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Validate each genotype with the weights that a search left.

    Parameters
    ----------
    supernet : Supernet
        As its search left it, on the device of the batches; nothing of it is trained.
    algorithm : Algorithm
        That searched, prepared and in its last epoch (``prepare``, ``begin``).
    genotypes : mapping of str to Genotype
        Of the supernet's space, by their spelling.
    batches : Batches
        The half of α in its order, without augmentation, as a search validates.
    recipe : Recipe
        The search's.
    most : int, optional
        Batches of a validation; None takes all, but for a last one that is not full.

    Yields
    ------
    dict
        Rows of genotype (its spelling) and top1 (percent). Batch norms take each batch's own statistics, as in
        `nas.search.perturbation.worth`.

    Raises
    ------
    ValueError
        If a genotype is none of the supernet's.
    """
    with torch.no_grad():
        like = algorithm.mixtures(supernet.alphas(), "valid")
    for spelled, genotype in genotypes.items():
        top1, _ = worth(supernet, discrete(supernet, genotype, like), batches, recipe, most)
        yield {"genotype": spelled, "top1": top1}


def discrete(supernet: Supernet, genotype: Genotype, like: Sequence[Mixture]) -> list[Mixture]:
    """The mixtures with which a supernet computes what a genotype stands for; of the shape of those in `like`.

    Weight 1 for each of its operations, whatever weight they were trained with, and 0 for all else: as in the network
    that would be trained. Of every edge one operation is computed at most.
    """
    found, places = [], edges(supernet.nodes)
    for cell in CELLS:
        if len(getattr(genotype, cell)) != 2 * supernet.nodes:
            raise ValueError(f"the genotype's {cell} cell has not the supernet's {supernet.nodes} nodes")
    for cell, relaxed in zip(CELLS, like, strict=True):
        names = supernet.space.of_edges(cell, supernet.nodes)
        weights = torch.zeros_like(relaxed.weights)
        chosen = [row.index("none") if "none" in row else 0 for row in names]
        for i, (operation, source) in enumerate(getattr(genotype, cell)):
            edge = (source, 2 + i // 2)
            row = places.index(edge) if edge in places else None
            if row is None or operation not in names[row] or weights[row].any():
                raise ValueError(f"{cell} node {i // 2}: the supernet has no {operation} from state {source} for it")
            chosen[row] = names[row].index(operation)
            weights[row, chosen[row]] = 1
        found.append(Mixture(weights, chosen))
    return found
