"""Ready code for a call, in the languages that callers write in.

>>> call = Request("GET", "https://api.example.com/hello/Ann")
>>> print(curl(call))
curl https://api.example.com/hello/Ann
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pprint import pformat
from textwrap import indent
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from specs.documents.bodies import FORMATS, request_text
from specs.documents.interface import Interface, Operation, Scheme
from specs.documents.samples import input_sample, json_values

#: Stands where callers put what only they know.
USERNAME, PASSWORD, KEY, TOKEN = "USERNAME", "PASSWORD", "YOUR_KEY", "YOUR_TOKEN"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to write code for. *basic* says that a user name and a password go with it; *value* is a JSON body's value."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    basic: bool = False
    body: str = ""
    value: Any = None

    @property
    def is_json(self) -> bool:
        """Whether the body is a JSON value."""
        return self.value is not None


def request_of(interface: Interface, operation: Operation, word: str) -> Request:
    """The sample call of an operation, in one of its formats."""
    values = {name: _text(value) for name, value in input_sample(operation, operation.path_fields).items()}
    path = operation.path
    for name, text in values.items():
        path = path.replace(f"{{{name}}}", quote(text, safe=""))
    given = input_sample(operation, operation.query_fields, optional=False)
    query = {name: value if isinstance(value, list) else _text(value) for name, value in given.items()}
    url = f"{interface.url}{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
    headers: list[tuple[str, str]] = []
    basic = False
    schemes = {scheme.name: scheme for scheme in interface.schemes}
    for name in operation.security[0] if operation.security else ():
        scheme = schemes.get(name, Scheme(name, "bearer"))
        basic = basic or scheme.kind == "basic"
        if scheme.kind == "key":
            headers.append((scheme.header, KEY))
        elif scheme.kind == "cookie":
            headers.append(("Cookie", f"{scheme.header}={TOKEN}"))
        elif scheme.kind != "basic":
            headers.append(("Authorization", f"{scheme.kind.capitalize()} {TOKEN}"))
    body = ""
    value: Any = None
    if operation.has_body and (operation.body_fields or (operation.body_fields is None and operation.examples)):
        body = request_text(operation, word)
        if word == "json":
            value = orjson.loads(body)
        else:
            headers.append(("Content-Type", FORMATS[word].media_types[0]))
    if len(operation.formats) > 1 and word != operation.formats[0]:
        headers.append(("Accept", FORMATS[word].content_type))
    return Request(operation.method, url, tuple(headers), basic, body, value)


def curl(call: Request) -> str:
    """A command for a shell."""
    parts = [f"curl {_shell(call.url)}"]
    if call.method != ("POST" if call.body else "GET"):
        parts[0] = f"curl -X {call.method} {_shell(call.url)}"
    if call.basic:
        parts.append(f"-u {USERNAME}:{PASSWORD}")
    headers = (("Content-Type", "application/json"), *call.headers) if call.is_json else call.headers
    parts += [f"-H {_shell(f'{name}: {value}')}" for name, value in headers]
    if call.body:
        parts.append(f"-d {_shell(call.body)}")
    return " \\\n  ".join(parts)


def python(call: Request) -> str:
    """Python, with the library requests."""
    arguments = [json.dumps(call.url)]
    if call.basic:
        arguments.append(f'auth=("{USERNAME}", "{PASSWORD}")')
    if call.headers:
        arguments.append(f"headers={_python(dict(call.headers))}")
    if call.is_json:
        arguments.append(f"json={_python(call.value)}")
    elif call.body:
        arguments.append(f'data="""{_tripled(call.body)}""".encode()')
    inside = ",\n".join(
        indent(argument, "    ") if "\n" not in argument else "    " + argument.replace("\n", "\n    ")
        for argument in arguments
    )
    if not call.is_json and call.body:
        inside = ",\n".join(f"    {argument}" for argument in arguments)
    answer = "print(answer.text)" if _is_xml(call) else "print(answer.json())"
    text = f"import requests\n\nanswer = requests.{call.method.lower()}(\n{inside},\n)\nanswer.raise_for_status()\n{answer}"
    return text.replace(f"(\n    {arguments[0]},\n)", f"({arguments[0]})") if len(arguments) == 1 else text


def javascript(call: Request) -> str:
    """JavaScript, with fetch."""
    headers = dict(call.headers)
    options = [f'method: "{call.method}"'] if call.method != "GET" else []
    lines = [f'"{name}": {json.dumps(value)}' for name, value in headers.items()]
    if call.basic:
        lines.append(f'"Authorization": "Basic " + btoa("{USERNAME}:{PASSWORD}")')
    if call.is_json:
        lines.append('"Content-Type": "application/json"')
    if lines:
        options.append("headers: {\n    " + ",\n    ".join(lines) + ",\n  }")
    if call.is_json:
        options.append(f"body: JSON.stringify({_indented(call.value, 2)})")
    elif call.body:
        escaped = call.body.replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${")
        options.append(f"body: `{escaped}`")
    inside = ", {\n  " + ",\n  ".join(options) + ",\n}" if options else ""
    read = "text" if _is_xml(call) else "json"
    return (
        f"const answer = await fetch({json.dumps(call.url)}{inside});\n"
        f"if (!answer.ok) throw new Error(await answer.text());\nconsole.log(await answer.{read}());"
    )


def php(call: Request) -> str:
    """PHP, with its own streams: they need no extension."""
    headers = [_php(f"{name}: {value}") for name, value in call.headers]
    if call.basic:
        headers.insert(0, f"'Authorization: Basic ' . base64_encode('{USERNAME}:{PASSWORD}')")
    if call.is_json:
        headers.append("'Content-Type: application/json'")
    options = []
    if call.method != "GET":
        options.append(f"'method' => '{call.method}',")
    if headers:
        options.append(f"'header' => [{', '.join(headers)}],")
    if call.is_json:
        options.append(f"'content' => json_encode({_php_value(call.value)}),")
    elif call.body:
        options.append(f"'content' => {_php(call.body)},")
    options.append("'ignore_errors' => true,")
    inside = "\n".join(f"    {option}" for option in options)
    read = "echo $answer;" if _is_xml(call) else "print_r(json_decode($answer, true));"
    return (
        f"<?php\n$context = stream_context_create(['http' => [\n{inside}\n]]);\n"
        f"$answer = file_get_contents({_php(call.url)}, false, $context);\n{read}"
    )


def java(call: Request) -> str:
    """Java, with its own HTTP client."""
    lines = [f"var request = HttpRequest.newBuilder(URI.create({json.dumps(call.url)}))"]
    if call.basic:
        coded = f'Base64.getEncoder().encodeToString("{USERNAME}:{PASSWORD}".getBytes())'
        lines.append(f'    .header("Authorization", "Basic " + {coded})')
    headers = (("Content-Type", "application/json"), *call.headers) if call.is_json else call.headers
    lines += [f"    .header({json.dumps(name)}, {json.dumps(value)})" for name, value in headers]
    if call.body:
        text = '"""\n' + indent(_tripled(call.body.rstrip("\n")), " " * 8) + '"""'
        lines.append(f'    .method("{call.method}", HttpRequest.BodyPublishers.ofString({text}))')
    elif call.method != "GET":
        lines.append(f'    .method("{call.method}", HttpRequest.BodyPublishers.noBody())')
    return "\n".join([
        "import java.net.URI;", "import java.net.http.*;", *(["import java.util.Base64;"] if call.basic else []), "",
        *lines, "    .build();",
        "var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());",
        "System.out.println(answer.body());",
    ])  # fmt: skip


def csharp(call: Request) -> str:
    """C#, with HttpClient."""
    lines = ["using System.Net.Http.Headers;", "using System.Text;", "", "using var client = new HttpClient();"]
    method = call.method.capitalize()
    lines.append(f"using var request = new HttpRequestMessage(HttpMethod.{method}, {json.dumps(call.url)});")
    if call.basic:
        coded = f'Convert.ToBase64String(Encoding.UTF8.GetBytes("{USERNAME}:{PASSWORD}"))'
        lines.append(f'request.Headers.Authorization = new AuthenticationHeaderValue("Basic", {coded});')
    media_type = "application/json"
    for name, value in call.headers:
        if name == "Content-Type":
            media_type = value
        else:
            lines.append(f"request.Headers.Add({json.dumps(name)}, {json.dumps(value)});")
    if call.body:
        # A raw text ends at as many quotes as it began with: one more than it has in a row.
        quotes = '"' * max(3, 1 + max(map(len, re.findall('"+', call.body)), default=0))
        text = f"{quotes}\n" + indent(call.body.rstrip("\n"), "    ") + f"\n    {quotes}"
        lines.append(f'request.Content = new StringContent({text}, Encoding.UTF8, "{media_type}");')
    lines += [
        "using var answer = await client.SendAsync(request);",
        "Console.WriteLine(await answer.Content.ReadAsStringAsync());",
    ]
    return "\n".join(lines)


