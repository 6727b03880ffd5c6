"""The ``README.md`` of an export: what it is, how good, and how each of its files is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnest_search import __version__
from resnest_search.export.check import Score
from resnest_search.export.formats import Format

__all__ = ["readme"]

_ABOUT = {
    "source": "`model.py` needs torch alone; `weights.pt` loads with `weights_only=True`.",
    "torch_export": "`model.pt2` is the network's graph as `torch.export` saves it.",
    "onnx": "`model.onnx` runs without torch: input `images`, output `logits`, any batch.",
    "timm": "`timm/` is a folder for timm's `create_model`.",
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
{_tested(facts["test"])}
{_chosen(facts["uncertainty"])}
`model.json` holds every figure with its device and mode, and the SHA-256 of every file.
Damaged and exchanged files are refused with one line.

{used}
| cost | on {device}: {mode} |
| --- | --- |
{rows}
"""


def _tested(test: dict[str, Any] | None) -> str:
    if test is None:
        return (
            "There is no test set; expect less than the validation accuracy, which the search "
            "chose by."
        )
    return (
        f"Test accuracy {Score(**test)}, taken once, on images that neither training nor the "
        "search saw."
    )


def _chosen(found: dict[str, Any] | None) -> str:
    """How sure the choice is; an empty line before it and after."""
    if found is None:
        return ""
    names = ", ".join(dict.fromkeys(rival["variant"] for rival in found["rivals"]))
    doubt = (
        f"Within noise of it, at no higher cost: {names}."
        if names
        else "Nothing that costs as little is within noise of it."
    )
    words = {"images": "validation images", "seeds": "seeds"}
    noise = " and ".join(words[source] for source in found["noise_of"])
    return (
        f"\nOn the front with a probability of {_percent(found['front_membership'])}, given the "
        f"noise of {noise}. {doubt}\n"
    )


def _percent(share: float) -> str:
    """As it follows from a thousand draws, which make sure of nothing."""
    return f"{share:.0%}" if 0.01 <= share <= 0.99 else "over 99%" if share > 0.5 else "under 1%"


def _section(format: Format, facts: dict[str, Any], shape: str) -> str:
    return f"""\
## {facts["file"]}

{_ABOUT[format.name]} Compared with the trained network on {facts["images"]} validation images:
max difference {facts["max_difference"]:.2g}, top-1 agreement {facts["top1_agreement"]:.2%}.
Latency {facts["latency_ms"]:.3g} ms, p95 {facts["latency_p95_ms"]:.3g} ms, on {facts["device"]}:
{facts["mode"]}.

```python
{format.usage.replace("{shape}", shape)}
```
"""
