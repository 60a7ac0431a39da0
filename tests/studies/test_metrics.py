"""Which way a metric is better."""

from study_bases import SEARCHED, STOPPED
from study_texts import study_with

from metafa.studies import study


def test_a_metric_says_which_way_it_is_better() -> None:
    """An accuracy is maximized, a loss and a setting minimized, where nothing is said."""

    def sought(*objectives: str, **directions: list[str]) -> list[str]:
        return study.parse(study_with(SEARCHED, search={"objectives": objectives, **directions})).search.sought

    names = ["evaluate.meta_accuracy", "evaluate.meta_loss", "noise.steps", "supervised.accuracy", "measure.points"]
    assert sought(*names) == ["maximize", "minimize", "minimize", "maximize", "minimize"]
    assert sought("evaluate.meta_accuracy", directions=["minimize"]) == ["minimize"]
    assert sought("noise.effective_rank", directions=["maximize"]) == ["maximize"]
    for metric, direction in (("loss", "minimize"), ("accuracy", "maximize"), ("meta_accuracy", "maximize")):
        text = study_with(STOPPED, early_stopping={"metric": f"supervised.{metric}"})
        assert study.parse(text).early_stopping.sought == direction
