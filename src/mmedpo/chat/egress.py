"""What may leave the building: the rule, checked before the first byte (and before a connection is opened)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from mmedpo.chat.kind import sends
from mmedpo.config import EndpointSettings
from mmedpo.errors import EgressError


def is_local(settings: EndpointSettings, trusted_hosts: Sequence[str]) -> bool:
    """Whether an endpoint lies in the building: in this process, or all its servers on loopback or trusted hosts."""
    return not sends(settings) or not outside(settings, trusted_hosts)


def outside(settings: EndpointSettings, trusted_hosts: Sequence[str]) -> tuple[str, ...]:
    """The hosts of an endpoint's servers that do not lie in the building."""
    hosts = (one.host for one in settings.alone)
    return tuple(host for host in hosts if not (is_loopback(host) or host in trusted_hosts))


def is_loopback(host: str) -> bool:
    """`localhost`, 127.0.0.0/8, ::1; a name that merely resolves there is not, for names can be pointed elsewhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_egress(
    name: str,
    settings: EndpointSettings,
    trusted_hosts: Sequence[str],
    dataset: str,
    data_use: str,
    allowed: str,
) -> str:
    """The rule under which texts and pixels of a dataset may go to an endpoint.

    Args:
        name: the endpoint's name in the recipe.
        settings: the endpoint.
        trusted_hosts: hosts that count as local.
        dataset: registered name of the dataset.
        data_use: `open` or `restricted`; anything else counts as restricted.
        allowed: the dataset's name as typed after `--allow-external`; empty when it was not given.

    Returns:
        `local`, `open-data`, or `allowed-external`, for the record.

    Raises:
        EgressError: restricted data, an endpoint outside, and no permission; or a permission for another dataset.
    """
    if allowed and allowed != dataset:
        raise EgressError(
            f"--allow-external {allowed} names another dataset; this run's is {dataset!r}, type that name"
        )
    if is_local(settings, trusted_hosts):
        return "local"
    away = outside(settings, trusted_hosts)
    if len(away) < len(settings.alone):
        raise EgressError(
            f"endpoint {name!r} has servers in the building and outside ({away[0]}), so nothing was sent; make two "
            "endpoints of it, or name the host in chat.trusted_hosts if it lies in the building"
        )
    if data_use == "open":
        return "open-data"
    if allowed == dataset:
        return "allowed-external"
    raise EgressError(
        f"dataset {dataset!r} is restricted and endpoint {name!r} ({away[0]}) is not local, so nothing was sent; "
        "use an endpoint on loopback, name its host in chat.trusted_hosts if it lies in the building, or, if its "
        f"licence allows it, give --allow-external {dataset}"
    )
