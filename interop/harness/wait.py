"""Waiting for a state, never for a time."""

import time

# Seconds after which a state is not believed to come any more. It is no promise of the gateway's:
# it only ends a story that hangs.
DEADLINE = 60


class Patience:
    """What is left of the deadline."""

    def __init__(self, what, deadline=DEADLINE):
        self.what = what
        self.ends = time.monotonic() + deadline

    def left(self):
        """Seconds left; fails when there are none."""
        left = self.ends - time.monotonic()
        assert left > 0, f"waited in vain for {self.what}"
        return left


def until(what, condition, deadline=DEADLINE):
    """Asks `condition` until it says something true, and returns that."""
    patience = Patience(what, deadline)
    while not (answer := condition()):
        patience.left()
        time.sleep(0.02)
    return answer
