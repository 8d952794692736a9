/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an endpoint holds for a network namespace, and the words the other
 * files share.  One of the files that module and kernel patch share, see README.md.
 *
 * Addresses are 16 bytes, IPv4 ones IPv4-mapped (RFC 4291, 2.5.5.2), so that one
 * key serves both families and dual-stack sockets.
 */
#ifndef TCP_REDIRECT_STATE_H
#define TCP_REDIRECT_STATE_H

#include <linux/in6.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>

#include "crab_redirect.h"
#include "tcp_redirect_counters.h"
#include "tcp_redirect_netlink.h"

#define TCP_REDIRECT_ROLES_MASK (TCP_REDIRECT_ROLE_CLIENT | TCP_REDIRECT_ROLE_SERVER)
#define TCP_REDIRECT_ACCEPTED_BUCKETS 256

/* One end of a connection, or a service. */
struct tcp_redirect_end {
	struct in6_addr addr;
	__be16 port;
};

/* How a service redirects. */
struct tcp_redirect_terms {
	u8 form;	/* CRAB_OPT_LEN_ADDR, _TAG, _ADDR_TAG or CRAB_PAPER_OPT_LEN */
	u8 n_keys;	/* 0: not keyed */
	u8 keys[TCP_REDIRECT_MAX_KEYS][CRAB_KEY_LEN];
};

struct tcp_redirect_config;
struct tcp_redirect_pending_table;

struct tcp_redirect_net {
	struct net *net;
	struct mutex lock;	/* changes of roles, config and pending */
	unsigned int roles;	/* written under lock, read by tcp_redirect_roles() */
	struct tcp_redirect_config __rcu *config;	/* NULL: nothing configured yet */
	struct tcp_redirect_pending_table *pending;	/* from the first client role on */
	struct {
		spinlock_t lock;	/* insertion */
		unsigned int n;
		struct hlist_head bucket[TCP_REDIRECT_ACCEPTED_BUCKETS];
	} accepted;	/* read under RCU; entries live as long as the namespace */
	struct ctl_table_header *sysctl;
};

/* The roles in force; what they need is there. */
static inline unsigned int tcp_redirect_roles(const struct tcp_redirect_net *rn)
{
	return smp_load_acquire(&rn->roles);	/* pairs with tcp_redirect_apply() */
}

static inline void tcp_redirect_end_v4(struct tcp_redirect_end *end, __be32 addr,
				       __be16 port)
{
	ipv6_addr_set_v4mapped(addr, &end->addr);
	end->port = port;
}

static inline bool tcp_redirect_end_equal(const struct tcp_redirect_end *a,
					  const struct tcp_redirect_end *b)
{
	return ipv6_addr_equal(&a->addr, &b->addr) && a->port == b->port;
}

/* Pairs for the namespace: prepare everything but sysctl and hooks; undo that. */
void tcp_redirect_net_init(struct tcp_redirect_net *rn, struct net *net);
/* No packet, timer or request may use rn any more. */
void tcp_redirect_net_exit(struct tcp_redirect_net *rn);

#endif /* TCP_REDIRECT_STATE_H */
