"""The digest in a part."""

import re
from pathlib import Path

from synthetic_results import fill

from metafa.results import (
    sealing,
)
from metafa.results.columns import TABLES
from metafa.studies.study import Study


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path, checked: Study) -> None:
    """A bit of each byte, wherever it stands: in a page, in the footer, in the digest itself."""
    fill(tmp_path, checked)
    for table in TABLES:
        content = next((tmp_path / table).glob("*.parquet")).read_bytes()
        assert sealing.sealed(content)
        for place in range(len(content)):
            damaged = bytearray(content)
            damaged[place] ^= 1 << place % 8
            assert not sealing.sealed(bytes(damaged))
            assert not sealing.sealed(content[:place])


def test_the_documentation_reads_the_digest(tmp_path: Path, checked: Study) -> None:
    """With its own code, and without metafa: of parts of both tables, as they were written and damaged."""
    fill(tmp_path, checked)
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    (reader,) = re.findall(r"^\*\*Digests\.\*\*.*?^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert "metafa" not in reader
    for table in TABLES:
        part = next((tmp_path / table).glob("*.parquet"))
        content, printed = part.read_bytes(), []
        for there in (content, content[:100] + bytes([content[100] ^ 1]) + content[101:]):
            part.write_bytes(there)
            exec(reader, {"part": part, "print": printed.append})
        assert printed == [True, False]
