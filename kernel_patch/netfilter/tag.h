/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tag of a keyed service (DESIGN, section 2): SipHash-2-4 under K_client,
 * which is SipHash-2-4-128 of the client's address under the service's key.  Pure, like
 * option.h.  One of the files that module and kernel patch share, see README.md.
 */
#ifndef TCP_REDIRECT_TAG_H
#define TCP_REDIRECT_TAG_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/string.h>
#else
#include <stdbool.h>
#include <string.h>
#endif

#include "crab_redirect.h"

/* What a tag binds together, all in network byte order. */
struct tcp_redirect_tag_input {
	const __u8 *vip, *backend, *client;	/* addr_len bytes each */
	unsigned int addr_len;	/* 4 or 16 */
	__be16 vport, dport, client_port;
	__be32 isn;
};

/* Writes CRAB_OPT_TAG_LEN bytes, as they stand in the option; key has CRAB_KEY_LEN. */
void tcp_redirect_make_tag(const __u8 *key, const struct tcp_redirect_tag_input *in,
			   __u8 *tag);

/* Whether tag is right under one of n_keys keys, which stand one behind the other. */
bool tcp_redirect_tag_valid(const __u8 *keys, unsigned int n_keys,
			    const struct tcp_redirect_tag_input *in, const __u8 *tag);

#endif /* TCP_REDIRECT_TAG_H */
