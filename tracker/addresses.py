"""Addresses of the network: how they are shown and kept, and where an answer may lead us.

A server may send us to another page of its own. To another host it may send us only over https, only to a
public address, and then nothing that only the first host may know goes with the request. So no answer makes
us ask a machine of the user's own network, except the one that the user named.
Not covered: a name that resolves to a public address here and to a private one a moment later, unless the
connection shows it (`http_client`); behind a proxy, the proxy resolves names and decides.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import urllib.request
from urllib.parse import unquote_plus, urljoin, urlsplit, urlunsplit

from tracker.errors import UnreachableError
from tracker.redaction import PLAIN_NAMES, masked

PORTS = {"http": 80, "https": 443}
DIGEST_CHARS = 16  # of a value that is hashed: enough to tell two apart


class RefusedAddressError(UnreachableError):
    """An answer leads to an address that is not asked."""


def shown(url: str) -> str:
    """The address without query, user and password, which may contain secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return masked(url.partition("?")[0])
    return masked(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))


def kept_url(url: str) -> str:
    """The address for the log of responses: without user and password, its query's unknown values hashed.

    The log needs an address as a key only: equal addresses stay equal.
    """
    parts = urlsplit(url)
    query = "&".join(map(_kept_word, parts.query.split("&"))) if parts.query else ""
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query, fragment="")
    return masked(urlunsplit(address))


def _kept_word(word: str) -> str:
    """One `name=value` of a query; without a name, as in `?KEY`, the whole is the value."""
    name, equals, value = word.partition("=")
    if equals and _is_plain(unquote_plus(name), unquote_plus(value)):
        return word
    return f"{name}={_digest(value)}" if equals else _digest(word)


def without_user(url: str) -> str:
    """The address without user and password, as logs before 2026-11-29 have it too."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _is_plain(name: str, value: str) -> bool:
    return name.casefold() in PLAIN_NAMES and masked(value) == value


def _digest(value: str) -> str:
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()[:DIGEST_CHARS]}"


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port.

    Raises:
        RefusedAddressError: it has none over http or https.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise RefusedAddressError(f"`{shown(url)}` is not a valid address") from error
    if scheme not in PORTS or not host:
        raise RefusedAddressError(f"`{shown(url)}` is not a valid address over http or https")
    return scheme, host, PORTS[scheme] if port is None else port


def is_same_origin(url: str, other: str) -> bool:
    """Whether both are of one scheme, host and port; False for an invalid address."""
    try:
        return origin(url) == origin(other)
    except RefusedAddressError:
        return False


def led_to(url: str, place: str, *, what: str) -> str:
    """The address to which the answer of `url` leads: `place`, relative or absolute.

    It is of the same origin; or, from any other, public and asked over https (over http only from http).

    Raises:
        RefusedAddressError: neither; `what` names the kind of answer, such as "redirect".
    """
    try:
        target = urljoin(url, place.strip())
    except ValueError as error:
        raise RefusedAddressError(f"the {what} of {shown(url)} leads to no valid address") from error
    try:
        scheme, host, port = origin(target)
    except RefusedAddressError as error:
        where = f"`{shown(target)}`, which is not a valid address over http or https"
        raise RefusedAddressError(f"the {what} of {shown(url)} leads to {where}") from error
    here = origin(url)
    if (scheme, host, port) == here:
        return target
    why = None
    if scheme == "http" and here[0] == "https":
        why = "which is not encrypted"
    elif scheme == "http" and not is_public_host(here[1], here[2]):
        why = "which is another host and not asked over https"
    elif not is_public_host(host, port):
        why = "which is not a public address"
    elif masked(target) != target:
        why = "and repeats a secret"
    if why is not None:
        raise RefusedAddressError(f"the {what} of {shown(url)} leads to {shown(target)}, {why}")
    return target


def is_public_host(host: str, port: int) -> bool:
    """Whether every address of this name is public. An unknown name is, if a proxy looks it up for us."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return bool(urllib.request.getproxies()) and "." in host and not host[-1].isdigit()
    return bool(found) and all(is_public_address(str(entry[4][0])) for entry in found)


def is_public_address(address: str) -> bool:
    """Whether an IP address is of the public network: not loopback, private, link-local or reserved."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64, RFC 6052
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public_address(str(inner))
    return ip.is_global and not ip.is_multicast
