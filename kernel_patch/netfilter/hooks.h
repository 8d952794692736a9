/* SPDX-License-Identifier: GPL-2.0-only */
/* Where packets come by; crab_hooks_set_roles() is in crab_net.h. */
#ifndef CRAB_HOOKS_H
#define CRAB_HOOKS_H

#include "crab_net.h"

/* The namespace goes: no hook is entered any more when a grace period has passed. */
void crab_hooks_stop(struct crab_net *cn);

#endif /* CRAB_HOOKS_H */
