"""What a format of the export is, and what it is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnest_search.data.preprocessing import Preprocessing

__all__ = ["Format", "Winner"]


@dataclass(frozen=True)
class Winner:
    """A trained network on its way out.

    Attributes:
        title: one line that names it.
        arguments: of ``ResNeSt``, ``variant`` among them as text.
        network: in eval mode, on the CPU.
        preprocessing: from a file to its input.
        class_names: of each logit, in order.
        formats: names of all formats that are written.
        calibration: batches ``(B, C, H, W)`` of training images, for what is quantised.
    """

    title: str
    arguments: dict[str, Any]
    network: nn.Module
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    formats: tuple[str, ...] = ("source",)
    calibration: Callable[[], Iterable[torch.Tensor]] = tuple

    @property
    def metadata(self) -> dict[str, str]:
        """What a format carries beside the network: JSON of ASCII by name."""
        facts = {
            "class_names": list(self.class_names),
            "preprocessing": self.preprocessing.facts(),
        }
        return {name: json.dumps(value) for name, value in facts.items()}

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The network as a graph for any batch of at least one image.

        Without the stack traces of the nodes, which name this machine's folders.
        """
        size = self.preprocessing.crop
        # torch takes a batch of 1 for a constant.
        images = torch.zeros(2, int(self.arguments["in_channels"]), size, size)
        batch = torch.export.Dim("batch")
        program = torch.export.export(self.network, (images,), dynamic_shapes=({0: batch},))
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)
        return program


@dataclass(frozen=True)
class Format:
    """One way to write the winner.

    Attributes:
        name: in ``format=[…]``.
        files: that it writes below the export's folder.
        packages: of the extra ``[export]`` that writing or checking it needs.
        write: writes the files into a folder.
        usage: Python code of a few lines that loads and calls it from within the folder,
            where ``{shape}`` stands for ``channels, size, size``, and ``photo.jpg`` for a file.
        needs: packages that this code needs, as pip is told.
        mode: in which its latency is measured.
        refusal: why it cannot express a network of these arguments; None where it can.
        exact: whether it answers as the trained network does; else it has an accuracy of its own.
    """

    name: str
    files: tuple[str, ...]
    packages: tuple[str, ...]
    write: Callable[[Winner, Path], None]
    usage: str
    needs: str
    mode: str
    refusal: Callable[[dict[str, Any]], str | None] = lambda arguments: None
    exact: bool = True

    @property
    def file(self) -> str:
        """What is loaded: a file of the export's folder, or a folder of its own."""
        return self.files[0].partition("/")[0]
