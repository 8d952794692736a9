/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Server, by tc alone: the option of a redirected SYN is kept on its way in
 * and appended to the SYN-ACK (first, retransmitted or SYN cookie) or to the RST of a
 * refusal on its way out.  Listeners need not know, so those that exist already are served too.
 */
#ifndef CRAB_ECHO_H
#define CRAB_ECHO_H

#include "kernel_patch/bpf/option.h"

static __noinline int keep_option(struct __sk_buff *skb, const struct packet *p)
{
	struct crab_echo echo = { .isn = p->seq };
	struct crab_tuple t = {
		.local = p->daddr,
		.remote = p->saddr,
		.lport = p->dport,
		.rport = p->sport,
	};
	struct option o;

	if (find_option(skb, p, &o)) {
		count(CRAB_COUNT_server_malformed);
		return 0;
	}
	if (!o.redirect)
		return 0;
	/* Ethernet padding would count as data; only the upper bound matters. */
	echo.syn_len = 1 + skb->len - p->l4 - p->l4_len;
	if (o.bytes[0] == CRAB_PAPER_OPT_KIND) {
		echo.len = CRAB_PAPER_INSERT_LEN;
		echo.option[0] = CRAB_TCPOPT_NOP;
		echo.option[1] = CRAB_TCPOPT_NOP;
		__builtin_memcpy(echo.option + 2, o.bytes, CRAB_PAPER_OPT_LEN);
	} else {
		echo.len = o.len;
		__builtin_memcpy(echo.option, o.bytes, sizeof(echo.option));
	}
	bpf_map_update_elem(&echoes, &t, &echo, BPF_ANY);
	count(CRAB_COUNT_redirect_seen);
	return 0;
}

/* Appends len bytes of options, a multiple of four, behind the TCP header. */
static __always_inline bool append(struct __sk_buff *skb, const struct packet *p,
				   const __u8 *option, __u32 len)
{
	__u32 check = p->l4 + offsetof(struct tcphdr, check);
	__u32 end = p->l4 + p->l4_len, l3_len = end - ETH_HLEN;
	__be16 from, to;
	__u8 words[2];
	__s64 diff;
	long err;

	err = bpf_skb_change_tail(skb, end + len, 0);
	if (p->v4) {
		from = bpf_htons(l3_len);
		to = bpf_htons(l3_len + len);
		err |= bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check),
					   from, to, sizeof(to));
		err |= bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, tot_len),
					   &to, sizeof(to), 0);
	} else {
		to = bpf_htons(p->l4_len + len);
		err |= bpf_skb_store_bytes(skb,
					   ETH_HLEN + offsetof(struct ipv6hdr, payload_len),
					   &to, sizeof(to), 0);
	}
	/* The pseudo header's length (RFC 9293, 3.1), then what the TCP header itself changed. */
	err |= bpf_l4_csum_replace(skb, check, bpf_htons(p->l4_len),
				   bpf_htons(p->l4_len + len),
				   BPF_F_PSEUDO_HDR | sizeof(to));
	err |= bpf_skb_load_bytes(skb, p->l4 + 12, words, sizeof(words));
	__builtin_memcpy(&from, words, sizeof(from));
	words[0] = (words[0] & 0x0f) | (p->l4_len + len) / 4 << 4;
	__builtin_memcpy(&to, words, sizeof(to));
	err |= bpf_l4_csum_replace(skb, check, from, to, sizeof(to));
	err |= bpf_skb_store_bytes(skb, p->l4 + 12, words, sizeof(words), 0);
	diff = bpf_csum_diff(NULL, 0, (__be32 *)option, len, 0);
	err |= bpf_l4_csum_replace(skb, check, 0, diff, 0);
	err |= bpf_skb_store_bytes(skb, end, option, len, 0);
	return !err;
}

static __always_inline void count_echo(struct crab_echo *echo, bool reset, __u32 len)
{
	if (reset) {
		count(CRAB_COUNT_echoed_reset);
		return;
	}
	count(echo->n_sent ? CRAB_COUNT_echoed_retransmitted : CRAB_COUNT_echoed);
	if (echo->n_sent < 255)
		echo->n_sent++;
	if (len == CRAB_OPT_LEN_SHORT)
		count(CRAB_COUNT_echoed_short);
}

/* p is a SYN-ACK or RST|ACK on its way out. */
static __noinline int echo_option(struct __sk_buff *skb, const struct packet *p)
{
	bool reset = p->flags & TCP_RST, grown;
	struct crab_tuple t = {
		.local = p->saddr,
		.remote = p->daddr,
		.lport = p->sport,
		.rport = p->dport,
	};
	__u8 option[CRAB_OPT_LEN_ADDR_TAG];
	__u32 acked, room, len;
	struct crab_echo *echo;

	echo = bpf_map_lookup_elem(&echoes, &t);
	if (!echo)
		return TC_ACT_UNSPEC;
	acked = bpf_ntohl(p->ack) - bpf_ntohl(echo->isn);
	/* Of another connection on this tuple, or with data behind the header. */
	if (!acked || acked > echo->syn_len || skb->len != p->l4 + p->l4_len)
		return TC_ACT_UNSPEC;
	room = CRAB_TCP_HDR_MAX - p->l4_len;
	len = echo->len;
	__builtin_memcpy(option, echo->option, sizeof(option));
	if (len > room) {
		len = option[0] == CRAB_OPT_KIND && room >= CRAB_OPT_LEN_SHORT ?
			      CRAB_OPT_LEN_SHORT : 0;
		option[1] = CRAB_OPT_LEN_SHORT;
	}
	switch (len) {	/* the verifier and bpf_csum_diff() want constants */
	case CRAB_OPT_LEN_SHORT:
		grown = append(skb, p, option, CRAB_OPT_LEN_SHORT);
		break;
	case CRAB_PAPER_INSERT_LEN:
		grown = append(skb, p, option, CRAB_PAPER_INSERT_LEN);
		break;
	case CRAB_OPT_LEN_ADDR:
		grown = append(skb, p, option, CRAB_OPT_LEN_ADDR);
		break;
	case CRAB_OPT_LEN_TAG:
		grown = append(skb, p, option, CRAB_OPT_LEN_TAG);
		break;
	case CRAB_OPT_LEN_ADDR_TAG:
		grown = append(skb, p, option, CRAB_OPT_LEN_ADDR_TAG);
		break;
	default:
		count(CRAB_COUNT_echo_no_space);
		return TC_ACT_UNSPEC;
	}
	if (!grown) {
		count(CRAB_COUNT_echo_failed);
		return TC_ACT_SHOT;
	}
	count_echo(echo, reset, len);
	return TC_ACT_UNSPEC;
}

#endif /* CRAB_ECHO_H */
