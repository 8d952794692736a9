/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the module holds for a network namespace, and its limits.
 */
#ifndef CRAB_NET_H
#define CRAB_NET_H

#include <linux/percpu.h>
#include <net/netns/generic.h>

#include "state.h"

#define CRAB_VERSION "0.1.0"
#define CRAB_MAX_ECHOES 65536	/* redirected SYNs in a namespace; 128 bytes each */
#define CRAB_MAX_DEFERRED 1024	/* SYN-ACKs in a namespace that wait for their socket */

struct crab_echo_table;

struct crab_counters {
	u64 n[TCP_REDIRECT_N_COUNTERS];
};

struct crab_net {
	struct tcp_redirect_net shared;
	struct crab_counters __percpu *counters;
	struct crab_echo_table *echoes;	/* from the first server role on; set under shared.lock */
	atomic_t n_deferred;
};

extern unsigned int crab_net_id;

static inline struct crab_net *crab_net(const struct net *net)
{
	return net_generic(net, crab_net_id);
}

static inline struct crab_net *crab_of(struct tcp_redirect_net *rn)
{
	return container_of(rn, struct crab_net, shared);
}

/* hooks.c: under shared.lock. */
int crab_hooks_set_roles(struct crab_net *cn, unsigned int from, unsigned int to);
/* echo_table.c */
unsigned int crab_n_echoes(const struct crab_net *cn);

#endif /* CRAB_NET_H */
