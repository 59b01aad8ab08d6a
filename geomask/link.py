"""The wire between a server and all who ask it, as slow as it shall be."""

import threading
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Link:
    """The one wire of all connections: each chunk takes the next free time on it."""

    bandwidth: float | None
    free: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def chunk(self) -> int:
        """Bytes sent in one piece: 5 ms of the wire, so that connections take turns."""
        return 1 << 16 if self.bandwidth is None else int(min(max(self.bandwidth / 8 * 0.005, 256), 1 << 16))

    def carry(self, ready: float, nbytes: int) -> float:
        """Wait until ``nbytes`` that were ready at a time have crossed; return when that was by the wire's clock.

        The next chunk is ready at that time, not when this thread woke up: sleeping a little too long then costs no
        bandwidth. But what a slow client left unused for 50 ms is gone, as on a real wire.
        """
        if self.bandwidth is None:
            return ready
        with self.lock:
            self.free = max(ready, self.free, time.monotonic() - 0.05) + 8 * nbytes / self.bandwidth
            end = self.free
        time.sleep(max(0.0, end - time.monotonic()))
        return end
