/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ends of handshakes, seen at the tracepoint inet_sock_set_state: it is
 * passed a few times in a connection's life and costs its packets nothing.
 */
#ifndef CRAB_SOCKET_STATES_H
#define CRAB_SOCKET_STATES_H

/* -ENOENT: the kernel has no such tracepoint. */
int crab_socket_states_watch(void);
/* No probe runs when it returns. */
void crab_socket_states_unwatch(void);

#endif /* CRAB_SOCKET_STATES_H */
