/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the pinned maps hold: shared by the BPF programs and crab-agent.  Any
 * change of a struct, or of a map's type, is a new CRAB_LAYOUT_VERSION: an agent never takes
 * over maps of another version.
 *
 * Addresses are 16 bytes, IPv4 ones IPv4-mapped (RFC 4291, 2.5.5.2), so that
 * one key serves both families and dual-stack sockets.  __be fields are in network byte
 * order; times are CLOCK_MONOTONIC nanoseconds, 0 means never.
 */
#ifndef CRAB_LAYOUT_H
#define CRAB_LAYOUT_H

#include <linux/types.h>

#include "kernel_patch/uapi/crab_redirect.h"

#define CRAB_LAYOUT_VERSION 2

#define CRAB_MAX_SERVICES 4096
#define CRAB_MAX_PREFIXES 1024
#define CRAB_MAX_KEYS 2
/* Defaults of what `crab-agent run` lets the operator choose. */
#define CRAB_MAX_FLOWS 131072
#define CRAB_MAX_PENDING 65536
#define CRAB_MAX_ECHOES 65536
#define CRAB_MAX_WATCHED 1024	/* backends that are counted */
#define CRAB_MAX_APPLIANCES 32	/* nodes that one agent attaches to */

#define CRAB_ROLE_CLIENT 0x1
#define CRAB_ROLE_SERVER 0x2

/* crab_endpoint.kind */
#define CRAB_ENDPOINT_EBPF 1
#define CRAB_ENDPOINT_NETFILTER 2
#define CRAB_ENDPOINT_KERNEL 3

/*
 * endpoint: one element, what is installed; BPF programs do not use it.  A pin directory
 * without it, from before there were several kinds, is the eBPF endpoint's.
 */
struct crab_endpoint {
	__u64 netns_cookie;	/* the namespace that it is installed in */
	__u32 kind;		/* CRAB_ENDPOINT_* */
	__u32 roles;		/* CRAB_ROLE_* */
	char why[240];		/* that kind; ends with 0 */
};

struct crab_addr {
	__be32 w[4];
};

/* services: what to offer to. */
struct crab_service_key {
	struct crab_addr vip;
	__be16 port;
	__u16 zero;
};

struct crab_service {
	__u8 form;	/* CRAB_OPT_LEN_ADDR, _TAG, _ADDR_TAG or CRAB_PAPER_OPT_LEN */
	__u8 n_keys;	/* 0: not keyed */
	__u8 zero[2];
	__u8 keys[CRAB_MAX_KEYS][CRAB_KEY_LEN];
};

/* pending: connections whose SYN is out and not yet answered. */
struct crab_pending_key {
	struct crab_addr client;
	__be16 port;
	__u16 zero;
	__be32 isn;
};

struct crab_pending {
	struct crab_service_key service;
	/* As it was when the offer was made: a removed service ends no handshake. */
	struct crab_service terms;
	__u32 zero;
	__u64 cookie;	/* the socket's */
	__u64 expires_ns;
};

/* The two ends as this host sees them: local is the client (or, in echoes, the server). */
struct crab_tuple {
	struct crab_addr local;
	struct crab_addr remote;
	__be16 lport;
	__be16 rport;
};

struct crab_target {
	struct crab_addr addr;
	__be16 port;
	__u8 mac[6];		/* whom the backend's last packet came from on the link */
	__u32 ifindex;		/* where the SYN-ACK arrived */
	__u32 zero;
	__u64 mac_until_ns;	/* until then mac is good; later ask the neighbour table */
};

/* crab_flow.state */
#define CRAB_FLOW_CURRENT 0x1	/* which target packets take */
#define CRAB_FLOW_CLAIMED 0x2	/* the other target is being written */
#define CRAB_FLOW_DEAD 0x4	/* the sweep is deleting it */

/*
 * flows: {client, VIP:vport} -> the backend.  Elements change in place and only
 * the sweep deletes them.  The redirect of a reused port goes into the target that is not
 * current, between two atomic changes of state, so that no packet sees half of it; until
 * then the old target is still there for a late FIN and the RST that answers it.
 */
struct crab_flow {
	struct crab_target target[2];
	__u32 state;
	__be32 isn;		/* of the SYN that led to the current target */
	__u64 cookie;		/* of its socket; an older one cannot expire it */
	__u64 expires_ns;	/* set when the socket closes */
};

