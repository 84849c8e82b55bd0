"""The Ray Tune trainables: short, and the only place that reports to Tune."""

from trainables.distill import Distill

__all__ = ["Distill"]
