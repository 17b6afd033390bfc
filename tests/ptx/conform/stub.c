#include "tests/ptx/conform/conform.h"
void cf_memory(void){} void cf_atomics(void){} void cf_lanes(void){} void cf_matrix(void){} void cf_others(void){}
