"""What happens to a study on a borrowed cluster, made to happen: processes killed, nodes lost, disks full.

    python tests/disturbances.py [--kills N] [--drivers N] [--store-drivers N]

runs a study undisturbed, and then again and again while it is disturbed, and says whether the tables come out equal to
the bit: by one driver that is killed, and by many at once, of which one's clock is an hour ahead, on a folder and on an
S3-compatible server. The tests call the same functions, with fewer of each.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from metafa.results import addresses
from metafa.results.columns import RUN_COLUMNS
from metafa.results.listing import PARTIAL
from metafa.results.tables import Results, load, statuses

METAFA = [str(Path(sys.executable).with_name("metafa"))]
STUDY = """\
seeds = 2
[network]
hidden = [20]
rule = { choices = ["feedback_alignment", "backprop"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 600] }
[[phases]]
phase = "meta"
task_distribution = "glyphs"
outer_steps = 200
tasks_per_batch = 2
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
tasks = 10
[measure]
points = 5
tasks = 5
[resources]
checkpoint_seconds = 0.05
"""


def metafa(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The command, in ``folder``."""
    return subprocess.run([*METAFA, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)


def tables(address: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables, without what describes the run, in an order of their own."""
    return in_order(load(address))


def in_order(found: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    trials, measurements = found
    trials = trials.drop(columns=list(RUN_COLUMNS)).sort_values("trial_id", ignore_index=True)
    return trials, measurements.sort_values([c for c in measurements if c != "value"], ignore_index=True)


def assert_equal(one: Path | str, other: Path | str) -> None:
    """Raises AssertionError where the tables differ by a bit."""
    for first, second in zip(tables(one), tables(other), strict=True):
        pd.testing.assert_frame_equal(first, second, check_exact=True)


def kill_driver(folder: Path, study: str, address: str, when: Callable[[], bool]) -> set[str]:
    """Runs a study and kills its driver as soon as ``when`` says so; returns the trials that were done by then."""
    command = [*METAFA, "run", study, "--results", address]
    driver = subprocess.Popen(
        command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.time() + 280
    while driver.poll() is None and not when():
        assert time.time() < deadline
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    place = addresses.at(folder / address)
    return set(statuses(place)) if place.exists("study.toml") else set()


def begun(address: Path) -> bool:
    """Whether a trial has left a checkpoint to go on from."""
    return any((address / PARTIAL).glob("*.safetensors"))


def ended(address: Path, trials: int = 1) -> bool:
    """Whether so many trials have their rows."""
    return len(list((address / "trials").glob("[!.]*.parquet"))) >= trials


def kill_workers(folder: Path, study: str, address: str, kills: int, chance: random.Random) -> int:
    """Runs a study to its end while processes of its trials are killed; returns how many were."""
    command = [*METAFA, "run", study, "--results", address]
    driver = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    killed, deadline = 0, time.time() + 280
    while driver.poll() is None:
        assert time.time() < deadline
        # once there is something to go on from
        ready = killed < kills and begun(folder / address)
        if ready and (running := trial_processes(driver.pid)):
            os.kill(chance.choice(running), signal.SIGKILL)
            killed += 1
            time.sleep(chance.uniform(0.5, 2))
        time.sleep(0.02)
    assert driver.returncode == 0
    return killed


def trial_processes(driver: int) -> list[int]:
    """The processes below ``driver`` in which trials run."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if (folder / "cmdline").read_text().startswith("ray::ImplicitFunc"):
                found.append(int(folder.name))
        except OSError:
            continue

    def below(process: int) -> bool:
        return process == driver or (process in parents and below(parents[process]))

    return [process for process in found if below(process)]


LOSE_A_NODE = """\
import sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from metafa import cli
from metafa.results.listing import PARTIAL

study, address = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
lost = []

def lose():
    while not any((Path(address) / PARTIAL).glob("*.safetensors")):
        time.sleep(0.02)
    cluster.remove_node(nodes[0], allow_graceful=False)
    lost.append(nodes[0])

threading.Thread(target=lose, daemon=True).start()
sys.argv = ["metafa", "run", study, "--results", address, "--address", cluster.address]
try:
    cli.main()
finally:
    print("nodes lost:", len(lost))
    cluster.shutdown()
"""


def lose_a_node(folder: Path, study: str, address: str) -> subprocess.CompletedProcess:
    """Runs a study on three nodes of Ray's on this machine, of which one is removed in the middle."""
    command = [sys.executable, "-c", LOSE_A_NODE, study, address]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)


FILL_A_DISK = """\
mkdir small && mount -t tmpfs -o size={size}k none small || exit 77
{metafa} run {study} --results small/results --workers 1
echo "first: $?"
mount -o remount,size=64m small
{metafa} run {study} --results small/results --workers 1
echo "second: $?"
cp -r small/results {address}
"""


def fill_a_disk(folder: Path, study: str, address: str, size: int) -> subprocess.CompletedProcess:
    """Runs a study with its results on a disk of so many KiB, which fills; makes room, and runs it again. Ends with 77
    where this machine lets nobody mount one."""
    script = FILL_A_DISK.format(size=size, metafa=METAFA[0], study=study, address=address)
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills", metavar="N", type=int, default=20, help="of the driver, and of workers  [default: 20]"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the moments  [default: 0]")
    parser.add_argument("--drivers", metavar="N", type=int, default=20, help="on one study in a folder  [default: 20]")
    parser.add_argument(
        "--store-drivers", metavar="N", type=int, default=8, help="and on an S3-compatible server  [default: 8]"
    )
    parser.add_argument("--trials", metavar="N", type=int, default=48, help="of that study  [default: 48]")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="metafa-") as name:
        if arguments.kills:
            disturb_one(Path(name), arguments.kills, chance)
        if arguments.drivers or arguments.store_drivers:
            disturb_many(Path(name), arguments, chance)


