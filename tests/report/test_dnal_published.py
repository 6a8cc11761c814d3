"""The published tables of DNAL: against the ratios that the paper prints, and the networks built."""

from collections import Counter

import pytest

from nas.report.published.dnal import OTHERS, TABLES

# Baseline over slimmed, of multiply–adds and of parameters, as the repository prints them
RATIOS = {
    "vgg16_cifar": {
        1e-5: (1.48, 2.72),
        5e-5: (1.61, 4.02),
        1e-4: (1.94, 7.14),
        2e-4: (5.12, 24.98),
        3e-4: (10.53, 51.69),
        4e-4: (14.22, 62.46),
        5e-4: (18.83, 88.18),
    },
    "resnet56": {
        1e-5: (1.34, 1.29),
        5e-5: (1.51, 1.44),
        1e-4: (3.40, 3.40),
        2e-4: (14.54, 14.17),
        3e-4: (36.48, 38.64),
        4e-4: (52.73, 65.38),
        5e-4: (74.70, 121.43),
    },
    "mobilenet_v2_cifar": {
        1e-5: (1.53, 1.61),
        5e-5: (1.66, 1.92),
        1e-4: (2.49, 3.54),
        2e-4: (6.83, 11.50),
        3e-4: (11.67, 19.17),
        4e-4: (16.88, 23.96),
        5e-4: (20.26, 28.40),
    },
    "vgg16_bn": {1e-4: (3.30, 1.80)},
    "resnet50": {5e-5: (1.98, 1.67), 6e-5: (2.34, 2.00), 7e-5: (2.84, 2.34), 1e-4: (4.65, 3.56)},
    "mobilenet_v2": {6e-5: (1.38, 1.22), 7e-5: (1.45, 1.26)},
}
# Counted on the networks: parameters and multiply–adds in millions
COUNTED = {
    "vgg16_cifar": (14.9919, 313.46),
    "resnet56": (0.8530, 125.49),
    "mobilenet_v2_cifar": (2.2969, 91.15),
    "vgg16_bn": (138.3660, 15470.26),
    "resnet50": (25.5570, 4089.18),
    "mobilenet_v2": (3.5049, 300.77),
    "proxylessnas": (16.0949, 2260.35),
}
# Top-1 and top-5 (percent) summed over each table, and its search costs in order
ACCURACIES = {
    "vgg16_cifar": (736.32, 797.16),
    "resnet56": (717.55, 797.19),
    "mobilenet_v2_cifar": (736.08, 798.65),
    "vgg16_bn": (145.93, 182.28),
    "resnet50": (365.94, 457.44),
    "mobilenet_v2": (213.45, 269.90),
    "proxylessnas": (150.7, 185.0),
}
COSTS = {
    "vgg16_bn": ["90", "30+10+70"],
    "resnet50": ["90"] + ["30+10+70"] * 4,
    "mobilenet_v2": ["120"] + ["80+10+90"] * 2,
    "proxylessnas": ["150", "100+10+110"],
}


def test_a_table_for_each_backbone():
    from nas.dnal.backbones import BACKBONES

    assert list(TABLES) == list(BACKBONES)


@pytest.mark.parametrize("name", TABLES)
def test_the_baseline_comes_first_and_then_dnal_with_rising_penalties(name):
    baseline, *slimmed = TABLES[name]
    assert (baseline.method, baseline.penalty) == ("Baseline", None)
    assert {row.method for row in slimmed} == {"DNAL"}
    penalties = [row.penalty for row in slimmed]
    assert penalties == sorted(set(penalties)) == list(RATIOS.get(name, {6e-5: None}))


@pytest.mark.parametrize("name", RATIOS)
def test_sizes_have_the_ratios_that_the_paper_prints(name):
    baseline, *slimmed = TABLES[name]
    for row in slimmed:
        ratios = (baseline.macs / row.macs, baseline.params / row.params)
        assert ratios == pytest.approx(RATIOS[name][row.penalty], abs=0.0051)


@pytest.mark.parametrize("name", TABLES)
def test_the_baselines_are_those_of_the_networks_built(name):
    params, macs = COUNTED[name]
    baseline = TABLES[name][0]
    assert baseline.params == pytest.approx(params, rel=0.006)
    assert baseline.macs == (None if name == "proxylessnas" else pytest.approx(macs, rel=0.0003))


@pytest.mark.parametrize("name", TABLES)
def test_accuracies_and_search_costs(name):
    sums = tuple(sum(getattr(row, key) for row in TABLES[name]) for key in ("top1", "top5"))
    assert sums == pytest.approx(ACCURACIES[name])
    assert [row.search_cost for row in TABLES[name]] == COSTS.get(name, [None] * len(TABLES[name]))


# Of the other methods' networks in each table: how many, and their multiply-adds, parameters, top-1 and top-5 added up
OTHER_SUMS = {
    "vgg16_cifar": (3, 435.59, 8.37, 277.83, 0),
    "resnet56": (7, 424.93, 2.55, 646.84, 0),
    "mobilenet_v2_cifar": (7, 358.0, 4.69, 656.77, 0),
    "vgg16_bn": (8, 38750.0, 645.34, 553.36, 711.3),
    "resnet50": (16, 24550.0, 154.11, 1138.52, 1264.27),
    "mobilenet_v2": (1, 211.0, 0, 70.8, 0),
    "proxylessnas": (15, 0, 73.1, 1108.24, 641.0),
}
# Their search costs and kinds of search, where the tables name any, and of how many networks
OTHER_COSTS = {
    "vgg16_bn": {"90+30+20": 3, "196+48": 2, "100": 1},
    "resnet50": {"90+30+20": 2, "90+60": 3, "12+90": 3, "196+48": 2},
    "proxylessnas": {"600+250": 1, "200+150": 1, "90+360": 3},
}
SEARCHES = {"EA": 3, "RL": 7, "gradient": 5}


@pytest.mark.parametrize("name", OTHERS)
def test_other_methods_networks_add_up(name):
    rows = OTHERS[name]
    sums = (sum(getattr(row, key) or 0 for row in rows) for key in ("macs", "params", "top1", "top5"))
    assert (len(rows), *sums) == pytest.approx(OTHER_SUMS[name])
    assert Counter(row.search_cost for row in rows if row.search_cost) == OTHER_COSTS.get(name, {})
    assert Counter(row.search for row in rows if row.search) == (SEARCHES if name == "proxylessnas" else {})
    assert all(row.penalty is None for row in rows)


def test_other_methods_networks_have_the_ratios_that_the_paper_prints():
    """HRank's and GAL's on CIFAR-10, SSR's and ThiNet's on ImageNet: of multiply-adds and of parameters."""
    printed = {
        "vgg16_cifar": [("Variational-pruning", 1.65, 3.82), ("GAL-0.1", 1.82, 5.61), ("HRank", 4.25, 8.42)],
        "resnet50": [("GAL-0.5-joint", 2.22, 1.32), ("ThiNet-50", 2.39, 2.06), ("ThiNet-30", 3.72, 2.95)],
        "mobilenet_v2_cifar": [("FLGC(G=2)", 1.15, 1.95), ("FLGC(G=8)", 2.40, 5.35)],
    }
    for name, ratios in printed.items():
        whole, rows = TABLES[name][0], {row.method: row for row in OTHERS[name]}
        for method, macs, params in ratios:
            found = (whole.macs / rows[method].macs, whole.params / rows[method].params)
            assert found == pytest.approx((macs, params), abs=0.0051)
