"""A Postman collection (format 2.1) of an `Interface`: a folder for each namespace, a request for each operation."""

from __future__ import annotations

import uuid
from typing import Any

from specs.documents.interface import Interface, Operation
from specs.documents.snippets import request_of

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_NAMESPACE = uuid.UUID("6f0fd5de-6bd0-5a4a-9d6f-4bc3a1a7f6f3")


def collection(interface: Interface) -> dict[str, Any]:
    """The collection, the same for the same interface."""
    folders = []
    for namespace, contracts in interface.namespaces.items():
        requests = [
            _request(interface, operation)
            for contract in contracts
            for operation in interface.services[contract.service]
            if operation.kind != "soap"
        ]
        folders.append({"name": namespace or "services", "item": requests})
    return {
        "info": {
            "_postman_id": str(uuid.uuid5(_NAMESPACE, f"{interface.title} {interface.url}")),
            "name": interface.title,
            "description": interface.description,
            "version": interface.version,
            "schema": SCHEMA,
        },
        "item": folders,
        "variable": [{"key": "baseUrl", "value": interface.url or "http://127.0.0.1:8000"}],
    }


def _request(interface: Interface, operation: Operation) -> dict[str, Any]:
    word = next((word for word in operation.formats if word in ("json", "xml")), operation.formats[0])
    call = request_of(interface, operation, word)
    path, _, query = call.url.removeprefix(interface.url).partition("?")
    headers = [{"key": name, "value": value} for name, value in call.headers]
    if call.is_json:
        headers.append({"key": "Content-Type", "value": "application/json"})
    request: dict[str, Any] = {
        "method": operation.method,
        "header": headers,
        "url": {
            "raw": "{{baseUrl}}" + path + (f"?{query}" if query else ""),
            "host": ["{{baseUrl}}"],
            "path": path.strip("/").split("/"),
            "query": [
                dict(zip(("key", "value"), part.partition("=")[::2], strict=True)) for part in query.split("&") if part
            ],
        },
        "description": operation.contract.documentation or operation.contract.summary,
    }
    if call.body:
        request["body"] = {"mode": "raw", "raw": call.body}
    if call.basic:
        request["auth"] = {
            "type": "basic",
            "basic": [{"key": "username", "value": "{{username}}"}, {"key": "password", "value": "{{password}}"}],
        }
    return {"name": operation.id, "request": request, "response": []}
