"""Writes the pages and the schema that are made from the code: docs/study_file.md, docs/results.md, and
docs/study.schema.json. Run it with: make docs"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from metafa.learning.kinds import CONTROLS, NOISE_INPUTS, Control, NoiseInputs
from metafa.results.columns import COLUMNS, VERSION_COLUMNS
from metafa.studies.claims import ClaimSettings
from metafa.studies.fields import MAX_SIZE, MAX_STEPS, MAX_WHOLE, Known, Settings, keys_of
from metafa.studies.metrics import METRICS
from metafa.studies.phases import PHASES
from metafa.studies.schema import json_schema
from metafa.studies.settings import (
    EarlyStoppingSettings,
    MeasureSettings,
    NetworkSettings,
    ResourceSettings,
    SearchSettings,
    StudySettings,
)

DOCS = Path(__file__).parent
MADE = "<!-- made by docs/generate.py: make docs -->\n\n"
STUDY = """\
# The study file

A study file is TOML. It says what the study asks, what a trial does, and which settings are varied. `metafa check
STUDY` says what the study would run, and names every mistake with its line. This page is made from the schema that
checks study files. In an editor that knows JSON Schema (Even Better TOML in VS Code, any that uses taplo), `metafa
schema > study.schema.json` and a first line `#:schema study.schema.json` give completion, explanations and mistakes
while you type.

```toml
question = "Does the effect of noise pretraining depend on the width of the network?"
seeds = 16

[network]
rule = "feedback_alignment"
hidden = { choices = [[50], [100], [200]] }

[[phases]]
phase = "noise"
steps = { choices = [0, 4000] }

[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
```

**Search spaces.** Any setting of `seed`, `seeds`, `network`, `phases` and `measure` may be a search space in place of a
value: `{ choices = [...] }`, or, in all searches but a grid, `{ low = 1e-4, high = 1e-2, log = true }`, also with
`step`. A range of whole numbers stays whole.

**Numbers and texts have bounds.** A phase has at most 10^12 steps. A number of things that a trial holds in memory at
once, such as units, images of a batch, tasks or ways, is at most 1,000,000. Any other whole number is at most 2^63 - 1,
the largest that a column of Parquet holds, unless its row below says less. A number that need not be whole is 0, or its
size is from 1.2e-38 to 3.4e38, which is what 32 bits hold. A text has at most 10,000 letters, and no control
characters.

**Phases** run in the order they stand in. A phase that stands twice is given a `name`; settings and results go by it,
such as `noise.steps`.

**Seeds are paired**: in all trials, seed 3 starts from the same weights and the same feedback, and gets the same tasks.
A trial trains its `seeds` side by side. `seed` is another setting: another value repeats the study with other random
draws.

**Learning rates** may be lists, such as `learning_rate = [1e-4, 1e-3]`: a trial then trains every seed with each rate,
all of them side by side. A trial has at most one such list.
"""
RESULTS = """\
# Results

`results/NAME`, or wherever `--results` says (a folder or `s3://BUCKET/FOLDER`), holds two tables.
Each is a folder of Parquet files, which `pandas.read_parquet`, DuckDB and other readers of Parquet take as one table:

| table | what a row is |
| --- | --- |
| `trials` | one trial: its settings, how it ended, and the software and machine that ran it |
| `measurements` | one number, and the trial, seed, phase, step, metric and layer that it belongs to |

```python
import metafa

trials, measurements = metafa.load("results/quickstart")
angle = measurements.query("metric == 'alignment_angle' and phase == 'noise'")
angle = angle.merge(trials[["trial_id", "network.rule"]])
print(angle.groupby(["network.rule", "step"])["value"].mean().unstack())
```

A trial's rows appear whole or not at all, and are written once. Every file says in its metadata which study made it
(`metafa.study`, `metafa.fingerprint`) and carries a digest of itself: a damaged one is named by the next `metafa run`,
and its trials run again. Images are a part of every result: a digest of those that a trial draws on stands in the
column `data` and is part of its `trial_id`, and a study is not continued with other images. metafa never executes
anything that stands in results. Beside the tables there are:

