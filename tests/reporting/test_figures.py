"""What figures show: numbers computed here anew from what was measured, and the same in plotly's and in matplotlib's
drawing."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import synthetic_results
from scipy import stats

from metafa.reporting import appearance, charts, comparison, conditions, figures, importance, objectives, search_figures
from metafa.reporting.conditions import Tables
from metafa.results import addresses
from metafa.results.tables import load

STUDY = """\
seeds = 5
[network]
rule = { choices = ["feedback_alignment", "backprop"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 1000] }
[[phases]]
phase = "evaluate"
inner_steps = 2
task_distributions = ["glyphs", "omniglot"]
"""
SEARCH = """\
seeds = 2
[network]
activation = { choices = ["relu", "tanh"] }
[[phases]]
phase = "noise"
steps = { low = 10, high = 1000 }
learning_rate = { low = 1e-5, high = 1e-1, log = true }
[[phases]]
phase = "evaluate"
task_distributions = ["glyphs"]
[search]
method = "random"
trials = 12
"""
RANDOM = np.random.default_rng(5)
OFFSETS = RANDOM.normal(0, 0.1, 5)


def measured(trial):
    noise = trial.varied["noise.steps"]
    for seed, off in enumerate(OFFSETS):
        for step in sorted({0, 1, 100, noise}):
            for layer in (2, 10):
                row = {"phase": "noise", "metric": "alignment_angle", "layer": layer, "step": step, "seed": seed}
                yield row | {"value": 90 - layer - step / 100 + off}
        for step in range(3):
            for inputs, harder in (("glyphs", 0.0), ("omniglot", 0.5)):
                row = {"phase": "evaluate", "step": step, "inputs": inputs, "seed": seed}
                yield row | {"metric": "meta_loss", "value": 2 - step / 2 - noise / 1e4 + harder + off * (1 + step)}
                yield row | {"metric": "meta_accuracy", "value": 0.2 + step / 10}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("figures") / "made"
    synthetic_results.results_of(folder, STUDY, measured)
    return conditions.read(folder)


@pytest.fixture
def matplotlibs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(synthetic_results.ANALYSIS))
    return importlib.import_module("figures")


def by_hand(tables: Tables, line: appearance.Line, **wanted: object) -> np.ndarray:
    """The values measured of a condition, ``[step, seed]``, read without any of the code that figures use."""
    results = load(tables.store.address)
    rule, noise = line.condition
    trials = results.trials
    (trial_id,) = trials.loc[(trials["network.rule"] == rule) & (trials["noise.steps"] == noise), "trial_id"]
    rows = results.measurements
    rows = rows[rows["trial_id"] == trial_id]
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows.pivot_table("value", "step", "seed").to_numpy()


def student(values: np.ndarray) -> np.ndarray:
    """How far Student's intervals of the mean reach, which of few seeds one end of each interval has."""
    return stats.t.ppf(0.975, values.shape[1] - 1) * values.std(1, ddof=1) / values.shape[1] ** 0.5


def test_adaptation_shows_the_means_over_seeds_a_panel_an_evaluation(tables: Tables) -> None:
    lines = appearance.lines(tables)
    figure = figures.adaptation(figures.adaptation_curves(tables), "meta_loss", tables, lines)
    assert [panel.title for panel in figure.panels] == [("evaluate", "glyphs"), ("evaluate", "omniglot")]
    for panel in figure.panels:
        assert panel.y.scale == "log"
        assert [series.condition for series in panel.series] == [0, 1, 2, 3]
        for series, line in zip(panel.series, lines, strict=True):
            values = by_hand(tables, line, metric="meta_loss", inputs=panel.title[1])
            assert series.x.tolist() == [0, 1, 2]
            np.testing.assert_allclose(series.y, values.mean(1), rtol=1e-12)
            nearer = np.minimum(series.y - series.low, series.high - series.y)
            np.testing.assert_allclose(nearer, student(values), rtol=1e-5)
            assert (series.colour, series.dash) == (line.colour, line.dash)


def test_the_course_has_a_row_a_layer_by_number_and_steps_of_its_phase(tables: Tables) -> None:
    lines = appearance.lines(tables)
    curves = figures.course_curves(tables.rows_of_shown(["alignment_angle"]), tables)
    figure = figures.course(curves, "alignment_angle", tables, lines)
    assert [panel.title for panel in figure.panels] == [("noise", "layer 2"), ("noise", "layer 10")]
    assert figure.columns == 1
    for panel, layer in zip(figure.panels, (2, 10), strict=True):
        for series, line in zip(panel.series, lines, strict=True):
            assert series.x.tolist() == sorted({0, 1, 100, line.condition[1]})
            expected = by_hand(tables, line, metric="alignment_angle", layer=layer).mean(1)
            np.testing.assert_allclose(series.y, expected, rtol=1e-12)


