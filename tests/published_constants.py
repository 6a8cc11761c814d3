"""What the papers and their programs set, for every parameter of every preset that reproduces one: (value, source).

Sources: DARTS is Liu et al., ICLR 2019, its program quark0/darts; PIB is Ahmadian et al., ICASSP 2023, its program
mahdihosseini/PIBConv; EV2 is the study of EfficientNetV2's blocks of 2023; GDAS is Dong & Yang, CVPR 2019, its program
D-X-Y/AutoDL-Projects; DNAL is Guo et al., Pattern Recognition 2022, its program QingbeiGuo/DNAL. OURS: nothing is
published, or the study has no such stage.
"""

OURS = "ours"


def by(source: str, **values: object) -> dict[str, tuple[object, str]]:
    return {key: (value, source) for key, value in values.items()}


RUN = by(OURS, spaces={}, seed=0, threads=1, device="auto", devices=1, nodes=1, precision=32, fast="auto")
MEMORY = by(OURS, root="data/raw", image_size=None, test_resize=None, train_limit=None, test_limit=None, stream=False)
CIFAR10 = MEMORY | by("DARTS 3, PIB 3, DNAL 4.1", name="cifar10")
IMAGENET = (
    by("program: Resize(256), CenterCrop(224)", name="folder", image_size=224, test_resize=256)
    | by(OURS, root="data/raw/imagenet", train_limit=None, test_limit=None, stream=True)
)  # fmt: skip

DARTS_SEARCH = {
    **by(OURS, spaces=["darts"], seeds=[0], stem="cifar", recompute=False, resized_crop=None),
    **by("DARTS 2.3", algorithms=["darts_second"], nesterov=False),
    **by("DARTS 3.1", channels=16, layers=8, nodes=4, epochs=50, batch_size=64, learning_rate=0.025),
    **by("DARTS 3.1", momentum=0.9, weight_decay=3e-4),
    **by("DARTS 3.1", alpha_learning_rate=3e-4, alpha_betas=[0.5, 0.999], alpha_weight_decay=1e-3),
    **by("DARTS's program", learning_rate_min=0.001, gradient_clip=5.0, crop_padding=4, flip=True, cutout=0),
}
DARTS_EVALUATE = {
    **by(OURS, genotypes=["DARTS_V2", "darts"], seeds=[0], stem="cifar", resized_crop=None),
    **by("DARTS 3.2", layers=[20], channels=36, epochs=600, batch_size=96, auxiliary=0.4, drop_path=0.2),
    **by("DARTS's program", learning_rate=0.025, learning_rate_min=0.0, momentum=0.9, weight_decay=3e-4),
    **by("DARTS's program", gradient_clip=5.0, crop_padding=4, flip=True, cutout=16),
}
NO_SELECTION = {"select": by(OURS, searches=[])}
NO_DNAL = {"pretrain": {}, "slim": by(OURS, models=[], penalties=[], recipes={})}
NO_HEAT_MAPS = by(
    OURS, networks=[], method="GradCAM", index=0, removed=0.2, images=None,
    classes=["airplane", "automobile", "bird", "cat"],
)  # fmt: skip
NO_EXPORT = {"export": by(OURS, networks=[], slimmed=[]), "latency": by(OURS, networks=[], published=[])}
DARTS = {
    "": RUN, "data": CIFAR10, "search": DARTS_SEARCH, **NO_SELECTION, "evaluate": DARTS_EVALUATE, **NO_DNAL,
    "gradcam": NO_HEAT_MAPS, **NO_EXPORT,
}  # fmt: skip

PIB_SEARCH = DARTS_SEARCH | {
    **by("PIB 3, search phase", spaces=["pibconv"], channels=16, nodes=4, layers=8, epochs=50, batch_size=64),
    **by("PIB 3", learning_rate=0.0025, weight_decay=3e-4, momentum=0.9),
    **by("PIB's program", learning_rate_min=0.001),
}
PIB_EVALUATE = DARTS_EVALUATE | {
    **by("PIB Table 1", genotypes=["DARTS_V2", "DARTS_PseudoInvBn", "pibconv"]),
    **by("PIB Table 1", layers=[20, 15, 10, 8, 7, 6, 5, 4, 3, 2]),
    **by("PIB 3", epochs=600, batch_size=96, drop_path=0.2, auxiliary=0.4),
    **by("PIB's program; section 3 alone would have the search's 0.0025", learning_rate=0.025),
}
FIG_6 = by(
    "PIB Fig. 6",
    networks=["DARTS_V2-20-0", "DARTS_PseudoInvBn-10-0", "DARTS_PseudoInvBn-20-0"],
    classes=["dog", "automobile", "airplane", "ship"],
    method="GradCAM",
)
PIB = DARTS | {"search": PIB_SEARCH, "evaluate": PIB_EVALUATE, "gradcam": NO_HEAT_MAPS | FIG_6}
PIB_20_LAYERS = PIB | {"gradcam": PIB["gradcam"] | by(OURS, networks=[])}


def pib_at_20_layers(source: str, spaces: list[str]) -> dict:
    """Each of `spaces` is searched, and its genotype evaluated with 20 layers."""
    search = PIB_SEARCH | by(source, spaces=spaces)
    evaluate = PIB_EVALUATE | by(source, genotypes=spaces, layers=[20])
    return PIB_20_LAYERS | {"search": search, "evaluate": evaluate}


