"""Sequential distillation: each network of a chain is taught by the one before (cho2019, 5.4).

A chain of one network repeated makes generations (born-again networks); one of falling size leads
from large over medium to small. The first is trained from scratch. Every member is a stored
teacher under a key of its own, so a chain that begins like an earlier one goes on from there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from kdtune.config import TEACHER_AXES, ConfigError, TrialConfig, parse, without_teacher
from kdtune.contracts import FlatConfig, Scalar
from kdtune.data import ImageSplit
from kdtune.models.catalog import locate
from kdtune.objectives import OBJECTIVES
from kdtune.seeds import derive
from kdtune.teachers.store import TeacherError, TeacherStore, key_of
from kdtune.training.checkpoint import read_state, write_state
from kdtune.training.data import load_trial_data
from kdtune.training.device import prepare, resolve_device
from kdtune.training.ensemble import ensemble_scores
from kdtune.training.evaluate import predict, scores
from kdtune.training.pairing import check_networks
from kdtune.training.teacher import EVAL_BATCH, STORED, identity_of, stored_teacher
from kdtune.training.trial import Trial
from kdtune.views import plain_batches

Answer = tuple[Tensor, Tensor]
"""Logits ``(n, C)`` and labels ``(n,)`` of a split."""

MOST_NETWORKS = 1000
EXAMPLE = "'wrn_16_3,wrn_16_1' or 'wrn_16_1*5'"


@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """A whole sequence.

    Attributes:
        networks: The chain, from the first teacher to the last student.
        ensembles: Whether as many scratch networks are trained as well, and both ensembles scored.
        role: ``trial``, or ``finalist`` for a sequence that is tested.
        seed: Each member has one of its own, made of this and of its position.
        shared: What a member's flat configuration holds besides: data, method, training.
    """

    networks: tuple[str, ...]
    ensembles: bool = True
    role: str = "trial"
    seed: int = 0
    shared: FlatConfig = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Networks to train or load, scratch ones included."""
        return len(self.networks) * (2 if self.ensembles else 1)

    @property
    def epochs(self) -> int:
        """What the reported ``epoch`` ends at: those of all members, loaded ones included."""
        return self.size * self.scratch(0).train.epochs

    def generation(self, position: int, teacher_key: str) -> TrialConfig:
        """The trial of one network of the chain.

        Args:
            position: From 0; the first has no teacher.
            teacher_key: Of the network before it, in the store.

        Raises:
            ConfigError: If the settings do not make a valid trial.
        """
        own = self._own("generation", position)
        if position == 0:
            return parse(without_teacher({**own, "student": self.networks[0]}))
        pair = {"student": self.networks[position], "teacher": self.networks[position - 1]}
        return parse({**own, **pair, "teacher.weights": f"{STORED}{teacher_key}"})

    def scratch(self, position: int) -> TrialConfig:
        """The trial of one network of the last architecture that nobody teaches."""
        own = self._own("scratch", position)
        return parse(without_teacher({**own, "student": self.networks[-1]}))

    def flat(self) -> dict[str, Scalar]:
        """The canonical flat form, every active default written out; it parses to the same."""
        whole = self.generation(1, "").flat()
        shared = {key: value for key, value in whole.items() if not _of_one_member(key)}
        return {
            **shared,
            "chain": ",".join(self.networks),
            "ensembles": self.ensembles,
            "role": self.role,
            "seed": self.seed,
        }

    def _own(self, kind: str, position: int) -> dict[str, Scalar]:
        return {**self.shared, "role": "teacher", "seed": derive(self.seed, kind, position)}


def parse_sequence(flat: FlatConfig) -> SequenceConfig:
    """Parse and validate a sequence, every member of it, before any work.

    Args:
        flat: The keys of a trial without student and teacher, which ``chain`` names: networks
            separated by commas, each with ``*N`` for N generations of it; and ``ensembles``. A
            value of None counts as not given.

    Raises:
        ValueError: If the chain is malformed, shorter than two or names an unknown network, a key
            is set that the chain or the store decides, the method has no teacher, or the rest does
            not make valid trials.
    """
    given = {key: value for key, value in flat.items() if value is not None}
    networks = _networks(given.pop("chain", ""))
    ensembles = given.pop("ensembles", True)
    if not isinstance(ensembles, bool):
        raise ConfigError(f"ensembles must be true or false, got {ensembles!r}")
    _refuse(given)
    role, seed = given.pop("role", "trial"), given.pop("seed", 0)
    if role not in ("trial", "finalist"):
        raise ConfigError(
            f"role must be trial or finalist in a sequence, whose members are all stored, got "
            f"{role!r}"
        )
    if type(seed) is not int or seed < 0:
        raise ConfigError(f"seed must be an integer >= 0, got {seed!r}")
    config = SequenceConfig(
        networks=networks, ensembles=ensembles, role=role, seed=seed, shared=given
    )
    # The taught ones first: they know every key that there is, and so name one that is unknown.
    for position in reversed(range(len(networks))):
        config.generation(position, "")
    return config


