"""What the DNAL paper reports, as data: each backbone before slimming, and after it with each penalty."""

from typing import NamedTuple


class Row(NamedTuple):
    """One network of a published table.

    Parameters
    ----------
    method : str
        "Baseline", "DNAL", or another method as the tables call it.
    penalty : float or None
        λ_a of DNAL.
    macs, params : float or None
        Multiply–adds of convolutions and linear layers, and parameters, in millions; None where none are given.
    top1, top5 : float
        Test accuracy in percent; top5 None where none is given.
    search_cost : str or None
        Epochs: "90", or of the three phases, "30+10+70". None in a table without them.
    search : str or None
        By what ProxylessNAS's table says that it was searched: "EA", "RL" or "gradient".
    """

    method: str
    penalty: float | None
    macs: float | None
    params: float | None
    top1: float
    top5: float | None
    search_cost: str | None
    search: str | None = None


SOURCE = "Guo et al., Pattern Recognition 126 (2022), 108448; the tables of its repository, QingbeiGuo/DNAL"

# Epochs of the three phases on ImageNet, by the programs; on CIFAR-10, whose programs were not published, those of the
# network's kind. See presets/dnal_cifar10.yaml and presets/dnal_imagenet.yaml.
COSTS = {
    **dict.fromkeys(("vgg16_cifar", "resnet56", "vgg16_bn", "resnet50"), "30+10+70"),
    **dict.fromkeys(("mobilenet_v2_cifar", "mobilenet_v2"), "80+10+90"),
    "proxylessnas": "100+10+110",
}
CIFAR10 = ("vgg16_cifar", "resnet56", "mobilenet_v2_cifar")  # trained on it; the others on ImageNet

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
        Row("DNAL", 6e-5, None, 3.6, 75.0, 92.5, "100+10+110", "gradient"),
    ),
}

# The other methods' networks in the same tables. HRank's, GAL's and the others' figures are their own papers'.
OTHERS: dict[str, tuple[Row, ...]] = {
    "vgg16_cifar": (
        Row("Variational-pruning", None, 190, 3.92, 93.18, None, None),
        Row("GAL-0.1", None, 171.89, 2.67, 93.42, None, None),
        Row("HRank", None, 73.7, 1.78, 91.23, None, None),
    ),
    "resnet56": (
        Row("HRank", None, 88.72, 0.71, 93.52, None, None),
        Row("NISP", None, 81, 0.49, 93.01, None, None),
        Row("AMC", None, 62.7, None, 91.9, None, None),
        Row("KSE(G=4)", None, 60, 0.43, 93.23, None, None),
        Row("KSE(G=5)", None, 50, 0.36, 92.88, None, None),
        Row("GAL-0.8", None, 49.99, 0.29, 91.58, None, None),
        Row("HRank", None, 32.52, 0.27, 90.72, None, None),
    ),
    "mobilenet_v2_cifar": (
        Row("FLGC(G=2)", None, 79, 1.18, 94.11, None, None),
        Row("FLGC(G=3)", None, 61, 0.85, 94.2, None, None),
        Row("FLGC(G=4)", None, 51.5, 0.68, 94.16, None, None),
        Row("FLGC(G=5)", None, 46, 0.58, 93.88, None, None),
        Row("FLGC(G=6)", None, 42.5, 0.51, 93.67, None, None),
        Row("FLGC(G=7)", None, 40, 0.46, 93.66, None, None),
        Row("FLGC(G=8)", None, 38, 0.43, 93.09, None, None),
    ),
    "vgg16_bn": (
        Row("GDP", None, 7500, None, 69.88, 89.16, "90+30+20"),
        Row("GDP", None, 6400, None, 68.8, 88.77, "90+30+20"),
        Row("ThiNet", None, 4790, 131.44, 69.74, 89.41, "196+48"),
        Row("SSR-L2,1", None, 4500, 126.7, 69.8, 89.53, None),
        Row("SSR-L2,0", None, 4500, 126.2, 69.99, 89.42, None),
        Row("GDP", None, 3800, None, 67.51, 87.95, "90+30+20"),
        Row("SSS", None, 3800, 130.5, 68.53, 88.2, "100"),
        Row("ThiNet", None, 3460, 130.5, 69.11, 88.86, "196+48"),
    ),
    "resnet50": (
        Row("SSR-L2,1", None, 1900, 15.9, 72.13, 90.57, None),
        Row("SSR-L2,0", None, 1900, 15.5, 72.29, 90.73, None),
        Row("GDP", None, 1880, None, 71.89, 90.71, "90+30+20"),
        Row("GAL-0.5-joint", None, 1840, 19.31, 71.8, 90.82, "90+60"),
        Row("ABCPruner", None, 1790, 11.24, 73.52, 91.51, "12+90"),
        Row("ThiNet-50", None, 1710, 12.38, 72.03, 90.99, "196+48"),
        Row("SSR-L2,1", None, 1700, 12.2, 71.15, 90.29, None),
        Row("SSR-L2,0", None, 1700, 12, 71.47, 90.19, None),
        Row("GAL-1", None, 1580, 14.67, 69.88, 89.75, "90+60"),
        Row("GDP", None, 1570, None, 70.93, 90.14, "90+30+20"),
        Row("HRank", None, 1550, 13.77, 71.98, 91.01, None),
        Row("ABCPruner", None, 1300, None, 72.58, None, "12+90"),
        Row("GAL-1-joint", None, 1110, 10.21, 69.31, 89.12, "90+60"),
        Row("ThiNet-30", None, 1100, 8.66, 68.17, 88.86, "196+48"),
        Row("HRank", None, 980, 8.27, 69.1, 89.58, None),
        Row("ABCPruner", None, 940, None, 70.29, None, "12+90"),
    ),
    "mobilenet_v2": (Row("AMC", None, 211, None, 70.8, None, None),),
    "proxylessnas": (
        Row("EA+BPE-1", None, None, 5, 74.56, None, None, "EA"),
        Row("CARS-I", None, None, 5.1, 75.2, 92.5, None, "EA"),
        Row("CARS-A", None, None, 3.7, 72.8, 90.8, None, "EA"),
        Row("RL+BPE-1", None, None, 5.5, 74.18, None, None, "RL"),
        Row("NASNet-A", None, None, 5.3, 74, 91.6, None, "RL"),
        Row("NASNet-B", None, None, 5.3, 72.8, 91.3, None, "RL"),
        Row("NASNet-C", None, None, 4.9, 72.5, 91, None, "RL"),
        Row("MnasNet-92", None, None, 4.4, 74.8, None, None, "RL"),
        Row("MnasNet", None, None, 4.2, 74, None, None, "RL"),
        Row("MnasNet-65", None, None, 3.6, 73, None, None, "RL"),
        Row("DARTS", None, None, 4.7, 73.3, 91.3, "600+250", "gradient"),
        Row("ProxylessNAS", None, None, 7.1, 75.1, 92.5, "200+150", "gradient"),
        Row("FBNet-A", None, None, 4.3, 73, None, "90+360", "gradient"),
        Row("FBNet-B", None, None, 4.5, 74.1, None, "90+360", "gradient"),
        Row("FBNet-C", None, None, 5.5, 74.9, None, "90+360", "gradient"),
    ),
}
