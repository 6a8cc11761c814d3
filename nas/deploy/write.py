"""The files of one exported network."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nas.deploy.export import check, export
from nas.deploy.inputs import inputs_of
from nas.deploy.quantise import quantise
from nas.pipeline.names import INT8, ONNX, PROGRAM


def write(
    network: nn.Module,
    folder: str | Path,
    *,
    compared: Tensor | None = None,
    calibration: Tensor | None = None,
    threads: int = 1,
) -> float:
    """Export a network into a folder, as network.onnx and network.pt2, and compare both with it.

    Parameters
    ----------
    network : Module
        As `nas.deploy.models.load` read it.
    folder : str or Path
    compared : Tensor, uint8, N × C × H × W, optional
        The images that they are compared on; by default eight of noise.
    calibration : Tensor, uint8, N × C × H × W, optional
        Training images, with which int8.onnx is written too.
    threads : int, default 1

    Returns
    -------
    float
        As `nas.deploy.export.check`, whose errors it raises too.
    """
    onnx, program, int8 = (Path(folder) / name for name in (ONNX, PROGRAM, INT8))
    if compared is None:
        generator = torch.Generator().manual_seed(0)
        compared = torch.randint(256, (8, *inputs_of(network).shape), dtype=torch.uint8, generator=generator)
    made = export(network)
    made.save_onnx(onnx)
    made.save_program(program)
    error = check(network, onnx, program, compared, threads)
    if calibration is not None:
        quantise(made.onnx, int8, calibration)
    return error
