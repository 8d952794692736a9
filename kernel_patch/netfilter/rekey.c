// SPDX-License-Identifier: GPL-2.0-only
/*
 * Client: makes the backend the remote end of a socket in SYN-SENT, as if
 * connect() had been told its address.  Route first, so that failure needs no undoing; then the
 * place in the established hash, under the locks of both buckets and only if the new tuple is
 * free.  (inet_unhash() and inet_hash() would not look whether it is.)
 *
 * Softirqs are off and the socket is ours.
 */
#include <net/inet_timewait_sock.h>
#include <net/ip6_route.h>
#include <net/l3mdev.h>
#include <net/route.h>
#include <net/tcp.h>

#include "client.h"
#include "compat/compat.h"
#include "platform.h"

/* The new remote end in the terms of the socket's family. */
struct target {
	bool v4;
	const struct in6_addr *addr;
	__be32 addr4;
	__be16 port;
	u32 hash;
};

static bool speaks_ipv4(const struct sock *sk)
{
	return sk->sk_family == AF_INET || ipv6_addr_v4mapped(&sk->sk_v6_daddr);
}

static struct dst_entry *route4(struct sock *sk, const struct target *to,
				struct flowi4 *fl4)
{
	struct inet_sock *inet = inet_sk(sk);
	struct rtable *rt;

	rt = ip_route_output_ports(sock_net(sk), fl4, sk, to->addr4, inet->inet_saddr,
				   to->port, inet->inet_sport, IPPROTO_TCP,
				   RT_CONN_FLAGS(sk), sk->sk_bound_dev_if);
	if (IS_ERR(rt))
		return NULL;
	if (rt->rt_flags & (RTCF_MULTICAST | RTCF_BROADCAST)) {
		ip_rt_put(rt);
		return NULL;
	}
	return &rt->dst;
}

/* As inet6_csk_route_socket(), which is static. */
static struct dst_entry *route6(struct sock *sk, const struct target *to)
{
	const struct ipv6_pinfo *np = inet6_sk(sk);
	struct in6_addr final, *final_p;
	struct dst_entry *dst;
	struct flowi6 fl6 = {
		.flowi6_proto = IPPROTO_TCP,
		.daddr = *to->addr,
		.saddr = np->saddr,
		.flowlabel = ip6_make_flowinfo(np->tclass, np->flow_label),
		.flowi6_oif = sk->sk_bound_dev_if,
		.flowi6_mark = sk->sk_mark,
		.fl6_sport = inet_sk(sk)->inet_sport,
		.fl6_dport = to->port,
		.flowi6_uid = sk->sk_uid,
	};

	if (ipv6_addr_is_multicast(to->addr))
		return NULL;
	security_sk_classify_flow(sk, flowi6_to_flowi_common(&fl6));
	rcu_read_lock();
	final_p = fl6_update_dst(&fl6, rcu_dereference(np->opt), &final);
	rcu_read_unlock();
	dst = ip6_dst_lookup_flow(sock_net(sk), sk, &fl6, final_p);
	return IS_ERR(dst) ? NULL : dst;
}

/* Whether other holds the tuple that sk is to have. */
static bool holds(const struct sock *other, const struct sock *sk,
		  const struct target *to)
{
	struct net *net = sock_net(sk);
	const __portpair ports = INET_COMBINED_PORTS(to->port, sk->sk_num);
	int dif = sk->sk_bound_dev_if;
	int sdif = l3mdev_master_ifindex_by_index(net, dif);

	if (other->sk_hash != to->hash)
		return false;
	if (to->v4) {
		INET_ADDR_COOKIE(cookie, to->addr4, sk->sk_rcv_saddr);

		return inet_match(net, other, cookie, ports, dif, sdif);
	}
	return inet6_match(net, other, to->addr, &sk->sk_v6_rcv_saddr, ports, dif, sdif);
}

/* Its holder, with a reference, or NULL. */
static struct sock *find_holder(struct inet_hashinfo *hashinfo, const struct sock *sk,
				const struct target *to)
{
	int dif = sk->sk_bound_dev_if;
	int sdif = l3mdev_master_ifindex_by_index(sock_net(sk), dif);

	if (to->v4)
		return __inet_lookup_established(sock_net(sk), hashinfo, to->addr4,
						 to->port, sk->sk_rcv_saddr, sk->sk_num,
						 dif, sdif);
	return __inet6_lookup_established(sock_net(sk), hashinfo, to->addr, to->port,
					  &sk->sk_v6_rcv_saddr, sk->sk_num, dif, sdif);
}

/*
 * A TIME-WAIT of ours on the tuple makes way: the backend has acknowledged our
 * new initial sequence number, so the old connection is over for it too.  False: somebody lives
 * there.
 */
