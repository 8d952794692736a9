/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TCP segment as a netfilter hook at LOCAL_IN or LOCAL_OUT sees it, and how
 * it changes: an option comes in, or its source becomes another.
 */
#ifndef CRAB_SEGMENT_H
#define CRAB_SEGMENT_H

#include <linux/skbuff.h>
#include <linux/tcp.h>

#include "option.h"
#include "state.h"

/* Byte 13 of the header; ECN's bits beside these do not matter. */
#define CRAB_TCP_SYN 0x02
#define CRAB_TCP_RST 0x04
#define CRAB_TCP_ACK 0x10

struct crab_segment {
	struct sk_buff *skb;	/* its data starts at the network header */
	bool v4;
	u8 flags;
	u8 header_len;	/* of TCP's, with options */
	unsigned int l4;	/* TCP header's offset in skb */
	u32 seq, ack;
	struct tcp_redirect_end src, dst;
};

/*
 * False for what is never ours: cut headers, fragments. Afterwards the headers
 * are linear.  The caller knows that it is TCP and where.
 */
bool crab_parse_segment(struct crab_segment *s, struct sk_buff *skb, bool v4);

static inline struct tcphdr *crab_tcp_header(const struct crab_segment *s)
{
	return (struct tcphdr *)(s->skb->data + s->l4);
}

static inline const u8 *crab_options(const struct crab_segment *s)
{
	return (const u8 *)(crab_tcp_header(s) + 1);
}

static inline unsigned int crab_options_len(const struct crab_segment *s)
{
	return s->header_len - sizeof(struct tcphdr);
}

static inline unsigned int crab_option_room(const struct crab_segment *s)
{
	return CRAB_TCP_HDR_MAX - s->header_len;
}

static inline bool crab_has_data(const struct crab_segment *s)
{
	return s->skb->len > s->l4 + s->header_len;
}

/* At LOCAL_IN: whether the checksum is right; remembered in skb. */
bool crab_checksum_valid(const struct crab_segment *s);

/*
 * At LOCAL_OUT: puts len bytes of options, a multiple of four for which there
 * is room, behind those in the header.  Lengths and checksums are mended, whole or partial.
 * False without memory: the segment is as it was.
 */
bool crab_insert_option(struct crab_segment *s, const u8 *option, unsigned int len);

/*
 * At LOCAL_IN, after crab_checksum_valid(): makes the source another one of
 * the same family.  False without memory: the segment is as it was.
 */
bool crab_set_source(struct crab_segment *s, const struct tcp_redirect_end *src);

#endif /* CRAB_SEGMENT_H */
