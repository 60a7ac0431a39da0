"""What a sweep costs besides its work: each figure beside what Ray Tune itself takes, or beside itself with one worker.

python tests/benchmarks/sweep.py cost | workers | rows | parts | grid | memory | analysis
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import tomli_w

from metafa.results import addresses, columns, continuing, preparation, publishing, tables, upkeep
from metafa.studies import study
from metafa.studies.settings import NUMERICS, flatten

METAFA = str(Path(sys.executable).with_name("metafa"))


def little(feedback_scale: object, search: dict | None = None, **supervised: object) -> str:
    """A study of almost no work, whose network's feedback has these scales."""
    settings = {
        "seeds": 1,
        "network": {"hidden": [4], "feedback_scale": feedback_scale},
        "phases": [{"phase": "supervised", "dataset": "digits", "steps": 1} | supervised],
        "measure": {"points": 3},
    }
    return tomli_w.dumps(settings | ({"search": search} if search else {}))


def drawn(trials: int) -> str:
    """So many trials of almost no work."""
    return little({"low": 0.5, "high": 2.0}, {"method": "random", "trials": trials})


REAL = """\
seeds = 8
[network]
rule = { choices = ["feedback_alignment", "backprop"] }
[[phases]]
phase = "noise"
steps = 2000
learning_rate = { choices = [1e-4, 2e-4, 5e-4, 1e-3] }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
"""


