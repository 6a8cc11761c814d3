"""Search spaces: named lists of the operations that an edge may hold."""

from dataclasses import dataclass

from nas.pipeline.errors import UserError, unknown


@dataclass(frozen=True)
class SearchSpace:
    """The operations among which every edge of a supernet chooses.

    Parameters
    ----------
    name : str
        How params.yaml and the results call the space.
    operations : tuple of str
        Names of ``operations.FAMILIES``, in the order of the columns of α. At least one other than ``none``.
    """

    name: str
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        if not set(self.operations) - {"none"}:
            raise ValueError(f"space {self.name} needs an operation other than none")
        if len(set(self.operations)) < len(self.operations):
            raise ValueError(f"space {self.name} names an operation twice: {', '.join(self.operations)}")


def _darts(name: str, convolution: str) -> SearchSpace:
    """DARTS's eight operations (Liu et al., 2019, section 3.1), `convolution` for its sep_conv."""
    return SearchSpace(
        name,
        (
            "none",
            "max_pool_3x3",
            "avg_pool_3x3",
            "skip_connect",
            f"{convolution}_3x3",
            f"{convolution}_5x5",
            "dil_conv_3x3",
            "dil_conv_5x5",
        ),
    )


def _pibconv(name: str, convolution: str) -> SearchSpace:
    """The ten operations of PIBConv (Ahmadian et al., 2023, section 3, "Search Phase")."""
    return SearchSpace(
        name,
        (
            "none",
            "skip_connect",
            f"{convolution}_3x3",
            f"{convolution}_5x5",
            f"{convolution}_7x7",
            "dil_conv_3x3",
            "dil_conv_5x5",
            "conv_7x1_1x7",
            "max_pool_3x3",
            "avg_pool_3x3",
        ),
    )


_ALL = (
    # The PIBConv paper's roadmap (Fig. 1), step by step
    _darts("darts", "sep_conv"),
    _darts("darts_gelu", "sep_conv_gelu"),
    _darts("darts_ln", "sep_conv_gelu_ln"),
    _darts("convnext", "convnext"),
    _pibconv("pibconv", "pib_conv"),
    # Its inverted ratio F other than 2
    _pibconv("pibconv_f1.5", "pib_conv_f1.5"),
    _pibconv("pibconv_f3", "pib_conv_f3"),
    _pibconv("pibconv_f4.5", "pib_conv_f4.5"),
    # EfficientNetV2's blocks, the study of 2023: no none, skip connection or pooling
    SearchSpace("efficientnetv2", ("ds_conv", "mb_conv", "fused_mb_conv")),
    # R-DARTS's S2 to S4, in which DARTS fails (Zela et al., 2020, section 3)
    SearchSpace("s2", ("skip_connect", "sep_conv_3x3")),
    SearchSpace("s3", ("none", "skip_connect", "sep_conv_3x3")),
    SearchSpace("s4", ("noise", "sep_conv_3x3")),
)

SPACES: dict[str, SearchSpace] = {space.name: space for space in _ALL}


def find(name: str) -> SearchSpace:
    """The space of that name; raises UserError if there is none."""
    if name not in SPACES:
        raise UserError(unknown("search space", name, SPACES))
    return SPACES[name]
