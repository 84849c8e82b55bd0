"""What the methods with one student and one teacher share: cross entropy, soft labels, an end."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from kdtune.contracts import Moment, Step, Traits
from kdtune.objectives.base import Objective
from kdtune.objectives.cross_entropy import cross_entropy
from kdtune.objectives.soft_labels import soft_cross_entropy, soft_label_kl


class Guided(Objective):
    """``ce_weight * CE + alpha * T^2 * KL(teacher || student; T)`` and the terms of a method.

    A method gives its own terms in :meth:`own_weights` and :meth:`own_term`; with ``alpha`` > 0 it
    is combined with soft labels. From ``stop_epoch`` on the teacher is silent and cross entropy
    has weight 1 (cho2019, section 5.3: distillation that stops early).
    """

    temperature: Annotated[float, Field(gt=0)] = 4.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    ce_weight: Annotated[float, Field(ge=0)] | None = None
    stop_epoch: Annotated[int, Field(ge=0)] | None = None

    zero_at_match: ClassVar[bool] = True
    """Whether the method's own terms are 0 for equal networks; not behind layers of its own, which
    start at random."""

    sample_mean: ClassVar[bool] = True
    """Whether the method's own terms are means over the samples of a batch; not if they compare
    samples with each other."""

    def own_taps(self) -> tuple[str, ...]:
        """The feature taps that the method reads."""
        return ()

    def own_weights(self, moment: Moment) -> Mapping[str, float]:
        """The weights of the method's own terms."""
        return {}

    def own_term(self, name: str, step: Step) -> Tensor:
        """The raw value of one of the method's own terms."""
        raise AssertionError(f"{type(self).__name__} has no term '{name}'")

    @property
    def traits(self) -> Traits:
        return Traits(
            taps=self.own_taps(),
            zero_at_match=self.zero_at_match,
            soft_labels=self.alpha > 0,
            on_mixed=("kd",),
            sample_mean=self.sample_mean,
        )

    def stops_at(self, moment: Moment) -> int | None:
        """The epoch from which on the teacher is silent; None for never."""
        return self.stop_epoch

    def weights(self, moment: Moment) -> Mapping[str, float]:
        stop = self.stops_at(moment)
        if stop is not None and moment.epoch >= stop:
            return {"ce": 1.0}
        ce = 1 - self.alpha if self.ce_weight is None else self.ce_weight
        return {"ce": ce, "kd": self.alpha, **self.own_weights(moment)}

    def notes(self, step: Step) -> Mapping[str, Tensor]:
        """``kd_soft_ce``: the form of the soft labels' loss that some papers print."""
        if step.teacher is None or self.alpha == 0:
            return {}
        student, teacher = step.student.logits.detach(), step.teacher.logits
        value = soft_cross_entropy(student, teacher, self.temperature)
        return {"kd_soft_ce": value * self.temperature**2}

    def term(self, name: str, step: Step) -> Tensor:
        if name == "ce":
            return cross_entropy(step.student.logits, step.batch)
        assert step.teacher is not None
        if name == "kd":
            return soft_label_kl(step.student.logits, step.teacher.logits, self.temperature)
        return self.own_term(name, step)
