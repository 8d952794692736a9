/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Client: a redirect that passed becomes a flow.  The way in (origins) first,
 * the way out (flows) last: the socket answers only after it has the SYN-ACK, which this
 * same program delivers.
 */
#ifndef CRAB_PUBLISH_H
#define CRAB_PUBLISH_H

#include "kernel_patch/bpf/redirect.h"

static __always_inline bool same_end(const struct crab_target *target,
				     const struct packet *p)
{
	return same_address(&target->addr, &p->saddr) && target->port == p->sport;
}

/* Whether the backend's tuple carries a live connection to another service. */
static __always_inline bool held_by_other(const struct packet *p,
					  const struct crab_tuple *in,
					  const struct crab_service_key *service)
{
	struct crab_origin *origin = bpf_map_lookup_elem(&origins, in);
	struct crab_flow *flow;
	struct crab_tuple out;

	if (!origin || (same_address(&origin->service.vip, &service->vip) &&
			origin->service.port == service->port))
		return false;
	tuple_of(&p->daddr, p->dport, &origin->service, &out);
	flow = bpf_map_lookup_elem(&flows, &out);
	return flow && !flow->expires_ns &&
	       same_end(&flow->target[flow->state & CRAB_FLOW_CURRENT], p);
}

/* A port used again: the other target, then the switch. */
static __always_inline bool replace(struct crab_flow *flow, const struct packet *p,
				    const struct crab_flow *fresh)
{
	struct crab_tuple old = { .local = p->daddr, .lport = p->dport };
	__u32 state = flow->state & CRAB_FLOW_CURRENT;

	if (__sync_val_compare_and_swap(&flow->state, state,
					state | CRAB_FLOW_CLAIMED) != state)
		return false;
	flow->target[state ^ 1] = fresh->target[0];
	flow->cookie = fresh->cookie;
	flow->isn = fresh->isn;
	flow->expires_ns = 0;
	__sync_lock_test_and_set(&flow->state, state ^ 1);
	if (!same_end(&flow->target[state], p)) {
		old.remote = flow->target[state].addr;
		old.rport = flow->target[state].port;
		bpf_map_delete_elem(&origins, &old);
	}
	return true;
}

/* fresh has the new target in its first slot. */
static __always_inline enum crab_counter
write_flow(const struct packet *p, const struct crab_pending *known,
	   struct crab_flow *fresh)
{
	struct crab_flow *flow;
	struct crab_tuple out;
	long err;

	tuple_of(&p->daddr, p->dport, &known->service, &out);
	flow = bpf_map_lookup_elem(&flows, &out);
	if (!flow) {
		err = bpf_map_update_elem(&flows, &out, fresh, BPF_NOEXIST);
		if (!err)
			return CRAB_COUNT_redirected;
		return err == -EEXIST ? CRAB_COUNT_reject_conflict :
					CRAB_COUNT_reject_map_full;
	}
	/* Two backends answer one SYN: the first has it. */
	if (flow->isn == fresh->isn &&
	    !same_end(&flow->target[flow->state & CRAB_FLOW_CURRENT], p))
		return CRAB_COUNT_reject_conflict;
	return replace(flow, p, fresh) ? CRAB_COUNT_redirected :
					 CRAB_COUNT_reject_conflict;
}

static __noinline bool publish(struct __sk_buff *skb, const struct packet *p,
			       const struct crab_pending *known, __u32 isn)
{
	__u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&scratches, &zero);
	struct crab_target *target;
	enum crab_counter verdict;
	struct crab_tuple in;

	tuple_in(p, &in);
	if (!s || held_by_other(p, &in, &known->service)) {
		count(CRAB_COUNT_reject_conflict);
		return false;
	}
	__builtin_memset(s, 0, sizeof(*s));
	s->flow.isn = bpf_htonl(isn);
	s->flow.cookie = known->cookie;
	s->origin.service = known->service;
	s->origin.seen_ns = bpf_ktime_get_coarse_ns();
	target = &s->flow.target[0];
	target->addr = p->saddr;
	target->port = p->sport;
	target->ifindex = skb->ifindex;
	if (source_mac(skb, target->mac) && learns_mac()) {
		__builtin_memcpy(s->origin.mac, target->mac, ETH_ALEN);
		target->mac_until_ns = s->origin.seen_ns + MAC_LIFETIME_NS;
	}
	if (bpf_map_update_elem(&origins, &in, &s->origin, BPF_ANY)) {
		count(CRAB_COUNT_reject_map_full);
		return false;
	}
	verdict = write_flow(p, known, &s->flow);
	if (verdict == CRAB_COUNT_reject_map_full)
		bpf_map_delete_elem(&origins, &in);
	count(verdict);
	return verdict == CRAB_COUNT_redirected;
}

