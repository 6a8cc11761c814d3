"""What the DNAL paper reports, as data: each backbone before slimming, and after it with each penalty."""

from typing import NamedTuple


class Row(NamedTuple):
    """One network of a published table.

    Parameters
    ----------
    method : "Baseline" or "DNAL"
    penalty : float or None
        λ_a; None for the baseline.
    macs, params : float
        Multiply–adds of convolutions and linear layers, and parameters, in millions. macs is None in a table without
        them.
    top1, top5 : float
        Test accuracy in percent; top5 None where none is given.
    search_cost : str or None
        Epochs: "90", or of the three phases, "30+10+70". None in a table without them.
    """

    method: str
    penalty: float | None
    macs: float | None
    params: float
    top1: float
    top5: float | None
    search_cost: str | None


SOURCE = "Guo et al., Pattern Recognition 126 (2022), 108448; the tables of its repository, QingbeiGuo/DNAL"

# The repository heads the multiply–adds of VGG16 and ResNet50 on ImageNet with millions, too: they are billions.
TABLES: dict[str, tuple[Row, ...]] = {
    "vgg16_cifar": (
        Row("Baseline", None, 313.47, 14.99, 93.77, 99.73, None),
        Row("DNAL", 1e-5, 211.89, 5.51, 93.82, 99.71, None),
        Row("DNAL", 5e-5, 195.14, 3.73, 93.53, 99.77, None),
        Row("DNAL", 1e-4, 161.97, 2.10, 93.75, 99.72, None),
        Row("DNAL", 2e-4, 61.23, 0.60, 92.33, 99.69, None),
        Row("DNAL", 3e-4, 29.77, 0.29, 89.93, 99.62, None),
        Row("DNAL", 4e-4, 22.04, 0.24, 89.92, 99.41, None),
        Row("DNAL", 5e-4, 16.65, 0.17, 89.27, 99.51, None),
    ),
    "resnet56": (
        Row("Baseline", None, 125.49, 0.85, 94.15, 99.91, None),
        Row("DNAL", 1e-5, 93.94, 0.66, 93.76, 99.91, None),
        Row("DNAL", 5e-5, 83.11, 0.59, 93.75, 99.87, None),
        Row("DNAL", 1e-4, 36.94, 0.25, 93.20, 99.89, None),
        Row("DNAL", 2e-4, 8.63, 0.060, 89.31, 99.66, None),
        Row("DNAL", 3e-4, 3.44, 0.022, 85.83, 99.45, None),
        Row("DNAL", 4e-4, 2.38, 0.013, 84.07, 99.31, None),
        Row("DNAL", 5e-4, 1.68, 0.007, 83.48, 99.19, None),
    ),
    "mobilenet_v2_cifar": (
        Row("Baseline", None, 91.17, 2.30, 94.31, 99.90, None),
        Row("DNAL", 1e-5, 59.47, 1.43, 94.17, 99.89, None),
        Row("DNAL", 5e-5, 54.98, 1.20, 94.30, 99.86, None),
        Row("DNAL", 1e-4, 36.63, 0.65, 94.01, 99.89, None),
        Row("DNAL", 2e-4, 13.35, 0.20, 91.96, 99.91, None),
        Row("DNAL", 3e-4, 7.81, 0.12, 90.65, 99.82, None),
        Row("DNAL", 4e-4, 5.40, 0.096, 88.83, 99.76, None),
        Row("DNAL", 5e-4, 4.50, 0.081, 87.85, 99.62, None),
    ),
    "vgg16_bn": (
        Row("Baseline", None, 15470, 138.37, 76.13, 92.86, "90"),
        Row("DNAL", 1e-4, 4690, 77.05, 69.80, 89.42, "30+10+70"),
    ),
    "resnet50": (
        Row("Baseline", None, 4090, 25.55, 75.19, 92.56, "90"),
        Row("DNAL", 5e-5, 2070, 15.34, 74.07, 92.02, "30+10+70"),
        Row("DNAL", 6e-5, 1750, 12.75, 73.65, 91.74, "30+10+70"),
        Row("DNAL", 7e-5, 1440, 10.94, 72.86, 91.34, "30+10+70"),
        Row("DNAL", 1e-4, 880, 7.18, 70.17, 89.78, "30+10+70"),
    ),
    "mobilenet_v2": (
        Row("Baseline", None, 300.79, 3.50, 71.52, 90.15, "120"),
        Row("DNAL", 6e-5, 217.24, 2.87, 71.02, 89.96, "80+10+90"),
        Row("DNAL", 7e-5, 207.25, 2.78, 70.91, 89.79, "80+10+90"),
    ),
    "proxylessnas": (
        Row("Baseline", None, None, 16.0, 75.7, 92.5, "150"),
        Row("DNAL", 6e-5, None, 3.6, 75.0, 92.5, "100+10+110"),
    ),
}