| file or folder | what it holds |
| --- | --- |
| `study.toml` | the study file |
| `images.json` | the digests of all images that the study draws on |
| `report.html`, `analysis/` | the report, and what the scripts of `analysis/` wrote, once they were made |
| `optuna.journal` | the history of an adaptive search, for `optuna-dashboard` |
| `drivers/`, `leases/` | what the runs that work on the study tell each other |
| `partial/` | checkpoints of trials that have not ended |

Any number of runs, readers and compactions, on any machines, may use the results of one study at the same time:
[how that is kept safe](#how-results-are-kept) is the last section of this page.
"""
READING = """\
## Reading them

`metafa report RESULTS` makes one HTML file of a study. The scripts in `analysis/` read the same tables and nothing
else, from a folder or an object store: `metafa analyse meta_loss RESULTS`, or, in a checkout, `python
analysis/meta_loss.py RESULTS`. Each explains itself with `--help`, prints a table and writes it as CSV, and draws SVG
and PNG, into `RESULTS/analysis`:

| script | what it shows |
| --- | --- |
| `meta_loss.py` | conditions compared over their common seeds: means and interquartile means with intervals, paired differences, effect sizes, probability of improvement, corrected p-values, performance profiles |
| `adaptation.py` | meta-loss and meta-accuracy against inner steps |
| `alignment.py` | alignment angles, distance from the feedback, ranks of weights and features, and readout through the phases, layer by layer |
| `search.py` | importance of settings, slices, contours, parallel coordinates, Pareto fronts, and the best settings ready to paste |
| `meta_training.py` | the meta-loss through meta-training, rule by rule, at the settings best on validation classes |
| `paper.py` | the figures of Cheon, Lee and Paik in their order, of one study or several: what is reported there, each claim with its verdict over all conditions and where it fails, intervals with the t-test and Wilcoxon's test beside them, and drawings in the paper's form, as one page; then the claims that are metafa's own |
| `claims.py` | whether a study's claims hold, by the rules it wrote down |
| `weight_path.py` | where the weights went, in the plane of their first two principal components: those of the last layer, of all conditions, of copies that learn whole datasets, and their feedback together; all weights, each seed by itself |

Every interval is the 95% interval of a mean over seeds. It is Student's t interval, except that its end on the side of
the sample's longer tail is moved outwards ([formulas, and how often they hold the
truth](science.md#how-conditions-are-compared-statisticspy-comparisonpy)). Differences are paired by seed; their
p-values are Wilcoxon's signed-rank test, corrected for their number by Holm's method. Where the seeds are so few that
even an effect in the same direction in every seed could not pass the test, the scripts and the report say so, and say
how many seeds would do. No analysis uses trials that were stopped early or failed. Seeds that diverged are counted, and
means leave them out.
"""
KEPT = """
## How results are kept

Several processes may share a study's results, with no server between them. This section is the protocol that they
follow. `tests/results/test_interleavings.py` runs two and three such processes over a store in memory, step by step in
many different orders, kills them after any step, and lets no lease keep any of them away. Of each case it tries every
order, or every order with few interruptions and, beyond those, orders drawn at random.

**What a store has to do.** It puts a file in place whole or not at all. It can *create* a file: if several processes
try to create the same file, one of them does, and the store tells the others that the file is there. Its listings show
every file that was there before the listing began and is still there when it ends. In a folder, metafa creates a file
by a hard link; in an object store, by a conditional put (`If-None-Match`). If a store can do neither, `metafa run` says
so, and only one run at a time may use that store. No row depends on a clock, on locks, or on how fast a process is: a
process may be suspended at any step, and go on later.

| file | what it is |
| --- | --- |
| `measurements/ID.parquet` | the publication of the trial ID: it is created, once, and carries its row of `trials` in its metadata (`metafa.trial`, JSON) |
| `trials/ID.parquet` | that row, put afterwards; whoever finds it missing or damaged makes it again |
| `trials/failed-ID.parquet` | the row of a trial that failed and will be tried again; it counts until the trial is published. In an adaptive search a failure is published like a result, since other proposals follow from it |
| `compact-X.parquet` in both | many trials together, X never used twice. The pair counts from when the file in `trials` is created, the second of the two; until the parts that it replaces are gone both are hidden, as `.compact-X.parquet` |
| `leases/NAME.N` | the highest N says which driver holds a lease, or, if it is empty, that none does. NAME is `trial-ID`, `upkeep` (who compacts and clears up) or `proposing` (of an asynchronous search) |
| `drivers/TOKEN.json` | a driver's heartbeat: it changes every 5 seconds |
| `partial/ID.*` | a trial's checkpoint, what it has measured so far, and the deaths of its process |

**Publishing.** Create `measurements/ID`. Whoever is told that it is there leaves it as it is, and whoever finds the
trial in a compacted pair takes its own part away again. Else put `trials/ID`; if `measurements/ID` is gone by then, it
was compacted: take `trials/ID` away again. The file and its folder are written to the disk (`fsync`) before the trial
counts as done.

**Reading.** List `measurements`, then `trials`, until two listings agree on compacted parts and miss nothing that the
first had. Each trial is read from one place: a compacted pair that has it, else its own part. If a file is gone when it
is opened, begin again. So a reader finds every trial that was published before it began, once. It may or may not find a
trial that is published while it reads. `metafa.load` reads in this way. Other software reads all files of a folder as
they are, and then two things can happen. While a compaction replaces parts, such software finds fewer trials than there
are. And it finds a trial twice where a driver was wrongly taken for gone, and both that driver and the one that took
over went on with the trial; the next run mends this, at its beginning or its end.

**Compacting.** Check the digest of every part. Put `measurements/.compact-X`, create `trials/.compact-X`; if the first
is gone by then, take the second away, and stop. Remove the parts that were put together, each in `trials` first. Give
both their visible names. A part is removed only by a process whose own new pair has its rows, or, if it is a single
trial's, when any pair has them: so a trial that was in a pair once is in one for ever. A pair that was begun and not
finished is finished by whoever comes next, who, if other pairs have some of its trials, first puts them all together
while it is hidden; one whose second half is missing is ended by creating that half, empty, before the first is removed,
so that its author, if it lives, is told.

**Leases** keep work from being done twice; no row depends on them. To take one, to take it over and to give it back is
each to create the file of the next number. A driver is gone when its process is, seen from the same machine, or when
its heartbeat has not changed for 60 seconds by the clock of whoever looks, which only has to run. A driver that stops
gives back what it holds. If a driver was only suspended, its trial is run twice, and the first to publish has published
it.

**Digests.** A *part* is one Parquet file of a table. Each part has 16 bytes between its pages and its footer, where
readers of Parquet do not look: the BLAKE2b digest of everything before and after them. Where `part` is the path of one,
such as `results/quickstart/measurements/ID.parquet`, this prints `True` if the part is whole:

```python
from hashlib import blake2b
from pathlib import Path

content = Path(part).read_bytes()
footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
pages, digest = content[: footer - 16], content[footer - 16 : footer]
print(blake2b(pages + content[footer:], digest_size=16).digest() == digest)
```
"""


def main() -> None:
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Every page that is made, by its file's name."""
    return {
        "study_file.md": MADE + STUDY + "".join(study_sections()),
        "results.md": MADE + RESULTS + "".join(results_sections()) + READING + KEPT,
        "study.schema.json": json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n",
    }


def study_sections() -> Iterator[str]:
    parts = ("network", "phases", "measure", "search", "early_stopping", "resources", "claims")
    top = {name: field for name, field in StudySettings.model_fields.items() if name not in parts}
    yield "\n## The study\n\n" + table(top)
    yield section("[network]", NetworkSettings)
    for kind, settings in PHASES.items():
        yield section(f'[[phases]] phase = "{kind}"', settings)
        if kind == "noise":
            yield from rows_of("inputs", "an input", NOISE_INPUTS)
            yield from rows_of("control", "what the phase leaves", CONTROLS)
    for title, settings in (
        ("[measure]", MeasureSettings),
        ("[search]", SearchSettings),
        ("[early_stopping]", EarlyStoppingSettings),
        ("[resources]", ResourceSettings),
        ("[[claims]]", ClaimSettings),
    ):
        yield section(title, settings)


def rows_of(setting: str, what: str, rows: Mapping[str, NoiseInputs | Control]) -> Iterator[str]:
    """What the rows are that a setting names."""
    yield f"\n| `{setting}` | {what} |\n| --- | --- |\n"
    yield from (f"| `{name}` | {row.description} |\n" for name, row in rows.items())


def section(title: str, settings: type[Settings]) -> str:
    keys = [name for name in keys_of(settings) if name != "phase" or "phases" not in title]
    fields = {name: settings.model_fields[name] for name in keys}
    meaning = textwrap.fill(" ".join((settings.__doc__ or "").split()), 120, break_on_hyphens=False)
    return f"\n## `{title}`\n\n{meaning}\n\n" + table(fields)


def table(fields: dict[str, FieldInfo]) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in fields.items():
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {type_of(field)} | {default_of(name, field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def type_of(field: FieldInfo) -> str:
    return in_table(field.metadata) or words(field.annotation) + bounds(field.metadata)


def in_table(metadata: Iterable[Any]) -> str:
    """The names of the table that a setting names a row of; empty where it names none."""
    names = [name for one in metadata if isinstance(one, Known) for name in one.table]
    return " \\| ".join(f"`{name}`" for name in names)


def bounds(metadata: list[Any]) -> str:
    said = {"Ge": ("ge", "at least"), "Gt": ("gt", "above"), "Le": ("le", "at most"), "Lt": ("lt", "below")}
    found = [
        f"{said[type(one).__name__][1]} {getattr(one, said[type(one).__name__][0])}"
        for one in metadata
        if type(one).__name__ in said and getattr(one, "le", None) not in (MAX_WHOLE, MAX_STEPS, MAX_SIZE)
    ]
    return ", " + ", ".join(found) if found else ""


def words(annotation: Any) -> str:
    """A type as a reader of TOML calls it."""
    names = {int: "whole number", float: "number", str: "string", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " \\| ".join(f"`{one}`" for one in arguments)
    if hasattr(annotation, "__metadata__"):  # Annotated
        if names := in_table(annotation.__metadata__):
            return names
        inner = [one for part in annotation.__metadata__ for one in getattr(part, "metadata", [])]
        return words(annotation.__origin__) + bounds(inner)
    if get_origin(annotation) is dict:
        return "table"
    if get_origin(annotation) is list:
        return f"list of {words(arguments[0])}"
    kept = [words(one) for one in arguments if one is not type(None)]
    return ", or ".join(dict.fromkeys(kept)) if kept else "table"


def default_of(name: str, field: FieldInfo) -> str:
    if name == "name" and field.is_required():
        return "the file's name"
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value == "":
        return ""
    shown = json.dumps(value) if not isinstance(value, float) else f"{value:g}"
    return f"`{shown}`"


def results_sections() -> Iterator[str]:
    for table in ("measurements", "trials"):
        yield f"\n## `{table}`\n\n| column | what it is |\n| --- | --- |\n"
        for name, column in COLUMNS[table].items():
            if name not in VERSION_COLUMNS:
                yield f"| `{name}` | {column.meaning} |\n"
    yield "| `seed`, `seeds`, `network.rule`, `noise.steps`, ... | every setting by its dotted name, defaults included |\n"
    yield "| `metafa_version`, `torch_version`, ... | what it ran with |\n"
    yield "\n## Metrics\n\n| metric | unit | better | what it is |\n| --- | --- | --- | --- |\n"
    for name, metric in METRICS.items():
        yield f"| `{name}` | {metric.unit} | {metric.better or ''} | {metric.meaning} |\n"
    yield "\n"


if __name__ == "__main__":
    main()
