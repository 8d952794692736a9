/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TCP packet as tc sees it: where its headers are, and its rewriting.  Reads
 * are direct; writes go through helpers, because a direct write would make
 * the kernel unclone every packet of the host before the program runs.
 */
#ifndef CRAB_PACKET_H
#define CRAB_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel_patch/bpf/maps.h"

#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define MAPPED_WORD bpf_htonl(0xffff)
#define IPV4_FRAGMENT bpf_htons(0x3fff)	/* more fragments, or an offset */

struct packet {
	struct crab_addr saddr, daddr;
	__be16 sport, dport;
	__be32 seq, ack;
	__u16 l4;	/* offset of the TCP (or ICMP) header in the frame */
	__u8 protocol;
	__u8 flags;	/* TCP's */
	__u8 l4_len;	/* of the TCP header with its options, bytes */
	bool v4;
};

static __always_inline void map_address(struct crab_addr *a, __be32 v4)
{
	a->w[0] = 0;
	a->w[1] = 0;
	a->w[2] = MAPPED_WORD;
	a->w[3] = v4;
}

static __always_inline bool is_mapped(const struct crab_addr *a)
{
	return !a->w[0] && !a->w[1] && a->w[2] == MAPPED_WORD;
}

static __always_inline bool same_address(const struct crab_addr *a,
					 const struct crab_addr *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] &&
	       a->w[2] == b->w[2] && a->w[3] == b->w[3];
}

/*
 * The packet's bounds.  In C, clang may copy such a pointer as the 32 bit number it
 * was declared as, which the verifier no longer takes for a pointer.
 */
static __always_inline void *packet_bound(struct __sk_buff *skb, const int field)
{
	void *bound;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(bound) : "r"(skb), "i"(field));
	return bound;
}
#define PACKET_START(skb) packet_bound(skb, offsetof(struct __sk_buff, data))
#define PACKET_END(skb) packet_bound(skb, offsetof(struct __sk_buff, data_end))

/* Bytes [0, len) of the frame, made linear if they are not; NULL if it is shorter. */
static __always_inline void *frame(struct __sk_buff *skb, __u32 len)
{
	void *data = PACKET_START(skb);

	if (data + len <= PACKET_END(skb))
		return data;
	if (bpf_skb_pull_data(skb, len))
		return NULL;
	data = PACKET_START(skb);
	return data + len <= PACKET_END(skb) ? data : NULL;
}

static __always_inline bool parse_tcp(struct __sk_buff *skb, struct packet *p)
{
	__u32 l4 = p->l4;
	struct tcphdr *tcp;
	void *data;

	if (l4 > ETH_HLEN + 60)
		return false;
	data = frame(skb, l4 + sizeof(*tcp));
	if (!data)
		return false;
	/* The verifier wants to see this bound on the pointer itself. */
	tcp = data + l4;
	if ((void *)(tcp + 1) > PACKET_END(skb))
		return false;
	p->sport = tcp->source;
	p->dport = tcp->dest;
	p->seq = tcp->seq;
	p->ack = tcp->ack_seq;
	p->flags = ((__u8 *)tcp)[13];
	p->l4_len = tcp->doff * 4;
	return p->l4_len >= sizeof(*tcp) && l4 + p->l4_len <= skb->len;
}

/*
 * Fills p from an Ethernet frame.  False for what is never ours: other protocols,
 * fragments, IPv6 extension headers, truncated headers.  For ICMP only addresses,
 * protocol and l4 are filled.
 */
static __always_inline bool parse(struct __sk_buff *skb, struct packet *p)
{
	void *data;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip;

		data = frame(skb, ETH_HLEN + sizeof(*ip));
		if (!data)
			return false;
		ip = data + ETH_HLEN;
		if (ip->version != 4 || ip->ihl < 5 ||
		    (ip->frag_off & IPV4_FRAGMENT))
			return false;
		map_address(&p->saddr, ip->saddr);
		map_address(&p->daddr, ip->daddr);
		p->v4 = true;
		p->protocol = ip->protocol;
		p->l4 = ETH_HLEN + ip->ihl * 4;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6;

		data = frame(skb, ETH_HLEN + sizeof(*ip6));
		if (!data)
			return false;
		ip6 = data + ETH_HLEN;
		if (ip6->version != 6)
			return false;
		__builtin_memcpy(&p->saddr, &ip6->saddr, sizeof(p->saddr));
		__builtin_memcpy(&p->daddr, &ip6->daddr, sizeof(p->daddr));
		p->v4 = false;
		p->protocol = ip6->nexthdr;
		p->l4 = ETH_HLEN + sizeof(*ip6);
	} else {
		return false;
	}
	return p->protocol != IPPROTO_TCP || parse_tcp(skb, p);
}

/*
 * Replaces one end's address and port, checksums included, whether they are
 * complete, partial (CHECKSUM_PARTIAL: only the pseudo header is in) or verified by hardware.
 */
static __always_inline bool rewrite_end(struct __sk_buff *skb,
					const struct packet *p, bool source,
					const struct crab_addr *addr, __be16 port)
{
	const struct crab_addr *old = source ? &p->saddr : &p->daddr;
	__be16 old_port = source ? p->sport : p->dport;
	__u32 check = p->l4 + offsetof(struct tcphdr, check);
	__u32 port_at = p->l4 + (source ? offsetof(struct tcphdr, source) :
					  offsetof(struct tcphdr, dest));
	int err;

	if (p->v4) {
		__be32 from = old->w[3], to = addr->w[3];
		__u32 at = ETH_HLEN + (source ? offsetof(struct iphdr, saddr) :
						offsetof(struct iphdr, daddr));

		err = bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check),
					  from, to, sizeof(to));
		err |= bpf_l4_csum_replace(skb, check, from, to,
					   BPF_F_PSEUDO_HDR | sizeof(to));
		err |= bpf_skb_store_bytes(skb, at, &to, sizeof(to), 0);
	} else {
		__u32 at = ETH_HLEN + (source ? offsetof(struct ipv6hdr, saddr) :
						offsetof(struct ipv6hdr, daddr));
		__s64 diff = bpf_csum_diff((__be32 *)old, sizeof(*old),
					   (__be32 *)addr, sizeof(*addr), 0);

		err = bpf_l4_csum_replace(skb, check, 0, diff, BPF_F_PSEUDO_HDR);
		/*
		 * With CHECKSUM_COMPLETE the helper corrects skb->csum as if an
		 * IPv4 header checksum had absorbed the address: take that back. A
		 * no-op otherwise.
		 */
		bpf_csum_update(skb, (__u32)diff);
		err |= bpf_skb_store_bytes(skb, at, addr, sizeof(*addr), 0);
	}
	if (port != old_port) {
		err |= bpf_l4_csum_replace(skb, check, old_port, port, sizeof(port));
		err |= bpf_skb_store_bytes(skb, port_at, &port, sizeof(port), 0);
	}
	return !err;
}

#endif /* CRAB_PACKET_H */
