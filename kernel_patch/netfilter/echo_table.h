/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Server: the options of redirected SYNs whose handshake is under way, by
 * {server, client}.
 *
 * Bounded by CRAB_MAX_ECHOES, spread over shards by a keyed hash.  A full shard's
 * oldest entry makes way if its SYN came more than a second ago: a handshake inside a
 * datacentre is over by then, and what such an entry still serves is a SYN-ACK sent again.  If
 * all are younger, the new SYN is refused: however many SYNs a flood brings, each one that was
 * admitted keeps its entry for a second.  An entry goes when its handshake is over, and else
 * after CRAB_ECHO_LIFETIME without a SYN or SYN-ACK.
 */
#ifndef CRAB_ECHO_TABLE_H
#define CRAB_ECHO_TABLE_H

#include "crab_net.h"
#include "option.h"

#define CRAB_ECHO_PROTECTED HZ
/* Longer than the gap before the sixth SYN-ACK (net.ipv4.tcp_synack_retries = 5: 32 s). */
#define CRAB_ECHO_LIFETIME (70 * HZ)

struct crab_echo {
	u32 isn;
	u32 syn_len;	/* sequence numbers that the SYN takes: 1 + its data */
	unsigned int n_sent;	/* SYN-ACKs that left with the option before */
	struct tcp_redirect_option option;
};

/* The table itself, once; -ENOMEM. Under shared.lock. */
int crab_echoes_start(struct crab_net *cn);
void crab_echoes_free(struct crab_net *cn);

/* All below: any context but hard interrupts. */

/* -ENOSPC: full. -ENOMEM. A SYN that is there already begins anew. */
int crab_echoes_keep(struct crab_net *cn, const struct tcp_redirect_end *server,
		     const struct tcp_redirect_end *client,
		     const struct crab_echo *echo);

/*
 * Copies out the entry whose SYN ack acknowledges; false if there is none.
 * forget removes it, else one more SYN-ACK is counted as sent.
 */
bool crab_echoes_take(struct crab_net *cn, const struct tcp_redirect_end *server,
		      const struct tcp_redirect_end *client, u32 ack, bool forget,
		      struct crab_echo *out);

#endif /* CRAB_ECHO_TABLE_H */
