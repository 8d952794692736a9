/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR Apache-2.0 */
/*
 * The counters of the kernel endpoints, one list for the netfilter module, the
 * kernel patch and crab-agent.  Where an eBPF counter (bpf/counters.h) has the
 * same name it counts the same.  The patch also shows them in
 * /proc/net/netstat, as TCPRedirect and the name in camel case.
 *
 * X(name, CamelCase, what it counts)
 */
#ifndef TCP_REDIRECT_COUNTERS_H
#define TCP_REDIRECT_COUNTERS_H

#define TCP_REDIRECT_COUNTERS(X) \
	/* client: offers */ \
	X(offered, Offered, "SYNs that left with an offer, retransmitted ones included") \
	X(offer_no_space, OfferNoSpace, "SYNs without an offer: the option list has no room, or an MD5, Fast Open or MPTCP join option stands in it") \
	X(offer_syn_data, OfferSynData, "SYNs without an offer: they carry data") \
	X(offer_map_full, OfferMapFull, "SYNs without an offer: the pending table is full") \
	X(offer_failed, OfferFailed, "SYNs without an offer: no memory to make room in the packet") \
	/* client: redirects */ \
	X(redirected, Redirected, "SYN-ACKs that passed every check and re-keyed their socket") \
	X(redirected_short, RedirectedShort, "of those, by a short echo") \
	X(deferred, Deferred, "SYN-ACKs kept until the owner of their socket had released it") \
	X(refused, Refused, "RSTs of backends that refused; the connect fails at once") \
	X(icmp, Icmp, "ICMP errors of a backend about a pending connection, handed to its socket") \
	X(time_wait_replaced, TimeWaitReplaced, "TIME-WAIT entries on a backend's tuple that made way for a redirect") \
	X(established_without_redirect, EstablishedWithoutRedirect, "offered connections that were established with the virtual address itself") \
	/* client: rejects, no effect on the socket */ \
	X(reject_malformed, RejectMalformed, "SYN-ACKs with a malformed option list or redirect option") \
	X(reject_checksum, RejectChecksum, "SYN-ACKs and RSTs with a redirect option and a wrong checksum") \
	X(reject_unfilled, RejectUnfilled, "SYN-ACKs that echo an offer no appliance filled") \
	X(reject_not_pending, RejectNotPending, "SYN-ACKs and RSTs with a redirect option that no pending connection matches") \
	X(reject_not_syn_sent, RejectNotSynSent, "redirects whose socket is not in SYN-SENT") \
	X(reject_bad_ack, RejectBadAck, "redirects that acknowledge something else than the SYN") \
	X(reject_form, RejectForm, "redirects of another form than the one offered") \
	X(reject_prefix, RejectPrefix, "redirects to an address outside the allowed prefixes") \
	X(reject_tag, RejectTag, "redirects whose tag is wrong under every key of the service") \
	X(reject_conflict, RejectConflict, "redirects to a tuple that another live connection of this host holds") \
	X(reject_no_route, RejectNoRoute, "redirects to an address without a route") \
	X(reject_busy, RejectBusy, "SYN-ACKs dropped because too many were deferred; their retransmission is taken") \
	/* server */ \
	X(redirect_seen, RedirectSeen, "SYNs with a redirect; kept until their handshake is over") \
	X(server_malformed, ServerMalformed, "SYNs with a malformed option list or redirect option; not echoed") \
	X(server_full, ServerFull, "redirected SYNs that the table had no room for; not echoed") \
	X(echoed, Echoed, "SYN-ACKs that left with the option, first ones") \
	X(echoed_retransmitted, EchoedRetransmitted, "SYN-ACKs that left with the option, retransmitted ones") \
	X(echoed_short, EchoedShort, "of both, with the short echo") \
	X(echoed_reset, EchoedReset, "RSTs of refused connections that left with the option") \
	X(echo_no_space, EchoNoSpace, "SYN-ACKs and RSTs without room even for the short echo") \
	X(echo_failed, EchoFailed, "SYN-ACKs and RSTs without the option: no memory to make room in the packet") \
	X(accepted, Accepted, "redirected connections whose handshake was completed, those that lost their node to SYN cookies not included") \
	X(accepted_full, AcceptedFull, "of those, not in the table by backend and node, which was full")

enum tcp_redirect_counter {
#define TCP_REDIRECT_COUNTER_ENUM(name, camel, meaning) TCP_REDIRECT_N_##name,
	TCP_REDIRECT_COUNTERS(TCP_REDIRECT_COUNTER_ENUM)
#undef TCP_REDIRECT_COUNTER_ENUM
	TCP_REDIRECT_N_COUNTERS
};

#endif /* TCP_REDIRECT_COUNTERS_H */
