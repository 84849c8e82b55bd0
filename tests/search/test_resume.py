"""A search goes on after any death, and ends as it would have ended without."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from accounting import account
from click.testing import Result
from drivers import Driver, events
from mlflow_server import MLflowServer
from searching import SMALL, named, of_kind, one_line, read, runs_in, search
from typer.testing import CliRunner

import search_spaces.quickstart
from kdtune.cli import MLFLOW_ENVIRONMENT, app
from kdtune.search.log import FILE, Concluded, Event, Grown, Reported, Suggested, read_log
from kdtune.search.resuming import HOUR_S, reopened
from kdtune.storage import Location
from kdtune.tracking import default_tracking_uri, sink

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRIALS = 6
ASKED = ("--seed", "1", "--epochs", "6", "--finalists", "1", "--finalist-seeds", "2", *SMALL)
WHOLE = ("--trials", str(TRIALS), *ASKED)
DAY_MS = 86_400_000


def called(*words: str) -> Result:
    result = CliRunner().invoke(app, words)
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result


def resume(storage: Path, name: str, *words: str) -> Result:
    return called("resume", name, "--storage", str(storage), *words)


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> Path:
    """The folder of the search that nothing happened to."""
    done = search(storage, *named("undisturbed"), *WHOLE)
    assert done.exit_code == 0, done.output
    assert_everything_happened_once(storage / "undisturbed")
    return storage / "undisturbed"


def assert_everything_happened_once(folder: Path, *, tracking_uri: str = "") -> None:
    uri = tracking_uri or default_tracking_uri(folder.parent)
    assert not account(folder, tracking_uri=uri, trials=TRIALS).faults


def assert_the_same_was_found(folder: Path, undisturbed: Path) -> None:
    """Leaderboard, finalists and students are those of the search that nothing happened to."""
    found, expected = (
        {
            "leaderboard": read(each.parent, each.name),
            "finalists": [
                {**row, "teacher.store": None} for row in read(each.parent, each.name, "finalists")
            ],
            "students": {re.sub("-[0-9a-f]{8}$", "", name) for name in students_of(each)},
        }
        for each in (folder, undisturbed)
    )
    assert found == expected


def students_of(folder: Path) -> dict[str, str]:
    """Trial id by name, which ends in the id where an earlier finalist has the name."""
    found: dict[str, str] = json.loads((folder / "students.json").read_text())
    assert all((folder / "students" / name / "student.json").is_file() for name in found)
    return found


def of_leg(folder: Path, leg: str) -> list[Event]:
    """Suggestions and reports of a stage, by now."""
    seen = events(folder)
    own = {e.trial_id for e in seen if isinstance(e, Suggested) and e.leg == leg}
    return [e for e in seen if isinstance(e, Reported) and e.trial_id in own]


# Death


@pytest.mark.drill
def test_a_search_that_is_killed_at_three_moments_ends_as_if_nothing_had_been(
    undisturbed: Path, tmp_path: Path
) -> None:
    third = len(read_log(undisturbed).events) // 3
    draw = random.Random(20)
    moments = [number * third + draw.randrange(2, third) for number in range(3)]
    storage = tmp_path / "results"
    folder = storage / "killed"
    for number, moment in enumerate(moments):
        words = ("--storage", str(storage), "--name", folder.name, *WHOLE)
        driver = Driver("search", *words, "--resume", output=tmp_path / "printed")
        driver.until(lambda moment=moment: len(events(folder)) >= moment)
        driver.kill(alone=number == 1)
    assert not read_log(folder).concluded
    done = resume(storage, folder.name)
    driver.leaves_nothing()
    assert done.exit_code == 0, done.output
    assert_the_same_was_found(folder, undisturbed)
    assert_everything_happened_once(folder)


# An orderly stop


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_stopped_search_prints_the_command_that_completes_it(
    undisturbed: Path,
    storage: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    folder = storage / f"Prüfung 停止 {number.name}"
    words = ("--storage", str(storage), *named(folder.name), *WHOLE)
    if number is signal.SIGTERM:
        code, printed = _stopped_from_outside(words, folder, tmp_path / "printed")
    else:
        code, printed = _stopped_from_inside(words, folder)
    assert code == 128 + number, printed
    stopped = [trial for trial in read_log(folder).trials.values() if trial.end is None]
    assert stopped
    saved = [trial.checkpoints[-1:] for trial in stopped if trial.reports]
    assert [last.iteration for (last,) in saved] == [len(t.reports) for t in stopped if t.reports]
    runs = runs_in(storage, folder.name)
    (own,) = of_kind(runs, "search").values()
    assert "RUNNING" not in {run.info.status for run in runs}
    assert (own.info.status, own.data.tags["outcome"]) == ("KILLED", "stopped")

    (line,) = [line for line in printed.splitlines() if line.startswith("Go on:")]
    _program, *again = shlex.split(line.removeprefix("Go on:"))
    # Nobody promises that the clock of the machine goes forward meanwhile.
    monkeypatch.setattr(sink, "_now_ms", lambda: time.time_ns() // 1_000_000 - DAY_MS)
    done = called(*again)
    assert done.exit_code == 0, done.output
    assert_the_same_was_found(folder, undisturbed)
    assert_everything_happened_once(folder)


def _stopped_from_outside(words: tuple[str, ...], folder: Path, output: Path) -> tuple[int, str]:
    """Exit code and output of a process that gets SIGTERM in the middle of its trials."""
    driver = Driver("search", *words, output=output)
    driver.until(lambda: of_leg(folder, "Search"))
    _is_refused_meanwhile(folder, driver.process.pid)
    driver.signal(signal.SIGTERM)
    return driver.ends(), driver.printed


def _stopped_from_inside(words: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """The same of a search in this process, which gets SIGINT."""

    def press() -> None:
        while not of_leg(folder, "Search"):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    done = called("search", *words)
    return done.exit_code, done.output


def _is_refused_meanwhile(folder: Path, pid: int) -> None:
    """A second driver is told who is at work; a second search of that name, that it is taken."""
    refused = resume(folder.parent, folder.name)
    assert refused.exit_code == 2
    assert f"in use by process {pid} on {socket.gethostname()}" in one_line(refused.output)
    refused = search(folder.parent, *named(folder.name), *WHOLE)
    assert refused.exit_code == 2
    assert f"there is a search called '{folder.name}'" in one_line(refused.output)


@pytest.mark.drill
def test_a_search_that_is_stopped_while_ray_starts_ends_at_once_and_goes_on(
    undisturbed: Path, storage: Path, tmp_path: Path, no_ray: None
) -> None:
    words = ("--storage", str(storage), *named("early"), *WHOLE)
    driver = Driver("search", *words, output=tmp_path / "printed")
    driver.until(lambda: "raylet" in [c.name() for c in driver.process.children(recursive=True)])
    driver.signal(signal.SIGTERM)
    assert driver.ends(within_s=60) == 128 + signal.SIGTERM, driver.printed
    assert not read_log(storage / "early").trials
    with pytest.raises(pytest.fail.Exception, match="Ray was asked for"):
        search(storage, *named("early"), *WHOLE, "--resume")
    other = search(storage, *named("early"), *WHOLE, "--seed", "2", "--resume")
    assert other.exit_code == 2
    assert "began with other arguments (seed is 2, was 1)" in one_line(other.output)


def test_a_search_that_died_before_it_began_anything_begins(
    undisturbed: Path, storage: Path, no_ray: None
) -> None:
    (storage / "stillborn").mkdir()
    (storage / "stillborn" / "driver.lock").touch()
    (storage / "stillborn" / "driver.json").touch()
    with pytest.raises(pytest.fail.Exception, match="Ray was asked for"):
        search(storage, *named("stillborn"), *WHOLE, "--resume")


# Growth


@pytest.mark.drill
def test_a_search_grows_into_the_one_that_was_as_large_from_the_start(
    undisturbed: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in MLFLOW_ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "server").mkdir()
    server = MLflowServer(tmp_path / "server")
    folder = storage / "grown"
    # Nobody answers there so far, neither at the beginning nor when the search goes on.
    tracked = ("--tracking-uri", server.uri)
    begun = search(storage, *named("grown"), *tracked, "--trials", str(TRIALS - 3), *ASKED)
    assert begun.exit_code == 0, begun.output
    before = students_of(folder)
    grown = resume(storage, "grown", "--trials", "+3")
    assert grown.exit_code == 0, grown.output
    assert "'kdtune sync " in one_line(grown.output)
    assert_the_same_was_found(folder, undisturbed)
    after, finals = students_of(folder), read_log(folder).of("Finalists")
    assert sorted(after.values()) == sorted(trial.trial_id for trial in finals)
    assert len({str(sorted(trial.config.items())) for trial in finals}) == len(finals)
    assert before.items() < after.items()
    assert any(name.endswith(f"-{id_}") for name, id_ in after.items())
    server.start()
    try:
        synced = called("sync", "grown", "--storage", str(storage))
        assert synced.exit_code == 0, synced.output
        assert_everything_happened_once(folder, tracking_uri=server.uri)
    finally:
        server.kill()


def test_hours_may_be_added_or_set(undisturbed: Path, no_ray: None) -> None:
    used = read_log(undisturbed).used_s("Search")
    assert used > 0
    location = Location.parse(undisturbed)
    for given, seconds in (("+2", used + 2 * HOUR_S), ("1.5", 1.5 * HOUR_S)):
        request, _, (grown,) = reopened(location, hours=given)
        assert isinstance(grown, Grown)
        assert grown.time_budget_s == request.time_budget_s == pytest.approx(seconds)
        assert grown.trials == request.trials == TRIALS


# What cannot go on


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "search 'undisturbed' is complete; let it grow with --trials +20"),
        (("--trials", "3"), f"--trials must be at least {TRIALS}, got 3"),
        (("--trials", "+0"), "--trials takes a whole number above 0, or +N for more, got '+0'"),
        (("--trials", "many"), "got 'many'"),
        (("--hours", "1e-9"), "--hours must be more than the 0.0"),
    ],
)
def test_nothing_is_done_where_nothing_is_left(
    undisturbed: Path, storage: Path, no_ray: None, words: tuple[str, ...], said: str
) -> None:
    before = (undisturbed / FILE).read_bytes()
    refused = resume(storage, "undisturbed", *words)
    assert (refused.exit_code, said in one_line(refused.output)) == (2, True), refused.output
    assert (undisturbed / FILE).read_bytes() == before


def test_an_unknown_name_is_told_the_nearest(undisturbed: Path, storage: Path) -> None:
    refused = resume(storage, "undistrubed")
    assert refused.exit_code == 2
    assert "did you mean 'undisturbed'?" in one_line(refused.output)


def test_a_search_that_was_moved_is_not_mistaken_for_the_one_it_was(
    undisturbed: Path, storage: Path, tmp_path: Path, no_ray: None
) -> None:
    shutil.copytree(undisturbed, tmp_path / "copied")
    refused = resume(tmp_path, "copied", "--trials", "+1")
    assert refused.exit_code == 2
    assert f"in '{tmp_path / 'copied'}' began in '{undisturbed}'" in one_line(refused.output)
    (tmp_path / "link").symlink_to(storage)
    linked = Location.parse(tmp_path / "link" / "undisturbed")
    assert reopened(linked, trials="+1")[0].location == Location.parse(undisturbed)


def test_another_search_does_not_go_on_under_its_name(
    undisturbed: Path, storage: Path, no_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = search_spaces.quickstart.SPACE
    fixed = {**space.fixed, "train.momentum": 0.5}
    monkeypatch.setattr(search_spaces.quickstart, "SPACE", replace(space, fixed=fixed))
    changed = resume(storage, "undisturbed", "--trials", "+1")
    assert changed.exit_code == 2
    assert "is not what it was when search 'undisturbed' began" in one_line(changed.output)


def test_a_damaged_log_is_named_and_left_as_it_is(
    undisturbed: Path, storage: Path, no_ray: None
) -> None:
    log = undisturbed / FILE
    sound = log.read_bytes()
    damaged = sound.replace(b'"epoch":3', b'"epoch":9', 1)
    assert damaged != sound
    try:
        log.write_bytes(damaged)
        refused = resume(storage, "undisturbed", "--trials", "+1")
        assert log.read_bytes() == damaged
    finally:
        log.write_bytes(sound)
    assert refused.exit_code == 2
    assert f"in '{log}' is damaged: its checksum does not fit" in one_line(refused.output)


def test_a_search_that_died_with_its_last_word_has_nothing_more_to_train(
    undisturbed: Path, storage: Path
) -> None:
    log = undisturbed / FILE
    whole = read_log(undisturbed)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    done = resume(storage, "undisturbed")
    assert done.exit_code == 0, done.output
    assert read_log(undisturbed) == whole
    assert_everything_happened_once(undisturbed)


@pytest.mark.drill
def test_a_log_that_lost_its_end_to_the_journal_doubles_nothing(
    undisturbed: Path, storage: Path
) -> None:
    """A machine without power may keep the later of two files."""
    log = undisturbed / FILE
    lines = log.read_bytes().splitlines(keepends=True)
    last = max(place for place, line in enumerate(lines) if b'"event":"suggested"' in line)
    kept = lines[: last + 4]
    log.write_bytes(b"".join(kept)[:-20])
    expected = storage / "expected"
    shutil.copytree(undisturbed, expected)
    done = resume(storage, "undisturbed")
    assert done.exit_code == 0, done.output
    assert isinstance(read_log(undisturbed).events[-1], Concluded)
    assert_the_same_was_found(undisturbed, expected)
    assert_everything_happened_once(undisturbed)
