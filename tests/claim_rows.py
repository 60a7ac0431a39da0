"""Rows of measurements with the columns that claims are judged by."""

from __future__ import annotations

import numpy as np
import pandas as pd


def rows_of(names: str, values: list[tuple], **shared: object) -> pd.DataFrame:
    unsaid = {"learning_rate": np.nan, "inputs": None, "shift": None, "strength": np.nan}
    unsaid |= {"layer": np.nan, "component": np.nan}
    shared = unsaid | {"network.rule": "feedback_alignment"} | shared
    rows = pd.DataFrame(values, columns=names.split())
    return rows.assign(**{name: value for name, value in shared.items() if name not in rows})
