"""Where the time of an epoch goes."""

import time


class Stopwatch:
    """Adds up the time between laps, by name.

    On a GPU, whose work is asynchronous, a lap holds the time until the call returned; the sum is right in any case.

    Attributes:
        laps_s: seconds by name since the last restart.
        num_pictures: trained on since the last restart, counted by the caller.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forgets the laps and starts now."""
        self.laps_s: dict[str, float] = {}
        self.num_pictures = 0
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Books the time since the last lap under a name."""
        now = time.perf_counter()
        self.laps_s[name] = self.laps_s.get(name, 0.0) + now - self._last
        self._last = now
