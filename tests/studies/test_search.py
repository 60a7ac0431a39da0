"""Points of a search: spread, repeatable, and proposed from what was found."""

import math

import pytest

from metafa.studies import fields, search, settings

SPACES = {
    "rate": {"low": 1e-4, "high": 1.0, "log": True},
    "units": {"low": 1, "high": 64},
    "rule": {"choices": ["a", "b"]},
    "hidden": {"choices": [[10], [10, 10], [20]]},
}


def searching(method: str, **how) -> settings.SearchSettings:
    objectives = ["evaluate.meta_loss"] if method in settings.ADAPTIVE else []
    # Gaussian processes take a second a batch
    trials = 16 if method == "gp" else 32
    return settings.SearchSettings(**({"method": method, "trials": trials, "objectives": objectives} | how))


def in_space(point: dict) -> bool:
    return (
        1e-4 <= point["rate"] <= 1
        and point["units"] in range(1, 65)
        and all(point[name] in SPACES[name]["choices"] for name in ("rule", "hidden"))
    )


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_points_drawn_up_front_depend_on_the_seed_alone(method: str) -> None:
    one, again, other = (list(search.up_front(searching(method), seed, SPACES)) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    assert len(one) == 32
    assert all(map(in_space, one))


def test_sobol_points_are_spread_evenly() -> None:
    """Of 32 points of a Sobol sequence, one is in each thirty-second of every axis, in its logarithm where it has one;
    independent points leave a third of them empty."""
    spaces = {"rate": SPACES["rate"], "share": {"low": 0.0, "high": 1.0}}
    for method, wanted in (("sobol", 32), ("random", None)):
        points = list(search.up_front(searching(method), 3, spaces))
        for places in ([p["share"] for p in points], [1 + math.log10(p["rate"]) / 4 for p in points]):
            filled = len({min(31, int(32 * place)) for place in places})
            assert filled == wanted if wanted else filled < 28


def loss(point: dict) -> float:
    return (math.log10(point["rate"]) + 2) ** 2 + (point["units"] - 20) ** 2 / 400 + (point["rule"] == "b")


def searched(how: settings.SearchSettings, seed: int = 0) -> list[list[dict]]:
    def outcome(point: dict) -> tuple[float, ...] | None:
        return (loss(point), float(point["units"]))[: len(how.objectives)] if point["units"] != 13 else None

    return [list(batch) for batch in search.batches(how, seed, SPACES, outcome)]


@pytest.mark.parametrize("method", settings.ADAPTIVE)
def test_a_search_told_the_same_proposes_the_same(method: str) -> None:
    how = searching(method, batch=8)
    found = searched(how)
    assert found == searched(how)
    assert found != searched(how, 1)
    assert [len(batch) for batch in found] == [8] * (how.trials // 8)
    assert all(in_space(point) for batch in found for point in batch)


@pytest.mark.parametrize("method", settings.ADAPTIVE)
def test_a_search_with_more_trials_goes_on_from_the_same_ones(method: str) -> None:
    fewer, more = (searched(searching(method, trials=trials, batch=8)) for trials in (8, 16))
    assert fewer == more[:1]
    assert len(more) == 2


@pytest.mark.parametrize("method", ["tpe", "gp", "cmaes"])
def test_later_batches_are_better(method: str) -> None:
    """By the mean over ten seeds of the mean loss, halved at least; of points drawn at random it stays as it is."""
    first, last = [], []
    for seed in range(10 if method != "gp" else 2):
        batches = searched(searching(method, trials=32, batch=8), seed)
        first += map(loss, batches[0])
        last += map(loss, batches[-1])
    assert sum(last) / len(last) < 0.5 * sum(first) / len(first)


def test_two_objectives_are_searched_together() -> None:
    how = searching("nsgaii", objectives=["evaluate.meta_loss", "units"], trials=96, batch=16)
    batches = searched(how)
    assert batches == searched(how)
    units = [sum(point["units"] for point in batch) / 16 for batch in (batches[0], batches[-1])]
    losses = [sum(map(loss, batch)) / 16 for batch in (batches[0], batches[-1])]
    assert units[1] < units[0]
    assert losses[1] < losses[0]


def test_what_a_space_has_is_counted_as_optuna_counts() -> None:
    """Ends of a range that its step does not reach are none, and the last of many decimal steps is the end itself."""
    for space in (
        {"low": 0.1, "high": 1.0, "step": 0.1},
        {"low": 0.0, "high": 0.7, "step": 0.07},
        {"low": 0.0, "high": 1.0, "step": 0.3},
        {"low": 3, "high": 17, "step": 4},
        {"low": 2, "high": 17, "log": True},
        {"choices": [[4], [8], "a"]},
    ):
        drawn = [point["a"] for point in search.up_front(searching("random", trials=300), 0, {"a": space})]
        counted = [point["a"] for point in search.every({"a": space})]
        assert sorted(map(repr, counted)) == sorted({repr(value) for value in drawn})
    assert search.every({"a": {"low": 0.0, "high": 1.0}}) is None
    assert search.every({"a": {"low": 0, "high": fields.MAX_WHOLE}}) is None


HUGE = 20261125225044


@pytest.mark.parametrize("method", ["random", "sobol", *settings.ADAPTIVE])
def test_any_whole_number_is_a_seed(method: str) -> None:
    """Optuna takes seeds of 32 bits: those are its own, and larger ones are told apart."""

    def points(seed: int) -> list[dict]:
        if method in settings.ADAPTIVE:
            return next(iter(search.batches(searching(method), seed, SPACES, lambda point: None)))
        return list(search.up_front(searching(method), seed, SPACES))

    found = [points(seed) for seed in (0, 2**32 - 1, 2**32, HUGE, fields.MAX_WHOLE)]
    assert all(one != other for i, one in enumerate(found) for other in found[:i])
    assert points(HUGE) == found[3]
    if not (method in settings.ADAPTIVE or method == "sobol"):
        import optuna

        sampler = optuna.samplers.RandomSampler(2**32 - 1)
        drawn = optuna.create_study(sampler=sampler).ask({"x": optuna.distributions.FloatDistribution(0, 1)}).params
        how = searching("random", trials=1)
        assert list(search.up_front(how, 2**32 - 1, {"x": {"low": 0.0, "high": 1.0}})) == [drawn]


@pytest.mark.parametrize("method", ["tpe", "gp"])
def test_an_asynchronous_search_keeps_away_from_what_is_running(method: str) -> None:
    """Its next point lies further from one that runs than from one of which nothing is known."""
    spaces = {"x": {"low": 0.0, "high": 1.0}}
    tried = [search.Tried({"x": i / 16}, ((i / 16 - 0.4) ** 2,)) for i in range(17)]
    how = searching(method, synchronous=False)
    away = {True: [], False: []}
    for seed in range(8 if method == "tpe" else 2):
        near = search.propose(how, seed, spaces, [*tried, search.Tried({"x": 0.4}, None)])
        for running in away:
            known = [*tried, *[search.Tried(near, None, running)] * 8]
            away[running].append(abs(search.propose(how, seed, spaces, known)["x"] - near["x"]))
    assert sum(away[True]) > 2 * sum(away[False])


@pytest.mark.parametrize("method", settings.ADAPTIVE)
def test_how_many_points_are_drawn_at_random_is_known(method: str) -> None:
    """They are the same whatever comes out; those after them are not."""
    how = searching(method, batch=4, trials=16)
    spaces = {name: SPACES[name] for name in ("rate", "units")}
    one, other = (
        [
            point
            for batch in search.batches(how, 0, spaces, lambda p, sign=sign: (sign * math.log(p["rate"]),))
            for point in batch
        ]
        for sign in (1, -1)
    )
    number = search.at_random(how, len(spaces))
    # a first generation of 4 + floor(3 log 2) is CMA-ES's by its authors' rule (Hansen 2016, table 1)
    assert number == {"tpe": 12, "gp": 12, "cmaes": 4 + 8, "nsgaii": 4}[method]
    assert one[:number] == other[:number]
    assert one[number : number + 4] != other[number : number + 4]


@pytest.mark.parametrize("spaces", [{"rate": SPACES["rate"]}, {"units": SPACES["units"], "more": SPACES["units"]}])
def test_cma_es_searches_one_range_and_whole_numbers(spaces: dict) -> None:
    """Of choices alone it knows nothing, and `check` refuses them."""

    def distance(point: dict) -> float:
        values = [math.log10(v) + 2 if name == "rate" else (v - 20) / 20 for name, v in point.items()]
        return sum(value**2 for value in values)

    first, last = [], []
    for seed in range(10):
        batches = list(search.batches(searching("cmaes", trials=48), seed, spaces, lambda p: (distance(p),)))
        first += map(distance, batches[0])
        last += map(distance, batches[-1])
    assert sum(last) < 0.5 * sum(first)


@pytest.mark.parametrize("method", ["tpe", "cmaes", "nsgaii"])
def test_a_setting_of_another_name_now_is_drawn_as_before(method: str) -> None:
    """Optuna's samplers go through settings in the order of their names, and `iterations` stood elsewhere."""
    others = {
        "meta.outer_learning_rate": {"low": 1e-4, "high": 1.0, "log": True},
        "meta.inner_learning_rate": {"low": 1e-2, "high": 1.0, "log": True},
        "noise.steps": {"low": 0, "high": 1000},
    }

    def tried(name: str) -> list[list[float]]:
        spaces = {name: {"low": 1, "high": 100}, **others}

        def outcome(point: search.Point) -> tuple[float, ...]:
            return (point[name] / 100 + math.log(point["meta.outer_learning_rate"]) ** 2,)

        found = search.batches(searching(method, trials=40), 0, spaces, outcome)
        return [[point[each] for each in (name, *others)] for batch in found for point in batch]

    assert tried("meta.outer_steps") == tried("meta.iterations")
