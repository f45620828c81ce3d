"""Which power profile is active, and who holds one? As power-profiles-daemon decides it; pure.

A person chooses a profile. A program may hold `power-saver` or `performance` while it needs it: held ones
come before the chosen one, and among them `power-saver` before `performance`. A hold ends when its program
lets go or leaves the bus, and when a person chooses anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schedtuna.errors import UsageError

POWER_SAVER, BALANCED, PERFORMANCE = "power-saver", "balanced", "performance"
PROFILES = (POWER_SAVER, BALANCED, PERFORMANCE)
HOLDABLE = (POWER_SAVER, PERFORMANCE)  # the first one that somebody holds is active
MOST_HOLDS = 100


@dataclass(frozen=True)
class ProfileHold:
    """A profile that a program holds.

    Attributes:
        cookie: What the program was given to let go by.
        owner: Its name on the bus.
        profile: Which one.
        reason: Why, in its words.
        application: What it is called, in its words.
    """

    cookie: int
    owner: str
    profile: str
    reason: str
    application: str


@dataclass
class ProfileState:
    """What was chosen, and what is held.

    Attributes:
        chosen: By a person.
        holds: By programs, the oldest first.
    """

    chosen: str = BALANCED
    holds: list[ProfileHold] = field(default_factory=list)
    _last_cookie: int = 0

    @property
    def active(self) -> str:
        """The profile that is to be in force."""
        held = {one.profile for one in self.holds}
        return next((profile for profile in HOLDABLE if profile in held), self.chosen)

    def choose(self, profile: str) -> list[ProfileHold]:
        """Have a profile, and return the holds that end by it.

        Raises:
            UsageError: There is none of this name.
        """
        if profile not in PROFILES:
            raise UsageError(f"there is no profile {profile[:40]!r}: expected {', '.join(PROFILES)}")
        ended, self.holds, self.chosen = self.holds, [], profile
        return ended

    def hold(self, owner: str, profile: str, reason: str, application: str) -> int:
        """Hold a profile; returns the cookie by which it is let go.

        Raises:
            UsageError: It can't be held, or too many are.
        """
        if profile not in HOLDABLE:
            raise UsageError(f"{profile[:40]!r} can't be held: expected {' or '.join(HOLDABLE)}")
        if len(self.holds) >= MOST_HOLDS:
            raise UsageError(f"{MOST_HOLDS} profiles are held already")
        self._last_cookie += 1
        self.holds.append(ProfileHold(self._last_cookie, owner, profile, reason, application))
        return self._last_cookie

    def release(self, owner: str, cookie: int) -> None:
        """Let a hold go.

        Raises:
            UsageError: This program has no such hold.
        """
        kept = [one for one in self.holds if (one.owner, one.cookie) != (owner, cookie)]
        if len(kept) == len(self.holds):
            raise UsageError(f"no hold of yours has the cookie {cookie}")
        self.holds = kept

    def forget(self, owner: str) -> bool:
        """End all holds of a program that has left; returns whether it had some."""
        kept = [one for one in self.holds if one.owner != owner]
        had, self.holds = len(kept) < len(self.holds), kept
        return had
