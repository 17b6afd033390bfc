/* log_helper.c - the small logs of the tests of logdb, for the tests of replay. */
#include "tests/unit/logdb/helper.c"
