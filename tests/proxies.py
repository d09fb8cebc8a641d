"""Proxies of others in front of the gateway: nginx, HAProxy and Caddy, each by the recipe that `gateway/forward-auth.md` has."""

import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest
from running import ROOT, free_port
from servers import stop

KINDS = ("nginx", "haproxy", "caddy")
_NGINX = """
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {more}
    {site}
}}
"""


def recipe(language):
    """The one block in that language."""
    text = (ROOT / "gateway" / "forward-auth.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


@contextmanager
def proxy(kind, folder, *, gateway_port, app_port, channel="/authz/portal", change=lambda text: text, more=""):
    """Start *kind* by its recipe, with these ports and this channel; its port. *change* and *more* go beyond it."""
    program = shutil.which(kind, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        pytest.skip(f"server missing: {kind} is not installed")
    folder = folder / f"{kind}-{free_port()}"
    folder.mkdir()
    port = free_port()

    def fitted(language):
        text = change(recipe(language)).replace("/authz/portal", channel).replace(":8080", f":{port}")
        text = text.replace("/etc/haproxy/gatewright.lua", str(folder / "gatewright.lua"))
        return text.replace("127.0.0.1:8000", f"127.0.0.1:{gateway_port}").replace(
            "127.0.0.1:9000", f"127.0.0.1:{app_port}"
        )

    written = folder / "configuration"
    if kind == "nginx":
        written.write_text(_NGINX.format(folder=folder, site=fitted("nginx"), more=more))
        command = [program, "-p", str(folder), "-c", str(written), "-e", "stderr", "-g", "daemon off;"]
    elif kind == "haproxy":
        (folder / "gatewright.lua").write_text(fitted("lua"))
        written.write_text(fitted("haproxy"))
        command = [program, "-f", str(written), "-db"]
    else:
        written.write_text(fitted("caddyfile"))
        command = [program, "run", "--config", str(written), "--adapter", "caddyfile"]
    home = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=home, cwd=folder)
    try:
        _wait_for(port, process, folder / "log")
        yield port
    finally:
        stop(process)
        log.close()


def _wait_for(port, process, log, seconds=30.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"the proxy does not listen:\n{log.read_text()}")
