"""What the agent says to people of what it does."""

from __future__ import annotations

from schedtuna.agent.acting import Act, ActResult
from schedtuna.printable import printable


def tell_act(act: Act) -> str:
    """Return a line for people about an intent and what became of it."""
    intent = act.intent
    old = "" if intent.old is None else f"{intent.old} -> "
    what = f"{intent.id} {intent.setting} of {intent.target.tell()}: {old}{intent.new}"
    match act.result:
        case ActResult.MADE:
            return printable(f"set {what}, because {intent.reason}")
        case ActResult.ADVISED if not act.reason:
            expected = "unknown"
            if intent.expected is not None:
                one = intent.expected
                expected = f"{one.metric} x{one.ratio_low:.2f} to x{one.ratio_high:.2f} ({one.basis})"
            return printable(f"advise {what}, because {intent.reason}; expected effect: {expected}")
    return printable(f"{act.result} {what}: {act.reason}")
