// SPDX-License-Identifier: GPL-2.0-only
/* See netlink.h: the family, what changes the configuration, and GET_INFO. Dumps: dump.c. */
#include "netlink.h"

#include <linux/module.h>
#include <net/genetlink.h>

#include "config.h"
#include "dump.h"
#include "pending.h"
#include "platform.h"

static const struct nla_policy service_policy[] = {
	[TCP_REDIRECT_SERVICE_A_ADDRESS] = NLA_POLICY_RANGE(NLA_BINARY, 4, 16),
	[TCP_REDIRECT_SERVICE_A_PORT] = { .type = NLA_U16 },
	[TCP_REDIRECT_SERVICE_A_FORM] = { .type = NLA_U8 },
	[TCP_REDIRECT_SERVICE_A_KEY] = NLA_POLICY_EXACT_LEN(CRAB_KEY_LEN),
};

static const struct nla_policy prefix_policy[] = {
	[TCP_REDIRECT_PREFIX_A_ADDRESS] = NLA_POLICY_RANGE(NLA_BINARY, 4, 16),
	[TCP_REDIRECT_PREFIX_A_LENGTH] = NLA_POLICY_MAX(NLA_U8, 128),
};

static const struct nla_policy set_policy[TCP_REDIRECT_A_MAX + 1] = {
	[TCP_REDIRECT_A_ROLES] = NLA_POLICY_MASK(NLA_U8, TCP_REDIRECT_ROLES_MASK),
	[TCP_REDIRECT_A_SERVICE] = NLA_POLICY_NESTED(service_policy),
	[TCP_REDIRECT_A_PREFIX] = NLA_POLICY_NESTED(prefix_policy),
};

static const struct nla_policy no_policy[TCP_REDIRECT_A_MAX + 1] = {};

/* An address attribute as 16 bytes. */
static int parse_address(const struct nlattr *attr, struct in6_addr *addr, bool *v4,
			 struct netlink_ext_ack *extack)
{
	*v4 = nla_len(attr) == sizeof(__be32);
	if (*v4) {
		ipv6_addr_set_v4mapped(nla_get_in_addr(attr), addr);
		return 0;
	}
	if (nla_len(attr) != sizeof(*addr)) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "address: neither 4 nor 16 bytes");
		return -EINVAL;
	}
	*addr = nla_get_in6_addr(attr);
	if (ipv6_addr_v4mapped(addr)) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "address: IPv4-mapped");
		return -EINVAL;
	}
	return 0;
}

static bool form_of_family(u8 form, bool v4)
{
	if (v4)
		return form == CRAB_OPT_LEN_ADDR || form == CRAB_OPT_LEN_ADDR_TAG ||
		       form == CRAB_PAPER_OPT_LEN;
	return form == CRAB_OPT_LEN_TAG;
}

static int parse_keys(const struct nlattr *nest, struct tcp_redirect_terms *terms,
		      struct netlink_ext_ack *extack)
{
	const struct nlattr *attr;
	int left;

	nla_for_each_nested(attr, nest, left) {
		if (nla_type(attr) != TCP_REDIRECT_SERVICE_A_KEY)
			continue;
		if (terms->form != CRAB_OPT_LEN_TAG &&
		    terms->form != CRAB_OPT_LEN_ADDR_TAG) {
			NL_SET_ERR_MSG_ATTR(extack, attr, "key: the form has no tag");
			return -EINVAL;
		}
		if (terms->n_keys == TCP_REDIRECT_MAX_KEYS) {
			NL_SET_ERR_MSG_ATTR(extack, attr, "key: more than two");
			return -E2BIG;
		}
		nla_memcpy(terms->keys[terms->n_keys++], attr, CRAB_KEY_LEN);
	}
	return 0;
}

static int parse_service(const struct nlattr *nest, struct tcp_redirect_config *config,
			 struct netlink_ext_ack *extack)
{
	struct nlattr *tb[ARRAY_SIZE(service_policy)];
	struct tcp_redirect_terms terms = {};
	struct tcp_redirect_end at = {};
	bool v4;
	int err;

