// SPDX-License-Identifier: GPL-2.0-only
/*
 * Client: the offer goes into a SYN, first or retransmitted, on its way out
 * (LOCAL_OUT, after NAT and the firewall).  Pending first, then the bytes, so that no offer
 * leaves that nobody remembers.
 */
#include <net/inet_sock.h>

#include "client.h"
#include "platform.h"

/* Whether the segment goes where its socket thinks: NAT may have changed it. */
static bool goes_to_peer(const struct crab_segment *s, const struct sock *sk)
{
	return sk->sk_dport == s->dst.port && inet_sk(sk)->inet_sport == s->src.port &&
	       (s->v4 ? sk->sk_daddr == s->dst.addr.s6_addr32[3] :
			ipv6_addr_equal(&sk->sk_v6_daddr, &s->dst.addr));
}

/* Whether an offer of this form goes into the segment; counts why not. */
static bool may_offer(struct crab_net *cn, const struct crab_segment *s, u8 form)
{
	if (form == CRAB_OPT_LEN_TAG && crab_has_data(s)) {
		/* Without an address only ISN + 1 leads from the answer to the connection. */
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_offer_syn_data);
		return false;
	}
	if (crab_option_room(s) < form ||
	    tcp_redirect_offer_forbidden(crab_options(s), crab_options_len(s))) {
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_offer_no_space);
		return false;
	}
	return true;
}

/* The first SYN: remembers the connection. */
static bool remember(struct crab_net *cn, const struct crab_segment *s,
		     const struct sock *sk, u8 *form)
{
	const struct tcp_redirect_service *service;
	int err;

	/* LOCAL_OUT runs under RCU. */
	service = tcp_redirect_find_service(&cn->shared, &s->dst);
	if (!service || !goes_to_peer(s, sk))
		return false;
	*form = service->terms.form;
	/* The paper's clients send nothing, so there is nothing that need fit. */
	if (*form != CRAB_PAPER_OPT_LEN && !may_offer(cn, s, *form))
		return false;
	err = tcp_redirect_pending_add(&cn->shared, &s->src, s->seq, sk, service);
	if (err)
		tcp_redirect_count(&cn->shared, err == -ENOSPC ?
				   TCP_REDIRECT_N_offer_map_full :
				   TCP_REDIRECT_N_offer_failed);
	return !err;
}

void crab_offer(struct crab_net *cn, struct crab_segment *s, const struct sock *sk)
{
	struct tcp_redirect_pending known;
	u8 option[CRAB_OPT_LEN_ADDR_TAG];
	bool again;
	u8 form;

	again = tcp_redirect_pending_find(&cn->shared, &s->src, s->seq, true, &known);
	if (again) {
		form = known.terms.form;
		/* Re-keyed already: this SYN goes to the backend itself. */
		if (!tcp_redirect_end_equal(&known.service, &s->dst))
			return;
		if (form != CRAB_PAPER_OPT_LEN && !may_offer(cn, s, form))
			return;
	} else if (!remember(cn, s, sk, &form)) {
		return;
	}
	if (form == CRAB_PAPER_OPT_LEN)
		return;
	if (crab_insert_option(s, option, tcp_redirect_write_offer(option, form))) {
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_offered);
		return;
	}
	tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_offer_failed);
	if (!again)
		tcp_redirect_pending_end(&cn->shared, &s->src, sk, &known);
}
