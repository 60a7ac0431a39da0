import contextlib
import os
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metafa.errors import ResultsError
from metafa.results import (
    addresses,
    continuing,
    heartbeat,
    leases,
    listing,
    parts,
    preparation,
    publishing,
    sealing,
    upkeep,
)
from metafa.results.columns import TABLES, trials_schema
from metafa.results.rows import ROW, carried
from metafa.results.store import Store
from metafa.results.tables import load, statuses
from metafa.results.upkeep import ABANDONED, PLAN
from metafa.studies import study
from metafa.studies.settings import NUMERICS, flatten

TEXT = """\
[network]
rule = { choices = ["backprop", "feedback_alignment"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 100] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


@pytest.fixture
def checked() -> study.Study:
    return study.parse(TEXT, default_name="small")


def fill(folder: Path | str, checked: study.Study, status: str = "done", but: Collection[str] = ()) -> None:
    preparation.prepare(addresses.at(folder), checked)
    for number, trial in enumerate(trial for trial in checked.trials if trial.trial_id not in but):
        row = flatten(trial.settings) | {
            "trial_id": trial.trial_id,
            "study": checked.name,
            "status": status,
            "numerics": NUMERICS,
        }
        measurement = {
            "trial_id": trial.trial_id,
            "seed": 0,
            "phase": "evaluate",
            "step": 5,
            "metric": "meta_loss",
            "layer": None,
            "inputs": "glyphs",
            "value": number / 7,
        }
        publishing.write(addresses.at(folder), trials_schema(checked), row, [measurement])


def test_anyone_reads_the_tables_with_pandas(tmp_path: Path, checked: study.Study) -> None:
    fill(tmp_path, checked)
    trials, measurements = (pd.read_parquet(tmp_path / table) for table in ("trials", "measurements"))
    assert len(trials) == 4
    assert trials.set_index("trial_id")["noise.steps"].to_dict() == {
        t.trial_id: t.varied["noise.steps"] for t in checked.trials
    }
    assert trials["network.hidden"].map(list).tolist() == [[100]] * 4
    assert trials["error"].isna().all()
    assert sorted(measurements["value"]) == [0, 1 / 7, 2 / 7, 3 / 7]
    columns = [
        "trial_id",
        "seed",
        "learning_rate",
        "phase",
        "step",
        "metric",
        "layer",
        "component",
        "inputs",
        "shift",
        "strength",
        "value",
    ]
    assert list(measurements) == columns
    loaded = load(tmp_path)
    pd.testing.assert_frame_equal(loaded.trials, trials)
    pd.testing.assert_frame_equal(loaded.measurements, measurements)


def test_a_part_tells_what_study_made_it(tmp_path: Path, checked: study.Study) -> None:
    fill(tmp_path, checked)
    for table in TABLES:
        part = next((tmp_path / table).glob("*.parquet"))
        metadata = pq.read_schema(part).metadata
        assert metadata[b"metafa.study"].decode() == f'name = "small"\n{TEXT}'
        assert metadata[b"metafa.fingerprint"].decode() == checked.fingerprint


def test_a_trial_written_twice_stands_once(address: str, checked: study.Study) -> None:
    place = addresses.at(address)
    fill(address, checked, "failed")
    fill(address, checked)
    assert set(statuses(place).values()) == {"done"}
    assert preparation.read_study(place).name == "small"
    assert len(load(address).measurements) == 4


def test_a_write_that_fails_leaves_no_part(tmp_path: Path, checked: study.Study) -> None:
    preparation.prepare(addresses.at(tmp_path), checked)
    bad = {"trial_id": checked.trials[0].trial_id, "noise.steps": "many"}
    with pytest.raises(Exception, match="many"):
        publishing.write(addresses.at(tmp_path), trials_schema(checked), bad, [])
    assert statuses(addresses.at(tmp_path)) == {}
    assert not list((tmp_path / "trials").iterdir())


@contextlib.contextmanager
def killed_after(changes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever runs in here is ended, as by a kill, once it has made so many changes to a store."""
    left = [changes]

    def counting(original):
        def change(*arguments, **options):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return original(*arguments, **options)

        return change

    with monkeypatch.context() as patched:
        for name in ("put", "create", "make_folders", "rename", "remove"):
            patched.setattr(Store, name, counting(getattr(Store, name)))
        with contextlib.suppress(KeyboardInterrupt):
            yield
    monkeypatch.setattr(leases, "GONE_AFTER", 0)  # the process of those killed here goes on, and they with it


