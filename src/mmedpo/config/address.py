"""The address of a server: http or https, a host in letters every client reads alike, a port, a path."""

from __future__ import annotations

import ipaddress
import re

from mmedpo.errors import shown

_ADDRESS = re.compile(
    r"https?://(?:(?P<name>[^\s/?#@:\[\]\\%]+)|\[(?P<six>[^\s/?#@\[\]\\%]+)\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/[A-Za-z0-9._~!$&'()*+,;=:/-]*)?",
    re.ASCII,
)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)


def check_address(url: str) -> None:
    """Raises ValueError, with one short line, where an address is not one that all clients read alike.

    What two readers could take for different hosts is refused, for one of them decides what may leave the building.
    """
    found = _ADDRESS.fullmatch(url)
    if "@" in url:
        # Without the value: what stands before the @ is a password.
        raise ValueError("base_url must not hold a user or a password; a key goes into an environment variable")
    if "?" in url or "#" in url:
        raise ValueError("base_url must hold neither a query nor a fragment; a key goes into an environment variable")
    if found is None or len(url) > 2000:
        raise ValueError(f"base_url={shown(url)} is not the address of a server; give e.g. http://127.0.0.1:8000/v1")
    name, six, port = found["name"], found["six"], found["port"]
    if not (is_host_name(name) if name is not None else ":" in six and is_ip_address(six)):
        fix = "an international name in its ASCII form (xn--...)" if not url.isascii() else "a name or an address"
        raise ValueError(f"base_url={shown(url)}: {shown(name or six)} is no host; give {fix}")
    if port is not None and not 1 <= int(port) <= 65_535:
        raise ValueError(f"base_url={shown(url)}: port {port} does not exist; 1 to 65535 do")


def is_host_name(name: str) -> bool:
    """Whether a text is the name of a host in ASCII, or an IPv4 address."""
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


def is_ip_address(text: str) -> bool:
    """Whether a text is an address of IPv4 or IPv6, without a zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
