"""Zero-cost proxies: scores of a network that was never trained, the cheapest baseline that a search must beat.

Each is ``(network, images, labels) -> float``, the larger the better a network is expected to be. They take the network
as it is initialised, and one batch: N × C × H × W images, normalised as for training, with N labels. The network stays
as it is. Weights are those of convolutions and linear layers, without biases; batch norm takes the batch's statistics,
but in synflow, where it is left out. Numbers are of the network's own precision, but where said.

As proxies for architecture search: Abdelfattah, Mehrotra, Dudziak & Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR
2021.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nas.networks import complexity

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish)  # positive where their input is
NORMS = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


def params(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Learned parameters: no proxy's paper, and a baseline that few of them beat."""
    return float(complexity.params(network))


def macs(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Multiply-adds of the convolutions and linear layers for one image."""
    return float(complexity.conv_macs(deepcopy(network).float(), _shape(images)))


def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Synaptic flow: Tanaka, Kunin, Yamins & Ganguli, "Pruning Neural Networks without Any Data by Iteratively
    Conserving Synaptic Flow", NeurIPS 2020, section 6.

    Σ_θ θ·∂R/∂θ, where R is the sum of the outputs for an image of ones of a network whose parameters are replaced by
    their absolute values; in float64, for R grows by a factor with every layer. No normalisation is computed: of batch
    norm's statistics there are none yet, and what is scaled to unit variance would have no flow. Of the batch it
    reads no more than the image's size.
    """
    network = _copy(network).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    for module in network.modules():
        if isinstance(module, NORMS):
            module.register_forward_hook(lambda module, inputs, output: inputs[0])
    ones = torch.ones(1, *_shape(images), dtype=torch.float64, device=images.device)
    weights = _weights(network)
    gradients = torch.autograd.grad(network(ones).sum(), weights, materialize_grads=True)
    return sum((weight * gradient).sum().item() for weight, gradient in zip(weights, gradients, strict=True))


def grad_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """‖∂L/∂θ‖₂ over all weights, of the mean cross-entropy of the batch (Abdelfattah et al., 2021, section 3.2)."""
    gradients, _ = _gradients(network, images, labels)
    return float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())


def snip(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Connection sensitivity: Lee, Ajanthan & Torr, "SNIP: Single-Shot Network Pruning Based on Connection
    Sensitivity", ICLR 2019, section 4.1; as a proxy the sum over all weights (Abdelfattah et al., 2021, eq. 1).

    Σ_θ |θ·∂L/∂θ|: what the loss would change by as each weight is taken away, to first order.
    """
    gradients, weights = _gradients(network, images, labels)
    return sum((weight * gradient).abs().sum().item() for weight, gradient in zip(weights, gradients, strict=True))


def naswot(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Mellor, Turner, Storkey & Crowley, "Neural Architecture Search without Training", ICML 2021, section 3.

    ln |det K|, where K_ij counts the activations that are on for both images i and j or off for both. On is a ReLU, or
    another of `ACTIVATIONS`, whose input is positive; of those that the output depends on. In float64; -∞ where two
    images are on and off alike.

    Raises
    ------
    ValueError
        If the network has no such activation.
    """
    network, seen = _copy(network).train(), []
    for module in network.modules():
        if isinstance(module, ACTIVATIONS):
            module.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0] > 0, output)))
    total = network(images).sum()
    if not seen:
        raise ValueError("naswot needs a network with a ReLU, or another of nas.analysis.proxies.ACTIVATIONS")
    seen = [(signs, output) for signs, output in seen if output.requires_grad]  # of zeros alone nothing is learned
    reached = torch.autograd.grad(total, [output for _, output in seen], allow_unused=True)
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)
    for (signs, _), gradient in zip(seen, reached, strict=True):
        if gradient is not None:
            on = signs.flatten(1).double()
            kernel += on @ on.T + (1 - on) @ (1 - on).T
    if len(kernel.unique(dim=0)) < len(kernel):
        return -inf
    return float(torch.linalg.slogdet(kernel).logabsdet)


def jacov(network: nn.Module, images: Tensor, labels: Tensor, offset: float = 1e-5) -> float:
    """Jacobian covariance: the first version of Mellor et al. (arXiv 2006.04647v1, 2020), as a proxy in Abdelfattah et
    al. (2021), there jacob_cov.

    -Σ_i ln(λ_i + k) + 1/(λ_i + k), k = 1e-5, with λ the eigenvalues of the images' correlations: of the gradients of
    the sum of the outputs with respect to each image. In float64 from there on; -∞ where an image's gradient is
    constant.
    """
    network, inputs = _copy(network).train(), images.detach().clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(network(inputs).sum(), inputs, materialize_grads=True)
    rows = jacobian.flatten(1).double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    lengths = rows.norm(dim=1, keepdim=True)
    if not lengths.all():
        return -inf
    eigenvalues = torch.linalg.eigvalsh((rows / lengths) @ (rows / lengths).T) + offset
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


Proxy = Callable[[nn.Module, Tensor, Tensor], float]
PROXIES: dict[str, Proxy] = {
    "params": params,
    "macs": macs,
    "synflow": synflow,
    "naswot": naswot,
    "jacov": jacov,
    "grad_norm": grad_norm,
    "snip": snip,
}


def score(
    genotypes: Iterable[str], build: Callable[[str], nn.Module], images: Tensor, labels: Tensor, *, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of genotype, proxy and score, for `nas.pipeline.records.ProxyScore.write`.

    Parameters
    ----------
    genotypes : iterable of str
    build : callable
        The network of a genotype, on the device of the images and without an auxiliary tower.
    images, labels : Tensor
        One batch; the papers have 64 images (Abdelfattah et al.) and 128 (Mellor et al.). Training images, so that
        the test images stay unseen.
    seed : int
        Every network is initialised with it.
    """
    for genotype in genotypes:
        torch.manual_seed(seed)
        network = build(genotype)
        for name, proxy in PROXIES.items():
            yield {"genotype": genotype, "proxy": name, "score": proxy(network, images, labels)}


def _shape(images: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width


def _copy(network: nn.Module) -> nn.Module:
    """A copy to put hooks on; what `nas.fast` set aside is computed the plain way, in which hooks are called."""
    network = deepcopy(network)
    for module in network.modules():
        vars(module).pop("forward", None)
    return network.requires_grad_()


def _weights(network: nn.Module) -> list[Tensor]:
    return [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def _gradients(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Of the mean cross-entropy in training mode, for each of the weights; and these."""
    network = _copy(network).train()
    weights = _weights(network)
    return torch.autograd.grad(cross_entropy(network(images), labels), weights, materialize_grads=True), weights
