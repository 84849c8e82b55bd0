"""One flat dict of JSON scalars in, one frozen, validated trial out."""

from kdtune.config.derived import (
    apart,
    as_finalist,
    publishing,
    teacher_trial,
    together,
    without_teacher,
)
from kdtune.config.errors import ConfigError
from kdtune.config.keys import TEACHER_AXES, TEACHER_TRAINING, known_keys, method_keys
from kdtune.config.parsing import decode, parse
from kdtune.config.reference import method_page
from kdtune.config.sections import TeacherConfig, TrainSettings, TrialConfig

__all__ = [
    "TEACHER_AXES",
    "TEACHER_TRAINING",
    "ConfigError",
    "TeacherConfig",
    "TrainSettings",
    "TrialConfig",
    "apart",
    "as_finalist",
    "decode",
    "known_keys",
    "method_keys",
    "method_page",
    "parse",
    "publishing",
    "teacher_trial",
    "together",
    "without_teacher",
]
