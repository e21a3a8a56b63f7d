// Indirect calls through a table, and an indirect jump by a switch: a small bytecode machine.
#include "bench.h"
EXPECT(0x430b262ff49efed5)
enum { CODE = 512, STEPS = 200000 };
typedef uint64_t (*operation)(uint64_t, uint64_t);
static uint8_t code[CODE];

static __attribute__((noinline)) uint64_t op0(uint64_t x, uint64_t y) { return x + y; }
static __attribute__((noinline)) uint64_t op1(uint64_t x, uint64_t y) { return x ^ y >> 3; }
static __attribute__((noinline)) uint64_t op2(uint64_t x, uint64_t y) { return x - (y << 1); }
static __attribute__((noinline)) uint64_t op3(uint64_t x, uint64_t y) { return x * 5 + y; }
static __attribute__((noinline)) uint64_t op4(uint64_t x, uint64_t y) { return x << 7 | x >> 57 | (y & 1); }
static __attribute__((noinline)) uint64_t op5(uint64_t x, uint64_t y) { return x + 0x1234567 - y; }
static __attribute__((noinline)) uint64_t op6(uint64_t x, uint64_t y) { return ~x ^ y; }
static __attribute__((noinline)) uint64_t op7(uint64_t x, uint64_t y) { return x > y ? x - y : y - x; }
static operation volatile table[8] = { op0, op1, op2, op3, op4, op5, op6, op7 };

static void prepare(void)
{
    uint32_t seed = 11;
    for (int i = 0; i < CODE; i++)
        code[i] = next_random(&seed) & 7;
}

static uint64_t work(void)
{
    uint64_t x = 1, y = 2;
    for (int i = 0; i < STEPS; i++) {
        uint64_t next = table[code[i & (CODE - 1)]](x, y);
        y = x;
        x = next;
    }
    return mix(x, y);
}
#include "main.inc"
