"""The journal gives back what it was given, also after a crash, and says when it cannot."""

import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from child import command, killed_after
from hypothesis import given
from hypothesis import strategies as st

from kdtune.tracking import JournalDamaged, MLflowSink, read_events, read_journal
from kdtune.tracking.events import (
    Attached,
    DatasetUse,
    Ended,
    Event,
    Measured,
    Started,
    Tagged,
)
from kdtune.tracking.journal import Header, Journal, _checksum, _items, read_contents

HEADER = Header(search_id="s", experiment="étude", tracking_uri="sqlite:///a.db", run_name="r")
USE = DatasetUse(name="digits", digest="ab", context="train", source="digits", profile="{}")
EVENTS: list[Event] = [
    Started(key="", name="search", params={"p": "1"}, tags={"t": "ü"}, time_ms=1, inputs=(USE,)),
    Started(key="a", name="trial 0", params={}, tags={}, time_ms=2),
    Measured(key="a", epoch=0, metrics={"m": 0.1 + 0.2, "z": -0.0, "d": 5e-324}, time_ms=3),
    Measured(key="a", epoch=7, metrics={}, time_ms=4, tags={"nonfinite": "m at epoch 7"}),
    Tagged(key="a", tags={"pareto": "true"}, time_ms=5),
    Attached(key="", path="front.csv", kind="artifact", place="", time_ms=6),
    Attached(key="a", path="s/1", kind="model", place="student", register="best", time_ms=7),
    Ended(key="a", outcome="cut", tags={"outcome": "cut"}, time_ms=8),
]


def written(folder: Path, events: list[Event] = EVENTS) -> Path:
    journal = Journal(folder, HEADER)
    for event in events:
        journal.put(event)
    journal.close()
    return folder / "00000.arrows"


def test_all_kinds_of_events_come_back_as_they_were(tmp_path: Path) -> None:
    written(tmp_path)
    assert read_events(tmp_path) == EVENTS
    zero = read_events(tmp_path)[2].metrics["z"]  # type: ignore[union-attr]
    assert str(zero) == "-0.0"


texts = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3)
numbers = st.integers(-(2**63), 2**63 - 1)
measured = st.builds(
    Measured,
    key=st.text(),
    epoch=numbers,
    metrics=st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=5),
    time_ms=numbers,
    tags=texts,
)
started = st.builds(
    Started, key=st.text(), name=st.text(), params=texts, tags=texts, time_ms=numbers
)


@given(events=st.lists(st.one_of(measured, started), min_size=1, max_size=5))
def test_any_text_and_any_number_comes_back(
    events: list[Event], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    written(folder, events)
    assert read_events(folder) == events
    assert repr(read_events(folder)) == repr(events)  # -0.0 is not 0.0


def test_it_is_an_arrow_stream_that_others_can_read(tmp_path: Path) -> None:
    table = pa.ipc.open_stream(written(tmp_path).read_bytes()).read_all()
    assert table.column("event").to_pylist()[:3] == ["started", "started", "measured"]
    assert table.schema.metadata[b"experiment"].decode() == "étude"


def test_it_is_read_while_it_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path, HEADER)
    for number, event in enumerate(EVENTS, 1):
        journal.put(event)
        assert len(read_events(tmp_path)) == number


def test_each_process_has_a_segment_of_its_own(tmp_path: Path) -> None:
    first, second = Journal(tmp_path, HEADER), Journal(tmp_path, HEADER)
    for event in EVENTS[:4]:
        first.put(event)
    for event in EVENTS[4:]:
        second.put(event)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["00000.arrows", "00001.arrows"]
    assert read_events(tmp_path) == EVENTS


def test_a_segment_that_was_ended_is_never_written_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, HEADER)
    journal.put(EVENTS[0])
    journal.close()
    before = (tmp_path / "00000.arrows").read_bytes()
    journal.put(EVENTS[1])
    assert (tmp_path / "00000.arrows").read_bytes() == before
    assert read_events(tmp_path) == EVENTS[:2]


