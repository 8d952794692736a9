/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Client: ICMP errors quote the packet as the wire had it, so with the
 * backend's address; the socket is found only by the virtual one.  RFC 792, RFC 4443.
 */
#ifndef CRAB_ICMP_H
#define CRAB_ICMP_H

#include "kernel_patch/bpf/redirect.h"

/* <linux/icmp.h> drags in the C library's socket headers. */
#define ICMP_HLEN 8	/* ICMP and ICMPv6 */
#define ICMP_OFF_CHECK 2
#define ICMP_DEST_UNREACH 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PKT_TOOBIG 2
#define ICMPV6_TIME_EXCEED 3
#define ICMPV6_PARAMPROB 4

/* Where the quoted packet's headers are, and what its first eight TCP bytes say. */
struct quoted {
	struct packet p;	/* daddr, dport: the backend; saddr, sport: the client */
	__u32 l3;
};

static __always_inline bool is_error(const struct packet *p, __u8 type)
{
	if (p->v4)
		return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
		       type == ICMP_PARAMETERPROB;
	return type == ICMPV6_DEST_UNREACH || type == ICMPV6_PKT_TOOBIG ||
	       type == ICMPV6_TIME_EXCEED || type == ICMPV6_PARAMPROB;
}

static __always_inline bool parse_quoted(struct __sk_buff *skb, const struct packet *p,
					 struct quoted *q)
{
	struct {
		__be16 source, dest;
		__be32 seq;
	} tcp;
	__u8 protocol;

	q->l3 = p->l4 + ICMP_HLEN;
	q->p.v4 = p->v4;
	if (p->v4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, q->l3, &ip, sizeof(ip)) ||
		    ip.version != 4 || ip.ihl < 5 ||
		    (ip.frag_off & bpf_htons(0x1fff)))
			return false;
		map_address(&q->p.saddr, ip.saddr);
		map_address(&q->p.daddr, ip.daddr);
		protocol = ip.protocol;
		q->p.l4 = q->l3 + ip.ihl * 4;
	} else {
		struct ipv6hdr ip6;

		if (bpf_skb_load_bytes(skb, q->l3, &ip6, sizeof(ip6)))
			return false;
		__builtin_memcpy(&q->p.saddr, &ip6.saddr, sizeof(q->p.saddr));
		__builtin_memcpy(&q->p.daddr, &ip6.daddr, sizeof(q->p.daddr));
		protocol = ip6.nexthdr;
		q->p.l4 = q->l3 + sizeof(ip6);
	}
	if (protocol != IPPROTO_TCP ||
	    bpf_skb_load_bytes(skb, q->p.l4, &tcp, sizeof(tcp)))
		return false;
	q->p.sport = tcp.source;
	q->p.dport = tcp.dest;
	q->p.seq = tcp.seq;
	return true;
}

/* A flow's packet, or a SYN that an appliance has already redirected. */
static __always_inline bool quoted_service(const struct quoted *q,
					   struct crab_service_key *service)
{
	struct crab_tuple t = {
		.local = q->p.saddr,
		.remote = q->p.daddr,
		.lport = q->p.sport,
		.rport = q->p.dport,
	};
	struct crab_pending_key key = {
		.client = q->p.saddr,
		.port = q->p.sport,
		.isn = q->p.seq,
	};
	struct crab_origin *origin = bpf_map_lookup_elem(&origins, &t);
	struct crab_pending *known;

	if (origin) {
		*service = origin->service;
		return true;
	}
	known = bpf_map_lookup_elem(&pending, &key);
	if (!known || same_address(&known->service.vip, &q->p.daddr) ||
	    !prefix_allows(&q->p.daddr))
		return false;
	*service = known->service;
	return true;
}

static __always_inline bool rewrite_quoted(struct __sk_buff *skb, const struct packet *p,
					   const struct quoted *q,
					   const struct crab_service_key *service)
{
	__u32 check = p->l4 + ICMP_OFF_CHECK;
	__be16 port = service->port;
	long err;

	if (p->v4) {
		__be32 from = q->p.daddr.w[3], to = service->vip.w[3];

		/* The quoted header's checksum absorbs the address, so ICMP's stays. */
		err = bpf_l3_csum_replace(skb, q->l3 + offsetof(struct iphdr, check),
					  from, to, sizeof(to));
		err |= bpf_skb_store_bytes(skb, q->l3 + offsetof(struct iphdr, daddr),
					   &to, sizeof(to), 0);
	} else {
		struct crab_addr from = q->p.daddr, to = service->vip;
		__s64 diff = bpf_csum_diff((__be32 *)&from, sizeof(from),
					   (__be32 *)&to, sizeof(to), 0);

		err = bpf_l4_csum_replace(skb, check, 0, diff, 0);
		err |= bpf_skb_store_bytes(skb, q->l3 + offsetof(struct ipv6hdr, daddr),
					   &to, sizeof(to), 0);
	}
	if (port != q->p.dport) {
		err |= bpf_l4_csum_replace(skb, check, q->p.dport, port, sizeof(port));
		err |= bpf_skb_store_bytes(skb, q->p.l4 + offsetof(struct tcphdr, dest),
					   &port, sizeof(port), 0);
	}
	return !err;
}

static __noinline int translate_icmp(struct __sk_buff *skb, const struct packet *p)
{
	struct crab_service_key service;
	struct quoted q = {};
	__u8 type;

	if (bpf_skb_load_bytes(skb, p->l4, &type, sizeof(type)) ||
	    !is_error(p, type) || !parse_quoted(skb, p, &q) ||
	    !quoted_service(&q, &service))
		return TC_ACT_UNSPEC;
	if (!rewrite_quoted(skb, p, &q, &service)) {
		count(CRAB_COUNT_translate_failed);
		return TC_ACT_SHOT;
	}
	count(CRAB_COUNT_icmp);
	return TC_ACT_UNSPEC;
}

#endif /* CRAB_ICMP_H */
