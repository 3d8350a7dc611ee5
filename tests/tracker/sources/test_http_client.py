"""The one HTTP client against servers that no one should meet."""

from __future__ import annotations

import asyncio
import json
import time

import httpx2
import pytest

from tests.doubles.hostile_double import Hostile, running_hostile
from tracker.addresses import (
    RefusedAddressError,
    is_public_address,
    is_public_host,
    kept_url,
    led_to,
    without_user,
)
from tracker.errors import UnreachableError
from tracker.http_client import (
    MAX_DEPTH,
    MIB,
    AnswerLimits,
    AnswerTooLargeError,
    AnswerTooSlowError,
    HttpAnswer,
    HttpClient,
    fetched,
    parse_json,
)

LIMITS = AnswerLimits(max_bytes=4 * MIB, silence_s=5.0, total_s=1.0)
KEY = "sk-PLANTED/KEY+9"


def asked(url: str, *, limits: AnswerLimits = LIMITS, **headers: str) -> HttpAnswer:
    """The answer at this address, by way of redirects."""

    async def ask() -> HttpAnswer:
        async with HttpClient() as client:
            return await client.get(url, limits, headers=headers, follows=True)

    return asyncio.run(ask())


@pytest.mark.parametrize("mode", ["gzip", "deflate", "endless"])
def test_http_client_an_answer_over_its_size_is_refused(mode: str) -> None:
    with running_hostile() as server, pytest.raises(AnswerTooLargeError, match="is larger than 4 MiB"):
        asked(f"{server.url}/{mode}", limits=AnswerLimits(4 * MIB, 5.0, 20.0))


@pytest.mark.parametrize("mode", ["slow-head", "slow-body", "continues"])
def test_http_client_bytes_now_and_then_do_not_stretch_the_time(mode: str) -> None:
    began = time.monotonic()
    with running_hostile() as server, pytest.raises(AnswerTooSlowError, match="within 1 s"):
        asked(f"{server.url}/{mode}")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("mode", ["endless-head", "too-short", "junk-chunks", "broken-gzip"])
def test_http_client_what_is_no_http_is_an_error_of_the_library(mode: str) -> None:
    with running_hostile() as server, pytest.raises(httpx2.HTTPError):
        asked(f"{server.url}/{mode}")


@pytest.mark.parametrize(
    "mode", ["elsewhere", "elsewhere-307", "metadata", "decimal", "octal", "mapped", "file", "no-address"]
)
def test_http_client_a_redirect_into_the_network_is_not_followed(mode: str) -> None:
    with running_hostile() as other, running_hostile(elsewhere=other.url) as server:
        with pytest.raises(RefusedAddressError, match="the redirect of"):
            asked(f"{server.url}/{mode}", **{"x-api-key": KEY})
        assert other.requests == []


def test_http_client_redirects_end() -> None:
    with running_hostile() as server, pytest.raises(UnreachableError, match="redirects more than 5 times"):
        asked(f"{server.url}/loop")


def test_http_client_a_redirect_to_its_own_host_keeps_the_key() -> None:
    def move(to: object) -> None:
        to.send(b"", 307, location="/header-echo")  # type: ignore[attr-defined]

    with running_hostile(modes={"/moved": move}) as server:
        answer = asked(f"{server.url}/moved", **{"x-api-key": KEY})
    assert json.loads(answer.body)["data"][0]["slug"] == KEY
    assert answer.url == f"{server.url}/header-echo"


def test_http_client_a_header_that_cannot_be_sent_is_named_without_its_value() -> None:
    with running_hostile() as server, pytest.raises(UnreachableError, match="x-api-key") as caught:
        asked(f"{server.url}/echo", **{"x-api-key": "schlüssel\n"})
    assert "schl" not in str(caught.value)


def test_http_client_a_caller_inside_an_event_loop_may_wait() -> None:
    async def inside(server: Hostile) -> HttpAnswer:
        return fetched(f"{server.url}/binary", LIMITS)

    with running_hostile() as server:
        assert asyncio.run(inside(server)).status == 200


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, True),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), False),
        ('{"a":' * 900 + "1" + "}" * 900, False),
        ("[" * 200_000, False),
        (json.dumps([{"a": [1]}] * 1000), True),
        (json.dumps("[" * 1000), True),
    ],
    ids=["at the limit", "above it", "objects", "broken", "wide", "in a text"],
)
def test_json_of_strangers_has_a_depth(text: str, is_taken: bool) -> None:
    for form in (text, text.encode()):
        if is_taken:
            assert parse_json(form) == json.loads(text)
        else:
            with pytest.raises(ValueError, match=r"nested|Expecting"):
                parse_json(form)


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False), ("10.0.0.1", False), ("172.16.0.1", False), ("192.168.1.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False),
        ("255.255.255.255", False), ("::1", False), ("::", False), ("fe80::1%eth0", False),
        ("fd00::1", False), ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("nonsense", False),
    ],
)  # fmt: skip
def test_addresses_public_is_what_no_private_network_has(address: str, is_public: bool) -> None:
    assert is_public_address(address) is is_public


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"])
def test_addresses_other_forms_of_loopback_are_not_public(host: str) -> None:
    assert not is_public_host(host, 443)


@pytest.mark.parametrize(
    ("here", "place", "leads"),
    [
        ("https://8.8.8.8/a", "/b", "https://8.8.8.8/b"),
        ("https://8.8.8.8/a", "https://8.8.4.4/b", "https://8.8.4.4/b"),
        ("http://8.8.8.8/a", "http://8.8.4.4/b", "http://8.8.4.4/b"),
        ("http://8.8.8.8/a", "https://8.8.8.8/a", "https://8.8.8.8/a"),
        ("http://127.0.0.1:1/a", "b?x=1", "http://127.0.0.1:1/b?x=1"),
        ("http://127.0.0.1:1/a", "http://127.0.0.1:2/b", None),
        ("http://127.0.0.1:1/a", "http://8.8.8.8/b", None),
        ("https://8.8.8.8/a", "http://8.8.8.8/a", None),
        ("https://8.8.8.8/a", "https://127.0.0.1/", None),
        ("https://8.8.8.8/a", "//10.0.0.1/", None),
        ("https://8.8.8.8/a", "https://user@[::ffff:10.0.0.1]/", None),
        ("https://8.8.8.8/a", "gopher://8.8.4.4/", None),
        ("https://8.8.8.8/a", "https://8.8.4.4:99999/", None),
    ],
)
def test_addresses_an_answer_leads_to_its_own_host_or_to_a_public_one(
    here: str, place: str, leads: str | None
) -> None:
    if leads is not None:
        assert led_to(here, place, what="redirect") == leads
    else:
        with pytest.raises(RefusedAddressError):
            led_to(here, place, what="redirect")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://h/a?page=2&limit=5", "https://h/a?page=2&limit=5"),
        ("https://user:pw@h/a", "https://h/a"),
        ("https://h/a", "https://h/a"),
        ("https://h/a?k=SECRETVALUE1", None),
        ("https://h/a?SECRETVALUE1", None),
        ("https://h/a?page=2&api_key=SECRETVALUE1", None),
        ("https://h/a?x=SECRETVALUE1&x=SECRETVALUE1", None),
    ],
)
def test_addresses_a_kept_address_has_no_value_that_may_be_a_key(url: str, kept: str | None) -> None:
    found = kept_url(url)
    assert "SECRETVALUE1" not in found
    assert "pw" not in found
    assert found == kept_url(url)
    assert found != kept_url(url + "x")
    if kept is None:
        assert "sha256:" in found
        assert without_user(url) == url
    else:
        assert found == kept
