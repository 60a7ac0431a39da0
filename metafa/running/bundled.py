"""The studies and the scripts that come with metafa: in a checkout beside the package, installed within it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def folder(name: str) -> Path:
    """A folder that comes with metafa, ``studies`` or ``analysis``."""
    installed = PACKAGE / "bundled" / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def study_file(name: str) -> Path | None:
    """The study of that name that comes with metafa, such as ``quickstart`` or ``paper/figure_2``; None where
    there is none."""
    path = folder("studies") / f"{name.removeprefix('studies/').removesuffix('.toml')}.toml"
    return path if path.is_file() else None


def study_files() -> dict[str, Path]:
    """All studies that come with metafa, by name."""
    studies = folder("studies")
    return {path.relative_to(studies).with_suffix("").as_posix(): path for path in sorted(studies.rglob("*.toml"))}
