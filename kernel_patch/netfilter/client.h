/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The client role: a SYN is offered (offer.c), the SYN-ACK checked
 * (redirect.c), its socket re-keyed (rekey.c), at once or when its owner has released it
 * (defer.c); refusals and ICMP errors find their socket (refusal.c, icmp.c).
 *
 * The hooks' functions return netfilter verdicts and run under RCU with softirqs off, but
 * for crab_offer(), which may run in process context.
 */
#ifndef CRAB_CLIENT_H
#define CRAB_CLIENT_H

#include <linux/netfilter.h>

#include "check.h"
#include "crab_net.h"
#include "segment.h"

/* An offered connection and the answer to it. */
struct crab_answer {
	struct tcp_redirect_path path;
	struct tcp_redirect_pending known;
	u32 ack;
	bool is_short;
};

/* LOCAL_OUT: a SYN of sk, which is in SYN-SENT. */
void crab_offer(struct crab_net *cn, struct crab_segment *s, const struct sock *sk);

/* LOCAL_IN */
unsigned int crab_receive_syn_ack(struct crab_net *cn, struct crab_segment *s,
				  const struct nf_hook_state *state);
unsigned int crab_receive_rst(struct crab_net *cn, struct crab_segment *s);
unsigned int crab_receive_icmp(struct crab_net *cn, struct sk_buff *skb, bool v4);

/*
 * The socket in the established hash (any state, perhaps TIME-WAIT or a request)
 * to which remote is connected from local, as a packet that came in by skb would find it;
 * with a reference, for sock_gen_put().
 */
struct sock *crab_find_socket(struct net *net, const struct sk_buff *skb,
			      const struct tcp_redirect_end *remote,
			      const struct tcp_redirect_end *local);

/*
 * The last checks and the re-keying; the caller owns sk, or holds its lock with
 * nobody owning it.  Counts what comes of it; skb is delivered by the caller in any case.
 */
void crab_answer_socket(struct crab_net *cn, struct sock *sk, struct sk_buff *skb,
			const struct crab_answer *answer);

/*
 * Makes backend the remote end of sk, which is in SYN-SENT: TCP_REDIRECT_N_redirected,
 * or why not, and then sk is as it was.
 */
enum tcp_redirect_counter crab_rekey(struct crab_net *cn, struct sock *sk,
				     const struct tcp_redirect_end *backend);

/*
 * Keeps the segment until sk's owner has released it, then answers and delivers
 * it.  Takes over the reference to sk; returns the verdict.
 */
unsigned int crab_defer(struct crab_net *cn, struct sock *sk, struct sk_buff *skb,
			const struct crab_answer *answer,
			const struct nf_hook_state *state);
int crab_defer_init(void);
/*
 * Until the namespace's are all delivered; its hooks have come to rest before.
 * Not for other namespaces': whoever holds his own socket for long holds up himself alone.
 */
void crab_defer_wait(struct crab_net *cn);
void crab_defer_exit(void);

#endif /* CRAB_CLIENT_H */
