"""`metafa report` in a real browser: no errors, marks where they belong, tables that sort, conditions that switch."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import synthetic_results
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from study_texts import study_with
from typer.testing import CliRunner

from metafa import cli, cli_inputs
from metafa.reporting import report
from metafa.results import addresses, preparation
from metafa.studies import study

STUDY = """\
question = "Does <noise> lower the meta-loss & when?"
seeds = 10
[network]
rule = { choices = ["feedback_alignment", "direct_feedback_alignment"] }
[[phases]]
phase = "noise"
steps = { choices = [0, 1000] }
[[phases]]
phase = "evaluate"
inner_steps = 2
task_distributions = ["glyphs"]
"""
OFFSETS = np.random.default_rng(0).normal(0, 0.05, 10)


def measured(trial):
    noise = trial.varied["noise.steps"]
    for seed, off in enumerate(OFFSETS):
        # beside the seed a little of its own, so that differences vary
        for step in sorted({0, 1, 100, noise}):
            angle = {"phase": "noise", "metric": "alignment_angle", "layer": 2, "step": step}
            yield angle | {"seed": seed, "value": 90 - step / 50 + off}
        for step in range(3):
            value = 1.6 - step / 4 - 0.3 * (noise > 0) * (1 + off) + off
            shared = {"seed": seed, "phase": "evaluate", "step": step, "inputs": "glyphs"}
            yield shared | {"metric": "meta_loss", "value": value}
            yield shared | {"metric": "meta_accuracy", "value": 0.5}


def report_of(address: str, output: Path) -> Path:
    done = CliRunner().invoke(cli.app, ["report", address, "--output", str(output)])
    assert done.exit_code == 0, done.output
    return output


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no Chromium here; Debian's packages are chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1366,768"):
        options.add_argument(argument)
    # whatever it asked of a network would be an error on the console
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as opened:
        yield opened


def opened(chromium: webdriver.Chrome, path: Path) -> webdriver.Chrome:
    chromium.get(path.as_uri())
    assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []
    return chromium


def column(table, name: str) -> list[str]:
    heads = [head.text.rstrip(" ▲▼") for head in table.find_elements(By.CSS_SELECTOR, "thead th")]
    place = heads.index(name) + 1
    return [cell.text for cell in table.find_elements(By.CSS_SELECTOR, f"tbody td:nth-child({place})")]


def test_the_report_of_a_study_that_is_done(chromium: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    synthetic_results.results_of(address, STUDY, measured)
    page = opened(chromium, report_of(address, tmp_path / "report.html"))
    assert "done, 4 trials" in page.find_element(By.TAG_NAME, "h1").text
    assert "Does <noise> lower the meta-loss & when?" in page.find_element(By.TAG_NAME, "header").text
    before, after = 1.1 + OFFSETS.mean(), 0.8 + 0.7 * OFFSETS.mean()
    said = page.find_element(By.ID, "answer").text
    assert said.startswith(
        f"1000 noise steps lowered the meta-loss of feedback_alignment on glyphs from {before:.3f} to {after:.3f} nats"
    )
    # the secrets of an object store's address are no part of what made the results
    assert "secret" not in page.page_source

    marks = {
        chart.get_attribute("id"): len(chart.find_elements(By.CSS_SELECTOR, ".trace.scatter"))
        for chart in page.find_elements(By.CLASS_NAME, "chart")
    }
    # a mark for each of 4 conditions; of curves a line and a band
    assert marks["meta-loss-0"] == 4
    assert marks["meta-loss-1"] == 8
    assert marks["course-0"] == 8
    assert all(marks.values())

    drawn = "return [...document.querySelectorAll('#meta-loss-1 .trace.scatter')].length"
    boxes = page.find_elements(By.CSS_SELECTOR, "[data-condition]")
    page.execute_script("arguments[0].click()", boxes[0])
    assert page.execute_script(drawn) == 6, "its line and its band are gone"
    page.execute_script("arguments[0].click()", boxes[0])
    assert page.execute_script(drawn) == 8

    table = page.find_element(By.ID, "meta-loss-table-0")
    losses = [float(text.split()[0]) for text in column(table, "meta-loss")]
    assert losses != sorted(losses)
    head = next(head for head in table.find_elements(By.TAG_NAME, "th") if head.text == "meta-loss")
    for expected in (sorted(losses), sorted(losses, reverse=True)):
        page.execute_script("arguments[0].click()", head.find_element(By.TAG_NAME, "button"))
        assert [float(text.split()[0]) for text in column(table, "meta-loss")] == expected
    assert head.get_attribute("aria-sort") == "descending"
    assert STUDY.strip() in page.find_element(By.CSS_SELECTOR, "#study pre").text
    assert "None: every trial that ended ran to its end." in page.find_element(By.ID, "problems").text


def test_dark_screens_and_paper(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    synthetic_results.results_of(tmp_path / "made", STUDY, measured)
    page = opened(chromium, report_of(str(tmp_path / "made"), tmp_path / "report.html"))
    look = (
        "const body = getComputedStyle(document.body);"
        "return [body.color, body.backgroundColor, getComputedStyle(document.querySelector('.gtitle, .xtitle')).fill,"
        "[...document.querySelectorAll('#meta-loss-1 .js-line')]"
        ".filter((line) => line.style.strokeWidth !== '0px').map((line) => line.style.stroke)]"
    )
    found = {}
    for scheme in ("light", "dark"):
        emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        page.execute_script("paint(false)")
        found[scheme] = page.execute_script(look)
    for scheme, (fore, back, axis, strokes) in found.items():
        assert axis == fore
        assert abs(_light(fore) - _light(back)) > 150
        # direct feedback alignment is black on white, and must not be black on black
        assert all(abs(_light(stroke) - _light(back)) > 60 for stroke in strokes), (scheme, strokes)
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    widths = page.execute_script(
        "return [...document.querySelectorAll('.chart .main-svg')].map((one) => one.clientWidth)"
    )
    assert max(widths) <= 718, "what is between the margins of A4, at 96 to the inch"
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def _light(colour: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_a_study_still_running_is_marked_so_and_every_trial_that_ended_badly_is_told(
    chromium: webdriver.Chrome, tmp_path: Path
) -> None:
    checked, folder = study.parse(STUDY, default_name="made"), tmp_path / "made"
    preparation.prepare(addresses.at(folder), checked)
    page = opened(chromium, report_of(str(folder), tmp_path / "first.html"))
    assert "0 of 4 trials" in page.find_element(By.TAG_NAME, "header").text
    assert "no trial has ended" in page.find_element(By.ID, "answer").text

    whole, diverged, failed = checked.trials[:3]
    synthetic_results.put(folder, checked, whole, measured(whole))
    rows = [row | {"value": float("nan")} for row in measured(diverged)]
    outcome = dict(
        status="diverged", diverged_phase="noise", diverged_step=7, error="seed 0 diverged at step 7 of noise"
    )
    synthetic_results.put(folder, checked, diverged, rows, **outcome)
    error = 'Traceback (most recent call last):\n  File "x"\nRuntimeError: <out of memory>'
    synthetic_results.put(folder, checked, failed, [], status="failed", error=error)
    page = opened(chromium, report_of(str(folder), tmp_path / "then.html"))
    assert "3 of 4 trials" in page.find_element(By.TAG_NAME, "header").text
    assert "This study is not done" in page.find_element(By.TAG_NAME, "body").text
    problems = page.find_element(By.ID, "problems")
    table = problems.find_element(By.TAG_NAME, "table")
    assert dict(zip(column(table, "status"), column(table, "where"), strict=True)) == {
        "diverged": "step 7 of noise",
        "failed": "",
    }
    assert "RuntimeError: <out of memory>" in column(table, "error")
    assert error in problems.find_element(By.TAG_NAME, "pre").get_attribute("textContent")


def test_of_a_search_the_front_and_every_trial_are_drawn(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    searched = study_with(
        tomllib.loads(STUDY),
        noise={"steps": {"low": 1, "high": 1000}, "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}},
        search={"method": "tpe", "trials": 20, "objectives": ["evaluate.meta_loss", "noise.steps"]},
    )
    checked, folder = study.parse(searched, default_name="made"), tmp_path / "made"
    preparation.prepare(addresses.at(folder), checked)
    random = np.random.default_rng(1)
    for _ in range(20):
        rule = str(random.choice(["feedback_alignment", "direct_feedback_alignment"]))
        point = {
            "network.rule": rule,
            "noise.steps": int(random.integers(1, 1000)),
            "noise.learning_rate": float(10 ** random.uniform(-5, -2)),
        }
        trial = checked.trial(point)
        synthetic_results.put(folder, checked, trial, measured(trial))
    page = opened(chromium, report_of(str(folder), tmp_path / "report.html"))
    assert page.find_element(By.ID, "answer").text.startswith("Of 20 trials the best has meta-loss (nats), evaluate 0.")
    charts = page.find_elements(By.CSS_SELECTOR, "#search .chart")
    points = [len(chart.find_elements(By.CSS_SELECTOR, ".scatterlayer .point")) for chart in charts]
    front = len(column(page.find_element(By.ID, "search-table-0"), "trial id"))
    assert points[0] == 20 + front
    bars = charts[1].find_elements(By.CSS_SELECTOR, ".barlayer .point")
    assert len(bars) == 3 * 3, "a setting, an evaluator; steps explain themselves as an objective"
    assert points[2] == 20 * 3
    assert charts[3].find_elements(By.CSS_SELECTOR, ".parcoords")


def test_a_study_that_compares_nothing_says_so_once_it_is_done(tmp_path: Path) -> None:
    place = {"seed": 0, "phase": "evaluate", "step": 5, "inputs": "glyphs", "value": 0.5}
    rows = [place | {"metric": metric} for metric in ("meta_loss", "meta_accuracy")]
    for name, steps, said in (
        ("done", 100, "No answer in a sentence: there is no claim to judge"),
        ("begun", {"choices": [0, 100]}, "Nothing to say yet: no trial has ended"),
    ):
        checked = synthetic_results.small_study(noise={"steps": steps}, network={"rule": "backprop"})
        preparation.prepare(addresses.at(str(tmp_path / name)), checked)
        synthetic_results.put(tmp_path / name, checked, checked.trials[0], rows)
        assert f'id="answer">{said}' in report.render(addresses.at(str(tmp_path / name)))


def test_what_is_no_results_is_said_in_a_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["report", str(tmp_path)])
    assert done.exit_code == cli_inputs.UNUSABLE
    assert "it has no study.toml" in done.output
    assert list(tmp_path.iterdir()) == []
