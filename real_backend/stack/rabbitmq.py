"""RabbitMQ as the broker: Debian's server started as an ordinary user, everything of it inside the runtime folder."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

import aio_pika

from model.spec.errors import MachineError
from model.spec.steps import Process
from real_backend.stack.ports import LOOPBACK, accepts
from real_backend.stack.runtime import RuntimeFolder, Server

FURTHER_PORTS = ("epmd", "erlang")
"""What a RabbitMQ server listens on besides AMQP: Erlang's port mapper and its distribution port."""
SERVER_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The script itself; the one on PATH is a wrapper that insists on the user "rabbitmq"."""
START_DEADLINE_S = 60.0


def rabbitmq_url(port: int) -> str:
    return f"amqp://guest:guest@{LOOPBACK}:{port}/"


def start_rabbitmq(runtime: RuntimeFolder, ports: Mapping[str, int]) -> Server:
    """Start the server and, on loopback too, the port mapper that would otherwise outlive it.

    Raises MachineError naming the package where it is not installed.
    """
    epmd = shutil.which("epmd")
    if not SERVER_SCRIPT.exists() or epmd is None:
        raise MachineError(
            "platform.broker.kind is 'rabbitmq', but RabbitMQ is not installed: apt-get install rabbitmq-server, "
            "or name a running one in FEEDTWIN_RABBITMQ_URL"
        )
    folder = runtime.make_folder("broker")
    environment = _environment(folder, ports)
    command = [epmd, "-address", LOOPBACK, "-port", str(ports["epmd"])]
    mapper = runtime.launch(Process.BROKER, "epmd", command, environment=environment, folder=folder, unprivileged=True)
    runtime.wait_ready(mapper, lambda: accepts(ports["epmd"]))
    server = runtime.launch(
        Process.BROKER, "broker", [SERVER_SCRIPT], environment=environment, folder=folder, unprivileged=True
    )
    runtime.wait_ready(server, lambda: accepts(ports["broker"]), START_DEADLINE_S)
    return server


def purge(url: str, queue: str) -> None:
    """Drop all messages of a queue that wait for a consumer, if the queue exists."""
    asyncio.run(_purge(url, queue))


def _environment(folder: Path, ports: Mapping[str, int]) -> dict[str, str]:
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "RABBITMQ_NODENAME": "feedtwin@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(ports["broker"]),
        "RABBITMQ_DIST_PORT": str(ports["erlang"]),
        # One scheduler, unbound: the rig decides about cores.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
        # The script then becomes the server instead of watching over it.
        "RUNNING_UNDER_SYSTEMD": "true",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "plugins"),
        "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
    }


async def _purge(url: str, queue: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        try:
            existing = await channel.get_queue(queue)
            await existing.purge()
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return
