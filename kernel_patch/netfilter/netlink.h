/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The generic netlink family "tcp_redirect", whose contract is in uapi.  One of
 * the files that module and kernel patch share, see README.md.
 */
#ifndef TCP_REDIRECT_NETLINK_KERNEL_H
#define TCP_REDIRECT_NETLINK_KERNEL_H

/* -EEXIST: another implementation has it. */
int tcp_redirect_netlink_register(void);
void tcp_redirect_netlink_unregister(void);

#endif /* TCP_REDIRECT_NETLINK_KERNEL_H */
