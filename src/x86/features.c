// SPDX-License-Identifier: MIT
#include "x86/features.h"

#define ROW(name, flag, leaf, subleaf, reg, bit, need, vendors) \
	[X86_F_##name] = { flag, leaf, subleaf, CPUID_##reg, bit, NEED_##need, V_##vendors },

const struct x86_feature_row x86_feature_rows[X86_F_COUNT] = {
	X86_FEATURES(ROW)
};
