// SPDX-License-Identifier: GPL-2.0-only
/* See check.h. */
#include "check.h"

#include "tag.h"

bool tcp_redirect_named_service(const struct tcp_redirect_option *o,
				const struct tcp_redirect_path *path,
				struct tcp_redirect_end *service)
{
	__be32 vip;
	__be16 vport;

	if (!ipv6_addr_v4mapped(&path->backend.addr))
		return false;
	if (o->state == TCP_REDIRECT_OPTION_PAPER) {
		memcpy(&vip, o->bytes + 2, sizeof(vip));
		vport = path->backend.port;
	} else if (o->len == CRAB_OPT_LEN_ADDR || o->len == CRAB_OPT_LEN_ADDR_TAG) {
		memcpy(&vip, o->bytes + CRAB_OPT_OFF_ADDR, sizeof(vip));
		memcpy(&vport, o->bytes + CRAB_OPT_OFF_PORT, sizeof(vport));
	} else {
		return false;
	}
	tcp_redirect_end_v4(service, vip, vport);
	return true;
}

static bool names(const struct tcp_redirect_option *o,
		  const struct tcp_redirect_path *path,
		  const struct tcp_redirect_end *service)
{
	struct tcp_redirect_end named;

	if (o->state == TCP_REDIRECT_OPTION_SHORT)
		return true;
	if (o->len == CRAB_OPT_LEN_TAG)
		return !memcmp(o->bytes + CRAB_OPT_OFF_PORT, &service->port,
			       sizeof(service->port));
	return tcp_redirect_named_service(o, path, &named) &&
	       tcp_redirect_end_equal(&named, service);
}

static bool form_offered(const struct tcp_redirect_option *o,
			 const struct tcp_redirect_terms *terms)
{
	if (o->state == TCP_REDIRECT_OPTION_SHORT)
		return !terms->n_keys && terms->form != CRAB_PAPER_OPT_LEN;
	return o->len == terms->form;
}

static bool tag_valid(const struct tcp_redirect_option *o,
		      const struct tcp_redirect_path *path,
		      const struct tcp_redirect_pending *known)
{
	unsigned int skip = ipv6_addr_v4mapped(&path->backend.addr) ? 12 : 0;
	struct tcp_redirect_tag_input in = {
		.vip = known->service.addr.s6_addr + skip,
		.backend = path->backend.addr.s6_addr + skip,
		.client = path->client.addr.s6_addr + skip,
		.addr_len = sizeof(struct in6_addr) - skip,
		.vport = known->service.port,
		.dport = path->backend.port,
		.client_port = path->client.port,
		.isn = htonl(known->isn),
	};

	return tcp_redirect_tag_valid(known->terms.keys[0], known->terms.n_keys, &in,
				      o->bytes + (o->len == CRAB_OPT_LEN_TAG ?
							CRAB_OPT_OFF_TAG :
							CRAB_OPT_OFF_TAG_AFTER_ADDR));
}

enum tcp_redirect_counter
tcp_redirect_check(const struct tcp_redirect_net *rn,
		   const struct tcp_redirect_option *o,
		   const struct tcp_redirect_path *path,
		   const struct tcp_redirect_pending *known)
{
	if (!names(o, path, &known->service))
		return TCP_REDIRECT_N_reject_not_pending;
	if (!form_offered(o, &known->terms))
		return TCP_REDIRECT_N_reject_form;
	if (!tcp_redirect_prefix_allows(rn, &path->backend.addr))
		return TCP_REDIRECT_N_reject_prefix;
	if (known->terms.n_keys && !tag_valid(o, path, known))
		return TCP_REDIRECT_N_reject_tag;
	return TCP_REDIRECT_N_COUNTERS;
}
