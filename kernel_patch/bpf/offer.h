/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Client, socket side (sock_ops): writes the offer into SYNs to virtual
 * addresses, remembers the connection while it is pending, and says when its flow may go.
 */
#ifndef CRAB_OFFER_H
#define CRAB_OFFER_H

#include "kernel_patch/bpf/packet.h"

#define AF_INET 2

/* Longer than the last of tcp_syn_retries = 6 retransmissions takes (RFC 6298, about 127 s). */
#define PENDING_LIFETIME_NS (200ULL * 1000000000)
/* A RST may leave after the close callback; TIME-WAIT, an orphan's FIN-WAIT-2 and late FINs take longer. */
#define CLOSED_LIFETIME_NS (5ULL * 1000000000)
#define TIME_WAIT_LIFETIME_NS (130ULL * 1000000000)

#define OUR_CALLBACKS (BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG)

/*
 * A field of the context by a load of its own: clang otherwise merges loads into
 * one by a computed pointer, which the verifier refuses.
 */
#define LOAD(ctx, field) ({ __u32 v_ = (ctx)->field; asm volatile("" : "+r"(v_)); v_; })

static __always_inline void socket_tuple(struct bpf_sock_ops *ctx,
					 struct crab_tuple *t)
{
	__u32 remote_ip4 = LOAD(ctx, remote_ip4), local_ip4 = LOAD(ctx, local_ip4);

	t->remote.w[0] = LOAD(ctx, remote_ip6[0]);
	t->remote.w[1] = LOAD(ctx, remote_ip6[1]);
	t->remote.w[2] = LOAD(ctx, remote_ip6[2]);
	t->remote.w[3] = LOAD(ctx, remote_ip6[3]);
	t->local.w[0] = LOAD(ctx, local_ip6[0]);
	t->local.w[1] = LOAD(ctx, local_ip6[1]);
	t->local.w[2] = LOAD(ctx, local_ip6[2]);
	t->local.w[3] = LOAD(ctx, local_ip6[3]);
	if (ctx->family == AF_INET)
		map_address(&t->remote, remote_ip4);
	/* IPv4, or an IPv6 socket that speaks IPv4. */
	if (is_mapped(&t->remote))
		map_address(&t->local, local_ip4);
	t->lport = bpf_htons(ctx->local_port);
	/* Network order, in the upper half on little-endian machines. */
	t->rport = (__be16)(ctx->remote_port >> 16);
}

static __always_inline void service_of(const struct crab_tuple *t,
				       struct crab_service_key *key)
{
	key->vip = t->remote;
	key->port = t->rport;
	key->zero = 0;
}

static __always_inline void pending_of(const struct crab_tuple *t, __u32 isn,
				       struct crab_pending_key *key)
{
	key->client = t->local;
	key->port = t->lport;
	key->zero = 0;
	key->isn = bpf_htonl(isn);
}

/* connect() to a virtual address: ask for the callbacks that follow. */
static __always_inline void on_connect(struct bpf_sock_ops *ctx)
{
	struct crab_service_key service;
	struct crab_tuple t;

	socket_tuple(ctx, &t);
	service_of(&t, &service);
	if (bpf_map_lookup_elem(&services, &service))
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | OUR_CALLBACKS);
}

/*
 * A SYN, first or retransmitted, is about to be built.  Until it is acknowledged
 * snd_una is its sequence number.  Pending first, then the room, so that no
 * offer leaves which nobody remembers.
 */
static __always_inline void on_syn_length(struct bpf_sock_ops *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	struct crab_pending fresh = {};
	struct crab_service *service;
	struct crab_pending_key key;
	struct crab_pending *known;
	struct crab_flow *flow;
	struct crab_tuple t;

	socket_tuple(ctx, &t);
	pending_of(&t, ctx->snd_una, &key);
	known = bpf_map_lookup_elem(&pending, &key);
	if (known) {
		known->expires_ns = now + PENDING_LIFETIME_NS;
		if (known->terms.form != CRAB_PAPER_OPT_LEN &&
		    bpf_reserve_hdr_opt(ctx, known->terms.form, 0))
			count(CRAB_COUNT_offer_no_space);
		return;
	}
	service_of(&t, &fresh.service);
	service = bpf_map_lookup_elem(&services, &fresh.service);
	if (!service)
		return;
	if (ctx->skb_len && service->form == CRAB_OPT_LEN_TAG) {
		count(CRAB_COUNT_offer_syn_data);
		return;
	}
	fresh.terms = *service;
	fresh.cookie = bpf_get_socket_cookie(ctx);
	fresh.expires_ns = now + PENDING_LIFETIME_NS;
	/* A flow of an older socket whose close went unseen: let the sweep have it. */
	flow = bpf_map_lookup_elem(&flows, &t);
	if (flow && !flow->expires_ns && flow->cookie != fresh.cookie)
		flow->expires_ns = now + TIME_WAIT_LIFETIME_NS;
	if (bpf_map_update_elem(&pending, &key, &fresh, BPF_ANY)) {
		count(CRAB_COUNT_offer_map_full);
		return;
	}
	if (service->form != CRAB_PAPER_OPT_LEN &&
	    bpf_reserve_hdr_opt(ctx, service->form, 0)) {
		count(CRAB_COUNT_offer_no_space);
		bpf_map_delete_elem(&pending, &key);
	}
}

