"""Pages that hold more than a footer says are refused before they are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from odd_parts import bombs, measurements, parquet

from metafa.results import parts


def test_parts_that_would_be_gigabytes_are_refused_before_they_are(tmp_path: Path) -> None:
    for number, (table, content) in enumerate(bombs().values()):
        assert len(content) < 2**22
        (tmp_path / f"{number}.{table}").write_bytes(content)
    code = """if True:
        import pathlib, resource, sys
        from metafa.errors import PartError
        from metafa.results import parts
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
            try:
                print(len(parts.decode(path.read_bytes(), path.suffix[1:])), "rows of", path.name)
            except PartError:
                print("refused")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60)
    *said, kilobytes = done.stdout.splitlines()
    assert (done.stderr, said) == ("", ["refused"] * len(said))
    assert len(said) == len(list(tmp_path.iterdir()))
    assert int(kilobytes) < 2**18


def test_what_diverged_compresses_well_and_is_read() -> None:
    """Nothing but NaN, of a trial of a million measurements: the most that a byte of a study stands for."""
    rows = 2**20
    content = parquet(measurements(rows, seed=np.arange(rows) % 64, value=np.full(rows, np.nan)))
    assert rows / len(content) > 10
    assert len(parts.decode(content, "measurements")) == rows
