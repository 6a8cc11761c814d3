"""scikit-learn's handwritten digits: 1,797 grey images of 8×8 pixels, which come with the library."""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from nas.data.split import Found, Split


def read(name: str, root: Path, image_size: int | None, test_resize: int | None, workers: int) -> Found:
    """All images, a stratified fifth of them for the test; no argument matters."""
    digits = load_digits()
    # From 0..16 to 0..255: exact in float64, the one tie (8) to the even 128.
    images = torch.from_numpy(np.rint(digits.images * 255 / 16).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    # The test images are the same for every seed, as they are in the sets that come with a test split, and on every
    # machine: they are drawn from NumPy's RandomState, whose numbers are fixed for good.
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=digits.target, random_state=0)
    train, test = torch.from_numpy(np.sort(train)), torch.from_numpy(np.sort(test))
    return Found([str(c) for c in range(10)], Split(images[train], labels[train]), Split(images[test], labels[test]))
