# SPDX-License-Identifier: Apache-2.0
"""Forged answers to a client whose kernel re-keys sockets: each fails one check, is counted by it,
and leaves the socket in SYN-SENT, where the real answer still reaches it."""

import dataclasses

import pytest
from endpoint import Deltas
from forgery import (ALLOWED_NUMBERS, BACKEND_PORT, ESTABLISHED, EXID, FORGERIES, KEYED_PORT, KEYS,
                     NO_SERVICE_PORT, PLAIN_PORT, SYN_SENT, Answer, stray_option, virtual)
from process import wait_until
from subject import CLIENT, form
from topology import address

OTHER_KEY = bytes(range(200, 216))


def wait_established(target) -> None:
    wait_until(lambda: target.state == ESTABLISHED, "the connection")


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_counted_and_has_no_effect(subject, family, name):
    forgery = FORGERIES[name]
    counted = forgery.counter(family)
    with subject.target(family, forgery.port) as target:
        deltas = Deltas(subject.client)
        answer = target.good()
        target.send(forgery.forge(target, answer))
        deltas.wait_for(counted)
        assert deltas.rejects() == {counted: 1}
        assert target.state == SYN_SENT
        target.send(answer)  # the real one still works
        wait_established(target)
        assert deltas.now()["redirected"] == 1
        assert target.attempt.peer() == (answer.source, BACKEND_PORT)


@pytest.mark.parametrize("key", KEYS, ids=["first", "second"])
def test_both_keys_of_a_service_are_accepted(subject, family, key):
    with subject.target(family, KEYED_PORT) as target:
        assert len(target.offer()) == form(family, keyed=True)
        source = address(family, ALLOWED_NUMBERS[0])
        target.send(Answer(source, target.redirect(source, key)))
        wait_established(target)


def test_keys_rotate(subject, family):
    """A connection is held to the keys of its offer; the next one to those of its own."""
    source = address(family, ALLOWED_NUMBERS[0])
    with subject.target(family, KEYED_PORT) as target:
        subject.client.configure(CLIENT, [[virtual(family), KEYED_PORT, form(family, True),
                                           [OTHER_KEY.hex()]]])
        target.send(target.good())
        wait_established(target)
    with subject.target(family, KEYED_PORT) as target:
        deltas = Deltas(subject.client)
        target.send(target.good())
        deltas.wait_for("reject_tag")
        assert target.state == SYN_SENT
        target.send(Answer(source, target.redirect(source, OTHER_KEY)))
        wait_established(target)


def test_a_short_echo_redirects_a_plain_service(subject, family):
    with subject.target(family, PLAIN_PORT) as target:
        deltas = Deltas(subject.client)
        target.send(dataclasses.replace(target.good(), option=b"\xfd\x04" + EXID))
        wait_established(target)
        assert deltas.now()["redirected_short"] == 1


def test_a_second_backend_comes_too_late(subject, family):
    with subject.target(family, PLAIN_PORT) as target:
        deltas = Deltas(subject.client)
        answer = target.good()
        target.send(answer)
        wait_established(target)
        target.send(dataclasses.replace(answer, source=address(family, ALLOWED_NUMBERS[1])))
        # The socket is at the backend's address now, and nothing is pending.
        wait_until(deltas.rejects, "a reject")
        assert sum(deltas.rejects().values()) == 1
        assert set(deltas.rejects()) <= {"reject_not_syn_sent", "reject_not_pending"}
        assert target.state == ESTABLISHED
        assert target.attempt.peer() == (answer.source, BACKEND_PORT)


def test_an_established_connection_of_the_service_is_not_redirected(subject, family):
    """One with the virtual address itself, whose server took no notice of the offer."""
    with subject.target(family, PLAIN_PORT) as target:
        deltas = Deltas(subject.client)
        target.send(Answer(virtual(family), b"", source_port=PLAIN_PORT))
        wait_established(target)
        assert deltas.now()["established_without_redirect"] == 1
        target.send(target.good())
        wait_until(deltas.rejects, "a reject")
        assert set(deltas.rejects()) <= {"reject_not_syn_sent", "reject_not_pending"}
        assert target.state == ESTABLISHED
        assert target.attempt.peer() == (virtual(family), PLAIN_PORT)


def test_without_an_offer_there_is_no_redirect(subject, family):
    with subject.target(family, NO_SERVICE_PORT) as target:
        deltas = Deltas(subject.client)
        assert target.offer() == b""
        target.send(Answer(address(family, ALLOWED_NUMBERS[0]), stray_option(family)))
        deltas.wait_for("reject_not_pending")
        assert deltas.rejects() == {"reject_not_pending": 1}
        assert target.state == SYN_SENT


def test_an_ordinary_answer_is_none_of_our_business(subject, family):
    with subject.target(family, NO_SERVICE_PORT) as target:
        deltas = Deltas(subject.client)
        target.send(Answer(virtual(family), b"", source_port=NO_SERVICE_PORT))
        wait_established(target)
        assert deltas.now() == {}


def test_a_hundred_forgeries_in_a_row(subject, family):
    """Of every kind, at one connection attempt, which then succeeds."""
    with subject.target(family, PLAIN_PORT) as target:
        deltas = Deltas(subject.client)
        answer = target.good()
        forgeries = [f for f in FORGERIES.values() if f.port == PLAIN_PORT]
        for i in range(100):
            target.send(forgeries[i % len(forgeries)].forge(target, answer))
        wait_until(lambda: sum(deltas.rejects().values()) >= 100, "100 rejects")
        assert target.state == SYN_SENT
        target.send(answer)
        wait_established(target)