/* The connection's SYN-ACK again, because our ACK was lost or is late. */
static __always_inline bool repeats(const struct packet *p,
				    const struct crab_origin *origin)
{
	struct crab_flow *flow;
	struct crab_tuple out;

	tuple_of(&p->daddr, p->dport, &origin->service, &out);
	flow = bpf_map_lookup_elem(&flows, &out);
	return flow && !(flow->state & CRAB_FLOW_DEAD) &&
	       bpf_ntohl(flow->isn) + 1 == bpf_ntohl(p->ack) &&
	       same_end(&flow->target[flow->state & CRAB_FLOW_CURRENT], p);
}

/* The pending connection that the SYN-ACK rightly redirects, or NULL, counted. */
static __always_inline struct crab_pending *
check_redirect(struct __sk_buff *skb, const struct packet *p, const struct option *o,
	       __u32 *isn)
{
	struct crab_pending *known;
	struct socket_view view;

	if (!o->redirect && !is_short(o)) {
		count(CRAB_COUNT_reject_unfilled);
		return NULL;
	}
	known = answered(skb, p, o, isn);
	if (!known || !option_is_valid(p, o, known, *isn))
		return NULL;
	if (!view_socket(skb, p, &known->service, &view) ||
	    view.state != BPF_TCP_SYN_SENT) {
		count(CRAB_COUNT_reject_not_syn_sent);
		return NULL;
	}
	if (view.snd_una != *isn) {
		count(CRAB_COUNT_reject_bad_ack);
		return NULL;
	}
	return known;
}

static __always_inline void count_missing_echo(const struct packet *p)
{
	struct crab_pending *known = find_pending(p, bpf_ntohl(p->ack) - 1);

	if (known && !same_address(&known->service.vip, &p->saddr))
		count(CRAB_COUNT_missing_echo);
}

static __noinline int receive_syn_ack(struct __sk_buff *skb, const struct packet *p)
{
	struct crab_pending *known;
	struct crab_origin *origin;
	struct crab_tuple in;
	struct option o;
	__u32 isn;

	tuple_in(p, &in);
	origin = bpf_map_lookup_elem(&origins, &in);
	if (origin && repeats(p, origin)) {
		count(CRAB_COUNT_duplicate);
		return deliver(skb, p, &origin->service);
	}
	if (find_option(skb, p, &o)) {
		count(CRAB_COUNT_reject_malformed);
		return TC_ACT_UNSPEC;
	}
	if (!o.len) {
		count_missing_echo(p);
		return TC_ACT_UNSPEC;
	}
	known = check_redirect(skb, p, &o, &isn);
	if (!known || !publish(skb, p, known, isn))
		return TC_ACT_UNSPEC;
	if (is_short(&o))
		count(CRAB_COUNT_redirected_short);
	return deliver(skb, p, &known->service);
}

/*
 * RST|ACK of a backend that refused.  Its ACK proves that the sender saw the
 * SYN, as RFC 9293, 3.10.7.3 asks for; the option may be missing, but if it is there it must be right.
 */
static __noinline int receive_refusal(struct __sk_buff *skb, const struct packet *p)
{
	__u32 isn = bpf_ntohl(p->ack) - 1;
	struct crab_pending *known;
	struct socket_view view;
	struct option o;

	known = find_pending(p, isn);
	if (!known || (same_address(&known->service.vip, &p->saddr) &&
		       known->service.port == p->sport))
		return TC_ACT_UNSPEC;
	if (find_option(skb, p, &o)) {
		count(CRAB_COUNT_reject_malformed);
		return TC_ACT_UNSPEC;
	}
	if (o.len) {
		if (!option_is_valid(p, &o, known, isn))
			return TC_ACT_UNSPEC;
	} else if (!prefix_allows(&p->saddr)) {
		count(CRAB_COUNT_reject_prefix);
		return TC_ACT_UNSPEC;
	}
	if (!view_socket(skb, p, &known->service, &view) ||
	    view.state != BPF_TCP_SYN_SENT || view.snd_una != isn) {
		count(CRAB_COUNT_reject_not_syn_sent);
		return TC_ACT_UNSPEC;
	}
	count(CRAB_COUNT_refused);
	return deliver(skb, p, &known->service);
}

#endif /* CRAB_PUBLISH_H */
