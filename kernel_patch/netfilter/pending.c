// SPDX-License-Identifier: GPL-2.0-only
/* See pending.h. */
#include "pending.h"

#include <linux/jhash.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/slab.h>

#define N_BUCKETS 4096
#define N_LOCKS 64
#define SWEEP_INTERVAL (10 * HZ)

struct entry {
	struct hlist_node node;
	struct tcp_redirect_end client;
	const struct sock *owner;
	unsigned long expires;	/* jiffies */
	struct tcp_redirect_pending is;
};

struct tcp_redirect_pending_table {
	atomic_t n;
	u32 seed;
	struct delayed_work sweep;
	spinlock_t lock[N_LOCKS];	/* bucket i belongs to lock i % N_LOCKS */
	struct hlist_head bucket[N_BUCKETS];
};

/* The ISN is no part of the hash, so that an entry is found without it too. */
static unsigned int hash_of(const struct tcp_redirect_pending_table *table,
			    const struct tcp_redirect_end *client)
{
	return jhash2((const u32 *)&client->addr,
		      sizeof(client->addr) / sizeof(u32),
		      table->seed ^ (__force u32)client->port) % N_BUCKETS;
}

static void remove(struct tcp_redirect_pending_table *table, struct entry *e)
{
	hlist_del(&e->node);
	atomic_dec(&table->n);
	kfree_sensitive(e);	/* keys */
}

static void sweep(struct work_struct *work)
{
	struct tcp_redirect_pending_table *table =
		container_of(work, struct tcp_redirect_pending_table, sweep.work);
	struct hlist_node *next;
	struct entry *e;
	unsigned int i;

	for (i = 0; i < N_BUCKETS; i++) {
		if (hlist_empty(&table->bucket[i]))
			continue;
		spin_lock_bh(&table->lock[i % N_LOCKS]);
		hlist_for_each_entry_safe(e, next, &table->bucket[i], node)
			if (time_after(jiffies, e->expires))
				remove(table, e);
		spin_unlock_bh(&table->lock[i % N_LOCKS]);
		cond_resched();
	}
	if (atomic_read(&table->n))
		queue_delayed_work(system_power_efficient_wq, &table->sweep,
				   SWEEP_INTERVAL);
}

int tcp_redirect_pending_start(struct tcp_redirect_net *rn)
{
	struct tcp_redirect_pending_table *table;
	unsigned int i;

	if (rn->pending)
		return 0;
	table = kvzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return -ENOMEM;
	table->seed = get_random_u32();
	INIT_DELAYED_WORK(&table->sweep, sweep);
	for (i = 0; i < N_LOCKS; i++)
		spin_lock_init(&table->lock[i]);
	smp_store_release(&rn->pending, table);	/* pairs with table_of() */
	return 0;
}

static struct tcp_redirect_pending_table *table_of(const struct tcp_redirect_net *rn)
{
	return smp_load_acquire(&rn->pending);	/* pairs with tcp_redirect_pending_start() */
}

void tcp_redirect_pending_free(struct tcp_redirect_net *rn)
{
	struct tcp_redirect_pending_table *table = rn->pending;
	struct hlist_node *next;
	struct entry *e;
	unsigned int i;

	if (!table)
		return;
	cancel_delayed_work_sync(&table->sweep);
	for (i = 0; i < N_BUCKETS; i++)
		hlist_for_each_entry_safe(e, next, &table->bucket[i], node)
			remove(table, e);
	rn->pending = NULL;
	kvfree(table);
}

unsigned int tcp_redirect_n_pending(const struct tcp_redirect_net *rn)
{
	struct tcp_redirect_pending_table *table = table_of(rn);

	return table ? atomic_read(&table->n) : 0;
}

int tcp_redirect_pending_add(struct tcp_redirect_net *rn,
			     const struct tcp_redirect_end *client, u32 isn,
			     const struct sock *owner,
			     const struct tcp_redirect_service *service)
{
	struct tcp_redirect_pending_table *table = table_of(rn);
	unsigned int i;
	struct entry *e;

	if (atomic_inc_return(&table->n) > TCP_REDIRECT_MAX_PENDING) {
		atomic_dec(&table->n);
		return -ENOSPC;
	}
	e = kmalloc(sizeof(*e), GFP_ATOMIC | __GFP_NOWARN);
	if (!e) {
		atomic_dec(&table->n);
		return -ENOMEM;
	}
	e->client = *client;
	e->owner = owner;
	e->expires = jiffies + TCP_REDIRECT_PENDING_LIFETIME;
	e->is.service = service->at;
	e->is.terms = service->terms;
	e->is.isn = isn;
	i = hash_of(table, client);
	spin_lock_bh(&table->lock[i % N_LOCKS]);
	hlist_add_head(&e->node, &table->bucket[i]);
	spin_unlock_bh(&table->lock[i % N_LOCKS]);
	/* Does nothing while it is queued already. */
	queue_delayed_work(system_power_efficient_wq, &table->sweep, SWEEP_INTERVAL);
	return 0;
}

bool tcp_redirect_pending_find(struct tcp_redirect_net *rn,
			       const struct tcp_redirect_end *client, u32 isn,
			       bool renew, struct tcp_redirect_pending *out)
{
	struct tcp_redirect_pending_table *table = table_of(rn);
	bool found = false;
	unsigned int i;
	struct entry *e;

	if (!table || !atomic_read(&table->n))
		return false;
	i = hash_of(table, client);
	spin_lock_bh(&table->lock[i % N_LOCKS]);
	hlist_for_each_entry(e, &table->bucket[i], node) {
		if (e->is.isn != isn || !tcp_redirect_end_equal(&e->client, client) ||
		    time_after(jiffies, e->expires))
			continue;
		if (renew)
			e->expires = jiffies + TCP_REDIRECT_PENDING_LIFETIME;
		*out = e->is;
		found = true;
		break;
	}
	spin_unlock_bh(&table->lock[i % N_LOCKS]);
	return found;
}

bool tcp_redirect_pending_end(struct tcp_redirect_net *rn,
			      const struct tcp_redirect_end *client,
			      const struct sock *owner,
			      struct tcp_redirect_pending *out)
{
	struct tcp_redirect_pending_table *table = table_of(rn);
	struct hlist_node *next;
	bool found = false;
	unsigned int i;
	struct entry *e;

	if (!table || !atomic_read(&table->n))
		return false;
	i = hash_of(table, client);
	spin_lock_bh(&table->lock[i % N_LOCKS]);
	hlist_for_each_entry_safe(e, next, &table->bucket[i], node) {
		if (e->owner != owner || !tcp_redirect_end_equal(&e->client, client))
			continue;
		*out = e->is;
		found = true;
		remove(table, e);
	}
	spin_unlock_bh(&table->lock[i % N_LOCKS]);
	return found;
}
