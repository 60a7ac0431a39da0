import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metafa.errors import DataAbsent
from metafa.tasks import base, glyphs, taskset


def test_a_taskset_is_learn2learns_and_its_samples_are_the_images() -> None:
    images = glyphs.load("validation")
    made = taskset(images, ways=5, images_per_class=15)
    assert type(made).__module__.startswith("learn2learn")
    sample, label = made.dataset[30]
    assert label == images.labels[30]
    np.testing.assert_array_equal(sample.numpy()[0], images.images[30].astype(np.float32) / 255)
    pixels, labels = made.sample()
    assert pixels.shape == (75, 1, 28, 28)
    assert sorted(labels.tolist()) == sorted(list(range(5)) * 15)


WITHOUT_LEARN2LEARN = """
import sys
sys.modules["learn2learn"] = None  # as where it is not installed: importing it raises ModuleNotFoundError
import metafa
from metafa import tasks
from metafa.studies import study
from metafa.trials import trial

print(metafa.evaluate(metafa.initialise(seeds=1), "glyphs", tasks=2, inner_steps=1)["inputs"].unique().tolist())
text = '[[phases]]\\nphase = "meta"\\ntask_distribution = "glyphs"\\nouter_steps = 1'
print(*(key[:2] for key in trial.load_sources(study.parse(text).trials[0].settings).tasks))
tasks.taskset(tasks.TASK_DISTRIBUTIONS["glyphs"].load("test", False), ways=5, images_per_class=15)
"""


def test_without_learn2learn_only_its_tasksets_are_missed() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_LEARN2LEARN], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["['glyphs']", "('glyphs', 'training')"]
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: a learn2learn taskset needs learn2learn, which is not installed: `uv pip install "
        "--editable '.[learn2learn]'` in metafa's checkout installs it, and docs/install.md has the commands for pip"
    )


def test_a_failed_download_is_said_in_a_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "KMNIST" / "raw"

    def download() -> None:
        with base.quiet_download("kmnist", folder):
            folder.mkdir(parents=True)
            raise OSError("no route")

    with pytest.raises(DataAbsent, match=r"kmnist is not in .* and could not be downloaded \(no route\)") as caught:
        download()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
