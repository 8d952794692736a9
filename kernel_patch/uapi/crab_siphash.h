/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR Apache-2.0 */
/*
 * SipHash-2-4 with 64 and 128 bit results (Aumasson, Bernstein, "SipHash: a
 * fast short-input PRF", 2012, section 2, and its 128 bit variant), written so that one
 * text serves user space, C++ and BPF: no calls, no tables, and every loop is
 * bounded by the message length, which BPF callers pass as a constant.
 *
 * Keys and messages are byte strings; results are serialised little-endian.
 */
#ifndef CRAB_SIPHASH_H
#define CRAB_SIPHASH_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

static __always_inline __u64 crab_sip_load_le64(const __u8 *p)
{
	return (__u64)p[0] | (__u64)p[1] << 8 | (__u64)p[2] << 16 |
	       (__u64)p[3] << 24 | (__u64)p[4] << 32 | (__u64)p[5] << 40 |
	       (__u64)p[6] << 48 | (__u64)p[7] << 56;
}

static __always_inline void crab_sip_store_le64(__u8 *p, __u64 v)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		p[i] = (__u8)(v >> (8 * i));
}

#define CRAB_SIP_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

struct crab_sip_state {
	__u64 v0, v1, v2, v3;
};

static __always_inline void crab_sip_round(struct crab_sip_state *s)
{
	s->v0 += s->v1;
	s->v1 = CRAB_SIP_ROTL(s->v1, 13);
	s->v1 ^= s->v0;
	s->v0 = CRAB_SIP_ROTL(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = CRAB_SIP_ROTL(s->v3, 16);
	s->v3 ^= s->v2;
	s->v0 += s->v3;
	s->v3 = CRAB_SIP_ROTL(s->v3, 21);
	s->v3 ^= s->v0;
	s->v2 += s->v1;
	s->v1 = CRAB_SIP_ROTL(s->v1, 17);
	s->v1 ^= s->v2;
	s->v2 = CRAB_SIP_ROTL(s->v2, 32);
}

/* Absorbs the whole message; what is left to do depends on the result's width. */
static __always_inline void crab_sip_absorb(struct crab_sip_state *s,
					    const __u8 *key, const __u8 *msg,
					    unsigned int len)
{
	__u64 k0 = crab_sip_load_le64(key);
	__u64 k1 = crab_sip_load_le64(key + 8);
	__u64 last = (__u64)len << 56;
	unsigned int i;

	s->v0 ^= k0 ^ 0x736f6d6570736575ULL;
	s->v1 ^= k1 ^ 0x646f72616e646f6dULL;
	s->v2 ^= k0 ^ 0x6c7967656e657261ULL;
	s->v3 ^= k1 ^ 0x7465646279746573ULL;

	for (i = 0; i + 8 <= len; i += 8) {
		__u64 m = crab_sip_load_le64(msg + i);

		s->v3 ^= m;
		crab_sip_round(s);
		crab_sip_round(s);
		s->v0 ^= m;
	}
	for (; i < len; i++)
		last |= (__u64)msg[i] << (8 * (i & 7));
	s->v3 ^= last;
	crab_sip_round(s);
	crab_sip_round(s);
	s->v0 ^= last;
}

static __always_inline __u64 crab_sip_finish(struct crab_sip_state *s)
{
	crab_sip_round(s);
	crab_sip_round(s);
	crab_sip_round(s);
	crab_sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* SipHash-2-4, 64 bit; store the result with crab_sip_store_le64(). */
static __always_inline __u64 crab_siphash24(const __u8 *key, const __u8 *msg,
					    unsigned int len)
{
	struct crab_sip_state s = { 0, 0, 0, 0 };

	crab_sip_absorb(&s, key, msg, len);
	s.v2 ^= 0xff;
	return crab_sip_finish(&s);
}

/* SipHash-2-4-128 into out[16]; this derives K_client from a service key. */
static __always_inline void crab_siphash24_128(const __u8 *key, const __u8 *msg,
					       unsigned int len, __u8 *out)
{
	struct crab_sip_state s = { 0, 0xee, 0, 0 };

	crab_sip_absorb(&s, key, msg, len);
	s.v2 ^= 0xee;
	crab_sip_store_le64(out, crab_sip_finish(&s));
	s.v1 ^= 0xdd;
	crab_sip_store_le64(out + 8, crab_sip_finish(&s));
}

#endif /* CRAB_SIPHASH_H */
