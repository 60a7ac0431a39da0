"""How conditions look: their colours, and the axes they stand on."""

from __future__ import annotations

import re
import subprocess
import sys

import pandas as pd
import pytest

from metafa.learning.rules import RULES
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


def test_an_axis_leaves_out_what_would_hide_the_rest_and_counts_it() -> None:
    losses = pd.Series([1.0, 1.1, 1.2, 1.3, 1.4, 6.0, 30.0])
    # quartiles 1.15 and 3.7: Tukey's outer fence is at 3.7 + 3 x 2.55 = 11.35
    assert appearance.reach(losses) == pytest.approx((1.0, 11.35))
    assert appearance.beyond(losses) == 1
    assert appearance.reach(-losses, maximize=True) == pytest.approx((-11.35, -1.0))
    # what is far on the better side is shown, and so is all where most are alike
    assert appearance.beyond(-losses) == 0
    assert appearance.beyond(pd.Series([1.0, 1.0, 1.0, 1.0, 9.0])) == 0


def test_ticks_of_a_logarithmic_axis() -> None:
    assert appearance.ticks(0.1, 3) == pytest.approx([0.1, 0.2, 0.5, 1, 2])
    assert appearance.ticks(1e-5, 1e-2) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
