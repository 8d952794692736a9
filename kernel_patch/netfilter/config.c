// SPDX-License-Identifier: GPL-2.0-only
/* See config.h. */
#include "config.h"

#include <linux/jhash.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "accepted.h"
#include "pending.h"
#include "platform.h"

static struct hlist_head *bucket_of(const struct tcp_redirect_config *config,
				    const struct tcp_redirect_end *at)
{
	u32 hash = jhash2((const u32 *)&at->addr, sizeof(at->addr) / sizeof(u32),
			  config->seed ^ (__force u32)at->port);

	return &config->buckets[hash & config->bucket_mask];
}

struct tcp_redirect_config *tcp_redirect_config_alloc(unsigned int n_services,
						      unsigned int n_prefixes)
{
	unsigned int n_buckets = roundup_pow_of_two(n_services + 1);
	struct tcp_redirect_config *config;

	config = kzalloc(sizeof(*config), GFP_KERNEL_ACCOUNT);
	if (!config)
		return NULL;
	config->seed = get_random_u32();
	config->bucket_mask = n_buckets - 1;
	config->buckets = kvcalloc(n_buckets, sizeof(*config->buckets),
				   GFP_KERNEL_ACCOUNT);
	config->services = kvcalloc(n_services + 1, sizeof(*config->services),
				    GFP_KERNEL_ACCOUNT);
	config->prefixes = kvcalloc(n_prefixes + 1, sizeof(*config->prefixes),
				    GFP_KERNEL_ACCOUNT);
	if (!config->buckets || !config->services || !config->prefixes) {
		tcp_redirect_config_free(config);
		return NULL;
	}
	return config;
}

void tcp_redirect_config_free(struct tcp_redirect_config *config)
{
	if (!config)
		return;
	/* Keys. */
	kvfree_sensitive(config->services,
			 config->n_services * sizeof(*config->services));
	kvfree(config->prefixes);
	kvfree(config->buckets);
	kfree(config);
}

static void free_later(struct rcu_head *rcu)
{
	tcp_redirect_config_free(container_of(rcu, struct tcp_redirect_config, rcu));
}

static const struct tcp_redirect_service *
find(const struct tcp_redirect_config *config, const struct tcp_redirect_end *at)
{
	const struct tcp_redirect_service *service;

	hlist_for_each_entry(service, bucket_of(config, at), node)
		if (tcp_redirect_end_equal(&service->at, at))
			return service;
	return NULL;
}

bool tcp_redirect_config_add_service(struct tcp_redirect_config *config,
				     const struct tcp_redirect_end *at,
				     const struct tcp_redirect_terms *terms)
{
	struct tcp_redirect_service *service;

	if (find(config, at))
		return false;
	service = &config->services[config->n_services++];
	service->at = *at;
	service->terms = *terms;
	hlist_add_head(&service->node, bucket_of(config, at));
	return true;
}

void tcp_redirect_config_add_prefix(struct tcp_redirect_config *config,
				    const struct in6_addr *addr, u8 len, bool v4)
{
	struct tcp_redirect_prefix *prefix = &config->prefixes[config->n_prefixes++];

	ipv6_addr_prefix(&prefix->addr, addr, len);
	prefix->len = len;
	prefix->v4 = v4;
}

int tcp_redirect_apply(struct tcp_redirect_net *rn, unsigned int roles,
		       struct tcp_redirect_config *config)
{
	struct tcp_redirect_config *old;
	int err = 0;

	mutex_lock(&rn->lock);
	if (roles & TCP_REDIRECT_ROLE_CLIENT)
		err = tcp_redirect_pending_start(rn);
	if (!err)
		err = tcp_redirect_platform_set_roles(rn, rn->roles, roles);
	if (err) {
		mutex_unlock(&rn->lock);
		tcp_redirect_config_free(config);
		return err;
	}
	if (config) {
		old = rcu_dereference_protected(rn->config,
						lockdep_is_held(&rn->lock));
		config->generation = old ? old->generation + 1 : 1;
		rcu_assign_pointer(rn->config, config);
		if (old)
			call_rcu(&old->rcu, free_later);
	}
	/* With the tables that the roles need: pairs with tcp_redirect_roles(). */
	smp_store_release(&rn->roles, roles);
	mutex_unlock(&rn->lock);
	return 0;
}

const struct tcp_redirect_service *
tcp_redirect_find_service(const struct tcp_redirect_net *rn,
			  const struct tcp_redirect_end *at)
{
	const struct tcp_redirect_config *config = rcu_dereference(rn->config);

	return config ? find(config, at) : NULL;
}

bool tcp_redirect_prefix_allows(const struct tcp_redirect_net *rn,
				const struct in6_addr *backend)
{
	const struct tcp_redirect_config *config = rcu_dereference(rn->config);
	bool v4 = ipv6_addr_v4mapped(backend);
	unsigned int i;

	if (!config || !config->n_prefixes)
		return true;
	/* Once for each connection, so a list of at most a thousand will do. */
	for (i = 0; i < config->n_prefixes; i++) {
		const struct tcp_redirect_prefix *prefix = &config->prefixes[i];

		if (prefix->v4 == v4 &&
		    ipv6_prefix_equal(&prefix->addr, backend, prefix->len))
			return true;
	}
	return false;
}

void tcp_redirect_net_init(struct tcp_redirect_net *rn, struct net *net)
{
	unsigned int i;

	rn->net = net;
	mutex_init(&rn->lock);
	spin_lock_init(&rn->accepted.lock);
	for (i = 0; i < TCP_REDIRECT_ACCEPTED_BUCKETS; i++)
		INIT_HLIST_HEAD(&rn->accepted.bucket[i]);
}

void tcp_redirect_net_exit(struct tcp_redirect_net *rn)
{
	tcp_redirect_pending_free(rn);
	tcp_redirect_accepted_free(rn);
	tcp_redirect_config_free(rcu_dereference_protected(rn->config, true));
	RCU_INIT_POINTER(rn->config, NULL);
}
