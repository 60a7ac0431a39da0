"""metafa: what learning from random noise, before any data, does to how fast a network adapts to new tasks.

From Python: `initialise` networks, `pretrain` them on noise, `evaluate` their meta-loss, `measure` their weights;
`define` or `read` a study and `run` it, and `load` its results. From a shell: the command ``metafa``.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from metafa.errors import (
    DataAbsent,
    DataBroken,
    DataError,
    LaunchError,
    MetafaError,
    ResourcesError,
    ResultsError,
    StoreError,
    StudyError,
)

if TYPE_CHECKING:
    from metafa.api import (
        Replicas,
        Results,
        Study,
        define,
        evaluate,
        initialise,
        load,
        measure,
        pretrain,
        read,
        run,
    )

__version__ = version("metafa")
__all__ = [
    "DataAbsent",
    "DataBroken",
    "DataError",
    "LaunchError",
    "MetafaError",
    "Replicas",
    "ResourcesError",
    "Results",
    "ResultsError",
    "StoreError",
    "Study",
    "StudyError",
    "define",
    "evaluate",
    "initialise",
    "load",
    "measure",
    "pretrain",
    "read",
    "run",
]


def __getattr__(name: str) -> Any:
    # on first use, so that the command and the numerical core import no more than they need
    if name in __all__:
        from metafa import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