EV2 = "EV2, methods and results"
EFFICIENTNETV2 = PIB | {
    "data": MEMORY | by(EV2, name="fashion_mnist"),
    "search": PIB_SEARCH | by(EV2, spaces=["efficientnetv2"], epochs=50) | by(OURS, seeds=[0, 1, 2]),
    "evaluate": PIB_EVALUATE
    | by(OURS, layers=[8], seeds=[0, 1, 2], epochs=50)
    | by(
        OURS,
        genotypes=[f"efficientnetv2{which}" for which in ("", "_all_ds_conv", "_all_mb_conv", "_all_fused_mb_conv")],
    ),
    "gradcam": PIB["gradcam"]
    | by(
        OURS,
        networks=[f"efficientnetv2{which}-8-0" for which in ("", "_all_ds_conv", "_all_fused_mb_conv")],
        classes=["Trouser", "Sandal", "Bag", "Ankle boot"],
    ),
}
RANDOM = [f"pibconv_random_{i}" for i in range(5)]
GDAS = DARTS | {
    "algorithms": {"gdas": by("GDAS's program", tau=10.0, tau_min=0.1)},
    "search": DARTS_SEARCH
    | by("GDAS's program", algorithms=["gdas"], layers=6, epochs=250, batch_size=256)
    | by("GDAS's program", learning_rate=0.025, learning_rate_min=0.001, nesterov=True, weight_decay=5e-4)
    | by("GDAS's program", channels=16, nodes=4, momentum=0.9, gradient_clip=5.0),
    "evaluate": DARTS_EVALUATE | by(OURS, genotypes=["darts", *(f"darts_random_{i}" for i in range(3))]),
}
MOBILE = DARTS | {
    "data": IMAGENET,
    "search": DARTS_SEARCH | by(OURS, spaces=[]),
    "evaluate": DARTS_EVALUATE
    | by(OURS, genotypes=["DARTS_V2", "DARTS_PseudoInvBn"], learning_rate_min=0.0, stem="imagenet")
    | by("DARTS 3.3", epochs=250, batch_size=128, learning_rate=0.1, weight_decay=3e-5)
    | by("DARTS's program", layers=[14], channels=48, resized_crop=0.08, crop_padding=0, cutout=0, drop_path=0.0),
    "gradcam": NO_HEAT_MAPS | by(OURS, images=1000),
}

# DNAL: learning rate, batch, decay, smallest crop, cosine of phase 1, epochs of phases 1 and 3, schedule of phase 3
VGG16 = (0.01, 128, 1e-4, 0.08, None, 30, 70, [11, 41], None)
RESNET50 = (0.1, 256, 1e-4, 0.08, None, 30, 70, [11, 41], None)
MOBILENET_V2 = (0.1, 256, 4e-5, 0.2, 160, 80, 90, [], 30)
PROXYLESSNAS = (0.05, 96, 4e-5, 0.2, 150, 100, 110, [], 40)


def dnal(data: dict, penalties: list[float], networks: dict[str, tuple], padding: int, classes: list[str]) -> dict:
    """Nothing but DNAL's two stages; with `padding`, crops are CIFAR-10's."""
    pretrain, recipes, program = {}, {}, "DNAL's programs: train.py and dataset_imagenet.py of each network"
    for name, (rate, batch, decay, share, cosine, first, last, milestones, start) in networks.items():
        pretrain[name] = {
            **by(program, learning_rate=rate, batch_size=batch, weight_decay=decay, cosine_epochs=cosine, epochs=first),
            **by(program, momentum=0.9, gradient_clip=None, flip=True, width=1.0, cutout=0),
            **by(program, resized_crop=None if padding else share, crop_padding=padding),
        }
        recipes[name] = {
            **by("DNAL 3 and 4", gate_epochs=10, gate_learning_rate=0.01, gate_momentum=0.9),
            **by(program, epochs=last, milestones=milestones, cosine_start=start),
        }
    return {
        "": RUN,
        "data": data,
        "search": by(OURS, spaces=[]),
        **NO_SELECTION,
        "evaluate": by(OURS, genotypes=[], layers=[]),
        "pretrain": pretrain,
        "slim": by("DNAL's tables", models=list(networks), penalties=penalties) | {"recipes": recipes},
        "gradcam": NO_HEAT_MAPS | by(OURS, classes=classes),
        **NO_EXPORT,
    }


DIGITS = ["0", "3", "6", "8"]  # the default's, which no heat map asks for
PRESETS = {
    "darts": DARTS,
    "pibconv": PIB,
    "pibconv_115": PIB_20_LAYERS
    | {"search": PIB_SEARCH | by("PIB Fig. 3", epochs=115), "evaluate": PIB_EVALUATE | by(OURS, genotypes=[])},
    "roadmap": pib_at_20_layers("PIB Fig. 1", ["darts", "darts_gelu", "darts_ln", "convnext", "pibconv"]),
    "inverted_ratio": pib_at_20_layers(
        "PIB 2: F in {1.5, 4.5}", ["pibconv_f1.5", "pibconv", "pibconv_f3", "pibconv_f4.5"]
    ),
    "random_baseline": PIB_20_LAYERS
    | {"evaluate": PIB_EVALUATE | by(OURS, genotypes=["pibconv", *RANDOM], layers=[8], epochs=100)},
    "efficientnetv2": EFFICIENTNETV2,
    "gdas": GDAS,
    "imagenet": MOBILE,
    "dnal_cifar10": dnal(
        CIFAR10,
        [0.0, 1e-5, 5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4],
        {"vgg16_cifar": VGG16, "resnet56": RESNET50, "mobilenet_v2_cifar": MOBILENET_V2},
        4,
        DIGITS,
    ),
    "dnal_imagenet": dnal(
        IMAGENET,
        [0.0, 5e-5, 6e-5, 7e-5, 1e-4],
        {"vgg16_bn": VGG16, "resnet50": RESNET50, "mobilenet_v2": MOBILENET_V2, "proxylessnas": PROXYLESSNAS},
        0,
        DIGITS,
    ),
}
