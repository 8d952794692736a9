/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Client: the connections whose offered SYN is out and not answered yet, by
 * {client address, port, ISN}.  Bounded: a full table refuses what is new and forgets
 * nobody.  An entry goes when its socket leaves SYN-SENT, or else when it expires.
 *
 * One of the files that module and kernel patch share, see README.md.
 */
#ifndef TCP_REDIRECT_PENDING_H
#define TCP_REDIRECT_PENDING_H

#include "config.h"

#define TCP_REDIRECT_MAX_PENDING 65536	/* in a namespace; about 200 bytes each */
/* Longer than the last of tcp_syn_retries = 6 retransmissions takes (RFC 6298, about 127 s). */
#define TCP_REDIRECT_PENDING_LIFETIME (200 * HZ)

struct sock;

/* What a look-up copies out. */
struct tcp_redirect_pending {
	struct tcp_redirect_end service;
	/* As they were when the offer was made: a removed service ends no handshake. */
	struct tcp_redirect_terms terms;
	u32 isn;
};

/* The table itself, once; -ENOMEM. Caller holds rn->lock; afterwards packets may use it. */
int tcp_redirect_pending_start(struct tcp_redirect_net *rn);
void tcp_redirect_pending_free(struct tcp_redirect_net *rn);
unsigned int tcp_redirect_n_pending(const struct tcp_redirect_net *rn);

/*
 * All below: any context but hard interrupts; owner is an identity and never
 * dereferenced.
 */

/* -ENOSPC: the table is full. -ENOMEM. */
int tcp_redirect_pending_add(struct tcp_redirect_net *rn,
			     const struct tcp_redirect_end *client, u32 isn,
			     const struct sock *owner,
			     const struct tcp_redirect_service *service);

/* Copies the entry out, if there is one; renew gives it another lifetime. */
bool tcp_redirect_pending_find(struct tcp_redirect_net *rn,
			       const struct tcp_redirect_end *client, u32 isn,
			       bool renew, struct tcp_redirect_pending *out);

/*
 * Removes what owner has pending at this address and port; *out is what it
 * was.  False: nothing.  Needs no ISN, which an established socket no longer knows.
 */
bool tcp_redirect_pending_end(struct tcp_redirect_net *rn,
			      const struct tcp_redirect_end *client,
			      const struct sock *owner,
			      struct tcp_redirect_pending *out);

#endif /* TCP_REDIRECT_PENDING_H */