def _networks(chain: Scalar) -> tuple[str, ...]:
    """The networks that a chain names; every one exists."""
    found: list[str] = []
    for part in str(chain).split(","):
        parsed = re.fullmatch(r"\s*([^\s*]+)\s*(?:\*\s*([1-9]\d*))?\s*", part)
        if parsed is None:
            raise ConfigError(
                f"chain must be networks separated by commas, each with '*N' where it is repeated, "
                f"such as {EXAMPLE}, got {chain!r}"
            )
        locate(parsed[1])
        times = int((parsed[2] or "1")[:9])  # Of more digits nine are too many, too.
        if len(found) + times > MOST_NETWORKS:
            raise ConfigError(f"chain must have at most {MOST_NETWORKS} networks, got {chain!r}")
        found += [parsed[1]] * times
    if len(found) < 2:
        raise ConfigError(f"chain must have 2 networks at least, such as {EXAMPLE}, got {chain!r}")
    return tuple(found)


def _refuse(given: FlatConfig) -> None:
    """Refuse what a sequence decides itself, or what its members cannot be."""
    for key in given:
        if key in ("student", "init"):
            raise ConfigError(f"'{key}' is of one network, and a sequence has a chain; drop it")
        if key == "train.snapshots":
            raise ConfigError(f"'{key}' are of one teacher, and a sequence has a chain; drop it")
        if _of_one_member(key):
            raise ConfigError(f"'{key}' describes a teacher, and 'chain' names them; drop it")
    method = given.get("method", TrialConfig.model_fields["method"].default)
    if method in OBJECTIVES and not OBJECTIVES.get(str(method))().traits.teacher:
        raise ConfigError(
            f"each network of a chain is taught by the one before, and method '{method}' has no "
            "teacher; use kd, eskd or at_kd, for example"
        )
    if given.get("prune_ratio"):
        raise ConfigError(
            "prune_ratio must be 0 in a sequence, whose members are stored whole, got "
            f"{given['prune_ratio']}"
        )


def _of_one_member(key: str) -> bool:
    teachers = key in TEACHER_AXES or key.startswith("teacher.")
    return key == "student" or (teachers and key != "teacher.store")


class Member(NamedTuple):
    """A network that is done: its key in the store and its scores on validation."""

    key: str
    scores: dict[str, float]


