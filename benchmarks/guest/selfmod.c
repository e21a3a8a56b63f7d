// Self-modifying loop: a function's immediate operand is rewritten before each call; stores beside the code run along.
#include "bench.h"
EXPECT(0x94f5fdba99a4c108)
enum { PATCHES = 5000 };
static uint8_t *code;

static void prepare(void)
{
    // mov eax, imm32; add eax, edi; ret
    static const uint8_t body[] = { 0xB8, 0, 0, 0, 0, 0x01, 0xF8, 0xC3 };
    code = pages(4096);
    if (mprotect(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC))
        fail("mprotect");
    memcpy(code + 64, body, sizeof body);
}

static uint64_t work(void)
{
    uint32_t (*function)(uint32_t) = (uint32_t (*)(uint32_t))(code + 64);
    volatile uint32_t *beside = (volatile uint32_t *)(code + 2048);
    uint64_t sum = 0;
    *beside = 0;
    for (uint32_t i = 0; i < PATCHES; i++) {
        uint32_t immediate = i * 2654435761u;
        memcpy(code + 65, &immediate, 4);
        __asm__ volatile("" : : : "memory");
        uint32_t got = function(i);
        if (got != immediate + i)
            fail("stale code");
        sum = mix(sum, got);
        *beside += got;
    }
    return mix(sum, *beside);
}
#include "main.inc"
