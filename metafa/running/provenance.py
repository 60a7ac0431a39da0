"""What made a result: versions, commit and machine."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from metafa.results.columns import PACKAGES


@functools.cache
def of_software() -> dict[str, Any]:
    """The versions of metafa and what computes, as columns of `trials`."""
    return {
        "metafa_commit": _commit(),
        "metafa_version": metadata.version("metafa"),
        "python_version": platform.python_version(),
        **{f"{package}_version": version_of(package) for package in PACKAGES},
    }


def version_of(package: str) -> str | None:
    """The version of an installed package; None where it is not installed, as extras may not be."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def of_machine(device: str) -> dict[str, Any]:
    """The machine that this process runs on, the processor that ``device`` is there, and the library that computes
    large matrix products on it, as columns of `trials`."""
    import torch

    from metafa.learning import products

    processor = torch.cuda.get_device_name() if device == "cuda" else _processor()
    machine = {"host": platform.node(), "device": processor, "cpus": os.cpu_count()}
    return machine | {"matrix_products": products.library(device)}


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit that metafa runs from, with a mark where its files differ; none of an installed package."""
    package = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"],
            cwd=package,
            capture_output=True,
            text=True,
            timeout=10,
        )
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", "__init__.py"], cwd=package, capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # an environment may stand within another project's checkout
    return described.stdout.strip() or None if tracked.returncode == described.returncode == 0 else None
