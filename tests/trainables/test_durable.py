"""What a trainable makes of checkpoints that are late, damaged or impossible, without Ray."""

import os
import pickle
import resource
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from object_store import BUCKET, serving
from ray.train._internal.storage import StorageContext
from ray.tune.result import SHOULD_CHECKPOINT

from kdtune.training.checkpoint import MANIFEST, seal
from kdtune.training.epoch import Lesson
from kdtune.training.memory import MemoryShortage
from trainables import Distill, Sequence
from trainables.durable import FAILED_SAVES, RECOVERED

EPOCHS = 4
MEASURED = ("val/", "train/", "weighted/", "student/params", "lr", "epoch", "finished")

Report = dict[str, Any]
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny distillation with a teacher of its own."""
    return {
        "student": "resnet8x0.125",
        "teacher": "resnet8x0.25",
        "teacher.full_epochs": 2,
        "teacher.store": str(tmp_path_factory.mktemp("teachers")),
        "data.train_limit": 100,
        "train.epochs": EPOCHS,
        "train.device": "cpu",
    }


@pytest.fixture(scope="module")
def undisturbed(flat: dict[str, Any]) -> list[Report]:
    """What the trial reports when nothing happens to it."""
    return rest(Distill(dict(flat)))


@pytest.fixture
def stored(flat: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Distill:
    """The trial with a storage as Tune gives it."""
    session = str(tmp_path / "session")
    monkeypatch.setattr("ray.train._internal.storage._get_ray_train_session_dir", lambda: session)
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    storage = StorageContext(tmp_path / "storage", "tune", trial_dir_name="trial")
    return Distill(dict(flat), storage=storage)


def checkpoints(trial: Distill) -> list[str]:
    folder = Path(trial._storage.trial_fs_path)
    return sorted(path.name for path in folder.glob("*"))


def measured(result: Report) -> Report:
    return {key: value for key, value in result.items() if key.startswith(MEASURED)}


def rest(trainable: Distill) -> list[Report]:
    """The reports of the steps that are left."""
    reports: list[Report] = []
    while not (reports and reports[-1]["done"]):
        reports.append(trainable.train())
    return reports


def same(found: list[Report], expected: list[Report]) -> bool:
    return [measured(each) for each in found] == [measured(each) for each in expected]


# By the clock


def test_checkpoints_are_asked_for_by_time_and_the_rarer_the_longer_they_take(
    flat: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("trainables.durable.time", SimpleNamespace(monotonic=lambda: now[0]))
    trial = Distill({**flat, "train.epochs": 12})
    monkeypatch.setattr(trial, "report", lambda: {"loss": 1.0})
    saving_s = [0.0]
    monkeypatch.setattr(trial, "save_more", lambda _: now.__setitem__(0, now[0] + saving_s[0]))

    def asked(seconds: float) -> bool:
        now[0] += seconds
        return SHOULD_CHECKPOINT in trial.train()

    assert [asked(10), asked(19), asked(1), asked(1)] == [False, False, True, True]
    trial.save(str(tmp_path))
    assert [asked(29), asked(1)] == [False, True]
    saving_s[0] = 4.0
    trial.save(str(tmp_path))
    assert [asked(30), asked(169), asked(1)] == [False, False, True]


def test_a_trial_that_is_done_asks_for_no_checkpoint(
    flat: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.durable.CHECKPOINT_S", 0.0)
    reports = rest(Distill(dict(flat)))
    assert [SHOULD_CHECKPOINT in report for report in reports] == [True, True, True, False]


# Damaged


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def spoil(folder: Path, file: str, damage: Damage) -> None:
    damage(folder / file if file else folder)


DAMAGES = [
    *[(file, damage) for file in ("trial.pt", MANIFEST) for damage in (flip, truncate, os.unlink)],
    ("counters.json", flip),
    ("", shutil.rmtree),
]


@pytest.mark.parametrize(("file", "damage"), DAMAGES)
def test_in_place_of_a_damaged_checkpoint_the_one_before_it_is_used(
    stored: Distill, undisturbed: list[Report], file: str, damage: Damage
) -> None:
    stored.train()
    first = stored.save()
    stored.train()
    second = stored.save()
    spoil(Path(second.checkpoint.path), file, damage)

    stored.reset(dict(stored._flat), storage=stored._storage)
    stored.restore(second)
    reports = rest(stored)
    assert same(reports, undisturbed)  # The report before the checkpoint comes again.
    assert [report["training_iteration"] for report in reports] == [1, 2, 3, 4]
    assert {report[RECOVERED] for report in reports} == {1.0}

    spoil(Path(first.checkpoint.path), file, damage)
    stored.reset(dict(stored._flat), storage=stored._storage)
    stored.restore(second)
    again = rest(stored)
    assert same(again, undisturbed)
    assert [report["training_iteration"] for report in again] == [1, 2, 3, 4]
    assert {report[RECOVERED] for report in again} == {0.0}


def test_a_trial_that_was_done_when_it_was_saved_is_done_when_it_goes_on(
    stored: Distill, undisturbed: list[Report]
) -> None:
    stored.reset({**stored._flat, "role": "finalist"}, storage=stored._storage)
    last = rest(stored)[-1]
    saved = stored.save()
    stored.reset(dict(stored._flat), storage=stored._storage)
    stored.restore(saved)
    again = stored.train()
    assert again["done"]
    assert again["training_iteration"] == EPOCHS
    assert again["test/accuracy"] == last["test/accuracy"]
    assert SHOULD_CHECKPOINT in last
    assert SHOULD_CHECKPOINT not in again  # It would be saved without its student.


def test_a_sound_checkpoint_says_nothing_of_recovery(
    stored: Distill, undisturbed: list[Report]
) -> None:
    stored.train()
    stored.train()
    saved = stored.save()
    stored.reset(dict(stored._flat), storage=stored._storage)
    stored.restore(saved)
    reports = rest(stored)
    assert same(reports, undisturbed[1:])
    assert not any(RECOVERED in report or FAILED_SAVES in report for report in reports)
    assert [report["training_iteration"] for report in reports] == [2, 3, 4]


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("file", ["dict_checkpoint.pkl", "trial.pt"])
def test_nothing_that_lies_in_a_checkpoint_is_unpickled(
    stored: Distill, tmp_path: Path, file: str
) -> None:
    stored.train()
    folder = Path(stored.save().checkpoint.path)
    (folder / file).write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=2))
    seal(folder)  # Whoever can write there can also make the sums agree.
    stored.restore(str(folder))
    assert (RECOVERED in stored.train()) == (file == "trial.pt")
    assert not (tmp_path / "sprung").exists()


def test_checkpoints_in_an_object_store_are_verified_as_well(
    stored: Distill, undisturbed: list[Report], tmp_path: Path
) -> None:
    with serving(tmp_path / "cache") as store:
        address = f"endpoint_override=127.0.0.1:{store.port}&scheme=http"
        storage = StorageContext(f"s3://{BUCKET}/search?{address}", "tune", trial_dir_name="trial")
        stored.reset(dict(stored._flat), storage=storage)
        begun = [stored.train()]
        stored.save()
        begun.append(stored.train())
        second = stored.save().checkpoint
        assert same(begun, undisturbed[:2])
        state = f"{second.path}/trial.pt"
        with second.filesystem.open_input_stream(state) as stream:
            content = bytearray(stream.readall())
        content[len(content) // 2] ^= 1
        with second.filesystem.open_output_stream(state) as stream:
            stream.write(bytes(content))
        stored.restore(second)
        assert same(rest(stored), undisturbed)


def test_a_sequence_is_recovered_as_well(flat: dict[str, Any], tmp_path: Path) -> None:
    own = {key: flat[key] for key in ("data.train_limit", "train.device")}
    chain = {**own, "chain": "resnet8x0.25,resnet8x0.125", "train.epochs": 2, "ensembles": False}
    calm = Sequence({**chain, "teacher.store": str(tmp_path / "calm")})
    actor = Sequence({**chain, "teacher.store": str(tmp_path / "store")})
    actor.train()
    actor.save(str(tmp_path / "checkpoint_000000"))
    actor.train()
    actor.save(str(tmp_path / "checkpoint_000001"))
    flip(tmp_path / "checkpoint_000001" / "sequence.pt")
    actor.restore(str(tmp_path / "checkpoint_000001"))
    reports, expected = rest(actor), rest(calm)
    assert same(reports, expected)
    assert [report["training_iteration"] for report in reports] == [1, 2, 3, 4]


# Not written


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Inside, the system refuses to write more bytes than that into a file, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def storage_lost(trial: Distill) -> Iterator[None]:
    """Inside, the state can be written to a temporary folder, but not from there to the storage."""
    folder = Path(trial._storage.trial_fs_path)
    folder.rename(folder.with_suffix(".kept"))
    folder.write_text("in the way")
    yield
    folder.unlink()
    folder.with_suffix(".kept").rename(folder)


@pytest.mark.parametrize("fault", ["full disk", "no storage"])
def test_a_save_that_fails_keeps_the_one_before_and_the_trial_goes_on(
    stored: Distill, undisturbed: list[Report], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    stored.train()
    first = stored.save()
    stored.train()
    with files_limited_to(4096) if fault == "full disk" else storage_lost(stored):
        assert stored.save().checkpoint is None
        assert stored.save().checkpoint is None
    assert f"could not be written to '{stored._storage.trial_fs_path}'" in caplog.text
    assert checkpoints(stored) == ["checkpoint_000000"]
    report = stored.train()
    assert report[FAILED_SAVES] == 2
    assert measured(report) == measured(undisturbed[2])

    again = Distill(dict(stored._flat), storage=stored._storage)
    again.restore(first)
    assert same(rest(again), undisturbed)
    assert Path(stored.save().checkpoint.path).name == "checkpoint_000001"


def test_half_a_copy_in_the_storage_is_taken_away(
    stored: Distill, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.train()

    def copy_half(*, source: str, destination: str, **_: Any) -> None:
        Path(destination, MANIFEST).write_bytes(Path(source, MANIFEST).read_bytes())
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ray.train._internal.storage._pyarrow_fs_copy_files", copy_half)
        assert stored.save().checkpoint is None
    assert checkpoints(stored) == []
    assert Path(stored.save().checkpoint.path).name == "checkpoint_000000"


def test_the_student_of_a_finalist_must_not_be_lost(stored: Distill) -> None:
    stored.reset({**stored._flat, "role": "finalist"}, storage=stored._storage)
    for _ in range(EPOCHS - 1):
        stored.train()
        with files_limited_to(4096):
            assert stored.save().checkpoint is None
    assert stored.train()[SHOULD_CHECKPOINT]
    with files_limited_to(4096), pytest.raises(OSError, match="what it holds would be lost"):
        stored.save()
    assert Path(stored.save().checkpoint.path, "student", "student.json").is_file()


# Out of memory


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """From the second step of epoch ``since`` on, there is memory for ``most`` images at a time."""
    rule = {"most": 32, "since": EPOCHS, "epoch": 0, "step": 0}
    epoch, terms = Lesson.epoch, Lesson._terms

    def noted(self: Lesson, number: int) -> Any:
        rule.update(epoch=number, step=0)
        return epoch(self, number)

    def limited(self: Lesson, lot: Any, *rest: Any) -> Any:
        rule["step"] += 1
        late = (rule["epoch"], rule["step"]) >= (rule["since"], 2)
        if late and len(lot) > rule["most"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return terms(self, lot, *rest)

    monkeypatch.setattr(Lesson, "epoch", noted)
    monkeypatch.setattr(Lesson, "_terms", limited)
    return rule


@pytest.mark.parametrize(("since", "saved"), [(0, 0), (2, 0), (2, 1), (2, 2)])
def test_out_of_memory_a_trial_goes_on_in_parts_and_its_parameters_say_how(
    stored: Distill, flat: dict[str, Any], scarce: dict[str, int], since: int, saved: int
) -> None:
    expected = rest(Distill({**flat, "train.micro_batch": 16, "train.micro_batch_from": since}))
    scarce["since"] = since
    reports = []
    while len(reports) < EPOCHS:
        reports.append(stored.train())
        if len(reports) == saved:
            stored.save()
    assert same(reports, expected)
    assert [report["training_iteration"] for report in reports] == [1, 2, 3, 4]
    parts = [report.get("train/micro_batch") for report in reports]
    assert parts == [None] * since + [16.0] * (EPOCHS - since)


def test_a_retried_trial_that_is_restarted_stays_with_its_parts(
    stored: Distill, flat: dict[str, Any], scarce: dict[str, int]
) -> None:
    expected = rest(Distill({**flat, "train.micro_batch": 16, "train.micro_batch_from": 1}))
    scarce["since"] = 1
    begun = [stored.train(), stored.train()]
    saved = stored.save()
    stored.reset(dict(flat), storage=stored._storage)
    stored.restore(saved)
    assert same([begun[0], *rest(stored)], expected)


@pytest.mark.parametrize(
    ("most", "more", "remedy"),
    [
        (8, {}, "train.batch_size=64 and train.micro_batch=16 .* set train.micro_batch=4, "),
        (32, {"method": "sp"}, "train.micro_batch=the whole batch on cpu .* lower train.batch_si"),
        (32, {"train.micro_batch": 40}, "micro_batch=40 on cpu .* set train.micro_batch=10, "),
        (32, {"role": "teacher", "method": "scratch"}, "lower teacher.batch_size"),
    ],
    ids=["again", "a method that compares images", "parts that were asked for", "a teacher"],
)
def test_where_parts_do_not_help_the_error_says_what_would(
    flat: dict[str, Any], scarce: dict[str, int], most: int, more: dict[str, Any], remedy: str
) -> None:
    base = flat
    if more.get("method") == "scratch":
        base = {k: v for k, v in flat.items() if not k.startswith("teacher") or k.endswith("store")}
    Distill({**base, **more}).trial  # noqa: B018  (its teacher is trained while there is memory)
    scarce |= {"most": most, "since": 0}
    with pytest.raises(MemoryShortage, match=remedy):
        Distill({**base, **more}).train()


def test_what_has_nothing_to_do_with_memory_is_raised_as_it_is(
    flat: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Lesson, "_terms", broken)
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2"):
        Distill(dict(flat)).train()


def test_a_reused_actor_lets_go_of_the_trial_before(flat: dict[str, Any]) -> None:
    actor = Distill(dict(flat))
    actor.train()
    network = weakref.ref(actor.trial.student)
    assert actor.reset({**flat, "seed": 1})
    assert network() is None
