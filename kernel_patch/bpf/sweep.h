/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Client: removes what has expired.  crab-agent runs it every few seconds;
 * a timer for each flow fails with -ENOMEM when many connections close at once.
 */
#ifndef CRAB_SWEEP_H
#define CRAB_SWEEP_H

#include "kernel_patch/bpf/translate.h"

struct sweep {
	__u64 now_ns;
};

static long sweep_flow(void *map, struct crab_tuple *key, struct crab_flow *flow,
		       struct sweep *sweep)
{
	__u32 state = flow->state & CRAB_FLOW_CURRENT;
	struct crab_tuple out = *key, in = *key;
	struct crab_origin *origin;

	if (!flow->expires_ns || flow->expires_ns > sweep->now_ns)
		return 0;
	/* A redirect that is taking the flow over at this moment wins. */
	if (__sync_val_compare_and_swap(&flow->state, state, CRAB_FLOW_DEAD) != state)
		return 0;
	in.remote = flow->target[state].addr;
	in.rport = flow->target[state].port;
	origin = bpf_map_lookup_elem(&origins, &in);
	if (origin && same_address(&origin->service.vip, &out.remote) &&
	    origin->service.port == out.rport)
		bpf_map_delete_elem(&origins, &in);
	bpf_map_delete_elem(&flows, &out);
	count(CRAB_COUNT_collected);
	return 0;
}

static long sweep_pending(void *map, struct crab_pending_key *key,
			  struct crab_pending *known, struct sweep *sweep)
{
	struct crab_pending_key copy = *key;

	if (known->expires_ns > sweep->now_ns)
		return 0;
	bpf_map_delete_elem(&pending, &copy);
	count(CRAB_COUNT_collected);
	return 0;
}

#endif /* CRAB_SWEEP_H */
