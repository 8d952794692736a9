/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Finding the redirect option in a TCP header, wherever it stands.  The same
 * rules as the appliance's codec: a zero or overlong length, or two redirect options,
 * make the list malformed, and what stands after EOL does not exist.
 */
#ifndef CRAB_OPTION_H
#define CRAB_OPTION_H

#include "kernel_patch/bpf/packet.h"

struct option {
	__u8 len;	/* 0: there is none */
	bool redirect;	/* filled by an appliance (or kind 42, which always is) */
	__u8 bytes[CRAB_OPT_LEN_ADDR_TAG];
};

#define MALFORMED -1

/* A walk over an option list; zero, that is EOL, stands behind the list itself. */
struct walk {
	__u8 bytes[64];
	__u32 n;	/* bytes in the list, at most 40 */
	__u32 at;
	int found;	/* offset of the redirect option, -1, or MALFORMED_LIST */
};

#define MALFORMED_LIST -2

static __always_inline bool well_formed(const struct option *o)
{
	const struct crab_opt_hdr *h = (const void *)o->bytes;
	__u8 flags = h->ver_flags & CRAB_OPT_FLAGS_MASK;

	if (h->kind == CRAB_PAPER_OPT_KIND || o->len == CRAB_OPT_LEN_SHORT)
		return true;
	if ((h->ver_flags & CRAB_OPT_VERSION_MASK) !=
	    CRAB_OPT_VERSION << CRAB_OPT_VERSION_SHIFT)
		return false;
	if (!(flags & CRAB_OPT_F_REDIRECT) != !h->node)
		return false;
	flags &= ~CRAB_OPT_F_REDIRECT;
	return (o->len == CRAB_OPT_LEN_ADDR && flags == CRAB_OPT_F_ADDRESS) ||
	       (o->len == CRAB_OPT_LEN_TAG && flags == CRAB_OPT_F_TAG) ||
	       (o->len == CRAB_OPT_LEN_ADDR_TAG &&
		flags == (CRAB_OPT_F_ADDRESS | CRAB_OPT_F_TAG));
}

/* One option; a callback of bpf_loop(), because the verifier gets lost in a plain loop. */
static long step(__u32 index, struct walk *w)
{
	__u32 at = w->at;
	__u8 kind, len;

	if (at >= w->n || at >= CRAB_TCP_OPTIONS_MAX)
		return 1;
	kind = w->bytes[at];
	if (kind == CRAB_TCPOPT_EOL)
		return 1;
	if (kind == CRAB_TCPOPT_NOP) {
		w->at = at + 1;
		return 0;
	}
	len = w->bytes[at + 1];
	if (len < 2 || at + len > w->n) {
		w->found = MALFORMED_LIST;
		return 1;
	}
	if ((kind == CRAB_PAPER_OPT_KIND && len == CRAB_PAPER_OPT_LEN) ||
	    (kind == CRAB_OPT_KIND && len >= CRAB_OPT_LEN_SHORT &&
	     w->bytes[at + 2] == CRAB_OPT_EXID >> 8 &&
	     w->bytes[at + 3] == (CRAB_OPT_EXID & 0xff))) {
		if (w->found != -1) {
			w->found = MALFORMED_LIST;
			return 1;
		}
		w->found = at;
	}
	w->at = at + len;
	return 0;
}

/* Zero and o (len 0 when there is no redirect option), or MALFORMED. */
static __noinline int find_option(struct __sk_buff *skb, const struct packet *p,
				  struct option *o)
{
	struct walk w = { .n = p->l4_len - CRAB_TCP_HDR_MIN, .found = -1 };
	__u32 last = w.n - 1, at, len, i;

	o->len = 0;
	o->redirect = false;
	if (!w.n)
		return 0;
	/*
	 * A length that may be zero is refused. 6.1's verifier learns from a bound that it is
	 * not, and not from a comparison with zero.
	 */
	barrier_var(last);
	if (last >= CRAB_TCP_OPTIONS_MAX ||
	    bpf_skb_load_bytes(skb, p->l4 + CRAB_TCP_HDR_MIN, w.bytes, last + 1))
		return MALFORMED;
	bpf_loop(CRAB_TCP_OPTIONS_MAX, step, &w, 0);
	if (w.found == -1)
		return 0;
	at = w.found;
	if (at >= CRAB_TCP_OPTIONS_MAX)
		return MALFORMED;
	len = w.bytes[at + 1];
	if (len > CRAB_OPT_LEN_ADDR_TAG)
		return MALFORMED;
	for (i = 0; i < CRAB_OPT_LEN_ADDR_TAG; i++)
		o->bytes[i] = i < len ? w.bytes[at + i] : 0;
	o->len = len;
	if (!well_formed(o)) {
		o->len = 0;
		return MALFORMED;
	}
	o->redirect = o->bytes[0] == CRAB_PAPER_OPT_KIND ||
		      (len > CRAB_OPT_LEN_SHORT &&
		       (o->bytes[CRAB_OPT_OFF_VER_FLAGS] & CRAB_OPT_F_REDIRECT));
	return 0;
}

static __always_inline bool is_short(const struct option *o)
{
	return o->len == CRAB_OPT_LEN_SHORT;
}

#endif /* CRAB_OPTION_H */
