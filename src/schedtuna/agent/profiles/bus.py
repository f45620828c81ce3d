"""Power profiles over D-Bus: desktops and `powerprofilesctl` choose how the agent acts.

Answers what power-profiles-daemon answers, under both of its names, and hands each change to the agent. Where
that daemon runs, the names are its own; where it comes later, it is let have them. It needs no privilege but
to own the names and to ask the agent.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Self

from jeepney import (
    DBusAddress,
    HeaderFields,
    MatchRule,
    Message,
    MessageType,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from schedtuna import __version__
from schedtuna.agent.profiles.holds import PROFILES, ProfileHold, ProfileState
from schedtuna.agent.profiles.words import INTERFACES, PROPERTIES, Properties, described, introspection
from schedtuna.errors import SchedtunaError, UnavailableError, UsageError

_ALLOW_REPLACEMENT, _DO_NOT_QUEUE = 1, 4  # the D-Bus specification's flags of RequestName
_OWNER = 1  # what it returns to who owns the name now
_ERROR = "org.freedesktop.DBus.Error."
_REPLY_WITHIN_S = 10.0
_RENEW_S = 5.0

Apply = Callable[[str], object]  # puts the agent under a profile; raises SchedtunaError where it refuses


class NameLostError(SchedtunaError):
    """Another program owns the names of power profiles now."""


class ProfileBus:
    """The service, from opening to closing; close it, or use it as a context manager.

    Args:
        bus: ``SYSTEM``, ``SESSION``, or an address.
        apply: Called with the profile that is to be in force, at each change and every few seconds.
        uids: Who may choose and hold profiles, beside root and this user.

    Raises:
        UnavailableError: There is no such bus, or another program owns the names.
    """

    def __init__(self, bus: str, apply: Apply, uids: Collection[int] = ()) -> None:
        self.state = ProfileState()
        self._apply = apply
        self._uids = {0, os.geteuid(), *uids}
        self._waiting: deque[Message] = deque()
        self._users: dict[str, int] = {}
        try:
            self._bus: DBusConnection = open_dbus_connection(bus)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            told = f"there is no D-Bus at {bus}: {error}"
            raise UnavailableError(told, hint="is dbus-daemon running?") from error
        try:
            self._call(message_bus.AddMatch(_owner_changes()))
            for name in INTERFACES.values():
                self._own(name)
            self._apply(self.state.active)
        except BaseException:
            self._bus.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bus; the agent is asked for what is configured."""
        self._bus.close()
        with contextlib.suppress(SchedtunaError):
            self._apply(ProfileState().active)

    def serve(self, until: Callable[[], bool]) -> None:
        """Answer until something is so, which is asked at least once a second.

        Raises:
            NameLostError: Another program has taken the names.
            UnavailableError: The bus is gone, or the agent is.
        """
        renewed_s = time.monotonic()
        while not until():
            message = self._next(within_s=1.0)
            if message is not None:
                self._take(message)
            if time.monotonic() - renewed_s > _RENEW_S:
                self._apply(self.state.active)
                renewed_s = time.monotonic()

    def _own(self, name: str) -> None:
        (got,) = self._call(message_bus.RequestName(name, _ALLOW_REPLACEMENT | _DO_NOT_QUEUE))
        if got != _OWNER:
            (pid,) = self._call(message_bus.GetConnectionUnixProcessID(name))
            raise UnavailableError(
                f"process {pid} owns {name} on this bus",
                hint="stop it, or leave profiles to it: systemctl status power-profiles-daemon tuned-ppd",
            )

    def _next(self, within_s: float) -> Message | None:
        if self._waiting:
            return self._waiting.popleft()
        try:
            return self._bus.receive(timeout=within_s)
        except TimeoutError:
            return None
        except (OSError, EOFError) as error:
            raise UnavailableError(f"the bus is gone: {error}") from error

    def _call(self, message: Message) -> tuple[Any, ...]:
        """Ask the bus itself; what comes meanwhile is taken later."""
        serial = next(self._bus.outgoing_serial)
        self._bus.send(message, serial=serial)
        deadline_s = time.monotonic() + _REPLY_WITHIN_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                reply = self._bus.receive(timeout=left_s)
            except TimeoutError:
                break
            if reply.header.fields.get(HeaderFields.reply_serial) != serial:
                self._waiting.append(reply)
                continue
            if reply.header.message_type is MessageType.error:
                name = reply.header.fields.get(HeaderFields.error_name)
                raise UnavailableError(f"the bus refuses: {name}: {' '.join(map(str, reply.body))}")
            return tuple(reply.body)
        raise UnavailableError("the bus does not answer")

    def _take(self, message: Message) -> None:
        kind, fields = message.header.message_type, message.header.fields
        if kind is MessageType.signal:
            self._heard(fields.get(HeaderFields.member), message.body)
        elif kind is MessageType.method_call:
            try:
                reply = self._answer(message)
            except (UsageError, ValueError, TypeError) as error:
                reply = new_error(message, f"{_ERROR}InvalidArgs", "s", (str(error),))
            except PermissionError as error:
                reply = new_error(message, f"{_ERROR}AccessDenied", "s", (str(error),))
            except SchedtunaError as error:
                reply = new_error(message, f"{_ERROR}Failed", "s", (str(error),))
            self._bus.send(reply)

    def _heard(self, member: str | None, body: tuple[Any, ...]) -> None:
        if member == "NameLost" and body[0] in INTERFACES.values():
            raise NameLostError(
                f"another program has taken {body[0]}: power profiles are its own now",
                hint="the agent goes on as it was configured",
            )
        if member == "NameOwnerChanged" and not body[2]:
            self._users.pop(body[0], None)
            if self.state.forget(body[0]):
                self._changed()

    def _answer(self, call: Message) -> Message:
        fields = call.header.fields
        interface, member = fields.get(HeaderFields.interface), fields.get(HeaderFields.member)
        own = INTERFACES.get(str(fields.get(HeaderFields.path)))
        match interface, member:
            case "org.freedesktop.DBus.Peer", "Ping":
                return new_method_return(call)
            case "org.freedesktop.DBus.Introspectable", "Introspect":
                return new_method_return(call, "s", (introspection(str(fields.get(HeaderFields.path))),))
        if own is None:
            return new_error(call, f"{_ERROR}UnknownObject", "s", ("there is no such object",))
        if interface == "org.freedesktop.DBus.Properties":
            return self._property(call, str(member))
        if interface in (own, None) and member == "HoldProfile":
            profile, reason, application = _texts(call, 3)
            self._require_allowed(call)
            cookie = self.state.hold(_sender(call), profile, reason, application)
            self._changed()
            return new_method_return(call, "u", (cookie,))
        if interface in (own, None) and member == "ReleaseProfile":
            self.state.release(_sender(call), int(call.body[0] if call.body else 0))
            self._changed()
            return new_method_return(call)
        return new_error(call, f"{_ERROR}UnknownMethod", "s", (f"there is no method {interface}.{member}",))

    def _property(self, call: Message, member: str) -> Message:
        values = self._properties()
        if member == "GetAll":
            return new_method_return(call, "a{sv}", (values,))
        name = str(call.body[1]) if len(call.body) > 1 else ""
        if name not in values:
            return new_error(call, f"{_ERROR}UnknownProperty", "s", (f"there is no property {name[:60]!r}",))
        if member == "Get":
            return new_method_return(call, "v", (values[name],))
        if member == "Set" and PROPERTIES[name].writable:
            signature, value = call.body[2]
            if signature != "s":
                raise UsageError("a profile's name is a string")
            self._require_allowed(call)
            self._choose(str(value))
            return new_method_return(call)
        return new_error(call, f"{_ERROR}PropertyReadOnly", "s", (f"{name} can't be set",))

    def _choose(self, profile: str) -> None:
        before = self.state.chosen, list(self.state.holds)
        ended = self.state.choose(profile)
        try:
            self._changed()
        except SchedtunaError:
            self.state.chosen, self.state.holds = before
            raise
        for hold in ended:
            self._released(hold)

    def _changed(self) -> None:
        """Hand the active profile to the agent, and tell everybody."""
        self._apply(self.state.active)
        values = self._properties()
        told = {name: values[name] for name in ("ActiveProfile", "ActiveProfileHolds")}
        for path, name in INTERFACES.items():
            emitter = DBusAddress(path, interface="org.freedesktop.DBus.Properties")
            self._bus.send(new_signal(emitter, "PropertiesChanged", "sa{sv}as", (name, told, [])))

    def _released(self, hold: ProfileHold) -> None:
        for path, name in INTERFACES.items():
            signal = new_signal(DBusAddress(path, interface=name), "ProfileReleased", "u", (hold.cookie,))
            signal.header.fields[HeaderFields.destination] = hold.owner
            self._bus.send(signal)

    def _properties(self) -> Properties:
        return described(self.state, PROFILES, __version__)

    def _require_allowed(self, call: Message) -> None:
        """Refuse who may not change profiles.

        Raises:
            PermissionError: It is another user.
        """
        sender = _sender(call)
        if sender not in self._users:
            (self._users[sender],) = self._call(message_bus.GetConnectionUnixUser(sender))
        if self._users[sender] not in self._uids:
            raise PermissionError(f"user {self._users[sender]} may not choose profiles here: --allow-user")


def _sender(call: Message) -> str:
    return str(call.header.fields.get(HeaderFields.sender, ""))


def _texts(call: Message, number: int) -> list[str]:
    if len(call.body) != number or not all(isinstance(part, str) for part in call.body):
        raise UsageError(f"expected {number} strings")
    return [str(part)[:200] for part in call.body]


def _owner_changes() -> MatchRule:
    return MatchRule(
        type="signal",
        sender="org.freedesktop.DBus",
        interface="org.freedesktop.DBus",
        member="NameOwnerChanged",
    )
