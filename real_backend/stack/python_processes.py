"""The project's own processes: API, relay and workers."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from model.spec.scenario import Platform
from model.spec.steps import Process
from real_backend.config import CONFIG_VARIABLE, BackendConfig
from real_backend.stack.ports import LOOPBACK
from real_backend.stack.runtime import RuntimeFolder, Server
from real_backend.stack.stores import api_names


def launch_python_processes(
    runtime: RuntimeFolder, platform: Platform, config_path: Path, ports: Mapping[str, int], *, code: Path
) -> list[Server]:
    """Start relay, workers and API processes from the checkout at `code`; they get ready in parallel."""
    environment = {
        **os.environ,
        CONFIG_VARIABLE: str(config_path),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(code), os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        # One process is one thread of work here: its CPU must not hide in helper threads.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }

    def launch(kind: Process, name: str, module: str, *arguments: str) -> Server:
        command = [sys.executable, "-P", "-m", module, *arguments]
        return runtime.launch(kind, name, command, environment=environment)

    return [
        *(launch(Process.API, name, "real_backend.api", "--port", str(ports[name])) for name in api_names(platform)),
        *(
            launch(Process.WORKER, f"worker{i}", "real_backend.workers", "--index", str(i))
            for i in range(platform.workers.processes)
        ),
        launch(Process.RELAY, "relay", "real_backend.relay"),
    ]


def await_python_processes(
    runtime: RuntimeFolder, servers: list[Server], config: BackendConfig, ports: Mapping[str, int]
) -> None:
    """Wait until the APIs among `servers` answer GET /healthz, relay and workers have made their ready files."""
    for server in servers:
        if server.kind is Process.API:
            runtime.wait_ready(server, _healthy(ports[server.name]))
        elif server.kind in (Process.RELAY, Process.WORKER):
            runtime.wait_ready(server, config.ready_file(server.name).exists)


def _healthy(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ready
