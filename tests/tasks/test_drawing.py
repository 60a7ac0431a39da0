import zipfile
from pathlib import Path

import numpy as np

from metafa.tasks import drawing, glyphs


def test_no_glyph_stands_twice_in_any_face() -> None:
    """Homoglyphs, such as the A of Latin, Greek and Cyrillic, are one class; so are letters alike but for size."""
    characters = drawing.characters()
    for face in ("DejaVuSans.ttf", "DejaVuSerif.ttf"):
        rasters = np.stack([drawing.raster(face, c.codepoint).ravel() for c in characters if face in c.faces])
        unit = rasters / np.linalg.norm(rasters.astype(float), axis=1, keepdims=True)
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, 0)
        assert cosines.max() < 0.9301
    names = {c.codepoint for c in characters}
    assert ord("A") in names
    assert not names & {0x0391, 0x0410}, "Greek and Cyrillic A"
    assert not names & {ord("o"), ord("օ")} or ord("O") not in names


def test_what_is_shipped_is_what_is_drawn() -> None:
    """Another version of matplotlib may round the ink at an outline otherwise, yet draws the same characters: of the
    Hebrew ones no image differs by more than a hundredth of full ink on average, while two images of one character
    differ by more than ten times as much."""
    shipped = glyphs.load("test")
    checked = [c for c in drawing.characters() if c.script == "Hebrew"]
    assert len(checked) >= 20
    for character in checked:
        label = shipped.class_names.index(character.name)
        ours = shipped.images[shipped.labels == label].astype(float) / 255
        drawn = drawing.draw(character, drawing.VARIANTS) / 255
        assert abs(ours - drawn).mean(axis=(1, 2)).max() < 0.01, character.name
        assert abs(ours - np.roll(drawn, 1, axis=0)).mean() > 0.1, "images of one character differ"


def test_a_file_of_drawn_glyphs_is_written_as_it_is_read(tmp_path: Path) -> None:
    arrays = {"test": np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), "test_names": np.array(["a", "b"])}
    drawing.write(tmp_path / "glyphs.npz", arrays)
    with np.load(tmp_path / "glyphs.npz") as written:
        assert set(written) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(written[name], array)
    first = (tmp_path / "glyphs.npz").read_bytes()
    drawing.write(tmp_path / "glyphs.npz", arrays)
    assert (tmp_path / "glyphs.npz").read_bytes() == first, "the same file whenever it is written"
    assert {entry.compress_type for entry in zipfile.ZipFile(tmp_path / "glyphs.npz").infolist()} == {zipfile.ZIP_LZMA}
