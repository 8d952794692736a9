/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * net.ipv4.tcp_redirect: the roles of a namespace, the same variable as
 * TCP_REDIRECT_A_ROLES.  One of the files that module and kernel patch share, see README.md.
 */
#ifndef TCP_REDIRECT_SYSCTL_H
#define TCP_REDIRECT_SYSCTL_H

#include "state.h"

int tcp_redirect_sysctl_register(struct tcp_redirect_net *rn);
/* Waits for writers; afterwards only netlink changes roles. */
void tcp_redirect_sysctl_unregister(struct tcp_redirect_net *rn);

#endif /* TCP_REDIRECT_SYSCTL_H */
