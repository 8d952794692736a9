/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The server role: the option of a redirected SYN is kept (LOCAL_IN) until its
 * SYN-ACK or RST leaves with it (LOCAL_OUT) and the handshake is over.
 */
#ifndef CRAB_SERVER_H
#define CRAB_SERVER_H

#include "crab_net.h"
#include "segment.h"

/* LOCAL_IN, after the firewall: a SYN. */
void crab_keep_option(struct crab_net *cn, const struct crab_segment *s);
/* LOCAL_OUT: a SYN-ACK or RST|ACK. */
void crab_echo_option(struct crab_net *cn, struct crab_segment *s);

#endif /* CRAB_SERVER_H */
