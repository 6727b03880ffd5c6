"""Weights from elsewhere: state dicts and files of the authors' package, of timm and of this one.

All three name their tensors alike, so that loading is a comparison of names and shapes and
then a copy. What their files do not say, the network's arguments must: whether a block pools
before or after its 3x3 (``avd_first``), and what radix 0 is (``radix0``), change the function
and no tensor.

The references themselves differ in two places, and this package does as the authors' does:

- timm rounds the attention width to a multiple of 8, so that at a width such as 72 its
  weights fit no network of the authors.
- In the dilated form the authors' strideless first block still pools and timm's does not: the
  same weights, which load, are another function there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from resnest_search.models.resnest import ResNeSt

__all__ = ["load_authors", "load_pretrained", "load_timm", "pretrained_state", "read_weights"]

State = Mapping[str, torch.Tensor]

_CLASSIFIER = ("fc.weight", "fc.bias")
_STEMS = ("conv1.0.weight", "conv1.weight")  # the deep one's, and the small one's
_COUNTER = "num_batches_tracked"
_WRAPPERS = ("state_dict", "model")  # keys under which training programs store the weights
_PREFIXES = ("module.", "network.")  # of data-parallel networks, and of this package's trials
_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")


def load_authors(network: ResNeSt, state: State) -> None:
    """Load a state dict of the PyPI package ``resnest``, the authors' code.

    Raises:
        ValueError: it does not fit; the network is as it was.
    """
    network.load_state_dict(_fitting(network, state, "the authors' weights"))


def load_timm(network: ResNeSt, state: State) -> None:
    """Load a state dict of a ``resnest*`` of timm, or for radix 0 of its ``resnet*d``.

    Raises:
        ValueError: it does not fit; the network is as it was.
    """
    network.load_state_dict(_fitting(network, state, "timm's weights"))


def load_pretrained(network: ResNeSt, path: Path) -> str:
    """Start a network from a file: all weights, but for a classifier of other classes.

    Returns:
        What was done, in a few words.

    Raises:
        ValueError: the file cannot be read or does not fit; the network is as it was.
    """
    state = read_weights(path)
    network.load_state_dict(pretrained_state(network, state))
    classes, own = _classes(state), network.fc.out_features
    if classes == own:
        return f"starts from {path.name}, its classifier of {own} classes by their order"
    there = "none" if classes is None else f"{classes} classes"
    return f"starts from {path.name}; the classifier is fresh ({there} there, {own} here)"


def pretrained_state(network: ResNeSt, state: State) -> dict[str, torch.Tensor]:
    """The state that a network gets from a file's; its own classifier where theirs is another's.

    Reads no values, so that a network on the meta device is enough to find out what fits.

    Raises:
        ValueError: it does not fit.
    """
    own = network.state_dict()
    if _classes(state) != network.fc.out_features:
        state = {**state, **{name: own[name] for name in _CLASSIFIER}}
    return _fitting(network, state, "the file's weights")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file, on the CPU, without wrapper and prefix; runs no code of the file.

    Raises:
        ValueError: there is no such file, or it holds no weights that can be read.
    """
    if not path.is_file():
        raise ValueError("is no file")
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"is no weights file; valid: {', '.join(_SUFFIXES)}")
    try:
        loaded = _load(path)
    except ImportError:
        raise ValueError("needs a package more: pip install safetensors") from None
    except Exception as error:  # a damaged file raises whatever its first wrong byte leads to
        raise ValueError(
            f"cannot be read ({type(error).__name__}); a state dict alone can, as torch.save "
            "writes it"
        ) from error
    return _unwrapped(loaded)


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrapped(loaded: Any) -> dict[str, torch.Tensor]:
    """The state dict itself.

    Raises:
        ValueError: there is none.
    """
    for name in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    if (
        not isinstance(loaded, Mapping)
        or not loaded
        or not all(isinstance(value, torch.Tensor) for value in loaded.values())
    ):
        raise ValueError("holds no state dict, which maps names to tensors")
    state = {str(name): tensor for name, tensor in loaded.items()}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _classes(state: State) -> int | None:
    """Logits of a state dict's classifier; None where it has none."""
    weight = state.get(_CLASSIFIER[0])
    return weight.shape[0] if weight is not None and weight.ndim else None


def _fitting(network: ResNeSt, state: State, source: str) -> dict[str, torch.Tensor]:
    """The state with the counters that it may lack: old files have none, and nothing reads them.

    Raises:
        ValueError: a name or a shape is not the network's.
    """
    own = network.state_dict()
    state = {name: own[name] for name in own if name.endswith(_COUNTER)} | dict(state)
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    other = [name for name in own if name in state and state[name].shape != own[name].shape]
    stem = next((name for name in _STEMS if name in other), "")
    if stem and state[stem].shape[2:] == own[stem].shape[2:] and len(other) == 1:
        channels = (state[stem].shape[1], own[stem].shape[1])
        raise ValueError(f"{source} are for images of {channels[0]} channels, not of {channels[1]}")
    faults = [_named("missing", missing), _named("unexpected", unexpected)]
    faults.append(_named("of another shape", [_shapes(name, state, own) for name in other]))
    if _rounded(state, own):
        faults.append("timm rounds the attention width to a multiple of 8")
    found = "; ".join(fault for fault in faults if fault)
    if found:
        raise ValueError(f"{source} do not fit: {found}")
    return state


def _named(fault: str, names: list[str]) -> str:
    """A fault with the first of its names and the number of the others."""
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{fault}: {names[0]}{rest}" if names else ""


def _shapes(name: str, state: State, own: State) -> str:
    return f"{name} {list(state[name].shape)} for {list(own[name].shape)}"


def _rounded(state: State, own: State) -> bool:
    """Whether an attention width is the network's, rounded to a multiple of 8."""
    for name, tensor in own.items():
        if name.endswith("fc1.bias") and name in state and state[name].ndim:
            theirs, ours = state[name].shape[0], tensor.shape[0]
            if theirs != ours and theirs % 8 == 0 and abs(theirs - ours) < 8:
                return True
    return False
