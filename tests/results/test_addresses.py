"""Which address opens what, and how each is shown without anybody's keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metafa.errors import StoreError
from metafa.results import addresses


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("results/a@b", "results/a@b"),
        ("gs://SECRET@bucket/a@b", "gs://bucket/a@b"),
        ("s3://KEY:SEC/RET@bucket/folder", "s3://bucket/folder"),
        ("s3://KEY:SEC@RET/SEC@bucket", "s3://bucket"),
        ("s3://KEY:SEC?RET#SEC@bucket/folder", "s3://***"),
        ("s3://KEY:SEC%2FRET@bucket/folder", "s3://bucket/folder"),
        ("gs://SECRET@bucket/folder", "gs://bucket/folder"),
        (
            "s3://bucket/folder?region=eu&secret_key=SECRET&session_token=SEC/RET@SEC&scheme=http",
            "s3://bucket/folder?region=eu&secret_key=***&session_token=***&scheme=http",
        ),
        ("s3://bucket?endpoint_override=KEY:SECRET@host:90", "s3://bucket?endpoint_override=host:90"),
        ("az://box/folder?sas=SECRET;token=SECRET#key=SECRET", "az://box/folder?sas=***;token=***#key=***"),
    ],
)
def test_an_address_is_shown_without_anybodys_keys(address: str, shown: str) -> None:
    assert addresses.shown(address) == shown


@pytest.mark.parametrize(
    "address",
    ["s3://KEYKEY:SECRET/SECRET@bucket", "nowhere://KEYKEY:SECRET@host", "s3://bucket?secret_kye=SECRET&other=KEYKEY"],
)
def test_what_a_library_says_of_an_address_is_shown_without_its_keys(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        addresses.at(address)
    assert "SECRET" not in str(caught.value)
    assert "KEYKEY" not in str(caught.value)
    said = f"cannot read {address}: SECRET refused"
    assert "SECRET" not in addresses.hidden(said, address)


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    key=st.text("ABC", min_size=4, max_size=9),
    secret=st.text("ABC/@:?#&=;%", min_size=1, max_size=20).map(lambda text: f"XYZ{text}XYZ"),
)
def test_no_secret_is_shown_whatever_letters_it_has(key: str, secret: str) -> None:
    said = addresses.shown(f"s3://{key}:{secret}@bucket/folder")
    assert "XYZ" not in said


@pytest.mark.parametrize("address", ["memory://x", "memory://"])
def test_what_is_gone_with_the_process_is_no_store(address: str) -> None:
    with pytest.raises(StoreError, match="of one process alone"):
        addresses.at(address)


def test_an_address_of_a_folder_is_that_folder(tmp_path: Path) -> None:
    place = addresses.at(f"file://{tmp_path}")
    assert (place.address, place.root, place.local) == (str(tmp_path), str(tmp_path), True)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [("", addresses.RETRY_SECONDS), ("?scheme=http", addresses.RETRY_SECONDS), ("?retry_limit_seconds=5", 5)],
)
def test_a_store_of_google_s_that_does_not_answer_is_given_up(options: str, seconds: int) -> None:
    """By itself pyarrow tries for a quarter of an hour, and no signal reaches this process until then."""
    place = addresses.at(f"gs://anonymous@bucket/folder{options}")
    _, (settings,) = place.filesystem.__reduce__()
    assert settings["retry_time_limit"].total_seconds() == seconds
    assert "retry" not in place.address or "5" in options
