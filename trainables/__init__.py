"""The Ray Tune trainables: short, and the only place that reports to Tune."""

from trainables.distill import Distill
from trainables.finetune import Finetune
from trainables.sequence import Sequence

__all__ = ["Distill", "Finetune", "Sequence"]