static __always_inline void on_syn_write(struct bpf_sock_ops *ctx)
{
	__u8 option[CRAB_OPT_LEN_ADDR_TAG] = {
		CRAB_OPT_KIND, 0, CRAB_OPT_EXID >> 8, CRAB_OPT_EXID & 0xff,
	};
	struct crab_pending_key key;
	struct crab_pending *known;
	struct crab_tuple t;
	__u8 flags;

	socket_tuple(ctx, &t);
	pending_of(&t, ctx->snd_una, &key);
	known = bpf_map_lookup_elem(&pending, &key);
	if (!known)
		return;
	switch (known->terms.form) {
	case CRAB_OPT_LEN_ADDR:
		flags = CRAB_OPT_F_ADDRESS;
		break;
	case CRAB_OPT_LEN_TAG:
		flags = CRAB_OPT_F_TAG;
		break;
	case CRAB_OPT_LEN_ADDR_TAG:
		flags = CRAB_OPT_F_ADDRESS | CRAB_OPT_F_TAG;
		break;
	default:	/* the paper's clients send nothing */
		return;
	}
	option[1] = known->terms.form;
	option[CRAB_OPT_OFF_VER_FLAGS] =
		CRAB_OPT_VERSION << CRAB_OPT_VERSION_SHIFT | flags;
	/* The option's own length byte says how much of the buffer is meant. */
	if (!bpf_store_hdr_opt(ctx, option, sizeof(option), 0))
		count(CRAB_COUNT_offered);
}

/*
 * The handshake is over: no callback for each further packet.  Called for every
 * connection of the cgroup, ours or not.
 */
static __always_inline void on_established(struct bpf_sock_ops *ctx)
{
	struct crab_pending_key key;
	struct crab_pending *known;
	struct crab_flow *flow;
	struct crab_tuple t;

	if ((ctx->bpf_sock_ops_cb_flags & OUR_CALLBACKS) != OUR_CALLBACKS)
		return;
	socket_tuple(ctx, &t);
	flow = bpf_map_lookup_elem(&flows, &t);
	if (flow && flow->cookie != bpf_get_socket_cookie(ctx))
		flow = NULL;
	pending_of(&t, flow ? bpf_ntohl(flow->isn) : ctx->snd_una - 1, &key);
	known = bpf_map_lookup_elem(&pending, &key);
	if (known && !flow)
		count(CRAB_COUNT_established_without_redirect);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags &
					~BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
	bpf_map_delete_elem(&pending, &key);
}

static __always_inline void on_close(struct bpf_sock_ops *ctx, __u32 old_state)
{
	__u64 lifetime = CLOSED_LIFETIME_NS;
	struct crab_pending_key key;
	struct crab_flow *flow;
	struct crab_tuple t;

	socket_tuple(ctx, &t);
	if (old_state == BPF_TCP_SYN_SENT) {
		pending_of(&t, ctx->snd_una, &key);
		bpf_map_delete_elem(&pending, &key);
	}
	if (old_state == BPF_TCP_FIN_WAIT1 || old_state == BPF_TCP_FIN_WAIT2 ||
	    old_state == BPF_TCP_CLOSING || old_state == BPF_TCP_TIME_WAIT)
		lifetime = TIME_WAIT_LIFETIME_NS;
	flow = bpf_map_lookup_elem(&flows, &t);
	if (flow && flow->cookie == bpf_get_socket_cookie(ctx))
		flow->expires_ns = bpf_ktime_get_ns() + lifetime;
}

static __always_inline void on_socket_event(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		on_connect(ctx);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB:
		if (ctx->args[0] != BPF_WRITE_HDR_TCP_CURRENT_MSS &&
		    ctx->state == BPF_TCP_SYN_SENT && (ctx->skb_tcp_flags & TCP_SYN))
			on_syn_length(ctx);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		if (ctx->state == BPF_TCP_SYN_SENT && (ctx->skb_tcp_flags & TCP_SYN))
			on_syn_write(ctx);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		on_established(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			on_close(ctx, ctx->args[0]);
		break;
	}
}

#endif /* CRAB_OFFER_H */
