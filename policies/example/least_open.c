/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An example of a policy plugin: of a few backends that stand next to each
 * other, from a random one on, the one with the fewest open connections for
 * its weight.  Small on purpose; for production use join_shortest_queue, which
 * knows how old a report is.
 *
 * What a plugin is made of, from top to bottom: an instance for each service,
 * a set for each list of eligible backends, pick() for the workers, and the
 * table of functions that the one exported symbol returns.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <crab/policy.h>

#define DEFAULT_CHOICES 16
#define MAX_CHOICES 1024

/* One for each service. Never changes, so that workers may read it at any time. */
struct instance {
	struct crab_policy_host host;
	unsigned long choices;
};

struct backend {
	uint32_t load_slot;
	uint32_t weight;
};

/*
 * One for each list of backends. Immutable but for what `connections` points
 * to, which every worker adds to and the control thread overwrites.
 */
struct set {
	size_t n;
	struct backend *backends;
	_Atomic uint32_t *connections;
};

static int fail(char *err, size_t err_len, const char *message)
{
	snprintf(err, err_len, "%s", message);
	return -1;
}

static int create(const struct crab_policy_host *host, const struct crab_policy_kv *kv,
		  size_t n_kv, void **instance, char *err, size_t err_len)
{
	struct instance *made;
	unsigned long choices = DEFAULT_CHOICES;

	for (size_t i = 0; i < n_kv; i++) {
		char *end;

		if (strcmp(kv[i].key, "choices") != 0) {
			snprintf(err, err_len, "parameter '%s' is unknown; this policy has choices",
				 kv[i].key);
			return -1;
		}
		choices = strtoul(kv[i].value, &end, 10);
		if (*end || kv[i].value[0] < '0' || kv[i].value[0] > '9' || choices < 1 ||
		    choices > MAX_CHOICES) {
			snprintf(err, err_len,
				 "parameter 'choices': '%s' is not a whole number from 1 to %d",
				 kv[i].value, MAX_CHOICES);
			return -1;
		}
	}
	made = malloc(sizeof(*made));
	if (!made)
		return fail(err, err_len, "out of memory");
	made->host = *host; /* what it points to outlives us */
	made->choices = choices;
	*instance = made;
	return 0;
}

static void destroy(void *instance)
{
	free(instance);
}

static void release(void *instance, void *set)
{
	struct set *gone = set;

	(void)instance;
	free(gone->backends);
	free((void *)gone->connections);
	free(gone);
}

/* Control thread. What a report said, and what has been sent there since. */
static void refresh(const struct instance *instance, const struct set *set, size_t i)
{
	struct crab_policy_load load;

	instance->host.load(instance->host.context, set->backends[i].load_slot, &load);
	atomic_store_explicit(&set->connections[i], load.open + load.unconfirmed,
			      memory_order_relaxed);
}

static int rebuild(void *instance, const struct crab_policy_backend *backends, size_t n,
		   void **set, char *err, size_t err_len)
{
	struct set *made = calloc(1, sizeof(*made));

	if (!made)
		return fail(err, err_len, "out of memory");
	made->n = n;
	made->backends = calloc(n, sizeof(*made->backends));
	made->connections = calloc(n, sizeof(*made->connections));
	if (!made->backends || !made->connections) {
		release(instance, made);
		return fail(err, err_len, "out of memory");
	}
	for (size_t i = 0; i < n; i++) {
		made->backends[i].load_slot = backends[i].load_slot;
		made->backends[i].weight = backends[i].weight;
		refresh(instance, made, i);
	}
	*set = made;
	return 0;
}

static void update(void *instance, void *set, const uint32_t *indices, size_t n, uint64_t now_ns)
{
	(void)now_ns;
	for (size_t k = 0; k < n; k++)
		refresh(instance, set, indices[k]);
}

/* The index of the least (connections + 1) / weight, of the backends that are looked at. */
static uint32_t least(const struct instance *instance, const struct set *set, uint64_t hash)
{
	size_t n = instance->choices < set->n ? instance->choices : set->n;
	size_t i = (hash >> 32) * set->n >> 32;
	size_t best = i;
	uint64_t best_load = 0;

	for (size_t k = 0; k < n; k++) {
		uint64_t load = (uint64_t)atomic_load_explicit(&set->connections[i],
							       memory_order_relaxed) + 1;

		if (k == 0 || load * set->backends[best].weight <
				      best_load * set->backends[i].weight) {
			best = i;
			best_load = load;
		}
		if (++i == set->n)
			i = 0;
	}
	return (uint32_t)best;
}

/* Workers. Two of them may choose the same backend at once: the next report mends that. */
static void pick(void *instance, const void *set, const struct crab_policy_flow *flows,
		 uint32_t *picks, size_t n)
{
	const struct set *known = set;

	for (size_t i = 0; i < n; i++) {
		picks[i] = least(instance, known, flows[i].hash);
		atomic_fetch_add_explicit(&known->connections[picks[i]], 1, memory_order_relaxed);
	}
}

static int explain(void *instance, const void *set, const struct crab_policy_flow *flow,
		   uint32_t *pick, char *why, size_t why_len)
{
	const struct set *known = set;

	*pick = least(instance, known, flow->hash);
	snprintf(why, why_len, "%u connections and weight %u are the least of %lu choices",
		 atomic_load_explicit(&known->connections[*pick], memory_order_relaxed),
		 known->backends[*pick].weight, ((const struct instance *)instance)->choices);
	return 0;
}

static void seven_at_slot_0(void *context, uint32_t load_slot, struct crab_policy_load *load)
{
	(void)context;
	memset(load, 0, sizeof(*load));
	load->open = load_slot == 0 ? 7 : 0;
}

static int self_test(char *err, size_t err_len)
{
	const struct crab_policy_host host = {.struct_size = sizeof(host), .load = seven_at_slot_0};
	const struct crab_policy_backend backends[2] = {{"a", 0, 1}, {"b", 1, 1}};
	const struct crab_policy_flow flow = {0, 0};
	uint32_t picked = 0;
	void *instance, *set;

	if (create(&host, NULL, 0, &instance, err, err_len) != 0)
		return -1;
	if (rebuild(instance, backends, 2, &set, err, err_len) != 0) {
		destroy(instance);
		return -1;
	}
	pick(instance, set, &flow, &picked, 1);
	release(instance, set);
	destroy(instance);
	if (picked != 1)
		return fail(err, err_len, "of 7 connections and none, 7 are taken for less");
	return 0;
}

static const struct crab_policy_param params[] = {
	{"choices", "backends to look at for each connection, 1 to 1024; default 16"},
};

static const struct crab_policy_ops ops = {
	.abi_version = CRAB_POLICY_ABI_VERSION,
	.struct_size = sizeof(ops),
	.flags = CRAB_POLICY_USES_LOAD,
	.name = "least_open",
	.description = "the fewest open connections for its weight, of a few backends",
	.params = params,
	.n_params = sizeof(params) / sizeof(params[0]),
	.create = create,
	.rebuild = rebuild,
	.pick = pick,
	.update = update,
	.explain = explain,
	.release = release,
	.destroy = destroy,
	.self_test = self_test,
};

__attribute__((visibility("default"))) const struct crab_policy_ops *crab_policy_entry(void)
{
	return &ops;
}
