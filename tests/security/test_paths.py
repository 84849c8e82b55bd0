"""Names from configurations, journals and servers lead to no place outside the storage."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.cli.searches import find_search
from kdtune.config import ConfigError, parse
from kdtune.search.requesting import build_request
from kdtune.storage import Location, StorageError
from kdtune.teachers.store import TeacherStore
from kdtune.tracking import MLflowSink, default_tracking_uri, read_runs, replay
from kdtune.tracking.events import Attached, Ended, Event, Started
from kdtune.tracking.server import Server

ELSEWHERE = ("../../x", "/etc/passwd", "a/../../x", "..", ".", "a\0b", "", "~/x", "a\n")


@pytest.mark.parametrize("name", [*ELSEWHERE, "a/b", "a\\..\\b"])
def test_the_name_of_a_search_is_one_plain_part_of_a_path(tmp_path: Path, name: str) -> None:
    if name:  # Without one the search has a name of its own.
        with pytest.raises(ConfigError, match="--name: String must match"):
            build_request(
                "quickstart",
                shortcuts={},
                settings=[],
                name=name,
                storage=tmp_path,
                tracking_uri=None,
                experiment=None,
                gpus_per_trial=0.0,
                cpus_per_trial=1,
                seed=0,
            )


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", ".", "a\0b", "", "a/b"])
@pytest.mark.parametrize(
    "use",
    [
        lambda folder, name: Location.parse(folder).child(name),
        lambda folder, name: Location.parse(folder).read(name),
        lambda folder, name: Location.parse(folder).write(name, b"x"),
        lambda folder, name: TeacherStore(folder).read(name),
    ],
    ids=["child", "read", "write", "teacher"],
)
def test_a_name_in_the_storage_is_one_plain_part_of_a_path(
    tmp_path: Path, use: Callable[[Path, str], object], name: str
) -> None:
    inside = tmp_path / "storage"
    inside.mkdir()
    with pytest.raises(StorageError, match="plain part of a path"):
        use(inside, name)
    assert list(tmp_path.iterdir()) == [inside]


def test_a_path_with_a_nul_byte_is_refused_before_it_is_used() -> None:
    with pytest.raises(ConfigError, match="without NUL"):
        parse({"data.root": "/data\0/etc"})


def told(*attached: Attached) -> list[Event]:
    """A search of one run, with files."""
    started = Started(key="", name="r", params={}, tags={"kind": "search"}, time_ms=1)
    return [started, *attached, Ended(key="", outcome="finished", tags={}, time_ms=9)]


def file_at(path: str, place: str = "") -> Attached:
    return Attached(key="", path=path, kind="artifact", place=place, time_ms=2)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Somebody else's search: a file, and links that leave its folder; a secret lies beside it."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "search"
    (folder / "charts").mkdir(parents=True)
    (folder / "front.csv").write_text("a,b")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    (folder / "charts" / "link").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    return folder


def sent(tmp_path: Path, folder: Path, *attached: Attached) -> tuple[int, str, set[str]]:
    """What a sync of such a journal loses, says, and leaves among the artifacts."""
    report = replay(
        told(*attached),
        tracking_uri=default_tracking_uri(tmp_path / "own"),
        experiment="e",
        search_id="s",
        base=folder,
    )
    artifacts = tmp_path / "own" / "mlartifacts"
    files = {file.name for file in artifacts.rglob("*") if file.is_file()}
    return report.lost, report.error, files


@pytest.mark.slow
def test_a_sync_sends_files_of_the_search_alone(tmp_path: Path, foreign: Path) -> None:
    outside = ("../secret", str(tmp_path / "secret"), "link", "up/secret", "charts", "loop", "a\0b")
    attached = [file_at(path) for path in (*outside, "front.csv", str(foreign / "front.csv"))]
    lost, error, files = sent(tmp_path, foreign, *attached)
    assert (lost, files) == (len(outside), {"front.csv"})
    assert "'../secret' is outside" in error


@pytest.mark.parametrize("place", ["../../x", "/x"])
def test_a_place_among_artifacts_leads_nowhere_else(
    tmp_path: Path, foreign: Path, place: str
) -> None:
    before = {file for file in tmp_path.rglob("*") if "own" not in file.parts}
    lost, _, _ = sent(tmp_path, foreign, file_at("front.csv", place))
    assert lost == 1
    assert {file for file in tmp_path.rglob("*") if "own" not in file.parts} == before


def test_a_sink_gives_places_that_stay_inside(tmp_path: Path) -> None:
    uri, folder = default_tracking_uri(tmp_path), tmp_path / "search"
    folder.mkdir()
    (folder / "front.csv").write_text("a,b")
    sink = MLflowSink(tracking_uri=uri, experiment="e", run_name="r", journal=folder / "journal")
    sink.attach("", folder / "front.csv", place="../../x")
    sink.end("finished")
    assert sink.close(60.0).complete
    (found,) = (tmp_path / "mlartifacts").rglob("front.csv")
    assert os.path.commonpath([found, tmp_path / "mlartifacts"]) == str(tmp_path / "mlartifacts")


def test_a_report_of_a_servers_run_is_written_into_the_storage_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, storage, target = tmp_path / "here", tmp_path / "storage", tmp_path / "target"
    for folder in (here, storage, target):
        folder.mkdir()
    monkeypatch.chdir(here)
    uri = default_tracking_uri(tmp_path)
    sink = MLflowSink(
        tracking_uri=uri,
        experiment="e",
        run_name="../../evil",
        tags={"kind": "search", "search": "../target"},
    )
    sink.end("finished")
    assert sink.close(60.0).complete
    (run,) = read_runs(uri, kinds=("search",))
    _, folder = find_search(run.run_id, storage=storage, tracking_uri=uri)
    assert folder is None
    words = ["report", run.run_id, "--storage", str(storage), "--tracking-uri", uri]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert not list(target.iterdir())
    assert len(list(here.iterdir())) == 1


def test_the_server_of_a_database_keeps_artifacts_beside_it(tmp_path: Path) -> None:
    server = Server(default_tracking_uri(tmp_path), "../../../x")
    server.connect()
    experiment = server.client.get_experiment(server.experiment_id)
    assert experiment.artifact_location.startswith((tmp_path / "mlartifacts").as_uri())
