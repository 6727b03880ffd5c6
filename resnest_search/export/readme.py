"""The ``README.md`` of an export: what it is, how good, and how each of its files is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnest_search import __version__
from resnest_search.data.preprocessing import SHORTER
from resnest_search.export.check import Score, doubt
from resnest_search.export.formats import Format
from resnest_search.export.looks import Look

__all__ = ["readme"]

_ABOUT = {
    "source": "`model.py` needs torch alone, Pillow for image files, and NumPy for those of more "
    "than 8 bits; `weights.pt` loads with `weights_only=True`.",
    "torch_export": "`model.pt2` is the network's graph as `torch.export` saves it, with "
    "`class_names.json` and `preprocessing.json` as `extra_files`.",
    "onnx": "`model.onnx` runs without torch: input `images`, output `logits`, any batch; "
    "`class_names` and `preprocessing` are JSON in its metadata.",
    "onnx_int8": "`model.int8.onnx` is the same in 8 bits, calibrated on training images: another "
    "network, with an accuracy of its own.",
    "timm": "`timm/` is a folder for the `create_model` of timm 1.0.26 or later, with class "
    "names and the transform of validation.",
}


def readme(facts: dict[str, Any], formats: Sequence[Format]) -> str:
    """The text, from the facts of ``model.json``."""
    data, costs = facts["data"], dict(facts["costs"])
    device, mode = costs.pop("device"), costs.pop("mode")
    shape = f"{data['channels']}, {data['image_size']}, {data['image_size']}"
    used = "\n".join(_section(format, facts["formats"][format.name], shape) for format in formats)
    rows = "\n".join(f"| {name} | {value:.6g} |" for name, value in costs.items())
    return f"""\
# ResNeSt {facts["variant"]}

Trained on {data["name"]} for {facts["epochs"]} epochs, exported by resnest-search {__version__}.
It is {facts["chosen_as"]}.
Validation accuracy {Score(**facts["validation"])}.
{_tested(facts["test"], facts["test_look"], facts["model"].get("pretrained"))}
{_chosen(facts["uncertainty"])}
`model.json` holds every figure with its device and mode, and the SHA-256 of every file.
Damaged and exchanged files are refused with one line. `model.yaml` is the network around the
variant: copied to `./model/NAME.yaml`, it is `model=NAME` for resnest-search.

{_files(data["preprocessing"])}

{used}
What the search went by:

| cost | on {device}: {mode} |
| --- | --- |
{rows}
"""


def _files(facts: dict[str, Any]) -> str:
    """How a file becomes the network's input, and where the code below is to be run."""
    side = "its shorter side" if facts["resized"] == SHORTER else "each side"
    resize, crop = facts["resize"], facts["crop"]
    cut = f", and the {crop} x {crop} pixels in its centre are kept" if resize != crop else ""
    ground = ", ".join(str(value) for value in facts["background"])
    return f"""\
An image file is turned as its EXIF orientation says, made {facts["colour"]} of 8 bits with
{ground} behind what is transparent, and {side} is resized to {resize} pixels
({facts["interpolation"]}, antialias){cut}.
Run the code below in this folder, with an image `photo.jpg` of your own in it."""


def _tested(
    test: dict[str, Any] | None, look: dict[str, Any] | None, pretrained: str | None
) -> str:
    if test is None or look is None:
        return (
            "There is no test set; expect less than the validation accuracy, which the search "
            "chose by."
        )
    seen = (
        f"Test accuracy {Score(**test)}, on images that neither training nor the search saw: "
        f"{Look(**look)}."
    )
    if pretrained:
        seen += " Which images the weights that it began with had been trained on is not known."
    if look["networks"] == 1:
        return seen
    return (
        f"{seen} Each network of this sweep that was exported, or evaluated on them, took one; "
        "the best of several is better by chance."
    )


def _chosen(found: dict[str, Any] | None) -> str:
    """How sure the choice is; an empty line before it and after."""
    if found is None:
        return ""
    names = ", ".join(dict.fromkeys(rival["variant"] for rival in found["rivals"]))
    has_costs = bool(found["sought_costs"])
    doubt = (
        f"Within noise of it{', at no higher cost' * has_costs}: {names}."
        if names
        else f"Nothing {'that costs as little ' * has_costs}is within noise of it."
    )
    words = {"images": "validation images", "seeds": "seeds", "costs": "rounds of timing"}
    *first, last = [words[source] for source in found["noise_of"]]
    noise = " and ".join([*([", ".join(first)] if first else []), last])
    return (
        f"\nOn the front with a probability of {_percent(found['front_membership'])}, given the "
        f"noise of {noise}. {doubt}\n"
    )


def _percent(share: float) -> str:
    """As it follows from a thousand draws, which make sure of nothing."""
    return f"{share:.0%}" if 0.01 <= share <= 0.99 else "over 99%" if share > 0.5 else "under 1%"


def _section(format: Format, facts: dict[str, Any], shape: str) -> str:
    own = ""
    if "validation" in facts:
        own = f" Its validation accuracy is {Score(**facts['validation'])}."
    return f"""\
## {facts["file"]}

{_ABOUT[format.name]}{own} Compared with the trained network on {facts["images"]} validation images:
max difference {facts["max_difference"]:.2g}, top-1 agreement {facts["top1_agreement"]:.2%}.
Latency {facts["latency_ms"]:.3g} ms, p95 {facts["latency_p95_ms"]:.3g} ms, on {facts["device"]}:
{facts["mode"]}{doubt(facts)}.

```bash
pip install {format.needs}
```

```python
{format.usage.replace("{shape}", shape).replace("{channels}", shape.partition(",")[0])}
```
"""
