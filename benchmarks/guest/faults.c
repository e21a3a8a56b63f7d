// Page faults: 2 048 fresh pages touched and given back.
#include "bench.h"
EXPECT(0x7fa9771d61a681aa)
enum { PAGES = 2048 };
static void prepare(void) { }

static uint64_t work(void)
{
    uint8_t *memory = pages(PAGES * 4096);
    uint64_t sum = 0;
    for (int i = 0; i < PAGES; i++) {
        sum += memory[i * 4096];
        memory[i * 4096] = (uint8_t)i;
    }
    for (int i = 0; i < PAGES; i++)
        sum = mix(sum, memory[i * 4096]);
    munmap(memory, PAGES * 4096);
    return sum;
}
#include "main.inc"
