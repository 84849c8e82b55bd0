"""The Ray Tune trainables: short, and the only place that reports to Tune."""

from trainables.distill import Distill, Finalist, TrainTeacher

__all__ = ["Distill", "Finalist", "TrainTeacher"]
