"""The base of every frozen, strictly validated group of settings."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen, fully defaulted, JSON-safe; unknown fields, NaN and infinities are refused.

    Raises:
        pydantic.ValidationError: On construction; ``kdtune.config`` words it for the user.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )
