"""``/config``: the configuration and its history. An ETag is a revision; ``If-Match`` refuses to overwrite a later one."""

from __future__ import annotations

from typing import Any

import falcon
import orjson

from gateway.admin.guard import administrator
from gateway.admin.installation import Installation
from gateway.configuration.document import Document
from gateway.configuration.store import Applied
from gateway.contract_changes import policy_from
from specs.problems import Problem

YAML = "application/yaml"


class ConfigurationResource:
    """The whole configuration."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The document at a revision, or the latest, as YAML or, where the caller prefers it, JSON."""
        store = self._installation.store
        revision = request.get_param_as_int("revision", min_value=0)
        if revision is None:
            revision = store.head()
        response.etag = str(revision)
        if request.client_prefers([YAML, falcon.MEDIA_JSON]) == falcon.MEDIA_JSON:
            response.data = orjson.dumps(store.document(revision), default=str)
        else:
            response.content_type = YAML
            response.text = store.dump(revision)

    def on_put(self, request: falcon.Request, response: falcon.Response) -> None:
        """Make the document the configuration: what it does not name is removed."""
        self._apply(request, response, merge=False)

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Take the document's objects into the configuration, and keep the others."""
        self._apply(request, response, merge=True)

    def _apply(self, request: falcon.Request, response: falcon.Response, *, merge: bool) -> None:
        installation = self._installation
        try:
            text = request.bounded_stream.read().decode("utf-8")
        except UnicodeDecodeError:
            raise Problem.of("malformed-body", "a document is UTF-8") from None
        applied = installation.store.apply(
            Document.parse(text, "the document"),
            references=installation.references(),
            author=administrator(request),
            comment=request.get_param("comment") or "",
            expected=_expected(request),
            services=installation.services(),
            merge=merge,
            contract_changes=policy_from(request.get_param("contract_changes") or ""),
            dry_run=request.get_param_as_bool("dry_run") or False,
        )
        _tell(response, applied)


class HistoryResource:
    """Accepted changes."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The latest changes, at most ``?limit=``."""
        most = request.get_param_as_int("limit", min_value=1, max_value=10_000, default=100)
        response.media = {
            "revisions": [
                {**revision._asdict(), "at": revision.at.isoformat()}
                for revision in self._installation.store.history(most)
            ]
        }


class RollbackResource:
    """The way back."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Make a new revision that equals an earlier one: ``{"revision": 7, "comment": "..."}``."""
        asked = body_of(request, {"revision": int, "comment": str}, required=("revision",))
        applied = self._installation.store.rollback(
            asked["revision"],
            author=administrator(request),
            comment=asked.get("comment", ""),
            services=self._installation.services(),
        )
        _tell(response, applied)


def body_of(request: falcon.Request, members: dict[str, type], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The JSON object that was sent, with no members but *members*. Raises Problem."""
    try:
        value = orjson.loads(request.bounded_stream.read())
    except orjson.JSONDecodeError:
        raise Problem.of("malformed-body", "the body is one JSON object") from None
    if not isinstance(value, dict):
        raise Problem.of("malformed-body", "the body is one JSON object")
    for name, found in value.items():
        if name not in members or type(found) is not members[name]:
            known = ", ".join(f"{member} ({kind.__name__})" for member, kind in members.items())
            raise Problem.of("invalid-input", f"{name!r} does not belong there: there are {known}")
    for name in required:
        if name not in value:
            raise Problem.of("invalid-input", f"{name!r} is missing")
    return value


def _expected(request: falcon.Request) -> int | None:
    tag = (request.get_header("If-Match") or "").strip()
    if tag in ("", "*"):
        return None
    number = tag.strip('"')
    if not (number.isascii() and number.isdigit()):
        raise Problem.of("bad-request", 'If-Match holds a revision: If-Match: "12"')
    return int(number)


def _tell(response: falcon.Response, applied: Applied) -> None:
    response.etag = str(applied.revision)
    response.media = {
        "revision": applied.revision,
        "changes": [str(change) for change in applied.changes],
        "warnings": [{"path": warned.path, "message": warned.message} for warned in applied.warnings],
    }
