/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR Apache-2.0 */
/*
 * The connection-redirect TCP option, version 1: the one definition shared by
 * the appliance (C++), the eBPF endpoint, the netfilter module and the kernel
 * patch.  docs/wire-format.md draws it bit by bit.
 *
 * An RFC 6994 experimental option.  All fields are in network byte order; the
 * constants below are in host order unless their name ends in _BE.
 */
#ifndef CRAB_REDIRECT_H
#define CRAB_REDIRECT_H

#include <linux/types.h>

/* RFC 9293, 3.1: the option kinds every parser of ours has to know. */
#define CRAB_TCPOPT_EOL 0
#define CRAB_TCPOPT_NOP 1
#define CRAB_TCP_HDR_MIN 20	/* bytes, data offset 5 */
#define CRAB_TCP_HDR_MAX 60	/* bytes, data offset 15 */
#define CRAB_TCP_OPTIONS_MAX (CRAB_TCP_HDR_MAX - CRAB_TCP_HDR_MIN)

#define CRAB_OPT_KIND 253	/* RFC 4727, experiment 1 */
#define CRAB_OPT_EXID 0xC4AB	/* RFC 6994 experiment identifier, unregistered */

#define CRAB_OPT_VERSION 1
#define CRAB_OPT_VERSION_MASK 0xF0
#define CRAB_OPT_VERSION_SHIFT 4

#define CRAB_OPT_F_REDIRECT 0x1	/* fields are filled; clear: an offer */
#define CRAB_OPT_F_ADDRESS 0x2	/* an IPv4 virtual address is present */
#define CRAB_OPT_F_TAG 0x4	/* an 8 byte tag is present */
#define CRAB_OPT_F_RESERVED 0x8	/* must be zero in version 1 */
#define CRAB_OPT_FLAGS_MASK 0x0F

/* Length says the form; every other pairing of length and flags is malformed. */
#define CRAB_OPT_LEN_SHORT 4	/* kind, length, ExID: an echo without room */
#define CRAB_OPT_LEN_ADDR 12	/* F_ADDRESS */
#define CRAB_OPT_LEN_TAG 16	/* F_TAG */
#define CRAB_OPT_LEN_ADDR_TAG 20	/* F_ADDRESS | F_TAG */

/* Offsets inside the option, in bytes. */
#define CRAB_OPT_OFF_EXID 2
#define CRAB_OPT_OFF_VER_FLAGS 4
#define CRAB_OPT_OFF_NODE 5
#define CRAB_OPT_OFF_PORT 6
#define CRAB_OPT_OFF_ADDR 8	/* forms with F_ADDRESS */
#define CRAB_OPT_OFF_TAG 8	/* CRAB_OPT_LEN_TAG */
#define CRAB_OPT_OFF_TAG_AFTER_ADDR 12	/* CRAB_OPT_LEN_ADDR_TAG */

#define CRAB_OPT_TAG_LEN 8

/* Paper form (CRAB, SoCC 2020, section 4): kind, length, IPv4 virtual address. */
#define CRAB_PAPER_OPT_KIND 42
#define CRAB_PAPER_OPT_LEN 6
#define CRAB_PAPER_INSERT_LEN 8	/* with the two NOPs that keep 32 bit alignment */

/* The first eight bytes of every form longer than the short echo. */
struct crab_opt_hdr {
	__u8 kind;
	__u8 length;
	__be16 exid;
	__u8 ver_flags;
	__u8 node;	/* 1..255 once redirected, 0 in an offer */
	__be16 port;	/* service port (vport), 0 in an offer */
} __attribute__((packed));

/* The service key and the client key derived from it: 16 bytes as they stand. */
#define CRAB_KEY_LEN 16

/*
 * What the tag is computed over, in this order, all in network byte order:
 * VIP, vport, DIP, dport, client address, client port, ISN.
 */
#define CRAB_TAG_MSG_LEN4 (4 + 2 + 4 + 2 + 4 + 2 + 4)
#define CRAB_TAG_MSG_LEN6 (16 + 2 + 16 + 2 + 16 + 2 + 4)

#endif /* CRAB_REDIRECT_H */
