"""``python -m real_backend.workers --index I``: one fan-out worker, configured by FEEDTWIN_BACKEND."""

from __future__ import annotations

import argparse
import sys

import uvloop

from model.spec.errors import FeedtwinError
from real_backend.broker import consuming
from real_backend.config import BackendConfig
from real_backend.lag_log import LagLog
from real_backend.process import freeze_garbage, until_signalled
from real_backend.stores import timelines
from real_backend.stores.database import Database
from real_backend.stores.shards import Shards
from real_backend.telemetry import Telemetry, TelemetryFile
from real_backend.workers.fanout import FanOut

DATABASE_TIMEOUT_S = 30.0


async def serve(config: BackendConfig, name: str) -> None:
    """Until SIGTERM or SIGINT."""
    telemetry = Telemetry(name, len(config.standby_urls))
    database = Database(config.postgres_url, config.standby_urls, connections=1, timeout_s=DATABASE_TIMEOUT_S)
    shards = Shards(config.redis_urls, config.virtual_nodes)
    with LagLog(config.runtime_path, name) as log:
        await database.open()
        await shards.open(1, timelines.SCRIPTS)
        fan_out = FanOut(config, database, timelines.Timelines(shards, config.timeline_cap), log, telemetry)
        async with consuming(config, name, fan_out.deliver, fan_out.acknowledged):
            if config.freeze_gc:
                freeze_garbage(collecting=True)
            config.ready_file(name).touch()
            await until_signalled(TelemetryFile(telemetry, config.runtime_path).run())
    await shards.close()
    await database.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m real_backend.workers", description=__doc__)
    parser.add_argument("--index", type=int, required=True)
    options = parser.parse_args()
    try:
        uvloop.run(serve(BackendConfig.load(), f"worker{options.index}"))
    except FeedtwinError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
