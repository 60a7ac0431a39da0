"""What is damaged or has lost its fellow is made again, or taken out and named."""

import pytest
from synthetic_results import assert_unchanged, fill, in_order

from metafa.errors import ResultsError
from metafa.results import (
    addresses,
    listing,
    sealing,
    upkeep,
)
from metafa.results.columns import TABLES
from metafa.results.tables import statuses
from metafa.studies.study import Study


def test_a_row_that_is_missing_is_read_and_put_from_the_measurements(address: str, checked: Study) -> None:
    """As of a process that was killed between the two."""
    place = addresses.at(address)
    fill(address, checked)
    before = in_order(address)
    rows = {name: place.read(f"trials/{name}") for name in place.names("trials")}
    for name in rows:
        place.remove(f"trials/{name}")
    assert_unchanged(before, address)
    assert upkeep.remove_damaged(place) == []
    assert {name: place.read(f"trials/{name}") for name in place.names("trials")} == rows


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("compacted", [False, True])
def test_damaged_parts_are_named_and_taken_out(table: str, compacted: bool, address: str, checked: Study) -> None:
    place = addresses.at(address)
    fill(address, checked)
    if compacted:
        upkeep.compact(place)
    name = listing.visible_parts(place, table)[0]
    content = bytearray(place.read(f"{table}/{name}"))
    content[len(content) // 2] ^= 4
    place.put(f"{table}/{name}", bytes(content))
    if table == "trials" and not compacted:  # the measurements carry the row
        before = in_order(address)
        assert upkeep.remove_damaged(place) == [f"{table}/{name}: damaged; it is made again of measurements/{name}"]
        assert sealing.sealed(place.read(f"{table}/{name}"))
        assert_unchanged(before, address)
        return
    with pytest.raises(ResultsError, match=f"damaged: {table}/{name}"):
        upkeep.compact(place)
    assert upkeep.remove_damaged(place) == [f"{table}/{name}: damaged; its trials run again"]
    left = set() if compacted else {t.trial_id for t in checked.trials} - {name.removesuffix(".parquet")}
    assert statuses(place).keys() == left
    assert set(listing.visible_parts(place, "measurements")) == set(listing.visible_parts(place, "trials"))


def test_a_row_whose_measurements_are_lost_is_taken_out(address: str, checked: Study) -> None:
    place = addresses.at(address)
    fill(address, checked)
    name = listing.visible_parts(place, "measurements")[1]
    place.remove(f"measurements/{name}")
    assert upkeep.remove_damaged(place) == [f"trials/{name}: its measurements are lost; its trials run again"]
    assert len(statuses(place)) == 3
