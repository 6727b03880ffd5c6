"""What a generated ``model.py`` offers around its network: `build`, `classify`, `preprocess`.

The generator takes this file's own text and puts the values of a network in the place of
the constants, one line each.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import torch

from resnest_search.data.images import centred, decoded
from resnest_search.data.pixels import recoloured, squashed, tensor_of
from resnest_search.models.resnest import ResNeSt
from resnest_search.variant import Variant

__all__ = ["build", "classify", "facts_digest", "load_images", "preprocess", "verified"]

# The arguments of ResNeSt that make this network.
ARGUMENTS: dict[str, Any] = {}
# Of each logit, in order.
CLASS_NAMES: tuple[str, ...] = ()
# Of files: channels they are decoded to, what is behind transparency, which side is resized to
# how many pixels, and the square that is cut out of the centre, which the network sees.
DECODED = 3
BACKGROUND: tuple[int, ...] = ()
RESIZED = ""
RESIZE = 0
CROP = 0
# Of each channel of images in [0, 1], as in training; empty where images stay as they are.
MEAN: tuple[float, ...] = ()
STD: tuple[float, ...] = ()
# How far floats may pass 0 and 1: a resize rounds, and may overshoot by less than a grey level.
SLACK = 1e-3
# The digest of the trained weights, weights.pt beside this file.
WEIGHTS_SHA256 = ""


def build(pretrained: bool = False, **changes: Any) -> ResNeSt:
    """The network, with the trained weights beside this file or fresh ones.

    Args:
        pretrained: load ``weights.pt``. With another ``num_classes`` all but the classifier
            is loaded, and the classifier stays fresh.
        changes: of ``ARGUMENTS``, for example ``num_classes`` of a network to be trained.

    Raises:
        RuntimeError: the weights are missing, are not the exported ones or do not fit the
            changes, or ``model.json`` is damaged.
    """
    arguments = {**ARGUMENTS, **changes}
    variant = Variant.parse(arguments.pop("variant"))
    network = ResNeSt(variant, **arguments)
    if pretrained:
        weights = verified(Path(__file__).with_name("weights.pt"), WEIGHTS_SHA256)
        state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
        if arguments["num_classes"] != ARGUMENTS["num_classes"]:
            fresh = network.state_dict()
            state.update({name: fresh[name] for name in ("fc.weight", "fc.bias")})
        network.load_state_dict(state)
    return network


def classify(path: str | os.PathLike[str], top: int = 5) -> list[tuple[str, float]]:
    """The likeliest classes of an image file, best first, each with its probability.

    Decoded, resized and cropped as the validation images were; by the trained network on the
    CPU, which is loaded once.

    Args:
        path: of the file.
        top: classes at most.

    Raises:
        ValueError: it is no image, or damaged.
        ImportError: Pillow is not installed.
        RuntimeError: of `build`.
    """
    images = load_images(path)
    with torch.inference_mode():
        shares = _trained()(images)[0].softmax(0)
    best = shares.sort(descending=True, stable=True)
    ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [(CLASS_NAMES[label], share) for label, share in ranked][:top]


@functools.cache
def _trained() -> ResNeSt:
    return build(pretrained=True).eval()


def load_images(*paths: str | os.PathLike[str]) -> torch.Tensor:
    """Image files as the network's input: float32 ``(B, C, S, S)``, to the bit as in validation.

    Turned by EXIF, 16 bits scaled, transparency on the background, resized, cropped and
    normalised. Needs Pillow.

    Raises:
        ValueError: there is no file, or one is no image or damaged.
        ImportError: Pillow is not installed.
    """
    if not paths:
        raise ValueError("load_images takes at least one path")
    return preprocess(torch.stack([_pixels(os.fspath(path)) for path in paths]))


def _pixels(path: str) -> torch.Tensor:
    """uint8 (C, S, S)"""
    image = decoded(path, DECODED, BACKGROUND)
    if RESIZED == "shorter side":
        image = centred(image, RESIZE, CROP)
    pixels = recoloured(tensor_of(image)[None], int(ARGUMENTS.get("in_channels", 3)))
    return squashed(pixels, CROP)[0]


def preprocess(images: torch.Tensor) -> torch.Tensor:
    """Normalise images as in training: ``(B, C, H, W)`` to the network's input of that shape.

    Args:
        images: uint8 of 0 to 255, or floats of 0 to 1, whose type is kept. One image
            ``(C, H, W)`` is taken for a batch of one.

    Raises:
        TypeError: they are no tensor, or of another type.
        ValueError: floats beyond 0 to 1, or another number of channels or dimensions.
    """
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"preprocess takes a tensor, not {type(images).__name__}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(
            f"preprocess takes uint8 of 0 to 255 or floats of 0 to 1, not {images.dtype}"
        )
    channels = int(ARGUMENTS.get("in_channels", 3))
    if images.ndim not in (3, 4) or images.shape[-3] != channels:
        colour = {1: "grey", 3: "RGB"}.get(channels, "as trained")
        raise ValueError(
            f"preprocess takes (B, {channels}, H, W), since the network takes {channels} "
            f"channels ({colour}), not {tuple(images.shape)}"
        )
    std = torch.tensor(STD or (1.0,))
    scale = (1 / (255 * std)).view(-1, 1, 1).to(images.device)
    offset = (-torch.tensor(MEAN or (0.0,)) / std).view(-1, 1, 1).to(images.device)
    batch = images if images.ndim == 4 else images[None]
    if images.dtype == torch.uint8:
        return batch.float().mul_(scale).add_(offset)
    if images.numel() and not torch.compiler.is_compiling():
        low, high = (float(end) for end in images.detach().aminmax())
        if not (low >= -SLACK and high <= 1 + SLACK):  # not-a-number too
            raise ValueError(
                f"preprocess takes floats of 0 to 1, not of {low:g} to {high:g}; "
                "give pixels of 0 to 255 as uint8, and images that are normalised to the network"
            )
    pixels = batch.to(torch.promote_types(images.dtype, torch.float32)) * 255
    return (pixels * scale + offset).to(images.dtype)


def verified(path: Path, sha256: str = "") -> bytes:
    """What an exported file holds, after a look at its digest.

    The digests guard against damage, and against files of different exports in one folder.
    They are no signature: who can write the folder can write all of them.

    Args:
        path: of the file. A ``model.json`` beside it must be intact, and a digest that it
            has for the file must be right; without one, ``sha256`` alone is compared.
        sha256: hexadecimal; empty where it is not known.

    Raises:
        RuntimeError: with one line, the file is missing or not the exported one, or
            ``model.json`` is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RuntimeError(f"{path} cannot be read: {error.strerror}") from None
    known = {"model.py": sha256, "model.json": recorded(path.with_name("model.json"), path.name)}
    digest = hashlib.sha256(content).hexdigest()
    for source, wanted in known.items():
        if wanted and digest != wanted:
            raise RuntimeError(
                f"{path} is not the exported file: {source} has another SHA-256 for it"
            )
    return content


def recorded(facts_path: Path, name: str) -> str:
    """The digest that a ``model.json`` has for a file; empty where it or its entry is missing.

    Raises:
        RuntimeError: with one line, it is damaged or was changed after the export.
    """
    if not facts_path.exists():
        return ""
    try:
        facts = json.loads(facts_path.read_bytes())
        intact = facts.pop("digest") == facts_digest(facts)
        sha256 = str(facts["sha256"].get(name, ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RuntimeError(f"{facts_path} is damaged") from None
    if not intact:
        raise RuntimeError(f"{facts_path} was changed after the export: its digest is another")
    return sha256


def facts_digest(facts: dict[str, Any]) -> str:
    """SHA-256 of the facts of a ``model.json``, but for their own ``digest``, as sorted JSON."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
