// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hooks at LOCAL_IN and LOCAL_OUT, last before connection tracking's
 * confirmation, so after the firewall.  A namespace has them only while it has a role.
 *
 * All that a packet of an established connection meets is passes(): protocol
 * and flags.  Everything else is out of line and for handshakes and resets alone.
 */
#include "hooks.h"

#include <linux/icmpv6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <net/tcp.h>

#include "client.h"
#include "echo_table.h"
#include "platform.h"
#include "server.h"

#define HANDSHAKE (CRAB_TCP_SYN | CRAB_TCP_RST)

/* Whether a TCP segment is none of ours; a header that is not linear is looked at later. */
static __always_inline bool passes(const struct sk_buff *skb, unsigned int l4)
{
	return likely(l4 + sizeof(struct tcphdr) <= skb_headlen(skb) &&
		      !(skb->data[l4 + 13] & HANDSHAKE));
}

static noinline unsigned int segment_in(struct sk_buff *skb,
					const struct nf_hook_state *state, bool v4)
{
	struct crab_net *cn = crab_net(state->net);
	unsigned int roles = tcp_redirect_roles(&cn->shared);
	struct crab_segment s;

	if (!crab_parse_segment(&s, skb, v4))
		return NF_ACCEPT;
	if ((roles & TCP_REDIRECT_ROLE_SERVER) &&
	    (s.flags & (HANDSHAKE | CRAB_TCP_ACK)) == CRAB_TCP_SYN)
		crab_keep_option(cn, &s);
	if (!(roles & TCP_REDIRECT_ROLE_CLIENT))
		return NF_ACCEPT;
	if ((s.flags & (HANDSHAKE | CRAB_TCP_ACK)) == (CRAB_TCP_SYN | CRAB_TCP_ACK))
		return crab_receive_syn_ack(cn, &s, state);
	if (s.flags & CRAB_TCP_RST)
		return crab_receive_rst(cn, &s);
	return NF_ACCEPT;
}

static noinline unsigned int segment_out(struct sk_buff *skb,
					 const struct nf_hook_state *state, bool v4)
{
	struct crab_net *cn = crab_net(state->net);
	unsigned int roles = tcp_redirect_roles(&cn->shared);
	const struct sock *sk = state->sk;
	struct crab_segment s;

	if (!crab_parse_segment(&s, skb, v4))
		return NF_ACCEPT;
	if (s.flags & CRAB_TCP_ACK) {
		if ((roles & TCP_REDIRECT_ROLE_SERVER) && (s.flags & HANDSHAKE))
			crab_echo_option(cn, &s);
	} else if ((roles & TCP_REDIRECT_ROLE_CLIENT) && (s.flags & CRAB_TCP_SYN) && sk &&
		   sk->sk_state == TCP_SYN_SENT && sk->sk_protocol == IPPROTO_TCP &&
		   sk->sk_type == SOCK_STREAM) {
		crab_offer(cn, &s, sk);
	}
	return NF_ACCEPT;
}

static noinline unsigned int icmp_in(struct sk_buff *skb,
				     const struct nf_hook_state *state, bool v4)
{
	struct crab_net *cn = crab_net(state->net);

	if (!(tcp_redirect_roles(&cn->shared) & TCP_REDIRECT_ROLE_CLIENT))
		return NF_ACCEPT;
	return crab_receive_icmp(cn, skb, v4);
}

static unsigned int in4(void *priv, struct sk_buff *skb,
			const struct nf_hook_state *state)
{
	const struct iphdr *ip = ip_hdr(skb);

	if (likely(ip->protocol == IPPROTO_TCP))
		return passes(skb, ip->ihl * 4) ? NF_ACCEPT : segment_in(skb, state, true);
	if (ip->protocol == IPPROTO_ICMP)
		return icmp_in(skb, state, true);
	return NF_ACCEPT;
}

static unsigned int out4(void *priv, struct sk_buff *skb,
			 const struct nf_hook_state *state)
{
	const struct iphdr *ip = ip_hdr(skb);

	if (ip->protocol != IPPROTO_TCP || passes(skb, ip->ihl * 4))
		return NF_ACCEPT;
	return segment_out(skb, state, true);
}

/* Extension headers hide the segment: such a connection is not redirected. */
static unsigned int in6(void *priv, struct sk_buff *skb,
			const struct nf_hook_state *state)
{
	const struct ipv6hdr *ip = ipv6_hdr(skb);

	if (likely(ip->nexthdr == IPPROTO_TCP))
		return passes(skb, sizeof(*ip)) ? NF_ACCEPT : segment_in(skb, state, false);
	if (ip->nexthdr == IPPROTO_ICMPV6)
		return icmp_in(skb, state, false);
	return NF_ACCEPT;
}

static unsigned int out6(void *priv, struct sk_buff *skb,
			 const struct nf_hook_state *state)
{
	const struct ipv6hdr *ip = ipv6_hdr(skb);

	if (ip->nexthdr != IPPROTO_TCP || passes(skb, sizeof(*ip)))
		return NF_ACCEPT;
	return segment_out(skb, state, false);
}

static const struct nf_hook_ops hooks[] = {
	{
		.hook = in4,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_LOCAL_IN,
		.priority = NF_IP_PRI_CONNTRACK_CONFIRM - 1,
	},
	{
		.hook = out4,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_LOCAL_OUT,
		.priority = NF_IP_PRI_CONNTRACK_CONFIRM - 1,
	},
	{
		.hook = in6,
		.pf = NFPROTO_IPV6,
		.hooknum = NF_INET_LOCAL_IN,
		.priority = NF_IP6_PRI_LAST - 1,
	},
	{
		.hook = out6,
		.pf = NFPROTO_IPV6,
		.hooknum = NF_INET_LOCAL_OUT,
		.priority = NF_IP6_PRI_LAST - 1,
	},
};

int crab_hooks_set_roles(struct crab_net *cn, unsigned int from, unsigned int to)
{
	int err;

	if (to & TCP_REDIRECT_ROLE_SERVER) {
		err = crab_echoes_start(cn);
		if (err)
			return err;
	}
	if (!from && to)
		return nf_register_net_hooks(cn->shared.net, hooks, ARRAY_SIZE(hooks));
	if (from && !to)
		nf_unregister_net_hooks(cn->shared.net, hooks, ARRAY_SIZE(hooks));
	return 0;
}

void crab_hooks_stop(struct crab_net *cn)
{
	mutex_lock(&cn->shared.lock);
	crab_hooks_set_roles(cn, cn->shared.roles, 0);
	smp_store_release(&cn->shared.roles, 0);	/* pairs with tcp_redirect_roles() */
	mutex_unlock(&cn->shared.lock);
}
