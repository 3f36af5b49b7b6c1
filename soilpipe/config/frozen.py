"""The base of every model, and the times in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """The base of all models: nothing changes after it is made, no field is unknown, no value is in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone. Give a time zone aware datetime")
    return moment.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_utc)]
