#!/bin/sh
# SPDX-License-Identifier: MIT
# The version script of the preload: exported is what next.h lists, nothing else.
# Usage: exports.sh NEXT.H >EXPORTS.MAP
set -eu
echo "{ global:"
sed -n 's/^\tX(\([a-zA-Z0-9_]*\), .*/\t\1;/p' "$1"
echo "local: *; };"
