"""Which addresses may be fetched from."""

import pytest

from deeptrain_trainer.dataset.addresses import Policy, refusal

OPEN = Policy(deny_private=False)
STRICT = Policy(deny_private=True)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.0.9", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("::ffff:a9fe:a9fe", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "reserved"),
        ("::", "unspecified"),
        ("224.0.0.251", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("240.0.0.1", "reserved"),
    ],
)
def test_refused_always(address: str, kind: str) -> None:
    for policy in (OPEN, STRICT):
        assert (refusal(address, policy) or "").startswith(f"{kind} address")


@pytest.mark.parametrize(
    "address",
    ["10.96.0.1", "172.16.5.5", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"],
)
def test_private_addresses_are_the_installations_choice(address: str) -> None:
    assert refusal(address, OPEN) is None
    assert (refusal(address, STRICT) or "").startswith("private address")


@pytest.mark.parametrize("address", ["93.184.216.34", "172.32.0.1", "2606:2800:220:1::1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert refusal(address, STRICT) is None


def test_loopback_is_allowed_for_tests_only_by_code() -> None:
    assert refusal("127.0.0.1", Policy(deny_private=True, allow_loopback=True)) is None
    assert refusal("169.254.169.254", Policy(deny_private=True, allow_loopback=True)) is not None
