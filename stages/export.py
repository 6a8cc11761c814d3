"""Write one evaluated network for other programs, and compare: python -m stages.export NETWORK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nas.pipeline.errors import UserError
from nas.pipeline.names import DATA, INT8, ONNX, PROGRAM, WEIGHTS, Exported, Network
from nas.pipeline.params import Params
from nas.pipeline.stage import run

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from nas.data.dataset import Prepared
    from nas.data.split import Split

FILES = {"onnx": ONNX, "program": PROGRAM, "int8": INT8}
COMPARED = 32  # test images, one by one and all at once
BATCH = 256


def batches(split: Split) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images, uint8, and labels, in order."""
    import torch

    for chosen in torch.arange(len(split.labels)).split(BATCH):
        yield split.take(chosen).numpy(), split.labels[chosen].numpy()


def calibration(params: Params, prepared: Prepared) -> Tensor | None:
    """The training images that int8's scales come from, of each class as many as in all; None for no int8."""
    import torch

    from nas.data.split import stratified
    from nas.training.device import seed_for

    if params.export.calibration is None:
        return None
    labels = prepared.train.labels
    generator = torch.Generator().manual_seed(seed_for(params.seed, "export"))
    count = min(params.export.calibration, len(labels))
    return prepared.train.take(stratified(labels, count, generator))


def write(params: Params, named: Exported, load: Callable[[Path], nn.Module]) -> None:
    """Export the network that `load` reads, compare the files with it and measure what they are worth."""
    import json
    import shutil

    import torch

    from nas.data import dataset
    from nas.data.streaming import cpus
    from nas.deploy.inputs import inputs_of
    from nas.deploy.quantise import in_float
    from nas.deploy.runtime import session, top1
    from nas.deploy.write import write as write_files
    from nas.pipeline.files import whole_folder
    from nas.pipeline.records import Exporting
    from nas.training.device import choose_device, device_name

    device = choose_device("cpu", params.threads)
    prepared, source = dataset.load(DATA, device, cpus()), named.source.model
    network = load(source)
    if json.dumps(inputs_of(network).to_dict()) != json.dumps(prepared.inputs.to_dict()):
        raise UserError(f"{source}: is of other data than {DATA}; train it again")
    compared = prepared.test.take(torch.arange(min(COMPARED, len(prepared.test.labels))))
    images = calibration(params, prepared)
    with whole_folder(named.folder) as folder:
        shutil.copyfile(source, folder / WEIGHTS)
        error = write_files(network, folder, compared=compared, calibration=images, threads=params.threads)
        written = {kind: folder / file for kind, file in FILES.items() if (folder / file).is_file()}
        sizes = {f"{kind}_bytes": path.stat().st_size for kind, path in written.items()}
        scored = {
            kind: top1(session(written[kind], params.threads), batches(prepared.test))
            for kind in ("onnx", "int8")
            if kind in written
        }
        left = in_float(written["int8"]) if "int8" in written else None
    Exporting(
        max_relative_error=error,
        top1=scored["onnx"],
        int8_top1=scored.get("int8"),
        in_float=left,
        device=device_name(device),
        **sizes,
    ).write(named.results() / "metrics.json")


def main(params: Params, name: str, network: str) -> None:
    from nas.networks.network import load

    try:
        Network.of(network)
    except ValueError:
        raise UserError(f"network: {network} is not allowed: must be GENOTYPE-LAYERS-SEED") from None
    write(params, Exported(network), load)


if __name__ == "__main__":
    run(main)
