// SPDX-License-Identifier: GPL-2.0-only
/*
 * Client: the RST of a backend that refuses.  It is made to come from the
 * virtual address, where its socket is, so that connect() fails at once with ECONNREFUSED.  Its
 * ACK proves that the sender has seen the SYN (RFC 9293, 3.10.7.3); the option may be missing,
 * but if it is there it must be right.
 */
#include <net/tcp.h>

#include "client.h"
#include "platform.h"

/* Whether what the RST carries speaks against it; counts why. */
static bool speaks_against(struct crab_net *cn, const struct crab_segment *s,
			   const struct tcp_redirect_pending *known)
{
	const struct tcp_redirect_path path = { .client = s->dst, .backend = s->src };
	enum tcp_redirect_counter why = TCP_REDIRECT_N_COUNTERS;
	struct tcp_redirect_option o;

	tcp_redirect_find_option(crab_options(s), crab_options_len(s), &o);
	if (!crab_checksum_valid(s))
		why = TCP_REDIRECT_N_reject_checksum;
	else if (o.state == TCP_REDIRECT_OPTION_MALFORMED)
		why = TCP_REDIRECT_N_reject_malformed;
	else if (o.state == TCP_REDIRECT_OPTION_OFFER)
		why = TCP_REDIRECT_N_reject_unfilled;
	else if (o.state != TCP_REDIRECT_OPTION_ABSENT)
		why = tcp_redirect_check(&cn->shared, &o, &path, known);
	else if (!tcp_redirect_prefix_allows(&cn->shared, &s->src.addr))
		why = TCP_REDIRECT_N_reject_prefix;
	if (why == TCP_REDIRECT_N_COUNTERS)
		return false;
	tcp_redirect_count(&cn->shared, why);
	return true;
}

/* Whether the pending connection's socket still waits for its first answer. */
static bool waits(struct crab_net *cn, const struct crab_segment *s,
		  const struct tcp_redirect_pending *known)
{
	struct sock *sk = crab_find_socket(cn->shared.net, s->skb, &known->service,
					   &s->dst);
	bool waits;

	if (!sk)
		return false;
	waits = sk->sk_state == TCP_SYN_SENT &&
		READ_ONCE(tcp_sk(sk)->snd_una) == known->isn;
	sock_gen_put(sk);
	return waits;
}

unsigned int crab_receive_rst(struct crab_net *cn, struct crab_segment *s)
{
	struct tcp_redirect_pending known;

	if (!(s->flags & CRAB_TCP_ACK) ||
	    !tcp_redirect_pending_find(&cn->shared, &s->dst, s->ack - 1, false, &known) ||
	    tcp_redirect_end_equal(&known.service, &s->src) ||
	    speaks_against(cn, s, &known))
		return NF_ACCEPT;
	if (!waits(cn, s, &known)) {
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_reject_not_syn_sent);
		return NF_ACCEPT;
	}
	if (!crab_set_source(s, &known.service))
		return NF_DROP;	/* no memory: the SYN is sent again */
	tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_refused);
	return NF_ACCEPT;
}
