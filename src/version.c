/* SPDX-License-Identifier: MIT */
#include "anykvm.h"

const char *anykvm_version(void)
{
	return ANYKVM_VERSION;
}
