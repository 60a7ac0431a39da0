"""What differs between the measurements of the same trials in two stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from metafa.results.columns import MEASUREMENTS
from metafa.results.store import Store
from metafa.results.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


def differences(store: Store, other: Store, trial_ids: Sequence[str]) -> dict[str, str]:
    """What differs between the measurements of the same trials in two stores, a sentence a trial."""
    import pandas as pd

    keys = [name for name in MEASUREMENTS.names if name != "value"]
    chosen = pc.field("trial_id").isin(trial_ids)
    tables = [read_table(one, "measurements", filter=chosen) for one in (store, other)]
    both = pd.merge(*(table.to_pandas() for table in tables), on=keys, how="outer", indicator=True)
    unequal = (both["value_x"] != both["value_y"]) & ~(both["value_x"].isna() & both["value_y"].isna())
    wrong = both[unequal | (both["_merge"] != "both")]
    return {
        trial_id: _difference(rows, (both["trial_id"] == trial_id).sum())
        for trial_id, rows in wrong.groupby("trial_id")
    }


def _difference(rows: pd.DataFrame, total: int) -> str:
    worst = rows.loc[(rows["value_x"] - rows["value_y"]).abs().fillna(float("inf")).idxmax()]
    where = f"{worst['metric']} at step {worst['step']} of {worst['phase']}, seed {worst['seed']}"
    return f"{len(rows)} of {total} measurements differ, the most {where}: {worst['value_x']} and {worst['value_y']}"
