"""Whether clicks in Label Studio reach our server, and events too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sam2_engine.errors import EngineError

from ._addresses import parse_web_address
from .api import ApiError, LabelStudioApi
from .findings import Finding
from .media_errors import MediaError
from .regions import Json
from .settings import Settings

LOCKED = (
    "start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false, or, tighter, with "
    "USE_DEFAULT_BANNED_SUBNETS=false and USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16; then connect the model again"
)

_GIVE_URL = "give the server's address with --backend-url, or connect it under Settings > Model"
_UNREACHED = (
    "give Label Studio an address that it can reach (localhost in a container is the container), see the server's log"
)


@dataclass(frozen=True, slots=True)
class Connection:
    """What lies between a project and the server.

    Attributes
    ----------
    settings : as the server has them
    backend_url : where the server is, as seen from here
    connect : connect it where it is not
    served_version : what it says of its model; None where it does not
    """

    settings: Settings
    backend_url: str
    connect: bool = False
    served_version: str | None = None

    def examine(self, api: LabelStudioApi, project: int) -> Iterator[Finding]:
        """One finding after the other."""
        check = "connection"
        try:
            rows = api.ml_backends(project)
            if self.connect and not any(_same_port(str(row.get("url")), self.backend_url) for row in rows):
                rows = [*rows, self._connect(api, project)]
        except EngineError as error:
            locked = isinstance(error, ApiError) and "reserved network" in str(error)
            yield Finding(check, "problem", str(error), LOCKED if locked else "")
            return
        if not rows:
            fix = "Settings > Model > Connect Model, with interactive preannotations on; or --connect does it"
            yield Finding(check, "problem", "no model is connected to the project", fix)
            return
        yield from self._rows(api, project, rows)

    def _connect(self, api: LabelStudioApi, project: int) -> Json:
        user, password = self.settings.user, self.settings.password
        if self.settings.token is not None:
            # Label Studio offers basic authentication only; our server takes the token as its password.
            user, password = user or "sam2", self.settings.token
        return api.connect(project, self.backend_url, title="SAM 2", user=user, password=password)

    def _rows(self, api: LabelStudioApi, project: int, rows: list[Json]) -> Iterator[Finding]:
        check = "connection"
        interactive = [row for row in rows if row.get("is_interactive")]
        ours = next((row for row in rows if _same_port(str(row.get("url")), self.backend_url)), None)
        if ours is None:
            urls = ", ".join(str(row.get("url")) for row in rows)
            yield Finding(check, "warning", f"connected are {urls}, none of them {self.backend_url}", _GIVE_URL)
            ours = interactive[0] if interactive else rows[0]
        if not ours.get("is_interactive"):
            fix = "switch on 'Interactive preannotations' under Settings > Model > … > Edit"
            yield Finding(check, "problem", f"{ours.get('url')} is not asked when people click", fix)
        elif interactive[0] is not ours:
            fix = f"remove {interactive[0].get('url')} under Settings > Model, or switch its interactive mode off"
            found = f"clicks go to {interactive[0].get('url')}, which was connected earlier"
            yield Finding(check, "problem", found, fix)
        yield self._through(api, ours)
        yield self._webhook(api, project, str(ours.get("url", "")).rstrip("/"))

    def _through(self, api: LabelStudioApi, row: Json) -> Finding:
        """Whether Label Studio reaches the server, which its own network and rules decide."""
        check = "connection"
        try:
            versions = api.backend_versions(int(row["id"])).get("versions")
        except EngineError as error:
            if "reserved network" in str(error):
                return Finding(
                    check, "problem", f"Label Studio refuses to call {row.get('url')}: private address", LOCKED
                )
            return Finding(check, "problem", f"Label Studio cannot use {row.get('url')}: {error}", _UNREACHED)
        if row.get("error_message"):
            return Finding(check, "problem", f"Label Studio says: {str(row['error_message'])[:300]}", _UNREACHED)
        if self.served_version and versions and self.served_version not in versions:
            found = f"Label Studio sees {versions}, this machine {self.served_version}"
            return Finding(check, "warning", found, "two servers are at work; stop one, or give --backend-url")
        return Finding(check, "ok", f"Label Studio reaches {row.get('url')}: {', '.join(map(str, versions or ['?']))}")

    def _webhook(self, api: LabelStudioApi, project: int, url: str) -> Finding:
        check = "webhook"
        try:
            hooks = [one for one in api.webhooks(project) if str(one.get("url", "")).startswith(f"{url}/webhook")]
        except EngineError as error:
            return Finding(check, "warning", str(error))
        if not any(one.get("is_active") for one in hooks):
            fix = f"add {url}/webhook under Settings > Webhooks; if that is refused: {LOCKED}"
            return Finding(check, "warning", "corrections are not sent to the model", fix)
        has_secret = any("token=" in str(one.get("url")) or one.get("headers") for one in hooks)
        if self.settings.needs_auth and not has_secret:
            fix = f"change its address to {url}/webhook?token=… (SAM2_TOKEN) under Settings > Webhooks"
            return Finding(check, "warning", "events arrive without a password and are refused", fix)
        return Finding(check, "ok", f"{url}/webhook")


def _same_port(one: str, other: str) -> bool:
    """Whether two addresses may be one server; their hosts can have other names on another machine."""
    try:
        return parse_web_address(one).origin.port == parse_web_address(other).origin.port
    except MediaError:
        return False
