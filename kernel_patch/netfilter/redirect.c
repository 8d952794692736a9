// SPDX-License-Identifier: GPL-2.0-only
/*
 * Client: what a SYN-ACK must be before it may touch a socket, in the order of
 * docs/endpoints.md, "What a client checks".  One that fails goes on unchanged, finds no socket
 * and is answered with a RST by the kernel.  At LOCAL_IN, after the firewall: what that drops
 * has no effect.
 */
#include <net/inet_hashtables.h>
#include <net/inet6_hashtables.h>
#include <net/tcp.h>

#include "client.h"
#include "compat/compat.h"
#include "platform.h"

struct sock *crab_find_socket(struct net *net, const struct sk_buff *skb,
			      const struct tcp_redirect_end *remote,
			      const struct tcp_redirect_end *local)
{
	struct inet_hashinfo *hashinfo = crab_compat_hashinfo(net);

	if (ipv6_addr_v4mapped(&remote->addr))
		return __inet_lookup_established(net, hashinfo,
						 remote->addr.s6_addr32[3],
						 remote->port,
						 local->addr.s6_addr32[3],
						 ntohs(local->port),
						 inet_iif(skb), inet_sdif(skb));
	return __inet6_lookup_established(net, hashinfo, &remote->addr, remote->port,
					  &local->addr, ntohs(local->port),
					  inet6_iif(skb), inet6_sdif(skb));
}

/*
 * Whether the segment is a live connection's own: a repeated SYN-ACK after the
 * redirect.  TCP knows what to do with it.
 */
static bool has_socket(struct net *net, const struct crab_segment *s)
{
	struct sock *sk = crab_find_socket(net, s->skb, &s->src, &s->dst);
	bool live;

	if (!sk)
		return false;
	live = sk->sk_state != TCP_TIME_WAIT;
	sock_gen_put(sk);
	return live;
}

static void reject(struct crab_net *cn, const struct crab_segment *s,
		   enum tcp_redirect_counter why)
{
	if (!has_socket(cn->shared.net, s))
		tcp_redirect_count(&cn->shared, why);
}

/*
 * The pending connection that a SYN-ACK answers.  Without data in the SYN its
 * ACK leads there; with data (or in a forgery) only the socket that the option names knows the
 * ISN.  False: counted.
 */
static bool find_pending(struct crab_net *cn, const struct crab_segment *s,
			 const struct tcp_redirect_option *o, struct crab_answer *answer)
{
	struct tcp_redirect_end service;
	enum tcp_redirect_counter why;
	bool found = false;
	struct sock *sk;

	if (tcp_redirect_pending_find(&cn->shared, &s->dst, s->ack - 1, false,
				      &answer->known))
		return true;
	sk = tcp_redirect_named_service(o, &answer->path, &service) ?
		     crab_find_socket(cn->shared.net, s->skb, &service, &s->dst) : NULL;
	if (!sk) {
		reject(cn, s, TCP_REDIRECT_N_reject_not_pending);
		return false;
	}
	why = TCP_REDIRECT_N_reject_not_syn_sent;
	if (sk->sk_state == TCP_SYN_SENT) {
		/* Constant in this state. */
		found = tcp_redirect_pending_find(&cn->shared, &s->dst,
						  READ_ONCE(tcp_sk(sk)->snd_una), false,
						  &answer->known);
		why = TCP_REDIRECT_N_reject_not_pending;
	}
	sock_gen_put(sk);
	if (!found)
		tcp_redirect_count(&cn->shared, why);
	return found;
}

/* Why nothing more can be said about the option; TCP_REDIRECT_N_COUNTERS: it can. */
static enum tcp_redirect_counter unusable(const struct crab_segment *s,
					  const struct tcp_redirect_option *o)
{
	if (!crab_checksum_valid(s))
		return TCP_REDIRECT_N_reject_checksum;
	if (o->state == TCP_REDIRECT_OPTION_MALFORMED)
		return TCP_REDIRECT_N_reject_malformed;
	if (o->state == TCP_REDIRECT_OPTION_OFFER)
		return TCP_REDIRECT_N_reject_unfilled;
	return TCP_REDIRECT_N_COUNTERS;
}

