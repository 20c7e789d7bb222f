"""The servers that are compared, by name.

To add one, add it to `OURS` or `PEERS`; another protocol brings its own `connect`.
"""

from __future__ import annotations

from load_tests.bench.ours import OURS
from load_tests.bench.peers import PEERS
from load_tests.bench.server import Server

SERVERS: dict[str, Server] = {server.name: server for server in (*OURS, *PEERS)}