	err = nla_parse_nested(tb, ARRAY_SIZE(tb) - 1, nest, service_policy, extack);
	if (err)
		return err;
	if (!tb[TCP_REDIRECT_SERVICE_A_ADDRESS] || !tb[TCP_REDIRECT_SERVICE_A_PORT] ||
	    !tb[TCP_REDIRECT_SERVICE_A_FORM]) {
		NL_SET_ERR_MSG_ATTR(extack, nest,
				    "service: address, port and form are required");
		return -EINVAL;
	}
	err = parse_address(tb[TCP_REDIRECT_SERVICE_A_ADDRESS], &at.addr, &v4, extack);
	if (err)
		return err;
	at.port = nla_get_be16(tb[TCP_REDIRECT_SERVICE_A_PORT]);
	if (!at.port) {
		NL_SET_ERR_MSG_ATTR(extack, tb[TCP_REDIRECT_SERVICE_A_PORT], "port: zero");
		return -EINVAL;
	}
	terms.form = nla_get_u8(tb[TCP_REDIRECT_SERVICE_A_FORM]);
	if (!form_of_family(terms.form, v4)) {
		NL_SET_ERR_MSG_ATTR(extack, tb[TCP_REDIRECT_SERVICE_A_FORM],
				    "form: none of the address's family");
		return -EINVAL;
	}
	err = parse_keys(nest, &terms, extack);
	if (!err && !tcp_redirect_config_add_service(config, &at, &terms)) {
		NL_SET_ERR_MSG_ATTR(extack, nest,
				    "service: two of one address and port");
		err = -EEXIST;
	}
	memzero_explicit(&terms, sizeof(terms));
	return err;
}

static int parse_prefix(const struct nlattr *nest, struct tcp_redirect_config *config,
			struct netlink_ext_ack *extack)
{
	struct nlattr *tb[ARRAY_SIZE(prefix_policy)];
	struct in6_addr addr;
	bool v4;
	int err;
	u8 len;

	err = nla_parse_nested(tb, ARRAY_SIZE(tb) - 1, nest, prefix_policy, extack);
	if (err)
		return err;
	if (!tb[TCP_REDIRECT_PREFIX_A_ADDRESS] || !tb[TCP_REDIRECT_PREFIX_A_LENGTH]) {
		NL_SET_ERR_MSG_ATTR(extack, nest, "prefix: address and length are required");
		return -EINVAL;
	}
	err = parse_address(tb[TCP_REDIRECT_PREFIX_A_ADDRESS], &addr, &v4, extack);
	if (err)
		return err;
	len = nla_get_u8(tb[TCP_REDIRECT_PREFIX_A_LENGTH]);
	if (v4 && len > 32) {
		NL_SET_ERR_MSG_ATTR(extack, tb[TCP_REDIRECT_PREFIX_A_LENGTH],
				    "length: more than 32 with IPv4");
		return -EINVAL;
	}
	tcp_redirect_config_add_prefix(config, &addr, v4 ? 96 + len : len, v4);
	return 0;
}

/* How many services and prefixes the message lists; -E2BIG names the first too many. */
static int count_lists(const struct genl_info *info, unsigned int *n_services,
		       unsigned int *n_prefixes)
{
	const struct nlattr *attr;
	int left;

	nlmsg_for_each_attr(attr, info->nlhdr, GENL_HDRLEN, left) {
		if (nla_type(attr) == TCP_REDIRECT_A_SERVICE &&
		    ++*n_services > TCP_REDIRECT_MAX_SERVICES) {
			NL_SET_ERR_MSG_ATTR(info->extack, attr,
					    "service: more than 4096");
			return -E2BIG;
		}
		if (nla_type(attr) == TCP_REDIRECT_A_PREFIX &&
		    ++*n_prefixes > TCP_REDIRECT_MAX_PREFIXES) {
			NL_SET_ERR_MSG_ATTR(info->extack, attr,
					    "prefix: more than 1024");
			return -E2BIG;
		}
	}
	return 0;
}

static int do_set(struct sk_buff *skb, struct genl_info *info)
{
	struct tcp_redirect_net *rn = tcp_redirect_net(genl_info_net(info));
	unsigned int n_services = 0, n_prefixes = 0;
	struct tcp_redirect_config *config;
	const struct nlattr *attr;
	int left, err;

	if (GENL_REQ_ATTR_CHECK(info, TCP_REDIRECT_A_ROLES)) {
		GENL_SET_ERR_MSG(info, "roles are required");
		return -EINVAL;
	}
	err = count_lists(info, &n_services, &n_prefixes);
	if (err)
		return err;
	config = tcp_redirect_config_alloc(n_services, n_prefixes);
	if (!config)
		return -ENOMEM;
	nlmsg_for_each_attr(attr, info->nlhdr, GENL_HDRLEN, left) {
		if (nla_type(attr) == TCP_REDIRECT_A_SERVICE)
			err = parse_service(attr, config, info->extack);
		else if (nla_type(attr) == TCP_REDIRECT_A_PREFIX)
			err = parse_prefix(attr, config, info->extack);
		if (err) {
			tcp_redirect_config_free(config);
			return err;
		}
	}
	return tcp_redirect_apply(rn, nla_get_u8(info->attrs[TCP_REDIRECT_A_ROLES]),
				  config);
}

