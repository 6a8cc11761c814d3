"""ONNX Runtime on the CPU."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nas.pipeline.errors import UserError


def required(*packages: str) -> None:
    """Raise UserError unless what exporting needs is installed."""
    for package in packages:
        if find_spec(package) is None:
            raise UserError(f"{package} is not installed; pip install 'nas-studies[export]'")


def session(model: str | Path | bytes, threads: int = 1, optimised: str | Path | None = None) -> Any:
    """An InferenceSession of an ONNX file, or of its bytes.

    Parameters
    ----------
    model
    threads : int, default 1
        That share an operation; operations run one after the other.
    optimised : str or Path, optional
        Where to write what ONNX Runtime makes of it, without what fits this processor alone.
    """
    required("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Or its threads would go on waiting busily between calls, and slow what else this process computes.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(runtime: Any, images: np.ndarray) -> np.ndarray:
    """Logits, N × classes, of uint8 images, N × C × H × W."""
    (given,) = runtime.get_inputs()
    return runtime.run(None, {given.name: images})[0]


def top1(runtime: Any, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> float:
    """Accuracy in percent over batches of uint8 images and their labels."""
    right = count = 0
    for images, labels in batches:
        right += int((run(runtime, images).argmax(axis=1) == labels).sum())
        count += len(labels)
    return 100 * right / count
