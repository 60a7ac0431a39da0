"""Studies of many trials, and files of many mistakes: what is known of each trial is what one alone would have, and the
work that a file takes grows no faster than the file."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from metafa.errors import StudyError
from metafa.studies import alike, maker, mistakes, settings, study, trial

STUDIES = Path(__file__).parents[2] / "studies"
EVALUATE = '[[phases]]\nphase = "evaluate"\ntask_distributions = ["glyphs"]\n'
NOISE = '[[phases]]\nphase = "noise"\nsteps = 3\n'
GRID = f"""\
seed = {{ choices = [0, 7] }}
seeds = 3
measure = {{ points = 5 }}
[network]
hidden = {{ choices = [[10], [20, 3]] }}
feedback_scale = {{ choices = [1, 2.5] }}
[[phases]]
phase = "noise"
steps = {{ choices = [0, 10] }}
learning_rate = [1, 0.5]
{EVALUATE}"""


IMAGES = """name = "claim_7_out_of_distribution"
question = "Is a network after noise more robust to images unlike those it learned?"
seeds = 16

[network]
rule = { choices = ["feedback_alignment", "backprop"] }

[[phases]]
phase = "noise"
steps = { choices = [0, 4000] }
learning_rate = 2e-4

[[phases]]
phase = "supervised"
dataset = { choices = ["mnist10k", "glyphs"] }
training_images = 5000
steps = 1500
learning_rate = 1e-4

[[phases]]
phase = "out_of_distribution"
translation = [1, 2, 3, 4]
rotation = [10, 20, 30, 40]
scaling = [0.1, 0.2, 0.3, 0.4]
pixel_noise = [0.1, 0.2, 0.4]
datasets = ["digits", "glyphs", "mnist10k"]

[measure]
points = 8

[[claims]]
claim = 7
statement = "After noise, accuracy out of distribution is higher"
metric = "accuracy"
phase = "out_of_distribution"
expect = "higher"
"""


def test_trial_ids_are_those_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an earlier version wrote them into results, which are continued by them."""
    for module in (maker, study):  # since then, settings were added alone
        monkeypatch.setattr(module, "NUMERICS", 5)
    grid = study.parse(GRID)
    assert grid.fingerprint == "7b251a52d4d8e904"
    assert (grid.trials[0].trial_id, grid.trials[-1].trial_id) == ("2750e9fc30c78283", "6e8e46bc781eac28")
    assert grid.over({"tasks/glyphs/test": "x"}).trials[0].trial_id == "683b8214ff56ba1d"
    for name, fingerprint in {
        "quickstart": "ed36907112971755",
        "meta_loss": "db310ed04cd4681e",
        "noise_search": "4e0c867162dd6dba",
        "omniglot_minimal": "2026757406901395",
        "transport_free_search": "aeb7f7d71d6dc38a",
    }.items():
        assert study.read(STUDIES / f"{name}.toml").fingerprint == fingerprint
    assert study.parse(IMAGES).fingerprint == "f1dd6a835e700b56"