static int put_info(struct sk_buff *reply, struct tcp_redirect_net *rn)
{
	const struct tcp_redirect_config *config;
	unsigned int n_services = 0, n_prefixes = 0;

	rcu_read_lock();
	config = rcu_dereference(rn->config);
	if (config) {
		n_services = config->n_services;
		n_prefixes = config->n_prefixes;
	}
	rcu_read_unlock();
	if (nla_put_u8(reply, TCP_REDIRECT_A_IMPLEMENTATION,
		       TCP_REDIRECT_IMPLEMENTATION) ||
	    nla_put_string(reply, TCP_REDIRECT_A_VERSION, TCP_REDIRECT_VERSION) ||
	    nla_put_u8(reply, TCP_REDIRECT_A_ROLES, tcp_redirect_roles(rn)) ||
	    nla_put_u32(reply, TCP_REDIRECT_A_N_SERVICES, n_services) ||
	    nla_put_u32(reply, TCP_REDIRECT_A_N_PREFIXES, n_prefixes) ||
	    nla_put_u32(reply, TCP_REDIRECT_A_N_PENDING, tcp_redirect_n_pending(rn)) ||
	    nla_put_u32(reply, TCP_REDIRECT_A_MAX_PENDING, TCP_REDIRECT_MAX_PENDING) ||
	    nla_put_u32(reply, TCP_REDIRECT_A_N_ECHOES,
			tcp_redirect_platform_n_echoes(rn)) ||
	    nla_put_u32(reply, TCP_REDIRECT_A_MAX_ECHOES, TCP_REDIRECT_MAX_ECHOES))
		return -EMSGSIZE;
	return 0;
}

static int do_get_info(struct sk_buff *skb, struct genl_info *info)
{
	struct sk_buff *reply = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	void *header;

	if (!reply)
		return -ENOMEM;
	header = genlmsg_put_reply(reply, info, &tcp_redirect_family, 0,
				   TCP_REDIRECT_CMD_GET_INFO);
	if (!header || put_info(reply, tcp_redirect_net(genl_info_net(info)))) {
		nlmsg_free(reply);
		return -EMSGSIZE;
	}
	genlmsg_end(reply, header);
	return genlmsg_reply(reply, info);
}

#define DUMP(command, function)						\
	{								\
		.cmd = TCP_REDIRECT_CMD_##command,			\
		.dumpit = function,					\
		.flags = GENL_UNS_ADMIN_PERM,				\
		.policy = no_policy,					\
		.maxattr = TCP_REDIRECT_A_MAX,				\
	}

static const struct genl_ops operations[] = {
	{
		.cmd = TCP_REDIRECT_CMD_GET_INFO,
		.doit = do_get_info,
		.policy = no_policy,
		.maxattr = TCP_REDIRECT_A_MAX,
	},
	{
		.cmd = TCP_REDIRECT_CMD_SET,
		.doit = do_set,
		.flags = GENL_UNS_ADMIN_PERM,
		.policy = set_policy,
		.maxattr = TCP_REDIRECT_A_MAX,
	},
	DUMP(GET_SERVICES, tcp_redirect_dump_services),
	DUMP(GET_PREFIXES, tcp_redirect_dump_prefixes),
	DUMP(GET_COUNTERS, tcp_redirect_dump_counters),
	DUMP(GET_ACCEPTED, tcp_redirect_dump_accepted),
};

struct genl_family tcp_redirect_family __ro_after_init = {
	.name = TCP_REDIRECT_GENL_NAME,
	.version = TCP_REDIRECT_GENL_VERSION,
	.maxattr = TCP_REDIRECT_A_MAX,
	.netnsok = true,
	.module = THIS_MODULE,
	.ops = operations,
	.n_ops = ARRAY_SIZE(operations),
	.resv_start_op = TCP_REDIRECT_CMD_UNSPEC + 1,
};

int tcp_redirect_netlink_register(void)
{
	return genl_register_family(&tcp_redirect_family);
}

void tcp_redirect_netlink_unregister(void)
{
	genl_unregister_family(&tcp_redirect_family);
}
