"""Checks and measures on a GPU all that no other machine can, in one command of ten minutes.

    python benchmarks/gpu.py                        # in its small form where there is no CUDA
    python benchmarks/gpu.py --only costs --out /tmp/found

Needs torch with Triton, Lightning, timm, torchvision and scikit-learn, and nothing else that the
package needs: no installation, no network, no file outside the repository. Each part runs in a
process of its own, so that the others go on whatever becomes of it. Writes
``gpu-<device>.json`` and ``gpu-<device>.md`` to ``benchmarks/results``; exit code 1 if a part
failed. The small form runs what a CPU can, and says of the rest what it needs.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the package need not be installed


class Part(NamedTuple):
    """One part: the module of `gpu_parts` that has it, and how long it may take on a GPU."""

    module: str
    title: str
    seconds: float
    needs_cuda: bool = False


PARTS = {  # what has no end of its own comes last
    "fused": Part("forms", "The fused form against the plain one", 90),
    "training": Part("speed", "An epoch of training", 50),
    "allocator": Part("costs", "The allocator against the account", 50, True),
    "events": Part("costs", "CUDA events against do_bench", 30, True),
    "graphs": Part("costs", "CUDA graphs and a cold L2 cache", 40, True),
    "costs": Part("costs", "Costs of twelve variants", 200),
    "compiled": Part("forms", "Compiled without graph breaks", 100),
    "ratios": Part("speed", "Beside timm", 130),
    "compiled_costs": Part("costs", "Costs of twelve variants, compiled", 300, True),
}
INTERRUPT_S, KILL_S = 10.0, 20.0  # after its time a part is interrupted, then killed


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument("--small", action="store_true", help="little of everything, as on a CPU")
    parser.add_argument("--seconds", type=float, default=560, help="for all parts; default 560")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of both files")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # the child's part
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)  # where it writes
    return parser.parse_args()


def run_part(asked: argparse.Namespace) -> None:
    """The child: one part, whatever it raises, and what it found into a file."""
    import torch
    from gpu_parts.found import Found, Setting

    from resnest_search.cost.machine import device_name, versions

    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    found = Found()
    signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, asked.seconds + INTERRUPT_S)
    try:
        part = getattr(importlib.import_module(f"gpu_parts.{PARTS[asked.part].module}"), asked.part)
        part(Setting(asked.small, device, time.monotonic() + asked.seconds), found)
    except Exception as error:
        traceback.print_exc()
        found.failed.append(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    signal.setitimer(signal.ITIMER_REAL, 0)
    facts = {"device": device_name(device), "versions": versions(device)}
    asked.to.write_text(json.dumps(dataclasses.asdict(found) | facts), encoding="utf-8")


def out_of_time(number: int, frame: object) -> None:
    """End what the part is at, so that what it has found so far is kept."""
    raise TimeoutError("its time was over")


def one_part(name: str, small: bool, cuda: bool, seconds: float, out: Path) -> dict[str, Any]:
    """The parent: a part in a process of its own, and what became of it."""
    if PARTS[name].needs_cuda and not cuda:
        return {"skipped": ["needs CUDA"], "seconds": 0.0, "status": "skipped"}
    if seconds <= 0:
        return {"skipped": ["out of time"], "seconds": 0.0, "status": "skipped"}
    to = out / f".gpu-{name}.json"
    command = [sys.executable, str(HERE / "gpu.py"), "--part", name, "--to", str(to)]
    command += ["--seconds", str(seconds), *(["--small"] if small else [])]
    environment = dict(os.environ)
    if name == "fused" and not cuda:  # the kernels run in Triton's interpreter
        environment["TRITON_INTERPRET"] = "1"
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + KILL_S,
            check=False,
        )
        end = f"its process ended with {done.returncode}: {done.stderr.strip()[-500:]}"
    except subprocess.TimeoutExpired:
        end = f"killed after {seconds + KILL_S:.0f} s"
    try:
        found: dict[str, Any] = json.loads(to.read_text(encoding="utf-8"))
        to.unlink()
    except (OSError, ValueError):
        found = {"failed": [end]}
    found["seconds"] = round(time.monotonic() - begun, 1)
    found["status"] = status(found)
    return found


def status(found: dict[str, Any]) -> str:
    """``failed``, ``passed``, or ``skipped`` where nothing was done."""
    if found.get("failed") or not all(check["passed"] for check in found.get("checks", [])):
        return "failed"
    return "passed" if found.get("checks") or found.get("figures") else "skipped"


def page(result: dict[str, Any]) -> str:
    """Markdown of everything."""
    from gpu_parts.found import shown

    lines = ["# What a GPU showed" if result["cuda"] else "# The small form, on a CPU", ""]
    lines += [
        f"- device: {result['device']}",
        f"- versions: {', '.join(f'{name} {value}' for name, value in result['versions'].items())}",
        f"- command: `{result['command']}`; {result['seconds']:.0f} s",
        "",
        "| part | result | checks | seconds |",
        "| --- | --- | ---: | ---: |",
    ]
    for name, found in result["parts"].items():
        checks = found.get("checks", [])
        held = sum(check["passed"] for check in checks)
        lines.append(
            f"| {PARTS[name].title} | {found['status']} | {held} of {len(checks)} | "
            f"{found['seconds']:.0f} |"
        )
    for name, found in result["parts"].items():
        lines += ["", f"## {PARTS[name].title}: {found['status']}", ""]
        lines += [f"- failed: {line}" for line in found.get("failed", [])]
        lines += [
            f"- failed: {check['what']}: {shown(check['value'])}, at most {shown(check['limit'])}"
            for check in found.get("checks", [])
            if not check["passed"]
        ]
        lines += [f"- skipped: {line}" for line in found.get("skipped", [])]
        lines += [f"- {line}" for line in found.get("notes", [])]
        lines += found.get("page", [])
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the parts, print and keep."""
    asked = arguments()
    if asked.part:
        run_part(asked)
        return 0
    import torch

    cuda = torch.cuda.is_available()
    small = asked.small or not cuda
    asked.out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    parts: dict[str, dict[str, Any]] = {}
    for name in asked.only or PARTS:
        left = asked.seconds - (time.monotonic() - begun)
        seconds = left if small else min(PARTS[name].seconds, left)
        parts[name] = one_part(name, small, cuda, seconds, asked.out)
        print(f"{name}: {parts[name]['status']}, {parts[name]['seconds']} s", file=sys.stderr)
    known = next((found for found in parts.values() if "device" in found), {})
    result = {
        "device": known.get("device", "unknown"),
        "versions": known.get("versions", {}),
        "cuda": cuda,
        "small": small,
        "command": f"python {shlex.join(['benchmarks/gpu.py', *sys.argv[1:]])}",
        "seconds": round(time.monotonic() - begun, 1),
        "parts": parts,
    }
    text = page(result)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", result["device"]).strip("-").lower()
    (asked.out / f"gpu-{slug}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    (asked.out / f"gpu-{slug}.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return int(any(found["status"] == "failed" for found in parts.values()))


if __name__ == "__main__":
    sys.exit(main())
