"""What a run was made with, so that it can be made again."""

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    "eotune", "torch", "transformers", "peft", "accelerate", "safetensors", "numpy", "pillow", "tokenizers", "rasterio",
)  # fmt: skip


def environment(*, seed: int) -> dict[str, Any]:
    """Return versions, devices, commit and command line.

    Args:
        seed: Of the run.
    """
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "devices": devices or ["cpu"],
        "packages": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
        "command": sys.argv,
        "seed": seed,
    }


def version(package: str) -> str | None:
    """Return an installed package's version, or None.

    Example:
        >>> version("surely-not-installed") is None
        True
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of the source tree that eotune runs from, marked where it was changed; None outside one."""
    here = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here, capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
