/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The endpoint's counters: one list, from which the BPF programs take the
 * index, and crab-agent the name and the meaning.  Append only: the index is
 * part of the pinned map's layout.
 *
 * X(name, what it counts)
 */
#ifndef CRAB_COUNTERS_H
#define CRAB_COUNTERS_H

#define CRAB_COUNTERS(X) \
	/* client: offers */ \
	X(offered, "SYNs that left with an offer, retransmitted ones included") \
	X(offer_no_space, "SYNs without an offer: the option list has no room") \
	X(offer_syn_data, "SYNs without an offer: they carry data, which a form without an address does not allow") \
	X(offer_map_full, "SYNs without an offer: the pending table is full") \
	/* client: redirects */ \
	X(redirected, "SYN-ACKs that passed every check and redirected their connection") \
	X(redirected_short, "of those, by a short echo") \
	X(duplicate, "SYN-ACKs that repeat an accepted redirect; translated") \
	X(refused, "RSTs of backends that refused; translated") \
	X(icmp, "ICMP errors about redirected connections; translated") \
	X(established_without_redirect, "offered connections that were established with the virtual address itself") \
	X(packets_in, "packets translated from a backend to the socket") \
	X(packets_out, "packets translated from the socket to a backend") \
	X(out_by_neighbour, "of those, sent by the kernel's route and neighbour tables") \
	X(collected, "flows and pending entries removed by the sweep") \
	/* client: rejects, no effect on the socket */ \
	X(reject_malformed, "SYN-ACKs with a malformed option list or redirect option") \
	X(reject_unfilled, "SYN-ACKs that echo an offer no appliance filled") \
	X(reject_not_pending, "SYN-ACKs and RSTs with a redirect option that no pending connection matches") \
	X(reject_not_syn_sent, "redirects whose socket is not in SYN-SENT") \
	X(reject_bad_ack, "redirects that acknowledge something else than the SYN") \
	X(reject_form, "redirects of another form than the one offered") \
	X(reject_prefix, "redirects to an address outside the allowed prefixes") \
	X(reject_tag, "redirects whose tag is wrong under every key of the service") \
	X(reject_conflict, "redirects to a backend while the connection, or its tuple, is held by another") \
	X(reject_map_full, "redirects for which the flow table has no room") \
	X(missing_echo, "SYN-ACKs of backends that do not echo the option") \
	X(translate_failed, "packets dropped because the kernel could not rewrite them") \
	/* server */ \
	X(redirect_seen, "SYNs with a redirect; kept until their answer leaves") \
	X(server_malformed, "SYNs with a malformed option list or redirect option; not echoed") \
	X(echoed, "SYN-ACKs that left with the option, first ones") \
	X(echoed_retransmitted, "SYN-ACKs that left with the option, retransmitted ones") \
	X(echoed_short, "of both, with the short echo") \
	X(echoed_reset, "RSTs of refused connections that left with the option") \
	X(echo_no_space, "SYN-ACKs and RSTs without room even for the short echo") \
	X(echo_failed, "SYN-ACKs and RSTs that the kernel did not let grow")

enum crab_counter {
#define CRAB_COUNTER_ENUM(name, meaning) CRAB_COUNT_##name,
	CRAB_COUNTERS(CRAB_COUNTER_ENUM)
#undef CRAB_COUNTER_ENUM
	CRAB_N_COUNTERS
};

#endif /* CRAB_COUNTERS_H */