static bool clear_time_wait(struct crab_net *cn, struct inet_hashinfo *hashinfo,
			    const struct sock *sk, const struct target *to)
{
	struct sock *holder = find_holder(hashinfo, sk, to);

	if (!holder)
		return true;
	if (holder->sk_state != TCP_TIME_WAIT) {
		sock_gen_put(holder);
		return false;
	}
	inet_twsk_deschedule_put(inet_twsk(holder));
	tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_time_wait_replaced);
	return true;
}

/*
 * From now on connect() no longer shares the local port: to it the tuple with
 * the virtual address will look free, and a policy that hashes may pick the same backend, which
 * would see a SYN on a live connection.
 */
static void keep_port(struct inet_hashinfo *hashinfo, struct sock *sk)
{
	struct inet_bind_hashbucket *head = crab_compat_bind_bucket(hashinfo, sk);
	struct inet_bind_bucket *tb;

	spin_lock(&head->lock);
	tb = inet_csk(sk)->icsk_bind_hash;
	if (tb)
		tb->fastreuse = 0;
	spin_unlock(&head->lock);
}

static void lock_both(spinlock_t *a, spinlock_t *b)
{
	if (a > b)
		swap(a, b);
	spin_lock(a);
	if (a != b)
		spin_lock_nested(b, SINGLE_DEPTH_NESTING);
}

static void unlock_both(spinlock_t *a, spinlock_t *b)
{
	spin_unlock(a);
	if (a != b)
		spin_unlock(b);
}

/* Takes sk from its bucket to that of the new tuple; false if that is held. */
static bool move(struct inet_hashinfo *hashinfo, struct sock *sk, const struct target *to)
{
	struct inet_ehash_bucket *head = inet_ehash_bucket(hashinfo, to->hash);
	spinlock_t *old_lock = inet_ehash_lockp(hashinfo, sk->sk_hash);
	spinlock_t *new_lock = inet_ehash_lockp(hashinfo, to->hash);
	const struct hlist_nulls_node *node;
	struct sock *other;

	lock_both(old_lock, new_lock);
	sk_nulls_for_each(other, node, &head->chain) {
		if (!holds(other, sk, to))
			continue;
		unlock_both(old_lock, new_lock);
		return false;
	}
	/* Look-ups that stand on sk notice by the other chain's end and begin again. */
	__sk_nulls_del_node_init_rcu(sk);
	inet_sk(sk)->inet_dport = to->port;
	if (to->v4)
		sk_daddr_set(sk, to->addr4);
	else
		sk->sk_v6_daddr = *to->addr;
	sk->sk_hash = to->hash;
	__sk_nulls_add_node_rcu(sk, &head->chain);
	unlock_both(old_lock, new_lock);
	return true;
}

static void use_route(struct sock *sk, struct dst_entry *dst, const struct flowi4 *fl4,
		      bool v4)
{
	if (v4) {
		inet_sk(sk)->cork.fl.u.ip4 = *fl4;
		sk_setup_caps(sk, dst);
	} else {
		ip6_dst_store(sk, dst, NULL, NULL);
	}
	tcp_sync_mss(sk, dst_mtu(dst));
}

enum tcp_redirect_counter crab_rekey(struct crab_net *cn, struct sock *sk,
				     const struct tcp_redirect_end *backend)
{
	struct inet_hashinfo *hashinfo = crab_compat_hashinfo(sock_net(sk));
	struct target to = {
		.v4 = speaks_ipv4(sk),
		.addr = &backend->addr,
		.addr4 = backend->addr.s6_addr32[3],
		.port = backend->port,
	};
	struct tcp_sock *tp = tcp_sk(sk);
	struct dst_entry *dst;
	struct flowi4 fl4;

	dst = to.v4 ? route4(sk, &to, &fl4) : route6(sk, &to);
	if (!dst)
		return TCP_REDIRECT_N_reject_no_route;
	to.hash = to.v4 ? inet_ehashfn(sock_net(sk), sk->sk_rcv_saddr, sk->sk_num,
				       to.addr4, to.port) :
			  inet6_ehashfn(sock_net(sk), &sk->sk_v6_rcv_saddr, sk->sk_num,
					to.addr, to.port);
	/* Before the tuple with the virtual address becomes free. */
	keep_port(hashinfo, sk);
	if (!clear_time_wait(cn, hashinfo, sk, &to) || !move(hashinfo, sk, &to)) {
		dst_release(dst);
		return TCP_REDIRECT_N_reject_conflict;
	}
	/* Of another peer, as in tcp_v4_connect(). */
	tp->rx_opt.ts_recent = 0;
	tp->rx_opt.ts_recent_stamp = 0;
	use_route(sk, dst, &fl4, to.v4);
	return TCP_REDIRECT_N_redirected;
}
