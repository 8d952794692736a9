/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the netfilter module and the kernel patch, each of
 * which has a file of this name.  This one is the module's; the patch provides the same names:
 *
 *   TCP_REDIRECT_IMPLEMENTATION, TCP_REDIRECT_VERSION, TCP_REDIRECT_MAX_ECHOES
 *   tcp_redirect_net()			net -> its state
 *   tcp_redirect_count()		bumps a counter, any context
 *   tcp_redirect_counter_value()	reads one, summed over CPUs
 *   tcp_redirect_platform_set_roles()	called under rn->lock, before new roles are in force
 *   tcp_redirect_platform_n_echoes()
 */
#ifndef TCP_REDIRECT_PLATFORM_H
#define TCP_REDIRECT_PLATFORM_H

#include "crab_net.h"

#define TCP_REDIRECT_IMPLEMENTATION TCP_REDIRECT_IMPLEMENTATION_MODULE
#define TCP_REDIRECT_VERSION CRAB_VERSION
#define TCP_REDIRECT_MAX_ECHOES CRAB_MAX_ECHOES

static inline struct tcp_redirect_net *tcp_redirect_net(const struct net *net)
{
	return &crab_net(net)->shared;
}

static inline void tcp_redirect_count(struct tcp_redirect_net *rn,
				      enum tcp_redirect_counter counter)
{
	this_cpu_inc(crab_of(rn)->counters->n[counter]);
}

static inline u64 tcp_redirect_counter_value(struct tcp_redirect_net *rn,
					     enum tcp_redirect_counter counter)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(crab_of(rn)->counters, cpu)->n[counter]);
	return sum;
}

/* Registers the hooks with the first role and removes them with the last. */
static inline int tcp_redirect_platform_set_roles(struct tcp_redirect_net *rn,
						  unsigned int from, unsigned int to)
{
	return crab_hooks_set_roles(crab_of(rn), from, to);
}

static inline unsigned int tcp_redirect_platform_n_echoes(struct tcp_redirect_net *rn)
{
	return crab_n_echoes(crab_of(rn));
}

#endif /* TCP_REDIRECT_PLATFORM_H */
