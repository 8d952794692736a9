# SPDX-License-Identifier: Apache-2.0
"""Netlink requests that are wrong: refused with the reason, and nothing of them is in force."""

import errno
import ipaddress
import struct

import pytest
from process import wait_until
from redirect import (A_PREFIX, A_ROLES, A_SERVICE, NESTED, PREFIX_ADDRESS, PREFIX_LENGTH,
                      SERVICE_ADDRESS, SERVICE_FORM, SERVICE_KEY, SERVICE_PORT, attribute)
from subject import CLIENT, SERVER

VIRTUAL = {4: "10.0.0.150", 6: "fd00:c4ab::150"}


def service(*fields: tuple[int, bytes]) -> bytes:
    return attribute(A_SERVICE | NESTED, b"".join(attribute(*field) for field in fields))


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def fields(version: int = 4, port: int = 80, form: int | None = None,
           keys: tuple[bytes, ...] = ()) -> list[tuple[int, bytes]]:
    form = form if form is not None else {4: 12, 6: 16}[version]
    return [(SERVICE_ADDRESS, packed(VIRTUAL[version])), (SERVICE_PORT, struct.pack(">H", port)),
            (SERVICE_FORM, bytes([form])), *((SERVICE_KEY, key) for key in keys)]


def prefix(address: bytes, length: int) -> bytes:
    return attribute(A_PREFIX | NESTED,
                     attribute(PREFIX_ADDRESS, address) + attribute(PREFIX_LENGTH, bytes([length])))


HEADERS_BYTES = 20  # netlink and generic netlink
ROLES = attribute(A_ROLES, bytes([CLIENT | SERVER]))
SIXTEEN = bytes(16)
# Name: attributes of which one is wrong, the error, and the one that is blamed.
WRONG = {
    "role_unknown": (attribute(A_ROLES, b"\x04"), errno.EINVAL, A_ROLES),
    "roles_too_wide": (attribute(A_ROLES, struct.pack("=H", 1)), errno.EINVAL, A_ROLES),
    "attribute_unknown": (ROLES + attribute(99, b"\0"), errno.EINVAL, 99),
    "service_without_address": (ROLES + service(*fields()[1:]), errno.EINVAL, A_SERVICE),
    "service_without_port": (ROLES + service(fields()[0], fields()[2]), errno.EINVAL, A_SERVICE),
    "service_without_form": (ROLES + service(*fields()[:2]), errno.EINVAL, A_SERVICE),
    "service_empty": (ROLES + attribute(A_SERVICE | NESTED, b""), errno.EINVAL, A_SERVICE),
    "port_zero": (ROLES + service(*fields(port=0)), errno.EINVAL, SERVICE_PORT),
    "address_of_five_bytes": (
        ROLES + service((SERVICE_ADDRESS, bytes(5)), *fields()[1:]),
        errno.EINVAL, SERVICE_ADDRESS),
    "address_mapped": (
        ROLES + service((SERVICE_ADDRESS, packed("::ffff:10.0.0.150")), *fields(6)[1:]),
        errno.EINVAL, SERVICE_ADDRESS),
    "form_unknown": (ROLES + service(*fields(form=13)), errno.EINVAL, SERVICE_FORM),
    "form_of_the_other_family": (ROLES + service(*fields(form=16)), errno.EINVAL, SERVICE_FORM),
    "form_of_the_other_family_6": (
        ROLES + service(*fields(6, form=12)),
        errno.EINVAL, SERVICE_FORM),
    "paper_form_of_ipv6": (ROLES + service(*fields(6, form=6)), errno.EINVAL, SERVICE_FORM),
    "key_without_room_for_a_tag": (
        ROLES + service(*fields(form=12, keys=(SIXTEEN,))),
        errno.EINVAL, SERVICE_KEY),
    "key_in_paper_form": (
        ROLES + service(*fields(form=6, keys=(SIXTEEN,))),
        errno.EINVAL, SERVICE_KEY),
    "key_too_short": (
        ROLES + service(*fields(form=20, keys=(bytes(15),))),
        errno.ERANGE, SERVICE_KEY),
    "key_too_long": (
        ROLES + service(*fields(form=20, keys=(bytes(17),))),
        errno.ERANGE, SERVICE_KEY),
    "three_keys": (
        ROLES + service(*fields(form=20, keys=(SIXTEEN,) * 3)),
        errno.E2BIG, SERVICE_KEY),
    "twice_the_same_service": (
        ROLES + service(*fields()) + service(*fields(form=20)),
        errno.EEXIST, A_SERVICE),
    "right_then_wrong": (
        ROLES + service(*fields()) + service(*fields(port=0)),
        errno.EINVAL, SERVICE_PORT),
    "prefix_too_long": (ROLES + prefix(packed("10.0.0.0"), 33), errno.EINVAL, PREFIX_LENGTH),
    "prefix_too_long_6": (ROLES + prefix(packed("fd00::"), 129), errno.ERANGE, PREFIX_LENGTH),
    "prefix_without_length": (
        ROLES + attribute(A_PREFIX | NESTED, attribute(PREFIX_ADDRESS, packed("10.0.0.0"))),
        errno.EINVAL, A_PREFIX),
    "prefix_without_address": (
        ROLES + attribute(A_PREFIX | NESTED, attribute(PREFIX_LENGTH, b"\x08")),
        errno.EINVAL, A_PREFIX),
    "prefix_of_six_bytes": (ROLES + prefix(bytes(6), 8), errno.EINVAL, PREFIX_ADDRESS),
    "prefix_mapped": (ROLES + prefix(packed("::ffff:10.0.0.0"), 104), errno.EINVAL, PREFIX_ADDRESS),
    "truncated": (
        ROLES + struct.pack("=HH", 400, A_SERVICE | NESTED) + bytes(8),
        errno.EINVAL, None),
}


