"""Power profiles on D-Bus: what the interface is called, its properties, and who may own its names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schedtuna.agent.profiles.holds import ProfileState

# Object path -> interface, which is the name on the bus, too; the second is what it was called until 0.20.
INTERFACES = {
    "/org/freedesktop/UPower/PowerProfiles": "org.freedesktop.UPower.PowerProfiles",
    "/net/hadess/PowerProfiles": "net.hadess.PowerProfiles",
}
DRIVER = "schedtuna"
Properties = dict[str, tuple[str, Any]]


@dataclass(frozen=True)
class BusProperty:
    """A property of the interface.

    Attributes:
        signature: Its type.
        writable: Whether it can be set.
    """

    signature: str
    writable: bool = False


PROPERTIES = {
    "ActiveProfile": BusProperty("s", writable=True),
    "PerformanceInhibited": BusProperty("s"),
    "PerformanceDegraded": BusProperty("s"),
    "Profiles": BusProperty("aa{sv}"),
    "Actions": BusProperty("as"),
    "ActiveProfileHolds": BusProperty("aa{sv}"),
    "Version": BusProperty("s"),
}
_METHODS = """\
    <method name="HoldProfile">
      <arg name="profile" type="s" direction="in"/><arg name="reason" type="s" direction="in"/>
      <arg name="application_id" type="s" direction="in"/><arg name="cookie" type="u" direction="out"/>
    </method>
    <method name="ReleaseProfile"><arg name="cookie" type="u" direction="in"/></method>
    <signal name="ProfileReleased"><arg name="cookie" type="u"/></signal>
"""
_COMMON = """\
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="v" direction="out"/>
    </method>
    <method name="GetAll"><arg type="s" direction="in"/><arg type="a{sv}" direction="out"/></method>
    <method name="Set">
      <arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="v" direction="in"/>
    </method>
    <signal name="PropertiesChanged"><arg type="s"/><arg type="a{sv}"/><arg type="as"/></signal>
  </interface>
"""


def described(state: ProfileState, profiles: Sequence[str], version: str) -> Properties:
    """Return the properties' values, with their signatures."""
    values: dict[str, Any] = {
        "ActiveProfile": state.active,
        "PerformanceInhibited": "",
        "PerformanceDegraded": "",
        "Profiles": [{"Profile": ("s", name), "Driver": ("s", DRIVER)} for name in profiles],
        "Actions": [],
        "ActiveProfileHolds": [
            {
                "ApplicationId": ("s", hold.application),
                "Profile": ("s", hold.profile),
                "Reason": ("s", hold.reason),
            }
            for hold in state.holds
        ],
        "Version": version,
    }
    return {name: (PROPERTIES[name].signature, value) for name, value in values.items()}


def introspection(path: str) -> str:
    """Return what there is at an object path, as D-Bus describes it."""
    interface = INTERFACES.get(path)
    if interface is None:
        above = path.rstrip("/") + "/"
        below = {one.removeprefix(above).partition("/")[0] for one in INTERFACES if one.startswith(above)}
        return "<node>\n" + "".join(f'  <node name="{name}"/>\n' for name in sorted(below)) + "</node>\n"
    properties = "".join(
        f'    <property name="{name}" type="{one.signature}" '
        f'access="{"readwrite" if one.writable else "read"}"/>\n'
        for name, one in PROPERTIES.items()
    )
    return (
        f'<node>\n{_COMMON}  <interface name="{interface}">\n{_METHODS}{properties}  </interface>\n</node>\n'
    )


def bus_policy(user: str = "root") -> str:
    """Return the file of /usr/share/dbus-1/system.d that lets a user own the names, and everybody ask."""
    names = list(INTERFACES.values())
    own = "".join(f'    <allow own="{name}"/>\n' for name in names)
    ask = "".join(f'    <allow send_destination="{name}"/>\n' for name in names)
    return (
        '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"\n'
        ' "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">\n'
        f'<busconfig>\n  <policy user="{user}">\n{own}  </policy>\n'
        f'  <policy context="default">\n{ask}  </policy>\n</busconfig>\n'
    )
