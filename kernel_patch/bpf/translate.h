/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Client, packet side: the socket knows the virtual address, the wire only the
 * backend's.  One look-up each way for each packet.
 */
#ifndef CRAB_TRANSLATE_H
#define CRAB_TRANSLATE_H

#include "kernel_patch/bpf/packet.h"

/*
 * How long the sender of a flow's last packet counts as the way to the backend.
 * A bulk transfer never asks the neighbour table, and a next hop that moved is
 * followed within this time.
 */
#define MAC_LIFETIME_NS 1000000000ULL
#define MAC_REFRESH_NS (MAC_LIFETIME_NS / 4)

static __always_inline void tuple_in(const struct packet *p, struct crab_tuple *t)
{
	t->local = p->daddr;
	t->remote = p->saddr;
	t->lport = p->dport;
	t->rport = p->sport;
}

static __always_inline void tuple_of(const struct crab_addr *client, __be16 port,
				     const struct crab_service_key *service,
				     struct crab_tuple *t)
{
	t->local = *client;
	t->remote = service->vip;
	t->lport = port;
	t->rport = service->port;
}

static __always_inline bool learns_mac(void)
{
	__u32 zero = 0;
	struct crab_settings *s = bpf_map_lookup_elem(&settings, &zero);

	return s && s->learn_mac;
}

static __always_inline bool source_mac(struct __sk_buff *skb, __u8 *mac)
{
	struct ethhdr *eth = frame(skb, sizeof(*eth));

	if (!eth)
		return false;
	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	return true;
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	__u8 differs = 0;
	int i;

	for (i = 0; i < ETH_ALEN; i++)
		differs |= a[i] ^ b[i];
	return !differs;
}

static __always_inline void learn_mac(struct __sk_buff *skb, const struct packet *p,
				      struct crab_origin *origin)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct crab_target *target;
	struct crab_flow *flow;
	struct crab_tuple t;
	__u8 mac[ETH_ALEN];

	if (!source_mac(skb, mac) ||
	    (now - origin->seen_ns < MAC_REFRESH_NS &&
	     same_mac(mac, origin->mac)))
		return;
	__builtin_memcpy(origin->mac, mac, ETH_ALEN);
	origin->seen_ns = now;
	tuple_of(&p->daddr, p->dport, &origin->service, &t);
	flow = bpf_map_lookup_elem(&flows, &t);
	if (!flow || !learns_mac())
		return;
	target = &flow->target[flow->state & CRAB_FLOW_CURRENT];
	if (!same_address(&target->addr, &p->saddr) || target->port != p->sport)
		return;
	__builtin_memcpy(target->mac, mac, ETH_ALEN);
	target->ifindex = skb->ifindex;
	target->mac_until_ns = now + MAC_LIFETIME_NS;
}

/* From the backend: the source becomes the virtual address. */
static __noinline int deliver(struct __sk_buff *skb, const struct packet *p,
			      const struct crab_service_key *service)
{
	if (!rewrite_end(skb, p, true, &service->vip, service->port)) {
		count(CRAB_COUNT_translate_failed);
		return TC_ACT_SHOT;
	}
	count(CRAB_COUNT_packets_in);
	return TC_ACT_UNSPEC;
}

/*
 * To the virtual address: the destination becomes the backend.  A bare SYN is
 * never translated: it is the next connection's, and goes to the appliance.
 */
static __always_inline int send_to_backend(struct __sk_buff *skb,
					   const struct packet *p)
{
	struct crab_target target;
	struct crab_flow *flow;
	struct crab_tuple t;
	__u32 state;

	if (p->flags & TCP_SYN)
		return TC_ACT_UNSPEC;
	t.local = p->saddr;
	t.remote = p->daddr;
	t.lport = p->sport;
	t.rport = p->dport;
	flow = bpf_map_lookup_elem(&flows, &t);
	if (!flow)
		return TC_ACT_UNSPEC;
	state = flow->state;
	if (state & CRAB_FLOW_DEAD)
		return TC_ACT_UNSPEC;
	target = flow->target[state & CRAB_FLOW_CURRENT];
	if (!rewrite_end(skb, p, false, &target.addr, target.port)) {
		count(CRAB_COUNT_translate_failed);
		return TC_ACT_SHOT;
	}
	count(CRAB_COUNT_packets_out);
	if (target.ifindex == skb->ifindex &&
	    target.mac_until_ns > bpf_ktime_get_coarse_ns() &&
	    !bpf_skb_store_bytes(skb, 0, target.mac, ETH_ALEN, 0))
		return TC_ACT_UNSPEC;
	count(CRAB_COUNT_out_by_neighbour);
	/* The frame passes tc egress once more; its new destination is nobody's flow. */
	return bpf_redirect_neigh(target.ifindex, NULL, 0, 0);
}

#endif /* CRAB_TRANSLATE_H */