def state(subject) -> tuple:
    guest = subject.client.guest
    info = subject.client.info()
    return (info["roles"], guest.call("redirect.services"), guest.call("redirect.prefixes"))


def blamed(payload: bytes, offset: int | None) -> int | None:
    """The type of the attribute at an extended ack's offset, which counts the headers."""
    if offset is None:
        return None
    return struct.unpack_from("=H", payload, offset - HEADERS_BYTES + 2)[0] & ~NESTED


@pytest.mark.parametrize("name", WRONG)
def test_refused_whole(subject, name):
    payload, error, attribute_blamed = WRONG[name]
    before = state(subject)
    refused = subject.client.guest.call("redirect.set_raw", payload.hex())
    assert refused, "it was taken"
    assert refused["errno"] == error and refused["message"], refused
    assert blamed(payload, refused["offset"]) == attribute_blamed, refused
    assert state(subject) == before


def test_what_is_right_is_taken(subject):
    """Made in the same way, so that the others are wrong in the way they say."""
    payload = ROLES + b"".join(service(*fields(version, port, form, keys))
                               for version, port, form, keys in (
        (4, 80, 12, ()), (4, 81, 6, ()), (4, 443, 20, (SIXTEEN, SIXTEEN)), (6, 80, 16, ()),
        (6, 443, 16, (SIXTEEN,)))) + prefix(packed("10.0.0.0"), 32) + prefix(packed("fd00::"), 0)
    assert subject.client.guest.call("redirect.set_raw", payload.hex()) is None
    info = subject.client.info()
    assert (info["n_services"], info["n_prefixes"]) == (5, 2)


