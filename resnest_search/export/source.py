"""``model.py``: the network's whole definition, generated from the package's own source.

Generated, so that the file and the package cannot drift apart.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

__all__ = ["model_source"]

_FILES = ("variant.py", "models/split_attention.py", "models/resnest.py")
_DOCSTRING = re.compile(r'\A"""(.*?)"""\n', re.DOTALL)
_DROPPED = re.compile(
    r"^(from __future__ import annotations|from resnest_search\.[\w.]+ import [^(\n]+)\n"
    r"|^__all__ = \[[^\]]*\]\n",
    re.MULTILINE,
)
_IMPORT = re.compile(r"^(?:import \S.*|from \S+ import [^(\n]+)\n", re.MULTILINE)


def model_source(title: str, arguments: dict[str, Any], mean: list[float], std: list[float]) -> str:
    """The text of a module that imports torch and the standard library alone.

    Args:
        title: first line of its docstring.
        arguments: of ``ResNeSt``, ``variant`` among them as text.
        mean: of each channel of images in [0, 1]; empty where images stay as they are.
        std: likewise.
    """
    bodies, notes = [], []
    imports: set[str] = set()
    for name in _FILES:
        text = resources.files("resnest_search").joinpath(name).read_text(encoding="utf-8")
        docstring = _DOCSTRING.match(text)
        if docstring:
            notes.append(docstring[1].strip())
            text = text[docstring.end() :]
        text = _DROPPED.sub("", text)
        imports.update(line.strip() for line in _IMPORT.findall(text))
        bodies.append(_IMPORT.sub("", text).strip())
    header = f'"""{title}\n\n' + "\n\n".join(notes) + '\n"""\n'
    parts = [
        header,
        "from __future__ import annotations\n",
        _sorted_imports(imports),
        '__all__ = ["ResNeSt", "build", "preprocess"]\n',
        _constants(arguments, mean, std),
        *(f"\n{body}\n" for body in bodies),
        f"\n{_FUNCTIONS.strip()}\n",
    ]
    return "\n".join(parts)


def _sorted_imports(imports: set[str]) -> str:
    imports = imports | {"from pathlib import Path", "import torch", "from typing import Any"}
    ours = sorted(line for line in imports if line.split()[1].startswith("torch"))
    standard = sorted(imports - set(ours), key=lambda line: (line.startswith("from"), line))
    ours.sort(key=lambda line: line.startswith("from"))
    return "\n".join(standard) + "\n\n" + "\n".join(ours) + "\n"


def _constants(arguments: dict[str, Any], mean: list[float], std: list[float]) -> str:
    lines = ["# The arguments of ResNeSt that make this network.", "ARGUMENTS: dict[str, Any] = {"]
    lines += [f'    "{name}": {_literal(value)},' for name, value in arguments.items()]
    lines += [
        "}",
        "# Of each channel of images in [0, 1], as in training.",
        f"MEAN: tuple[float, ...] = {tuple(mean)!r}",
        f"STD: tuple[float, ...] = {tuple(std)!r}",
        'WEIGHTS = Path(__file__).with_name("weights.pt")',
        "",
    ]
    return "\n".join(lines)


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


_FUNCTIONS = '''
def build(pretrained: bool = False, **changes: Any) -> ResNeSt:
    """The network, with the trained weights beside this file or fresh ones.

    Args:
        pretrained: load ``weights.pt``.
        changes: of ``ARGUMENTS``, for example ``num_classes`` of a network to be trained.

    Raises:
        RuntimeError: the weights do not fit the changes.
    """
    arguments = {**ARGUMENTS, **changes}
    variant = Variant.parse(arguments.pop("variant"))
    network = ResNeSt(variant, **arguments)
    if pretrained:
        network.load_state_dict(torch.load(WEIGHTS, map_location="cpu", weights_only=True))
    return network


def preprocess(images: torch.Tensor) -> torch.Tensor:
    """Normalise images as in training: float (B, C, H, W) in [0, 1] in, the network's input out."""
    if not MEAN:
        return images
    mean = torch.tensor(MEAN, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(STD, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
    return (images - mean) / std
'''
