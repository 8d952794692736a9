/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The options of redirected SYNs, by connection: kept by tc ingress, read by tc
 * egress to echo them and by the counting of connections for the node's number.
 */
#ifndef CRAB_ECHO_MAP_H
#define CRAB_ECHO_MAP_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "kernel_patch/bpf/layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CRAB_MAX_ECHOES);
	__type(key, struct crab_tuple);
	__type(value, struct crab_echo);
} echoes SEC(".maps");

#endif /* CRAB_ECHO_MAP_H */
