/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract between the datapath and a balancing policy: a versioned C ABI,
 * so that a built-in policy and a plugin built elsewhere look alike.
 *
 * A policy has two halves.  The *instance* belongs to one service, is shared by
 * all workers and lives as long as the service names that policy: cursors and
 * keys live there.  A *set* is what the policy derives from one list of
 * eligible backends; it is immutable once built, belongs to a snapshot and is
 * released when no worker can see that snapshot any more.
 *
 *   control thread: create, rebuild, update, explain, status, release, self_test, destroy
 *   every worker:   pick (and nothing else), at any time between the return of
 *                   the set's rebuild and its release
 *
 * pick() must not allocate, lock, block, log or make a system call.
 *
 * What a backend's load is, the policy asks the host (crab_policy_host.load).  A policy that
 * keeps keys of its own brings them up to date in update(), which the host calls
 * whenever a report has come, and for every backend from time to time: so keys need be right
 * only in the long run, and a claim that slips through between two threads is mended.
 */
#ifndef CRAB_POLICY_H
#define CRAB_POLICY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a structure below changes in a way an old plugin cannot bear. */
#define CRAB_POLICY_ABI_VERSION 2u

/* crab_policy_ops.flags */
/* update() is worth calling; loads are shown beside it */
#define CRAB_POLICY_USES_LOAD 0x1u
/* fill crab_policy_flow.tuple_hash, which costs cycles */
#define CRAB_POLICY_NEEDS_TUPLE_HASH 0x2u

/* One key=value from the service's configuration; both are UTF-8, NUL terminated. */
struct crab_policy_kv {
  const char* key;
  const char* value;
};

/* Describes a parameter that create() understands, for `crabctl policy describe`. */
struct crab_policy_param {
  const char* name;
  const char* description; /* with unit, range and default */
};

/* An eligible backend, as rebuild() sees it.  The index in the array is what pick() returns. */
struct crab_policy_backend {
  const char* id;     /* unique within the service, valid during the call only */
  uint32_t load_slot; /* the same for one DIP:dport in every set and service */
  uint32_t weight;    /* 1..CRAB_POLICY_MAX_WEIGHT; only ratios matter.  0 is not eligible */
};
/* Above the 65,535 an operator may give, because a slow start's ramp scales all weights up. */
#define CRAB_POLICY_MAX_WEIGHT (1u << 24)

/* A new connection to place. */
struct crab_policy_flow {
  uint64_t hash; /* keyed by a secret of this process; uniform over 64 bits, new for each SYN */
  /* Of both addresses and ports, the same on every node; 0 without CRAB_POLICY_NEEDS_TUPLE_HASH. */
  uint64_t tuple_hash;
};

/* Where a load comes from. */
enum crab_policy_load_source {
  CRAB_LOAD_ASSIGNED = 0, /* no reports: all that is known are our own assignments */
  CRAB_LOAD_PERIODIC = 1, /* reported now and then: between two reports the backend drains */
  CRAB_LOAD_EVENT = 2     /* reported whenever a connection closes: silence means unchanged */
};

/* What this node knows of one load slot, and when it knew it.  DESIGN, section 4. */
struct crab_policy_load {
  uint64_t assigned;  /* connections that this node has sent there, all services, all workers */
  uint64_t n_reports; /* accepted since the slot came to be; another number, another age */
  /* With reports: connections there (or what the service's signal counts), as last reported. */
  uint32_t open;
  /* assigned here, and neither reported as accepted nor written off.  Without reports
   * (CRAB_LOAD_ASSIGNED): assigned since the reports ended, or ever. */
  uint32_t unconfirmed;
  uint64_t accepted_own;   /* as last reported: accepted from this node, */
  uint64_t accepted_total; /* and from everywhere; both from an arbitrary start */
  uint32_t source;         /* enum crab_policy_load_source */
  uint32_t zero;
};

/* What the host offers a policy; lives longer than every instance.  Control thread only. */
struct crab_policy_host {
  uint32_t struct_size; /* sizeof(struct crab_policy_host), for growth at the end */
  uint32_t zero;
  void* context; /* to be handed back */
  void (*load)(void* context, uint32_t load_slot, struct crab_policy_load* load);
};

struct crab_policy_ops {
  uint32_t abi_version; /* CRAB_POLICY_ABI_VERSION */
  uint32_t struct_size; /* sizeof(struct crab_policy_ops), for growth at the end */
  uint32_t flags;       /* CRAB_POLICY_... */
  uint32_t zero;
  const char* name; /* [a-z][a-z0-9_]*, what a service's configuration names */
  const char* description;
  const struct crab_policy_param* params; /* n_params of them; may be NULL if zero */
  size_t n_params;

  /*
   * Makes an instance.  Returns 0, or -1 with a message for the operator in
   * err (err_len bytes, always NUL terminated) that names the parameter.  *instance may stay
   * NULL if nothing is shared; destroy() is not called then.
   */
  int (*create)(const struct crab_policy_host* host, const struct crab_policy_kv* kv, size_t n_kv,
                void** instance, char* err, size_t err_len);

  /*
   * Derives a set from n >= 1 backends; the array is the caller's.  Must leave
   * the instance usable with older sets: workers may still be picking from one.
   * Returns 0, or -1 with a message in err; *set is then untouched.
   */
  int (*rebuild)(void* instance, const struct crab_policy_backend* backends, size_t n, void** set,
                 char* err, size_t err_len);

  /*
   * Places n >= 1 flows: picks[i] is an index into the array given to rebuild.
   * An index out of range is counted against the policy and the SYN dropped.
   */
  void (*pick)(void* instance, const void* set, const struct crab_policy_flow* flows,
               uint32_t* picks, size_t n);

  /*
   * The loads of these backends (indices into the array given to rebuild) may have
   * changed.  Called for the set that is in force only: for all its backends once
   * it has been published, for one when its report has come, and for each at least every
   * 100 ms.  Workers go on picking meanwhile.  May be NULL.
   */
  void (*update)(void* instance, void* set, const uint32_t* indices, size_t n, uint64_t now_ns);

  /* Writes why pick() would now answer *pick for this flow; changes nothing. */
  int (*explain)(void* instance, const void* set, const struct crab_policy_flow* flow,
                 uint32_t* pick, char* why, size_t why_len);

  /*
   * Writes the rule in force in a word or two ("least_loaded, drain clock"), for metrics and
   * crabctl: a policy that changes its rule with what it learns says so here.  May be NULL.
   */
  void (*status)(void* instance, const void* set, char* rule, size_t rule_len);

  void (*release)(void* instance, void* set);
  void (*destroy)(void* instance);

  /* Checks itself in isolation, within a second.  Returns 0, or -1 with a message. */
  int (*self_test)(char* err, size_t err_len);
};

/* The one symbol a plugin exports. */
typedef const struct crab_policy_ops* (*crab_policy_entry_fn)(void);
#define CRAB_POLICY_ENTRY "crab_policy_entry"

#ifdef __cplusplus
}
#endif

#endif /* CRAB_POLICY_H */
