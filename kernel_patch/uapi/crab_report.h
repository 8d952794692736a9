/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR Apache-2.0 */
/*
 * The load report: one UDP datagram from crab-agent to a node, about the
 * backends (DIP:dport) on the agent's host.  DESIGN, section 4.
 *
 *   header (48 bytes) | 1..28 records (48 bytes each) | MAC (16 bytes)
 *
 * Everything in network byte order.  All counts are cumulative since the
 * boot id, so that a lost datagram costs nothing; `open` is what is there now.
 * The MAC is SipHash-2-4-128 over all bytes before it, under the session key, serialised
 * little-endian as everywhere in crab_siphash.h.
 *
 * A datagram need not speak of every backend; one that is not mentioned is unchanged.  A
 * heartbeat mentions all, over several datagrams if need be.
 */
#ifndef CRAB_REPORT_H
#define CRAB_REPORT_H

#include <linux/types.h>

#define CRAB_REPORT_MAGIC 0x4352414cU	/* "CRAL" */
#define CRAB_REPORT_VERSION 1
#define CRAB_REPORT_PORT 7471		/* where a node listens unless told otherwise */
#define CRAB_REPORT_MAC_LEN 16
#define CRAB_REPORT_KEY_LEN 16
/* What fits into 1,500 bytes with IPv6's header. */
#define CRAB_REPORT_MAX_RECORDS 28

/* crab_report_header.flags */
#define CRAB_REPORT_EVENT 0x1	/* each close is reported at once: silence means unchanged */
#define CRAB_REPORT_ACCEPTS 0x2	/* and each accept */
#define CRAB_REPORT_GOODBYE 0x4	/* no more reports will come about these backends */

struct crab_report_header {
	__be32 magic;
	__u8 version;
	__u8 flags;
	__u8 node;		/* the node it is for, 1..255 */
	__u8 n_records;
	__be64 session;		/* as Attach gave it */
	__be64 nonce;		/* as Attach gave it; another one after the node's restart */
	__be64 boot_id;		/* of the counters: another one when they started anew */
	__be64 sequence;	/* grows with each datagram of the session, from 1 */
	__be32 interval_us;	/* between two heartbeats, 1..60,000,000 */
	__be32 zero;
};

struct crab_report_record {
	__u8 address[16];	/* the DIP, IPv4 as IPv4-mapped (RFC 4291, 2.5.5.2) */
	__be16 port;
	__be16 zero;
	__be32 open;		/* sockets from ESTABLISHED to LAST-ACK, or active requests */
	__be64 accepted_own;	/* handshakes completed that this node redirected here */
	__be64 accepted_total;	/* all handshakes completed, those found at the start included */
	__be64 closed_total;	/* of those, ended */
};

#define CRAB_REPORT_MAX_LEN                                                                \
	(sizeof(struct crab_report_header) +                                               \
	 CRAB_REPORT_MAX_RECORDS * sizeof(struct crab_report_record) + CRAB_REPORT_MAC_LEN)

#endif /* CRAB_REPORT_H */
