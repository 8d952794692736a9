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
 *   control thread: create, rebuild, release, explain, self_test, destroy
 *   every worker:   pick (and nothing else), at any time between the return of
 *                   the set's rebuild and its release
 *
 * pick() must not allocate, lock, block, log or make a system call.
 */
#ifndef CRAB_POLICY_H
#define CRAB_POLICY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a structure below changes in a way an old plugin cannot bear. */
#define CRAB_POLICY_ABI_VERSION 1u

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
  uint32_t weight;    /* 1..65535; a backend of weight 0 is not eligible */
};

/* A new connection to place. */
struct crab_policy_flow {
  uint64_t hash; /* keyed by a secret of this process; uniform over 64 bits */
};

struct crab_policy_ops {
  uint32_t abi_version; /* CRAB_POLICY_ABI_VERSION */
  uint32_t struct_size; /* sizeof(struct crab_policy_ops), for growth at the end */
  const char* name;     /* [a-z][a-z0-9_]*, what a service's configuration names */
  const char* description;
  const struct crab_policy_param* params; /* n_params of them; may be NULL if zero */
  size_t n_params;

  /*
   * Makes an instance.  Returns 0, or -1 with a message for the operator in
   * err (err_len bytes, always NUL terminated) that names the parameter.
   */
  int (*create)(const struct crab_policy_kv* kv, size_t n_kv, void** instance, char* err,
                size_t err_len);

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

  /* Writes why pick() would now answer *pick for this flow; changes nothing. */
  int (*explain)(void* instance, const void* set, const struct crab_policy_flow* flow,
                 uint32_t* pick, char* why, size_t why_len);

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
