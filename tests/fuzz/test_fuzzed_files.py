"""Damaged files are read as far as they are sound, or refused by the error that is documented."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import FUZZ, TEXTS, may_be_refused

from kdtune.cluster.check import check
from kdtune.pruning import PruneRecord
from kdtune.search.log import (
    Begun,
    Concluded,
    Grown,
    LogDamaged,
    Reported,
    Saved,
    SearchLog,
    Suggested,
    read_log,
)
from kdtune.search.log import Ended as Done
from kdtune.search.log import Event as LogEvent
from kdtune.students.artefact import CARD, StudentError, load_student, save_student
from kdtune.students.card import StudentCard
from kdtune.tracking import JournalDamaged, read_events
from kdtune.tracking.events import Attached, DatasetUse, Ended, Event, Measured, Started, Tagged
from kdtune.tracking.journal import MARK, Header, Journal

ROOT = Path(__file__).parents[2]
USE = DatasetUse(name="digits", digest="ab", context="train", source="digits", profile="{}")
EVENTS: list[Event] = [
    Started(key="", name="search", params={"p": "1"}, tags={"t": "ü"}, time_ms=1, inputs=(USE,)),
    Started(key="a", name="trial 0", params={"method": "kd"}, tags={}, time_ms=2),
    Measured(key="a", epoch=1, metrics={"val/accuracy": 0.5, "loss": 2.0}, time_ms=3),
    Tagged(key="a", tags={"pareto": "true"}, time_ms=4),
    Attached(key="a", path="s/1", kind="model", place="student", register="best", time_ms=5),
    Ended(key="a", outcome="cut", tags={"outcome": "cut"}, time_ms=6),
]

LOGGED: list[LogEvent] = [
    Begun(asked={"space_name": "quickstart"}, digest="d", search_id="s", workers=2),
    Suggested(leg="trials", trial_id="a", config={"method": "kd"}, at_s=0.5),
    Reported(trial_id="a", result={"val/accuracy": 0.5}, at_s=1.0),
    Saved(trial_id="a", checkpoint="checkpoint_000000", iteration=1),
    Done(trial_id="a", kind="cut", result={"val/accuracy": 0.5}, error="", at_s=2.0),
    Grown(trials=5, time_budget_s=None),
    Concluded(),
]


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` with one to four pieces overwritten, left out, put in or repeated."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        piece = draw(st.one_of(st.binary(max_size=16), st.sampled_from((MARK, b"", b"\0" * 8))))
        data = draw(
            st.sampled_from(
                (
                    data[:start] + piece + data[start + len(piece) :],
                    data[:start] + data[end:],
                    data[:start] + piece + data[start:],
                    data[:end] + data[start:],
                    data[:start],
                )
            )
        )
    return data


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journal")
    header = Header(search_id="s", experiment="e", tracking_uri="sqlite:///a.db", run_name="r")
    written = Journal(folder, header)
    for event in EVENTS:
        written.put(event)
    written.close()
    return folder / "00000.arrows"


@settings(FUZZ, max_examples=1500)
@given(st.data())
def test_a_damaged_journal_gives_sound_events_or_says_so(
    journal: Path, data: st.DataObject
) -> None:
    segment = journal.parent / "damaged" / journal.name
    segment.parent.mkdir(exist_ok=True)
    segment.write_bytes(data.draw(damaged(journal.read_bytes())))
    with may_be_refused(JournalDamaged, segment):
        assert all(event in EVENTS for event in read_events(segment.parent))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = SearchLog(tmp_path_factory.mktemp("log"))
    for event in LOGGED:
        written.put(event)
    written.close()
    return written.path


@settings(FUZZ, max_examples=1000)
@given(st.data())
def test_a_damaged_log_of_a_search_is_read_or_says_so(log: Path, data: st.DataObject) -> None:
    file = log.parent / "damaged" / log.name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data.draw(damaged(log.read_bytes())))
    with may_be_refused(LogDamaged, file):
        assert all(event in LOGGED for event in read_log(file.parent).events)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from kdtune import models

    folder = tmp_path_factory.mktemp("student")
    network = models.build("resnet8x0.125", classes=3, channels=1, size=8, seed=0)
    card = StudentCard(
        model="resnet8x0.125",
        classes=3,
        class_names=("a", "b", "c"),
        channels=1,
        size=8,
        mean=(0.5,),
        std=(0.5,),
    )
    save_student(folder, network, card, program=False)
    return folder


JSON_VALUES: tuple[Any, ...] = (
    *TEXTS,
    *(None, True, 0, -1, 2**63, 10**400, 1e308, float("nan"), [], {}, [[]], {"a": None}),
)


@settings(FUZZ, max_examples=400)
@given(st.data())
def test_a_card_of_a_student_is_read_or_refused(student: Path, data: st.DataObject) -> None:
    whole = (student / CARD).read_bytes()
    folder = student / "damaged"
    folder.mkdir(exist_ok=True)
    if not (folder / "student.safetensors").exists():
        (folder / "student.safetensors").write_bytes((student / "student.safetensors").read_bytes())
    if data.draw(st.booleans()):
        (folder / CARD).write_bytes(data.draw(damaged(whole)))
    else:
        card = json.loads(whole)
        key = data.draw(st.sampled_from([*card, "unknown"]))
        card[key] = data.draw(st.sampled_from(JSON_VALUES))
        (folder / CARD).write_text(json.dumps(card))
    with may_be_refused(StudentError, folder):
        load_student(folder)


PRUNED = '{"detail": {"block1.0.conv1": [0, 1]}, "method": "l1_filter", "ratio": 0.5}'


@settings(FUZZ, max_examples=300)
@given(damaged(PRUNED.encode()))
def test_a_record_of_pruning_is_read_or_refused(text: bytes) -> None:
    with may_be_refused(ValueError, "must be a JSON object with method, ratio and detail"):
        PruneRecord.from_json(text.decode(errors="replace"))


@pytest.mark.parametrize("read", [PruneRecord.from_json, StudentCard.model_validate_json])
def test_json_that_is_nested_without_end_is_refused(read: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read("[" * 100_000)


@settings(FUZZ, max_examples=60)
@given(st.data())
@pytest.mark.parametrize("name", ["cluster.yaml", "rayjob.yaml"])
def test_a_damaged_description_of_a_cluster_is_checked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    file = tmp_path_factory.getbasetemp() / name
    file.write_bytes(data.draw(damaged((ROOT / name).read_bytes())))
    with may_be_refused(ValueError, file):
        assert all(finding.text for finding in check(file))


@pytest.mark.parametrize("text", ["", "[]", "a: *b", "&a [*a]", "!!python/name:os.x"])
@pytest.mark.parametrize("more", ["", "provider: 3\n", "kind: RayJob\n"])
def test_a_strange_description_of_a_cluster_is_checked_or_refused(
    tmp_path: Path, text: str, more: str
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(more + text)
    with may_be_refused(ValueError, file):
        check(file)
