"""The study file beside the tables: whose results a store holds, and whether it takes those of a study."""

from __future__ import annotations

import contextlib
import json
import posixpath
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from metafa.errors import PartError, ResultsError, StudyError
from metafa.results import heartbeat, leases
from metafa.results.columns import TABLES
from metafa.results.damage import reason
from metafa.results.listing import PARTIAL, every_part
from metafa.results.parts import read_metadata
from metafa.results.reading import read_part
from metafa.results.store import Store
from metafa.studies.earlier import METRICS_RENAMED, in_words
from metafa.studies.settings import NUMERICS
from metafa.studies.study import Study, parse

IMAGES = "images.json"  # the digests of the images that its trials draw on
NOTE_BYTES = 2**21  # of what stands beside the tables, at most: a study file has half of it
SHOWN = 3  # settings that differ, in a sentence


def prepare(store: Store, study: Study) -> None:
    """Makes ``store`` ready for the results of ``study``. Raises `ResultsError`, and then has written nothing."""
    check(store, study)
    try:
        store.make_folders("")
        # first, since by it the folder is known as ours; later a study with more trials takes its place
        new = store.create("study.toml", study.text.encode(), durable=True)
        if not new and store.read("study.toml").decode() != study.text:
            check(store, study)  # another run may have begun here meanwhile
            store.put("study.toml", study.text.encode(), durable=True)
        if study.digests and study.digests != _digests(store):
            store.put(IMAGES, json.dumps(study.digests, indent=1, sort_keys=True).encode())
        store.make_folders(*TABLES, PARTIAL, leases.FOLDER, heartbeat.FOLDER)
    except OSError as error:
        raise ResultsError(f"{store.address} cannot be written: {reason(error)}") from error


def keep_text(store: Store, study: Study) -> None:
    """Makes the results of a study of which all trials are done those of the present study file: its question and its
    claims may be others since. Raises as `prepare`."""
    if study_text(store) != study.text:
        prepare(store, study)


def check(store: Store, study: Study) -> None:
    """Raises `ResultsError` where ``store`` cannot take the results of ``study``."""
    if store.local:
        _check_folder(store)
    if not store.exists("study.toml") and not every_part(store):
        if store.local and Path(store.root).is_dir() and any(p.name[0] != "." for p in Path(store.root).iterdir()):
            raise ResultsError(f"{store.address} is not a results folder of metafa: it has no study.toml")
        return
    elsewhere = "choose another folder with --results"
    try:
        other = _parsed(store, study.name)
    except StudyError as error:
        raise ResultsError(
            f"{store.address} holds the results of a study, kept there as study.toml, that this metafa cannot "
            f"read ({error.messages[0]}); {elsewhere}"
        ) from error
    if other.renamed != study.renamed:
        raise ResultsError(
            f"{store.address} holds results of a version of metafa in which {in_words(other.renamed)}: they are to be "
            f"read, and not continued; {elsewhere}, or move that one away"
        )
    if not study.continues(other):
        found = study.differences(other)
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        room = "`choices`" if other.search.method == "grid" else "`trials`"
        raise ResultsError(
            f"{store.address} holds the results of another study ({other.name!r}), kept there as study.toml: "
            f"{'; '.join(found[:SHOWN]) or 'its trials are others'}{more}. A study that has results may be given more "
            f"{room}; for any other change, {elsewhere}"
        )


def _check_folder(store: Store) -> None:
    folder = Path(store.root)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ResultsError(f"{existing} is not a folder; choose another with --results")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ResultsError(
            f"{store.address} is not writable ({error.strerror}); choose another with --results"
        ) from error


def study_text(store: Store) -> str:
    """The study file in ``store``, or, where that is gone, the one that its parts say they are of."""
    try:
        return store.read("study.toml", NOTE_BYTES).decode()
    except (FileNotFoundError, NotADirectoryError) as error:
        texts = _texts_of_parts(store)
        if texts:
            return texts[-1]
        raise ResultsError(
            f"{store.address} is not a results folder of metafa: it has no study.toml; `metafa run STUDY` says where "
            "its results are"
        ) from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{store.address}/study.toml is damaged: it is not UTF-8") from error
    except OSError as error:
        raise ResultsError(f"{store.address}/study.toml cannot be read: {reason(error)}") from error


def _texts_of_parts(store: Store) -> list[str]:
    """The study files that parts carry, those of fewer trials first: a study may have grown."""
    found: dict[str, int] = {}
    try:
        for name in (name for name in every_part(store) if name.startswith("measurements/")):
            with store.filesystem.open_input_file(store.path(name)) as file:
                text = (read_metadata(file).metadata or {}).get(b"metafa.study", b"").decode()
            if text and text not in found:
                found[text] = parse(text, file="study", has_results=True).total
    except (OSError, ValueError, StudyError, pa.ArrowException) as error:
        raise ResultsError(f"{store.address} has no study.toml, and its parts say none: {reason(error)}") from error
    return sorted(found, key=lambda text: found[text])


def read_study(store: Store) -> Study:
    """The study whose results stand in ``store``, over the images that they are of. Raises `ResultsError`."""
    name = posixpath.basename(store.root)
    try:
        return _parsed(store, name).over(_digests(store))
    except StudyError as error:
        raise ResultsError(error.messages[0]) from error


def _parsed(store: Store, name: str) -> Study:
    """The study whose results stand in ``store``, by default called ``name``. Raises `ResultsError` where there is
    none, and `StudyError`."""
    text = study_text(store)
    asks = any(metric in text for metric in METRICS_RENAMED)
    numerics = _numerics(store) if asks else NUMERICS
    return parse(text, name, f"{store.address}/study.toml", has_results=True, numerics=numerics)


def _numerics(store: Store) -> int:
    """The numerics of the trials in ``store``, which all have the same; those of this version where there are none."""
    for name in every_part(store):
        if name.startswith("trials/"):
            with contextlib.suppress(OSError, PartError):  # of a part that is damaged, or put together with others
                rows = read_part(store, name, ["numerics"])
                return pc.max(rows["numerics"]).as_py() or 0 if rows.num_columns else 0  # the first had no such column
    return NUMERICS


def _digests(store: Store) -> dict[str, str]:
    """The digests of the images that results are of, as `prepare` has left them."""
    try:
        found = json.loads(store.read(IMAGES, NOTE_BYTES))
        return {name: digest for name, digest in found.items() if isinstance(digest, str)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