@pytest.mark.parametrize("changes", range(4))
def test_a_folder_whose_making_was_interrupted_is_made(
    changes: int, tmp_path: Path, checked: study.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_after(changes, monkeypatch):
        preparation.prepare(addresses.at(tmp_path / "new"), checked)
    fill(tmp_path / "new", checked)
    assert set(statuses(addresses.at(tmp_path / "new")).values()) == {"done"}


def in_order(address: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    trials, measurements = load(address)
    return tuple(t.sort_values("trial_id", ignore_index=True) for t in (trials, measurements))


def test_compaction_keeps_every_row_once(address: str, checked: study.Study) -> None:
    """And what is added later is compacted with what was."""
    place = addresses.at(address)
    fill(address, checked)
    before = in_order(address)
    assert upkeep.compact(place) == 4
    assert len(listing.visible_parts(place, "trials")) == len(listing.visible_parts(place, "measurements")) == 1
    for one, two in zip(before, in_order(address), strict=True):
        pd.testing.assert_frame_equal(one, two)
    assert upkeep.compact(place) == 0, "there is nothing left to put together"
    assert upkeep.remove_damaged(place) == []
    more = study.parse(TEXT.replace("[0, 100]", "[0, 100, 200]"), default_name="small")
    assert more.continues(checked)
    preparation.prepare(place, more)
    for trial in more.trials:
        if trial.varied["noise.steps"] == 200:
            row = flatten(trial.settings) | {"trial_id": trial.trial_id, "status": "done", "numerics": NUMERICS}
            publishing.write(place, trials_schema(more), row, [])
    assert upkeep.compact(place) == 3
    assert statuses(place).keys() == {trial.trial_id for trial in more.trials}
    assert len(load(address).measurements) == 4


def test_failed_trials_are_not_compacted(tmp_path: Path, checked: study.Study) -> None:
    """Their rows are to be replaced when they are tried again."""
    fill(tmp_path, checked, "failed")
    assert upkeep.compact(addresses.at(tmp_path)) == 0
    fill(tmp_path, checked)
    assert set(statuses(addresses.at(tmp_path)).values()) == {"done"}


def assert_read_once(folder: Path) -> None:
    """By whoever reads the folders as they are."""
    for table in TABLES:
        visible = listing.visible_parts(addresses.at(folder), table)
        found = pd.read_parquet(folder / table)["trial_id"] if visible else pd.Series([])
        assert not found.duplicated().any()


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("changes", range(26))
def test_compaction_may_be_interrupted_anywhere(
    changes: int, earlier: bool, tmp_path: Path, checked: study.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is finished no reader finds a trial twice; then each finds all, as they were: also where trials of an
    ``earlier`` compaction are put together with others."""
    place = addresses.at(tmp_path)
    fill(tmp_path, checked)
    if earlier:
        upkeep.compact(place)
        more = study.parse(TEXT.replace("[0, 100]", "[0, 100, 200]"), default_name="small")
        fill(tmp_path, more, but={trial.trial_id for trial in checked.trials})
    before = in_order(tmp_path)
    with killed_after(changes, monkeypatch):
        upkeep.compact(place)
    assert_read_once(tmp_path)
    assert upkeep.remove_damaged(place) == []
    assert_read_once(tmp_path)
    for one, two in zip(before, in_order(tmp_path), strict=True):
        pd.testing.assert_frame_equal(one, two)
    upkeep.compact(place)
    for one, two in zip(before, in_order(tmp_path), strict=True):
        pd.testing.assert_frame_equal(one, two)
    for table in TABLES:
        assert len(place.names(table)) == 1, "nothing hidden is left"
    assert place.names(heartbeat.FOLDER) == []
    assert [name.partition(".")[0] for name in place.names(leases.FOLDER)] == [leases.UPKEEP]


def test_two_who_compact_at_once_lose_no_row_and_raise_nothing(address: str, checked: study.Study) -> None:
    """As two drivers that end at the same time, and one that begins meanwhile."""
    place, all_at_once = addresses.at(address), threading.Barrier(3)

    def compacts() -> int:
        all_at_once.wait()
        return upkeep.compact(addresses.at(address))

    def begins() -> list[str]:
        all_at_once.wait()
        return upkeep.remove_damaged(addresses.at(address))

    for _ in range(5):
        fill(address, checked)
        before = in_order(address)
        with ThreadPoolExecutor() as pool:
            done = [pool.submit(compacts), pool.submit(compacts), pool.submit(begins)]
        assert done[2].result() == []
        assert sum(one.result() for one in done[:2]) >= 0
        for one, two in zip(before, in_order(address), strict=True):
            pd.testing.assert_frame_equal(one, two)
        for table in TABLES:
            for name in listing.visible_parts(place, table):
                place.remove(f"{table}/{name}")


def of_an_earlier_version(place: Store, status: str | None = None) -> None:
    """Makes of every trial's parts what versions before left, whose measurements carry no row: of trials of another
    ``status``, if one is given."""
    for name in listing.visible_parts(place, "measurements"):
        trials = parts.decode(place.read(f"trials/{name}"), "trials")
        if status is not None:
            trials = trials.set_column(trials.column_names.index("status"), "status", [[status]])
        rows = parts.decode(place.read(f"measurements/{name}"), "measurements")
        metadata = {key: text for key, text in rows.schema.metadata.items() if key != ROW}
        rows = rows.replace_schema_metadata(metadata)
        place.put(f"trials/{name}", parts.encode(trials))
        place.put(f"measurements/{name}", parts.encode(rows if status != "failed" else rows[:0]))


def test_a_row_that_is_missing_is_read_and_put_from_the_measurements(address: str, checked: study.Study) -> None:
    """As of a process that was killed between the two."""
    place = addresses.at(address)
    fill(address, checked)
    before = in_order(address)
    rows = {name: place.read(f"trials/{name}") for name in place.names("trials")}
    for name in rows:
        place.remove(f"trials/{name}")
    for one, two in zip(before, in_order(address), strict=True):
        pd.testing.assert_frame_equal(one, two)
    assert upkeep.remove_damaged(place) == []
    assert {name: place.read(f"trials/{name}") for name in place.names("trials")} == rows


def test_measurements_without_a_row_of_an_earlier_version_are_of_no_trial(tmp_path: Path, checked: study.Study) -> None:
    """It wrote both, one after the other, and may still be about to; a trial that is published takes its place."""
    place = addresses.at(tmp_path)
    fill(tmp_path, checked)
    of_an_earlier_version(place)
    name, other, *_ = listing.visible_parts(place, "trials")
    for one in (name, other):
        (tmp_path / "trials" / one).unlink()
    assert len(statuses(place)) == 2
    assert set(load(tmp_path).measurements["trial_id"]) == statuses(place).keys()
    assert upkeep.remove_damaged(place) == []
    assert name in listing.visible_parts(place, "measurements")
    then = time.time() - ABANDONED - 1
    os.utime(tmp_path / "measurements" / name, (then, then))
    assert upkeep.remove_damaged(place) == []
    assert name not in listing.visible_parts(place, "measurements")
    fill(tmp_path, checked)
    assert len(statuses(place)) == len(load(tmp_path).measurements) == 4
    assert parts.decode(place.read(f"trials/{other}"), "trials")["status"].to_pylist() == ["done"]


def test_results_of_an_earlier_version_are_read_continued_and_compacted(address: str, checked: study.Study) -> None:
    """Its failures are tried again, and those of an adaptive search are not; its interrupted compaction is finished."""
    place = addresses.at(address)
    fill(address, checked)
    before = in_order(address)
    of_an_earlier_version(place)
    for one, two in zip(before, in_order(address), strict=True):
        pd.testing.assert_frame_equal(one, two)
    fill(address, checked)  # leaves them as they are
    assert carried(pq.read_metadata(pa.BufferReader(place.read(f"measurements/{place.names('trials')[0]}")))) is None
    tables = [[parts.decode(place.read(f"{table}/{name}"), table) for name in place.names(table)] for table in TABLES]
    for table, some in zip(TABLES, tables, strict=True):
        place.put(f"{table}/.compact-0123456789abcdef.parquet", parts.encode(pa.concat_tables(some)))
    place.put(PLAN, b'{"old": [], "new": ["compact-0123456789abcdef.parquet"]}')
    place.remove(f"trials/{place.names('trials')[-1]}")
    for one, two in zip(before, in_order(address), strict=True):
        pd.testing.assert_frame_equal(one, two)
    assert upkeep.remove_damaged(place) == []
    assert place.names("trials") == place.names("measurements") == ["compact-0123456789abcdef.parquet"]
    assert not place.exists(PLAN)
    for one, two in zip(before, in_order(address), strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_failures_of_an_earlier_version_are_tried_again(address: str, checked: study.Study) -> None:
    place = addresses.at(address)
    fill(address, checked)
    of_an_earlier_version(place, "failed")
    assert set(statuses(place).values()) == {"failed"}
    assert upkeep.compact(place) == 0
    fill(address, checked, "failed")
    assert set(statuses(place).values()) == {"failed"}
    assert len(load(address).trials) == 4
    fill(address, checked)
    assert set(statuses(place).values()) == {"done"}
    assert len(load(address).measurements) == 4


def test_a_failure_takes_no_result_s_place(address: str, checked: study.Study) -> None:
    """Whoever comes second finds what was published first; where both failed, the later failure stands."""
    place = addresses.at(address)
    fill(address, checked)
    before = in_order(address)
    fill(address, checked, "failed")
    for one, two in zip(before, in_order(address), strict=True):
        pd.testing.assert_frame_equal(one, two)
    upkeep.compact(place)
    fill(address, checked, "failed")
    for one, two in zip(before, in_order(address), strict=True):
        pd.testing.assert_frame_equal(one, two)
    assert len(place.names("trials")) == 1


def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path, checked: study.Study) -> None:
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


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("compacted", [False, True])
def test_damaged_parts_are_named_and_taken_out(table: str, compacted: bool, address: str, checked: study.Study) -> None:
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
        for one, two in zip(before, in_order(address), strict=True):
            pd.testing.assert_frame_equal(one, two)
        return
    with pytest.raises(ResultsError, match=f"damaged: {table}/{name}"):
        upkeep.compact(place)
    assert upkeep.remove_damaged(place) == [f"{table}/{name}: damaged; its trials run again"]
    left = set() if compacted else {t.trial_id for t in checked.trials} - {name.removesuffix(".parquet")}
    assert statuses(place).keys() == left
    assert set(listing.visible_parts(place, "measurements")) == set(listing.visible_parts(place, "trials"))


def test_a_row_whose_measurements_are_lost_is_taken_out(address: str, checked: study.Study) -> None:
    place = addresses.at(address)
    fill(address, checked)
    name = listing.visible_parts(place, "measurements")[1]
    place.remove(f"measurements/{name}")
    assert upkeep.remove_damaged(place) == [f"trials/{name}: its measurements are lost; its trials run again"]
    assert len(statuses(place)) == 3


def test_folders_that_cannot_take_the_results(tmp_path: Path, checked: study.Study) -> None:
    fill(tmp_path / "done", checked)
    preparation.check(addresses.at(tmp_path / "done"), checked)
    preparation.check(addresses.at(tmp_path / "done"), study.parse("# a comment\n" + TEXT, default_name="small"))
    other = study.parse(TEXT.replace("100", "200"), default_name="small")
    (tmp_path / "file").write_text("x")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "thesis.tex").write_text("x")
    for folder, asked, said in [
        (
            tmp_path / "done",
            other,
            r"holds the results of another study \('small'\), kept there as study.toml: noise.steps is "
            r"\{ choices = \[0, 100\] \} there and \{ choices = \[0, 200\] \} here\. A study that has results may be "
            "given more `choices`; for any other change, choose another folder with --results",
        ),
        (tmp_path / "file", checked, "is not a folder"),
        (tmp_path / "file" / "below", checked, "is not a folder"),
        (tmp_path / "strange", checked, "is not a results folder of metafa"),
        (Path("/proc/metafa"), checked, "is not writable"),
    ]:
        with pytest.raises(ResultsError, match=said) as caught:
            preparation.prepare(addresses.at(folder), asked)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "file", "strange"]


SEARCHED = """\
search = { method = "tpe", trials = 8, objectives = ["evaluate.meta_loss"] }
seeds = 2
[[phases]]
phase = "noise"
steps = { low = 0, high = 100 }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


@pytest.mark.parametrize(
    ("text", "instead", "said"),
    [
        (
            TEXT,
            TEXT + "shots = 3\n",
            "evaluate.shots is 5 there and 3 here. A study that has results may be given more `c",
        ),
        (TEXT, "seeds = 3\nseed = 7\n" + TEXT, "seed is 0 there and 7 here; seeds is 8 there and 3 here. A study"),
        (
            TEXT,
            TEXT.replace("[network]", "[network]\nhidden = [20]"),
            "network.hidden is [100] there and [20] here. A study",
        ),
        (
            TEXT,
            TEXT.partition("[[phases]]")[0] + "[[phases]]" + TEXT.rpartition("[[phases]]")[2],
            "phases is ['noise', 'evaluate'] there and ['evaluate'] here. A study",
        ),
        (
            SEARCHED,
            SEARCHED.replace("8", "4"),
            "search.trials is 8 there and 4 here. A study that has results may be given more `trials`; for",
        ),
        (SEARCHED, SEARCHED.replace("tpe", "gp"), "search.method is 'tpe' there and 'gp' here. A study"),
        (
            SEARCHED,
            SEARCHED.replace("high = 100", "high = 50"),
            "noise.steps is { low = 0, high = 100 } there and { low = 0, high = 50 } here. A study",
        ),
        (TEXT, f"{TEXT}[resources]\ncpus_per_trial = 2\n", "resources.cpus_per_trial is 1 there and 2 here. A study"),
        (
            SEARCHED,
            f"{SEARCHED}[resources]\ncpus_per_trial = 2\n",
            "resources.cpus_per_trial is 1 there and 2 here. A study",
        ),
        (
            TEXT,
            f"{TEXT}[resources]\ngpus_per_trial = 0.5\n",
            "resources.gpus_per_trial is 0.0 there and 0.5 here. A study",
        ),
        (
            f"{TEXT}[resources]\ncpus_per_trial = 3\ngpus_per_trial = 1\n",
            f"{TEXT}[resources]\ncpus_per_trial = 2\n",
            "resources.cpus_per_trial is 3 there and 2 here; resources.gpus_per_trial is 1.0 there and 0.0 here. A st",
        ),
        (
            f"{TEXT}[resources]\ncpus_per_trial = 3\ngpus_per_trial = 1\n",
            f"{TEXT}[resources]\ncpus_per_trial = 2\ngpus_per_trial = 2\n",
            "resources.cpus_per_trial is 3 there and 2 here. A study",
        ),
    ],
)
def test_of_an_edited_study_is_said_which_settings_differ(text: str, instead: str, said: str, tmp_path: Path) -> None:
    preparation.prepare(addresses.at(tmp_path), study.parse(text, default_name="small"))
    with pytest.raises(ResultsError) as caught:
        preparation.check(addresses.at(tmp_path), study.parse(instead, default_name="small"))
    found = str(caught.value).partition("kept there as study.toml: ")[2]
    assert found.startswith(said)
    assert found.endswith("for any other change, choose another folder with --results")


def test_edits_that_results_may_be_given(tmp_path: Path) -> None:
    for name, text, instead in [
        ("choices", TEXT, TEXT.replace("[0, 100]", "[200, 100, 0]")),
        ("words", TEXT, f'name = "other"\nquestion = "Why?"\n# a comment\n{TEXT}shots = 5\n'),
        ("resources", TEXT, TEXT + "[resources]\ncheckpoint_seconds = 1\n"),
        ("GPUs", TEXT + "[resources]\ngpus_per_trial = 0.25\n", TEXT + "[resources]\ngpus_per_trial = 0.5\n"),
        ("trials", SEARCHED, SEARCHED.replace("trials = 8", "trials = 9")),
    ]:
        preparation.prepare(addresses.at(tmp_path / name), study.parse(text, default_name="small"))
        preparation.check(addresses.at(tmp_path / name), study.parse(instead, default_name="small"))


def test_a_study_that_this_version_does_not_read_is_said(tmp_path: Path, checked: study.Study) -> None:
    preparation.prepare(addresses.at(tmp_path), checked)
    (tmp_path / "study.toml").write_text(checked.text + "later = 1\n")
    with pytest.raises(
        ResultsError, match=r"that this metafa cannot read \(.*/study.toml:\d+: evaluate.later: unknown key"
    ):
        preparation.check(addresses.at(tmp_path), checked)


def test_results_of_other_numerics_are_not_mixed_with(
    tmp_path: Path, checked: study.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "old", checked)
    monkeypatch.setattr(continuing, "NUMERICS", NUMERICS + 1)
    with pytest.raises(ResultsError, match="4 trials of this study from a version of metafa with other num"):
        continuing.continued_rows(addresses.at(tmp_path / "old"))


def test_load_says_what_is_no_results_folder(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"is not a results folder of metafa: it has no study\.toml"):
        load(tmp_path)


def test_a_study_that_nobody_has_begun_has_tables_without_rows(address: str, checked: study.Study) -> None:
    """A script that selects columns says nothing else before the first trial ends than after the last."""
    preparation.prepare(addresses.at(address), checked)
    empty = load(address)
    assert (len(empty.trials), len(empty.measurements)) == (0, 0)
    fill(address, checked)
    done = load(address)
    assert list(empty.measurements.columns) == list(done.measurements.columns)
    assert set(done.trials.columns) <= set(empty.trials.columns)


def test_results_without_their_study_are_read_and_continued(address: str, checked: study.Study) -> None:
    """Every part says of which study it is; of one that has grown, the largest counts."""
    place = addresses.at(address)
    fill(address, checked)
    more = study.parse(TEXT.replace("[0, 100]", "[0, 100, 200]"), default_name="small")
    preparation.prepare(place, more)
    trial = next(trial for trial in more.trials if trial.varied["noise.steps"] == 200)
    row = flatten(trial.settings) | {"trial_id": trial.trial_id, "status": "done", "numerics": NUMERICS}
    publishing.write(place, trials_schema(more), row, [])
    before = in_order(address)
    place.remove("study.toml")
    assert preparation.read_study(place).text == more.text
    for one, two in zip(before, in_order(address), strict=True):
        pd.testing.assert_frame_equal(one, two)
    with pytest.raises(ResultsError, match="holds the results of another study"):
        preparation.check(place, study.parse(TEXT.replace("[0, 100]", "[0, 50]"), default_name="small"))
    preparation.check(place, more)
    preparation.prepare(place, more)
    assert place.read("study.toml").decode() == more.text


class Unavailable(BaseHTTPRequestHandler):
    """A store that has too much to do."""

    def answer(self) -> None:
        self.send_response(503, "Slow Down")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = answer

    def log_message(self, *said: object) -> None:
        pass


def test_a_store_that_does_not_answer_is_not_taken_for_an_empty_one() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{server.server_port}"
        place = addresses.at(f"s3://key:secret@bucket/results?{where}")
        try:
            with pytest.raises(ResultsError, match=r"cannot be read: .*503") as caught:
                preparation.read_study(place)
            assert "secret" not in str(caught.value)
        finally:
            server.shutdown()
