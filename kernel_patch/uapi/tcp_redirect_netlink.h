/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR Apache-2.0 */
/*
 * How a kernel endpoint (the netfilter module or the kernel patch) is
 * configured and observed: the generic netlink family "tcp_redirect".  Whichever
 * of the two is present registers it; never both.  Everything belongs to
 * the network namespace of the netlink socket.  Commands that change or show
 * anything but GET_INFO need CAP_NET_ADMIN in the namespace's user namespace.
 *
 * Addresses and ports are in network byte order, other integers in host order.
 * An address is 4 bytes (IPv4) or 16 (IPv6); a mapped one (::ffff:0:0/96) is refused.
 * Every refusal carries an extended ack that names the attribute and the reason.
 */
#ifndef TCP_REDIRECT_NETLINK_H
#define TCP_REDIRECT_NETLINK_H

#define TCP_REDIRECT_GENL_NAME "tcp_redirect"
#define TCP_REDIRECT_GENL_VERSION 1

#define TCP_REDIRECT_MAX_SERVICES 4096	/* in a namespace; one more: E2BIG */
#define TCP_REDIRECT_MAX_PREFIXES 1024
#define TCP_REDIRECT_MAX_KEYS 2

/* TCP_REDIRECT_A_ROLES; also the sysctl net.ipv4.tcp_redirect. 0, the default: off. */
#define TCP_REDIRECT_ROLE_CLIENT 0x1
#define TCP_REDIRECT_ROLE_SERVER 0x2

enum tcp_redirect_cmd {
	TCP_REDIRECT_CMD_UNSPEC,
	/* do: what serves this family, and what is in force: IMPLEMENTATION to N_ECHOES. */
	TCP_REDIRECT_CMD_GET_INFO,
	/*
	 * do: makes roles, services and prefixes what the message says, all at
	 * once or not at all.  A list is its attributes in any number, each a top-level
	 * one, so that a message may hold more than one attribute's 64 KiB;
	 * none empties it.  Connections that exist, and handshakes under way
	 * under services that stay or go, are not touched.
	 */
	TCP_REDIRECT_CMD_SET,
	/* dump: a SERVICE in each message, its keys left out, N_KEYS in their place */
	TCP_REDIRECT_CMD_GET_SERVICES,
	/* dump: a PREFIX in each message */
	TCP_REDIRECT_CMD_GET_PREFIXES,
	/* dump: a COUNTER in each message, zeros included; since the namespace began */
	TCP_REDIRECT_CMD_GET_COUNTERS,
	/*
	 * dump: an ACCEPTED in each message: redirected connections whose handshake
	 * was completed, by the server's address and port and the node that
	 * redirected.  One whose node SYN cookies lost is in no record.
	 */
	TCP_REDIRECT_CMD_GET_ACCEPTED,
	__TCP_REDIRECT_CMD_MAX
};
#define TCP_REDIRECT_CMD_MAX (__TCP_REDIRECT_CMD_MAX - 1)

enum tcp_redirect_attr {
	TCP_REDIRECT_A_UNSPEC,
	TCP_REDIRECT_A_PAD,
	TCP_REDIRECT_A_IMPLEMENTATION,	/* u8, enum tcp_redirect_implementation */
	TCP_REDIRECT_A_VERSION,		/* string, of the implementation */
	TCP_REDIRECT_A_ROLES,		/* u8, TCP_REDIRECT_ROLE_* */
	TCP_REDIRECT_A_N_SERVICES,	/* u32 */
	TCP_REDIRECT_A_N_PREFIXES,	/* u32 */
	TCP_REDIRECT_A_N_PENDING,	/* u32, offered SYNs without an answer */
	TCP_REDIRECT_A_MAX_PENDING,	/* u32 */
	TCP_REDIRECT_A_N_ECHOES,	/* u32, redirected SYNs whose handshake is under way */
	TCP_REDIRECT_A_MAX_ECHOES,	/* u32; 0: bounded by the listeners' backlogs alone */
	TCP_REDIRECT_A_SERVICE,		/* nested, TCP_REDIRECT_SERVICE_A_* */
	TCP_REDIRECT_A_PREFIX,		/* nested, TCP_REDIRECT_PREFIX_A_* */
	TCP_REDIRECT_A_COUNTER,		/* nested, TCP_REDIRECT_COUNTER_A_* */
	TCP_REDIRECT_A_ACCEPTED,	/* nested, TCP_REDIRECT_ACCEPTED_A_* */
	__TCP_REDIRECT_A_MAX
};
#define TCP_REDIRECT_A_MAX (__TCP_REDIRECT_A_MAX - 1)

