"""The bounds of settings: whatever is beyond them is refused in a sentence."""

import math
import re

import pytest
from study_bases import EVALUATED, GRID_LINES, mistakes
from study_texts import study_with, written

from metafa.learning import rules
from metafa.studies import fields, phases, sentences, settings, study
from metafa.studies.mistakes import misfits


def test_a_rule_that_is_added_to_the_table_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    text = study_with(EVALUATED, network={"rule": "of_my_own"})
    (message,) = mistakes(text)
    assert "found 'of_my_own', expected 'backprop', 'feedback_alignment', " in message
    assert "or 'weight_mirror'" in message
    monkeypatch.setitem(rules.RULES, "of_my_own", rules.RULES["feedback_alignment"])
    assert study.parse(text).trials[0].settings.network.rule == "of_my_own"


EVERY_TABLE = [*phases.PHASES.values(), *sentences.TABLES.values(), settings.StudySettings]


def refused(table: type[fields.Settings], name: str, value: object) -> bool:
    """Whether a value is wrong for a setting, or for one in a list of them; and what is said of it."""
    return all(
        any(re.match(rf"{name}: found .*[a-z]", said) for said in misfits(table, {name: one}))
        for one in ([value] if not isinstance(value, list) else [value[0], value])
    )


@pytest.mark.parametrize("table", EVERY_TABLE, ids=lambda table: table.__name__)
def test_no_setting_takes_what_no_trial_could_hold(table: type[fields.Settings]) -> None:
    """A whole number beyond Parquet's, a number beyond those of 32 bits, a text that would steer a terminal: whichever
    setting it is given to, of those that have that type or a list of it."""
    wrong = {
        "integer": [2**63, -(2**63) - 1, 10**400, 1 << 40_000],
        "number": [math.inf, math.nan, 1e308, -1e308, 3.5e38, 5e-324, 1e-38, 10**400, 1 << 40_000],
        "string": ["a\0b", "\x1b[31m", "a\x9bb", "\x7f", "\udcff", "x" * 100_000],
    }
    tried = 0
    for name, said in table.model_json_schema()["properties"].items():
        for one in (said, *said.get("anyOf", ())):
            inner = one.get("items", one)
            if "enum" in inner or "const" in inner:
                continue
            for value in wrong.get(inner.get("type"), ()):
                assert refused(table, name, [value] if "items" in one else value), (name, value)
                tried += 1
    assert tried


def of_noise(setting: str, seeds: str = "seeds = 4") -> str:
    return written(GRID_LINES, steps=f"steps = 9\n{setting}", seeds=seeds)


RANDOM = 'seeds = 4\nsearch = { method = "random", trials = 3 }'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (written(GRID_LINES, seeds=f"seed = {2**63}"), f"s.toml:2: seed: found {2**63}: input should be less than or"),
        (written(GRID_LINES, seeds=f"seed = {{ choices = [0, {2**64}] }}"), f"s.toml:2: seed: found {2**64}: input"),
        (
            written(GRID_LINES, seeds=f"seed = {-(2**64)}"),
            f"s.toml:2: seed: found {-(2**64)}: input should be greater",
        ),
        (
            written(GRID_LINES, seeds="seed = 0x" + "f" * 9999),
            "s.toml:2: seed: found an integer of 39996 bits: input",
        ),
        (
            written(GRID_LINES, seeds="seeds = 10_001"),
            "s.toml:2: seeds: found 10001: input should be less than or equal",
        ),
        (of_noise("mean = 1" + "0" * 400), ", more than any number that is computed with"),
        (
            of_noise("learning_rate = 5e-324"),
            "s.toml:10: noise.learning_rate: found 5e-324: numbers of 32 bits are 0, or from 1.18e-38 to 3.4e+38 in",
        ),
        (of_noise("learning_rate = [0.1, 1e308]"), "s.toml:10: noise.learning_rate[1]: found 1e+308: numbers of 32"),
        (
            of_noise(f"learning_rate = {{ low = 1, high = 1{'0' * 400} }}", RANDOM),
            "s.toml:11: noise.learning_rate.high: found an integer of 1329 bits, expected one from 1 - 2^63 to 2^63",
        ),
        (of_noise("mean = { low = -1e308, high = 1e308 }", RANDOM), "s.toml:11: noise.mean: found -1e+308: numbers"),
        (of_noise("mean = { low = -inf, high = 1 }", RANDOM), "s.toml:11: noise.mean.low: found -inf: input should be"),
        (
            of_noise("mean = { low = true, high = '3' }", RANDOM),
            "s.toml:11: noise.mean.low: found true, expected a num",
        ),
        (
            of_noise("mean = { low = 0.1, high = 1.0, step = 5e-324 }", RANDOM),
            "s.toml:11: noise.mean: a range has at most 1e+12 steps, found more, of 5e-324 each",
        ),
        (
            of_noise(f"mean = {{ low = 0.0, high = 1.0, step = {10**400} }}", RANDOM),
            "s.toml:11: noise.mean.step: found an integer of 1329 bits, expected one from",
        ),
        (
            written(GRID_LINES, question='question = "a\\u0000b"'),
            "s.toml:1: question: found '\\x00' in it, expected a text without control characters",
        ),
        (
            written(GRID_LINES, question=f'question = "{"q" * 10_001}"'),
            "s.toml:1: question: found a text of 10001 letters, expected at most",
        ),
        (
            written(GRID_LINES) + "[resources]\ngpus_per_trial = 1.5\n",
            "resources.gpus_per_trial: found 1.5: GPUs are shared by fract",
        ),
        (written(GRID_LINES, seeds='"\\u001b[31m" = 4'), "s.toml:2: \\x1b[31m: unknown key; known are"),
    ],
)
def test_what_is_beyond_all_bounds_is_said_in_a_sentence(text: str, said: str) -> None:
    messages = mistakes(text)
    assert said in messages[0]
    assert all(message.isprintable() for message in messages)
