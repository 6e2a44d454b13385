"""supervisord: its configuration and its interface. It starts the services, restarts those that end, and rotates the logs."""

from __future__ import annotations

import os
import xmlrpc.client
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from shop_streams.environment import SUPERVISED_MARK
from shop_streams.local.prepare import runtime_folder
from shop_streams.local.private import write_private
from shop_streams.local.services import Service
from shop_streams.settings import Settings

LOG_LIMIT = "20MB"


def configuration(settings: Settings) -> Path:
    """supervisord's configuration file."""
    return settings.home / "supervisord.conf"


def _socket(settings: Settings) -> Path:
    return runtime_folder(settings) / "supervisor.sock"


def connect(settings: Settings) -> Any:
    """supervisord's own interface, over its socket: startProcess, stopProcess, getAllProcessInfo …"""
    transport = SupervisorTransport(None, None, f"unix://{_socket(settings)}")
    return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor


def is_up(settings: Settings) -> bool:
    """Whether a supervisor of this home answers."""
    try:
        connect(settings).getState()
    except (OSError, xmlrpc.client.Error):
        return False
    return True


def _escaped(text: str, settings: Settings) -> str:
    """A word for double quotes. `%(here)s` stands for the home, whose path may look like a comment."""
    parts = text.split(str(settings.home))
    return "%(here)s".join(part.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"') for part in parts)


def _program(service: Service, settings: Settings) -> str:
    # `%%(here)s`: supervisord expands the name of a program's log twice.
    secret = {name: path.read_text().strip() for name, path in service.secrets.items()}
    variables = (service.environment | secret).items()
    environment = ",".join(f'{key}="{_escaped(value, settings)}"' for key, value in variables)
    command = " ".join(f'"{_escaped(word, settings)}"' for word in service.command)
    return f"""
[program:{service.name}]
command={command}
environment={environment}
{f"user={service.user}" if service.user else ""}
autostart=false
autorestart=true
startsecs=1
startretries=1000000
stopsignal={service.stop_signal}
stopwaitsecs={service.stop_seconds}
stopasgroup={"false" if service.name == "postgres" else "true"}
killasgroup=true
redirect_stderr=true
stdout_logfile=%%(here)s/logs/{service.name}.log
stdout_logfile_maxbytes={LOG_LIMIT}
stdout_logfile_backups=1
"""


def write_configuration(settings: Settings, all_services: list[Service]) -> None:
    """Write supervisord's configuration for these services."""
    head = f"""[supervisord]
logfile=%(here)s/logs/supervisord.log
logfile_maxbytes={LOG_LIMIT}
logfile_backups=1
umask=077
pidfile=%(here)s/supervisord.pid
{"user=root" if os.geteuid() == 0 else ""}

[unix_http_server]
file={_socket(settings)}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    programs = "".join(_program(service, settings) for service in all_services)
    write_private(configuration(settings), head + programs)


def supervisor_process(settings: Settings) -> psutil.Process | None:
    """The home's supervisord, or None when it does not run."""
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        process = psutil.Process(int((settings.home / "supervisord.pid").read_text()))
        if "supervisor.supervisord" in " ".join(process.cmdline()):
            return process
    return None


def processes_of(settings: Settings) -> list[psutil.Process]:
    """Every process that a supervisor of this home started, except this process and its parents."""
    own = {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in own and process.environ().get(SUPERVISED_MARK) == str(settings.home):
                found.append(process)
    return found
