"""Data sets by name, each read by a module that is imported when its name is asked for, and by nothing else.

To add one, write a module and name it in ``READERS``, from which params.yaml may name it. It holds
``read(name, root, image_size, test_resize, workers)``, which takes the arguments of `nas.data.prepare.prepare` and
returns what it `Found`.
"""

from collections.abc import Callable
from importlib import import_module

from nas.pipeline.errors import UserError, unknown

READERS = {
    "digits": "digits",
    "fashion_mnist": "fashion_mnist",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "folder": "folder",
}


def find(name: str) -> Callable:
    """The function `read` of the data set's module.

    Raises
    ------
    UserError
        There is no data set of that name.
    """
    if name not in READERS:
        raise UserError(f"data.name: {unknown('data set', name, READERS)}")
    return import_module(f"{__name__}.{READERS[name]}").read
