"""MLflow's own pages on reported and measured runs, as somebody in front of a browser sees them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Locator, Page, expect
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.config import parse
from kdtune.contracts import Scalar
from kdtune.tracking import MLflowSink, default_tracking_uri

pytestmark = pytest.mark.browser

EXPERIMENT = "bench"
PAPERS = ("cho2019", "wang2020")
ACCURACY = "test/accuracy"
WIDTH_PX, ROW_PX, REST_PX = 1600, 32, 600
WAIT_S = 30.0
MEASURED = {4.0: (0.3514, 0.3604), 1.0: (0.3919, 0.3874)}
"""Test accuracy per seed, by temperature."""

Picture = Callable[[str], None]
Answer = dict[str, Any]
"""Of MLflow to a search for runs, as its pages get it."""


@dataclass(frozen=True)
class Bench:
    """An experiment that is served: where its pages are, and what MLflow itself says is in it."""

    address: str
    client: MlflowClient
    experiment_id: str

    def open(self, page: Page) -> None:
        """The list of runs, without the assistant that MLflow opens beside it."""
        runs = f"#/experiments/{self.experiment_id}/runs?workflowType=machine_learning"
        page.goto(f"{self.address}/{runs}")
        page.get_by_role("button", name="Close", exact=True).click()
        expect(page.get_by_test_id("search-box")).to_be_visible()

    def runs(self, wanted: str, order: str = "attributes.start_time DESC") -> dict[str, Run]:
        """By id, in order."""
        found = self.client.search_runs([self.experiment_id], wanted, order_by=[order])
        return {run.info.run_id: run for run in found}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, serve: Callable[[Path], str]) -> Bench:
    storage = tmp_path_factory.mktemp("storage")
    uri = default_tracking_uri(storage)
    measure(uri)
    words = ["papers", "import", *PAPERS, "--experiment", EXPERIMENT, "--storage", str(storage)]
    done = CliRunner().invoke(app, words, env={"MLFLOW_TRACKING_URI": None})
    assert done.exit_code == 0, done.output
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return Bench(serve(storage), client, experiment.experiment_id)


def measure(uri: str) -> None:
    """Runs as the finalists of a search write them."""
    sink = MLflowSink(
        tracking_uri=uri,
        experiment=EXPERIMENT,
        run_name="quickstart-1",
        tags={"kind": "search", "source": "measured", "search": "quickstart-1"},
    )
    base: dict[str, Scalar] = {"dataset": "cifar10", "student": "wrn_16_1", "teacher": "wrn_16_3"}
    for temperature, accuracies in MEASURED.items():
        for seed, accuracy in enumerate(accuracies):
            config = {**base, "method": "kd", "temperature": temperature, "seed": seed}
            key = f"T = {temperature}, seed {seed}"
            tags = {"kind": "finalist", "source": "measured", "method": "kd"}
            sink.start_run(key, name=key, params=parse(config).flat(), tags=tags)
            sink.end_run(key, outcome="finished", epoch=200, metrics={ACCURACY: accuracy})
    sink.end("finished")
    assert sink.close(60).lost == 0


def test_a_filter_typed_into_the_search_box_lists_exactly_the_runs_of_a_paper(
    bench: Bench, page: Page, picture: Picture
) -> None:
    wanted = "tags.paper = 'cho2019'"
    expected = bench.runs(wanted)
    assert 0 < len(expected) < len(bench.runs(""))
    bench.open(page)
    sort_by(page, ACCURACY)  # by date, as at first, a paper's runs are folded into one row
    found = listed(page, search(page, wanted))
    picture("paper")
    assert set(found) == set(expected)


def test_reported_and_measured_runs_of_one_temperature_are_found_and_sorted(
    bench: Bench, page: Page, picture: Picture
) -> None:
    with_accuracy = f'metrics."{ACCURACY}" > 0'
    both = f"params.temperature = '4.0' and params.dataset = 'cifar10' and {with_accuracy}"
    reported = f"{both} and tags.source = 'reported'"
    expected = bench.runs(both)
    assert {run.data.tags["source"] for run in expected.values()} == {"reported", "measured"}
    bench.open(page)
    search(page, both)
    found = listed(page, sort_by(page, ACCURACY))
    picture("sorted")
    assert set(found) == set(expected)
    accuracies = [expected[run].data.metrics[ACCURACY] for run in found]
    assert accuracies == sorted(accuracies, reverse=True)
    assert set(listed(page, search(page, reported))) == set(bench.runs(reported))


def test_runs_of_two_papers_stand_side_by_side(bench: Bench, page: Page, picture: Picture) -> None:
    pair = "params.teacher = 'torchvision:resnet34' and params.student = 'torchvision:resnet18'"
    best_first = f"metrics.`{ACCURACY}` DESC"
    chosen: dict[str, Run] = {}
    for paper, method in (("cho2019", "eskd"), ("wang2020", "kd")):
        of_paper = f"tags.paper = '{paper}' and params.method = '{method}'"
        (run_id, run), *_ = bench.runs(f"{pair} and {of_paper}", best_first).items()
        chosen[run_id] = run
    bench.open(page)
    search(page, pair)
    listed(page, sort_by(page, ACCURACY))
    for run_id in chosen:
        tick(page, run_id)
    picture("ticked")
    page.get_by_role("button", name="Compare", exact=True).click()

    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    links = page.get_by_role("rowheader").get_by_role("link")
    expect(links).to_have_count(2)
    runs = [chosen.pop(run_id) for run_id in links.all_inner_texts()]
    expect(cells(page, "Run Name:")).to_have_text([run.info.run_name for run in runs])
    expect(cells(page, "paper")).to_have_text([run.data.tags["paper"] for run in runs])
    for param in ("method", "temperature", "alpha"):
        expect(cells(page, param)).to_have_text([run.data.params[param] for run in runs])
    shown = [float(text) for text in metric_cells(page, ACCURACY, len(runs))]
    rounded = 0.00051  # the page shows three decimals
    assert shown == pytest.approx([run.data.metrics[ACCURACY] for run in runs], abs=rounded)
    picture("compared")


def search(page: Page, wanted: str) -> Answer:
    """Types a filter; what the server answers."""
    box = page.get_by_test_id("search-box")
    box.fill(wanted)
    return ask(page, lambda: box.press("Enter"))


def sort_by(page: Page, metric: str) -> Answer:
    page.get_by_role("button", name="Sort: Created").click()
    return ask(page, page.get_by_role("menuitemcheckbox", name=metric, exact=True).click)


def ask(page: Page, act: Callable[[], None]) -> Answer:
    with page.expect_response("**/mlflow/runs/search") as told:
        act()
    return dict(told.value.json())


def listed(page: Page, answer: Answer) -> list[str]:
    """Ids of the runs in the list, from the top, once all that the server has is there."""
    expected: set[str] = set()
    while True:
        expected |= {run["info"]["run_id"] for run in answer.get("runs", ())}
        # As high as the list: rows far from the window are not drawn.
        height = REST_PX + ROW_PX * len(expected)
        page.set_viewport_size({"width": WIDTH_PX, "height": height})
        found = settled(page, expected)
        if "next_page_token" not in answer:
            return found
        answer = ask(page, page.get_by_role("button", name="Load more").click)


def settled(page: Page, expected: set[str]) -> list[str]:
    """The rows once they are what is expected, or when it takes too long; there is no event."""
    rows = page.locator(".ag-row", has=page.locator("a[href*='/runs/']"))
    read = "rows => rows.map(row => [+row.getAttribute('row-index'), row.querySelector('a').href])"
    deadline = time.monotonic() + WAIT_S
    while True:
        found = [address.rsplit("/", 1)[1] for _, address in sorted(rows.evaluate_all(read))]
        if set(found) == expected or time.monotonic() > deadline:
            return found
        page.wait_for_timeout(100)


def tick(page: Page, run_id: str) -> None:
    row = page.locator(".ag-row", has=page.locator(f"a[href$='{run_id}']"))
    row.get_by_role("checkbox", name="row selection").check()


def cells(page: Page, row: str) -> Locator:
    """One row on the page that compares runs; of a parameter and a tag, the parameter's."""
    header = page.get_by_role("rowheader", name=row, exact=True)
    return page.get_by_role("row").filter(has=header).first.get_by_role("cell")


def metric_cells(page: Page, metric: str, runs: int) -> list[str]:
    """The same of its metrics, which are drawn as two grids: the names, and the values."""
    switch = page.get_by_role("switch", name="Metrics - Show diff only")
    grids = switch.locator("xpath=following::*[@role='grid']")
    names = grids.nth(0).get_by_role("link")
    expect(names.filter(has_text=metric)).to_be_visible()
    place = names.all_inner_texts().index(metric)
    return grids.nth(1).locator("span").all_inner_texts()[place * runs : (place + 1) * runs]