/* Everything that needs no socket; false: counted, if it is to be. */
static bool check_option(struct crab_net *cn, const struct crab_segment *s,
			 struct crab_answer *answer)
{
	struct tcp_redirect_option o;
	enum tcp_redirect_counter why;

	tcp_redirect_find_option(crab_options(s), crab_options_len(s), &o);
	if (o.state == TCP_REDIRECT_OPTION_ABSENT)
		return false;
	why = unusable(s, &o);
	if (why == TCP_REDIRECT_N_COUNTERS) {
		if (!find_pending(cn, s, &o, answer))
			return false;
		why = tcp_redirect_check(&cn->shared, &o, &answer->path, &answer->known);
	}
	if (why != TCP_REDIRECT_N_COUNTERS) {
		tcp_redirect_count(&cn->shared, why);
		return false;
	}
	answer->is_short = o.state == TCP_REDIRECT_OPTION_SHORT;
	return true;
}

static bool still_at(const struct sock *sk, const struct tcp_redirect_end *service)
{
	if (sk->sk_dport != service->port)
		return false;
	return ipv6_addr_v4mapped(&service->addr) ?
		       sk->sk_daddr == service->addr.s6_addr32[3] :
		       ipv6_addr_equal(&sk->sk_v6_daddr, &service->addr);
}

static enum tcp_redirect_counter answer_socket(struct crab_net *cn, struct sock *sk,
					       const struct crab_answer *answer)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	if (sk->sk_state != TCP_SYN_SENT || !still_at(sk, &answer->known.service))
		return TCP_REDIRECT_N_reject_not_syn_sent;
	/* RFC 9293, 3.10.7.3. Not earlier: tcp_connect() moves snd_nxt after the SYN has left. */
	if (tp->snd_una != answer->known.isn || !after(answer->ack, tp->snd_una) ||
	    after(answer->ack, tp->snd_nxt))
		return TCP_REDIRECT_N_reject_bad_ack;
	return crab_rekey(cn, sk, &answer->path.backend);
}

void crab_answer_socket(struct crab_net *cn, struct sock *sk, struct sk_buff *skb,
			const struct crab_answer *answer)
{
	enum tcp_redirect_counter verdict = answer_socket(cn, sk, answer);

	/* The same answer twice, both deferred: the first one has done it. */
	if (verdict == TCP_REDIRECT_N_reject_not_syn_sent &&
	    still_at(sk, &answer->path.backend))
		return;
	tcp_redirect_count(&cn->shared, verdict);
	if (verdict != TCP_REDIRECT_N_redirected)
		return;
	if (answer->is_short)
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_redirected_short);
	/* Early demultiplexing has found the TIME-WAIT that was on this tuple. */
	skb_orphan(skb);
}

unsigned int crab_receive_syn_ack(struct crab_net *cn, struct crab_segment *s,
				  const struct nf_hook_state *state)
{
	struct crab_answer answer = {
		.path = { .client = s->dst, .backend = s->src },
		.ack = s->ack,
	};
	unsigned int verdict = NF_ACCEPT;
	struct sock *sk;

	if (!check_option(cn, s, &answer))
		return NF_ACCEPT;
	sk = crab_find_socket(cn->shared.net, s->skb, &answer.known.service, &s->dst);
	/* Not yet a reason to look inside: it may be TIME-WAIT's. */
	if (!sk || sk->sk_state != TCP_SYN_SENT) {
		reject(cn, s, TCP_REDIRECT_N_reject_not_syn_sent);
		if (sk)
			sock_gen_put(sk);
		return NF_ACCEPT;
	}
	bh_lock_sock_nested(sk);
	if (sock_owned_by_user(sk))
		verdict = NF_STOLEN;
	else
		crab_answer_socket(cn, sk, s->skb, &answer);
	bh_unlock_sock(sk);
	if (verdict == NF_STOLEN)
		return crab_defer(cn, sk, s->skb, &answer, state);
	sock_put(sk);
	return NF_ACCEPT;
}
