// SPDX-License-Identifier: GPL-2.0-only
/*
 * Client: an ICMP error about a SYN quotes it as the appliance sent it on, with
 * the backend's address.  The quotation is put back to the virtual address, so that TCP finds
 * the pending socket.  RFC 792, RFC 4443.  Once a socket is re-keyed it finds its errors itself.
 */
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/checksum.h>
#include <net/ip.h>

#include "client.h"
#include "platform.h"

/* The first eight bytes of a TCP header, all that an error must quote. */
struct quoted_tcp {
	__be16 source, dest;
	__be32 seq;
};

struct quotation {
	unsigned int l3, l4;	/* offsets in skb of the quoted headers */
	struct tcp_redirect_end client, backend;
	u32 seq;
};

static_assert(sizeof(struct icmphdr) == 8 && sizeof(struct icmp6hdr) == 8);

static bool is_error(u8 type, bool v4)
{
	if (v4)
		return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
		       type == ICMP_PARAMETERPROB;
	return type == ICMPV6_DEST_UNREACH || type == ICMPV6_PKT_TOOBIG ||
	       type == ICMPV6_TIME_EXCEED || type == ICMPV6_PARAMPROB;
}

/* Fills q; false if skb is no error that quotes TCP. */
static bool parse(const struct sk_buff *skb, bool v4, unsigned int icmp,
		  struct quotation *q)
{
	const struct quoted_tcp *tcp;
	struct quoted_tcp tcp_copy;
	const u8 *type;
	u8 type_copy;

	type = skb_header_pointer(skb, icmp, sizeof(type_copy), &type_copy);
	if (!type || !is_error(*type, v4))
		return false;
	q->l3 = icmp + sizeof(struct icmphdr);
	if (v4) {
		const struct iphdr *ip;
		struct iphdr copy;

		ip = skb_header_pointer(skb, q->l3, sizeof(copy), &copy);
		if (!ip || ip->version != 4 || ip->ihl < 5 ||
		    ip->protocol != IPPROTO_TCP || ip->frag_off & htons(IP_OFFSET))
			return false;
		q->l4 = q->l3 + ip->ihl * 4;
		ipv6_addr_set_v4mapped(ip->saddr, &q->client.addr);
		ipv6_addr_set_v4mapped(ip->daddr, &q->backend.addr);
	} else {
		const struct ipv6hdr *ip;
		struct ipv6hdr copy;

		ip = skb_header_pointer(skb, q->l3, sizeof(copy), &copy);
		if (!ip || ip->version != 6 || ip->nexthdr != IPPROTO_TCP)
			return false;
		q->l4 = q->l3 + sizeof(copy);
		q->client.addr = ip->saddr;
		q->backend.addr = ip->daddr;
	}
	tcp = skb_header_pointer(skb, q->l4, sizeof(tcp_copy), &tcp_copy);
	if (!tcp)
		return false;
	q->client.port = tcp->source;
	q->backend.port = tcp->dest;
	q->seq = ntohl(tcp->seq);
	return true;
}

/* Makes the quoted destination service; false without memory. */
static bool rewrite(struct sk_buff *skb, bool v4, unsigned int icmp,
		    const struct quotation *q, const struct tcp_redirect_end *service)
{
	struct quoted_tcp *tcp;
	__sum16 *check;
	unsigned int i;

	if (skb_ensure_writable(skb, q->l4 + sizeof(*tcp)))
		return false;
	/* At the same place in both headers. */
	check = &((struct icmphdr *)(skb->data + icmp))->checksum;
	tcp = (struct quoted_tcp *)(skb->data + q->l4);
	if (v4) {
		struct iphdr *ip = (struct iphdr *)(skb->data + q->l3);

		/* The quoted header's checksum absorbs the address, so ICMP's stays. */
		csum_replace4(&ip->check, ip->daddr, service->addr.s6_addr32[3]);
		ip->daddr = service->addr.s6_addr32[3];
	} else {
		struct ipv6hdr *ip = (struct ipv6hdr *)(skb->data + q->l3);

		for (i = 0; i < 4; i++)
			csum_replace4(check, ip->daddr.s6_addr32[i],
				      service->addr.s6_addr32[i]);
		ip->daddr = service->addr;
	}
	csum_replace2(check, tcp->dest, service->port);
	tcp->dest = service->port;
	return true;
}

unsigned int crab_receive_icmp(struct crab_net *cn, struct sk_buff *skb, bool v4)
{
	unsigned int icmp = skb_network_offset(skb) +
			    (v4 ? ip_hdrlen(skb) : sizeof(struct ipv6hdr));
	struct tcp_redirect_pending known;
	struct quotation q;

	if (!parse(skb, v4, icmp, &q) ||
	    !tcp_redirect_pending_find(&cn->shared, &q.client, q.seq, false, &known) ||
	    tcp_redirect_end_equal(&known.service, &q.backend) ||
	    !tcp_redirect_prefix_allows(&cn->shared, &q.backend.addr))
		return NF_ACCEPT;
	if (!rewrite(skb, v4, icmp, &q, &known.service))
		return NF_DROP;
	tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_icmp);
	return NF_ACCEPT;
}