def run(folder: Path, text: str, *options: str) -> float:
    """Runs a study in ``folder``; returns the seconds."""
    (folder / "study.toml").write_text(text)
    began = time.perf_counter()
    subprocess.run([METAFA, "run", "study.toml", *options], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def cost(folder: Path) -> None:
    """1,000 trials of almost no work, two at a time; then the same through Ray Tune's function API."""
    trials = 1000
    whole = run(folder, drawn(trials), "--workers", "2")
    rows = tables.load(folder / "results/study").trials
    span = (rows["started"].max() - rows["started"].min()).total_seconds()
    work = rows["seconds"].sum() / 2
    over, all_over = 1000 * (span - work) / trials, 1000 * (whole - work) / trials
    print(f"metafa: {whole:.1f} s in all, {span:.1f} s from the first trial to the last, {work:.1f} s of them work:")
    print(f"        {over:.1f} ms a trial over the work, {all_over:.1f} with starting and compaction", flush=True)
    script = TUNE.format(trials=trials, text=drawn(trials), folder=str(folder / "tune"))
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0"}
    environment.pop("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", None)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    print(done.stdout if done.returncode == 0 else done.stderr[-3000:])


TUNE = '''
import time, ray
from ray import tune
from metafa.studies import study
from metafa.trials import trial
text = """{text}"""
checked = study.parse(text)
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")

def trainable(config, sources):
    import torch
    torch.set_num_threads(1)
    began = time.time()
    rows = trial.run(checked.trials[config["number"]].settings, trial.prepared(sources)).rows
    found = {{}}
    for row in rows:
        name = "/".join(str(value) for key, value in row.items() if key not in ("step", "value"))
        found.setdefault(row["step"], {{}})[name] = row["value"]
    for step, metrics in found.items():
        tune.report(metrics | {{"began": began, "work": time.time() - began}})

whole = time.perf_counter()
sources = trial.load_sources(checked.trials[0].settings)
grid = tune.Tuner(
    tune.with_resources(tune.with_parameters(trainable, sources=sources), {{"cpu": 1}}),
    param_space={{"number": tune.grid_search(list(range({trials})))}},
    tune_config=tune.TuneConfig(reuse_actors=True),
    run_config=tune.RunConfig(name="study", storage_path="{folder}", verbose=0),
).fit()
whole = time.perf_counter() - whole
began = [result.metrics["began"] for result in grid]
work = sum(result.metrics["work"] for result in grid) / 2
span = max(began) - min(began)
print(f"Ray Tune's function API, default loggers: {{whole:.1f}} s in all, {{span:.1f}} s from first to last trial:")
print(f"        {{1000 * (span - work) / {trials}:.1f}} ms a trial over the work")
'''


def workers(folder: Path) -> None:
    """A study of eight real trials with one worker and with two."""
    seconds = {}
    for number in (1, 2):
        whole = run(folder, REAL, "--workers", str(number), "--results", f"with{number}")
        trials = tables.load(folder / f"with{number}").trials
        ends = trials["started"] + pd.to_timedelta(trials["seconds"], "s")
        seconds[number] = (ends.max() - trials["started"].min()).total_seconds()
        print(f"{number} at a time: {seconds[number]:.1f} s of trials, {whole:.1f} s in all", flush=True)
    print(f"two take {seconds[2] / seconds[1]:.2f} times as long as one", flush=True)
    # what two processes cost each other on this machine, without a study around them
    alone, beside = _plain(1), _plain(2)
    print(f"a plain process with the same trials: {alone:.1f} s alone, {beside:.1f} s beside another,")
    print(f"        so that two take {beside / alone / 2:.2f} times as long as one after the other")


PLAIN = """
import sys, time, torch
from metafa.running import memory
from metafa.studies import study
from metafa.trials import trial
memory.keep_freed()
torch.set_num_threads(1)
checked = study.parse(sys.argv[1])
sources = trial.prepared(trial.load_sources(checked.trials[0].settings))
trial.run(checked.trials[0].settings, sources)
print("ready", flush=True)
sys.stdin.readline()
began = time.perf_counter()
for one in checked.trials[:3]:
    trial.run(one.settings, sources)
print(time.perf_counter() - began)
"""


def _plain(number: int) -> float:
    """The seconds that trials take in each of so many processes at once."""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    running = [subprocess.Popen([sys.executable, "-c", PLAIN, REAL], **pipes) for _ in range(number)]
    for one in running:
        assert one.stdout.readline() == "ready\n"
    for one in running:
        one.stdin.write("go\n")
        one.stdin.flush()
    return max(float(one.communicate()[0]) for one in running)


def rows(folder: Path) -> None:
    """Ten million measurements: written by 1,000 trials, compacted, read; and what Tune's loggers make of the same."""
    text = little({"choices": [1 + i / 1000 for i in range(1000)]})
    checked, place = study.parse(text), addresses.at(folder / "rows")
    preparation.prepare(place, checked)
    schema, random = columns.trials_schema(checked), np.random.default_rng(0)
    began = time.perf_counter()
    names = [("meta_loss", None), ("meta_accuracy", None), *(("alignment_angle", layer) for layer in range(2, 50))]
    for number, trial in enumerate(checked.trials):
        values = iter(random.normal(size=10_000).tolist())
        measured = [
            dict(seed=seed, phase="meta", step=step, metric=name, layer=layer, inputs="glyphs", value=next(values))
            for seed in range(10)
            for step in range(20)
            for name, layer in names
        ]
        settings = flatten(trial.settings) | {"noise.steps": 1000 * (number % 4)}
        row = settings | {"trial_id": trial.trial_id, "study": "rows", "status": "done", "numerics": NUMERICS}
        publishing.write(place, schema, row, measured)
    written = time.perf_counter() - began
    began = time.perf_counter()
    upkeep.compact(place)
    compacted = time.perf_counter() - began
    size = sum(path.stat().st_size for path in (folder / "rows").rglob("*.parquet"))
    began = time.perf_counter()
    measurements = pd.read_parquet(
        folder / "rows/measurements", columns=["trial_id", "value"], filters=[("metric", "==", "meta_loss")]
    )
    trials = pd.read_parquet(folder / "rows/trials", columns=["trial_id", "network.feedback_scale"])
    means = measurements.merge(trials, on="trial_id").groupby("network.feedback_scale")["value"].mean()
    read = time.perf_counter() - began
    began = time.perf_counter()
    everything = pd.read_parquet(folder / "rows/measurements")
    whole = time.perf_counter() - began
    assert (len(means), len(everything)) == (1000, 10_000_000)
    print(f"metafa, 10 million rows: written in {written:.0f} s, compacted in {compacted:.0f} s, {size / 1e6:.0f} MB,")
    print(f"        mean meta-loss by condition read by pandas in {read:.2f} s, every row in {whole:.1f} s", flush=True)

    share, scale = 20, 50  # of the 1,000 trials, which would take Tune an hour
    script = LOGGED.format(trials=share, folder=folder / "tune")
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    print(f"Ray Tune, {share} trials of the same numbers, times {scale}: run in {float(done.stdout) * scale:.0f} s")
    for kind in ("result.json", "progress.csv"):
        paths = list((folder / "tune").rglob(kind))
        assert len(paths) == share
        size = sum(path.stat().st_size for path in paths) * scale
        began = time.perf_counter()
        for path in paths:
            if kind == "progress.csv":
                frame = pd.read_csv(path)
            else:
                frame = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
            frame[[f"meta_loss/{seed}" for seed in range(10)]].mean().mean()
        read = (time.perf_counter() - began) * scale
        print(f"        {kind}: {size / 1e6:.0f} MB, the same means read in {read:.1f} s")


LOGGED = """
import os, random, time, ray
os.environ.pop("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", None)
from ray import tune
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
names = ["meta_loss", "meta_accuracy", *(f"alignment_angle/{{layer}}" for layer in range(2, 50))]

def trainable(config):
    draw = random.Random(config["number"])
    for step in range(20):
        tune.report({{f"{{name}}/{{seed}}": draw.gauss(0, 1) for name in names for seed in range(10)}})

began = time.perf_counter()
tune.Tuner(
    tune.with_resources(trainable, {{"cpu": 1}}),
    param_space={{"number": tune.grid_search(list(range({trials})))}},
    tune_config=tune.TuneConfig(reuse_actors=True),
    run_config=tune.RunConfig(name="study", storage_path="{folder}", verbose=0),
).fit()
print(time.perf_counter() - began)
"""


def memory(folder: Path) -> None:
    """The driver's memory over 5,000 trials."""
    trials = 5000
    (folder / "study.toml").write_text(drawn(trials))
    driver = subprocess.Popen([METAFA, "run", "study.toml"], cwd=folder, stdout=subprocess.PIPE, text=True)
    found: list[tuple[int, int]] = []
    for line in driver.stdout:
        done = line.partition("/")[0]
        if done.isdigit():
            found.append((int(done), psutil.Process(driver.pid).memory_info().rss))
    done, memory = np.array([pair for pair in found if pair[0] >= 500]).T
    slope = np.polyfit(done, memory, 1)[0]
    print(f"driver: {memory[0] / 1e6:.0f} MB after {done[0]} trials, {memory[-1] / 1e6:.0f} MB after {done[-1]}")
    ends = (memory[-1] - memory[0]) / (done[-1] - done[0])
    print(f"        {slope / 1e3:.1f} kB a trial by the slope, {ends / 1e3:.1f} by the ends")


LARGE = """\
seeds = 16
[network]
rule = { choices = ["feedback_alignment", "backprop"] }
feedback_scale = { choices = %s }
[[phases]]
phase = "noise"
steps = { choices = [0, 1000, 2000, 4000] }
[[phases]]
phase = "evaluate"
name = "before_meta"
task_distributions = ["glyphs"]
[[phases]]
phase = "meta"
task_distribution = "glyphs"
outer_steps = 200
[[phases]]
phase = "evaluate"
name = "after_meta"
task_distributions = ["glyphs"]
[measure]
points = 20
weight_path = true
[[claims]]
claim = 8
statement = "Noise lowers the meta-loss through meta-training"
metric = "meta_loss"
phase = "meta"
inputs = "glyphs"
step = "mean"
expect = "lower"
"""
OF_TRAINING = [
    *((metric, layer, None, None) for metric in ("participation_ratio", "effective_rank") for layer in (1, 2)),
    ("alignment_angle", 2, None, None),
    *(
        (metric, None, None, task)
        for metric in ("readout_probability", "readout_deviation")
        for task in ("noise", "glyphs")
    ),
    *((metric, None, None, "glyphs") for metric in ("meta_loss", "meta_accuracy")),
    *((metric, None, None, "batch") for metric in ("loss", "accuracy")),
    *((metric, None, i, None) for metric in ("weight_path", "weight_path_variance") for i in (1, 2)),
]


def make_large(folder: Path) -> None:
    """Ten million measurements of 1,000 trials, 16 seeds each."""
    checked = study.parse(LARGE % [round(0.5 + i / 80, 4) for i in range(125)], "large")
    place = addresses.at(folder / "large")
    preparation.prepare(place, checked)
    schema, random, total = columns.trials_schema(checked), np.random.default_rng(0), 0
    for trial in checked.trials:
        places = [
            (phase, step, *one)
            for phase, steps in (("noise", trial.varied["noise.steps"]), ("meta", 200))
            for step in sorted({0, *np.rint(np.geomspace(1, max(1, steps), 19 + (steps == 4000))).astype(int).tolist()})
            for one in OF_TRAINING
        ] + [
            (phase, step, metric, None, None, "glyphs")
            for phase in ("before_meta", "after_meta")
            for step in range(6)
            for metric in ("meta_loss", "meta_accuracy", "generalization_error")
        ]
        places += [("meta", 200, "singular_value", 1, i, None) for i in range(1, 625 - len(places))]
        names = ("phase", "step", "metric", "layer", "component", "inputs")
        values = random.normal(1, 0.1, (16, len(places))).tolist()
        rows = [
            dict(zip(names, one, strict=True)) | {"seed": seed, "value": values[seed][i]}
            for seed in range(16)
            for i, one in enumerate(places)
        ]
        total += len(rows)
        row = flatten(trial.settings) | {"trial_id": trial.trial_id, "study": "large", "status": "done"}
        row |= {"numerics": NUMERICS, "point": json.dumps(trial.varied)}
        publishing.write(place, schema, row, rows)
    upkeep.compact(place)
    print(f"{total / 1e6:.1f} million measurements of {len(checked.trials)} trials", flush=True)


def analysis(folder: Path) -> None:
    """The scripts of analysis/ and the report on what `make_large` makes."""
    # by a process of its own: the peak of this one's memory would count as that of those it starts
    making = multiprocessing.Process(target=make_large, args=(folder,))
    making.start()
    making.join()
    commands = {
        path.name: [sys.executable, path, folder / "large", "--output", folder / "out"]
        for path in sorted(Path("analysis").glob("*.py"))
        if "figures" not in path.name
    }
    commands["metafa report"] = [METAFA, "report", folder / "large", "--output", folder / "report.html"]
    for name, command in commands.items():
        began = time.perf_counter()
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        _, status, used = os.wait4(running.pid, 0)
        seconds = time.perf_counter() - began
        failed = f"  failed: {running.stderr.read()[-300:]}" if status else ""
        print(f"{name:18} {seconds:5.1f} s, {used.ru_maxrss / 2**20:.2f} GiB{failed}", flush=True)


def parts(folder: Path) -> None:
    """5,000 trials that nobody has compacted: what a run does before its first trial, beside pandas reading them."""
    text = little({"choices": [1 + number / 1000 for number in range(2500)]}, steps={"choices": [1, 2]})
    checked = study.parse(text, default_name="parts")
    place = addresses.at(folder / "parts")
    preparation.prepare(place, checked)
    schema = columns.trials_schema(checked)
    rows = [
        {"seed": seed, "phase": "supervised", "step": step, "metric": metric, "value": seed + 1 / (1 + step)}
        for seed in range(8)
        for step in range(10)
        for metric in ("loss", "accuracy", "alignment_angle")
    ]
    for trial in checked.trials:
        row = {"trial_id": trial.trial_id, "status": "done", "numerics": NUMERICS, "point": json.dumps(trial.varied)}
        publishing.write(place, schema, flatten(trial.settings) | row, rows)
    began = time.perf_counter()
    assert upkeep.remove_damaged(place) == []
    assert len(continuing.continued_rows(place)) == 5000
    opened = time.perf_counter() - began
    began = time.perf_counter()
    assert len(pd.read_parquet(folder / "parts/trials")) == 5000
    alone = time.perf_counter() - began
    began = time.perf_counter()
    loaded = tables.load(folder / "parts")
    read = time.perf_counter() - began
    began = time.perf_counter()
    upkeep.compact(place)
    compacted = time.perf_counter() - began
    began = time.perf_counter()
    again = tables.load(folder / "parts")
    assert len(again.measurements) == len(loaded.measurements)
    print(f"metafa, 5,000 parts of {len(loaded.measurements):,} measurements: checked and opened in {opened:.1f} s,")
    last = time.perf_counter() - began
    print(f"        read in {read:.1f} s, compacted in {compacted:.1f} s, then read in {last:.1f} s")
    print(f"        pandas reads the table `trials` of them in {alone:.1f} s", flush=True)


def grid(folder: Path) -> None:
    """`metafa check` of a grid of 100,000 trials."""
    rates = [round(1e-4 * (1 + number / 100), 6) for number in range(100)]
    scales = [round(0.5 + number / 100, 2) for number in range(100)]
    text = little({"choices": scales}, steps={"choices": list(range(1, 11))}, learning_rate={"choices": rates})
    (folder / "grid.toml").write_text(text)
    began = time.perf_counter()
    running = subprocess.Popen([METAFA, "check", "grid.toml"], cwd=folder, stdout=subprocess.PIPE, text=True)
    said = running.stdout.read()
    _, status, used = os.wait4(running.pid, 0)
    assert status == 0
    assert "100000 of 1 seeds" in said
    print(
        f"metafa check, 100,000 trials: {time.perf_counter() - began:.1f} s, {used.ru_maxrss / 1024:.0f} MiB",
        flush=True,
    )


MEASURED = {one.__name__: one for one in (cost, workers, rows, parts, grid, memory, analysis)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(MEASURED))
    with tempfile.TemporaryDirectory(prefix="metafa-") as folder:
        MEASURED[parser.parse_args().what](Path(folder))


if __name__ == "__main__":
    main()
