"""How conditions look: their colours."""

from __future__ import annotations

import re
import subprocess
import sys

from metafa.learning.credit import RULES
from metafa.reporting import appearance
from metafa.reporting.appearance import rule_colour


def test_every_rule_of_metafa_has_a_colour_that_no_other_has() -> None:
    assert set(appearance.COLOURS) == set(RULES)
    assert len({rule_colour(rule) for rule in RULES}) == len(RULES)


def test_a_rule_of_ones_own_has_a_colour_that_is_the_same_in_every_process() -> None:
    colours = [rule_colour(rule) for rule in ("predictive_coding", "target_propagation")]
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)
    assert len({*colours, *map(rule_colour, RULES)}) == len(RULES) + 2
    program = "from metafa.reporting.appearance import rule_colour; print(rule_colour('predictive_coding'))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == colours[0]
