"""The curvature of a loss around the architecture's parameters."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def dominant_eigenvalue(loss: Callable[[], Tensor], parameters: Sequence[Tensor], tolerance: float = 1e-2) -> float:
    """The largest eigenvalue of the Hessian of ``loss()`` with respect to `parameters`.

    By Lanczos's method (scipy's ``eigsh``), whose products with the Hessian are gradients of gradients.

    Parameters
    ----------
    loss : callable
        A scalar; it is called once.
    parameters : sequence of Tensor
        Which require a gradient.
    tolerance : float, default 1e-2
        Of the eigenvalue, relative.
    """
    import numpy
    from scipy.sparse.linalg import LinearOperator, eigsh

    gradients = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
    flat = torch.cat([gradient.flatten() for gradient in gradients])

    def product(vector: numpy.ndarray) -> numpy.ndarray:
        given = torch.from_numpy(vector.reshape(-1)).to(flat)
        found = torch.autograd.grad(flat, parameters, given, retain_graph=True, materialize_grads=True)
        return torch.cat([each.flatten() for each in found]).double().cpu().numpy()

    hessian = LinearOperator((len(flat), len(flat)), matvec=product, dtype=numpy.float64)
    start = numpy.random.default_rng(0).standard_normal(len(flat))
    return float(eigsh(hessian, k=1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)[0])
