"""``python -m real_backend.api --port N``: one API process on 127.0.0.1, configured by FEEDTWIN_BACKEND."""

from __future__ import annotations

import argparse
import asyncio
import sys

import uvicorn
import uvloop

from model.spec.errors import FeedtwinError
from real_backend.api.app import Application
from real_backend.api.service import Service
from real_backend.config import BackendConfig

KEEP_ALIVE_S = 3_600
"""Pooled client connections must not look like failures because they were idle."""
BACKLOG = 4_096


async def serve(config: BackendConfig, port: int, name: str) -> None:
    async with Service(config, name) as service:
        settings = uvicorn.Config(
            Application(service),
            host="127.0.0.1",
            port=port,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            backlog=BACKLOG,
        )
        await uvicorn.Server(settings).serve()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m real_backend.api", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default=None, help="name in the telemetry (default: api-PORT)")
    options = parser.parse_args()
    try:
        uvloop.run(serve(BackendConfig.load(), options.port, options.name or f"api-{options.port}"))
    except FeedtwinError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
