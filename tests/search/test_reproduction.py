"""``kdtune reproduce``: what it prints before any work, and whole runs on digits."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from searching import of_kind, one_line, runs_in
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.papers import PAPERS, tables
from kdtune.search import reproduction
from kdtune.search.outcomes import OutcomeCallback
from kdtune.tracking.journal import read_journal

DIGITS = (
    *("--dataset", "digits", "--teacher", "resnet8", "--student", "resnet8x0.125"),
    *("--epochs-scale", "0.01", "--set", "data.train_limit=200", "--set", "train.batch_size=64"),
)
CELLS = "label_noise=0,method=scratch,method=kd,method=dml"


def reproduce(*words: str) -> Result:
    result = CliRunner().invoke(app, ["reproduce", "--gpus-per-trial", "0", *words])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result


def rows(folder: Path, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / f"{what}.json").read_text())
    return found


def test_without_a_table_it_lists_what_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    lines = [line.split() for line in reproduce().output.splitlines()]
    counts = {words[0]: words[1:3] for words in lines if words and ":" in words[0]}
    assert counts["sarfraz2020:T3"] == ["96", "96"]
    assert counts["wang2020:T2"] == ["18", "16"]
    assert counts["sarfraz2020:F1"] == ["132", "0"]
    assert {f"{paper}:{table}" for paper in PAPERS for table in tables(paper)} <= counts.keys()


def test_the_page_lists_what_can_be_run() -> None:
    page = Path(__file__).parents[2] / "docs" / "reproduce.md"
    assert reproduce("--markdown").output in page.read_text()


@pytest.mark.usefixtures("no_ray")
def test_a_dry_run_shows_runs_epochs_and_hours_without_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdtune.search.reproduction_cost.BUDGET_S", 0.0)
    monkeypatch.setenv("COLUMNS", "150")
    words = ("cho2019:T6", "--cells", "5-10", "--teacher", "resnet8", "--student", "resnet8x0.25")
    text = one_line(
        reproduce(*words, "--dry-run", "--storage", str(tmp_path), "--seeds", "2").output
    )
    assert "92.32 ± 0.26" in text
    assert "Left out, cells 6,9: a median" in text
    # Scratch (its network is the student's now) and taught by the one teacher, two seeds of each.
    assert "4 runs, after 1 teacher: 1000 epochs in all." in text
    assert "different steps" in text
    assert " h, " in text or " min, " in text
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["cho2019:T66"], "unknown table 'T66' of cho2019"),
        (["cho2019:T6", "--cells", "12"], "1 to 10"),
        (["cho2019:T6", "--set", "train.lrr=1"], "did you mean 'train.lr'"),
        (["cho2019:T9"], "fine-tunes students of ImageNet"),
        (["cho2019:T6", "--cells", "5"], "needs a data root"),
        (["cho2019:T6", "--cells", "5", *DIGITS, "--name", "a/b"], "--name must be letters"),
        (["cho2019:T6", "--cells", "5", *DIGITS, "--epochs-scale", "0.001"], "--epochs-scale"),
    ],
)
def test_bad_input_ends_it_before_any_work(
    words: list[str], complaint: str, tmp_path: Path
) -> None:
    result = reproduce(*words, "--storage", str(tmp_path))
    assert result.exit_code == 2
    assert complaint in one_line(result.output)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def again(storage: Path) -> Result:
    words = ("--cells", CELLS, "--seeds", "2", "--name", "again", "--experiment", "again")
    return reproduce("sarfraz2020:T5", *words, *DIGITS, "--storage", str(storage))


@pytest.mark.ray
@pytest.mark.slow
class TestOnDigits:
    """One table, three cells, two seeds of each."""

    def test_it_trains_teachers_once_then_every_run(self, again: Result, storage: Path) -> None:
        assert again.exit_code == 0
        runs = runs_in(storage, "again")
        assert len(of_kind(runs, "teacher")) == 1
        names = [f"cell {n}, seed {seed}" for n in (1, 5, 45) for seed in (0, 1)]
        found = of_kind(runs, "reproduction")
        assert sorted(found) == sorted(names)
        assert list(of_kind(runs, "search")) == ["again"]
        tags = found["cell 5, seed 1"].data.tags
        assert (tags["paper"], tags["table"], tags["cell"]) == ("sarfraz2020", "T5", "5")
        assert (tags["row"], tags["source"], tags["outcome"]) == ("Hinton", "measured", "finished")

    def test_test_is_read_once_a_run_at_its_end(self, again: Result, storage: Path) -> None:
        for run in read_journal(storage / "again").of_kind("reproduction"):
            (point,) = run.history["test/accuracy"]
            assert point.epoch == max(point.epoch for point in run.history["val/accuracy"])

    def test_it_keeps_runs_comparison_and_students(self, again: Result, storage: Path) -> None:
        folder = storage / "again"
        runs, cells = rows(folder, "runs"), rows(folder, "comparison")
        assert [(row["cells"], row["seed"]) for row in runs] == [
            *(("1", 0), ("5", 0), ("45", 0)),
            *(("1", 1), ("5", 1), ("45", 1)),
        ]
        mean = (runs[1]["test/accuracy"] + runs[4]["test/accuracy"]) / 2
        hinton = cells[1]
        assert hinton["cell"] == 5
        assert hinton["measured"] == pytest.approx(mean)
        assert (hinton["printed"], hinton["printed_std"], hinton["printed_n"]) == (0.9428, 9e-4, 5)
        assert hinton["difference"] == pytest.approx(mean - 0.9428)
        assert hinton["measured_n"] == 2
        assert hinton["within_spread"] is None
        assert len(list((folder / "students").iterdir())) == 6
        with (folder / "comparison.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 3

    def test_what_differs_from_print_is_said_and_nothing_is_called_comparable(
        self, again: Result, storage: Path
    ) -> None:
        cells = rows(storage / "again", "comparison")
        assert not any(cell["comparable"] for cell in cells)
        apart = cells[1]["apart"]
        for words in (
            "dataset digits in place of cifar10",
            "teacher resnet8 in place of wrn_40_2",
            "student resnet8x0.125 in place of wrn_16_2",
            "train.epochs 2 in place of 200",
            "train.batch_size 64 in place of 128",
            "data.train_limit 200 in place of none",
        ):
            assert words in apart
        assert "chosen on" in cells[2]["apart"]
        assert "Not comparable, all: dataset digits" in one_line(again.output)

    def test_a_name_serves_once(self, again: Result, storage: Path) -> None:
        words = ("--cells", "1", "--name", "again", *DIGITS, "--storage", str(storage))
        result = reproduce("sarfraz2020:T5", *words)
        assert result.exit_code == 2
        assert "results called 'again'" in one_line(result.output)

    @pytest.mark.drill
    def test_a_stopped_one_keeps_what_is_done(
        self, again: Result, storage: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class StopsAfterTwo(OutcomeCallback):
            def ended(self, *args: Any, **info: Any) -> None:
                super().ended(*args, **info)
                if len(self._ends) == 2:
                    os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(reproduction, "OutcomeCallback", StopsAfterTwo)
        words = ("--cells", CELLS, "--seeds", "5", "--name", "cut", "--experiment", "cut")
        result = reproduce("sarfraz2020:T5", *words, *DIGITS, "--storage", str(storage))
        assert result.exit_code == 128 + signal.SIGTERM
        assert "Stopped by SIGTERM. What is done is kept" in one_line(result.output)
        outcomes = [row["outcome"] for row in rows(storage / "cut", "runs")]
        assert 2 <= outcomes.count("finished") < 15
        assert rows(storage / "cut", "comparison")

    @pytest.mark.drill
    def test_runs_of_a_teacher_that_failed_are_left_out(self, storage: Path) -> None:
        words = ("--cells", "label_noise=0,method=scratch,method=kd", "--seeds", "1")
        named = ("--name", "lost", "--experiment", "lost", "--set", "teacher.lr=1e30")
        result = reproduce("sarfraz2020:T5", *words, *named, *DIGITS, "--storage", str(storage))
        assert result.exit_code == 0
        assert [row["cells"] for row in rows(storage / "lost", "runs")] == ["1"]
        assert "1 teacher failed; the first said:" in one_line(result.output)
