"""A teacher that is shared: the same student, whoever ran it."""

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from lessons import Shown, dataset, network
from runs import CLOCK, report
from small_disk import mounted
from torch.nn import functional

from kdtune.config import ConfigError, parse
from kdtune.contracts import Feature, Outputs, Signal
from kdtune.objectives import OBJECTIVES
from kdtune.teachers.signals import SignalStore
from kdtune.training import precision, signals
from kdtune.training.signals import SharedTeacher, Want, pieces_of, small
from kdtune.training.trial import Trial
from kdtune.views import AUGMENTS, ViewStream

GUIDED = [name for name in OBJECTIVES.names() if OBJECTIVES.get(name)().traits.teacher]
LIVE = ("feature_kd", "fitnet", "overhaul", "bss")
"""Methods that read whole feature maps, or attack the teacher; bss alone shares logits."""

FITTING: dict[str, dict[str, Any]] = {
    "fsp": {"student": "resnet8x0.5"},
    "crd": {"method.negatives": 64},
}
BATCHES = ("mixed", "plain+mixed")
MIXED = list(itertools.product(("mixup", "cutmix"), BATCHES))
PICKED = list(itertools.product(("kld", "teacher_entropy", "student_entropy"), BATCHES))
VIEWS = [
    {"augment": "none"},
    {"augment": "randaugment"},
    *(
        {"augment": a, "augment.batches": b}
        for a in ("mixup", "cutmix")
        for b in ("mixed", "plain+mixed")
    ),
    *({"augment": "cutmix_pick", "augment.criterion": c, "augment.batches": b} for c, b in PICKED),
]


def run(flat: dict[str, Any]) -> tuple[list[dict[str, float]], Trial, dict[str, float]]:
    """All reports, the finished trial, and what its last report says of sharing."""
    trial = Trial(parse({"train.schedule": "step", **flat}))
    said, shared = [], {}
    while not trial.finished:
        metrics = trial.next_epoch()
        said.append({key: value for key, value in metrics.items() if key not in CLOCK})
        shared = {k: v for k, v in metrics.items() if k.startswith("signals/")}
    return said, trial, shared


def same_students(first: Trial, second: Trial) -> bool:
    ours, theirs = first.student.state_dict(), second.student.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.fixture
