// x87: Newton roots, a polynomial and sines in 80-bit arithmetic.
#include "bench.h"
EXPECT(0xd68f77ba9b9db1c3)
static void prepare(void) { }

static uint64_t work(void)
{
    long double sum = 0;
    for (int i = 1; i <= 3000; i++) {
        long double x = i, r = x;
        for (int n = 0; n < 12; n++)
            r = (r + x / r) / 2;
        long double p = 1;
        for (int n = 1; n < 12; n++)
            p = p * (r / (i + n)) + 1.0L / n;
        long double root;
        __asm__("fsqrt" : "=t"(root) : "0"(x));
        long double off = root - r;
        if (off > 1e-12L || off < -1e-12L)
            fail("root");
        sum += p + root;
    }
    uint64_t mantissa;
    memcpy(&mantissa, &sum, 8);
    return mantissa;
}
#include "main.inc"
