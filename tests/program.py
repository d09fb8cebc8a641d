"""The program `gatewright` in this process: `invoke(["sso", "list"])`, with what it printed and its exit code."""

from unittest import mock

import typer.main
from typer.testing import CliRunner

from gateway.cli import app

#: Built once: that takes longer than most verbs.
_PROGRAM = typer.main.get_command(app)


def invoke(words, input=None):
    with mock.patch("typer.testing._get_command", return_value=_PROGRAM):
        return CliRunner().invoke(app, words, input=input)
