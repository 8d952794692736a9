// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts the connections of watched backends: every TCP socket of the host that
 * enters or leaves the states from ESTABLISHED to LAST-ACK passes the tracepoint
 * inet_sock_set_state, whoever opened it and however it ends.  Sockets
 * that were there before need nothing: crab-agent finds them once, by sock_diag.
 *
 * A sock_ops callback would see only sockets that asked for it, and only in the cgroup.
 * Independent of redirection, but for the option that names the node.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "kernel_patch/bpf/echo_map.h"
#include "kernel_patch/bpf/layout.h"

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6

/* What we read of the kernel's structures; relocated at load (CO-RE). */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct net {
	__u64 net_cookie;
};

struct net_pointer {
	struct net *net;
};

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	unsigned short skc_family;
	struct net_pointer skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 rcv_nxt;
};
#pragma clang attribute pop

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CRAB_MAX_WATCHED);
	__type(key, struct crab_backend_key);
	__type(value, __u32);
} load_backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CRAB_MAX_WATCHED);
	__type(key, __u32);
	__type(value, struct crab_load);
} loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct crab_load_settings);
} load_settings SEC(".maps");

/* Room for both events of every backend, 16 bytes each with their header, twice over. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * CRAB_MAX_WATCHED);
} load_events SEC(".maps");

const volatile __u64 netns_cookie;
/* Two programs are attached while one replaces the other; one of them counts. */
const volatile __u64 generation;
/* An endpoint in the kernel has no such map, and counts the nodes itself. */
const volatile __u32 has_echoes = 1;

#define STATE(name) (1U << BPF_TCP_##name)
#define OPEN_STATES (STATE(ESTABLISHED) | STATE(FIN_WAIT1) | STATE(FIN_WAIT2) | \
		     STATE(CLOSE_WAIT) | STATE(CLOSING) | STATE(LAST_ACK))

static __always_inline void copy_ipv6(struct crab_addr *to, const struct in6_addr *from)
{
	to->w[0] = from->in6_u.u6_addr32[0];
	to->w[1] = from->in6_u.u6_addr32[1];
	to->w[2] = from->in6_u.u6_addr32[2];
	to->w[3] = from->in6_u.u6_addr32[3];
}

static __always_inline bool tuple_of(struct tcp_sock *tp, struct crab_tuple *t)
{
	struct sock_common *common = &tp->inet_conn.icsk_inet.sk.__sk_common;

	if (common->skc_family == AF_INET) {
		t->local.w[2] = bpf_htonl(0xffff);
		t->local.w[3] = common->skc_rcv_saddr;
		t->remote.w[2] = bpf_htonl(0xffff);
		t->remote.w[3] = common->skc_daddr;
	} else if (common->skc_family == AF_INET6) {
		copy_ipv6(&t->local, &common->skc_v6_rcv_saddr);
		copy_ipv6(&t->remote, &common->skc_v6_daddr);
	} else {
		return false;
	}
	/* Not skc_num: a socket that closes has given its port back by now. */
	t->lport = tp->inet_conn.icsk_inet.inet_sport;
	t->rport = common->skc_dport;
	return true;
}

/* The node that redirected a connection whose handshake completes now; 0: none, or not known. */
static __always_inline __u8 node_of(struct tcp_sock *tp, const struct crab_tuple *t)
{
	struct crab_echo *echo = bpf_map_lookup_elem(&echoes, t);
	__u32 received;

	if (!echo || echo->option[0] != CRAB_OPT_KIND)
		return 0;
	/* Of this connection, and not of one before on the same tuple. */
	received = tp->rcv_nxt - bpf_ntohl(echo->isn);
	if (!received || received > echo->syn_len)
		return 0;
	return echo->option[CRAB_OPT_OFF_NODE];
}

/* One record for each backend and kind of event until the agent has looked. */
static __always_inline void wake(struct crab_load_settings *settings, struct crab_load *load,
				 __u32 index, __u32 changed)
{
	struct crab_load_event event = { .index = index, .changed = changed };

	if (__sync_fetch_and_or(&load->changed, changed) & changed)
		return;
	if (bpf_ringbuf_output(&load_events, &event, sizeof(event), 0))
		__sync_fetch_and_add(&settings->wakes_lost, 1);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(crab_count, struct sock *sk, int from, int to)
{
	bool was_open = OPEN_STATES >> from & 1, is_open = OPEN_STATES >> to & 1;
	struct crab_load_settings *settings;
	struct crab_backend_key key = {};
	struct crab_tuple t = {};
	struct crab_load *load;
	struct tcp_sock *tp;
	__u32 zero = 0, *index;
	__u8 node;

	if (was_open == is_open || sk->__sk_common.skc_net.net->net_cookie != netns_cookie)
		return 0;
	settings = bpf_map_lookup_elem(&load_settings, &zero);
	if (!settings || settings->generation != generation)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || !tuple_of(tp, &t))
		return 0;
	key.addr = t.local;
	key.port = t.lport;
	index = bpf_map_lookup_elem(&load_backends, &key);
	load = index ? bpf_map_lookup_elem(&loads, index) : NULL;
	if (!load)
		return 0;
	if (was_open) {
		__sync_fetch_and_add(&load->closed, 1);
		wake(settings, load, *index, CRAB_LOAD_CLOSED);
		return 0;
	}
	__sync_fetch_and_add(&load->accepted, 1);
	node = has_echoes && from == BPF_TCP_SYN_RECV ? node_of(tp, &t) : 0;
	if (node)
		__sync_fetch_and_add(&load->accepted_by_node[node], 1);
	if (settings->wake_accepts)
		wake(settings, load, *index, CRAB_LOAD_ACCEPTED);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
