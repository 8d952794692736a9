// SPDX-License-Identifier: GPL-2.0-only
/* See option.h. */
#include "option.h"

/* Kinds that a SYN may carry and that an offer does not go with. */
#define OPT_MD5 19	/* RFC 2385 */
#define OPT_AO 29	/* RFC 5925 */
#define OPT_MPTCP 30	/* RFC 8684 */
#define OPT_MPTCP_JOIN 1	/* its subtype, in the upper half of byte 2 */
#define OPT_FASTOPEN 34	/* RFC 7413 */
#define OPT_EXPERIMENT_2 254
#define OPT_FASTOPEN_EXID 0xF989	/* before RFC 7413 had a kind */

#define VERSION (CRAB_OPT_VERSION << CRAB_OPT_VERSION_SHIFT)

static unsigned int load_be16(const __u8 *p)
{
	return (unsigned int)p[0] << 8 | p[1];
}

static unsigned int flags_of(unsigned int form)
{
	switch (form) {
	case CRAB_OPT_LEN_ADDR:
		return CRAB_OPT_F_ADDRESS;
	case CRAB_OPT_LEN_TAG:
		return CRAB_OPT_F_TAG;
	case CRAB_OPT_LEN_ADDR_TAG:
		return CRAB_OPT_F_ADDRESS | CRAB_OPT_F_TAG;
	default:
		return 0;
	}
}

static bool all_zero(const __u8 *p, unsigned int n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

/*
 * The length of the option at list[at], its NOPs and EOL being 1; 0 if it is
 * cut or its length is impossible.
 */
static unsigned int option_length(const __u8 *list, unsigned int n, unsigned int at)
{
	unsigned int len;

	if (list[at] == CRAB_TCPOPT_NOP || list[at] == CRAB_TCPOPT_EOL)
		return 1;
	if (n - at < 2)
		return 0;
	len = list[at + 1];
	return len < 2 || len > n - at ? 0 : len;
}

/* What one whole option, len bytes, is to us. */
static enum tcp_redirect_option_state classify(const __u8 *option, unsigned int len)
{
	unsigned int expected, ver_flags;

	if (option[0] == CRAB_PAPER_OPT_KIND)
		return len == CRAB_PAPER_OPT_LEN ? TCP_REDIRECT_OPTION_PAPER :
						   TCP_REDIRECT_OPTION_MALFORMED;
	if (option[0] != CRAB_OPT_KIND || len < CRAB_OPT_LEN_SHORT ||
	    load_be16(option + CRAB_OPT_OFF_EXID) != CRAB_OPT_EXID)
		return TCP_REDIRECT_OPTION_ABSENT;
	if (len == CRAB_OPT_LEN_SHORT)
		return TCP_REDIRECT_OPTION_SHORT;
	if (!flags_of(len))
		return TCP_REDIRECT_OPTION_MALFORMED;
	expected = VERSION | flags_of(len);
	ver_flags = option[CRAB_OPT_OFF_VER_FLAGS];
	if (ver_flags == (expected | CRAB_OPT_F_REDIRECT))
		return option[CRAB_OPT_OFF_NODE] ? TCP_REDIRECT_OPTION_REDIRECT :
						   TCP_REDIRECT_OPTION_MALFORMED;
	if (ver_flags == expected &&
	    all_zero(option + CRAB_OPT_OFF_NODE, len - CRAB_OPT_OFF_NODE))
		return TCP_REDIRECT_OPTION_OFFER;
	return TCP_REDIRECT_OPTION_MALFORMED;
}

void tcp_redirect_find_option(const __u8 *list, unsigned int n,
			      struct tcp_redirect_option *o)
{
	enum tcp_redirect_option_state state;
	unsigned int at, len;

	memset(o, 0, sizeof(*o));
	for (at = 0; at < n && list[at] != CRAB_TCPOPT_EOL; at += len) {
		len = option_length(list, n, at);
		if (!len)
			goto malformed;
		if (len == 1)
			continue;
		state = classify(list + at, len);
		if (state == TCP_REDIRECT_OPTION_ABSENT)
			continue;
		if (state == TCP_REDIRECT_OPTION_MALFORMED ||
		    o->state != TCP_REDIRECT_OPTION_ABSENT)
			goto malformed;
		o->state = state;
		o->len = (__u8)len;
		memcpy(o->bytes, list + at, len);
	}
	return;

malformed:
	memset(o, 0, sizeof(*o));
	o->state = TCP_REDIRECT_OPTION_MALFORMED;
}

bool tcp_redirect_offer_forbidden(const __u8 *list, unsigned int n)
{
	unsigned int at, len;

	for (at = 0; at < n && list[at] != CRAB_TCPOPT_EOL; at += len) {
		len = option_length(list, n, at);
		if (!len)
			return true;
		switch (list[at]) {
		case OPT_MD5:
		case OPT_AO:
		case OPT_FASTOPEN:
			return true;
		case OPT_MPTCP:
			if (len >= 3 && list[at + 2] >> 4 == OPT_MPTCP_JOIN)
				return true;
			break;
		case OPT_EXPERIMENT_2:
			if (len >= 4 && load_be16(list + at + 2) == OPT_FASTOPEN_EXID)
				return true;
			break;
		case CRAB_OPT_KIND:
		case CRAB_PAPER_OPT_KIND:
			if (classify(list + at, len) != TCP_REDIRECT_OPTION_ABSENT)
				return true;
			break;
		}
	}
	return false;
}

static void write_prefix(__u8 *to, unsigned int len)
{
	to[0] = CRAB_OPT_KIND;
	to[1] = (__u8)len;
	to[CRAB_OPT_OFF_EXID] = CRAB_OPT_EXID >> 8;
	to[CRAB_OPT_OFF_EXID + 1] = CRAB_OPT_EXID & 0xff;
}

unsigned int tcp_redirect_write_offer(__u8 *to, unsigned int form)
{
	if (!flags_of(form))
		return 0;
	memset(to, 0, form);
	write_prefix(to, form);
	to[CRAB_OPT_OFF_VER_FLAGS] = (__u8)(VERSION | flags_of(form));
	return form;
}

unsigned int tcp_redirect_write_echo(__u8 *to, unsigned int room,
				     const struct tcp_redirect_option *o)
{
	if (o->state == TCP_REDIRECT_OPTION_PAPER) {
		if (room < CRAB_PAPER_INSERT_LEN)
			return 0;
		to[0] = CRAB_TCPOPT_NOP;
		to[1] = CRAB_TCPOPT_NOP;
		memcpy(to + 2, o->bytes, CRAB_PAPER_OPT_LEN);
		return CRAB_PAPER_INSERT_LEN;
	}
	if (o->state != TCP_REDIRECT_OPTION_REDIRECT)
		return 0;
	if (room >= o->len) {
		memcpy(to, o->bytes, o->len);
		return o->len;
	}
	if (room < CRAB_OPT_LEN_SHORT)
		return 0;
	write_prefix(to, CRAB_OPT_LEN_SHORT);
	return CRAB_OPT_LEN_SHORT;
}

__u8 tcp_redirect_option_node(const struct tcp_redirect_option *o)
{
	return o->state == TCP_REDIRECT_OPTION_REDIRECT ? o->bytes[CRAB_OPT_OFF_NODE] : 0;
}