/* origins: {client, DIP:dport} -> the virtual address the socket knows. */
struct crab_origin {
	struct crab_service_key service;
	__u8 mac[6];
	__u16 zero;
	__u32 zero2;
	__u64 seen_ns;		/* when the flow's target learnt mac last */
};

/* prefixes: an LPM trie over mapped addresses; an IPv4 /8 is 104 bits long. */
struct crab_prefix {
	__u32 length;
	struct crab_addr addr;
};

/* echoes: {server, client} -> the option to echo; LRU. */
struct crab_echo {
	__be32 isn;
	__u32 syn_len;		/* sequence numbers the SYN takes: 1 + its data */
	__u8 n_sent;		/* saturates */
	__u8 len;		/* of option, a multiple of four */
	__u8 option[CRAB_OPT_LEN_ADDR_TAG];	/* kind 42 with two NOPs in front */
	__u8 zero[2];
};

/* settings: one element. */
struct crab_settings {
	__u64 netns_cookie;	/* the namespace that the maps belong to */
	__u32 n_prefixes;	/* 0: every backend address is allowed */
	__u32 learn_mac;	/* 0: always ask the neighbour table */
};

/* load_backends: the watched ones, each with its place in loads. */
struct crab_backend_key {
	struct crab_addr addr;
	__be16 port;
	__u16 zero;
};

/* crab_load.changed */
#define CRAB_LOAD_CLOSED 0x1
#define CRAB_LOAD_ACCEPTED 0x2

/*
 * loads: what is counted for a backend, cumulative since crab_load_settings.boot_id.
 * Mapped into crab-agent: both sides change it by atomic operations on whole words.
 * Open connections are accepted - closed + lingering.
 */
struct crab_load {
	__u64 accepted;		/* handshakes completed; those found when counting began included */
	__u64 closed;		/* of those, ended */
	__u64 lingering;	/* closed ones that wait in FIN-WAIT-2 for the peer; the agent's audit alone */
	__u64 changed;		/* CRAB_LOAD_*: set by an event that wakes the agent, which clears it */
	__u64 audited;		/* the sockets that were there before are in it */
	__u64 accepted_by_node[256];	/* of accepted, those that a redirect option names the node of */
};

/*
 * accepted_bases: by the index in loads, only with an endpoint in the kernel.  That
 * counts connections by node itself, since the family came; crab_load.accepted_by_node is its
 * count plus this, modulo 2^64.
 */
struct crab_accepted_base {
	__u64 by_node[256];
};

/* load_settings: one element, mapped into crab-agent. */
struct crab_load_settings {
	__u64 boot_id;		/* of the counts; new maps have another one, never 0 */
	__u64 generation;	/* of the program that counts; another one is being replaced */
	__u64 wake_accepts;	/* not 0: an accepted connection wakes the agent as a closed one does */
	__u64 wakes_lost;	/* events that found no room in the ring */
	__u64 repaired;		/* connections by which audits had to correct the counts */
};

/* load_events: in a ring buffer, at most one for each bit of crab_load.changed. */
struct crab_load_event {
	__u32 index;		/* in loads */
	__u32 changed;		/* CRAB_LOAD_* */
};

/* crab_session.state */
#define CRAB_SESSION_UNUSED 0
#define CRAB_SESSION_ATTACHING 1
#define CRAB_SESSION_ATTACHED 2
#define CRAB_SESSION_ENDED 3

/* sessions: for `crab-agent status`; BPF programs do not use it. Texts end with 0. */
struct crab_session {
	char appliance[128];	/* as --appliance names it */
	char report_address[64];	/* empty: the node takes no reports */
	char last_error[192];
	__u32 state;
	__u32 node;
	__u32 n_backends;	/* that the node wants reports of */
	__u32 zero;
	__u64 n_attached;	/* streams that the node has answered */
	__u64 n_attach_failures;	/* streams that ended, whether answered or not */
	__u64 n_reports;	/* datagrams sent, of all kinds */
	__u64 n_event_reports;	/* of those, after a close or accept */
	__u64 n_send_failures;	/* datagrams that the kernel did not take */
	__u64 seen_ns;		/* when the agent last looked after it */
};

#endif /* CRAB_LAYOUT_H */
