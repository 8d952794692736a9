/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Client: what the option of a SYN-ACK or RST has to prove before its socket
 * is looked at (docs/endpoints.md, "What a client checks", 3 to 6).  One of the files that
 * module and kernel patch share, see README.md.
 */
#ifndef TCP_REDIRECT_CHECK_H
#define TCP_REDIRECT_CHECK_H

#include "option.h"
#include "pending.h"

/* The two ends of a packet from a backend. */
struct tcp_redirect_path {
	struct tcp_redirect_end client, backend;
};

/*
 * The service that o itself names; false if its form does not (short echo,
 * IPv6) or the packet's family has no such form.
 */
bool tcp_redirect_named_service(const struct tcp_redirect_option *o,
				const struct tcp_redirect_path *path,
				struct tcp_redirect_end *service);

/*
 * The counter of the first check that o (filled, or short) fails;
 * TCP_REDIRECT_N_COUNTERS if it passes them all.  Under RCU.
 */
enum tcp_redirect_counter
tcp_redirect_check(const struct tcp_redirect_net *rn,
		   const struct tcp_redirect_option *o,
		   const struct tcp_redirect_path *path,
		   const struct tcp_redirect_pending *known);

#endif /* TCP_REDIRECT_CHECK_H */
