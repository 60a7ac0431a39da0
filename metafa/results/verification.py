"""What differs between the measurements of the same trials in two stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from metafa.results.columns import MEASUREMENTS
from metafa.results.store import Store
from metafa.results.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


def differences(store: Store, other: Store, trial_ids: Mapping[str, str]) -> dict[str, str]:
    """What differs between the measurements of the same trials in two stores, a sentence a trial. ``trial_ids`` has
    for each the one in ``other`` by that in ``store``."""
    import pandas as pd

    keys = [name for name in MEASUREMENTS.names if name != "value"]
    there, again = (
        read_table(one, "measurements", filter=pc.field("trial_id").isin(list(ids))).to_pandas()
        for one, ids in ((store, trial_ids), (other, trial_ids.values()))
    )
    ids = pd.DataFrame({"there": trial_ids.keys(), "trial_id": trial_ids.values()})
    again = again.merge(ids, on="trial_id").drop(columns="trial_id").rename(columns={"there": "trial_id"})
    both = pd.merge(there, again, on=keys, how="outer", indicator=True)
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
