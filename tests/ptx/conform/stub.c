#include "tests/ptx/conform/conform.h"
void cf_lanes(void){} void cf_matrix(void){} void cf_others(void){}