def test_trial_ids_differ_by_the_new_name_of_outer_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashed as `iterations`, they are those that the version before that name wrote."""
    digest_of = trial.digest_of

    def digest_of_before(text: str) -> str:
        return digest_of(json.dumps(_before(json.loads(text)), sort_keys=True))

    for module in (maker, trial):
        monkeypatch.setattr(module, "digest_of", digest_of_before)
    for module in (maker, study):
        monkeypatch.setattr(module, "NUMERICS", 5)
    for name, fingerprint in {
        "quickstart": "33f5a0601f37725c",
        "meta_loss": "17d569e0b5729016",
        "omniglot_minimal": "57b8fe41a1692f1b",
        "transport_free_search": "093d5859c478d8ea",
    }.items():
        assert study.read(STUDIES / f"{name}.toml").fingerprint == fingerprint


def _before(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_before(value) for value in tree]
    if isinstance(tree, dict):
        return {"iterations" if key == "outer_steps" else key: _before(value) for key, value in tree.items()}
    return tree


@pytest.mark.parametrize(
    "text",
    [
        GRID,
        *(path.read_text() for path in sorted(STUDIES.glob("**/*.toml"))),
        f"""\
        phases = {{ choices = [
          [{{ phase = "noise", steps = 1 }}, {{ phase = "evaluate", task_distributions = ["glyphs"] }}],
          [{{ phase = "evaluate", task_distributions = ["glyphs"], ways = 7 }}],
        ] }}
        network = {{ choices = [{{ rule = "backprop" }}, {{ hidden = [3] }}] }}
        name = "{"x" * 9}"
        """,
        'search = { method = "random", trials = 9 }\nmeasure.points = { low = 3, high = 9 }\n'
        '[[phases]]\nphase = "noise"\nsteps = { choices = [0, 5] }\nmean = { low = -1.0, high = 1 }\n' + EVALUATE,
    ],
)
def test_each_trial_is_as_if_it_were_alone(text: str) -> None:
    """Its settings those of a file that says them without search spaces, and its trial_id the hash of these."""
    checked = study.parse(text)
    for one in checked.trials[:: max(1, len(checked.trials) // 12)]:
        whole = settings.StudySettings.model_validate(checked.tree_at(one.varied))
        alone = settings.TrialSettings(**{name: getattr(whole, name) for name in settings.TrialSettings.model_fields})
        assert one.settings == alone
        said = json.dumps([settings.NUMERICS, alone.model_dump(exclude_defaults=True)], sort_keys=True)
        assert one.trial_id == hashlib.sha256(said.encode()).hexdigest()[:16]
        assert checked.trial(one.varied) == one


def calls(function: Callable[[], Any]) -> int:
    """How many functions are called, Python's and C's."""
    count = 0

    def counting(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counting)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def grid_of(count: int) -> str:
    steps, rates = list(range(count // 20)), [0.1 + i for i in range(20)]
    return (
        f'[[phases]]\nphase = "noise"\nsteps = {{ choices = {steps} }}\n'
        f'[[phases]]\nphase = "evaluate"\ntask_distributions = ["glyphs"]\n'
        f"inner_learning_rate = {{ choices = {rates} }}\n"
    )


def test_a_trial_of_many_takes_little_more_than_a_hash() -> None:
    """No validation, no walk over the file."""
    few, many = (calls(functools.partial(study.parse, grid_of(count))) for count in (400, 2400))
    assert (many - few) / 2000 < 60
    grids = (study.parse(grid_of(count)) for count in (400, 2400))
    few, many = (calls(functools.partial(alike.sentences, checked)) for checked in grids)
    assert (many - few) / 2000 < 120


def test_settings_that_do_not_fit_in_some_trials_are_said_once() -> None:
    text = (
        '[[phases]]\nphase = "meta"\ntask_distribution = "glyphs"\nouter_steps = 3\n'
        'outer_optimizer = { choices = ["sgd", "adam"] }\nouter_momentum = { choices = [0, 0.1, 0.2] }\n'
        f"inner_steps = {{ choices = {list(range(1, 300))} }}\n{EVALUATE}"
    )
    with pytest.raises(StudyError) as refused:
        study.parse(text, file="s.toml")
    assert refused.value.messages == [
        's.toml:1: phases[0]: `outer_momentum` is for outer_optimizer = "sgd"; adam has its own'
    ]


# Kinds of files of about so many letters, each malformed or larger than a study may be.
HUGE: dict[str, Callable[[int], str]] = {
    "unknown keys": lambda n: "".join(f"k{i} = 1\n" for i in range(n // 9)),
    "unknown tables": lambda n: "".join(f"[t{i}]\n" for i in range(n // 7)),
    "unknown keys of a phase": lambda n: NOISE + "".join(f"k{i} = 1\n" for i in range(n // 9)) + EVALUATE,
    "phases": lambda n: NOISE * (n // len(NOISE)) + EVALUATE,
    "unknown phases": lambda n: '[[phases]]\nphase = "nois"\n' * (n // 28),
    "claims": lambda n: NOISE + EVALUATE + '[[claims]]\nclaim = "s"\n' * (n // 23),
    "wrong choices": lambda n: f'[[phases]]\nphase = "noise"\nsteps = {{ choices = {["a"] * (n // 5)} }}\n{EVALUATE}',
    "wrong choices of phases": lambda n: f"phases = {{ choices = [{'[{ phase = 3 }],' * (n // 16)}] }}",
    "search spaces": lambda n: "[network]\n" + "".join(f"k{i} = {{ choices = [1, 2] }}\n" for i in range(n // 24)),
    "a grid of pairs": lambda n: "".join(
        f'[[phases]]\nphase = "noise"\nname = "n{i}"\nsteps = {{ choices = [0, 1] }}\n' for i in range(n // 68)
    ),
    "a typo at the end": lambda n: NOISE + EVALUATE + "# a comment\n" * (n // 12) + "sedes = 1\n",
    "a typo above lines": lambda n: "sedes = 1\n" + NOISE + EVALUATE + ("#" + "x" * (n // 300) + "\n") * 300,
    "a typo beside lists": lambda n: "sedes = 1\n" + "".join(f"k{i} = {[1] * 30}\n" for i in range(n // 100)),
    "an open list": lambda n: "a = [" + "1,\n" * (n // 3),
    "an open string": lambda n: 'a = """' + "x\"'y\n" * (n // 5),
    "strings on a line": lambda n: ('"a"' * 333 + "\n") * (n // 1000) + 'x = """\n',
    "open strings on lines": lambda n: 'x = """' + ("'\"" * 450 + "\n") * (n // 901),
    "a key of parts": lambda n: "a" + ".a" * (n // 2) + " = 1",
    "keys of parts": lambda n: "".join(f"a{i}{'.a' * 15} = 1\n" for i in range(n // 40)),
    "tables of parts": lambda n: "".join(f"[a{i}{'.a' * 15}]\n" for i in range(n // 40)),
    "lists of tables of parts": lambda n: f"[[a{'.a' * 15}]]\n" * (n // 36),
    "lists in lists": lambda n: "a = " + "[" * (n // 2) + "]" * (n // 2),
    "tables in tables": lambda n: "a = " + "{a=" * (n // 4) + "1" + "}" * (n // 4),
    "a wide table": lambda n: "a = {" + ",".join(f"k{i} = 1" for i in range(n // 9)) + "}",
    "a long key": lambda n: "k" * n + " = 1",
    "a long quoted key": lambda n: '"' + "k " * (n // 2) + '" = 1',
    "a long name": lambda n: f'name = "{"x" * n}"',
    "a long rule": lambda n: f'network.rule = "{"x" * n}"\n{EVALUATE}',
    "a long kind of phase": lambda n: f'[[phases]]\nphase = "{"x" * n}"\n',
    "many digits": lambda n: "seed = " + "9" * n,
    "hexadecimal digits": lambda n: "seed = 0x" + "f" * n,
    "escapes": lambda n: 'question = "' + "\\n" * (n // 2 + 10_000) + f'"\n{EVALUATE}',
    "layers": lambda n: f"network.hidden = {[1] * (n // 3)}\n{EVALUATE}",
    "layers beside choices": lambda n: (
        f"network.hidden = {[1] * (n // 6)}\nnetwork.feedback_scale = {{ choices = {[1] * (n // 6)} }}\n{EVALUATE}"
    ),
    "objectives": lambda n: (
        f'{NOISE}{EVALUATE}[search]\nmethod = "tpe"\ntrials = 3\nobjectives = {["evaluate.x"] * (n // 14)}\n'
    ),
    "the same key": lambda n: "a = 1\n" * (n // 6),
    "carriage returns": lambda n: "a = 1\r" * (n // 6),
    "zeros": lambda n: "\0" * n,
    "brackets": lambda n: "[" * n,
    "empty lines": lambda n: "\n" * n + "x",
}


@pytest.mark.parametrize("kind", HUGE)
def test_work_grows_no_faster_than_a_file_of_mistakes(kind: str) -> None:
    """And what is said of it stays short."""

    def refused(text: str) -> None:
        with pytest.raises(StudyError) as error:
            study.parse(text, file="s.toml")
        assert len(error.value.messages) <= mistakes.MAX_MESSAGES + 1
        assert all(len(message) <= 1000 and message.isprintable() for message in error.value.messages)

    refused(HUGE[kind](4000))  # whatever is worked out once
    less, more = (calls(functools.partial(refused, HUGE[kind](size))) for size in (4000, 24_000))
    assert more < 7 * less + 3000


def test_a_mistake_in_a_long_file_has_its_line() -> None:
    """Of a list that goes over lines, that which ends it; whatever stands in strings and comments."""
    text = (
        'question = """\n[network]\nseed = 1 # """\n'
        + "# [x] = {\n" * 5000
        + "[network] # [[[\nhidden = [\n 10,\n 'a',\n]\n"
        '\n[[phases]]\nphase = \'noise\'\n"st\\u0065ps" = -1 # "\n[[phases]] # \'\nphase = "evaluate"\n'
        'task_distributions = ["glyphs", "mnst"]\nways.x = 2\nmeasure."[" = { a = "}" }\n'
    )
    with pytest.raises(StudyError) as refused:
        study.parse(text, file="s.toml")
    assert sorted(message.partition(": found")[0].partition(": unknown")[0] for message in refused.value.messages) == [
        "s.toml:5008: network.hidden[1]",
        "s.toml:5012: noise.steps",
        "s.toml:5015: evaluate.task_distributions[1]",
        "s.toml:5016: evaluate.ways",
        "s.toml:5017: evaluate.measure",
    ]


def test_rows_of_dots_are_no_nested_keys() -> None:
    text = f'# {"." * 500}\nquestion = "Wait {"." * 500}" # {"." * 500}\n{EVALUATE}'
    assert study.parse(text).total == 1
