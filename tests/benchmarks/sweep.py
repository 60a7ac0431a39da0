"""What a sweep costs besides its work: each figure beside what Ray Tune itself takes, or beside itself with one worker.

    python tests/benchmarks/sweep.py cost | workers | rows | memory
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from metafa import results, store, study
from metafa.settings import NUMERICS, flatten

METAFA = str(Path(sys.executable).with_name("metafa"))
LITTLE = """\
seeds = 1
[network]
hidden = [4]
feedback_scale = {{ low = 0.5, high = 2.0 }}
[[phases]]
phase = "supervised"
dataset = "digits"
steps = 1
[measure]
points = 3
[search]
method = "random"
trials = {trials}
"""
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
    whole = run(folder, LITTLE.format(trials=trials), "--workers", "2")
    rows = results.load(folder / "results/study").trials
    span = (rows["started"].max() - rows["started"].min()).total_seconds()
    work = rows["seconds"].sum() / 2
    print(f"metafa: {whole:.1f} s in all, {span:.1f} s from the first trial to the last, of which work {work:.1f} s:")
    print(f"        {1000 * (span - work) / trials:.1f} ms a trial over the work, {1000 * (whole - work) / trials:.1f} with")
    print("        starting, compaction and all", flush=True)
    script = TUNE.format(trials=trials, text=LITTLE.format(trials=trials), folder=str(folder / "tune"))
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0"}
    environment.pop("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", None)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    print(done.stdout if done.returncode == 0 else done.stderr[-3000:])


TUNE = '''
import time, ray
from ray import tune
from metafa import study, trial
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
        found.setdefault(row["step"], {{}})["/".join(str(v) for k, v in row.items() if k not in ("step", "value"))] = row["value"]
    for step, metrics in found.items():
        tune.report(metrics | {{"began": began, "work": time.time() - began}})

whole = time.perf_counter()
grid = tune.Tuner(
    tune.with_resources(tune.with_parameters(trainable, sources=trial.load_sources(checked.trials[0].settings)), {{"cpu": 1}}),
    param_space={{"number": tune.grid_search(list(range({trials})))}},
    tune_config=tune.TuneConfig(reuse_actors=True),
    run_config=tune.RunConfig(name="study", storage_path="{folder}", verbose=0),
).fit()
whole = time.perf_counter() - whole
began = [result.metrics["began"] for result in grid]
work = sum(result.metrics["work"] for result in grid) / 2
span = max(began) - min(began)
print(f"Ray Tune's function API, default loggers: {{whole:.1f}} s in all, {{span:.1f}} s from the first trial to the last:")
print(f"        {{1000 * (span - work) / {trials}:.1f}} ms a trial over the work")
'''


def workers(folder: Path) -> None:
    """A study of eight real trials with one worker and with two."""
    seconds = {}
    for number in (1, 2):
        whole = run(folder, REAL, "--workers", str(number), "--results", f"with{number}")
        trials = results.load(folder / f"with{number}").trials
        ends = trials["started"] + pd.to_timedelta(trials["seconds"], "s")
        seconds[number] = (ends.max() - trials["started"].min()).total_seconds()
        print(f"{number} at a time: {seconds[number]:.1f} s of trials, {whole:.1f} s in all", flush=True)
    print(f"two take {seconds[2] / seconds[1]:.2f} times as long as one")


def rows(folder: Path) -> None:
    """Ten million measurements: written by 1,000 trials, compacted, read; and what Tune's loggers make of the same."""
    text = LITTLE.format(trials=1000).replace("{ low = 0.5, high = 2.0 }", "{ choices = SCALES }")
    text = text.partition("[search]")[0].replace("SCALES", str([1 + i / 1000 for i in range(1000)]))
    checked, place = study.parse(text), store.at(folder / "rows")
    results.prepare(place, checked)
    schema, random = results.trials_schema(checked), np.random.default_rng(0)
    began = time.perf_counter()
    names = [("meta_loss", None), ("meta_accuracy", None), *(("alignment_angle", layer) for layer in range(2, 50))]
    for number, trial in enumerate(checked.trials):
        values = iter(random.normal(size=10_000).tolist())
        measured = [
            dict(seed=seed, phase="meta", step=step, metric=name, layer=layer, task="glyphs", value=next(values))
            for seed in range(10)
            for step in range(20)
            for name, layer in names
        ]
        settings = flatten(trial.settings) | {"noise.steps": 1000 * (number % 4)}
        row = settings | {"trial_id": trial.trial_id, "study": "rows", "status": "done", "numerics": NUMERICS}
        results.write(place, schema, row, measured)
    written = time.perf_counter() - began
    began = time.perf_counter()
    results.compact(place)
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

    from ray.tune.experiment import Trial
    from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback
    from ray.train._internal.storage import StorageContext

    share, scale = 20, 50  # of the 1,000 trials
    loggers = [JsonLoggerCallback(), CSVLoggerCallback()]
    began = time.perf_counter()
    for number in range(share):
        context = StorageContext(str(folder / "tune"), experiment_dir_name="study", trial_dir_name=str(number))
        one = Trial("trainable", stub=True, storage=context)
        one.init_local_path()
        values = random.normal(size=(20, 500))
        for step in range(20):
            found = {f"{name}_{layer}_{seed}": values[step, 10 * k + seed] for k, (name, layer) in enumerate(names) for seed in range(10)}
            for logger in loggers:
                logger.on_trial_result(step, [one], one, found | {"training_iteration": step})
        for logger in loggers:
            logger.on_trial_complete(step, [one], one)
    written = (time.perf_counter() - began) * scale
    files = {kind: list((folder / "tune").rglob(kind)) + list(Path(one.local_path).parents[1].rglob(kind)) for kind in ("result.json", "progress.csv")}
    for kind, paths in files.items():
        paths = sorted(set(paths))[:share]
        size = sum(path.stat().st_size for path in paths) * scale
        began = time.perf_counter()
        for path in paths:
            if kind == "progress.csv":
                frame = pd.read_csv(path)
            else:
                frame = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
            frame[[f"meta_loss_None_{seed}" for seed in range(10)]].mean().mean()
        read = (time.perf_counter() - began) * scale
        print(f"Ray Tune's {kind}, {len(paths)} trials times {scale}: {size / 1e6:.0f} MB, the same means read in {read:.1f} s")
    print(f"        both written in {written:.0f} s")


def memory(folder: Path) -> None:
    """The driver's memory over 5,000 trials."""
    trials = 5000
    (folder / "study.toml").write_text(LITTLE.format(trials=trials))
    driver = subprocess.Popen([METAFA, "run", "study.toml"], cwd=folder, stdout=subprocess.PIPE, text=True)
    found: list[tuple[int, int]] = []
    for line in driver.stdout:
        done = line.partition("/")[0]
        if done.isdigit():
            found.append((int(done), psutil.Process(driver.pid).memory_info().rss))
    done, memory = np.array([pair for pair in found if 500 <= pair[0]]).T
    slope = np.polyfit(done, memory, 1)[0]
    print(f"driver: {memory[0] / 1e6:.0f} MB after {done[0]} trials, {memory[-1] / 1e6:.0f} MB after {done[-1]}")
    print(f"        {slope / 1e3:.1f} kB a trial (slope), {(memory[-1] - memory[0]) / (done[-1] - done[0]) / 1e3:.1f} (ends)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "workers", "rows", "memory"])
    with tempfile.TemporaryDirectory(prefix="metafa-") as folder:
        {"cost": cost, "workers": workers, "rows": rows, "memory": memory}[parser.parse_args().what](Path(folder))


if __name__ == "__main__":
    main()
