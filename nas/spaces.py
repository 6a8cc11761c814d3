"""Search spaces: named lists of the operations that an edge may hold."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchSpace:
    """The operations among which every edge of a supernet chooses.

    Parameters
    ----------
    name : str
        How params.yaml and the results call the space.
    operations : tuple of str
        Names of ``nas.operations.OPERATIONS``, in the order of the columns of α. At least one other than ``none``.
    """

    name: str
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        if not set(self.operations) - {"none"}:
            raise ValueError(f"space {self.name} needs an operation other than none")
        if len(set(self.operations)) < len(self.operations):
            raise ValueError(f"space {self.name} names an operation twice: {', '.join(self.operations)}")


_ALL = (
    # DARTS (Liu et al., 2019), section 3.1
    SearchSpace(
        "darts",
        (
            "none",
            "max_pool_3x3",
            "avg_pool_3x3",
            "skip_connect",
            "sep_conv_3x3",
            "sep_conv_5x5",
            "dil_conv_3x3",
            "dil_conv_5x5",
        ),
    ),
    # PIBConv (Ahmadian et al., 2023), section 3, "Search phase"
    SearchSpace(
        "pibconv",
        (
            "none",
            "skip_connect",
            "pib_conv_3x3",
            "pib_conv_5x5",
            "pib_conv_7x7",
            "dil_conv_3x3",
            "dil_conv_5x5",
            "conv_7x1_1x7",
            "max_pool_3x3",
            "avg_pool_3x3",
        ),
    ),
)

SPACES: dict[str, SearchSpace] = {space.name: space for space in _ALL}
