"""A saved student as MLflow serves it: a ``loader_module`` of ``mlflow.pyfunc``, without a pickle.

MLflow imports this module by its name, and this module imports neither MLflow nor Ray.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdtune.students.artefact import load_student

BATCH = 256
"""Images that pass through the network at once, however many are asked for."""


class ServedStudent:
    """Class probabilities from pixels as a picture file holds them; on the CPU.

    Args:
        folder: As :func:`~kdtune.students.load_student` takes it.

    Raises:
        FileNotFoundError: If the folder holds no student.
        StudentError: If the student is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._model, self.card = load_student(folder)
        mean = torch.tensor(self.card.mean, dtype=torch.float64)[:, None, None]
        std = torch.tensor(self.card.std, dtype=torch.float64)[:, None, None]
        self._scale = (1 / (255 * std)).float()
        self._shift = (-mean / std).float()

    def predict(
        self, images: NDArray[np.uint8], params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """Probability of each class for each image.

        Args:
            images: ``(B, channels, size, size)`` uint8, 0 to 255; normalised in here, as the
                card says.
            params: None; MLflow may pass it.

        Returns:
            ``(B, classes)`` float32, in the order of the card's ``class_names``; rows sum to 1.

        Raises:
            ValueError: If the images have another type or shape. Floats are refused, since 0..1
                cannot be told from 0..255.
        """
        shape = (self.card.channels, self.card.size, self.card.size)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
            expected = ", ".join(map(str, shape))
            raise ValueError(
                f"images must be uint8 of shape (B, {expected}), pixels 0 to 255; got "
                f"{images.dtype} of shape {images.shape}"
            )
        pixels = torch.tensor(images)
        starts = range(0, max(1, len(pixels)), BATCH)
        with torch.inference_mode():
            found = [self._probabilities(pixels[start : start + BATCH]) for start in starts]
        return torch.cat(found).numpy()

    def _probabilities(self, pixels: Tensor) -> Tensor:
        logits = self._model(torch.mul(pixels, self._scale).add_(self._shift))
        return torch.softmax(logits, dim=1)


def _load_pyfunc(data_path: str) -> ServedStudent:
    """What MLflow calls with the folder of the student."""
    return ServedStudent(Path(data_path))
