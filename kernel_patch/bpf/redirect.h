/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Client: what a SYN-ACK or RST must be before it may touch a connection.
 * Every check of the design's table is here, each with its counter; a packet that fails
 * one goes on unchanged, finds no socket, and is answered with a RST by the kernel.
 */
#ifndef CRAB_REDIRECT_CHECKS_H
#define CRAB_REDIRECT_CHECKS_H

#include "kernel_patch/bpf/option.h"
#include "kernel_patch/bpf/tag.h"
#include "kernel_patch/bpf/translate.h"

#define EEXIST 17

struct socket_view {
	__u32 state;
	__u32 snd_una, snd_nxt;
};

static __always_inline bool after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* The local socket that p would belong to, came it from the service. */
static __noinline bool view_socket(struct __sk_buff *skb, const struct packet *p,
				   const struct crab_service_key *service,
				   struct socket_view *view)
{
	struct bpf_sock_tuple t = {};
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *sk;

	view->state = 0;
	if (p->v4) {
		t.ipv4.saddr = service->vip.w[3];
		t.ipv4.daddr = p->daddr.w[3];
		t.ipv4.sport = service->port;
		t.ipv4.dport = p->dport;
		sk = bpf_sk_lookup_tcp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(t.ipv6.saddr, &service->vip, sizeof(t.ipv6.saddr));
		__builtin_memcpy(t.ipv6.daddr, &p->daddr, sizeof(t.ipv6.daddr));
		t.ipv6.sport = service->port;
		t.ipv6.dport = p->dport;
		sk = bpf_sk_lookup_tcp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return false;
	view->state = sk->state;
	tcp = bpf_tcp_sock(sk);
	if (tcp) {
		view->snd_una = tcp->snd_una;
		view->snd_nxt = tcp->snd_nxt;
	}
	bpf_sk_release(sk);
	return tcp;
}

static __always_inline struct crab_pending *
find_pending(const struct packet *p, __u32 isn)
{
	struct crab_pending_key key = {
		.client = p->daddr,
		.port = p->dport,
		.isn = bpf_htonl(isn),
	};

	return bpf_map_lookup_elem(&pending, &key);
}

/* What the option says the client connected to; false if it does not say. */
static __always_inline bool service_in_option(const struct option *o,
					      const struct packet *p,
					      struct crab_service_key *service)
{
	__be32 vip;

	service->zero = 0;
	if (o->bytes[0] == CRAB_PAPER_OPT_KIND) {
		__builtin_memcpy(&vip, o->bytes + 2, sizeof(vip));
		service->port = p->sport;
	} else if (o->len == CRAB_OPT_LEN_ADDR || o->len == CRAB_OPT_LEN_ADDR_TAG) {
		__builtin_memcpy(&vip, o->bytes + CRAB_OPT_OFF_ADDR, sizeof(vip));
		__builtin_memcpy(&service->port, o->bytes + CRAB_OPT_OFF_PORT,
				 sizeof(service->port));
	} else {
		return false;
	}
	map_address(&service->vip, vip);
	return p->v4;
}

/*
 * The pending connection that the SYN-ACK answers, and its initial sequence
 * number.  A SYN without data is answered by ISN + 1, which is the table's key; only a SYN
 * with data (or a forgery) needs the socket itself, found through the option's address.
 *
 * snd_nxt is not looked at in the first case: tcp_connect() advances it after
 * the SYN has left, and a fast answer would be refused.
 */
static __always_inline struct crab_pending *
answered(struct __sk_buff *skb, const struct packet *p, const struct option *o,
	 __u32 *isn)
{
	struct crab_service_key service;
	struct crab_pending *known;
	struct socket_view view;
	__u32 ack = bpf_ntohl(p->ack);

	known = find_pending(p, ack - 1);
	if (known) {
		*isn = ack - 1;
		return known;
	}
	if (!service_in_option(o, p, &service) ||
	    !view_socket(skb, p, &service, &view)) {
		count(CRAB_COUNT_reject_not_pending);
		return NULL;
	}
	if (view.state != BPF_TCP_SYN_SENT) {
		count(CRAB_COUNT_reject_not_syn_sent);
		return NULL;
	}
	known = find_pending(p, view.snd_una);
	if (!known) {
		count(CRAB_COUNT_reject_not_pending);
		return NULL;
	}
	if (!after(ack, view.snd_una) || after(ack, view.snd_nxt)) {
		count(CRAB_COUNT_reject_bad_ack);
		return NULL;
	}
	*isn = view.snd_una;
	return known;
}

static __always_inline bool names_service(const struct option *o,
					  const struct packet *p,
					  const struct crab_service_key *service)
{
	struct crab_service_key named;
	__be16 vport;

	if (is_short(o))
		return true;
	if (o->len == CRAB_OPT_LEN_TAG) {
		__builtin_memcpy(&vport, o->bytes + CRAB_OPT_OFF_PORT, sizeof(vport));
		return vport == service->port;
	}
	return service_in_option(o, p, &named) &&
	       same_address(&named.vip, &service->vip) && named.port == service->port;
}

static __always_inline bool prefix_allows(const struct crab_addr *backend)
{
	struct crab_prefix key = { .length = 128, .addr = *backend };
	struct crab_settings *s;
	__u32 zero = 0;

	s = bpf_map_lookup_elem(&settings, &zero);
	return s && (!s->n_prefixes || bpf_map_lookup_elem(&prefixes, &key));
}

static __noinline bool tag_matches(const struct packet *p, const struct option *o,
				   const struct crab_pending *known, __u32 isn)
{
	struct tag_input in = {
		.vip = known->service.vip,
		.backend = p->saddr,
		.client = p->daddr,
		.vport = known->service.port,
		.dport = p->sport,
		.client_port = p->dport,
		.isn = bpf_htonl(isn),
		.v4 = p->v4,
	};

	return tag_is_valid(&known->terms, &in,
			    o->bytes + (o->len == CRAB_OPT_LEN_TAG ?
						CRAB_OPT_OFF_TAG :
						CRAB_OPT_OFF_TAG_AFTER_ADDR));
}

/* The form, the address and the tag: what the option itself has to prove. */
static __always_inline bool option_is_valid(const struct packet *p,
					    const struct option *o,
					    const struct crab_pending *known, __u32 isn)
{
	if (!names_service(o, p, &known->service)) {
		count(CRAB_COUNT_reject_not_pending);
		return false;
	}
	if (is_short(o) ? known->terms.n_keys || known->terms.form == CRAB_PAPER_OPT_LEN :
			  o->len != known->terms.form) {
		count(CRAB_COUNT_reject_form);
		return false;
	}
	if (!prefix_allows(&p->saddr)) {
		count(CRAB_COUNT_reject_prefix);
		return false;
	}
	if (known->terms.n_keys && !tag_matches(p, o, known, isn)) {
		count(CRAB_COUNT_reject_tag);
		return false;
	}
	return true;
}

#endif /* CRAB_REDIRECT_CHECKS_H */
