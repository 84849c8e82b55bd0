"""Files that are there whole or not at all."""

import os
import uuid
from pathlib import Path

DRAFT = ".draft-"
"""What the name of a file that is being written begins with."""


def replace_file(file: Path, content: bytes) -> None:
    """Write ``file``, whose folder is made, so that a reader finds the old content or the new.

    Raises:
        OSError: If that cannot be done; the old content stays.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{DRAFT}{uuid.uuid4().hex[:12]}")
    try:
        draft.write_bytes(content)
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