def test_a_metric_of_layers_on_given_inputs_has_a_row_of_panels_for_each_of_both(tmp_path: Path) -> None:
    def ranks(trial):
        for seed, (layer, inputs), step in itertools.product(
            range(3), itertools.product((1, 2), ("noise", "glyphs")), (0, trial.varied["noise.steps"])
        ):
            value = 10 * layer + len(inputs) + 0.1 * seed
            shared = {"phase": "noise", "metric": "feature_rank", "step": step, "seed": seed}
            yield shared | {"layer": layer, "inputs": inputs, "value": value}

    synthetic_results.results_of(tmp_path / "made", STUDY, ranks)
    tables = conditions.read(tmp_path / "made")
    curves = figures.course_curves(tables.rows(["feature_rank"]), tables)
    drawn = figures.course(curves, "feature_rank", tables, appearance.lines(tables))
    assert [panel.title for panel in drawn.panels] == [
        ("noise", f"layer {layer}", f"inputs: {inputs}") for layer in (1, 2) for inputs in ("glyphs", "noise")
    ]
    for panel, value in zip(drawn.panels, (16, 15, 26, 25), strict=True):
        for series in panel.series:
            assert series.y == pytest.approx(np.full(len(series.x), value + 0.1))


def test_a_profile_counts_the_seeds_at_or_below_each_threshold(tables: Tables) -> None:
    lines = appearance.lines(tables)
    for panel in figures.profile(tables, lines).panels:
        for series, line in zip(panel.series, lines, strict=True):
            last = by_hand(tables, line, metric="meta_loss", inputs=panel.title[1])[-1]
            expected = [(last <= threshold).mean() for threshold in series.x]
            assert series.y.tolist() == pytest.approx(expected)
            assert (series.y[0], series.y[-1]) == (0, 1)


def test_both_libraries_draw_the_curves_that_the_figure_has(tables: Tables, matplotlibs: ModuleType) -> None:
    lines = appearance.lines(tables)
    curves = figures.course_curves(tables.rows_of_shown(["alignment_angle"]), tables)
    for figure in (
        figures.adaptation(figures.adaptation_curves(tables), "meta_loss", tables, lines),
        figures.course(curves, "alignment_angle", tables, lines),
        figures.profile(tables, lines),
    ):
        shown = [series for panel in figure.panels for series in panel.series]
        traces = [trace for trace in charts.draw(figure).data if trace.name]
        drawn = matplotlibs.drawn(figure)
        artists = [artist for axis in drawn.axes for artist in axis.lines]
        assert len(shown) == len(traces) == len(artists)
        for series, trace, artist in zip(shown, traces, artists, strict=True):
            stretched = figure.panels[0].x.scale == "steps"
            np.testing.assert_allclose(trace.x, np.log10(1 + series.x) if stretched else series.x)
            np.testing.assert_array_equal(trace.y, series.y)
            np.testing.assert_array_equal(artist.get_xdata(), series.x)
            np.testing.assert_array_equal(artist.get_ydata(), series.y)
            assert trace.line.color == artist.get_color() == series.colour
            assert trace.meta == (series.condition,)
        assert {axis.get_yscale() for axis in drawn.axes} == {figure.panels[0].y.scale}


def test_both_libraries_draw_intervals_from_end_to_end(tables: Tables, matplotlibs: ModuleType) -> None:
    table = comparison.compare(tables)
    table, lines = table[table["inputs"] == "glyphs"], appearance.lines(tables)
    figure = figures.intervals(table, "meta_loss", "meta-loss", tables, lines)
    (panel,), (axis,) = figure.panels, matplotlibs.drawn(figure).axes
    assert panel.y.tick_labels == tuple(line.words for line in lines)
    for place, (series, line, trace, bar) in enumerate(
        zip(panel.series, lines, charts.draw_rows(figure, 26, 120).data, axis.collections, strict=True)
    ):
        last = by_hand(tables, line, metric="meta_loss", inputs="glyphs")[-1]
        assert series.x == pytest.approx([last.mean()])
        assert series.filled == (line.condition[1] > 0)
        ends = [series.low[0], series.high[0]]
        assert [trace.x[0] - trace.error_x.arrayminus[0], trace.x[0] + trace.error_x.array[0]] == pytest.approx(ends)
        (segment,) = bar.get_segments()
        assert segment[:, 0].tolist() == pytest.approx(ends)
        assert segment[:, 1].tolist() == [place, place] == [trace.y[0]] * 2


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory):
    """A search, its objectives and its trials."""

    def measured(trial):
        rate, steps = np.log10(trial.varied["noise.learning_rate"]), trial.varied["noise.steps"]
        loss = (rate + 3) ** 2 + steps / 500 + (trial.varied["network.activation"] == "tanh")
        for metric, value in (("meta_loss", loss), ("meta_accuracy", 0.5)):
            row = {"phase": "evaluate", "step": 5, "inputs": "glyphs", "metric": metric, "value": value}
            yield from (row | {"seed": seed} for seed in range(2))

    folder: Path = tmp_path_factory.mktemp("search") / "made"
    study = synthetic_results.results_of(folder, SEARCH, measured)
    tables = conditions.of_trials(addresses.at(folder), conditions.read_trials(addresses.at(folder)))
    chosen = objectives.chosen(tables, study, ["evaluate.meta_loss", "noise.steps"])
    return study, chosen, objectives.points(tables, study, chosen)


