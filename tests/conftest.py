"""What tests share: the number of threads, and the folder of real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# files of tests run side by side, and threads that spin while they wait take each other's cores; benchmarks, which
# are to run as a user's process does, have a pytest.ini of their own and never read this
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

torch.set_num_threads(2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that nothing waits for them at the end."""
    longest = ["test_driver_killed", "test_driver", "test_driver_searches", "test_many_drivers"]
    items.sort(key=lambda item: longest.index(item.path.stem) if item.path.stem in longest else len(longest))


@pytest.fixture
def data() -> Path:
    """The folder of real data."""
    folder = os.environ.get("METAFA_DATA")
    if not folder:
        pytest.skip("METAFA_DATA is not set: no real data here")
    return Path(folder)


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """An S3-compatible server on loopback with an empty bucket: an address in it, but for a folder's name."""
    from crowd import an_object_store

    with an_object_store() as address:
        yield address


@pytest.fixture(params=["folder", "object store"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for results of its own, of each kind."""
    if request.param == "folder":
        return str(tmp_path / "results")
    return request.getfixturevalue("object_store").format(tmp_path.name)
