"""Identity from a header that a signing-in proxy sets: behind oauth2-proxy, Kubeflow, or an ingress of one's own.

Trap: anybody can send such a header, every account of the proxy's machine too. It counts only from the proxy's own
addresses and beside a secret that the proxy alone adds, and the proxy must remove both from what its clients send.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address, ip_network

from dure.ports import Principal

NAME_HEADERS = ("x-forwarded-user", "kubeflow-userid", "x-auth-request-user")
NAME_CHARS_MAX = 128
SECRET_HEADER = "x-dure-proxy-secret"  # noqa: S105 - its name, not the secret
SECRET_CHARS_MIN = 16


class HeaderIdentity:
    """Believes the first of `names` that is set, when the request has the secret and comes from a trusted network."""

    def __init__(
        self,
        trusted: Collection[str],
        secret: str,
        *,
        names: Collection[str] = NAME_HEADERS,
        prefix: str = "",
        admins: Collection[str] = (),
        teams_of: Callable[[str], tuple[str, ...]] = lambda _name: (),
    ) -> None:
        """Take networks such as `10.0.0.0/8`; `prefix` is cut off names (Kubeflow's `accounts.google.com:`).

        Raises ValueError without networks, for one that is none, and for a secret that can be guessed.
        """
        if not trusted:
            raise ValueError("the addresses of the proxy that sets the header are not named")
        if len(secret) < SECRET_CHARS_MIN:
            raise ValueError(f"the proxy's secret has fewer than {SECRET_CHARS_MIN} characters")
        self.trusted = [ip_network(network) for network in trusted]
        self.secret = secret.encode()
        self.names = [name.lower() for name in names]
        self.prefix = prefix
        self.admins = frozenset(admins)
        self.teams_of = teams_of

    def principal(
        self,
        token: str | None,  # noqa: ARG002 - the port's signature
        headers: Mapping[str, str],
        peer: str | None,
    ) -> Principal | None:
        """Return the person whom the trusted proxy names, or None."""
        if peer is None or not self.trusts(peer):
            return None
        if not hmac.compare_digest(headers.get(SECRET_HEADER, "").encode(), self.secret):
            return None
        for header in self.names:
            name = headers.get(header, "").strip().removeprefix(self.prefix)
            if name and len(name) <= NAME_CHARS_MAX and name.isprintable():
                return Principal(name, name in self.admins, tuple(self.teams_of(name)), "header")
        return None

    def trusts(self, peer: str) -> bool:
        """Return whether the address is one of the proxy's; an IPv4 address inside IPv6 counts as itself."""
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.trusted)
