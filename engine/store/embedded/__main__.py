"""The keeper: `python -m engine.store.embedded NAME DATA_DIR LISTENER LOCK`, started by a user of a server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from engine.store.embedded.keeper import keep

if __name__ == "__main__":
    name, data_dir, listener, lock = sys.argv[1:]
    # The launcher waits for this process only: what goes on is nobody's child, so nobody has to reap it.
    if os.fork() == 0:
        os.setsid()
        keep(name, Path(data_dir), listener=int(listener), lock=int(lock))
