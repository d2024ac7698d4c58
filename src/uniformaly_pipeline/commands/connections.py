"""Connections over HTTP that are closed where nothing is asked in time."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def timed_protocol(timeout_s: float) -> type[H11Protocol]:
    """uvicorn's protocol, which alone waits without end for the rest of a request's headers.

    Args:
        timeout_s: Seconds from the connection, or from the first byte of a further request, until
            its headers must be there; then the connection is closed. What follows them, and a
            connection between requests, have limits of their own.
    """

    class TimedProtocol(H11Protocol):
        """Closes a connection whose request does not begin."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()
            elif not self.transport.is_closing():
                self._await_headers()

        def on_response_complete(self) -> None:
            # A further request that came at once may begin within this call.
            self._stop_waiting()
            super().on_response_complete()

        def _await_headers(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(timeout_s, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return TimedProtocol
