"""Where URLs from outside may lead."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import InvalidInput
from scheduler.core.reachable import LOCAL, Place, Reachable, place_of

PLACE = Place(host="server", port=80)
EVERYWHERE = Reachable.of(("0.0.0.0/0", "::/0", "server"))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://10.0.0.7:30000", Place(host="10.0.0.7", port=30000)),
        ("https://Server.Example./base", Place(host="server.example", port=443)),
        ("http://[::1]", Place(host="::1", port=80)),
    ],
)
def test_a_url_says_where_it_points(url: str, place: Place) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "",
        "server:30000",
        "file:///etc/passwd",
        "gopher://server",
        "http://",
        "http://:80",
        "http://user:secret@server",
        "http://user@server",
        "http://server:99999",
        "http://server:0",
        "http://.",
        "http://server:port",
        "http://[::1",
        "http://server/?q=1",
        "http://server/#f",
        "http://ser ver",
        "http://server\r\nHost: other",
    ],
)
def test_a_url_that_no_server_has_is_refused_and_its_secret_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        place_of(url)
    assert refusal.value.field == "url"
    assert "secret" not in str(refusal.value)


@given(st.text(max_size=40) | st.text(max_size=20).map(lambda rest: f"http://{rest}"))
def test_any_text_is_a_place_or_invalid_input(url: str) -> None:
    try:
        place = place_of(url)
    except InvalidInput:
        return
    assert place.host
    assert 0 < place.port < 65536


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::1",
        "64:ff9b::a9fe:a9fe",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_where_clouds_keep_credentials_is_never_reachable_listed_or_not(address: str) -> None:
    with pytest.raises(InvalidInput, match="never allowed") as refusal:
        EVERYWHERE.check(PLACE, [ip_address(address)], "url")
    assert refusal.value.field == "url"


def test_a_network_that_is_not_listed_is_refused_with_those_that_are() -> None:
    reachable = Reachable.of(("10.0.0.0/8", "other"))
    assert str(reachable.check(PLACE, [ip_address("10.1.2.3")], "url")) == "10.1.2.3"
    with pytest.raises(InvalidInput, match=r"server is at 192\.168\.0\.1: .* lists other, 10\.0\.0\.0/8"):
        reachable.check(PLACE, [ip_address("192.168.0.1")], "url")
    with pytest.raises(InvalidInput, match="lists nothing"):
        Reachable().check(PLACE, [ip_address("10.1.2.3")], "url")


def test_a_name_is_judged_by_every_address_it_has() -> None:
    with pytest.raises(InvalidInput):
        Reachable.of(LOCAL).check(PLACE, [ip_address("10.0.0.1"), ip_address("8.8.8.8")], "url")
    with pytest.raises(InvalidInput, match="no address"):
        EVERYWHERE.check(PLACE, [], "url")


def test_a_listed_name_is_reachable_wherever_it_is() -> None:
    reachable = Reachable.of(("Server.",))
    assert str(reachable.check(PLACE, [ip_address("8.8.8.8")], "url")) == "8.8.8.8"
    with pytest.raises(InvalidInput):
        reachable.check(Place(host="server.evil", port=80), [ip_address("8.8.8.8")], "url")


def test_an_ipv4_address_in_ipv6_clothes_is_the_ipv4_address() -> None:
    assert str(Reachable.of(LOCAL).check(PLACE, [ip_address("::ffff:127.0.0.1")], "url")) == "127.0.0.1"


@pytest.mark.parametrize("entry", ["", "10.0.0.1/8", "http://server", "a/b", " server"])
def test_what_is_no_host_and_no_network_is_refused(entry: str) -> None:
    with pytest.raises(InvalidInput, match="no host, address or network"):
        Reachable.of((entry,))
