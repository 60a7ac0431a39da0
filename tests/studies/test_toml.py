"""What is wrong where a file is not TOML, and the line of each key where it is."""

import tomllib

import pytest
from study_bases import GRID_LINES, mistakes
from study_texts import written

from metafa.studies import toml

# a line of `GRID_LINES`, what stands in its place, and the whole of what is said of it
NOT_TOML = [
    ("steps", "steps = ", "s.toml:9: not TOML: the value is missing"),
    ("steps", "steps = 10,000", "s.toml:9: not TOML: a number has no commas in it, and a list has brackets: [1, 2]"),
    ("steps", "steps = 0100", "s.toml:9: not TOML: a number begins with no 0: 100"),
    ("steps", "steps = .5", "s.toml:9: not TOML: a number begins with a digit: 0.5"),
    ("steps", "steps = None", "s.toml:9: not TOML: TOML has no None: leave the line out, and the default is taken"),
    ("steps", "steps = True", "s.toml:9: not TOML: write true, in lower case"),
    ("steps", "steps = 1\nsteps = 2", "s.toml:10: not TOML: `steps` is set twice"),
    (
        "steps",
        "steps = { choices = [1, 2]",
        "s.toml:9: not TOML: a } or a , is missing; all that stands in { } is on one line",
    ),
    ("rule", "rule = backprop", 's.toml:5: not TOML: a string stands in quotes: "backprop"'),
    ("rule", "rule: 'backprop'", "s.toml:5: not TOML: TOML has = where YAML and JSON have :"),
    ("rule", "rule = 'backprop", "s.toml:5: not TOML: a closing quotation mark is missing"),
    ("network", "\n[network]\n[network]", "s.toml:5: not TOML: [network] stands twice, or is set above already"),
    ("network", "\nnetwork", "s.toml:4: not TOML: write [network] for a table, or network = and a value"),
    (
        "noise",
        '\n[phases]\nphase = "noise"',
        "s.toml:11: not TOML: phases are a list: write [[phases]] above each of them",
    ),
]


@pytest.mark.parametrize(("line", "instead", "said"), NOT_TOML, ids=[said for _, _, said in NOT_TOML])
def test_what_is_not_toml_is_told_what_would_be(line: str, instead: str, said: str) -> None:
    assert mistakes(written(GRID_LINES, **{line: instead})) == [said]


def test_every_key_has_the_line_it_is_set_in() -> None:
    """Each key of the file stands in a line of the text that begins with its name."""
    text = written(GRID_LINES)
    found = toml.lines(text)
    tables = tomllib.loads(text)
    keys = [(key,) for key in tables]
    keys += [("network", "rule"), *(("phases", i, key) for i, phase in enumerate(tables["phases"]) for key in phase)]
    for key in keys:
        assert text.splitlines()[found[key] - 1].lstrip("[").startswith(key[-1])
    assert len({found[key] for key in keys}) == len(keys)


def test_strings_and_comments_hide_what_stands_in_them() -> None:
    text = 'a = "# [b]" # c = [\nd = """\n[e]\n""" # f\n'
    assert toml.bare(text) == "a =  \nd = \n\n \n"
