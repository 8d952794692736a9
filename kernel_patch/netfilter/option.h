/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The connection-redirect TCP option as bytes: found in an option list, and
 * written.  Pure: no state, no kernel type beyond linux/types.h, because user space
 * compiles this file too (unit tests, fuzzer).  The rules are those of the appliance's
 * codec, lb/redirect_option.cc.
 *
 * One of the files that module and kernel patch share, see README.md.
 */
#ifndef TCP_REDIRECT_OPTION_H
#define TCP_REDIRECT_OPTION_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/string.h>
#else
#include <stdbool.h>
#include <string.h>
#endif

#include "crab_redirect.h"

enum tcp_redirect_option_state {
	TCP_REDIRECT_OPTION_ABSENT,
	TCP_REDIRECT_OPTION_OFFER,
	TCP_REDIRECT_OPTION_REDIRECT,
	TCP_REDIRECT_OPTION_SHORT,	/* kind, length and ExID alone */
	TCP_REDIRECT_OPTION_PAPER,	/* kind 42, always filled */
	/* The list or the option breaks a rule; nothing else in the result counts. */
	TCP_REDIRECT_OPTION_MALFORMED,
};

struct tcp_redirect_option {
	__u8 state;	/* enum tcp_redirect_option_state */
	__u8 len;	/* of bytes: the option's own length; 0 if absent or malformed */
	__u8 bytes[CRAB_OPT_LEN_ADDR_TAG];	/* as they stood in the list */
};

/*
 * Walks n bytes of options (RFC 9293, 3.1: from the 20 byte header to the data
 * offset).  What stands after EOL does not exist; a zero, overlong or cut length and a second
 * redirect option make the list malformed.  Another experiment's ExID is passed over.
 */
void tcp_redirect_find_option(const __u8 *list, unsigned int n,
			      struct tcp_redirect_option *o);

/*
 * Whether a SYN with these options must leave without an offer: its MD5 or AO
 * signature would not cover it, a Fast Open or MPTCP join answer would lack the room to
 * echo it, or a redirect option is there already.
 */
bool tcp_redirect_offer_forbidden(const __u8 *list, unsigned int n);

/* Writes an OFFER of length form (12, 16 or 20) to; the bytes written, 0 for another form. */
unsigned int tcp_redirect_write_offer(__u8 *to, unsigned int form);

/*
 * Writes what echoes o (REDIRECT or PAPER) into at most room bytes: the option
 * itself, kind 42 behind two NOPs, or the short echo.  The bytes written, a multiple of
 * four; 0 if there is no room.  to holds CRAB_OPT_LEN_ADDR_TAG bytes.
 */
unsigned int tcp_redirect_write_echo(__u8 *to, unsigned int room,
				     const struct tcp_redirect_option *o);

/* The node, 1 to 255, that wrote o; 0 where the form does not say. */
__u8 tcp_redirect_option_node(const struct tcp_redirect_option *o);

/* Whether an appliance has filled o in, so that a server echoes it. */
static inline bool tcp_redirect_option_filled(const struct tcp_redirect_option *o)
{
	return o->state == TCP_REDIRECT_OPTION_REDIRECT ||
	       o->state == TCP_REDIRECT_OPTION_PAPER;
}

#endif /* TCP_REDIRECT_OPTION_H */
