"""A search from request to result: teachers, then trials, then finalists."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial

from kdtune.config import TrialConfig, parse, teacher_trial
from kdtune.contracts import FlatConfig, Scalar
from kdtune.data import Dataset
from kdtune.report.leaderboard import Row, leaderboard_rows
from kdtune.report.progress import Display
from kdtune.search.callbacks import ProgressCallback, TrackingCallback
from kdtune.search.checks import check_request, teacher_pool
from kdtune.search.cluster import concurrency, connected
from kdtune.search.finalists import Arm, arms, published, seeded
from kdtune.search.listed import ListedConfigs
from kdtune.search.request import METRIC, MODE, SearchRequest
from kdtune.search.samplers import StudyCallback, make_sampler
from kdtune.search.schedulers import make_scheduler
from kdtune.search.stage import Interruption, Resources, run_stage
from kdtune.teachers.store import TeacherStore
from kdtune.tracking import MLflowSink
from kdtune.training.teacher import key_of
from kdtune.training.trial import resolve_device
from trainables import Distill, Finalist, TrainTeacher
