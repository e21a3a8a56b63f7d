// Pointer chase: one random cycle over 8 192 pages of 4 KiB, a load in each.
#include "bench.h"
EXPECT(0x3c58442d4cffc17f)
enum { PAGES = 8192, STEPS = 8 * PAGES };
static void **start;

static void prepare(void)
{
    static uint32_t order[PAGES];
    uint8_t *memory = pages((size_t)PAGES * 4096);
    uint32_t seed = 9;
    for (uint32_t i = 0; i < PAGES; i++)
        order[i] = i;
    for (uint32_t i = PAGES - 1; i > 0; i--) {
        uint32_t j = next_random(&seed) % (i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    // Lines differ from page to page, so that the cache's sets are used evenly.
    for (uint32_t i = 0; i < PAGES; i++) {
        uint32_t here = order[i], there = order[(i + 1) % PAGES];
        void **at = (void **)(memory + (size_t)here * 4096 + here % 64 * 64);
        at[0] = memory + (size_t)there * 4096 + there % 64 * 64;
        at[1] = (void *)(uintptr_t)here;
    }
    start = (void **)(memory + (size_t)order[0] * 4096 + order[0] % 64 * 64);
}

static uint64_t work(void)
{
    void **at = start;
    for (int i = 0; i < STEPS - 100; i++)
        at = *at;
    uint64_t sum = (uintptr_t)at[1];
    for (int i = 0; i < 100; i++)
        at = *at;
    if (at != start)
        fail("cycle");
    return mix(sum, 1);
}
#include "main.inc"