class SequenceTrial:
    """A sequence that advances one epoch at a time, or one member where it is stored already.

    Members are trained one after the other: the chain, then the scratch networks. The state
    between epochs is that of the member in training, and the keys of those before it.

    Args:
        config: The whole sequence.

    Raises:
        ValueError: If the data or the networks cannot serve the configuration.
    """

    def __init__(self, config: SequenceConfig) -> None:
        self.config = config
        first = config.scratch(0)
        self.device = resolve_device(first.train.device)
        prepare(self.device, first.train.threads)
        self.dataset = load_trial_data(first)
        for position in range(len(config.networks)):
            check_networks(config.generation(position, ""), self.dataset)
        self.diverged = False
        self._store = TeacherStore(first.store)
        self._epochs = first.train.epochs
        self._done: list[Member] = []
        self._trial: Trial | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do, because all members are done or one diverged."""
        return self.diverged or len(self._done) == self.config.size

    @property
    def keys(self) -> tuple[str, ...]:
        """What the networks of the chain are stored under, as far as they are done."""
        return tuple(member.key for member in self._done[: len(self.config.networks)])

    def next_epoch(self) -> dict[str, float]:
        """Train the current member for an epoch, or load it, and return the flat metrics.

        ``val/*`` are those of the chain; while scratch networks are trained, theirs stand under
        ``scratch/`` and ``val/*`` stays that of the last generation. ``epoch`` counts on over all
        members; one that is loaded counts as all of its epochs.
        """
        assert not self.finished
        position = len(self._done)
        if self._trial is None:
            config = self._member(position)
            key = key_of(identity_of(config, self.device.type))
            if key in self._store:
                return self._report(position, self._loaded(key))
            self._trial = Trial(config)
        metrics = self._trial.next_epoch()
        if self._trial.diverged:
            self.diverged = True
        elif self._trial.finished:
            own = {name: value for name, value in metrics.items() if name in _SCORES}
            self._done.append(Member(self._trial.publish(), own))
            self._trial = None
        return self._report(position, {**metrics, "from_store": 0.0})

    def test(self) -> dict[str, float]:
        """Scores of each network and of the ensembles on the test split: for finalists, once.

        Raises:
            ConfigError: If the sequence is not complete.
        """
        if len(self._done) < self.config.size:
            raise ConfigError("a sequence is tested when all of its members are trained")
        answers = self._answers(self.dataset.test)
        found = [scores(*answer) for answer in answers]
        last = found[len(self.config.networks) - 1]
        return {
            **{f"test/{name}": value for name, value in last.items()},
            **{f"{name}/test_accuracy": each["accuracy"] for name, each in self._named(found)},
            **self._ensembles(answers, "test_accuracy"),
        }

    def state(self) -> dict[str, Any]:
        """All that a restored sequence needs besides the store, as tensors and plain values."""
        return {
            "config": self.config.flat(),
            "diverged": self.diverged,
            "done": [(member.key, dict(member.scores)) for member in self._done],
            "trial": None if self._trial is None else self._trial.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()``; the following epochs give the same bits.

        Raises:
            ConfigError: If the state is of another configuration.
            TeacherError: If a member that was done is no longer stored.
        """
        if state["config"] != self.config.flat():
            raise ConfigError("the checkpoint is of another sequence")
        self._done = [Member(key, dict(own)) for key, own in state["done"]]
        for member in self._done:
            if member.key not in self._store:
                raise TeacherError(
                    f"network {member.key} of the sequence is no longer in '{self._store.root}'; "
                    "put it back, or start the sequence anew"
                )
        self.diverged = state["diverged"]
        self._trial = None
        if state["trial"] is not None:
            self._trial = Trial(self._member(len(self._done)))
            self._trial.restore(state["trial"])

    def save(self, folder: Path) -> None:
        """Write the state to ``folder/sequence.pt``.

        Raises:
            OSError: If it cannot be written.
        """
        write_state(self.state(), folder / "sequence.pt")

    def load(self, folder: Path) -> None:
        """Restore from ``folder/sequence.pt``, which may hold but tensors and plain values.

        Raises:
            DamagedCheckpoint: If it is not such a file.
            ConfigError: If it is of another configuration.
            TeacherError: If a member that was done is no longer stored.
        """
        self.restore(read_state(folder / "sequence.pt", self.device))

    # Private

    def _member(self, position: int) -> TrialConfig:
        length = len(self.config.networks)
        if position >= length:
            return self.config.scratch(position - length)
        before = self._done[position - 1].key if position else ""
        return self.config.generation(position, before)

    def _loaded(self, key: str) -> dict[str, float]:
        """What a member that is stored already reports, which is done thereby."""
        found = scores(*self._answer(key, self.dataset.val))
        own = {f"val/{name}": value for name, value in found.items()}
        self._done.append(Member(key, own))
        return {**own, "epoch": float(self._epochs), "from_store": 1.0}

    def _report(self, position: int, own: Mapping[str, float]) -> dict[str, float]:
        last = len(self.config.networks) - 1
        metrics = dict(own)
        if position > last:
            metrics = {f"scratch/{name}": v for name, v in own.items() if name not in _OF_SEQUENCE}
            metrics |= self._done[last].scores
        done = [member.scores for member in self._done]
        complete = len(done) == self.config.size
        return {
            **metrics,
            **{f"{name}/val_accuracy": s["val/accuracy"] for name, s in self._named(done)},
            **(self._ensembles(self._answers(self.dataset.val), "accuracy") if complete else {}),
            "generation": float(min(position, last)),
            "epoch": position * self._epochs + own["epoch"],
            "finished": float(complete),
            "diverged": float(self.diverged),
        }

    def _named(self, found: Sequence[dict[str, float]]) -> Iterator[tuple[str, dict[str, float]]]:
        """Each with ``generation/0`` .. or ``scratch/0`` .. as its name."""
        length = len(self.config.networks)
        for position, each in enumerate(found):
            kind, number = ("generation", position) if position < length else ("scratch", position)
            yield f"{kind}/{number % length}", each

    def _ensembles(self, answers: Sequence[Answer], name: str) -> dict[str, float]:
        """How accurate the generations are together, and as many scratch networks together."""
        if not self.config.ensembles:
            return {}
        length = len(self.config.networks)
        labels = answers[0][1]
        logits = [each for each, _ in answers]
        generations = ensemble_scores(logits[:length], labels)
        scratch = ensemble_scores(logits[length:], labels)
        return {
            "ensemble/members": float(length),
            f"ensemble/generations_{name}": generations["accuracy"],
            f"ensemble/scratch_{name}": scratch["accuracy"],
        }

    def _answers(self, split: ImageSplit) -> list[Answer]:
        return [self._answer(member.key, split) for member in self._done]

    def _answer(self, key: str, split: ImageSplit) -> Answer:
        model = stored_teacher(self._store.root, key, self.dataset, self.device).model
        batches = plain_batches(split, self.dataset, batch_size=EVAL_BATCH, device=self.device)
        return predict(model, batches)


_SCORES = ("val/accuracy", "val/top5", "val/loss")
_OF_SEQUENCE = ("epoch", "finished", "diverged")