def own(base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A tiny distillation whose signals go to a folder of this test."""
    monkeypatch.setattr("kdtune.teachers.store.TeacherStore.signals_folder", tmp_path / "signals")
    return {**base, "train.epochs": 2, "data.train_limit": 60, "train.batch_size": 16}


@pytest.mark.parametrize("method", GUIDED)
def test_every_method_trains_the_same_student_from_a_shared_teacher(
    own: dict[str, Any], method: str
) -> None:
    soft = {} if method == "bss" else {"alpha": 0.5}
    flat = {**own, "method": method, **soft, **FITTING.get(method, {})}
    live, alone, _ = run({**flat, "teacher.signals": "live"})
    first, writer, of_writer = run(flat)
    again, reader, of_reader = run(flat)
    assert first == again == live
    assert same_students(alone, writer)
    assert same_students(alone, reader)
    assert of_writer["signals/hit_rate"] == 0
    if method not in LIVE:
        assert of_reader["signals/hit_rate"] == 1
        assert of_reader["signals/read_mb"] > 0
        assert of_reader["signals/saved_s"] > 0


@pytest.mark.parametrize(
    ("method", "views"),
    [*(("kd", views) for views in VIEWS), *(("at_kd", views) for views in VIEWS[3::4])],
    ids=str,
)
def test_every_policy_gives_the_same_student_from_a_shared_teacher(
    own: dict[str, Any], method: str, views: dict[str, Any]
) -> None:
    flat = {**own, "method": method, **views}
    live, alone, _ = run({**flat, "teacher.signals": "live"})
    run(flat)
    again, reader, _ = run(flat)
    assert again == live
    assert same_students(alone, reader)


def test_a_teacher_whose_outputs_are_there_is_not_run(own: dict[str, Any]) -> None:
    flat = {**own, "augment": "cutmix_pick"}
    run(flat)
    trial = Trial(parse(flat))
    assert trial.teacher is not None
    shown = Shown.to(trial.teacher.model)
    report(trial)
    assert len(shown) == 0


def test_logits_that_one_method_left_serve_another(own: dict[str, Any]) -> None:
    run({**own, "method": "at_kd"})
    _, _, of_reader = run({**own, "method": "kd", "temperature": 9.0})
    assert of_reader["signals/hit_rate"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"augment": "cutout"},
        {"augment": "cutout", "augment.side": 3},
        {"train.batch_size": 15},
        {"seed": 1},
        {"label_smoothing": 0.1},
        {"data.seed": 1},
        {"data.train_limit": 61},
        {"train.threads": 2},
        {"teacher.signals": "half"},
        {"method": "kd", "augment": "mixup"},
        {"method": "kd", "augment": "mixup", "augment.batches": "mixed"},
    ],
    ids=str,
)
def test_other_views_teachers_and_circumstances_share_nothing(
    own: dict[str, Any], change: dict[str, Any]
) -> None:
    run(own)
    for other in ({"augment": "cutout", "augment.side": 2}, {"augment": "mixup", "seed": 9}):
        run({**own, **other})
    _, _, shared = run({**own, **change})
    assert shared["signals/hit_rate"] == 0


def test_half_precision_moves_no_log_probability_further_than_documented(
    own: dict[str, Any],
) -> None:
    heard = {}
    for kind in ("exact", "half"):
        trial = Trial(parse({**own, "teacher.signals": kind}))
        assert trial.teacher is not None
        trial.next_epoch()
        shared = trial._shared
        assert shared is not None
        heard[kind] = shared.epoch(0, [Want("batch")], lambda *_: pytest.fail("it is there"))
    assert shared.tally.read > 0
    for step in range(4):
        exact, half = (heard[kind].of(step, "batch") for kind in ("exact", "half"))
        assert exact is not None
        assert half is not None
        assert not torch.equal(exact.logits, half.logits)
        for temperature in (1.0, 4.0, 20.0):
            ours, theirs = (
                functional.log_softmax(said.logits.double() / temperature, dim=1)
                for said in (exact, half)
            )
            bound = exact.logits.abs().max().item() / (1024 * temperature)
            assert (ours - theirs).abs().max().item() <= bound


def test_half_precision_is_the_same_for_who_computes_and_who_reads(own: dict[str, Any]) -> None:
    flat = {**own, "teacher.signals": "half"}
    first, writer, _ = run(flat)
    again, reader, shared = run(flat)
    assert shared["signals/hit_rate"] == 1
    assert first == again
    assert same_students(writer, reader)


def test_a_damaged_piece_is_computed_again(own: dict[str, Any], tmp_path: Path) -> None:
    flat = {**own, "augment": "mixup"}
    first, _, _ = run(flat)
    files = sorted((tmp_path / "signals").rglob("*.arrow"))
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 16
    files[0].write_bytes(content)
    again, _, shared = run(flat)
    assert again == first
    assert 0 < shared["signals/hit_rate"] < 1
    _, _, healed = run(flat)
    assert healed["signals/hit_rate"] == 1


def test_where_nothing_can_be_written_the_student_is_the_same(
    base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = {**base, "train.epochs": 2}
    live, _, _ = run({**flat, "teacher.signals": "live"})
    with mounted(tmp_path / "disk") as disk:
        disk.make_read_only()
        monkeypatch.setattr("kdtune.teachers.store.TeacherStore.signals_folder", disk.folder / "s")
        said, _, shared = run(flat)
    assert [{k: v for k, v in e.items() if k != "signals/failed_writes"} for e in said] == live
    assert shared["signals/failed_writes"] == 2


def test_a_restored_trial_goes_on_the_same_from_a_shared_teacher(
    own: dict[str, Any], tmp_path: Path
) -> None:
    whole, trial, _ = run(own)
    half = Trial(parse({"train.schedule": "step", **own}))
    report(half)
    half.save(tmp_path)
    restored = Trial(half.config)
    restored.load(tmp_path)
    assert report(restored) == whole[-1]
    assert same_students(restored, trial)


def test_finalists_run_their_teacher_and_keep_to_float32(own: dict[str, Any]) -> None:
    trial = Trial(parse({**own, "role": "finalist"}))
    assert "signals/hit_rate" not in trial.next_epoch()
    assert trial.config.flat()["teacher.signals"] == "live"
    with pytest.raises(ConfigError, match=r"teacher\.signals must be left out .* got 'half'"):
        parse({**own, "role": "finalist", "teacher.signals": "half"})
    with pytest.raises(ConfigError, match=r"train\.precision must be left out"):
        parse({**own, "role": "finalist", "train.precision": "bf16"})


# The shared teacher by itself


class Class:
    """A teacher of made-up views, and how often it was asked."""

    def __init__(self, folder: Path, *, count: int = 200, **circumstances: Any) -> None:
        self.stream = ViewStream(
            dataset(count), policy=AUGMENTS.get("none")(), batch_size=2, seed=0
        )
        self.model = network(1).eval()
        self.looks = 0
        self.shared = SharedTeacher(
            SignalStore(folder, most_bytes=10**8),
            teacher="key",
            stream=self.stream,
            circumstances=circumstances,
        )

    @torch.no_grad()
    def look(self, images: torch.Tensor, wanted: tuple[Signal, ...]) -> Outputs:
        self.looks += 1
        return Outputs(logits=self.model(images))

    def hear(self, epoch: int = 0) -> list[torch.Tensor]:
        heard = self.shared.epoch(epoch, [Want("batch")], self.look)
        said = [heard.of(step, "batch") for step in range(self.stream.steps_per_epoch)]
        return [outputs.logits for outputs in said if outputs is not None]


def test_an_epoch_is_cut_into_pieces_without_gaps() -> None:
    for steps in (1, 15, 16, 31, 32, 100, 704):
        pieces = pieces_of(steps)
        assert [step for piece in pieces for step in piece] == list(range(steps))
        assert len(pieces) == max(1, min(4, steps // 16))


def test_trials_that_come_at_the_same_time_divide_an_epoch(tmp_path: Path) -> None:
    classes = [Class(tmp_path) for _ in range(2)]
    for one in classes:
        one.shared._seconds_a_step = 10.0  # They would wait for each other for very long.
    barrier = threading.Barrier(2)
    heard: dict[int, list[torch.Tensor]] = {}

    def work(number: int) -> None:
        barrier.wait()
        heard[number] = classes[number].hear()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.looks for one in classes) == classes[0].stream.steps_per_epoch
    assert all(map(torch.equal, heard[0], heard[1]))
    expected = [classes[0].model(b.images) for b in classes[0].stream.epoch(0)]
    assert all(map(torch.equal, heard[0], expected))


def test_nobody_waits_for_a_dead_trial_longer_than_its_work_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Class(tmp_path)
    monkeypatch.setattr(SignalStore, "claim", lambda self, name: False)
    waited: list[float] = []
    monkeypatch.setattr(signals.time, "sleep", waited.append)
    clock = itertools.count(0.0, 0.5)
    monkeypatch.setattr(signals.time, "monotonic", lambda: next(clock))
    late.shared._seconds_a_step = 0.1  # 2.5 s a piece
    assert len(late.hear()) == 100
    assert late.looks == 100
    assert 0 < len(waited) <= 4 * 5


def test_without_an_estimate_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = Class(tmp_path)
    monkeypatch.setattr(SignalStore, "claim", lambda self, name: False)
    monkeypatch.setattr(signals, "POLL_S", 3600.0)
    late.shared._store.publish("key/other", [torch.zeros(1)], seconds=0.0)
    heard = [late.shared._awaited(task(late), pieces_of(100)[0], 0)]
    assert heard[0].said


def task(of: Class) -> Any:
    return signals._Task(epoch=0, wants=(Want("batch"),), look=of.look)


def test_large_signals_are_not_shared() -> None:
    features = {"wide": Feature(shape=(64, 16, 16)), "vector": Feature(shape=(256,))}
    whole = Signal(name="w", taps=("wide",), make=lambda taps: taps["wide"])
    vector = Signal(name="v", taps=("vector",), make=lambda taps: taps["vector"])
    assert small((), features)
    assert small((vector,), features)
    assert not small((vector, whole), features)


# Precision


def test_bfloat16_is_refused_where_it_is_emulated(
    base: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda device: False)
    with pytest.raises(ConfigError, match=r"train\.precision is 'bf16', .* use fp32"):
        Trial(parse({**base, "train.precision": "bf16"}))


def test_bfloat16_trains_about_the_same_student_with_losses_in_float32(
    own: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda device: True)
    full, _, _ = run({**own, "method": "at_kd"})
    less, trial, shared = run({**own, "method": "at_kd", "train.precision": "bf16"})
    assert shared["signals/hit_rate"] == 0  # Of another precision than what is there.
    assert all(p.dtype == torch.float32 for p in trial.student.parameters())
    for term in ("train/ce", "train/kd", "train/at"):
        assert less[0][term] != full[0][term]
        assert less[0][term] == pytest.approx(full[0][term], rel=0.1)
