/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The configuration of a namespace: services and prefixes, immutable once
 * published and replaced whole (RCU); and the roles.  One of the files that module and
 * kernel patch share, see README.md.
 */
#ifndef TCP_REDIRECT_CONFIG_H
#define TCP_REDIRECT_CONFIG_H

#include "state.h"

struct tcp_redirect_service {
	struct hlist_node node;
	struct tcp_redirect_end at;
	struct tcp_redirect_terms terms;
};

struct tcp_redirect_prefix {
	struct in6_addr addr;
	u8 len;		/* of the 16 byte address: an IPv4 /8 is 104 */
	bool v4;	/* so that ::/0 does not allow IPv4 */
};

struct tcp_redirect_config {
	struct rcu_head rcu;
	u32 generation;	/* another one for each configuration: dumps notice a change */
	u32 seed;
	unsigned int n_services, n_prefixes;
	unsigned int bucket_mask;
	struct tcp_redirect_service *services;
	struct tcp_redirect_prefix *prefixes;
	struct hlist_head *buckets;
};

/* An empty one with room for as many; NULL without memory. The caller owns it. */
struct tcp_redirect_config *tcp_redirect_config_alloc(unsigned int n_services,
						      unsigned int n_prefixes);
void tcp_redirect_config_free(struct tcp_redirect_config *config);
/* False if there is one of that address and port. */
bool tcp_redirect_config_add_service(struct tcp_redirect_config *config,
				     const struct tcp_redirect_end *at,
				     const struct tcp_redirect_terms *terms);
void tcp_redirect_config_add_prefix(struct tcp_redirect_config *config,
				    const struct in6_addr *addr, u8 len, bool v4);

/*
 * Puts roles and config in force, all at once; takes config over, on failure
 * too.  NULL keeps the one in force.
 */
int tcp_redirect_apply(struct tcp_redirect_net *rn, unsigned int roles,
		       struct tcp_redirect_config *config);

/* Under RCU; what is returned lives as long. */
const struct tcp_redirect_service *
tcp_redirect_find_service(const struct tcp_redirect_net *rn,
			  const struct tcp_redirect_end *at);
bool tcp_redirect_prefix_allows(const struct tcp_redirect_net *rn,
				const struct in6_addr *backend);

#endif /* TCP_REDIRECT_CONFIG_H */
