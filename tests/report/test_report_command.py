"""``kdtune report``: which search is meant, and where its report goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from recorded import Recorded, whole_search
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.tracking import default_tracking_uri, replay
from kdtune.tracking.journal import FOLDER, Header, Journal


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """The results of one search, with its journal."""
    write_journal(tmp_path / "results" / "made-up", whole_search())
    return tmp_path / "results"


@pytest.fixture(scope="module")
def in_mlflow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A storage folder with nothing but MLflow's database, and the id of its one search."""
    storage = tmp_path_factory.mktemp("storage")
    report = replay(
        whole_search().events,
        tracking_uri=default_tracking_uri(storage),
        experiment="tests",
        search_id="made-up",
        base=storage,
    )
    assert report.complete
    return storage, report.run_id


def write_journal(folder: Path, made: Recorded) -> None:
    header = Header(search_id="1", experiment="tests", tracking_uri="", run_name=folder.name)
    journal = Journal(folder / FOLDER, header)
    for event in made.events:
        journal.put(event)
    journal.close()


def report(*words: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, words)])


def test_by_name_it_goes_beside_the_results(storage: Path) -> None:
    outcome = report("made-up", "--storage", storage)
    assert outcome.exit_code == 0, outcome.output
    file = storage / "made-up" / "report.html"
    assert outcome.output.replace("\n", "") == str(file)
    assert str(storage / "made-up" / "students") in file.read_text()


def test_by_folder_it_needs_no_storage(storage: Path) -> None:
    outcome = report(storage / "made-up", "--out", "mine.html")
    assert outcome.exit_code == 0, outcome.output
    assert "<title>made-up" in Path("mine.html").read_text()


@pytest.mark.slow
def test_without_a_journal_it_comes_from_mlflow(in_mlflow: tuple[Path, str]) -> None:
    storage, run_id = in_mlflow
    for asked in ("made-up", run_id):
        outcome = report(asked, "--storage", storage)
        assert outcome.exit_code == 0, outcome.output
        page = Path("made-up-report.html")
        assert "95.32" in page.read_text()
        page.unlink()


@pytest.mark.slow
def test_an_unknown_search_is_told_with_the_nearest(in_mlflow: tuple[Path, str]) -> None:
    outcome = report("maed-up", "--storage", in_mlflow[0])
    assert outcome.exit_code == 2
    assert "did you mean 'made-up'?" in outcome.output


def test_where_there_is_nothing_it_says_where_it_looked(tmp_path: Path) -> None:
    outcome = report("made-up", "--storage", tmp_path / "empty")
    assert outcome.exit_code == 2
    assert "mlflow.db" in "".join(outcome.output.split())
    assert not (tmp_path / "empty").exists()


def test_a_place_that_cannot_be_written_is_told(storage: Path) -> None:
    for place, said in ((storage, "is a folder"), (storage / "no" / "page.html", "make it first")):
        outcome = report("made-up", "--storage", storage, "--out", place)
        assert outcome.exit_code == 2
        assert said in " ".join(outcome.output.split())


def test_a_damaged_journal_is_told_with_the_remedy(storage: Path) -> None:
    segment = next((storage / "made-up" / FOLDER).glob("*.arrows"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    segment.write_bytes(data)
    outcome = report("made-up", "--storage", storage)
    assert outcome.exit_code == 2
    assert "kdtune sync" in " ".join(outcome.output.split())


def test_a_name_that_is_no_file_name_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Recorded(name="../outside").end().record()
    monkeypatch.setattr("kdtune.cli.searches.find_search", lambda *_, **__: (record, None))
    outcome = report("anything")
    assert outcome.exit_code == 0, outcome.output
    assert [file.name for file in Path().iterdir()] == [".._outside-report.html"]
    assert [file.name for file in tmp_path.iterdir()] == ["here"]