@pytest.mark.parametrize("ended", [True, False])
def test_whatever_is_cut_off_the_end_leaves_what_is_before(tmp_path: Path, ended: bool) -> None:
    data = written(tmp_path).read_bytes()
    data = data if ended else data[:-8]
    for size in (*range(0, len(data), 5), len(data)):
        items = [item for item in _items(data[:size]) if not isinstance(item, Header)]
        assert items == EVENTS[: len(items)]
    assert items == EVENTS


def test_a_cut_end_is_no_damage_also_of_an_earlier_segment(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    written(tmp_path)
    journal = Journal(tmp_path, HEADER)
    journal.put(EVENTS[0])
    assert read_events(tmp_path) == [*EVENTS[:-1], *EVENTS, EVENTS[0]]


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    data = written(tmp_path).read_bytes()
    noticed = 0
    for place in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        items = list(_items(bytes(flipped)))
        events = [item for item in items if not isinstance(item, int | Header)]
        damage = [item for item in items if isinstance(item, int)]
        noticed += bool(damage)
        assert all(event in EVENTS for event in events)
        assert events == EVENTS or damage
    assert noticed > len(data) / 14


def test_damage_is_named_and_what_is_around_it_can_be_read(tmp_path: Path) -> None:
    file = written(tmp_path)
    data = bytearray(file.read_bytes())
    place = data.index(b"nonfinite")
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(JournalDamaged, match=r"00000\.arrows' is damaged at byte \d+.*kdtune sync"):
        read_events(tmp_path)
    found = read_contents(tmp_path)
    assert found.events == [event for event in EVENTS if event is not EVENTS[3]]
    assert len(found.damage) == 1


def test_a_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path)
    schema = pa.ipc.open_stream(file.read_bytes()).schema
    about = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    del about["check"]
    about["kdtune.journal"] = "2"
    about["check"] = str(_checksum(about))
    file.write_bytes(schema.with_metadata(about).serialize().to_pybytes())
    with pytest.raises(ValueError, match="has format 2, this kdtune reads 1"):
        read_events(tmp_path)


def test_no_journal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no journal in"):
        read_events(tmp_path)
    (tmp_path / "00000.arrows").touch()
    with pytest.raises(JournalDamaged, match="nothing can be read"):
        read_events(tmp_path)


def test_what_the_disk_refuses_leaves_the_journal_whole(tmp_path: Path) -> None:
    done = subprocess.run(command("fill", tmp_path), capture_output=True, check=True)
    events = read_events(tmp_path)
    assert [event.epoch for event in events] == list(range(int(done.stdout)))  # type: ignore[union-attr]
    assert len(events) > 3


def test_a_killed_process_leaves_all_that_it_logged(tmp_path: Path) -> None:
    logged = killed_after(30, "log", "http://127.0.0.1:9", tmp_path, "e")
    found = read_journal(tmp_path)
    assert sum(len(run.history.get("train/m0", ())) for run in found.runs) >= logged
    assert read_contents(tmp_path).damage == []


def test_a_search_is_found_by_its_folder_or_that_of_its_journal(tmp_path: Path) -> None:
    written(tmp_path / "journal")
    assert read_journal(tmp_path) == read_journal(tmp_path / "journal")
    assert read_journal(tmp_path).experiment == "étude"


def test_passwords_are_not_kept(tmp_path: Path) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    sink = MLflowSink(tracking_uri=uri, experiment="e", run_name="r", journal=tmp_path / "journal")
    sink.start_run("a", name="trial", params={}, tags={})
    sink.close(0.0)
    assert b"secret" not in (tmp_path / "journal" / "00000.arrows").read_bytes()
    assert read_journal(tmp_path).tracking_uri == "http://***@127.0.0.1:9"


def test_a_journal_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    folder = tmp_path / "file" / "journal"
    sink = MLflowSink(tracking_uri=uri, experiment="e", run_name="r", journal=folder)
    sink.start_run("a", name="trial", params={}, tags={})
    report = sink.close(60.0)
    assert (report.lost, report.unjournaled) == (0, 2)
    assert not report.complete
    assert "2 events are not in the journal: " in str(report)
    assert "Not a directory" in str(report)
