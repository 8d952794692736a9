# SPDX-License-Identifier: Apache-2.0
"""The module unloaded, and namespaces deleted, while there is traffic."""

import pytest
from process import wait_until
from rack import SERVICES

PLAIN = SERVICES["plain"]


@pytest.fixture
def loaded(subject):
    """Whatever happened, the next test finds the modules loaded."""
    yield subject
    for side in subject.client, subject.server:
        if not side.guest.call("redirect.is_present"):
            side.load()


@pytest.mark.module_only
def test_connections_outlive_the_modules(loaded, family):
    subject, guest = loaded, loaded.client.guest
    number = guest.call("connections.connect", subject.virtual_address(family), PLAIN.port)
    subject.client.unload()
    subject.server.unload()
    guest.call("connections.transfer", number, 1 << 20, subject.many_bytes)
    guest.call("connections.close", number)
    subject.client.load()
    subject.server.load()
    subject.configure()
    subject.move(family)


@pytest.mark.module_only
@pytest.mark.parametrize("role", ["client", "server"])
def test_unloaded_in_the_middle(loaded, family, role):
    """Again and again, under connections that come and go; those in between may fail, and the last
    load finds everything as the first did."""
    subject, guest = loaded, loaded.client.guest
    side = subject.client if role == "client" else subject.server
    number = guest.call("connections.connect", subject.virtual_address(family), PLAIN.port)
    guest.call("connections.begin_loops", subject.virtual_address(family), PLAIN.port, 4,
               deadline_of_each_s=2)
    for _ in range(2 if subject.is_debug else 5):
        seen = subject.client.counters()["redirected"]
        wait_until(lambda seen=seen: subject.client.counters()["redirected"] >= seen + 5,
                   "connections to be redirected", 240)
        side.unload()
        side.load()
        subject.configure()
    guest.call("connections.end_loops", deadline_s=300)
    guest.call("connections.transfer", number, 1 << 20, 1 << 20)
    guest.call("connections.close", number)
    subject.move(family)


def test_a_namespace_goes_with_its_configuration(subject, family):
    """And with connection attempts that nobody answers, in it."""
    subject.client.guest.call("namespaces.make_and_leave", subject.services(), subject.prefixes(),
                              subject.virtual_address(family), PLAIN.port,
                              3 if subject.is_debug else 10)
    subject.move(family)


def test_namespaces_are_apart(subject):
    """A new one is off and empty, and what is set there changes nothing here."""
    before = subject.client.info()
    assert guest_namespace(subject, [], 0) == {"roles": 0, "n_services": 0}
    services = subject.services()
    assert guest_namespace(subject, services, 3) == {"roles": 3, "n_services": len(services)}
    after = subject.client.info()
    assert {k: after[k] for k in ("roles", "n_services", "n_prefixes")} == {
        k: before[k] for k in ("roles", "n_services", "n_prefixes")}


def guest_namespace(subject, services: list, roles: int) -> dict:
    return subject.client.guest.call("namespaces.info_of_new", services, roles)
