// SPDX-License-Identifier: GPL-2.0-only
/*
 * The eBPF endpoint: connection redirection on a stock kernel (6.1 or later).
 *
 *   crab_socket   sock_ops, on a cgroup   client: offer, established, close
 *   crab_ingress  tc, clsact ingress      client: checks, translation; server: keeps options
 *   crab_egress   tc, clsact egress       client: translation; server: echoes
 *   crab_sweep    syscall                 run by crab-agent every few seconds
 *
 * One set of maps for each network namespace, see maps.h.  Connections are counted by load.bpf.c.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "kernel_patch/bpf/echo.h"
#include "kernel_patch/bpf/icmp.h"
#include "kernel_patch/bpf/offer.h"
#include "kernel_patch/bpf/publish.h"
#include "kernel_patch/bpf/sweep.h"

/* Constants to the verifier: the code of a role that is not played is not even loaded. */
const volatile __u32 roles = CRAB_ROLE_CLIENT | CRAB_ROLE_SERVER;
/* The cgroup may hold sockets of other namespaces, which have an agent and maps of their own. */
const volatile __u64 netns_cookie;

/* Anything but a SYN: of a flow, or perhaps a refusal. */
static __noinline int receive_segment(struct __sk_buff *skb, const struct packet *p)
{
	struct crab_origin *origin;
	struct crab_tuple in;

	tuple_in(p, &in);
	origin = bpf_map_lookup_elem(&origins, &in);
	if (origin) {
		learn_mac(skb, p, origin);
		return deliver(skb, p, &origin->service);
	}
	if ((p->flags & (TCP_RST | TCP_ACK)) == (TCP_RST | TCP_ACK))
		return receive_refusal(skb, p);
	return TC_ACT_UNSPEC;
}

static __always_inline int client_ingress(struct __sk_buff *skb, const struct packet *p)
{
	if (p->protocol != IPPROTO_TCP)
		return translate_icmp(skb, p);
	if (p->flags & TCP_SYN)
		return p->flags & TCP_ACK ? receive_syn_ack(skb, p) : TC_ACT_UNSPEC;
	return receive_segment(skb, p);
}

SEC("tc")
int crab_ingress(struct __sk_buff *skb)
{
	struct packet p = {};

	if (!parse(skb, &p))
		return TC_ACT_UNSPEC;
	if (p.protocol == IPPROTO_TCP) {
		if ((roles & CRAB_ROLE_SERVER) &&
		    (p.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
			keep_option(skb, &p);
	} else if (p.protocol != (p.v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
		return TC_ACT_UNSPEC;
	}
	if (roles & CRAB_ROLE_CLIENT)
		return client_ingress(skb, &p);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int crab_egress(struct __sk_buff *skb)
{
	struct packet p = {};
	int verdict;

	if (!parse(skb, &p) || p.protocol != IPPROTO_TCP)
		return TC_ACT_UNSPEC;
	if ((roles & CRAB_ROLE_SERVER) && (p.flags & TCP_ACK) &&
	    (p.flags & (TCP_SYN | TCP_RST))) {
		verdict = echo_option(skb, &p);
		if (verdict != TC_ACT_UNSPEC)
			return verdict;
	}
	if (roles & CRAB_ROLE_CLIENT)
		return send_to_backend(skb, &p);
	return TC_ACT_UNSPEC;
}

SEC("sockops")
int crab_socket(struct bpf_sock_ops *ctx)
{
	if (bpf_get_netns_cookie(ctx) == netns_cookie)
		on_socket_event(ctx);
	return 1;
}

SEC("syscall")
int crab_sweep(void *ctx)
{
	struct sweep sweep = { .now_ns = bpf_ktime_get_ns() };

	bpf_for_each_map_elem(&flows, sweep_flow, &sweep, 0);
	bpf_for_each_map_elem(&pending, sweep_pending, &sweep, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
