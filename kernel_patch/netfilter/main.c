// SPDX-License-Identifier: GPL-2.0-only
/*
 * crab_redirect: connection redirection as a netfilter module.  The client's
 * socket is re-keyed to its backend once, when the SYN-ACK comes, and from then on nothing is
 * done to its packets.  docs/endpoints.md says how to use it, README.md how it is made.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <net/genetlink.h>

#include "accepted.h"
#include "client.h"
#include "config.h"
#include "echo_table.h"
#include "hooks.h"
#include "netlink.h"
#include "platform.h"
#include "socket_states.h"
#include "sysctl.h"

unsigned int crab_net_id __read_mostly;

static int __net_init init_net_state(struct net *net)
{
	struct crab_net *cn = crab_net(net);

	cn->counters = alloc_percpu(struct crab_counters);
	if (!cn->counters)
		return -ENOMEM;
	tcp_redirect_net_init(&cn->shared, net);
	return 0;
}

static void __net_exit stop_net_state(struct net *net)
{
	crab_hooks_stop(crab_net(net));
}

/* A grace period after the last stop_net_state(). */
static void __net_exit exit_net_state(struct list_head *nets)
{
	struct net *net;

	list_for_each_entry(net, nets, exit_list) {
		struct crab_net *cn = crab_net(net);

		crab_defer_wait(cn);
		crab_echoes_free(cn);
		tcp_redirect_net_exit(&cn->shared);
		free_percpu(cn->counters);
	}
}

static struct pernet_operations state_ops = {
	.init = init_net_state,
	.pre_exit = stop_net_state,
	.exit_batch = exit_net_state,
	.id = &crab_net_id,
	.size = sizeof(struct crab_net),
};

/* Apart, so that the netlink family is known to be ours before a namespace shows the sysctl. */
static int __net_init init_net_sysctl(struct net *net)
{
	return tcp_redirect_sysctl_register(tcp_redirect_net(net));
}

static void __net_exit exit_net_sysctl(struct net *net)
{
	tcp_redirect_sysctl_unregister(tcp_redirect_net(net));
}

static struct pernet_operations sysctl_ops = {
	.init = init_net_sysctl,
	.pre_exit = exit_net_sysctl,
};

static int __init crab_init(void)
{
	int err;

	err = crab_defer_init();
	if (err)
		return err;
	err = register_pernet_subsys(&state_ops);
	if (err)
		goto undo_defer;
	err = tcp_redirect_netlink_register();
	if (err) {
		if (err == -EEXIST)
			pr_err("this kernel redirects by itself (netlink family tcp_redirect); the module is not needed\n");
		goto undo_state;
	}
	err = register_pernet_subsys(&sysctl_ops);
	if (err)
		goto undo_netlink;
	err = crab_socket_states_watch();
	if (err) {
		pr_err("no tracepoint inet_sock_set_state: %d\n", err);
		goto undo_sysctl;
	}
	return 0;

undo_sysctl:
	unregister_pernet_subsys(&sysctl_ops);
undo_netlink:
	tcp_redirect_netlink_unregister();
undo_state:
	unregister_pernet_subsys(&state_ops);
undo_defer:
	crab_defer_exit();
	rcu_barrier();
	return err;
}

/*
 * Nothing new is asked for, then no packet is seen, then what waits is
 * delivered.  Connections that are re-keyed need the module no more.
 */
static void __exit crab_exit(void)
{
	unregister_pernet_subsys(&sysctl_ops);
	tcp_redirect_netlink_unregister();
	crab_socket_states_unwatch();
	unregister_pernet_subsys(&state_ops);
	crab_defer_exit();
	/* Configurations that were replaced. */
	rcu_barrier();
}

module_init(crab_init);
module_exit(crab_exit);

MODULE_DESCRIPTION("Crab: TCP connection redirection without per-packet cost");
MODULE_AUTHOR("The Crab authors");
MODULE_LICENSE("GPL");
MODULE_VERSION(CRAB_VERSION);
MODULE_ALIAS_GENL_FAMILY(TCP_REDIRECT_GENL_NAME);
