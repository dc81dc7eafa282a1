"""What Patroni is told. The README shows the same."""

import json
from pathlib import Path
from typing import Protocol


class _Place(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def api_port(self) -> int: ...
    @property
    def directory(self) -> Path: ...


#: Without these two an acknowledged row can be lost with the machine that acknowledged it.
SYNCHRONOUS = {"synchronous_mode": True, "synchronous_mode_strict": True}


def settings_of(node: _Place, etcd_port: int, programs: Path, *, synchronous: bool) -> str:
    """The settings of one node."""
    api, own = f"127.0.0.1:{node.api_port}", f"127.0.0.1:{node.port}"
    return json.dumps(
        {
            "scope": "cwstore",
            "name": node.name,
            "restapi": {"listen": api, "connect_address": api},
            "etcd3": {"host": f"127.0.0.1:{etcd_port}"},
            "bootstrap": {
                "dcs": _shared_settings(synchronous=synchronous),
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
            },
            "postgresql": {
                "listen": own,
                "connect_address": own,
                "data_dir": str(node.directory / "data"),
                "bin_dir": str(programs),
                "pgpass": str(node.directory / "pgpass"),
                "authentication": {
                    "superuser": {"username": "cwstore"},
                    "replication": {"username": "replicator"},
                },
                # Who comes from this machine is trusted: these nodes are for a test.
                "pg_hba": [
                    f"host {what} all 127.0.0.1/32 trust" for what in ("all", "replication")
                ],
                "parameters": {"unix_socket_directories": str(node.directory)},
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }
    )


def _shared_settings(*, synchronous: bool) -> dict[str, object]:
    return {
        "ttl": 20,  # seconds: a leader that was not heard for so long is replaced
        "loop_wait": 3,
        "retry_timeout": 5,
        # The control shall lose rows, not refuse to go on.
        "maximum_lag_on_failover": 2**30,
        **(SYNCHRONOUS if synchronous else {}),
        "postgresql": {
            "use_pg_rewind": True,
            "parameters": {"synchronous_commit": "on", "max_connections": 100},
        },
    }
