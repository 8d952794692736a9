/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Server: redirected connections whose handshake was completed, counted by the
 * server's address and port and the node that redirected.  Counts live as long as the namespace.
 * One of the files that module and kernel patch share, see README.md.
 */
#ifndef TCP_REDIRECT_ACCEPTED_H
#define TCP_REDIRECT_ACCEPTED_H

#include "state.h"

#define TCP_REDIRECT_MAX_ACCEPTED 4096	/* records in a namespace, 64 bytes each */

struct tcp_redirect_accepted {
	struct hlist_node node;
	struct tcp_redirect_end server;
	u8 by;		/* node, 1 to 255 */
	atomic64_t n;
};

/*
 * Counts one connection, in the counters too; by 0, where the option does not
 * say (paper form): there alone.  Any context but hard interrupts.
 */
void tcp_redirect_accepted_count(struct tcp_redirect_net *rn,
				 const struct tcp_redirect_end *server, u8 by);
void tcp_redirect_accepted_free(struct tcp_redirect_net *rn);

#endif /* TCP_REDIRECT_ACCEPTED_H */
