"""From the text of a study file to its tables, its search spaces and some of its trials, all of them checked."""

from __future__ import annotations

import tomllib
from typing import Any

from metafa.errors import StudyError
from metafa.studies import checks, earlier, toml
from metafa.studies.maker import TrialMaker
from metafa.studies.mistakes import Mistakes
from metafa.studies.settings import StudySettings
from metafa.studies.spaces import TreePath, options, replaced, spaces_in
from metafa.studies.trial import Examples

MAX_SPACES = 100


def tree_of(
    text: str, default_name: str, file: str, has_results: bool, numerics: int
) -> tuple[dict[str, Any], frozenset[str], str, Mistakes]:
    """The tables that ``text`` writes, the settings in it that had other names in an earlier version, the text that is
    kept with the results, which says the study's name, and where mistakes in it are put; ``has_results`` and
    ``numerics`` as `study.parse` has them."""
    if toml.long_key(text) and (number := toml.long_key(toml.bare(text))):
        raise StudyError([f"{file}:{number}: nested too deeply for a study file"])
    try:
        tree = tomllib.loads(text)
    except ValueError as error:  # a number of thousands of digits among them
        at, said = toml.not_toml(text, error)
        raise StudyError([f"{file}{f':{at}' if at else ''}: not TOML: {said}".replace("\n", " ")]) from error
    tree, renamed = earlier.with_new_names(tree) if has_results else (tree, frozenset[str]())
    if has_results and numerics < earlier.METRICS_SINCE:
        tree = earlier.with_new_metrics(tree)
    text_kept, named = text, "name" in tree
    if not named:  # whoever finds the results knows from them what the study was called
        tree["name"] = default_name
        text_kept = f'name = "{default_name}"\n{text}'
    return tree, renamed, text_kept, Mistakes(file, text, tree, named)


def checked_spaces(tree: dict[str, Any], mistakes: Mistakes) -> dict[TreePath, dict]:
    """The search spaces, each of which is one. Raises `StudyError`."""
    spaces = dict(spaces_in(tree))
    checks.check_lists(mistakes, tree)
    if len(spaces) > MAX_SPACES:
        mistakes.add((), f"{len(spaces)} search spaces; at most {MAX_SPACES}")
    mistakes.raise_if_any()
    for path, space in spaces.items():
        checks.check_space(mistakes, path, space)
    mistakes.raise_if_any()
    checks.check_size(mistakes, spaces)
    mistakes.raise_if_any()
    return spaces


def checked_options(
    maker: TrialMaker, mistakes: Mistakes, spaces: dict[TreePath, dict]
) -> tuple[StudySettings, Examples]:
    """The settings with the first option of each search space, and trials in which each option of each, the others at
    their first, stands once: each is checked where it stands. Raises `StudyError`."""
    first = {path: options(space)[0] for path, space in spaces.items()}
    settings = mistakes.validate(replaced(maker.tree, first))
    firsts = maker.at(first)
    for part in (*firsts, *maker.parts):
        mistakes.explained.add(part)  # as what is wrong with the whole
    examples = [maker.trial(firsts, mistakes)]
    for path in maker.names:
        others = [part for part in firsts if part.place != maker.home(path)]
        for option in options(spaces[path])[1:]:
            part = maker.part(maker.home(path), first | {path: option})
            mistakes.explain(part, {path: option})
            if part.error is None:
                examples.append(maker.trial([*others, part], mistakes))
    mistakes.raise_if_any()
    assert settings is not None
    return settings, Examples(tuple(example.values for example in examples if example is not None))
