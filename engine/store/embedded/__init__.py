"""PostgreSQL and Valkey for people who have no server: started on demand, shared, stopped by the last one out.

Each server has a *keeper*, a small process of its own (`python -m engine.store.embedded`), which starts the server,
answers on a unix socket and waits. Whoever uses the server holds one connection to its keeper for as long as it does;
the kernel closes that connection however the user ends, `kill -9` included. When the last one is closed, the keeper
stops the server and goes. That is the reference count, the recovery from a killed parent and the clean-up in one.
There is at most one keeper per server and data folder: it holds an exclusive lock from before it is born (the launcher
locks the file and hands it over) until the server is down. A keeper that was itself killed leaves a running server or
stale files behind; the next keeper adopts the one or clears the other.

    data_dir/postgres    the cluster (`data`), or a link to it where root may not run it in place
    data_dir/valkey      Valkey's working folder; it holds nothing that cannot be lost (I8)
    data_dir/run         sockets, or none if its path is no good for a socket (`folders.socket_folder`)
    data_dir/log         one log per server, its keeper's words among them
    data_dir/*.lock      held by the keeper; says where its socket is
"""

from __future__ import annotations

from engine.store.embedded.server import EmbeddedServerError
from engine.store.embedded.users import Embedded, servers, start, status, stop

__all__ = ["Embedded", "EmbeddedServerError", "servers", "start", "status", "stop"]
