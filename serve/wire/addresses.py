"""Addresses and networks, each in one form: an IPv4 address that came by IPv6 is the IPv4 address.

A socket for both kinds tells 10.1.2.3 as ``::ffff:10.1.2.3`` (RFC 4291, 2.5.5.2). Who compares the two forms
finds them different, so both addresses and networks come through here.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_MAPPED = IPv6Network("::ffff:0:0/96")


def read_address(text: str) -> Address:
    """Return an address.

    Raises:
        ValueError: it is none.

    >>> read_address("::ffff:10.1.2.3")
    IPv4Address('10.1.2.3')
    """
    address = ip_address(text.strip())
    return getattr(address, "ipv4_mapped", None) or address


def read_network(text: str) -> Network:
    """Return a network; bits beyond its prefix are left out.

    Raises:
        ValueError: it is none.

    >>> read_network("::ffff:10.1.2.3/104")
    IPv4Network('10.0.0.0/8')
    """
    network = ip_network(text.strip(), strict=False)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        first = int(network.network_address) & 0xFFFF_FFFF
        return IPv4Network((first, network.prefixlen - _MAPPED.prefixlen))
    return network
