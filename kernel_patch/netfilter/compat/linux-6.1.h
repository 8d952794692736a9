/* SPDX-License-Identifier: GPL-2.0-only */
/* Where Linux 6.1 keeps TCP's tables. */
#ifndef CRAB_COMPAT_LINUX_6_1_H
#define CRAB_COMPAT_LINUX_6_1_H

#include <net/inet_connection_sock.h>
#include <net/inet_hashtables.h>
#include <net/inet6_hashtables.h>

/* TCP's tables: a namespace may have an established hash of its own (since 6.1). */
static inline struct inet_hashinfo *crab_compat_hashinfo(const struct net *net)
{
	return net->ipv4.tcp_death_row.hashinfo;
}

/* The bucket whose lock guards icsk_bind_hash's reuse flags (struct net * since 6.1). */
static inline struct inet_bind_hashbucket *
crab_compat_bind_bucket(struct inet_hashinfo *hashinfo, const struct sock *sk)
{
	return &hashinfo->bhash[inet_bhashfn(sock_net(sk), inet_sk(sk)->inet_num,
					     hashinfo->bhash_size)];
}

#endif /* CRAB_COMPAT_LINUX_6_1_H */