def disturb_many(folder: Path, arguments: argparse.Namespace, chance: random.Random) -> None:
    """A study that many drivers share."""
    import crowd

    def share(drivers: int, trials: int, address: str) -> None:
        place = Path(tempfile.mkdtemp(dir=folder))
        # no two trials are the same, and each is about a second's work
        (place / "shared.toml").write_text(crowd.STUDY.format(steps=[1000 + i for i in range(trials // 2)]))
        done = metafa(place, "run", "shared.toml", "--results", "undisturbed")
        assert done.returncode == 0, done.stderr
        began = time.monotonic()
        counts = crowd.disturb(crowd.Crowd(place, "shared.toml", address), place / "undisturbed", drivers, chance)
        print(f"{drivers} drivers on one study, no more than 3 alive at a time, in {time.monotonic() - began:.0f} s:")
        print("".join(f"    {what}: {number}\n" for what, number in counts.items()), end="")
        print("    tables equal to the bit, work done twice only where a driver was killed or stopped", flush=True)

    if arguments.drivers:
        share(arguments.drivers, arguments.trials, "shared")
    if arguments.store_drivers:
        with crowd.an_object_store() as address:
            print("on an S3-compatible server: ", end="")
            share(arguments.store_drivers, arguments.trials // 2, address.format("shared"))


def disturb_one(folder: Path, kills: int, chance: random.Random) -> None:
    """A study that one driver at a time runs."""
    (folder / "small.toml").write_text(STUDY)
    began = time.time()
    done = metafa(folder, "run", "small.toml", "--results", "undisturbed")
    assert done.returncode == 0, done.stderr
    whole = time.time() - began
    print(f"undisturbed: {whole:.1f} s")

    kept: dict[str, object] = {}
    for kill in range(kills):
        # while trials run, for the most part: before that, nothing is there to be lost
        address = f"driver{kill // 5}"
        moment = time.time() + chance.uniform(0.4, 1) * whole
        through = kill_driver(folder, "small.toml", address, lambda moment=moment: time.time() > moment)
        trials = load(folder / address).trials if through else pd.DataFrame({"trial_id": [], "started": []})
        started = dict(zip(trials["trial_id"], trials["started"], strict=True))
        before = kept.get(address, {})
        assert before.items() <= started.items(), "a trial that was done has been done again"
        kept[address] = started
        print(f"killed driver {kill + 1}: {len(through)} trials done", flush=True)
    for address in kept:
        assert metafa(folder, "run", "small.toml", "--results", address).returncode == 0
        assert_equal(folder / "undisturbed", folder / address)
    print(f"killed driver, {kills} times: tables equal to the bit, nothing done twice that was done")

    killed = kill_workers(folder, "small.toml", "workers", kills, chance)
    assert_equal(folder / "undisturbed", folder / "workers")
    print(f"killed workers, {killed} of them: tables equal to the bit")

    done = lose_a_node(folder, "small.toml", "node")
    assert "nodes lost: 1" in done.stdout, done.stderr
    assert_equal(folder / "undisturbed", folder / "node")
    print("a lost node of three: tables equal to the bit")

    done = fill_a_disk(folder, "small.toml", "disk", 60)
    if done.returncode == 77:
        print("a full disk: not tried, nobody may mount one here")
    else:
        print(done.stdout, done.stderr)
        assert_equal(folder / "undisturbed", folder / "disk")
        print("a full disk: tables equal to the bit")


if __name__ == "__main__":
    main()
