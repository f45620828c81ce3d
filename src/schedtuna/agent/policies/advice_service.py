"""The thread that answers what scx_tuna asks while an agent runs.

Nothing of it has to be undone: who is gone is asked no more after a second, and advice expires by itself. So
it is not in the journal, but it is in force like any change: guards suspend and end it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from schedtuna.agent.policies.migration_draws import MigrationDraws
from schedtuna.errors import SchedtunaError
from schedtuna.scheduler.tuna_advice import PERIOD_NS, AdviceChannel


class AdviceService:
    """Answers by draws, from `start` to `stop`.

    Args:
        draws: What answers.
        open_channel: Opens the channel; raises where there is none.

    Attributes:
        ended: Why it ended by itself; empty: it did not.
    """

    def __init__(
        self, draws: MigrationDraws, open_channel: Callable[[int], AdviceChannel] | None = None
    ) -> None:
        self.draws, self.ended = draws, ""
        self._open = open_channel or (
            lambda version: AdviceChannel(model_version=version, period_ns=PERIOD_NS)
        )
        self._thread: threading.Thread | None = None
        self._goes_on = False

    @property
    def runs(self) -> bool:
        """Whether it answers."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer.

        Raises:
            UnavailableError: No scx_tuna with a channel is loaded, another program advises it, or a privilege
                is missing.
        """
        channel = self._open(int(self.draws.version, 16))
        self.ended, self._goes_on = "", True
        self._thread = threading.Thread(target=self._serve, args=(channel,), daemon=True, name="advice")
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; what was drawn last does not count."""
        self._goes_on = False
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.draws.stopped("the agent stopped to answer")

    def _serve(self, channel: AdviceChannel) -> None:
        with channel:
            try:
                channel.serve(self.draws.advise, goes_on=lambda: self._goes_on, on_answered=self.draws.taken)
            except (OSError, SchedtunaError) as error:
                self.ended = str(error)
