// SPDX-License-Identifier: GPL-2.0-only
/* See tag.h. */
#include "tag.h"

#include "crab_siphash.h"

static unsigned int put(__u8 *msg, unsigned int at, const void *field, unsigned int len)
{
	memcpy(msg + at, field, len);
	return at + len;
}

void tcp_redirect_make_tag(const __u8 *key, const struct tcp_redirect_tag_input *in,
			   __u8 *tag)
{
	__u8 client_key[CRAB_KEY_LEN], msg[CRAB_TAG_MSG_LEN6];
	unsigned int n = 0;

	n = put(msg, n, in->vip, in->addr_len);
	n = put(msg, n, &in->vport, sizeof(in->vport));
	n = put(msg, n, in->backend, in->addr_len);
	n = put(msg, n, &in->dport, sizeof(in->dport));
	n = put(msg, n, in->client, in->addr_len);
	n = put(msg, n, &in->client_port, sizeof(in->client_port));
	n = put(msg, n, &in->isn, sizeof(in->isn));
	crab_siphash24_128(key, in->client, in->addr_len, client_key);
	crab_sip_store_le64(tag, crab_siphash24(client_key, msg, n));
}

bool tcp_redirect_tag_valid(const __u8 *keys, unsigned int n_keys,
			    const struct tcp_redirect_tag_input *in, const __u8 *tag)
{
	__u8 right[CRAB_OPT_TAG_LEN];
	bool valid = false;
	unsigned int i;

	/* Both words whole and every key, so that the time says nothing about the tag. */
	for (i = 0; i < n_keys; i++) {
		tcp_redirect_make_tag(keys + i * CRAB_KEY_LEN, in, right);
		valid |= crab_sip_load_le64(right) == crab_sip_load_le64(tag);
	}
	return valid;
}
