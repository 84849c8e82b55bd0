"""The teacher's outputs on a stream of views, computed once for all trials that share both.

Trials of a search that show the same views to the same teacher would all compute the same numbers.
The first one that comes to an epoch computes them and leaves them in the signal store; trials that
come at the same time divide the epoch among themselves.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from kdtune.config import TrialConfig
from kdtune.contracts import Batch, Feature, Outputs, Signal
from kdtune.teachers.signals import Piece, SignalStore, place_of
from kdtune.teachers.store import TeacherStore
from kdtune.training.device import circumstances
from kdtune.training.teacher import FrozenTeacher
from kdtune.views import ViewStream

View = Literal["batch", "mixed"]
"""A batch as the stream yields it, or what is mixed of it besides."""

PIECES = 4
"""Into so many an epoch is cut, that so many trials can compute it together."""

STEPS_OF_A_PIECE = 16
"""At least; an epoch of fewer steps is one piece."""

LARGEST = 8192
"""Bytes of a signal per image, at most: larger ones are computed faster than they are read."""

POLL_S = 0.005

Look = Callable[[Tensor, tuple[Signal, ...]], Outputs]
"""From images ``(B, C, H, W)`` to the teacher's logits and those signals."""


class Want(NamedTuple):
    """What an epoch needs of the teacher on one view: its logits and these signals."""

    view: View
    signals: tuple[Signal, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of everything that is wanted."""
        return ("logits", *(signal.name for signal in self.signals))


Columns = dict[tuple[View, str], list[Tensor]]
"""The tensors of some steps, by view and name."""


@dataclass(kw_only=True)
class Tally:
    """What sharing did for a trial so far, in pieces, bytes and seconds."""

    read: int = 0
    computed: int = 0
    size: int = 0
    saved_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Some consecutive steps of an epoch, as far as they are known; ``steps`` is end-exclusive."""

    steps: range
    said: Mapping[tuple[View, str], Piece | Sequence[Tensor]]


class Heard:
    """What the teacher says in one epoch.

    Args:
        parts: Of all steps, in order.
        device: Where the student trains.
    """

    def __init__(self, parts: Sequence[_Part], device: torch.device) -> None:
        self._parts = parts
        self._device = device

    def of(self, step: int, view: View) -> Outputs | None:
        """Of a view in one step; None if that was not wanted."""
        part = next(part for part in self._parts if step in part.steps)
        place = step - part.steps.start
        found = {
            name: (said.tensor(place) if isinstance(said, Piece) else said[place]).to(self._device)
            for (of_view, name), said in part.said.items()
            if of_view == view
        }
        return Outputs(logits=found.pop("logits"), signals=found) if found else None


class SharedTeacher:
    """A teacher whose outputs on one stream are shared through a store.

    Args:
        store: Where they are kept.
        teacher: Key of the teacher; all of its pieces lie in a folder of that name.
        stream: The views.
        circumstances: Whatever else the bits depend on: device, precision, number of threads.
        half: Whether logits are rounded to half precision, an error of at most one part in 2,048.
    """

    def __init__(
        self,
        store: SignalStore,
        *,
        teacher: str,
        stream: ViewStream,
        circumstances: Mapping[str, Any],
        half: bool = False,
    ) -> None:
        self._store = store
        self._teacher = teacher
        self._stream = stream
        self._identity = {"stream": stream.identity, "half": half, **circumstances}
        self._half = half
        self._seconds_a_step: float | None = None
        self.tally = Tally()

    def metrics(self) -> dict[str, float]:
        """What sharing did for the trial so far, as flat metrics."""
        tally = self.tally
        failed = self._store.failed_writes
        return {
            "signals/hit_rate": tally.read / max(1, tally.read + tally.computed),
            "signals/read_mb": tally.size / 1e6,
            "signals/saved_s": tally.saved_s,
            **({"signals/failed_writes": float(failed)} if failed else {}),
        }

    def epoch(self, epoch: int, wants: Sequence[Want], look: Look) -> Heard:
        """All that is wanted of an epoch, read or computed.

        First whatever is there is taken, and whatever nobody is at is computed. What others are
        at by then is waited for, but no longer than computing it would take.

        Args:
            epoch: From 0.
            wants: One for each view.
            look: Runs the teacher.
        """
        parts = [_Part(steps=steps, said={}) for steps in pieces_of(self._stream.steps_per_epoch)]
        task = _Task(epoch=epoch, wants=tuple(wants), look=look)
        known = [self._taken(task, part.steps, number) for number, part in enumerate(parts)]
        for number, part in enumerate(known):
            if part is None:
                known[number] = self._awaited(task, parts[number].steps, number)
        return Heard([part for part in known if part is not None], self._stream.device)

    def _taken(self, task: "_Task", steps: range, number: int) -> _Part | None:
        """A part that is there, or that is ours to compute; None if somebody else is at it."""
        found = self._read(task, steps, number)
        if found is None and self._store.claim(self._name(task, number, *task.first)):
            return self._computed(task, steps, number)
        return found

    def _awaited(self, task: "_Task", steps: range, number: int) -> _Part:
        patience = (self._seconds_a_step or 0.0) * len(steps)
        start = time.monotonic()
        while time.monotonic() - start < patience:
            time.sleep(POLL_S)
            if found := self._read(task, steps, number):
                return found
        return self._read(task, steps, number) or self._computed(task, steps, number)

    def _read(self, task: "_Task", steps: range, number: int) -> _Part | None:
        """A part as others left it; None unless all of it is there."""
        said: dict[tuple[View, str], Piece] = {}
        for key in task.keys:
            piece = self._store.read(self._name(task, number, *key))
            if piece is None or len(piece.shapes) != len(steps):
                return None
            said[key] = piece
        self.tally.read += 1
        self.tally.size += sum(piece.size for piece in said.values())
        seconds = max(piece.seconds for piece in said.values())
        self.tally.saved_s += seconds
        self._seconds_a_step = self._seconds_a_step or seconds / len(steps)
        return _Part(steps=steps, said=said)

    def _computed(self, task: "_Task", steps: range, number: int) -> _Part:
        start = time.perf_counter()
        said: Columns = {key: [] for key in task.keys}
        for step in steps:
            batch = self._stream.batch(task.epoch, step)
            for want in task.wants:
                outputs = task.look(_images(batch, want.view), want.signals)
                said[want.view, "logits"].append(self._rounded(outputs.logits))
                for name, tensor in outputs.signals.items():
                    said[want.view, name].append(tensor)
        seconds = time.perf_counter() - start
        self._seconds_a_step = seconds / len(steps)
        self.tally.computed += 1
        # The claimed one last: until it is there, nobody else begins with this part.
        for (view, name), tensors in reversed(said.items()):
            half = self._half and name == "logits"
            self._store.publish(
                self._name(task, number, view, name), tensors, seconds=seconds, half=half
            )
        return _Part(steps=steps, said=said)

    def _rounded(self, logits: Tensor) -> Tensor:
        """What will be read back."""
        return logits.half().float() if self._half else logits

    def _name(self, task: "_Task", number: int, view: View, name: str) -> str:
        place = place_of({**self._identity, "view": view, "signal": name})
        return f"{self._teacher}/{place}/epoch-{task.epoch:05d}-{number}"


def shared_teacher(
    config: TrialConfig, teacher: FrozenTeacher | None, stream: ViewStream
) -> SharedTeacher | None:
    """The teacher of a trial as it is shared with others; None where it is run in every step."""
    if teacher is None or config.teacher is None or config.teacher.signals == "live":
        return None
    folder = TeacherStore(config.store).signals_folder
    return SharedTeacher(
        SignalStore(folder, most_bytes=round(config.teacher.signals_gb * 1e9)),
        teacher=teacher.key,
        stream=stream,
        circumstances={
            **circumstances(stream.device),
            "precision": config.train.precision,
            "val_accuracy": teacher.val_accuracy,
        },
        half=config.teacher.signals == "half",
    )


class _Task(NamedTuple):
    """What is wanted of one epoch."""

    epoch: int
    wants: tuple[Want, ...]
    look: Look

    @property
    def keys(self) -> list[tuple[View, str]]:
        return [(want.view, name) for want in self.wants for name in want.names]

    @property
    def first(self) -> tuple[View, str]:
        """The piece whose claim stands for the whole part."""
        return self.keys[0]


def pieces_of(steps: int) -> list[range]:
    """The steps of an epoch in pieces of nearly equal size."""
    count = max(1, min(PIECES, steps // STEPS_OF_A_PIECE))
    ends = [steps * piece // count for piece in range(count + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


def small(signals: Sequence[Signal], features: Mapping[str, Feature]) -> bool:
    """Whether all ``signals`` of a teacher with those ``features`` may be shared."""
    for signal in signals:
        taps = {tap: torch.zeros(2, *features[tap].shape) for tap in signal.taps}
        made = signal.make(taps)
        if made.numel() * made.element_size() > LARGEST * len(made):
            return False
    return True


def _images(batch: Batch, view: View) -> Tensor:
    shown = batch if view == "batch" else batch.mixed
    assert shown is not None
    return shown.images