@pytest.mark.parametrize("what", ["services", "prefixes"])
def test_the_limits(subject, what):
    """As many as stated are taken, in one message, and shown; one more is refused."""
    limit = {"services": 4096, "prefixes": 1024}[what]

    def some(n: int) -> str:
        if what == "services":
            made = [service((SERVICE_ADDRESS, struct.pack(">I", 0x0A010000 + i)), *fields()[1:])
                    for i in range(n)]
        else:
            made = [prefix(struct.pack(">I", 0x0A000000 + (i << 8)), 24) for i in range(n)]
        return (ROLES + b"".join(made)).hex()

    guest = subject.client.guest
    assert guest.call("redirect.set_raw", some(limit)) is None
    assert subject.client.info()[f"n_{what}"] == limit
    assert len(guest.call(f"redirect.{what}", deadline_s=120)) == limit
    refused = guest.call("redirect.set_raw", some(limit + 1))
    assert refused["errno"] == errno.E2BIG and refused["message"]
    assert subject.client.info()[f"n_{what}"] == limit


def test_what_is_set_is_shown_without_keys(subject):
    shown = subject.client.guest.call("redirect.services")
    expected = subject.services()
    assert sorted((s["address"], s["port"], s["form"], s["n_keys"]) for s in shown) == sorted(
        (address, port, form, len(keys)) for address, port, form, keys in expected)
    assert not any(s["shows_key"] for s in shown)
    assert sorted(subject.client.guest.call("redirect.prefixes")) == sorted(subject.prefixes())


def test_a_list_that_is_left_out_is_emptied(subject):
    subject.client.configure(CLIENT)
    info = subject.client.info()
    assert (info["roles"], info["n_services"], info["n_prefixes"]) == (CLIENT, 0, 0)


def test_the_sysctl_is_the_roles(subject):
    guest, path = subject.client.guest, "/proc/sys/net/ipv4/tcp_redirect"
    assert guest.call("kernel_files.read", path) == f"{CLIENT}\n"
    guest.call("kernel_files.write", path, "3")
    assert subject.client.info()["roles"] == CLIENT | SERVER
    assert guest.run(["sh", "-c", f"echo 4 > {path}"], check=False).returncode != 0
    assert subject.client.info()["roles"] == CLIENT | SERVER
    assert subject.client.info()["n_services"] == len(subject.services())


def test_turned_off_it_does_nothing(subject, family):
    """Roles 0: SYNs are plain, and the appliance has nothing to fill."""
    subject.client.configure(0, subject.services())
    with subject.target(family, 80) as target:
        assert target.offer() == b""


def test_nobody_may_only_ask_what_there_is(subject):
    """Without CAP_NET_ADMIN: GET_INFO, and nothing else."""
    program = ("import redirect, sys; f = redirect.Family(); f.ask(redirect.GET_INFO)\n"
               "for command in (redirect.SET, redirect.GET_SERVICES, redirect.GET_PREFIXES,\n"
               "                redirect.GET_COUNTERS, redirect.GET_ACCEPTED):\n"
               "    try:\n"
               "        f.ask(command, dump=command != redirect.SET)\n"
               "    except redirect.Refused as refused:\n"
               "        assert refused.number == 1, refused\n"
               "    else:\n"
               "        sys.exit(f'command {command} was done')\n")
    guest = subject.client.guest
    done = guest.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                      "/usr/bin/python3", "-B", "-c", program], check=False,
                     env={"PYTHONPATH": guest.call("redirect.directory")})
    assert done.returncode == 0, done.stderr


def test_a_set_amid_traffic_harms_nothing(subject, family):
    """Configurations change, with the same service in them, under connections that come and go."""
    guest = subject.client.guest
    guest.call("connections.begin_loops", subject.virtual_address(family), 80, 2,
               deadline_of_each_s=60)
    redirected = subject.client.counters()["redirected"]
    for i in range(50):
        subject.client.configure(CLIENT, subject.services() + [
            [f"10.9.9.{i}", 80, 12, []]], subject.prefixes())
    wait_until(lambda: subject.client.counters()["redirected"] >= redirected + 20, "connections",
               240)
    assert guest.call("connections.end_loops", deadline_s=300) == {}
