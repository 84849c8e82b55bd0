"""The folder of a student: written so that it is whole or refused, and read with every check."""

import hashlib
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from kdtune import models
from kdtune.pruning import PruneRecord, finalize, replay
from kdtune.replacing import replace_file
from kdtune.students.card import StudentCard
from kdtune.students.program import export_program

WEIGHTS = "student.safetensors"
CARD = "student.json"
PROGRAM = "student.pt2"


class StudentError(ValueError):
    """A student that must not be used: damaged, or not the network that its card names."""


def save_student(
    folder: Path, model: nn.Module, card: StudentCard, *, program: bool = True
) -> StudentCard:
    """Write a finished student, after proof that its card rebuilds it.

    ``model`` stays as it is, masks included; what is written is its delivered form on the CPU.

    Args:
        folder: Made if it does not exist; an older student in it is replaced.
        model: The network after its training.
        card: What it is; its ``sha256`` is ignored.
        program: Whether to write ``student.pt2`` as well, which takes a second or two in a
            process that has not exported before; see :func:`~kdtune.students.export_program`.

    Returns:
        The card as written, with the checksum.

    Raises:
        StudentError: If the card describes another network than ``model``.
        ValueError: If the card's network cannot be built, or cannot be exported as a program (the
            weights and the card are complete then).
    """
    plain = _rebuild(card)
    try:
        plain.load_state_dict(model.state_dict())
    except RuntimeError as error:
        raise StudentError(
            f"the card must describe the network that is saved, but '{card.model}' with its "
            f"prune record does not take the weights ({_brief(error)})"
        ) from error
    finalize(plain)
    weights = save({name: tensor.contiguous() for name, tensor in plain.state_dict().items()})
    card = card.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRAM).unlink(missing_ok=True)
    replace_file(folder / WEIGHTS, weights)
    replace_file(folder / CARD, f"{card.model_dump_json(indent=2)}\n".encode())
    if program:
        export_program(plain, folder / PROGRAM, channels=card.channels, size=card.size)
    return card


def load_student(folder: Path) -> tuple[nn.Module, StudentCard]:
    """A saved student on the CPU in evaluation mode, and its card.

    A student pruned by magnitude comes without masks: its zeros are plain weights, and training it
    further would bring them back.

    Raises:
        FileNotFoundError: If the folder holds no student.
        StudentError: If the card is damaged or of a later format, the weights are not those that
            were saved, or the card names another network than theirs.
    """
    card = _read_card(folder / CARD)
    file = folder / WEIGHTS
    if not file.is_file():
        raise FileNotFoundError(f"no weights beside {folder / CARD}; expected {file.name}")
    weights = file.read_bytes()
    if hashlib.sha256(weights).hexdigest() != card.sha256:
        raise StudentError(
            f"{file} is damaged: its sha256 differs from the one in {CARD}; save the student again"
        )
    try:
        model = _rebuild(card)
        finalize(model)
        model.load_state_dict(load(weights))
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise StudentError(
            f"{file} holds another network than {CARD} names, '{card.model}': {_brief(error)}"
        ) from error
    return model.eval(), card


def _rebuild(card: StudentCard) -> nn.Module:
    """The network of the card, pruned as it was, with weights that have no meaning."""
    model = models.build(
        card.model, classes=card.classes, channels=card.channels, size=card.size, seed=0
    )
    if card.pruned is not None:
        record = PruneRecord.from_json(card.pruned)
        replay(model, record, channels=card.channels, size=card.size)
    return model


def _read_card(file: Path) -> StudentCard:
    if not file.is_file():
        raise FileNotFoundError(f"no student in '{file.parent}'; expected {file.name} there")
    try:
        return StudentCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise StudentError(
            f"{file} is not the card of a student: {place}: {first['msg']}"
        ) from None


def _brief(error: Exception) -> str:
    """What torch says first, after its headline."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else lines[0]
