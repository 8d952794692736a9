/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What depends on the kernel's version.  The module reaches into TCP's tables,
 * so it is built only for kernels on which it has been tested: Linux 6.1.
 */
#ifndef CRAB_COMPAT_H
#define CRAB_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0) || \
	LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#error "crab_redirect is built and tested for Linux 6.1 only: use --endpoint ebpf"
#endif
#if !IS_ENABLED(CONFIG_IPV6) || !IS_ENABLED(CONFIG_NETFILTER) || \
	!IS_ENABLED(CONFIG_TRACEPOINTS) || !IS_ENABLED(CONFIG_64BIT)
#error "crab_redirect needs CONFIG_64BIT, _IPV6, _NETFILTER and _TRACEPOINTS"
#endif

#include "linux-6.1.h"

#endif /* CRAB_COMPAT_H */
