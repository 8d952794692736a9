# SPDX-License-Identifier: Apache-2.0
"""Forged answers: each fails one check, is counted by it, and leaves the socket in SYN-SENT.

No appliance: the first backend's link gets the SYNs, and the test answers them by hand.
"""

import contextlib
import dataclasses
import socket
from collections.abc import Iterator

import pytest
from endpoint import Agent, Deltas, mac_of, tcp_socket
from forgery import (ALLOWED_NUMBERS, ESTABLISHED, EXID, FORGERIES, KEYED_PORT, KEYS,
                     NO_SERVICE_PORT, PLAIN_PORT, SYN_SENT, Answer, Target, lure, stray_option,
                     virtual)
from process import wait_until
from topology import FAMILIES, address


def content() -> dict:
    services = []
    for family in FAMILIES:
        for port, keys in (PLAIN_PORT, []), (KEYED_PORT, [key.hex() for key in KEYS]):
            services.append({"name": f"s{port}-{family}", "address": virtual(family), "port": port,
                             "keys": keys})
    allowed = [f"{address(family, number)}/{32 if family == 'ipv4' else 128}"
               for number in ALLOWED_NUMBERS for family in FAMILIES]
    return {"services": services, "agent": {"allowed_prefixes": allowed}}


@pytest.fixture(scope="module")
def agent(topology) -> Iterator[Agent]:
    lure(topology.clients[0], topology.backends[0])
    made = Agent(topology.clients[0], "client", content())
    yield made
    made.remove()


class LocalAttempt:
    """forgery.Attempt of a namespace of this machine."""

    def __init__(self, topology, family: str, port: int):
        self.socket = tcp_socket(topology.clients[0], family)
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.socket.connect((virtual(family), port))

    def local_port(self) -> int:
        return self.socket.getsockname()[1]

    def state(self) -> int:
        return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]

    def peer(self) -> tuple[str, int]:
        return self.socket.getpeername()[:2]

    def close(self) -> None:
        self.socket.close()


def connecting(topology, family: str, port: int) -> Target:
    return Target(topology.backends[0], mac_of(topology.clients[0]), family, port,
                  lambda _, port: LocalAttempt(topology, family, port))


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_counted_and_has_no_effect(topology, agent, family, name):
    forgery = FORGERIES[name]
    counted = forgery.counter(family)
    with connecting(topology, family, forgery.port) as target:
        deltas = Deltas(agent)
        answer = target.good()
        target.send(forgery.forge(target, answer))
        deltas.wait_for(counted)
        assert deltas.rejects() == {counted: 1}
        assert target.state == SYN_SENT
        target.send(answer)  # the real one still works
        wait_until(lambda: target.state == ESTABLISHED, "the connection")
        assert deltas.now()["redirected"] == 1
        assert target.attempt.peer() == (virtual(family), forgery.port)


@pytest.mark.parametrize("key", KEYS, ids=["first", "second"])
def test_both_keys_of_a_service_are_accepted(topology, agent, family, key):
    with connecting(topology, family, KEYED_PORT) as target:
        assert len(target.offer()) == {"ipv4": 20, "ipv6": 16}[family]
        source = address(family, ALLOWED_NUMBERS[0])
        target.send(Answer(source, target.redirect(source, key)))
        wait_until(lambda: target.state == ESTABLISHED, "the connection")


def test_a_short_echo_redirects_a_plain_service(topology, agent, family):
    with connecting(topology, family, PLAIN_PORT) as target:
        deltas = Deltas(agent)
        target.send(dataclasses.replace(target.good(), option=b"\xfd\x04" + EXID))
        wait_until(lambda: target.state == ESTABLISHED, "the connection")
        assert deltas.now()["redirected_short"] == 1


def test_a_second_backend_comes_too_late(topology, agent, family):
    with connecting(topology, family, PLAIN_PORT) as target:
        deltas = Deltas(agent)
        answer = target.good()
        target.send(answer)
        wait_until(lambda: target.state == ESTABLISHED, "the connection")
        target.send(dataclasses.replace(answer, source=address(family, ALLOWED_NUMBERS[1])))
        wait_until(deltas.rejects, "a reject")
        # IPv6's form has no address that would find the socket once nothing is pending any more.
        assert deltas.rejects() == {"ipv4": {"reject_not_syn_sent": 1},
                                    "ipv6": {"reject_not_pending": 1}}[family]
        assert target.state == ESTABLISHED


def test_without_an_offer_there_is_no_redirect(topology, agent, family):
    with connecting(topology, family, NO_SERVICE_PORT) as target:
        deltas = Deltas(agent)
        assert target.offer() == b""
        target.send(Answer(address(family, ALLOWED_NUMBERS[0]), stray_option(family)))
        deltas.wait_for("reject_not_pending")
        assert deltas.rejects() == {"reject_not_pending": 1}
        assert target.state == SYN_SENT


def test_an_ordinary_answer_is_none_of_our_business(topology, agent, family):
    with connecting(topology, family, NO_SERVICE_PORT) as target:
        deltas = Deltas(agent)
        target.send(Answer(virtual(family), b"", source_port=NO_SERVICE_PORT))
        wait_until(lambda: target.state == ESTABLISHED, "the connection")
        assert deltas.rejects() == {}
        assert not deltas.now().keys() & {"offered", "redirected", "established_without_redirect"}
