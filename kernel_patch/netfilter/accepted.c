// SPDX-License-Identifier: GPL-2.0-only
/* See accepted.h. */
#include "accepted.h"

#include <linux/jhash.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "platform.h"

/* No secret in the hash: who fills a bucket has only filled his own 4096 records. */
static struct hlist_head *bucket_of(struct tcp_redirect_net *rn,
				    const struct tcp_redirect_end *server, u8 by)
{
	u32 hash = jhash2((const u32 *)&server->addr,
			  sizeof(server->addr) / sizeof(u32),
			  (__force u32)server->port << 8 ^ by);

	return &rn->accepted.bucket[hash % TCP_REDIRECT_ACCEPTED_BUCKETS];
}

static struct tcp_redirect_accepted *find(const struct hlist_head *bucket,
					  const struct tcp_redirect_end *server, u8 by)
{
	struct tcp_redirect_accepted *a;

	hlist_for_each_entry_rcu(a, bucket, node)
		if (a->by == by && tcp_redirect_end_equal(&a->server, server))
			return a;
	return NULL;
}

/* The record, found or made; NULL if there is no room or memory. */
static struct tcp_redirect_accepted *insert(struct tcp_redirect_net *rn,
					    struct hlist_head *bucket,
					    const struct tcp_redirect_end *server, u8 by)
{
	struct tcp_redirect_accepted *a;

	spin_lock_bh(&rn->accepted.lock);
	a = find(bucket, server, by);
	if (a || rn->accepted.n >= TCP_REDIRECT_MAX_ACCEPTED)
		goto out;
	a = kzalloc(sizeof(*a), GFP_ATOMIC | __GFP_NOWARN);
	if (!a)
		goto out;
	a->server = *server;
	a->by = by;
	rn->accepted.n++;
	hlist_add_tail_rcu(&a->node, bucket);
out:
	spin_unlock_bh(&rn->accepted.lock);
	return a;
}

void tcp_redirect_accepted_count(struct tcp_redirect_net *rn,
				 const struct tcp_redirect_end *server, u8 by)
{
	struct hlist_head *bucket = bucket_of(rn, server, by);
	struct tcp_redirect_accepted *a;

	tcp_redirect_count(rn, TCP_REDIRECT_N_accepted);
	if (!by)
		return;
	rcu_read_lock();
	a = find(bucket, server, by);
	if (!a)
		a = insert(rn, bucket, server, by);
	if (a)
		atomic64_inc(&a->n);
	else
		tcp_redirect_count(rn, TCP_REDIRECT_N_accepted_full);
	rcu_read_unlock();
}

void tcp_redirect_accepted_free(struct tcp_redirect_net *rn)
{
	struct tcp_redirect_accepted *a;
	struct hlist_node *next;
	unsigned int i;

	for (i = 0; i < TCP_REDIRECT_ACCEPTED_BUCKETS; i++)
		hlist_for_each_entry_safe(a, next, &rn->accepted.bucket[i], node)
			kfree(a);
}