def test_slices_and_the_front_show_every_trial(searched: tuple, matplotlibs: ModuleType) -> None:
    study, chosen, points = searched
    slices = search_figures.slices(points, study, chosen[:1], list(study.spaces))
    front = objectives.front(points, chosen)
    assert front
    pareto = search_figures.pareto(points, front, study, chosen)
    activations = [["relu", "tanh"].index(name) for name in points["network.activation"]]
    columns = [activations, points["noise.steps"], points["noise.learning_rate"]]
    for panel, settings in zip(slices.panels, columns, strict=True):
        (series,) = panel.series
        assert series.x.tolist() == list(settings)
        assert series.y.tolist() == points["evaluate.meta_loss"].tolist()
    (trials, of_front) = pareto.panels[0].series
    assert sorted(zip(of_front.y, of_front.x, strict=True)) == sorted(
        (loss, steps)
        for loss, steps in zip(trials.y, trials.x, strict=True)
        if not any(
            o <= loss and s <= steps and (o, s) != (loss, steps) for o, s in zip(trials.y, trials.x, strict=True)
        )
    )
    for figure in (slices, pareto):
        shown = [series for panel in figure.panels for series in panel.series]
        for series, trace in zip(shown, charts.draw(figure).data, strict=True):
            np.testing.assert_array_equal(trace.x, series.x)
            np.testing.assert_array_equal(trace.y, series.y)
        for panel, axis in zip(figure.panels, matplotlibs.drawn(figure).axes, strict=True):
            offsets = np.asarray(axis.collections[0].get_offsets())
            # choices are drawn beside each other
            np.testing.assert_allclose(offsets[:, 0], panel.series[0].x, atol=0.15 if panel.x.choices else 0)
            np.testing.assert_array_equal(offsets[:, 1], panel.series[0].y)
            assert axis.get_xscale() == panel.x.scale


def test_importances_are_drawn_at_the_place_of_their_setting(searched: tuple, matplotlibs: ModuleType) -> None:
    study, chosen, points = searched
    shares = importance.importances(study, chosen, points)
    figure = search_figures.importances(shares, chosen)
    (panel,) = figure.panels
    assert panel.y.tick_labels == tuple(map(appearance.short, shares["setting"]))
    (axis,) = matplotlibs.drawn(figure).axes
    for series, trace, bars in zip(panel.series, charts.draw_bars(figure).data, axis.containers, strict=True):
        np.testing.assert_array_equal(series.x, shares[series.words])
        np.testing.assert_array_equal(trace.x, series.x)
        np.testing.assert_array_equal(trace.y, series.y)
        assert [bar.get_width() for bar in bars] == series.x.tolist()
        assert [round(bar.get_y() + bar.get_height() / 2) for bar in bars] == series.y.tolist()


def test_parallel_coordinates_go_through_each_setting_and_the_rank(searched: tuple) -> None:
    study, chosen, points = searched
    coordinates = search_figures.parallel(points, study, chosen[0], list(study.spaces))
    choice, steps, rate, rank = coordinates
    assert choice.ticks == ((0, "relu"), (1, "tanh"))
    assert steps.heights == pytest.approx((points["noise.steps"].to_numpy() - 10) / 990)
    assert rate.heights == pytest.approx((np.log10(points["noise.learning_rate"].to_numpy()) + 5) / 4)
    assert rank.places.tolist() == stats.rankdata(points["evaluate.meta_loss"]).tolist()
    (drawn,) = charts.parallel(coordinates, chosen[0]).data
    for coordinate, dimension in zip(coordinates, drawn.dimensions, strict=True):
        np.testing.assert_array_equal(dimension["values"], coordinate.places)
    assert tuple(drawn.dimensions[-1].range) == (12, 1), "the lowest loss is at the top"
