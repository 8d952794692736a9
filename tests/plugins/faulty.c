/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy plugin that always picks the first backend, with one fault that the
 * compiler's -D chooses: see plugin_build.py. Without a fault it is sound.
 */
#include <stdio.h>
#include <stdlib.h>

#include <crab/policy.h>

#ifndef NAME
#define NAME "first"
#endif
#ifndef PICK
#define PICK 0
#endif
#ifndef ABI
#define ABI CRAB_POLICY_ABI_VERSION
#endif
#ifndef SIZE
#define SIZE sizeof(struct crab_policy_ops)
#endif
#ifndef ENTRY
#define ENTRY crab_policy_entry
#endif
#ifndef PICK_FUNCTION
#define PICK_FUNCTION pick
#endif

static int create(const struct crab_policy_host *host, const struct crab_policy_kv *kv,
		  size_t n_kv, void **instance, char *err, size_t err_len)
{
	(void)host;
	(void)kv;
	if (n_kv > 0) {
		snprintf(err, err_len, "has no parameters");
		return -1;
	}
	*instance = NULL;
	return 0;
}

static int rebuild(void *instance, const struct crab_policy_backend *backends, size_t n,
		   void **set, char *err, size_t err_len)
{
	(void)instance;
	(void)backends;
	(void)n;
	(void)err;
	(void)err_len;
	*set = NULL;
	return 0;
}

__attribute__((unused)) static void pick(void *instance, const void *set,
					 const struct crab_policy_flow *flows, uint32_t *picks,
					 size_t n)
{
	(void)instance;
	(void)set;
	(void)flows;
	for (size_t i = 0; i < n; i++)
		picks[i] = PICK;
}

static int explain(void *instance, const void *set, const struct crab_policy_flow *flow,
		   uint32_t *pick, char *why, size_t why_len)
{
	(void)instance;
	(void)set;
	(void)flow;
	*pick = PICK;
	snprintf(why, why_len, "always");
	return 0;
}

static void release(void *instance, void *set)
{
	(void)instance;
	(void)set;
}

static void destroy(void *instance)
{
	(void)instance;
}

static int self_test(char *err, size_t err_len)
{
#ifdef SICK
	snprintf(err, err_len, "one is not two");
	return -1;
#else
	(void)err;
	(void)err_len;
	return 0;
#endif
}

static const struct crab_policy_ops ops = {
	.abi_version = ABI,
	.struct_size = SIZE,
	.name = NAME,
	.description = "the first backend, always",
	.create = create,
	.rebuild = rebuild,
	.pick = PICK_FUNCTION,
	.explain = explain,
	.release = release,
	.destroy = destroy,
	.self_test = self_test,
};

__attribute__((visibility("default"))) const struct crab_policy_ops *ENTRY(void)
{
	return &ops;
}
