"""Which network addresses an import may fetch from."""

import ipaddress
import socket
from typing import Final, NamedTuple

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Refused always. Cloud metadata services that are not link-local are named one by one.
_METADATA: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "fd00:ec2::254/128",  # AWS
            "fd20:ce::254/128",  # Google Cloud
            "100.100.100.200/32",  # Alibaba Cloud
            "192.0.0.192/32",  # Oracle Cloud
            "168.63.129.16/32",  # Azure
        ),
    )
)
_REFUSED: Final = tuple(
    map(
        ipaddress.ip_network,
        ("0.0.0.0/8", "192.0.0.0/24", "240.0.0.0/4", "::/128", "100::/64"),
    )
)
_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "198.18.0.0/15",
            "fc00::/7",
            "fec0::/10",
        ),
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Policy(NamedTuple):
    """What is refused beyond what is refused always."""

    deny_private: bool
    allow_loopback: bool = False
    """For tests that serve on this machine. No setting of a user leads here."""


class Resolved(NamedTuple):
    """One address of a host, to be connected to as it is: resolving again might give another."""

    family: socket.AddressFamily
    address: tuple[str, int] | tuple[str, int, int, int]


def refusal(address: str, policy: Policy) -> str | None:
    """Why `address` must not be connected to; None if it may."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    kinds = [kind for inner in (parsed, *_embedded(parsed)) if (kind := _kind(inner))]
    for kind in kinds:
        if kind == "loopback" and policy.allow_loopback:
            continue
        if kind == "private" and not policy.deny_private:
            continue
        return f"{kind} address {parsed}"
    return None


def resolve(host: str, port: int) -> list[Resolved]:
    """All addresses of `host`.

    Raises:
        OSError: It has none, or the name server does not answer.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = []
    for family, _, _, _, address in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            addresses.append(Resolved(family, address))  # type: ignore[arg-type]
    return addresses


def _kind(address: _Address) -> str | None:
    kinds = (
        ("metadata", _is_in(address, _METADATA)),
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("unspecified", address.is_unspecified),
        ("multicast", address.is_multicast),
        ("reserved", _is_in(address, _REFUSED)),
        ("private", _is_in(address, _PRIVATE)),
    )
    return next((kind for kind, holds in kinds if holds), None)


def _is_in(address: _Address, networks: tuple[_Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _embedded(address: _Address) -> list[_Address]:
    """IPv4 addresses that an IPv6 address stands for: mapped, 6to4, Teredo, NAT64."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    found: list[_Address | None] = [address.ipv4_mapped, address.sixtofour]
    if address.teredo:
        found += address.teredo
    # ::a.b.c.d is long deprecated, but some systems still connect to it.
    if address in _NAT64 or int(address) >> 32 == 0:
        found.append(low)
    return [inner for inner in found if inner is not None]
