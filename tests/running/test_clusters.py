"""The files for clusters: SLURM's script run with several Ray nodes on this machine, the others held to schemas."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jsonschema
import psutil
import pytest
import yaml
from disturbances import STUDY, assert_equal, begun, metafa

from metafa.results import addresses, heartbeat
from metafa.running import stopping

CLUSTERS = Path(__file__).parents[2] / "docs" / "clusters"
# nodes that come up at once on one machine take each other's names, so here each waits for those before, the head's too
SRUN = """\
#!{python}
import pathlib, subprocess, sys, time
options = [a for a in sys.argv[1:] if a.startswith(("--nodes", "--ntasks", "--nodelist", "--exclude"))]
tasks = next(int(o.split("=")[1]) for o in options if o.startswith("--ntasks="))
command = sys.argv[1 + len(options):]
up = lambda: pathlib.Path("{output}").read_text().count("Ray runtime started")
running = []
for number in range(tasks):
    while tasks > 1 and up() <= number:
        time.sleep(0.2)
    running.append(subprocess.Popen(command))
sys.exit(max(one.wait() for one in running))
"""
# the study is small enough to be through before all nodes are up, so it waits for them, or for ever
METAFA = """\
#!/bin/sh
until [ "$(grep -c 'Ray runtime started' {output})" = 3 ]; do sleep 0.2; done
exec {environment}/bin/metafa "$@"
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the study as one driver leaves them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "small.toml").write_text(STUDY)
    assert metafa(folder, "run", "small.toml", "--results", "here").returncode == 0
    return folder / "here"


def test_the_slurm_script_runs_a_study_on_all_its_nodes(undisturbed: Path, tmp_path: Path) -> None:
    """SLURM's own commands are stood in for: each task that they would start on a node of its own is started here."""
    for name, text in (
        ("srun", SRUN.format(python=sys.executable, output=tmp_path / "output")),
        ("scontrol", "#!/bin/sh\nprintf 'one\\ntwo\\nthree\\n'\n"),
        ("hostname", "#!/bin/sh\necho 127.0.0.1\n"),
        ("metafa", METAFA.format(output=tmp_path / "output", environment=sys.prefix)),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "activate").write_text(f"PATH={tmp_path}:{sys.prefix}/bin:$PATH\n")
    (tmp_path / "small.toml").write_text(STUDY)
    environment = os.environ | {
        "METAFA_ENVIRONMENT": str(tmp_path),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "one,two,three",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_PER_TASK": "1",
    }
    with tempfile.TemporaryDirectory(prefix="ray") as short, (tmp_path / "output").open("w+") as output:
        environment["RAY_TMPDIR"] = short  # sockets have short names
        command = ["bash", CLUSTERS / "slurm.sh", "small.toml", tmp_path / "there"]
        job = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = job.wait(240)
        finally:  # as SLURM does with what a job leaves behind
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if process.environ().get("RAY_TMPDIR") == short:
                        process.kill()
            job.wait()
        output.seek(0)
        said = output.read()
    assert status == 0, said
    assert "4 of 4 trials done" in said
    assert said.count("Ray runtime started.") == 3
    assert_equal(undisturbed, tmp_path / "there")


def test_jobs_of_a_slurm_array_share_a_study_and_queue_themselves_again(undisturbed: Path, tmp_path: Path) -> None:
    """Two jobs; the time of the first is almost up once a trial has begun, and it is begun again, as SLURM would."""
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "activate").write_text(f"PATH={tmp_path}:{sys.prefix}/bin:$PATH\n")
    (tmp_path / "small.toml").write_text(STUDY)

    def job(task: int) -> subprocess.Popen:
        environment = os.environ | {"METAFA_ENVIRONMENT": str(tmp_path), "SLURM_JOB_ID": f"{4712 + task}"}
        environment |= {"SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": str(task)}
        command = ["bash", CLUSTERS / "slurm_array.sh", "small.toml", "there", "--workers", "1"]
        with (tmp_path / f"output{task}").open("a") as output:
            return subprocess.Popen(
                command, cwd=tmp_path, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    jobs, there = [job(0), job(1)], tmp_path / "there"
    try:
        while not begun(there) or len(working := heartbeat.every(addresses.at(there))) < 2:
            assert jobs[0].poll() is None, (tmp_path / "output0").read_text()
            time.sleep(0.05)
        jobs[0].send_signal(signal.SIGUSR1)  # to the script alone, as --signal=B: has it
        assert jobs[0].wait(60) == 143, (tmp_path / "output0").read_text()
        jobs.append(job(0))
        assert [one.wait(240) for one in jobs[1:]] == [0, 0]
    finally:
        for one in jobs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
    assert {beat.job for beat in working} == {"4711_0", "4711_1"}
    assert (tmp_path / "asked").read_text() == "requeue 4711_0\n", "a study that is done is not queued again"
    output = (tmp_path / "output0").read_text()
    assert stopping.SENTENCE in output
    assert "4 of 4 trials done" in output.partition(stopping.SENTENCE)[2]
    assert_equal(undisturbed, there)


# of KubeRay's API reference, ray.io/v1: what each of these may say
KUBERAY = {
    "RayJobSpec": {
        "entrypoint": str,
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "backoffLimit": int,
        "rayClusterSpec": "RayClusterSpec",
    },
    "RayClusterSpec": {
        "rayVersion": str,
        "enableInTreeAutoscaling": bool,
        "headGroupSpec": "HeadGroupSpec",
        "workerGroupSpecs": ["WorkerGroupSpec"],
    },
    "HeadGroupSpec": {"rayStartParams": {str: str}, "template": dict},
    "WorkerGroupSpec": {
        "groupName": str,
        "replicas": int,
        "minReplicas": int,
        "maxReplicas": int,
        "rayStartParams": {str: str},
        "template": dict,
    },
}


def fits(value: object, kind: object) -> bool:
    match kind:
        case str():
            fields = KUBERAY[kind]
            return isinstance(value, dict) and all(k in fields and fits(v, fields[k]) for k, v in value.items())
        case [inner]:
            return isinstance(value, list) and all(fits(one, inner) for one in value)
        case dict():
            (key, inner), *_ = kind.items()
            return isinstance(value, dict) and all(
                isinstance(k, key) and isinstance(v, inner) for k, v in value.items()
            )
        case _:
            return type(value) is kind


def test_the_kuberay_manifest_fits_its_api() -> None:
    manifest = yaml.safe_load((CLUSTERS / "kuberay.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    assert fits(manifest["spec"], "RayJobSpec")
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"], "Ray takes them for its own"
    command = manifest["spec"]["entrypoint"].split()
    assert (CLUSTERS.parents[1] / command[2]).is_file()
    pins = (CLUSTERS.parents[1] / "constraints.txt").read_text().splitlines()
    assert f"ray=={cluster['rayVersion']}" in [line.replace("[tune]", "") for line in pins]


def test_the_cluster_launchers_file_fits_rays_schema() -> None:
    import ray.autoscaler

    schema = json.loads(Path(ray.autoscaler.__file__).with_name("ray-schema.json").read_text())
    config = yaml.safe_load((CLUSTERS / "aws.yaml").read_text())
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        jsonschema.validate(config | {"max_worker": 1}, schema)
    assert config["head_node_type"] in config["available_node_types"]


def test_results_of_the_clusters_are_read_here(tmp_path: Path) -> None:
    """The README's address for an object store is understood, without asking it anything."""
    place = addresses.open_store("s3://BUCKET/meta_loss?region=eu-central-1")
    assert (place.root, place.local) == ("BUCKET/meta_loss", False)
