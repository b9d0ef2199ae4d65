"""The wire format of the admin API: the settings that the commands have, by the same names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from serve.wire.limits import BOUNDS, MOST_NAME_CHARACTERS, MOST_NAMES, fault_of_number
from serve.wire.recording import Recording

Name = Annotated[str, Field(min_length=1, max_length=MOST_NAME_CHARACTERS)]
Names = Annotated[list[Name], Field(max_length=MOST_NAMES)]


def _within(name: str) -> tuple[BeforeValidator, Any]:
    """Return what holds a number to the bounds of a setting, and what describes them."""

    def check(value: Any) -> Any:
        if what := fault_of_number(name, value):
            raise ValueError(f"{what}; {BOUNDS[name].told}")
        return value

    return BeforeValidator(check), Field(ge=BOUNDS[name].least, le=BOUNDS[name].most)


class BudgetFields(BaseModel):
    """What keys and teams share. A field that is left out stays as it is; null takes a limit away."""

    model_config = ConfigDict(extra="forbid")

    budget_usd: Annotated[float, *_within("budget_usd")] | None = Field(
        None, description="maximum spend per period"
    )
    period: Literal["day", "month", "total"] = Field("month", description="after which it is renewed")
    alert_at: Annotated[list[Annotated[int, *_within("alert_at")]], Field(max_length=MOST_NAMES)] | None = (
        Field(None, description="percent of the budget at which to alert; null for 50, 80, 100")
    )


class TeamChange(BudgetFields):
    """The settings of a team."""

    parent: Name | None = Field(None, description="team that it lies in, by name or id")


class TeamCreation(TeamChange):
    """A new team."""

    name: Name = Field(description="its name")


class KeyChange(BudgetFields):
    """The settings of a key."""

    team: Name | None = Field(None, description="team whose budget it shares, by name or id")
    paced_over: Annotated[int, *_within("paced_over")] | None = Field(
        None, description="requests per period to pace the budget over"
    )
    requests_per_minute: Annotated[int, *_within("requests_per_minute")] | None = Field(
        None, description="maximum requests per minute"
    )
    experts: Names | None = Field(None, description="the only experts that may answer")
    models: Names | None = Field(None, description="the only model names that requests may give")
    dialects: Names | None = Field(None, description="the only dialects")
    networks: Names | None = Field(None, description="the only networks it may be used from, as CIDR")
    preset: Name | None = Field(None, description="preset that the model name leeroo stands for")
    max_experts_asked: Annotated[int, *_within("max_experts_asked")] | None = Field(
        None, description="experts that may answer one request"
    )
    max_latency_s: Annotated[float, *_within("max_latency_s")] | None = Field(
        None, description="for one answer"
    )
    record: Recording | None = Field(None, description="what is kept of its requests")
    explore_share: Annotated[float, *_within("explore_share")] | None = Field(
        None, description="share of its requests to explore on"
    )
    explore_usd_per_day: Annotated[float, *_within("explore_usd_per_day")] | None = Field(
        None, description="what exploring may cost a day"
    )
    expires_at: AwareDatetime | None = Field(None, description="when it ends, with its time zone")
    operator: bool = Field(default=False, description="whether it sees everybody's figures")

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, as the ledger takes them."""
        told = self.model_dump(exclude_unset=True, exclude={"name"})
        if self.expires_at is not None:
            told["expires_at"] = self.expires_at.timestamp()
        return told


class KeyCreation(KeyChange):
    """A new key."""

    name: Name = Field(description="its owner")


class Rotation(BaseModel):
    """A new secret for a key."""

    model_config = ConfigDict(extra="forbid")

    grace_s: Annotated[float, *_within("grace_s")] = Field(
        86_400.0, description="seconds in which the old secret still works"
    )


class Changed(BaseModel):
    """What was made or changed."""

    id: str = Field(description="of the key or team")
    name: str | None = Field(None, description="its name")
    secret: str | None = Field(None, description="of a key, when it is made or rotated: shown this once")


class Listing(BaseModel):
    """Rows, as the commands print them with --json."""

    object: Literal["list"] = Field(default="list", description="always list")
    data: list[dict[str, Any]] = Field(description="the rows")
