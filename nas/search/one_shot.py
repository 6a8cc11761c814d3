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
from nas.space.genotypes import AnyGenotype
from nas.training.recipe import Recipe


def opinions(
    supernet: Supernet,
    algorithm: Algorithm,
    genotypes: Mapping[str, AnyGenotype],
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
    genotypes : mapping of str to Genotype or Bench201Genotype
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


def discrete(supernet: Supernet, genotype: AnyGenotype, like: Sequence[Mixture]) -> list[Mixture]:
    """The mixtures with which a supernet computes what a genotype stands for; of the shape of those in `like`.

    Weight 1 for each of its operations, whatever weight they were trained with, and 0 for all else: as in the network
    that would be trained. Of every edge one operation is computed at most.
    """
    space, found = supernet.space, []
    places, placed = space.places(supernet.nodes), genotype.placed()
    if tuple(placed) != space.kinds:
        raise ValueError(f"the genotype is of another kind of cell than those of the space {space.name}")
    targets = list(dict.fromkeys(target for _, target in places))
    for cell, edges in placed.items():
        if {target for (_, target), _ in edges} != set(targets):
            raise ValueError(f"the genotype's {cell} cell has not the supernet's {supernet.nodes} nodes")
    for (cell, edges), relaxed in zip(placed.items(), like, strict=True):
        names = space.of_edges(cell, supernet.nodes)
        weights = torch.zeros_like(relaxed.weights)
        chosen = [row.index("none") if "none" in row else 0 for row in names]
        for edge, operation in edges:
            row = places.index(edge) if edge in places else None
            if row is None or operation not in names[row] or weights[row].any():
                node = f"{cell} node {targets.index(edge[1])}"
                raise ValueError(f"{node}: the supernet has no {operation} from state {edge[0]} for it")
            chosen[row] = names[row].index(operation)
            weights[row, chosen[row]] = 1
        found.append(Mixture(weights, chosen))
    return found
