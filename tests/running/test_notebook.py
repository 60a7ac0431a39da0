"""metafa in a real Jupyter kernel, and what a notebook shows of its objects."""

import html
import re

import nbclient
import nbformat
import pandas as pd
import pytest

import metafa
from metafa.results.tables import Results
from metafa.studies.card import card

STUDY = dict(
    name="small",
    question="Is <b>this</b> & that so?",
    seeds=2,
    network={"hidden": [8], "rule": {"choices": ["backprop", "feedback_alignment"]}},
    phases=[
        {"phase": "noise", "steps": {"choices": [0, 20]}},
        {"phase": "evaluate", "task_distributions": ["glyphs"], "tasks": 5},
    ],
)


class Client(nbclient.NotebookClient):
    """Runs the cells of a notebook as Jupyter does, and notes which messages each of them is sent."""

    seen: dict[int, list[str]]

    def process_message(self, msg, cell, cell_index):
        self.seen.setdefault(cell_index, []).append(msg["msg_type"])
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[list, dict[int, list[str]]]:
    """The cells of a notebook that runs a study on a Ray that the notebook has initialised, and their messages."""
    place = tmp_path_factory.mktemp("notebook") / "results"
    sources = [
        f"import metafa\nstudy = metafa.define({STUDY!r})",
        "import ray\nray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)\nprint('before')\n"
        f"found = metafa.run(study, {str(place)!r})\nprint('after')",
        "print(ray.is_initialized(), ray.get(ray.remote(lambda: 7).remote()))",
        f"metafa.run(study, {str(place) + '2'!r}, address='auto')",
        "study",
        "metafa.initialise(seeds=3, hidden=[20, 10])",
        "found",
        "import _thread, threading, time\n"
        "noise = {'phase': 'noise', 'steps': 10**6}\n"
        "long = metafa.define({**study.tree, 'phases': [noise, study.tree['phases'][1]]})\n"
        "threading.Timer(6, _thread.interrupt_main).start()\n"
        f"try:\n    metafa.run(long, {str(place) + '3'!r})\nexcept KeyboardInterrupt as interrupt:\n"
        "    kept = interrupt\n"
        "for _ in range(50):\n    free = ray.available_resources().get('CPU')\n"
        "    if free == 1:\n        break\n    time.sleep(0.2)\n"
        "print(repr(kept), free)",
        "ray.shutdown()",
    ]
    written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = Client(written, timeout=300, kernel_name="python3", allow_errors=True)
    client.seen = {}
    client.execute(cwd=str(place.parent))
    return written.cells, client.seen


def test_a_run_shows_one_live_bar_and_keeps_what_the_cell_has_printed(cells) -> None:
    (_, cell, *_), seen = cells
    assert "clear_output" not in seen[1]
    assert seen[1].count("display_data") == 1
    assert seen[1].count("update_display_data") >= 2
    kinds = [output.output_type for output in cell.outputs]
    assert [kind for kind in kinds if kind != "stream"] == ["display_data"]
    bar = kinds.index("display_data")
    printed = [
        "".join(output.text for output in part if output.get("name") == "stdout")
        for part in (cell.outputs[:bar], cell.outputs[bar:])
    ]
    assert printed[0].startswith("before\n")
    assert re.search("small.*: 4 trials of 2 seeds; results in", printed[0])
    assert printed[1:] == ["after\n"]
    # what the cell's own import of Ray advises stands before
    begun = next(i for i, output in enumerate(cell.outputs) if "before\n" in output.get("text", ""))
    assert "ipywidgets" not in str(cell.outputs[begun:])
    shown = cell.outputs[bar].data
    assert "<progress value='4' max='4'" in shown["text/html"]
    assert shown["text/plain"].startswith("4/4 trials · ")


def test_a_study_runs_on_the_ray_that_is_there_and_leaves_it(cells) -> None:
    (_, _, after, again, *_), _ = cells
    assert "".join(output.text for output in after.outputs) == "True 7\n"
    (error,) = [output for output in again.outputs if output.output_type == "error"]
    assert error.ename == "LaunchError"
    assert "Ray is initialised in this process already: leave out the address, 'auto'" in error.evalue


def test_a_run_that_is_interrupted_leaves_nothing_running_there(cells) -> None:
    (*_, interrupted, _), _ = cells
    assert interrupted.outputs[-1].text == "KeyboardInterrupt() 1.0\n"


def text_of(shown: str) -> str:
    """What a reader reads of HTML."""
    return html.unescape(re.sub("<[^>]*>", " ", shown))


def test_objects_are_shown_in_short(cells) -> None:
    (*_, study, replicas, found, _, _), _ = cells
    study, replicas, found = (cell.outputs[0].data["text/html"] for cell in (study, replicas, found))
    assert "Is <b>this</b> & that so?" in text_of(study)
    assert "<b>" not in study
    words = " ".join(text_of(study).split())
    assert "Study small" in words
    assert "trials 4, of 2 seeds each" in words
    assert "phases noise, evaluate" in words
    assert "network.rule backprop, feedback_alignment" in words
    assert "noise.steps 0, 20" in words
    assert " ".join(text_of(replicas).split()).startswith("3 networks rule feedback_alignment units 784 - 20 - 10 - 5")
    words = " ".join(text_of(found).split())
    assert "Results of small trials 4 done phases noise, evaluate" in words
    assert re.search("shape of trials 4 rows, [0-9]+ columns shape of measurements [0-9]+ rows, [0-9]+ columns", words)


def test_results_count_trials_by_status_and_may_be_empty() -> None:
    trials = pd.DataFrame({"study": ["<i>x"] * 3, "status": ["done", "failed", "done"]})
    shown = Results(trials, pd.DataFrame({"phase": ["noise", "noise"]}))._repr_html_()
    assert "<i>" not in shown
    assert "2 done, 1 failed" in text_of(shown)
    empty = Results(trials[:0], pd.DataFrame({"phase": []}))._repr_html_()
    assert "none" in text_of(empty)


def test_a_study_of_many_trials_is_shown_in_short() -> None:
    steps = {"choices": list(range(2000))}
    study = metafa.define(STUDY | {"phases": [{"phase": "noise", "steps": steps}, STUDY["phases"][1]]})
    assert len(study._repr_html_()) < 1500
    assert repr(study) == "<Study small: 4000 trials>"
    adaptive = metafa.define(STUDY | {"search": {"method": "tpe", "trials": 3, "objectives": ["evaluate.meta_loss"]}})
    assert "3, of 2 seeds each" in text_of(adaptive._repr_html_())


def test_nothing_in_a_card_is_markup() -> None:
    shown = card("<script>", {"<td>": "</table>", "&amp;": '"'})
    assert text_of(shown).split() == ["<script>", "<td>", "</table>", "&amp;", '"']


def test_a_shell_shows_replicas_in_short() -> None:
    assert repr(metafa.initialise(seeds=2)) == (
        "<Replicas: 2 networks 784-100-5 that learn by feedback_alignment, on cpu>"
    )
