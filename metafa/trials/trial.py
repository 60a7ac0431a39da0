"""One trial: its phases in order. Whoever runs trials finds what that takes here."""

from __future__ import annotations

from metafa.studies.settings import TrialSettings
from metafa.trials.checkpoints import Checkpoint
from metafa.trials.measuring import measure_weight_path
from metafa.trials.phases import RUN_PHASE
from metafa.trials.recording import Outcome
from metafa.trials.sources import Sources, load_sources, prepared
from metafa.trials.trial_run import NO_WATCH, TrialRun, Watch

__all__ = ["Checkpoint", "Outcome", "Sources", "Watch", "load_sources", "prepared", "run"]


def run(
    settings: TrialSettings,
    sources: Sources,
    device: str = "cpu",
    watch: Watch = NO_WATCH,
    checkpoint: Checkpoint | None = None,
) -> Outcome:
    """Runs a trial on `prepared` sources: all its replicas at once, its phases in order, or what ``checkpoint`` leaves
    of them, to the same outcome to the bit."""
    trial = TrialRun(settings, sources, device, watch)
    if checkpoint is not None:
        trial.restore(checkpoint)
    for number, phase in enumerate(settings.phases):
        if trial.begins(number):
            RUN_PHASE[phase.phase](trial, phase)
    measure_weight_path(trial)
    return trial.recorder.outcome
