// Calls and returns: Fibonacci and Ackermann by recursion.
#include "bench.h"
EXPECT(0xde02f02a27f5de82)
static void prepare(void) { }

static __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls", "no-inline", "no-tree-tail-merge"))) uint32_t fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls", "no-inline"))) uint32_t ackermann(uint32_t m, uint32_t n)
{
    return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static uint64_t work(void)
{
    uint32_t f = fibonacci(22), a = ackermann(2, 60);
    if (f != 17711 || a != 123)
        fail("value");
    return mix(f, a);
}
#include "main.inc"
