"""Where images come from: the files that load task distributions and datasets, and whether their data is here.

It may import `studies`, and knows no torch. A new source is a file here, and a row in `metafa/studies/data.py`.
"""

from metafa.errors import DataAbsent, DataBroken
from metafa.studies.data import DATASETS, TASK_DISTRIBUTIONS, Dataset, TaskDistribution
from metafa.tasks.base import PARTS, SPLITS, LabelledImages, data_folder, taskset

__all__ = [
    "DATASETS",
    "PARTS",
    "SPLITS",
    "TASK_DISTRIBUTIONS",
    "DataAbsent",
    "DataBroken",
    "Dataset",
    "LabelledImages",
    "TaskDistribution",
    "data_folder",
    "taskset",
]
