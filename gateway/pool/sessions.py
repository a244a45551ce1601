"""The worker that had the last generation of each conversation with a name. Pure."""

MOST = 4096
"""Conversations that are remembered; of more, those that were silent for longest are forgotten."""


class Sessions:
    """Remember workers by conversations. A hint only: what they have computed is not known here."""

    def __init__(self) -> None:
        self._workers: dict[str, int] = {}
        """The least recently used first."""

    def last(self, session: str) -> int | None:
        """Return the worker of a conversation's last generation, if it is known."""
        return self._workers.get(session)

    def note(self, session: str, worker: int) -> None:
        """Note that a worker got a generation of a conversation; "" is none."""
        if not session:
            return
        self._workers.pop(session, None)
        self._workers[session] = worker
        if len(self._workers) > MOST:
            del self._workers[next(iter(self._workers))]
