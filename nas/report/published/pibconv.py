"""What the papers report, as data: the figures that ours stand beside."""

from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """One network of a published table: test accuracy in percent, parameters in millions, GMAC."""

    genotype: str
    layers: int
    accuracy: float
    params: float
    gmac: float


PIBCONV_SOURCE = (
    "Ahmadian et al., ICASSP 2023, Table 1: CIFAR-10, C = 36, 600 epochs, cutout, drop path, auxiliary tower"
)

PIBCONV_RECIPE = "CIFAR-10, 600 epochs, C = 36"  # the same, short enough for a picture

# The parameters that an accuracy of ours must have come from to stand beside the paper's: its data and its recipe
PIBCONV_TRAINING = {
    "Data": {"name": "cifar10", "train_limit": None, "test_limit": None},
    "Evaluation": {"epochs": 600, "channels": 36, "cutout": 16, "drop_path": 0.2, "auxiliary": 0.4},
}

PIBCONV_TABLE_1: tuple[Row, ...] = (
    Row("DARTS_V2", 20, 97.24, 3.30, 0.547),
    Row("DARTS_V2", 15, 96.93, 2.28, 0.408),
    Row("DARTS_V2", 10, 96.72, 1.6, 0.265),
    Row("DARTS_V2", 8, 96.32, 1.15, 0.207),
    Row("DARTS_V2", 7, 96.05, 1.05, 0.180),
    Row("DARTS_V2", 6, 95.73, 0.635, 0.153),
    Row("DARTS_V2", 5, 94.56, 0.605, 0.121),
    Row("DARTS_V2", 4, 93.74, 0.487, 0.090),
    Row("DARTS_V2", 3, 71.68, 0.116, 0.067),
    Row("DARTS_V2", 2, 54.52, 0.082, 0.035),
    Row("DARTS_PseudoInvBn", 20, 97.76, 6.06, 0.969),
    Row("DARTS_PseudoInvBn", 15, 97.40, 4.21, 0.724),
    Row("DARTS_PseudoInvBn", 10, 97.29, 3.02, 0.470),
    Row("DARTS_PseudoInvBn", 8, 97.15, 2.26, 0.369),
    Row("DARTS_PseudoInvBn", 7, 97.03, 2.07, 0.320),
    Row("DARTS_PseudoInvBn", 6, 96.86, 1.36, 0.275),
    Row("DARTS_PseudoInvBn", 5, 96.65, 1.30, 0.218),
    Row("DARTS_PseudoInvBn", 4, 96.24, 1.10, 0.166),
    Row("DARTS_PseudoInvBn", 3, 94.63, 0.443, 0.123),
    Row("DARTS_PseudoInvBn", 2, 92.15, 0.385, 0.067),
)

# The paper's networks: C of the first cells, image (channels, height, width), classes.
PIBCONV_CHANNELS, PIBCONV_IMAGE, PIBCONV_CLASSES = 36, (3, 32, 32), 10


class Step(NamedTuple):
    """One step of a roadmap: the space searched, the accuracy (percent) and GMAC of the genotype found in it."""

    space: str
    accuracy: float
    gmac: float


PIBCONV_FIG_1_SOURCE = "Ahmadian et al., ICASSP 2023, Fig. 1: CIFAR-10, 20 layers, C = 36, 600 epochs"

PIBCONV_FIG_1_RECIPE = "CIFAR-10, 20 layers, 600 epochs, C = 36"

PIBCONV_FIG_1: tuple[Step, ...] = (
    Step("darts", 97.24, 0.547),
    Step("darts_gelu", 97.36, 0.547),
    Step("darts_ln", 97.28, 0.54),
    Step("convnext", 95.97, 2.38),
    Step("pibconv", 97.76, 0.969),
)

# The genotypes and spaces that the paper's numbers belong beside
PIBCONV_NAMES = (
    {row.genotype for row in PIBCONV_TABLE_1}
    | {step.space for step in PIBCONV_FIG_1}
    | {f"pibconv_f{f:g}" for f in (1.5, 3, 4.5)}
)


def convnext_weights(channels: int, kernel: int, expansion: float) -> float:
    """Weights of a ConvNeXt block of C channels, K×K kernel and inverted ratio F (PIBConv, eq. 1)."""
    return 2 * expansion * channels**2 + kernel**2 * channels


def pibconv_weights(channels: int, kernel: int, expansion: float) -> float:
    """Weights of a pseudo-inverted bottleneck as the paper counts them (PIBConv, eq. 2).

    It counts the second depthwise convolution as K²·C; C groups over F·C channels hold F·K²·C.
    """
    return (expansion + 1) * channels**2 + 2 * kernel**2 * channels


class Block(NamedTuple):
    """An operation whose weights an equation of the paper counts: its kernel size K, its inverted ratio F."""

    operation: str
    kernel: int
    expansion: float
    equation: Callable[[int, int, float], float]


PIBCONV_BLOCKS: tuple[Block, ...] = (
    *(Block(f"convnext_{k}x{k}", k, 4, convnext_weights) for k in (3, 5)),
    *(Block(f"pib_conv_f1.5_{k}x{k}", k, 1.5, pibconv_weights) for k in (3, 5)),
    *(Block(f"pib_conv_{k}x{k}", k, 2, pibconv_weights) for k in (3, 5)),
    *(Block(f"pib_conv_f3_{k}x{k}", k, 3, pibconv_weights) for k in (3, 5)),
    *(Block(f"pib_conv_f4.5_{k}x{k}", k, 4.5, pibconv_weights) for k in (3, 5)),
)