#: Each language: its word, its name and what writes it.
LANGUAGES: Final[tuple[tuple[str, str, Callable[[Request], str]], ...]] = (
    ("curl", "curl", curl), ("python", "Python", python), ("javascript", "JavaScript", javascript), ("php", "PHP", php),
    ("java", "Java", java), ("csharp", "C#", csharp),
)  # fmt: skip


def zeep(interface: Interface, operation: Operation, wsdl: str) -> str:
    """Python, with the SOAP library zeep."""
    arguments = ", ".join(
        f"{name}={value!r}"
        for name, value in input_sample(operation, operation.contract.input or (), optional=False).items()
    )
    if operation.security:
        session = f'session = requests.Session()\nsession.auth = ("{USERNAME}", "{PASSWORD}")\n'
        return (
            "import requests\nimport zeep\n\n" + session +
            f'client = zeep.Client({json.dumps(wsdl)}, transport=zeep.Transport(session=session))\n'
            f"print(client.service.{operation.action}({arguments}))"
        )  # fmt: skip
    return f"import zeep\n\nclient = zeep.Client({json.dumps(wsdl)})\nprint(client.service.{operation.action}({arguments}))"


def _tripled(text: str) -> str:
    """*text* as it stands between three quotes."""
    # SECURITY: a body may hold what a caller once sent: it must not end the text and go on as code.
    return (
        text.replace("\\", "\\\\").replace('"', '\\"') if '""' in text or "\\" in text or text.endswith('"') else text
    )


def _text(value: Any) -> str:
    found = json_values(value)
    return found if isinstance(found, str) else orjson.dumps(found).decode()


def _shell(text: str) -> str:
    safe = text and all(c.isalnum() or c in "-._~:/=%+@," for c in text)
    return text if safe else "'" + text.replace("'", "'\\''") + "'"


def _python(value: Any) -> str:
    return pformat(value, width=72, sort_dicts=False)


def _indented(value: Any, by: int) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode().replace("\n", "\n" + " " * by)


def _php(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _php_value(value: Any) -> str:
    if isinstance(value, dict):
        return "[" + ", ".join(f"{_php(name)} => {_php_value(held)}" for name, held in value.items()) + "]"
    if isinstance(value, list):
        return "[" + ", ".join(map(_php_value, value)) + "]"
    return _php(value) if isinstance(value, str) else json.dumps(value)


def _is_xml(call: Request) -> bool:
    return any("xml" in value for _, value in call.headers)
