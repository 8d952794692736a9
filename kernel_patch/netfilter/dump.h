/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The dumps of the generic netlink family.  One of the files that module and
 * kernel patch share, see README.md.
 */
#ifndef TCP_REDIRECT_DUMP_H
#define TCP_REDIRECT_DUMP_H

struct genl_family;
struct netlink_callback;
struct sk_buff;

extern struct genl_family tcp_redirect_family;	/* netlink.c */

int tcp_redirect_dump_services(struct sk_buff *skb, struct netlink_callback *cb);
int tcp_redirect_dump_prefixes(struct sk_buff *skb, struct netlink_callback *cb);
int tcp_redirect_dump_counters(struct sk_buff *skb, struct netlink_callback *cb);
int tcp_redirect_dump_accepted(struct sk_buff *skb, struct netlink_callback *cb);

#endif /* TCP_REDIRECT_DUMP_H */
