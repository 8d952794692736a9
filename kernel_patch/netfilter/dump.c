// SPDX-License-Identifier: GPL-2.0-only
/* See dump.h.  cb->args holds where the next message goes on. */
#include "dump.h"

#include <linux/rculist.h>
#include <net/genetlink.h>
#include <net/sock.h>

#include "accepted.h"
#include "config.h"
#include "platform.h"

static struct tcp_redirect_net *net_of(const struct sk_buff *skb)
{
	return tcp_redirect_net(sock_net(skb->sk));
}

/* The message's header; NULL when skb is full. */
static void *begin(struct sk_buff *skb, struct netlink_callback *cb, u8 cmd)
{
	return genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
			   &tcp_redirect_family, NLM_F_MULTI, cmd);
}

static int put_address(struct sk_buff *skb, int type, const struct in6_addr *addr)
{
	return ipv6_addr_v4mapped(addr) ?
		       nla_put_in_addr(skb, type, addr->s6_addr32[3]) :
		       nla_put_in6_addr(skb, type, addr);
}

static int put_service(struct sk_buff *skb, struct netlink_callback *cb,
		       const struct tcp_redirect_service *service)
{
	void *header = begin(skb, cb, TCP_REDIRECT_CMD_GET_SERVICES);
	struct nlattr *nest;

	if (!header)
		return -EMSGSIZE;
	nest = nla_nest_start(skb, TCP_REDIRECT_A_SERVICE);
	if (!nest ||
	    put_address(skb, TCP_REDIRECT_SERVICE_A_ADDRESS, &service->at.addr) ||
	    nla_put_be16(skb, TCP_REDIRECT_SERVICE_A_PORT, service->at.port) ||
	    nla_put_u8(skb, TCP_REDIRECT_SERVICE_A_FORM, service->terms.form) ||
	    nla_put_u8(skb, TCP_REDIRECT_SERVICE_A_N_KEYS, service->terms.n_keys)) {
		genlmsg_cancel(skb, header);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	genl_dump_check_consistent(cb, header);
	genlmsg_end(skb, header);
	return 0;
}

static int put_prefix(struct sk_buff *skb, struct netlink_callback *cb,
		      const struct tcp_redirect_prefix *prefix)
{
	void *header = begin(skb, cb, TCP_REDIRECT_CMD_GET_PREFIXES);
	struct nlattr *nest;
	int err;

	if (!header)
		return -EMSGSIZE;
	nest = nla_nest_start(skb, TCP_REDIRECT_A_PREFIX);
	if (!nest)
		goto full;
	if (prefix->v4)
		err = nla_put_in_addr(skb, TCP_REDIRECT_PREFIX_A_ADDRESS,
				      prefix->addr.s6_addr32[3]);
	else
		err = nla_put_in6_addr(skb, TCP_REDIRECT_PREFIX_A_ADDRESS,
				       &prefix->addr);
	if (err || nla_put_u8(skb, TCP_REDIRECT_PREFIX_A_LENGTH,
			      prefix->v4 ? prefix->len - 96 : prefix->len))
		goto full;
	nla_nest_end(skb, nest);
	genl_dump_check_consistent(cb, header);
	genlmsg_end(skb, header);
	return 0;

full:
	genlmsg_cancel(skb, header);
	return -EMSGSIZE;
}

int tcp_redirect_dump_services(struct sk_buff *skb, struct netlink_callback *cb)
{
	const struct tcp_redirect_config *config;

	rcu_read_lock();
	config = rcu_dereference(net_of(skb)->config);
	if (config) {
		cb->seq = config->generation;
		while (cb->args[0] < config->n_services &&
		       !put_service(skb, cb, &config->services[cb->args[0]]))
			cb->args[0]++;
	}
	rcu_read_unlock();
	return skb->len;
}

int tcp_redirect_dump_prefixes(struct sk_buff *skb, struct netlink_callback *cb)
{
	const struct tcp_redirect_config *config;

	rcu_read_lock();
	config = rcu_dereference(net_of(skb)->config);
	if (config) {
		cb->seq = config->generation;
		while (cb->args[0] < config->n_prefixes &&
		       !put_prefix(skb, cb, &config->prefixes[cb->args[0]]))
			cb->args[0]++;
	}
	rcu_read_unlock();
	return skb->len;
}

static const char *const counter_names[TCP_REDIRECT_N_COUNTERS] = {
#define COUNTER_NAME(name, camel, meaning) \
	[TCP_REDIRECT_N_##name] = #name,
	TCP_REDIRECT_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
};

static int put_counter(struct sk_buff *skb, struct netlink_callback *cb,
		       const char *name, u64 value)
{
	void *header = begin(skb, cb, TCP_REDIRECT_CMD_GET_COUNTERS);
	struct nlattr *nest;

	if (!header)
		return -EMSGSIZE;
	nest = nla_nest_start(skb, TCP_REDIRECT_A_COUNTER);
	if (!nest || nla_put_string(skb, TCP_REDIRECT_COUNTER_A_NAME, name) ||
	    nla_put_u64_64bit(skb, TCP_REDIRECT_COUNTER_A_VALUE, value,
			      TCP_REDIRECT_COUNTER_A_PAD)) {
		genlmsg_cancel(skb, header);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	genlmsg_end(skb, header);
	return 0;
}

int tcp_redirect_dump_counters(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct tcp_redirect_net *rn = net_of(skb);

	while (cb->args[0] < TCP_REDIRECT_N_COUNTERS &&
	       !put_counter(skb, cb, counter_names[cb->args[0]],
			    tcp_redirect_counter_value(rn, cb->args[0])))
		cb->args[0]++;
	return skb->len;
}

static int put_accepted(struct sk_buff *skb, struct netlink_callback *cb,
			const struct tcp_redirect_accepted *a)
{
	void *header = begin(skb, cb, TCP_REDIRECT_CMD_GET_ACCEPTED);
	struct nlattr *nest;

	if (!header)
		return -EMSGSIZE;
	nest = nla_nest_start(skb, TCP_REDIRECT_A_ACCEPTED);
	if (!nest ||
	    put_address(skb, TCP_REDIRECT_ACCEPTED_A_ADDRESS, &a->server.addr) ||
	    nla_put_be16(skb, TCP_REDIRECT_ACCEPTED_A_PORT, a->server.port) ||
	    nla_put_u8(skb, TCP_REDIRECT_ACCEPTED_A_NODE, a->by) ||
	    nla_put_u64_64bit(skb, TCP_REDIRECT_ACCEPTED_A_COUNT,
			      atomic64_read(&a->n), TCP_REDIRECT_ACCEPTED_A_PAD)) {
		genlmsg_cancel(skb, header);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	genlmsg_end(skb, header);
	return 0;
}

int tcp_redirect_dump_accepted(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct tcp_redirect_net *rn = net_of(skb);
	const struct tcp_redirect_accepted *a;
	long n;

	/*
	 * args: the bucket, and how many of its records are behind us.  New ones go to
	 * a bucket's end and none is ever removed, so none comes twice.
	 */
	rcu_read_lock();
	for (; cb->args[0] < TCP_REDIRECT_ACCEPTED_BUCKETS; cb->args[0]++, cb->args[1] = 0) {
		const struct hlist_head *bucket = &rn->accepted.bucket[cb->args[0]];

		n = 0;
		hlist_for_each_entry_rcu(a, bucket, node) {
			if (n++ < cb->args[1])
				continue;
			if (put_accepted(skb, cb, a))
				goto out;
			cb->args[1]++;
		}
	}
out:
	rcu_read_unlock();
	return skb->len;
}
