// SPDX-License-Identifier: GPL-2.0-only
/*
 * Client: a SYN-ACK often arrives while connect() still owns the socket.  It
 * waits for the owner in a work item of its own, so that one who holds his socket long holds up
 * nobody else's, and then goes on from the hook: the firewall sees it once.
 */
#include <linux/netdevice.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>
#include <net/dst.h>
#include <net/tcp.h>

#include "client.h"
#include "platform.h"

struct deferred {
	struct work_struct work;
	struct crab_net *cn;
	struct sock *sk;
	struct sk_buff *skb;
	struct net_device *dev;
	int (*okfn)(struct net *net, struct sock *sk, struct sk_buff *skb);
	struct crab_answer answer;
};

static struct workqueue_struct *queue;

static void answer_deferred(struct work_struct *work)
{
	struct deferred *d = container_of(work, struct deferred, work);
	struct crab_net *cn = d->cn;

	lock_sock(d->sk);
	/* rekey.c is written for softirqs. */
	local_bh_disable();
	crab_answer_socket(cn, d->sk, d->skb, &d->answer);
	local_bh_enable();
	release_sock(d->sk);

	/* As nf_reinject() lets a packet go on. */
	rcu_read_lock();
	local_bh_disable();
	d->okfn(cn->shared.net, NULL, d->skb);
	local_bh_enable();
	rcu_read_unlock();

	dev_put(d->dev);
	sock_put(d->sk);
	memzero_explicit(&d->answer, sizeof(d->answer));
	kfree(d);
	if (atomic_dec_and_test(&cn->n_deferred))
		wake_up_var(&cn->n_deferred);
}

unsigned int crab_defer(struct crab_net *cn, struct sock *sk, struct sk_buff *skb,
			const struct crab_answer *answer,
			const struct nf_hook_state *state)
{
	struct deferred *d = NULL;

	if (atomic_inc_return(&cn->n_deferred) <= CRAB_MAX_DEFERRED)
		d = kmalloc(sizeof(*d), GFP_ATOMIC | __GFP_NOWARN);
	if (!d || !skb_dst_force(skb)) {
		atomic_dec(&cn->n_deferred);
		kfree(d);
		sock_put(sk);
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_reject_busy);
		return NF_DROP;
	}
	INIT_WORK(&d->work, answer_deferred);
	d->cn = cn;
	d->sk = sk;
	d->skb = skb;
	d->dev = skb->dev;
	d->okfn = state->okfn;
	d->answer = *answer;
	dev_hold(d->dev);
	tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_deferred);
	queue_work(queue, &d->work);
	return NF_STOLEN;
}

int crab_defer_init(void)
{
	queue = alloc_workqueue("crab_redirect", WQ_UNBOUND | WQ_HIGHPRI, 0);
	return queue ? 0 : -ENOMEM;
}

void crab_defer_wait(struct crab_net *cn)
{
	wait_var_event(&cn->n_deferred, !atomic_read(&cn->n_deferred));
}

void crab_defer_exit(void)
{
	destroy_workqueue(queue);
}
