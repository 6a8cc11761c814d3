"""DNAL: channel widths learned by scaled-sigmoid gates (Guo et al., Pattern Recognition 126, 2022)."""