enum tcp_redirect_implementation {
	TCP_REDIRECT_IMPLEMENTATION_MODULE = 1,	/* crab_redirect.ko */
	TCP_REDIRECT_IMPLEMENTATION_KERNEL = 2,	/* the patched TCP stack */
};

/* A virtual address to offer to.  Two of one address and port are refused. */
enum tcp_redirect_service_attr {
	TCP_REDIRECT_SERVICE_A_UNSPEC,
	TCP_REDIRECT_SERVICE_A_ADDRESS,	/* binary */
	TCP_REDIRECT_SERVICE_A_PORT,	/* be16, not 0 */
	/*
	 * u8, the option's length: 12, 16 or 20 (crab_redirect.h), or 6: the paper
	 * form.  12, 20 and 6 are IPv4's, 16 is IPv6's.
	 */
	TCP_REDIRECT_SERVICE_A_FORM,
	TCP_REDIRECT_SERVICE_A_KEY,	/* binary, 16 bytes; 0 to 2 of them; only with 16 or 20 */
	TCP_REDIRECT_SERVICE_A_N_KEYS,	/* u8, in dumps */
	__TCP_REDIRECT_SERVICE_A_MAX
};
#define TCP_REDIRECT_SERVICE_A_MAX (__TCP_REDIRECT_SERVICE_A_MAX - 1)

/* Where backends may be; with no prefix, anywhere.  With one, the other family is refused whole. */
enum tcp_redirect_prefix_attr {
	TCP_REDIRECT_PREFIX_A_UNSPEC,
	TCP_REDIRECT_PREFIX_A_ADDRESS,	/* binary; bits beyond the length are ignored */
	TCP_REDIRECT_PREFIX_A_LENGTH,	/* u8, 0 to 32 or 128 */
	__TCP_REDIRECT_PREFIX_A_MAX
};
#define TCP_REDIRECT_PREFIX_A_MAX (__TCP_REDIRECT_PREFIX_A_MAX - 1)

enum tcp_redirect_counter_attr {
	TCP_REDIRECT_COUNTER_A_UNSPEC,
	TCP_REDIRECT_COUNTER_A_PAD,
	TCP_REDIRECT_COUNTER_A_NAME,	/* string, as in kernel_patch/uapi/tcp_redirect_counters.h */
	TCP_REDIRECT_COUNTER_A_VALUE,	/* u64 */
	__TCP_REDIRECT_COUNTER_A_MAX
};
#define TCP_REDIRECT_COUNTER_A_MAX (__TCP_REDIRECT_COUNTER_A_MAX - 1)

enum tcp_redirect_accepted_attr {
	TCP_REDIRECT_ACCEPTED_A_UNSPEC,
	TCP_REDIRECT_ACCEPTED_A_PAD,
	TCP_REDIRECT_ACCEPTED_A_ADDRESS,	/* binary, the server's */
	TCP_REDIRECT_ACCEPTED_A_PORT,	/* be16 */
	TCP_REDIRECT_ACCEPTED_A_NODE,	/* u8, 1 to 255 */
	TCP_REDIRECT_ACCEPTED_A_COUNT,	/* u64 */
	__TCP_REDIRECT_ACCEPTED_A_MAX
};
#define TCP_REDIRECT_ACCEPTED_A_MAX (__TCP_REDIRECT_ACCEPTED_A_MAX - 1)

#endif /* TCP_REDIRECT_NETLINK_H */
