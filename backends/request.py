"""``self.request``: what a service was called with. Facets that only some calls have are made when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specs.exchange import Call, UploadedFile


class Request:
    """What a service was called with.

    *input* holds the checked, typed values of the contract; *payload* the parsed body, *raw_request* its bytes as they came:
    both are there whatever the format.
    """

    __slots__ = ("_call", "_http", "input")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._http: Http | None = None
        self.input: Any = call.input

    @property
    def payload(self) -> Any:
        """The parsed body: a dict or list for JSON and XML, a dict for a form, text or bytes for anything else."""
        return self._call.payload

    @property
    def raw_request(self) -> bytes:
        """The body as it was received."""
        return self._call.raw

    @property
    def http(self) -> Http:
        """The HTTP request; every member is empty where the call came another way."""
        if self._http is None:
            self._http = Http(self._call)
        return self._http

    @property
    def channel_params(self) -> dict[str, Any]:
        """Query and path parameters in one dict; those of the path win."""
        return {**self._call.query, **self._call.params}

    @property
    def cid(self) -> str:
        """The correlation id."""
        return self._call.cid

    @property
    def data_format(self) -> str:
        """The word of the channel's format: ``json``, ``xml``..."""
        return self._call.data_format

    @property
    def transport(self) -> str:
        """The word of the channel's type: ``rest``, ``invoke``, ``job``..."""
        return self._call.channel_type

    @property
    def amqp(self) -> Any:
        """The AMQP delivery: None, as this call came another way."""
        return None

    @property
    def ibm_mq(self) -> Any:
        """The IBM MQ message: None, as this call came another way."""
        return None

    wmq = ibm_mq


class Http:
    """The HTTP side of a call: ``self.request.http``."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def method(self) -> str:
        """The method, upper case."""
        return self._call.method

    @property
    def path(self) -> str:
        """The path, decoded."""
        return self._call.path

    @property
    def params(self) -> Mapping[str, str]:
        """Parameters of the path."""
        return self._call.params

    @property
    def GET(self) -> Mapping[str, Any]:  # noqa: N802 - the name that services know
        """Parameters of the query; a repeated one is a list."""
        return self._call.query

    @property
    def POST(self) -> Mapping[str, Any]:  # noqa: N802 - the name that services know
        """Values of a form; a repeated one is a list."""
        return self._call.form

    def get_form_data(self) -> dict[str, Any]:
        """The values of a form, as a dict of one's own."""
        return dict(self._call.form)

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers by lower-case name."""
        return self._call.headers

    @property
    def user_agent(self) -> str:
        """The caller's User-Agent, empty where it sent none."""
        return self._call.headers.get("user-agent", "")

    @property
    def address(self) -> str:
        """The caller's address."""
        return self._call.address

    @property
    def files(self) -> tuple[UploadedFile, ...]:
        """Files of a multipart form."""
        return self._call.files
