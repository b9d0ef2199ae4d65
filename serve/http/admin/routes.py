"""The paths of the admin API. The ledger does the work, and notes who asked for it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Query

from serve.http.described import REFUSALS, FromKey
from serve.ledger.messages import AdminOrder, Caller
from serve.request.clients import LedgerClient
from serve.wire.admin import Changed, KeyChange, KeyCreation, Listing, Rotation, TeamChange, TeamCreation
from serve.wire.api_errors import ApiError

_BODIES: dict[int | str, dict[str, Any]] = {code: REFUSALS[code] for code in (400, 401, 403, 404, 413)}
_PLAIN: dict[int | str, dict[str, Any]] = {code: REFUSALS[code] for code in (400, 401, 403, 404)}
_Day = Annotated[str, Query(pattern=r"^\d{4}-\d{2}-\d{2}$", description="a day (UTC), as 2027-01-31")]


def add_admin(app: FastAPI, ledger: LedgerClient) -> None:
    """Add the paths; without an admin's key they let nobody in."""
    asked = APIRouter()

    async def do(
        caller: Caller,
        what: str,
        action: str,
        name: str | None = None,
        settings: dict[str, Any] | None = None,
    ) -> Any:
        answer = await ledger.administer(caller, AdminOrder(what, action, name, settings or {}))
        if answer.status >= 400:
            code = {401: "invalid_api_key", 403: "admins_only", 404: "not_found"}.get(answer.status)
            raise ApiError(answer.status, str(answer.told), code=code or "invalid_request")
        return answer.told

    async def rows(caller: Caller, what: str, settings: dict[str, Any] | None = None) -> Listing:
        return Listing(data=await do(caller, what, "list", settings=settings))

    @app.get("/v1/admin/keys", responses=_PLAIN)
    async def list_keys(caller: FromKey) -> Listing:
        """List keys with their limits and what they spent, never with a secret."""
        return await rows(caller, "keys")

    @asked.post("/v1/admin/keys", status_code=201, responses=_BODIES)
    async def create_key(request: Annotated[KeyCreation, Body()], caller: FromKey) -> Changed:
        """Create a key. Its secret is in this reply and nowhere else."""
        return Changed(**await do(caller, "keys", "create", request.name, request.settings()))

    @asked.patch("/v1/admin/keys/{name}", responses=_BODIES)
    async def change_key(name: str, request: Annotated[KeyChange, Body()], caller: FromKey) -> Changed:
        """Change a key, by its name or id, from its next request on."""
        return Changed(**await do(caller, "keys", "change", name, request.settings()))

    @asked.post("/v1/admin/keys/{name}/rotate", responses=_BODIES)
    async def rotate_key(name: str, request: Annotated[Rotation, Body()], caller: FromKey) -> Changed:
        """Give a key a new secret, which is in this reply and nowhere else."""
        return Changed(**await do(caller, "keys", "rotate", name, request.model_dump()))

    @app.delete("/v1/admin/keys/{name}", responses=_PLAIN)
    async def revoke_key(name: str, caller: FromKey) -> Changed:
        """Revoke a key at once and for good."""
        return Changed(**await do(caller, "keys", "revoke", name))

    @app.get("/v1/admin/teams", responses=_PLAIN)
    async def list_teams(caller: FromKey) -> Listing:
        """List teams with their budgets and what was spent in them."""
        return await rows(caller, "teams")

    @asked.post("/v1/admin/teams", status_code=201, responses=_BODIES)
    async def create_team(request: Annotated[TeamCreation, Body()], caller: FromKey) -> Changed:
        """Create a team."""
        settings = request.model_dump(exclude_unset=True, exclude={"name"})
        return Changed(**await do(caller, "teams", "create", request.name, settings))

    @asked.patch("/v1/admin/teams/{name}", responses=_BODIES)
    async def change_team(name: str, request: Annotated[TeamChange, Body()], caller: FromKey) -> Changed:
        """Change a team, by its name or id, from the next request in it on."""
        return Changed(**await do(caller, "teams", "change", name, request.model_dump(exclude_unset=True)))

    @app.delete("/v1/admin/teams/{name}", responses=_PLAIN)
    async def remove_team(name: str, caller: FromKey) -> Changed:
        """Remove a team in which nothing is left."""
        return Changed(**await do(caller, "teams", "remove", name))

    @app.get("/v1/admin/usage", responses=_PLAIN)
    async def usage(
        caller: FromKey,
        by: Annotated[str, Query(description="of day, key, team, expert, by commas")] = "day,key,team,expert",
        since: _Day = "0001-01-01",
        until: _Day = "9999-12-31",
    ) -> Listing:
        """Sum up what was used."""
        names = [one for one in by.split(",") if one]
        return await rows(caller, "usage", {"by": names, "since": since, "until": until})

    @app.get("/v1/admin/alerts", responses=_PLAIN)
    async def alerts(caller: FromKey) -> Listing:
        """List the last hundred alerts of budgets, the latest first."""
        return await rows(caller, "alerts")

    @app.get("/v1/admin/log", responses=_PLAIN)
    async def log(caller: FromKey) -> Listing:
        """List the last hundred changes of keys and teams: who made them, and what they were."""
        return await rows(caller, "log")

    app.include_router(asked)
