"""What a trial does when, as data: the phases that its configuration asks for."""

from kdtune.config import TrialConfig
from kdtune.contracts import Phase


def phases(config: TrialConfig) -> tuple[Phase, ...]:
    """The phases of a trial, in order, without gaps.

    With ``prune_ratio`` > 0 the student is trained for the share ``prune.at`` of the epochs, then
    pruned, then fine-tuned with the same objective for the rest, on the same schedule. A run of a
    single epoch is pruned before it.
    """
    epochs = config.train.epochs
    if config.prune_ratio == 0:
        return (Phase(name="train", start=0, stop=epochs),)
    cut = min(epochs - 1, max(1, round(config.prune.at * epochs)))
    finetune = Phase(name="finetune", start=cut, stop=epochs, prune=True)
    return (Phase(name="train", start=0, stop=cut), finetune) if cut else (finetune,)


def phase_at(plan: tuple[Phase, ...], epoch: int) -> Phase:
    """The phase that ``epoch`` (from 0) belongs to."""
    return next(phase for phase in plan if phase.start <= epoch < phase.stop)
