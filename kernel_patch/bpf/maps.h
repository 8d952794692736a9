/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps, all bounded, one set for each network namespace.  crab-agent pins
 * them, so that they outlive it.  Flows are no LRU: evicting one would break a connection.
 */
#ifndef CRAB_MAPS_H
#define CRAB_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "kernel_patch/bpf/counters.h"
#include "kernel_patch/bpf/echo_map.h"
#include "kernel_patch/bpf/layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CRAB_MAX_SERVICES);
	__type(key, struct crab_service_key);
	__type(value, struct crab_service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CRAB_MAX_PENDING);
	__type(key, struct crab_pending_key);
	__type(value, struct crab_pending);
} pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CRAB_MAX_FLOWS);
	__type(key, struct crab_tuple);
	__type(value, struct crab_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CRAB_MAX_FLOWS);
	__type(key, struct crab_tuple);
	__type(value, struct crab_origin);
} origins SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CRAB_MAX_PREFIXES);
	__type(key, struct crab_prefix);
	__type(value, __u8);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct crab_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CRAB_N_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CRAB_MAX_APPLIANCES);
	__type(key, __u32);
	__type(value, struct crab_session);
} sessions SEC(".maps");

/* What would not fit on the 512 bytes of stack; no program of ours interrupts another on a CPU. */
struct scratch {
	struct crab_flow flow;
	struct crab_origin origin;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline void count(enum crab_counter which)
{
	__u32 index = which;
	__u64 *value = bpf_map_lookup_elem(&counters, &index);

	if (value)
		*value += 1;
}

#endif /* CRAB_MAPS_H */
