"""What may leave the building."""

from __future__ import annotations

import pytest

from mmedpo.chat.egress import check_egress, is_loopback
from mmedpo.config import EndpointSettings
from mmedpo.errors import EgressError


def at(url: str) -> EndpointSettings:
    return EndpointSettings(model="m", base_url=url)


LOOPBACK = ["http://127.0.0.1:8000/v1", "http://127.9.9.9/v1", "http://localhost:1/v1", "http://[::1]:8000/v1"]
OUTSIDE = [
    "https://api.openai.com/v1",
    "http://10.0.0.5/v1",
    "http://0.0.0.0/v1",
    "http://localhost.example.com/v1",
    "http://127.0.0.1.example.com/v1",
    "http://2130706433/v1",
    "http://gpu7.evil.lan/v1",
]


@pytest.mark.parametrize("url", LOOPBACK)
def test_loopback_is_local(url: str) -> None:
    assert check_egress("e", at(url), (), "mimic-cxr", "restricted", "") == "local"


@pytest.mark.parametrize("url", OUTSIDE)
@pytest.mark.parametrize("use", ["restricted", "", "unknown"])
def test_nothing_else_is_and_the_rule_is_named(url: str, use: str) -> None:
    with pytest.raises(EgressError, match=r"'mimic-cxr' is restricted .*trusted_hosts.* --allow-external mimic-cxr"):
        check_egress("e", at(url), ("gpu7.lan",), "mimic-cxr", use, "")


def test_a_trusted_host_is_local_by_its_exact_name() -> None:
    trusted = ("gpu7.lan",)
    assert check_egress("e", at("http://GPU7.lan:8000/v1"), trusted, "mimic-cxr", "restricted", "") == "local"
    with pytest.raises(EgressError):
        check_egress("e", at("http://x.gpu7.lan/v1"), trusted, "mimic-cxr", "restricted", "")


def test_open_data_may_leave_and_permission_needs_the_dataset_typed() -> None:
    outside = at("https://api.openai.com/v1")
    assert check_egress("e", outside, (), "vqa-rad", "open", "") == "open-data"
    assert check_egress("e", outside, (), "mimic-cxr", "restricted", "mimic-cxr") == "allowed-external"
    with pytest.raises(EgressError, match="names another dataset; this run's is 'mimic-cxr'"):
        check_egress("e", outside, (), "mimic-cxr", "restricted", "vqa-rad")


def test_one_server_outside_keeps_restricted_data_in() -> None:
    """And servers in the building are never mixed with others: a proxy is used for all of an endpoint or for none."""
    several = EndpointSettings(model="m", base_url=LOOPBACK[0], base_urls=(LOOPBACK[1], "http://gpu7.lan/v1"))
    assert check_egress("e", several, ("gpu7.lan",), "mimic-cxr", "restricted", "") == "local"
    for use, allowed in (("restricted", ""), ("restricted", "mimic-cxr"), ("open", "")):
        with pytest.raises(EgressError, match=r"in the building and outside \(gpu7.lan\), so nothing was sent"):
            check_egress("e", several, (), "mimic-cxr", use, allowed)
    away = EndpointSettings(model="m", base_url=OUTSIDE[0], base_urls=(OUTSIDE[1],))
    with pytest.raises(EgressError, match=r"restricted and endpoint 'e' \(api.openai.com\)"):
        check_egress("e", away, (), "mimic-cxr", "restricted", "")
    assert check_egress("e", away, (), "vqa-rad", "open", "") == "open-data"


def test_what_stays_in_this_process_is_local() -> None:
    local = EndpointSettings(kind="transformers", model="/models/med42")
    assert check_egress("e", local, (), "mimic-cxr", "restricted", "") == "local"
    assert not is_loopback("")
