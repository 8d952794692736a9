// SPDX-License-Identifier: GPL-2.0-only
/* See sysctl.h. */
#include "sysctl.h"

#include <linux/slab.h>
#include <linux/sysctl.h>

#include "config.h"

static int roles_max = TCP_REDIRECT_ROLES_MASK;

static int handle_roles(struct ctl_table *table, int write, void *buffer,
			size_t *lenp, loff_t *ppos)
{
	struct tcp_redirect_net *rn = table->extra1;
	int roles = tcp_redirect_roles(rn);
	struct ctl_table copy = {
		.procname = table->procname,
		.data = &roles,
		.maxlen = sizeof(roles),
		.mode = table->mode,
		.extra1 = SYSCTL_ZERO,
		.extra2 = &roles_max,
	};
	int err = proc_dointvec_minmax(&copy, write, buffer, lenp, ppos);

	if (err || !write)
		return err;
	return tcp_redirect_apply(rn, roles, NULL);
}

int tcp_redirect_sysctl_register(struct tcp_redirect_net *rn)
{
	struct ctl_table *table;

	/* One entry and the empty one that ends a table. */
	table = kcalloc(2, sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return -ENOMEM;
	table[0].procname = "tcp_redirect";
	table[0].maxlen = sizeof(int);
	table[0].mode = 0644;
	table[0].proc_handler = handle_roles;
	table[0].extra1 = rn;
	rn->sysctl = register_net_sysctl(rn->net, "net/ipv4", table);
	if (!rn->sysctl) {
		kfree(table);
		return -ENOMEM;
	}
	return 0;
}

void tcp_redirect_sysctl_unregister(struct tcp_redirect_net *rn)
{
	struct ctl_table *table = rn->sysctl->ctl_table_arg;

	unregister_net_sysctl_table(rn->sysctl);
	kfree(table);
	rn->sysctl = NULL;
}
