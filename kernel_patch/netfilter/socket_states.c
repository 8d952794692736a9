// SPDX-License-Identifier: GPL-2.0-only
/*
 * See socket_states.h.  The tracepoint is not exported to modules, so it is
 * found by its name.
 */
#include "socket_states.h"

#include <linux/string.h>
#include <linux/tracepoint.h>
#include <net/inet_sock.h>
#include <net/tcp.h>
#include <net/tcp_states.h>

#include "accepted.h"
#include "crab_net.h"
#include "echo_table.h"
#include "pending.h"
#include "platform.h"

static struct tracepoint *set_state;

/* inet_sport and not sk_num: a socket that closes has given its port back by now. */
static bool local_end(const struct sock *sk, struct tcp_redirect_end *end)
{
	if (sk->sk_family == AF_INET)
		ipv6_addr_set_v4mapped(sk->sk_rcv_saddr, &end->addr);
	else if (sk->sk_family == AF_INET6)
		end->addr = sk->sk_v6_rcv_saddr;
	else
		return false;
	end->port = inet_sk(sk)->inet_sport;
	return true;
}

static void remote_end(const struct sock *sk, struct tcp_redirect_end *end)
{
	if (sk->sk_family == AF_INET)
		ipv6_addr_set_v4mapped(sk->sk_daddr, &end->addr);
	else
		end->addr = sk->sk_v6_daddr;
	end->port = sk->sk_dport;
}

/* Client: sk has left SYN-SENT. */
static void end_pending(struct crab_net *cn, const struct sock *sk, int state)
{
	struct tcp_redirect_end local, remote;
	struct tcp_redirect_pending was;

	if (!local_end(sk, &local) ||
	    !tcp_redirect_pending_end(&cn->shared, &local, sk, &was))
		return;
	remote_end(sk, &remote);
	if (state == TCP_ESTABLISHED && tcp_redirect_end_equal(&remote, &was.service))
		tcp_redirect_count(&cn->shared,
				   TCP_REDIRECT_N_established_without_redirect);
}

/* Server: the handshake of sk is complete. */
static void count_accepted(struct crab_net *cn, const struct sock *sk)
{
	struct tcp_redirect_end local, remote;
	struct crab_echo echo;

	if (!local_end(sk, &local))
		return;
	remote_end(sk, &remote);
	if (crab_echoes_take(cn, &local, &remote, READ_ONCE(tcp_sk(sk)->rcv_nxt), true,
			     &echo))
		tcp_redirect_accepted_count(&cn->shared, &local,
					    tcp_redirect_option_node(&echo.option));
}

static void on_set_state(void *data, const struct sock *sk, const int from, const int to)
{
	struct net *net = sock_net(sk);
	struct crab_net *cn;

	if (from != TCP_SYN_SENT && (from != TCP_SYN_RECV || to != TCP_ESTABLISHED))
		return;
	/*
	 * A socket of the kernel may outlive its namespace, whose state the module
	 * frees a grace period after the last reference has gone.
	 */
	if (sk->sk_protocol != IPPROTO_TCP || !check_net(net))
		return;
	cn = crab_net(net);
	if (!tcp_redirect_roles(&cn->shared))
		return;
	if (from == TCP_SYN_SENT)
		end_pending(cn, sk, to);
	else
		count_accepted(cn, sk);
}

static void match_name(struct tracepoint *tracepoint, void *found)
{
	if (!strcmp(tracepoint->name, "inet_sock_set_state"))
		*(struct tracepoint **)found = tracepoint;
}

int crab_socket_states_watch(void)
{
	for_each_kernel_tracepoint(match_name, &set_state);
	if (!set_state)
		return -ENOENT;
	return tracepoint_probe_register(set_state, on_set_state, NULL);
}

void crab_socket_states_unwatch(void)
{
	tracepoint_probe_unregister(set_state, on_set_state, NULL);
	tracepoint_synchronize_unregister();
}
