"""The base of every model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """The base of all models: nothing changes after it is made, no field is unknown, no value is in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
