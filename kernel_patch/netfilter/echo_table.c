// SPDX-License-Identifier: GPL-2.0-only
/* See echo_table.h. */
#include "echo_table.h"

#include <linux/jhash.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/slab.h>

#define N_SHARDS 64
#define N_BUCKETS 256	/* in a shard */
#define SHARD_MAX (CRAB_MAX_ECHOES / N_SHARDS)
#define SWEEP_INTERVAL (10 * HZ)

struct entry {
	struct hlist_node node;
	struct list_head by_age;
	struct tcp_redirect_end server, client;
	unsigned long came, used;	/* jiffies: the SYN; the SYN or the last SYN-ACK */
	struct crab_echo is;
};

struct shard {
	spinlock_t lock;	/* everything below */
	unsigned int n;
	struct list_head by_age;	/* oldest SYN first */
	struct hlist_head bucket[N_BUCKETS];
} ____cacheline_aligned_in_smp;

struct crab_echo_table {
	u32 seed;
	struct delayed_work sweep;
	struct shard shard[N_SHARDS];
};

static u32 hash_of(const struct crab_echo_table *table,
		   const struct tcp_redirect_end *server,
		   const struct tcp_redirect_end *client)
{
	u32 hash = jhash2((const u32 *)&server->addr, 4,
			  table->seed ^ (__force u32)server->port);

	return jhash2((const u32 *)&client->addr, 4,
		      hash ^ (__force u32)client->port << 16);
}

static struct shard *shard_of(struct crab_echo_table *table, u32 hash)
{
	return &table->shard[hash % N_SHARDS];
}

static struct hlist_head *bucket_of(struct shard *shard, u32 hash)
{
	return &shard->bucket[hash / N_SHARDS % N_BUCKETS];
}

static void remove(struct shard *shard, struct entry *e)
{
	hlist_del(&e->node);
	list_del(&e->by_age);
	shard->n--;
	kfree(e);
}

static void sweep(struct work_struct *work)
{
	struct crab_echo_table *table =
		container_of(work, struct crab_echo_table, sweep.work);
	struct entry *e, *next;
	bool any = false;
	unsigned int i;

	for (i = 0; i < N_SHARDS; i++) {
		struct shard *shard = &table->shard[i];

		spin_lock_bh(&shard->lock);
		list_for_each_entry_safe(e, next, &shard->by_age, by_age)
			if (time_after(jiffies, e->used + CRAB_ECHO_LIFETIME))
				remove(shard, e);
		any |= shard->n;
		spin_unlock_bh(&shard->lock);
		cond_resched();
	}
	if (any)
		queue_delayed_work(system_power_efficient_wq, &table->sweep,
				   SWEEP_INTERVAL);
}

int crab_echoes_start(struct crab_net *cn)
{
	struct crab_echo_table *table;
	unsigned int i;

	if (cn->echoes)
		return 0;
	table = kvzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return -ENOMEM;
	table->seed = get_random_u32();
	INIT_DELAYED_WORK(&table->sweep, sweep);
	for (i = 0; i < N_SHARDS; i++) {
		spin_lock_init(&table->shard[i].lock);
		INIT_LIST_HEAD(&table->shard[i].by_age);
	}
	smp_store_release(&cn->echoes, table);	/* pairs with table_of() */
	return 0;
}

static struct crab_echo_table *table_of(const struct crab_net *cn)
{
	return smp_load_acquire(&cn->echoes);	/* pairs with crab_echoes_start() */
}

void crab_echoes_free(struct crab_net *cn)
{
	struct crab_echo_table *table = cn->echoes;
	struct entry *e, *next;
	unsigned int i;

	if (!table)
		return;
	cancel_delayed_work_sync(&table->sweep);
	for (i = 0; i < N_SHARDS; i++)
		list_for_each_entry_safe(e, next, &table->shard[i].by_age, by_age)
			remove(&table->shard[i], e);
	cn->echoes = NULL;
	kvfree(table);
}

unsigned int crab_n_echoes(const struct crab_net *cn)
{
	struct crab_echo_table *table = table_of(cn);
	unsigned int i, n = 0;

	for (i = 0; table && i < N_SHARDS; i++)
		n += READ_ONCE(table->shard[i].n);
	return n;
}

static struct entry *find(struct hlist_head *bucket,
			  const struct tcp_redirect_end *server,
			  const struct tcp_redirect_end *client)
{
	struct entry *e;

	hlist_for_each_entry(e, bucket, node)
		if (tcp_redirect_end_equal(&e->client, client) &&
		    tcp_redirect_end_equal(&e->server, server))
			return e;
	return NULL;
}

/* Room for one more: the oldest makes way if it may. */
static bool make_room(struct shard *shard)
{
	struct entry *oldest;

	if (shard->n < SHARD_MAX)
		return true;
	oldest = list_first_entry(&shard->by_age, struct entry, by_age);
	if (!time_after(jiffies, oldest->came + CRAB_ECHO_PROTECTED))
		return false;
	remove(shard, oldest);
	return true;
}

int crab_echoes_keep(struct crab_net *cn, const struct tcp_redirect_end *server,
		     const struct tcp_redirect_end *client,
		     const struct crab_echo *echo)
{
	struct crab_echo_table *table = table_of(cn);
	u32 hash = hash_of(table, server, client);
	struct shard *shard = shard_of(table, hash);
	struct hlist_head *bucket = bucket_of(shard, hash);
	struct entry *e;
	int err = 0;

	spin_lock_bh(&shard->lock);
	e = find(bucket, server, client);
	if (!e) {
		err = -ENOSPC;
		if (!make_room(shard))
			goto out;
		err = -ENOMEM;
		e = kmalloc(sizeof(*e), GFP_ATOMIC | __GFP_NOWARN);
		if (!e)
			goto out;
		err = 0;
		e->server = *server;
		e->client = *client;
		hlist_add_head(&e->node, bucket);
		list_add_tail(&e->by_age, &shard->by_age);
		shard->n++;
		e->is = *echo;
	} else {
		unsigned int n_sent = e->is.isn == echo->isn ? e->is.n_sent : 0;

		list_move_tail(&e->by_age, &shard->by_age);
		e->is = *echo;
		e->is.n_sent = n_sent;
	}
	e->came = jiffies;
	e->used = jiffies;
out:
	spin_unlock_bh(&shard->lock);
	if (!err)
		queue_delayed_work(system_power_efficient_wq, &table->sweep,
				   SWEEP_INTERVAL);
	return err;
}

bool crab_echoes_take(struct crab_net *cn, const struct tcp_redirect_end *server,
		      const struct tcp_redirect_end *client, u32 ack, bool forget,
		      struct crab_echo *out)
{
	struct crab_echo_table *table = table_of(cn);
	struct shard *shard;
	bool found = false;
	struct entry *e;
	u32 hash, acked;

	if (!table)
		return false;
	hash = hash_of(table, server, client);
	shard = shard_of(table, hash);
	if (!READ_ONCE(shard->n))
		return false;
	spin_lock_bh(&shard->lock);
	e = find(bucket_of(shard, hash), server, client);
	/* Of this SYN, and not of another connection on the tuple. */
	acked = e ? ack - e->is.isn : 0;
	if (acked && acked <= e->is.syn_len) {
		found = true;
		*out = e->is;
		e->is.n_sent++;
		e->used = jiffies;
		if (forget)
			remove(shard, e);
	}
	spin_unlock_bh(&shard->lock);
	return found;
}
