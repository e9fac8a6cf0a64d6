"""What every result is written with: the command, the versions, the machine."""

import json
import os
import platform
import resource
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    *("openjepa", "torch", "torchvision", "torch-world", "lightly", "timm", "transformers"),
    *("stable-worldmodel", "gymnasium", "mujoco", "gym-pusht"),
)


def write(name: str, payload: Mapping[str, Any], results: Path = RESULTS) -> Path:
    """`results/NAME.json`: the payload, after how it came about."""
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{name}.json"
    write_json(path, {**circumstances(), **payload})
    return path


def write_json(path: Path, payload: Mapping[str, Any], indent: int | None = 2) -> None:
    """With a final newline."""
    path.write_text(json.dumps(payload, indent=indent) + "\n")


def circumstances() -> dict[str, Any]:
    """The command as it can be typed again, versions of what is installed, and the machine."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"-m {module.name}" if module else Path(sys.argv[0]).name
    return {
        "command": " ".join(["python", program, shlex.join(sys.argv[1:])]).strip(),
        "versions": {"python": platform.python_version()} | installed(PACKAGES),
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load": [round(load, 2) for load in os.getloadavg()],
            "system": platform.platform(),
        },
    }


def installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of those that are."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_mib() -> float:
    """The most memory that this process has held, in MiB.

    From Linux's own high-water mark: `getrusage` would count what the parent held when it made this process.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_model() -> str:
    """As Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
