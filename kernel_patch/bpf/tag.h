/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tag of a keyed service: SipHash-2-4 under K_client over VIP, vport, DIP,
 * dport, client, client port, ISN.  Checked once for each connection, on the SYN-ACK.
 */
#ifndef CRAB_TAG_H
#define CRAB_TAG_H

#include "kernel_patch/bpf/packet.h"
#include "kernel_patch/uapi/crab_siphash.h"

/* What the tag authenticates, as the client sees it. */
struct tag_input {
	struct crab_addr vip, backend, client;
	__be16 vport, dport, client_port;
	__be32 isn;
	bool v4;
};

static __always_inline void put(__u8 *msg, const void *field, __u32 len)
{
	__builtin_memcpy(msg, field, len);
}

static __noinline __u64 tag4(const struct tag_input *in, const __u8 *key)
{
	__u8 msg[CRAB_TAG_MSG_LEN4], client_key[CRAB_KEY_LEN];

	put(msg, &in->vip.w[3], 4);
	put(msg + 4, &in->vport, 2);
	put(msg + 6, &in->backend.w[3], 4);
	put(msg + 10, &in->dport, 2);
	put(msg + 12, &in->client.w[3], 4);
	put(msg + 16, &in->client_port, 2);
	put(msg + 18, &in->isn, 4);
	crab_siphash24_128(key, (const __u8 *)&in->client.w[3], 4, client_key);
	return crab_siphash24(client_key, msg, sizeof(msg));
}

static __noinline __u64 tag6(const struct tag_input *in, const __u8 *key)
{
	__u8 msg[CRAB_TAG_MSG_LEN6], client_key[CRAB_KEY_LEN];

	put(msg, &in->vip, 16);
	put(msg + 16, &in->vport, 2);
	put(msg + 18, &in->backend, 16);
	put(msg + 34, &in->dport, 2);
	put(msg + 36, &in->client, 16);
	put(msg + 52, &in->client_port, 2);
	put(msg + 54, &in->isn, 4);
	crab_siphash24_128(key, (const __u8 *)&in->client, 16, client_key);
	return crab_siphash24(client_key, msg, sizeof(msg));
}

/* Whether tag, as it stands in the option, is right under one of the service's keys. */
static __always_inline bool tag_is_valid(const struct crab_service *terms,
					 const struct tag_input *in, const __u8 *tag)
{
	__u64 got = crab_sip_load_le64(tag);
	__u32 i;

	for (i = 0; i < CRAB_MAX_KEYS; i++) {
		const __u8 *key = terms->keys[i];

		if (i >= terms->n_keys)
			return false;
		if (got == (in->v4 ? tag4(in, key) : tag6(in, key)))
			return true;
	}
	return false;
}

#endif /* CRAB_TAG_H */
