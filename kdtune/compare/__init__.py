"""What five papers printed, and what is measured, side by side."""

from kdtune.compare.comparison import Comparison, compare
from kdtune.compare.measured import measured_results
from kdtune.compare.reported import reported_results
from kdtune.compare.result import Result

__all__ = ["Comparison", "Result", "compare", "measured_results", "reported_results"]
