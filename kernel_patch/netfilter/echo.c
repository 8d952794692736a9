// SPDX-License-Identifier: GPL-2.0-only
/* See server.h.  Listeners need not know, so those that exist already are served too. */
#include "echo_table.h"
#include "platform.h"
#include "server.h"

void crab_keep_option(struct crab_net *cn, const struct crab_segment *s)
{
	struct crab_echo echo = {
		.isn = s->seq,
		.syn_len = 1 + s->skb->len - s->l4 - s->header_len,
	};
	int err;

	tcp_redirect_find_option(crab_options(s), crab_options_len(s), &echo.option);
	if (echo.option.state == TCP_REDIRECT_OPTION_MALFORMED)
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_server_malformed);
	if (!tcp_redirect_option_filled(&echo.option))
		return;
	err = crab_echoes_keep(cn, &s->dst, &s->src, &echo);
	tcp_redirect_count(&cn->shared, err ? TCP_REDIRECT_N_server_full :
					      TCP_REDIRECT_N_redirect_seen);
}

static void count_echo(struct crab_net *cn, const struct crab_echo *echo, bool reset,
		       bool is_short)
{
	if (reset) {
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_echoed_reset);
		return;
	}
	tcp_redirect_count(&cn->shared, echo->n_sent ?
			   TCP_REDIRECT_N_echoed_retransmitted : TCP_REDIRECT_N_echoed);
	if (is_short)
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_echoed_short);
}

void crab_echo_option(struct crab_net *cn, struct crab_segment *s)
{
	bool reset = s->flags & CRAB_TCP_RST;
	u8 option[CRAB_OPT_LEN_ADDR_TAG];
	struct crab_echo echo;
	unsigned int len;

	/* A refused SYN is over; one sent again brings its option with it. */
	if (crab_has_data(s) ||
	    !crab_echoes_take(cn, &s->src, &s->dst, s->ack, reset, &echo))
		return;
	len = tcp_redirect_write_echo(option, crab_option_room(s), &echo.option);
	if (!len)
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_echo_no_space);
	else if (!crab_insert_option(s, option, len))
		tcp_redirect_count(&cn->shared, TCP_REDIRECT_N_echo_failed);
	else
		count_echo(cn, &echo, reset, len == CRAB_OPT_LEN_SHORT);
}
