// SPDX-License-Identifier: GPL-2.0-only
/* See segment.h. */
#include "segment.h"

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <net/checksum.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/tcp.h>

bool crab_parse_segment(struct crab_segment *s, struct sk_buff *skb, bool v4)
{
	const struct tcphdr *tcp;

	s->skb = skb;
	s->v4 = v4;
	if (v4) {
		const struct iphdr *ip = ip_hdr(skb);

		if (ip_is_fragment(ip))
			return false;
		s->l4 = skb_network_offset(skb) + ip_hdrlen(skb);
		ipv6_addr_set_v4mapped(ip->saddr, &s->src.addr);
		ipv6_addr_set_v4mapped(ip->daddr, &s->dst.addr);
	} else {
		s->l4 = skb_network_offset(skb) + sizeof(struct ipv6hdr);
		s->src.addr = ipv6_hdr(skb)->saddr;
		s->dst.addr = ipv6_hdr(skb)->daddr;
	}
	if (!pskb_may_pull(skb, s->l4 + sizeof(*tcp)))
		return false;
	tcp = crab_tcp_header(s);
	s->header_len = tcp->doff * 4;
	if (s->header_len < sizeof(*tcp) || !pskb_may_pull(skb, s->l4 + s->header_len))
		return false;
	tcp = crab_tcp_header(s);
	s->flags = tcp_flag_byte(tcp);
	s->src.port = tcp->source;
	s->dst.port = tcp->dest;
	s->seq = ntohl(tcp->seq);
	s->ack = ntohl(tcp->ack_seq);
	return true;
}

bool crab_checksum_valid(const struct crab_segment *s)
{
	struct sk_buff *skb = s->skb;

	if (nf_checksum(skb, NF_INET_LOCAL_IN, s->l4, IPPROTO_TCP,
			s->v4 ? AF_INET : AF_INET6))
		return false;
	/* So that a rewrite need not keep CHECKSUM_COMPLETE's sum right. */
	if (skb->ip_summed == CHECKSUM_NONE || skb->ip_summed == CHECKSUM_COMPLETE)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	return true;
}

/* The TCP checksum of an outgoing segment whose header has changed, whole or partial as it was. */
static void finish_checksum(const struct crab_segment *s)
{
	struct tcphdr *tcp = crab_tcp_header(s);
	unsigned int len = s->skb->len - s->l4;
	bool partial = s->skb->ip_summed == CHECKSUM_PARTIAL;
	__wsum sum = 0;

	tcp->check = 0;
	if (!partial)
		sum = skb_checksum(s->skb, s->l4, len, 0);
	if (s->v4)
		tcp->check = csum_tcpudp_magic(ip_hdr(s->skb)->saddr,
					       ip_hdr(s->skb)->daddr, len,
					       IPPROTO_TCP, sum);
	else
		tcp->check = csum_ipv6_magic(&ipv6_hdr(s->skb)->saddr,
					     &ipv6_hdr(s->skb)->daddr, len,
					     IPPROTO_TCP, sum);
	if (partial)
		tcp->check = ~tcp->check;
}

bool crab_insert_option(struct crab_segment *s, const u8 *option, unsigned int len)
{
	struct sk_buff *skb = s->skb;
	unsigned int headers = s->l4 + s->header_len;
	struct tcphdr *tcp;

	/*
	 * Never at the tail: that of a TCP clone is shared with the retransmit
	 * queue. The headers are the clone's own.
	 */
	if (skb_cow_head(skb, len))
		return false;
	skb_push(skb, len);
	memmove(skb->data, skb->data + len, headers);
	memcpy(skb->data + headers, option, len);
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, s->l4);
	if (skb->ip_summed == CHECKSUM_PARTIAL)
		skb->csum_start -= len;
	s->header_len += len;
	tcp = crab_tcp_header(s);
	tcp->doff = s->header_len / 4;
	if (s->v4) {
		ip_hdr(skb)->tot_len = htons(skb->len);
		ip_send_check(ip_hdr(skb));
	} else {
		ipv6_hdr(skb)->payload_len = htons(skb->len - sizeof(struct ipv6hdr));
	}
	finish_checksum(s);
	return true;
}

bool crab_set_source(struct crab_segment *s, const struct tcp_redirect_end *src)
{
	struct sk_buff *skb = s->skb;
	struct tcphdr *tcp;

	if (skb_ensure_writable(skb, s->l4 + sizeof(*tcp)))
		return false;
	tcp = crab_tcp_header(s);
	if (s->v4) {
		__be32 from = ip_hdr(skb)->saddr, to = src->addr.s6_addr32[3];

		inet_proto_csum_replace4(&tcp->check, skb, from, to, true);
		ip_hdr(skb)->saddr = to;
		ip_send_check(ip_hdr(skb));
	} else {
		inet_proto_csum_replace16(&tcp->check, skb, s->src.addr.s6_addr32,
					  src->addr.s6_addr32, true);
		ipv6_hdr(skb)->saddr = src->addr;
	}
	inet_proto_csum_replace2(&tcp->check, skb, tcp->source, src->port, false);
	tcp->source = src->port;
	s->src = *src;
	/* Early demultiplexing may have found an old TIME-WAIT on the backend's tuple. */
	skb_orphan(skb);
	return true;
}
