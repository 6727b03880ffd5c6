"""What a network costs on paper: parameters, multiply-accumulates and bytes of tensors.

Nothing here allocates memory or depends on the machine: networks are built of tensors on
paper, which have shapes, types and storages but no bytes, so that one of 100 GiB is
accounted for in a second. Letters of the shapes: B images, C channels, H and W sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn
from torch.nn import functional as F

from resnest_search.cost.precision import dtype_of
from resnest_search.cost.shapes import OnPaper
from resnest_search.models import ResNeSt
from resnest_search.models.fast import Choice, fold_

__all__ = [
    "MIB",
    "Account",
    "Make",
    "Shape",
    "account",
    "account_training",
    "gradient_bytes",
    "sgd",
    "state_bytes",
    "train_step",
]

MIB = 2**20
Shape = tuple[int, int, int, int]  # [B, C, H, W]
Make = Callable[[], nn.Module]  # builds a classifier of [B, C, H, W] into [B, classes]


@dataclass(frozen=True)
class Account:
    """What one network needs.

    Attributes:
        parameters: trainable numbers; running statistics are not among them.
        macs: multiply-accumulates of convolutions and matrix products for one image, what
            papers print as FLOPs. Norms, activations and pools count nothing.
        inference_bytes: most bytes of tensors at once in an eager pass in eval mode:
            weights, buffers, images and the activations that are alive together, all of
            them cast to the precision, as `latency.deploy` casts them.
        training_bytes: the same in an eager training step that is not the first: weights,
            buffers, gradients, momentum, images and what backward keeps of the forward
            pass. A precision below fp32 is mixed: weights, gradients and momentum stay in
            float32, and autocast's copies count. The state of a loss scaler does not. None
            where no step was asked about.
    """

    parameters: int
    macs: int
    inference_bytes: int
    training_bytes: int | None


def account(
    make: Make,
    *,
    inference: Shape,
    training: Shape | None = None,
    precision: str = "fp32",
    training_precision: str = "fp32",
    folded: bool = False,
) -> Account:
    """Account for a network at these ``[B, C, H, W]`` of a pass and, if any, of a training step.

    Folded, the pass is that of `models.fast`, with every 3x3 grouped as it is.

    Raises:
        ValueError: a precision is unknown, or one image is too few for a batch norm.
    """
    dtype = dtype_of(precision)
    with OnPaper() as memory:
        network = make()
        step = _training(memory, network, training, training_precision) if training else None
    with OnPaper(count_flops=True) as memory, torch.no_grad():
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if folded and isinstance(network, ResNeSt):
            fold_(network, Choice(True, {}), fused=False)
        _cast(network.eval(), dtype)
        memory.hold(chain(network.parameters(), network.buffers()))
        memory.restart()
        network(torch.empty(inference, dtype=dtype))
    macs = memory.flops // (2 * inference[0])
    return Account(parameters, macs, memory.peak, step)


def account_training(make: Make, shape: Shape, precision: str) -> int:
    """``Account.training_bytes`` of a step on ``[B, C, H, W]`` images.

    Raises:
        ValueError: the precision is unknown, or one image is too few for a batch norm.
    """
    with OnPaper() as memory:
        return _training(memory, make(), shape, precision)


def gradient_bytes(make: Make) -> int:
    """Bytes of all gradients, which are in float32 whatever the precision."""
    with OnPaper():
        return sum(parameter.numel() for parameter in make().parameters()) * 4


def state_bytes(make: Make) -> int:
    """Bytes of a copy of weights and statistics."""
    with OnPaper():
        return sum(
            tensor.numel() * tensor.element_size() for tensor in make().state_dict().values()
        )


def _training(memory: OnPaper, network: nn.Module, shape: Shape, precision: str) -> int:
    """Most bytes of a step of this network, which was made within ``memory``."""
    parameters = list(network.train().parameters())
    momenta = {parameter: torch.empty_like(parameter) for parameter in parameters}
    # The update goes from one parameter to the next, and none needs more than the largest.
    largest = max(parameters, key=torch.Tensor.numel)
    optimizer = sgd([largest])
    optimizer.state[largest]["momentum_buffer"] = momenta[largest]  # as if a step had been made
    memory.restart()
    train_step(network, optimizer, torch.empty(shape), precision)
    network.zero_grad()
    return memory.peak


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.SGD:
    """SGD with Nesterov momentum and weight decay, as recipes have it."""
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)


def train_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, precision: str
) -> None:
    """One step on these images, all of class 0: label-smoothed loss, backward, update.

    Gradients are left in place, as between two steps of a training loop; the next step
    begins by dropping them.
    """
    optimizer.zero_grad()
    dtype = dtype_of(precision)
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        loss = F.cross_entropy(network(images), labels, label_smoothing=0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """``network.to(dtype)``, which refuses parameters on paper."""
    for module in network.modules():
        for name, tensor in chain(module._parameters.items(), module._buffers.items()):
            if tensor is not None and tensor.is_floating_point() and tensor.dtype != dtype:
                cast = tensor.detach().to(dtype)
                parameter = isinstance(tensor, nn.Parameter)
                setattr(module, name, nn.Parameter(cast) if parameter else cast)
    return network
